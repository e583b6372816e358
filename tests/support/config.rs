//! A configuration file as a test writes it.

/// The mapping of the suite's own table.
pub(crate) const MAPPING: &str = r#"
service_id = { column = "servicio", map = { LIC = "101", PER = "102" } }
request_id = { column = "numero" }
opening_date = { column = "fecha_apertura", time_zone = "America/Santo_Domingo" }
status_id = { column = "estado", map = { RECIBIDA = 9, REVISION = 2, APROBADA = 3, RECHAZADA = 8, ENTREGADA = 14 } }
last_modified_date = { column = "fecha_modificacion", time_zone = "America/Santo_Domingo" }
"#;

/// The sections of a configuration, each as the lines under its heading.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// `[source]` and its sub-sections, headings included.
    pub(crate) source: String,
    /// Empty where each table has its own.
    pub(crate) mapping: String,
    pub(crate) schedule: String,
    pub(crate) delivery: String,
    pub(crate) backfill: String,
    pub(crate) ledger: String,
    pub(crate) alerts: String,
    pub(crate) status: String,
}

impl Config {
    /// The suite's own table, sent to `url` quickly and patiently, with no flush on schedule during the test.
    pub(crate) fn new(source: String, url: &str) -> Self {
        Self {
            source,
            mapping: MAPPING.to_owned(),
            // The 29th of February: commands flush, the schedule does not.
            schedule: "cron = \"0 3 29 2 *\"\n".to_owned(),
            delivery: format!(
                "url = \"{url}\"\ntimeout = \"10s\"\n\
                 retry = {{ first = \"20ms\", factor = 2.0, cap = \"200ms\", give_up_after = \"60s\" }}\n"
            ),
            backfill: String::new(),
            ledger: "dir = \"ledger\"\n".to_owned(),
            alerts: String::new(),
            status: "listen = \"127.0.0.1:0\"\n".to_owned(),
        }
    }

    /// The whole file.
    pub(crate) fn text(&self) -> String {
        let mut text = self.source.clone();
        for (name, lines) in [
            ("mapping", &self.mapping),
            ("schedule", &self.schedule),
            ("delivery", &self.delivery),
            ("backfill", &self.backfill),
            ("ledger", &self.ledger),
            ("alerts", &self.alerts),
            ("status", &self.status),
        ] {
            // Each of several tables has a mapping of its own, in `source`.
            if name != "mapping" || !lines.is_empty() {
                text.push_str(&format!("\n[{name}]\n{lines}\n"));
            }
        }
        text
    }
}

/// Replaces `from`, which must be there, in `text`.
pub(crate) fn replace(text: &mut String, from: &str, to: &str) {
    assert!(text.contains(from), "{from:?} is not in {text:?}");
    *text = text.replace(from, to);
}
