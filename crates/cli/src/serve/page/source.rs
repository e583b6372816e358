//! The database's side: whether changes are captured, how far behind, what calls for attention.

use alerts::Language;
use pipeline::SourceState;

use super::{View, moment, section};
use crate::serve::html::{escape, facts, table};
use crate::terminal::count;

/// One sentence that says whether all is well.
pub(super) fn state(view: &View<'_>, language: Language) -> String {
    let t = |spanish, english| language.pick(spanish, english);
    let (class, sentence) = match view.status.source.state {
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
    };
    format!("<p class=\"state {class}\" role=\"status\">{sentence}</p>")
}

/// What stands, in the page's language; what exactly happened in the words of the log.
pub(super) fn alerts(view: &View<'_>, language: Language) -> String {
    let t = |spanish, english| language.pick(spanish, english);
    let told: String = view
        .status
        .alerts
        .iter()
        .map(|alert| {
            let words = alerts::words(&alert.code, language);
            let hint = alert.hint.as_deref().map(|hint| format!(" ({})", escape(hint))).unwrap_or_default();
            let since = alert.since.to_rfc3339();
            format!(
                "<section class=\"alert\"><h2>{}: {}</h2><p>{} {}</p><p><strong>{}:</strong> {}</p>\
                 <p class=\"soft\">{} {} · <span lang=\"en\">{}{hint}</span></p></section>",
                t("Aviso", "Alert"),
                words.title,
                words.what,
                words.data,
                t("Qué hacer", "What to do"),
                words.todo,
                t("Desde", "Since"),
                moment(Some(&since), view.zone),
                escape(&alert.what),
            )
        })
        .collect();
    if told.is_empty() { told } else { format!("<div role=\"alert\">{told}</div>") }
}

/// Position, lag and margin.
pub(super) fn capture(view: &View<'_>, language: Language) -> String {
    let t = |spanish, english| language.pick(spanish, english);
    let source = &view.status.source;
    let unknown = || "—".to_owned();
    let mut rows = vec![
        (t("Atraso", "Behind by"), source.lag_seconds.map_or_else(unknown, |lag| format!("{lag:.1} s"))),
        (
            t("Margen hasta que el servidor borre su registro", "Margin until the server removes its log"),
            source.retention_hours.map_or_else(
                || t("sin límite conocido", "without a known limit").to_owned(),
                |hours| format!("{hours:.1} h"),
            ),
        ),
        (t("Cambios de fila capturados", "Row changes captured"), count(view.status.captured_changes)),
        (t("Motor", "Engine"), escape(&source.engine)),
        (
            t("Posición en el registro", "Position in the log"),
            source.position.as_deref().map_or_else(unknown, escape),
        ),
    ];
    if let Some(error) = &source.last_error {
        rows.push((t("Último error", "Last error"), format!("<span lang=\"en\">{}</span>", escape(error))));
    }
    section("capture", t("Captura", "Capture"), &facts(&rows))
}

/// What there is of each table, where there are several.
pub(super) fn tables(view: &View<'_>, language: Language) -> String {
    let t = |spanish, english| language.pick(spanish, english);
    let tables = &view.status.tables;
    if tables.len() < 2 {
        return String::new();
    }
    let heads = [
        t("Tabla", "Table"),
        t("Filas copiadas", "Rows copied"),
        t("Registros por enviar", "Records to be sent"),
        t("Filas que esperan a su fila padre", "Rows that wait for their parents"),
        t("En cuarentena", "In quarantine"),
    ];
    let rows: Vec<_> = tables
        .iter()
        .map(|one| {
            let counts = [one.copied, one.delta, one.waiting, one.quarantine].map(count);
            std::iter::once(escape(&one.table)).chain(counts).collect()
        })
        .collect();
    let title = t("Tablas", "Tables");
    section("tables", title, &table(title, &heads, &rows))
}

/// Losses of the log, and how they were mended.
pub(super) fn gaps(view: &View<'_>, language: Language) -> String {
    let t = |spanish, english| language.pick(spanish, english);
    if view.status.gaps.is_empty() {
        return String::new();
    }
    let items: String = view
        .status
        .gaps
        .iter()
        .map(|gap| {
            let mended = gap.repaired_at.as_deref().map_or_else(
                || t("en reparación", "being repaired").to_owned(),
                |at| format!("{} {}", t("reparada", "repaired"), moment(Some(at), view.zone)),
            );
            format!(
                "<li>{}: {mended} ({}: {})</li>",
                moment(Some(&gap.found_at), view.zone),
                t("registros", "records"),
                count(gap.records)
            )
        })
        .collect();
    section("gaps", t("Pérdidas del registro", "Losses of the log"), &format!("<ul>{items}</ul>"))
}
