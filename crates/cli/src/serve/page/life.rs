//! One request looked up.

use alerts::Language;
use ledger::{LifeEvent, LifeState, Origin};

use super::{View, moment_at};
use crate::commands::status_name;
use crate::serve::html::{escape, facts};

/// The form, and what was found with it.
fn body(view: &View<'_>, language: Language) -> String {
    let t = |spanish, english| language.pick(spanish, english);
    let asked = view.life.as_ref().map(|(id, _)| escape(id)).unwrap_or_default();
    let form = format!(
        "<form action=\"/request\" method=\"get\" role=\"search\"><input type=\"hidden\" name=\"lang\" value=\"{}\">\
         <div><label for=\"id\">{}</label><input id=\"id\" name=\"id\" value=\"{asked}\" required maxlength=\"200\" \
         autocomplete=\"off\" spellcheck=\"false\"></div><button>{}</button></form>",
        language.code(),
        t("Número de la solicitud", "Number of the request"),
        t("Buscar", "Look up"),
    );
    let found = match &view.life {
        None => String::new(),
        Some((_, Err(error))) => format!("<p lang=\"en\">{}</p>", escape(error)),
        Some((_, Ok(events))) if events.is_empty() => format!(
            "<p>{}</p>",
            t(
                "El libro no conoce esa solicitud: no cambió desde que empezó la captura, o se confirmó hace tanto que ya no se conserva.",
                "The ledger does not know this request: it has not changed since capture began, or was acknowledged too long ago to be kept.",
            )
        ),
        Some((id, Ok(events))) => {
            let items: String = events.iter().map(|event| item(event, view, language)).collect();
            format!("<h3>{}</h3><ol>{items}</ol>", escape(id))
        }
    };
    format!("{form}<div id=\"found\">{found}</div>")
}

/// The section with the form. It does not live: what somebody types must not be exchanged.
pub(super) fn section(view: &View<'_>, language: Language) -> String {
    let title = language.pick("Buscar una solicitud", "Look a request up");
    super::section("request", title, &body(view, language))
}

fn item(event: &LifeEvent, view: &View<'_>, language: Language) -> String {
    let t = |spanish, english| language.pick(spanish, english);
    let unknown = t("estado desconocido", "no known status");
    let status = event.status_id.map_or_else(|| unknown.to_owned(), status_name);
    let mut rows = vec![(t("Situación", "Where it is"), state(event.state, language).to_owned())];
    if let Some(service) = &event.service_id {
        rows.push((t("Servicio", "Service"), escape(service)));
    }
    for (name, at) in [
        (t("Cambió", "Changed"), event.modified_at),
        (t("Capturado", "Captured"), event.captured_at),
        (t("Enviado", "First sent"), event.sent_at),
        (t("Confirmado", "Acknowledged"), event.acknowledged_at),
    ] {
        if at.is_some() {
            rows.push((name, moment_at(at, view.zone)));
        }
    }
    if let Some(batch) = event.batch {
        rows.push((t("Lote", "Batch"), batch.to_string()));
    }
    if let Some(position) = &event.position {
        rows.push((t("Posición", "Position"), escape(position.as_str())));
    }
    if event.origin == Origin::Snapshot {
        rows.push((t("Origen", "Origin"), t("copia de la tabla", "copy of the table").to_owned()));
    }
    if let Some(reason) = &event.reason {
        rows.push((t("Motivo", "Reason"), format!("<span lang=\"en\">{}</span>", escape(reason))));
    }
    format!("<li><strong>{}</strong>{}</li>", escape(&status), facts(&rows))
}

fn state(state: LifeState, language: Language) -> &'static str {
    let t = |spanish, english| language.pick(spanish, english);
    match state {
        LifeState::Unsettled => t("recién capturado", "just captured"),
        LifeState::Delta => t("por enviar", "to be sent"),
        LifeState::Waiting => t("espera la carga histórica", "waits for the backfill"),
        LifeState::Batched => t("en un lote sin respuesta todavía", "in a batch without an answer yet"),
        LifeState::Acknowledged => t("confirmado por el tablero", "acknowledged by the dashboard"),
        LifeState::Quarantined => t("en cuarentena", "in quarantine"),
        LifeState::Skipped => t("no hace falta enviarlo", "need not be sent"),
    }
}
