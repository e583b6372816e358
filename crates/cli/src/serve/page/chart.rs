//! The last flushes: as bars for the eye, and as a table for everybody.

use alerts::Language;
use ledger::{FlushResult, FlushRow};

use super::{View, moment_at};
use crate::serve::html::table;
use crate::serve::overview::FLUSHES;
use crate::terminal::count;

const WIDTH: u64 = 600;
const HEIGHT: u64 = 140;
const GAP: u64 = 4;
/// A flush without records is still seen.
const BAR_MIN: u64 = 3;

/// The chart with its table.
pub(super) fn section(view: &View<'_>, language: Language) -> String {
    let t = |spanish, english| language.pick(spanish, english);
    let flushes = &view.overview.flushes;
    let title = t("Últimos envíos", "Latest flushes");
    if flushes.is_empty() {
        return super::section("flushes", title, t("Todavía no hubo envíos.", "There was no flush yet."));
    }
    let rows: Vec<_> = flushes
        .iter()
        .rev()
        .map(|flush| {
            vec![
                moment_at(Some(flush.started_at), view.zone),
                result(flush, language).1.to_owned(),
                count(flush.records),
                count(flush.batches),
            ]
        })
        .collect();
    let heads =
        [t("Comienzo", "Begun"), t("Resultado", "Result"), t("Registros", "Records"), t("Lotes", "Batches")];
    let content = format!(
        "{}<details id=\"flush-table\"><summary>{}</summary>{}</details>",
        bars(flushes, language),
        t("Los mismos envíos como tabla", "The same flushes as a table"),
        table(title, &heads, &rows)
    );
    super::section("flushes", title, &content)
}

fn bars(flushes: &[FlushRow], language: Language) -> String {
    let t = |spanish, english| language.pick(spanish, english);
    let most = flushes.iter().map(|flush| flush.records).max().unwrap_or_default().max(1);
    let step = WIDTH / FLUSHES as u64;
    let mut drawn = String::new();
    for (place, flush) in (0_u64..).zip(flushes) {
        let (class, result) = result(flush, language);
        // In 128 bits: a product of two counts of 64 bits cannot overflow them.
        let scaled = u128::from(flush.records) * u128::from(HEIGHT) / u128::from(most);
        let height = u64::try_from(scaled).unwrap_or(HEIGHT).clamp(BAR_MIN, HEIGHT);
        drawn.push_str(&format!(
            "<rect class=\"bar-{class}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{height}\"><title>{result}: {} {}</title></rect>",
            place * step,
            HEIGHT - height,
            step - GAP,
            count(flush.records),
            t("registros", "records"),
        ));
    }
    let sum: u64 = flushes.iter().fold(0, |sum, flush| sum.saturating_add(flush.records));
    let well = flushes.iter().filter(|flush| flush.result == Some(FlushResult::Acknowledged)).count();
    let label = format!(
        "{} {}, {well} {}, {} {}",
        flushes.len(),
        t("envíos", "flushes"),
        t("confirmados por completo", "acknowledged completely"),
        count(sum),
        t("registros", "records")
    );
    format!(
        "<p class=\"soft\">{label}</p><svg viewBox=\"0 0 {WIDTH} {}\" role=\"img\" aria-label=\"{label}\">\
         <line class=\"axis\" x1=\"0\" x2=\"{WIDTH}\" y1=\"{HEIGHT}\" y2=\"{HEIGHT}\"/>{drawn}</svg>",
        HEIGHT + 2
    )
}

fn result(flush: &FlushRow, language: Language) -> (&'static str, &'static str) {
    let t = |spanish, english| language.pick(spanish, english);
    match flush.result {
        Some(FlushResult::Acknowledged) => ("acknowledged", t("confirmado", "acknowledged")),
        Some(FlushResult::Partial) => {
            ("partial", t("confirmado, con cuarentena", "acknowledged, with quarantine"))
        }
        Some(FlushResult::Failed) => ("failed", t("falló", "failed")),
        Some(FlushResult::Halted) => ("halted", t("detenido", "halted")),
        None => ("open", t("en curso", "under way")),
    }
}
