//! The status page in a browser as people use it: on a phone, in two languages, with the look-up.

mod chromium;

use std::path::Path;

use super::Scene;
use crate::support::http;
use crate::support::wait::SOON;
use chromium::Chromium;

/// Where the README's picture of the page is written, when somebody asks for it.
const PICTURE: &str = "BITACORA_PAGE_PICTURE";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_serves_a_phone_in_both_languages() {
    let scene = Scene::new().await;
    let daemon = scene.product.run().await;
    for numero in 1..=12 {
        scene.open(&format!("S-{numero}"), "RECIBIDA").await;
        if numero % 4 == 0 {
            daemon.captured(numero).await;
            scene.product.flush().await;
        }
    }
    scene.open("S-<b>13", "RECIBIDA").await;
    daemon.delta(1).await;

    let mut browser = Chromium::start().await;
    browser.become_a_phone().await;
    browser.open(&format!("{}?lang=es", daemon.page())).await;
    assert_eq!(browser.value("document.documentElement.lang").await, "es");
    assert_eq!(
        browser.value("document.querySelector('[role=status]').textContent").await,
        "Capturando los cambios de la base de datos"
    );
    assert_eq!(browser.value("document.querySelectorAll('svg rect').length").await, 3);
    fits(&mut browser).await;
    everything_has_a_name(&mut browser).await;

    // What happens meanwhile shows without a reload; what is being typed stays.
    browser.value("document.getElementById('id').value = 'S-1'; document.getElementById('id').focus(); window.same = true").await;
    scene.open("S-14", "RECIBIDA").await;
    let shown = "window.same && document.getElementById('id').value === 'S-1' && document.querySelector('#delivery dd').textContent === '2'";
    browser.until("the page renews itself", shown, SOON).await;

    // The look-up, by keyboard.
    browser.press_enter().await;
    browser.until("the request is found", "document.querySelectorAll('#found li').length === 1", SOON).await;
    let found = browser.value("document.getElementById('found').textContent").await;
    assert!(found.as_str().unwrap().contains("confirmado por el tablero"), "{found}");
    fits(&mut browser).await;

    browser.value("document.querySelector('nav a').click()").await;
    browser.until("English", "document.documentElement.lang === 'en'", SOON).await;
    let sentence = browser.value("document.querySelector('[role=status]').textContent").await;
    assert_eq!(sentence, "Capturing the database's changes");
    fits(&mut browser).await;

    assert_eq!(browser.complaints(), &[] as &[String], "the browser complains");
    if let Some(path) = std::env::var_os(PICTURE) {
        browser.picture(Path::new(&path)).await;
    }
}

/// No part of the page is wider than the phone.
async fn fits(browser: &mut Chromium) {
    let wider = "document.documentElement.scrollWidth - document.documentElement.clientWidth";
    assert_eq!(browser.value(wider).await, 0, "the page scrolls sideways");
}

/// What people who do not see the page rely on: names of fields, buttons and pictures, heads of tables, one heading of
/// the first order.
async fn everything_has_a_name(browser: &mut Chromium) {
    let nameless = "[...document.querySelectorAll('input:not([type=hidden])')].filter(i => !i.labels.length).length \
         + [...document.querySelectorAll('button,a,summary,caption,th')].filter(b => !b.textContent.trim()).length \
         + [...document.querySelectorAll('svg')].filter(s => !s.getAttribute('aria-label')).length \
         + [...document.querySelectorAll('section')].filter(s => !s.querySelector('h2')).length \
         + Math.abs(document.querySelectorAll('h1').length - 1)";
    assert_eq!(browser.value(nameless).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn single_requests_are_shown_to_those_who_have_the_token_only() {
    let token = "0123456789abcdef";
    let scene = Scene::with(|config| {
        config.status = format!("listen = \"127.0.0.1:0\"\ntoken = \"{token}\"\n");
    })
    .await;
    let daemon = scene.product.run().await;
    scene.open("S-1", "RECIBIDA").await;
    daemon.delta(1).await;
    let look_up = format!("{}request?id=S-1", daemon.page());
    assert_eq!(http::get(&look_up).await.unwrap().status, 401);
    let shown = http::get_with(&look_up, &format!("authorization: Bearer {token}")).await.unwrap();
    assert!(shown.status == 200 && shown.body.contains("<h3>S-1</h3>"), "{shown:?}");
    assert!(!daemon.get("").await.contains("S-1"));
    // A foreign name that leads to this machine is no name of this machine.
    let rebound = http::get_with(daemon.page(), "host: evil.example").await.unwrap();
    assert_eq!(rebound.status, 421);
    let policy = shown.head.to_ascii_lowercase();
    for expected in ["x-content-type-options: nosniff", "frame-ancestors 'none'", "script-src 'nonce-"] {
        assert!(policy.contains(expected), "{expected} is not in {policy}");
    }
    assert!(!policy.contains("unsafe-inline"), "{policy}");
}
