//! The dashboard's side: what leaves next, the one-off historical load, and what was put aside.

use alerts::Language;
use ledger::QuarantineKind;

use super::{View, moment, section};
use crate::commands::status_name;
use crate::serve::html::{escape, facts, table};
use crate::terminal::count;

/// Services that are listed; institutions have dozens at most.
const SERVICES_MAX: usize = 40;

/// What the next flush sends, by service and by status.
pub(super) fn delta(view: &View<'_>, language: Language) -> String {
    let t = |spanish, english| language.pick(spanish, english);
    let (delta, flush) = (&view.status.delta, &view.status.flush);
    let mut content = facts(&[
        (t("Cambios de estado por enviar", "Status changes to be sent"), count(delta.records)),
        (t("El más antiguo", "The oldest of them"), moment(delta.oldest_at.as_deref(), view.zone)),
        (t("Próximo envío", "Next flush"), moment(flush.next_at.as_deref(), view.zone)),
        (t("Intentos fallidos seguidos", "Failed attempts in a row"), flush.failed_attempts.to_string()),
    ]);
    if delta.records > 0 {
        let services: Vec<_> = view
            .overview
            .by_service
            .iter()
            .take(SERVICES_MAX)
            .map(|(service, records)| vec![escape(service), count(*records)])
            .collect();
        let statuses: Vec<_> = view
            .overview
            .by_status
            .iter()
            .map(|(status, records)| vec![escape(&status_name(*status)), count(*records)])
            .collect();
        let records = t("Registros", "Records");
        content.push_str(&format!(
            "<div class=\"two\">{}{}</div>",
            table(t("Por servicio", "By service"), &[t("Servicio", "Service"), records], &services),
            table(t("Por estado", "By status"), &[t("Estado", "Status"), records], &statuses)
        ));
    }
    section("delta", t("Por enviar esta noche", "To be sent tonight"), &content)
}

/// The historical load, month by month.
pub(super) fn backfill(view: &View<'_>, language: Language) -> String {
    let t = |spanish, english| language.pick(spanish, english);
    let backfill = &view.status.backfill;
    let state = match backfill.state.as_str() {
        "copied" => t("tabla copiada, envío sin pedir", "table copied, delivery not asked for"),
        "sending" => t("enviándose", "being sent"),
        "done" => t("terminada", "done"),
        _ => t("sin empezar", "not begun"),
    };
    let mut content = facts(&[
        (t("Estado", "State"), state.to_owned()),
        (t("Filas leídas", "Rows read"), count(backfill.rows)),
        (t("Registros confirmados", "Records acknowledged"), count(backfill.records)),
        (t("Registros por enviar", "Records to be sent"), count(backfill.waiting)),
    ]);
    if !view.overview.months.is_empty() {
        let rows: Vec<_> = view
            .overview
            .months
            .iter()
            .map(|month| {
                vec![
                    format!("{:04}-{:02}", month.month / 100, month.month % 100),
                    count(month.acknowledged),
                    count(month.waiting + month.sending),
                    count(month.refused),
                ]
            })
            .collect();
        let heads = [
            t("Mes", "Month"),
            t("Confirmados", "Acknowledged"),
            t("Por enviar", "To be sent"),
            t("Rechazados", "Refused"),
        ];
        content.push_str(&format!(
            "<details id=\"months\"><summary>{}</summary>{}</details>",
            t("Por mes de apertura", "By month of opening"),
            table(t("Registros por mes de apertura", "Records by month of opening"), &heads, &rows)
        ));
    }
    section("backfill", t("Carga histórica", "Backfill"), &content)
}

/// What was put aside, by reason.
pub(super) fn quarantine(view: &View<'_>, language: Language) -> String {
    let t = |spanish, english| language.pick(spanish, english);
    let quarantine = &view.status.quarantine;
    let mut content = facts(&[
        (t("Filas que no se pudieron traducir", "Rows that could not be mapped"), count(quarantine.rows)),
        (
            t("Registros que el tablero rechaza", "Records that the dashboard refuses"),
            count(quarantine.records),
        ),
        (
            t("Filas que esperan a su fila padre", "Rows that wait for their parents"),
            count(quarantine.waiting),
        ),
    ]);
    if !view.overview.reasons.is_empty() {
        let rows: Vec<_> = view
            .overview
            .reasons
            .iter()
            .map(|(kind, code, items)| {
                let kind = match kind {
                    QuarantineKind::Row => t("fila", "row"),
                    QuarantineKind::Record => t("registro", "record"),
                };
                vec![format!("{kind}: <code>{}</code>", escape(code)), count(*items)]
            })
            .collect();
        content.push_str(&table(
            t("Por motivo", "By reason"),
            &[t("Motivo", "Reason"), t("Elementos", "Items")],
            &rows,
        ));
        content.push_str(&format!(
            "<p class=\"soft\">{}</p>",
            t(
                "Los detalles: <code>bitacora quarantine list</code>",
                "The details: <code>bitacora quarantine list</code>",
            )
        ));
    }
    section("quarantine", t("Cuarentena", "Quarantine"), &content)
}
