// Renews the parts of the page that live, without taking focus, scroll or opened details away.
(() => {
  const stale = document.getElementById("stale");
  const renew = async () => {
    if (document.hidden) return;
    try {
      const answer = await fetch(document.body.dataset.renew, { cache: "no-store" });
      if (!answer.ok) throw new Error(String(answer.status));
      // The style is here already, and that of another answer carries another nonce, which the browser complains of.
      const text = (await answer.text()).replace(/<style[^]*?<\/style>/, "");
      const fresh = new DOMParser().parseFromString(text, "text/html");
      for (const part of document.querySelectorAll("[data-live]")) {
        const now = fresh.getElementById(part.id);
        const opened = [...part.querySelectorAll("details[open]")].map((details) => details.id);
        for (const id of opened) {
          const details = now && [...now.querySelectorAll("details")].find((one) => one.id === id);
          if (details) details.open = true;
        }
        if (!now || now.innerHTML === part.innerHTML || part.contains(document.activeElement)) continue;
        part.innerHTML = now.innerHTML;
      }
      stale.hidden = true;
    } catch {
      stale.hidden = false;
    }
  };
  setInterval(renew, 5000);
})();
