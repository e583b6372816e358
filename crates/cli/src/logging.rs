//! Log lines, on stderr or wherever a service's go.

use std::io::IsTerminal;

use tracing::Level;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use crate::args::LogFormat;

/// The product's own crates: libraries speak up only when something is wrong, or a little at `-vv`.
const OWN: [&str; 11] = [
    "bitacora",
    "alerts",
    "change",
    "normalizer",
    "ledger",
    "delivery",
    "pipeline",
    "tablero",
    "postgres_connector",
    "mysql_connector",
    "sqlserver_connector",
];

/// Where log lines go.
pub(crate) struct Sink {
    writer: BoxMakeWriter,
    colours: bool,
}

impl Sink {
    /// The terminal, or what stands for it.
    pub(crate) fn stderr() -> Self {
        let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { writer: BoxMakeWriter::new(std::io::stderr), colours }
    }

    /// Files of a service.
    #[cfg(windows)]
    pub(crate) fn files(files: tracing_appender::rolling::RollingFileAppender) -> Self {
        Self { writer: BoxMakeWriter::new(files), colours: false }
    }
}

/// Sends log lines to `sink` from now on.
///
/// `quietly` is for commands whose result is what somebody reads: they log warnings only. A second call in
/// one process changes nothing.
pub(crate) fn start(sink: Sink, format: LogFormat, verbose: u8, quietly: bool) {
    let (own, others) = levels(verbose, quietly);
    let targets = Targets::new()
        .with_default(others)
        .with_targets(OWN.map(|name| (name, LevelFilter::from_level(own))))
        // It warns that it does not encrypt, whether the connector beneath it does or not: `check` knows.
        .with_target("tiberius", LevelFilter::ERROR);
    let registry = tracing_subscriber::registry();
    let started = match format {
        LogFormat::Text => {
            let lines =
                fmt::layer().with_writer(sink.writer).with_ansi(sink.colours).with_target(verbose > 0);
            registry.with(lines.with_filter(targets)).try_init()
        }
        LogFormat::Json => {
            let lines = fmt::layer().json().flatten_event(true).with_writer(sink.writer);
            registry.with(lines.with_filter(targets)).try_init()
        }
    };
    // Only the second call in one process fails, and then the first one's choice stands.
    drop(started);
}

fn levels(verbose: u8, quietly: bool) -> (Level, LevelFilter) {
    match (verbose, quietly) {
        (0, true) => (Level::WARN, LevelFilter::ERROR),
        (0, false) => (Level::INFO, LevelFilter::WARN),
        (1, _) => (Level::DEBUG, LevelFilter::WARN),
        // Libraries' own debug lines may hold statements with their parameters, which are nobody's business.
        _ => (Level::TRACE, LevelFilter::INFO),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_says_more_than_a_command_and_v_says_more_still() {
        assert_eq!(levels(0, true).0, Level::WARN);
        assert_eq!(levels(0, false).0, Level::INFO);
        assert_eq!(levels(1, true), levels(1, false));
        assert_eq!(levels(9, true), (Level::TRACE, LevelFilter::INFO));
    }
}
