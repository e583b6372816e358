//! The status page: one self-contained document, in Spanish or English, that renews itself.
//!
//! All of it is made here. Its script only fetches the same page again and exchanges the parts that live, so that
//! the page says the same with scripts and without.

mod chart;
mod delivery;
mod life;
mod source;

use alerts::Language;
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use ledger::LifeEvent;
use pipeline::Status;

use super::html::escape;
use super::overview::Overview;

const STYLE: &str = include_str!("page/style.css");
const SCRIPT: &str = include_str!("page/live.js");

/// Seconds after which a page without scripts asks again.
const RELOAD_SECONDS: u32 = 15;

/// Everything that the page shows.
pub(super) struct View<'a> {
    pub(super) status: &'a Status,
    pub(super) overview: &'a Overview,
    pub(super) zone: Tz,
    /// Which connector this is.
    pub(super) source: &'a str,
    /// The request that was looked up, and what is known of it.
    pub(super) life: Option<(&'a str, Result<Vec<LifeEvent>, String>)>,
}

/// The language that a browser asks for; Spanish, the operators' language, when in doubt.
pub(super) fn preferred(accept_language: Option<&str>) -> Language {
    let weighed = accept_language.unwrap_or_default().split(',').filter_map(|range| {
        let (tag, weight) = range.split_once(";q=").unwrap_or((range, "1"));
        let weight = weight.trim().parse::<f32>().ok().filter(|weight| *weight > 0.0)?;
        match tag.trim().to_ascii_lowercase().split('-').next()? {
            "es" => Some((weight, Language::Spanish)),
            "en" => Some((weight, Language::English)),
            _ => None,
        }
    });
    // Of two that are liked equally the first counts.
    weighed
        .fold(None, |best: Option<(f32, Language)>, this| match best {
            Some(best) if best.0 >= this.0 => Some(best),
            _ => Some(this),
        })
        .map_or(Language::Spanish, |(_, language)| language)
}

/// Writes the page; its style and script carry `nonce`.
pub(super) fn render(view: &View<'_>, language: Language, nonce: &str) -> String {
    let t = |spanish, english| language.pick(spanish, english);
    let (lang, name) = (language.code(), escape(view.source));
    let title = t("bitácora: estado", "bitacora: status");
    let (other, other_name) = match language {
        Language::Spanish => ("en", "English"),
        Language::English => ("es", "Español"),
    };
    let stale = t(
        "Sin respuesta del conector: lo que se ve es anterior.",
        "No answer from the connector: what you see is from before.",
    );
    let parts = [
        live("now", source::state(view, language)),
        live("alerts", source::alerts(view, language)),
        life::section(view, language),
        live("capture", source::capture(view, language)),
        live("tables", source::tables(view, language)),
        live("delivery", delivery::delta(view, language)),
        live("flushes", chart::section(view, language)),
        live("backfill", delivery::backfill(view, language)),
        live("quarantine", delivery::quarantine(view, language)),
        live("gaps", source::gaps(view, language)),
    ]
    .concat();
    format!(
        "<!doctype html>\n<html lang=\"{lang}\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <noscript><meta http-equiv=\"refresh\" content=\"{RELOAD_SECONDS}\"></noscript>\
         <link rel=\"icon\" href=\"data:,\"><title>{title} · {name}</title><style nonce=\"{nonce}\">{STYLE}</style></head>\
         <body data-renew=\"/?lang={lang}\"><header><h1>{title} <span class=\"soft\">{name}</span></h1>\
         <nav><a href=\"/?lang={other}\" hreflang=\"{other}\" lang=\"{other}\">{other_name}</a></nav></header>\
         <p id=\"stale\" class=\"stale\" role=\"alert\" hidden>{stale}</p><main>{parts}</main>\
         <script nonce=\"{nonce}\">{SCRIPT}</script></body></html>\n"
    )
}

/// A part that the script renews. Its empty frame stays where there is nothing to show, so that something can come.
fn live(id: &str, content: String) -> String {
    format!("<div id=\"{id}\" data-live>{content}</div>")
}

fn section(id: &str, title: &str, content: &str) -> String {
    format!("<section aria-labelledby=\"h-{id}\"><h2 id=\"h-{id}\">{title}</h2>{content}</section>")
}

/// A moment as RFC 3339 writes it, by the clocks of `zone`.
fn moment(written: Option<&str>, zone: Tz) -> String {
    let Some(at) = written.and_then(|written| DateTime::parse_from_rfc3339(written).ok()) else {
        return "—".to_owned();
    };
    shown(at.with_timezone(&Utc), zone)
}

/// A moment in microseconds since the epoch, by the clocks of `zone`.
fn moment_at(at: Option<i64>, zone: Tz) -> String {
    at.and_then(DateTime::from_timestamp_micros).map_or_else(|| "—".to_owned(), |at| shown(at, zone))
}

fn shown(at: DateTime<Utc>, zone: Tz) -> String {
    format!(
        "<time datetime=\"{}\">{}</time>",
        at.to_rfc3339(),
        at.with_timezone(&zone).format("%Y-%m-%d %H:%M:%S")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spanish_unless_the_browser_prefers_english() {
        for (asked, language) in [
            (None, Language::Spanish),
            (Some("en-US,en;q=0.9,es;q=0.8"), Language::English),
            (Some("es-DO"), Language::Spanish),
            (Some("fr-FR,fr;q=0.9,en;q=0.8"), Language::English),
            (Some("en;q=0.3, es;q=0.7"), Language::Spanish),
            (Some("en;q=0"), Language::Spanish),
            (Some(";;,q=x"), Language::Spanish),
        ] {
            assert_eq!(preferred(asked), language, "{asked:?}");
        }
    }

    #[test]
    fn nothing_on_the_page_runs_but_its_own_script() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = ledger::Ledger::open(folder.path(), "test").unwrap();
        let health = pipeline::Health::default().view();
        let mut status = pipeline::status(&ledger, "postgres", &health, Utc::now()).unwrap();
        let hostile = "\"><script>alert(1)</script><img src=x onerror='x'>";
        status.source.position = Some(hostile.into());
        status.source.last_error = Some(hostile.into());
        status.alerts.push(pipeline::Alert {
            code: hostile.into(),
            since: Utc::now(),
            what: hostile.into(),
            hint: Some(hostile.into()),
        });
        status.delta.records = 1;
        let table =
            pipeline::TableStatus { table: hostile.into(), copied: 1, delta: 1, waiting: 0, quarantine: 0 };
        status.tables = vec![table.clone(), table];
        let mut overview = Overview::default();
        overview.by_service.insert(hostile.into(), 1);
        overview.by_status.insert(9, 1);
        overview.reasons.push((ledger::QuarantineKind::Row, hostile.into(), 1));
        for language in [Language::Spanish, Language::English] {
            let (status, overview) = (&status, &overview);
            let life = Some((hostile, Ok(Vec::new())));
            let view = View { status, overview, zone: Tz::UTC, source: hostile, life };
            let page = render(&view, language, "n0nce");
            assert_eq!(page.matches("<script").count(), 1, "{page}");
            assert!(page.contains("<script nonce=\"n0nce\">") && page.contains("<style nonce=\"n0nce\">"));
            for forbidden in ["<img", " style=", "\"><script>alert", "http://", "https://"] {
                assert!(!page.contains(forbidden), "{forbidden} is in {page}");
            }
            assert!(page.contains(&format!("<html lang=\"{}\">", language.code())));
        }
    }
}
