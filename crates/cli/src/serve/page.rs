//! The status page: one self-contained document, in Spanish or English, that renews itself.

use pipeline::{SourceState, Status};

/// The languages of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    Spanish,
    English,
}

impl Language {
    /// The language that a browser asks for; Spanish, the operators' language, when in doubt.
    pub(super) fn preferred(accept_language: Option<&str>) -> Self {
        let first = accept_language.unwrap_or("es").trim().to_ascii_lowercase();
        if first.starts_with("en") { Self::English } else { Self::Spanish }
    }

    fn pick(self, spanish: &'static str, english: &'static str) -> &'static str {
        match self {
            Self::Spanish => spanish,
            Self::English => english,
        }
    }
}

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;margin:0 auto;max-width:52rem;padding:1rem;\
color:#1c2430;background:#f6f7f9}h1{font-size:1.3rem}h2{font-size:1.05rem;margin:1.6rem 0 .4rem}\
.state{padding:.8rem 1rem;border-radius:.5rem;color:#fff;font-weight:600}.good{background:#1a7f4b}\
.wait{background:#9a6700}.bad{background:#b3261e}table{width:100%;border-collapse:collapse;background:#fff;\
border-radius:.5rem}th,td{text-align:left;padding:.45rem .8rem;border-bottom:1px solid #e4e7ec;\
vertical-align:top}th{font-weight:500;width:45%}ul{padding-left:1.2rem}li{margin:.4rem 0}\
@media(prefers-color-scheme:dark){body{background:#14181f;color:#e6e9ef}table{background:#1d232d}\
th,td{border-color:#2c3441}}";

/// Writes the page.
pub(super) fn render(status: &Status, language: Language) -> String {
    let t = |spanish, english| language.pick(spanish, english);
    let mut page = String::with_capacity(8 * 1024);
    let lang = t("es", "en");
    let title = t("bitacora: estado", "bitacora: status");
    add(
        &mut page,
        &format!(
            "<!doctype html><html lang=\"{lang}\"><head><meta charset=\"utf-8\">\
        <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
        <meta http-equiv=\"refresh\" content=\"5\"><title>{title}</title><style>{STYLE}</style></head><body>\
        <main><h1>{title}</h1>"
        ),
    );
    let (class, sentence) = state(status.source.state, language);
    add(&mut page, &format!("<p class=\"state {class}\" role=\"status\">{sentence}</p>"));
    alerts(&mut page, status, language);
    capture(&mut page, status, language);
    delivery(&mut page, status, language);
    history(&mut page, status, language);
    page.push_str("</main></body></html>\n");
    page
}

fn state(state: SourceState, language: Language) -> (&'static str, &'static str) {
    let t = |spanish, english| language.pick(spanish, english);
    match state {
        SourceState::Streaming => {
            ("good", t("Capturando los cambios de la base de datos", "Capturing the database's changes"))
        }
        SourceState::Connecting => {
            ("wait", t("Conectando con la base de datos", "Connecting to the database"))
        }
        SourceState::Repairing => (
            "wait",
            t(
                "Se perdió parte del registro de la base de datos: comparando la tabla con lo conocido",
                "Part of the database's log was lost: comparing the table with what is known",
            ),
        ),
        SourceState::Silent => (
            "bad",
            t(
                "Conectado, pero la captura del motor no está activa",
                "Connected, but the engine's capture is not running",
            ),
        ),
        SourceState::Stopped => ("bad", t("La captura está detenida", "Capture is stopped")),
    }
}

fn alerts(page: &mut String, status: &Status, language: Language) {
    if status.alerts.is_empty() {
        return;
    }
    add(page, &format!("<h2>{}</h2><ul role=\"alert\">", language.pick("Avisos", "Alerts")));
    for alert in &status.alerts {
        let hint = alert.hint.as_deref().map(|hint| format!("<br><em>{}</em>", escape(hint)));
        add(
            page,
            &format!(
                "<li><strong>{}</strong>: {}{}</li>",
                escape(&alert.code),
                escape(&alert.what),
                hint.unwrap_or_default()
            ),
        );
    }
    page.push_str("</ul>");
}

fn capture(page: &mut String, status: &Status, language: Language) {
    let t = |spanish, english| language.pick(spanish, english);
    let source = &status.source;
    table(
        page,
        t("Captura", "Capture"),
        &[
            (t("Posición en el registro", "Position in the log"), text(source.position.as_deref())),
            (
                t("Retraso (segundos)", "Lag (seconds)"),
                text(source.lag_seconds.map(|lag| format!("{lag:.1}")).as_deref()),
            ),
            (
                t(
                    "Horas hasta que el servidor borre el registro",
                    "Hours until the server cleans the log up",
                ),
                text(source.retention_hours.map(|hours| format!("{hours:.1}")).as_deref()),
            ),
            (t("Cambios de fila capturados", "Row changes captured"), status.captured_changes.to_string()),
        ],
    );
}

fn delivery(page: &mut String, status: &Status, language: Language) {
    let t = |spanish, english| language.pick(spanish, english);
    let last = status.flush.last.as_ref();
    let ended = last.map(|flush| {
        let result = flush.result.clone().unwrap_or_else(|| t("en curso", "under way").into());
        let at = flush.finished_at.as_deref().unwrap_or(&flush.started_at);
        format!("{result}, {at}, {}: {}", t("registros", "records"), flush.records)
    });
    table(
        page,
        t("Envío al tablero", "Delivery to the dashboard"),
        &[
            (
                t("Cambios de estado por enviar", "Status changes to be sent"),
                status.delta.records.to_string(),
            ),
            (t("Próximo envío", "Next flush"), text(status.flush.next_at.as_deref())),
            (t("Último envío", "Last flush"), text(ended.as_deref())),
            (
                t("Intentos fallidos seguidos", "Failed attempts in a row"),
                status.flush.failed_attempts.to_string(),
            ),
            (t("En cuarentena: filas", "In quarantine: rows"), status.quarantine.rows.to_string()),
            (t("En cuarentena: registros", "In quarantine: records"), status.quarantine.records.to_string()),
            (
                t("Filas que esperan a su fila padre", "Rows that wait for their parents"),
                status.quarantine.waiting.to_string(),
            ),
        ],
    );
}

fn history(page: &mut String, status: &Status, language: Language) {
    let t = |spanish, english| language.pick(spanish, english);
    let backfill = &status.backfill;
    let state = match backfill.state.as_str() {
        "copied" => t("copiada, sin pedir", "copied, not asked for"),
        "sending" => t("enviándose", "being sent"),
        "done" => t("terminada", "done"),
        _ => t("sin empezar", "not begun"),
    };
    table(
        page,
        t("Carga histórica", "Backfill"),
        &[
            (t("Estado", "State"), state.to_owned()),
            (t("Filas leídas", "Rows read"), backfill.rows.to_string()),
            (t("Registros confirmados", "Records acknowledged"), backfill.records.to_string()),
            (t("Registros por enviar", "Records to be sent"), backfill.waiting.to_string()),
        ],
    );
    if status.gaps.is_empty() {
        return;
    }
    add(page, &format!("<h2>{}</h2><ul>", t("Pérdidas del registro", "Losses of the log")));
    for gap in &status.gaps {
        let repaired = gap.repaired_at.as_deref().map_or_else(
            || t("en reparación", "being repaired").to_owned(),
            |at| format!("{} {at}", t("reparada", "repaired")),
        );
        add(
            page,
            &format!(
                "<li>{}: {} ({}: {})</li>",
                escape(&gap.found_at),
                escape(&repaired),
                t("registros", "records"),
                gap.records
            ),
        );
    }
    page.push_str("</ul>");
}

fn table(page: &mut String, title: &str, rows: &[(&str, String)]) {
    add(page, &format!("<h2>{title}</h2><table><tbody>"));
    for (name, value) in rows {
        add(page, &format!("<tr><th scope=\"row\">{name}</th><td>{}</td></tr>", escape(value)));
    }
    page.push_str("</tbody></table>");
}

fn text(value: Option<&str>) -> String {
    value.unwrap_or("—").to_owned()
}

fn add(page: &mut String, piece: &str) {
    page.push_str(piece);
}

fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spanish_unless_the_browser_prefers_english() {
        assert_eq!(Language::preferred(None), Language::Spanish);
        assert_eq!(Language::preferred(Some("en-US,en;q=0.9,es;q=0.8")), Language::English);
        assert_eq!(Language::preferred(Some("es-DO")), Language::Spanish);
    }

    #[test]
    fn what_comes_from_outside_cannot_become_markup() {
        assert_eq!(escape("<b>'\"&"), "&lt;b&gt;&#39;&quot;&amp;");
    }
}
