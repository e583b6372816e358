//! The command line.

use std::path::PathBuf;

use chrono::NaiveDate;
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

mod dates;
mod tablero;

use dates::{day, month};
pub use tablero::TableroArgs;

/// Reads a database's log and reports every status change of a request to the monitoring dashboard.
///
/// A first installation goes: `init` writes a configuration, `setup` prints the SQL that the database's
/// administrator must run, `check` says what is still missing, `run` starts the daemon, and `backfill`
/// sends the history once. `tablero` starts a simulator of the dashboard to rehearse against.
///
/// Exit status: 0 done; 1 failed; 2 bad usage or configuration; 3 done, but something is in quarantine.
#[derive(Debug, Parser)]
#[command(name = "bitacora", version, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// The configuration file.
    #[arg(short, long, global = true, value_name = "FILE", default_value = "bitacora.toml")]
    pub config: PathBuf,
    /// How log lines are written to stderr.
    #[arg(long, global = true, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// Log more; twice for still more.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write an annotated configuration for an engine
    ///
    /// The file explains every key. An existing file is never overwritten without --force.
    #[command(after_help = "Example:\n  bitacora init --engine postgres -c bitacora.toml")]
    Init(InitArgs),
    /// Print the SQL that the database's administrator must run
    ///
    /// Prints the statements for this very configuration, least rights first, each with its reason: the
    /// user, its rights, the publication. Nothing is changed unless --apply is given, which runs them with
    /// the configuration's own user.
    #[command(after_help = "Example:\n  bitacora setup > for-the-dba.sql")]
    Setup(SetupArgs),
    /// Verify configuration, database, mapping and endpoint
    ///
    /// Looks at everything at once: the server's settings and rights, the table and its columns, the mapping
    /// on sample rows, the dashboard's endpoint (no record is sent), the ledger's folder, the schedule and
    /// the clock. Every finding says what is wrong, why it matters, and the exact command that mends it.
    /// Exit status 1 when anything stands in the way.
    #[command(
        after_help = "Examples:\n  bitacora check\n  bitacora check --alerts\n  bitacora check --json | jq '.findings[] | \
                            select(.severity == \"error\")'"
    )]
    Check(CheckArgs),
    /// Send the history, once
    ///
    /// Sends every request opened since the first day of [backfill] month by month, oldest first, in batches
    /// of at most 1000. It can be stopped at any moment and goes on where it stopped; when it is done,
    /// running it again says so and sends nothing. It works beside a running daemon and without one.
    #[command(after_help = "Examples:\n  bitacora backfill --dry-run\n  bitacora backfill\n  bitacora \
                            backfill --from 2024-01-01 --to 2024-12-31")]
    Backfill(BackfillArgs),
    /// Run the daemon: stream, flush on schedule, serve the status page
    ///
    /// Streams every committed change into the ledger and flushes the delta on schedule. A ledger without a
    /// position starts at the log's present end, at --from, or at the confirmed position of a slot that
    /// already exists. SIGTERM and Ctrl-C stop it within 10 s, with nothing lost.
    #[command(after_help = "Examples:\n  bitacora run -c /etc/bitacora/bitacora.toml\n  bitacora run \
                            --from 0/16B3748")]
    Run(RunArgs),
    /// Flush the delta now
    ///
    /// Seals the delta and sends it batch by batch until each is acknowledged. A running daemon does it when
    /// there is one; otherwise the command does it itself.
    #[command(after_help = "Examples:\n  bitacora flush\n  bitacora flush --dry-run")]
    Flush(FlushArgs),
    /// Show position, lag, delta, flushes, backfill and quarantine
    ///
    /// With --json the keys are stable: they are only ever added to, and what is unknown is null.
    #[command(after_help = "Examples:\n  bitacora status\n  bitacora status --json | jq .delta.records")]
    Status(StatusArgs),
    /// Show the whole life of one request
    ///
    /// Every status change of the request with its log position, when it was captured, in which batch it
    /// went, and when the dashboard acknowledged it.
    #[command(after_help = "Example:\n  bitacora explain SOL-2026-000123")]
    Explain(ExplainArgs),
    /// Compare the database with what the dashboard was told
    ///
    /// Counts and compares month by month of opening; where a month differs, request by request. It is exact while the
    /// daemon streams: what is captured and not acknowledged yet is on its way, and no difference. Without a daemon it
    /// first captures what the log still holds, and sends nothing. --repair puts what is missing or different into the
    /// delta, from where it leaves with the next flush.
    ///
    /// Exit status: 0 nothing differs, or all that does was repaired; 1 something differs; 2 bad usage or
    /// configuration; 3 nothing differs, but something is in quarantine or cannot be mapped.
    #[command(after_help = "Examples:\n  bitacora audit\n  bitacora audit --month 2024-05 --json | jq \
                            '.differences[].request_id'\n  bitacora audit --repair")]
    Audit(AuditArgs),
    /// Show, retry or discard what could not be sent
    ///
    /// Rows that the mapping rejects and records that the dashboard refuses are kept with their reason.
    /// Mend the configuration or the data, then `retry`.
    #[command(
        after_help = "Examples:\n  bitacora quarantine list\n  bitacora quarantine retry\n  bitacora \
                            quarantine discard 17 18",
        arg_required_else_help = true
    )]
    Quarantine(QuarantineArgs),
    /// Take away what bitacora has in the database
    ///
    /// Prints the statements that drop what only this configuration needs: on PostgreSQL the replication slot and the
    /// publication, on SQL Server the capture instance that `setup` made, on MySQL and MariaDB nothing. Then it asks,
    /// and runs them with the configuration's own user. It says what stays: the user, the server's settings, the
    /// ledger. While a daemon runs it refuses.
    #[command(
        after_help = "Examples:\n  bitacora uninstall --dry-run > for-the-dba.sql\n  bitacora uninstall"
    )]
    Uninstall(UninstallArgs),
    /// Run a simulator of the dashboard
    ///
    /// It takes records like the dashboard, refuses what the dashboard would refuse, shows what it has
    /// received, and can be told to fail in every way a network and a server can. Nothing leaves this
    /// machine.
    #[command(
        after_help = "Examples:\n  bitacora tablero\n  bitacora tablero --fault 503:3\n  bitacora tablero --fault \
                            x-road=server.clientproxy.unknown_member\n  curl \
                            http://127.0.0.1:9188/_tablero/summary"
    )]
    Tablero(TableroArgs),
    /// Print what a shell needs to complete commands and options
    ///
    /// The Debian package installs it for bash, zsh and fish.
    #[command(after_help = "Example:\n  bitacora completions bash > /etc/bash_completion.d/bitacora")]
    Completions(CompletionsArgs),
    /// Print the manual page
    ///
    /// With --dir, one page for each command is written. The Debian package installs them.
    #[command(
        after_help = "Examples:\n  bitacora man | man -l -\n  bitacora man --dir /usr/local/share/man/man1"
    )]
    Man(ManArgs),
}

impl Command {
    /// Whether the command prints a result and ends: then only warnings are logged.
    #[must_use]
    pub fn is_brief(&self) -> bool {
        !matches!(self, Self::Run(_) | Self::Tablero(_))
    }

    /// The service as which Windows' service manager is to run this, if it is.
    #[cfg(windows)]
    #[must_use]
    pub fn windows_service(&self) -> Option<&str> {
        match self {
            Self::Run(args) => args.windows_service.as_deref(),
            _ => None,
        }
    }
}

/// `bitacora init`.
#[derive(Debug, Clone, Args)]
pub struct InitArgs {
    /// The kind of database
    #[arg(long, value_enum)]
    pub engine: EngineName,
    /// Overwrite the file if it exists
    #[arg(long)]
    pub force: bool,
}

/// An engine on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EngineName {
    /// PostgreSQL 13 to 18
    Postgres,
    /// MySQL 8.0 to 9.x, MariaDB 10.6 and newer
    Mysql,
    /// Microsoft SQL Server
    Sqlserver,
}

/// `bitacora setup`.
#[derive(Debug, Clone, Args)]
pub struct SetupArgs {
    /// Run the statements with the configuration's user instead of printing them only
    #[arg(long)]
    pub apply: bool,
}

/// `bitacora check`.
#[derive(Debug, Clone, Args)]
pub struct CheckArgs {
    /// Send a test message by every channel of the configuration's section alerts as well
    #[arg(long)]
    pub alerts: bool,
    /// Print the findings as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `bitacora backfill`.
#[derive(Debug, Clone, Args)]
pub struct BackfillArgs {
    /// The first opening day to send [default: `from` of the configuration's section backfill]
    #[arg(long, value_name = "DATE", value_parser = day)]
    pub from: Option<NaiveDate>,
    /// The last opening day to send [default: today]
    #[arg(long, value_name = "DATE", value_parser = day)]
    pub to: Option<NaiveDate>,
    /// Scan, map and count; store nothing and send nothing
    #[arg(long, conflicts_with = "restart")]
    pub dry_run: bool,
    /// Copy the table again and send every request's present status again
    #[arg(long)]
    pub restart: bool,
}

/// `bitacora run`.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// Where a ledger without a position begins, in the engine's own spelling
    #[arg(long, value_name = "POSITION")]
    pub from: Option<String>,
    /// Run under Windows' service manager, as the service of this name, and log into files beside the configuration
    #[cfg(windows)]
    #[arg(long, value_name = "NAME")]
    pub windows_service: Option<String>,
}

/// `bitacora flush`.
#[derive(Debug, Clone, Args)]
pub struct FlushArgs {
    /// Say what would be sent; send nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `bitacora status`.
#[derive(Debug, Clone, Args)]
pub struct StatusArgs {
    /// Print the status as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `bitacora explain`.
#[derive(Debug, Clone, Args)]
pub struct ExplainArgs {
    /// The request, as the dashboard knows it
    pub request_id: String,
    /// Print the life as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `bitacora audit`.
#[derive(Debug, Clone, Args)]
pub struct AuditArgs {
    /// Only what was opened in this month
    #[arg(long, value_name = "YYYY-MM", value_parser = month)]
    pub month: Option<u32>,
    /// Put what is missing or different into the delta
    #[arg(long)]
    pub repair: bool,
    /// Print the result as one JSON object, with every difference
    #[arg(long)]
    pub json: bool,
}

/// `bitacora quarantine`.
#[derive(Debug, Clone, Args)]
pub struct QuarantineArgs {
    /// What to do with the quarantine.
    #[command(subcommand)]
    pub action: QuarantineAction,
}

/// What to do with the quarantine.
#[derive(Debug, Clone, Subcommand)]
pub enum QuarantineAction {
    /// Show the items with their reasons
    ///
    /// Rows could not be mapped; records were refused by the dashboard.
    #[command(after_help = "Example:\n  bitacora quarantine list --kind rows --limit 20")]
    List(QuarantineListArgs),
    /// Map rows again and send records again, after a mend
    ///
    /// Rows are mapped with the configuration as it is now. What still cannot be mapped stays, with its new
    /// reason. What succeeds joins the delta and leaves with the next flush.
    #[command(after_help = "Example:\n  bitacora quarantine retry")]
    Retry,
    /// Give items up for good
    ///
    /// What is discarded is never sent. This cannot be undone.
    #[command(
        after_help = "Examples:\n  bitacora quarantine discard 17 18\n  bitacora quarantine discard --all"
    )]
    Discard(QuarantineDiscardArgs),
}

/// `bitacora quarantine list`.
#[derive(Debug, Clone, Args)]
pub struct QuarantineListArgs {
    /// Only one kind of item
    #[arg(long, value_enum)]
    pub kind: Option<QuarantineKind>,
    /// Items to show at most
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    pub limit: u32,
    /// Only items after this number
    #[arg(long, value_name = "ID", default_value_t = 0)]
    pub after: i64,
    /// Print the items as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `bitacora quarantine discard`.
#[derive(Debug, Clone, Args)]
pub struct QuarantineDiscardArgs {
    /// The items, by the number that `list` shows
    #[arg(value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
    pub ids: Vec<i64>,
    /// Every item
    #[arg(long)]
    pub all: bool,
}

/// A kind of quarantined item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum QuarantineKind {
    /// Rows of the table that could not be mapped
    Rows,
    /// Records that the dashboard refuses
    Records,
}

/// `bitacora uninstall`.
#[derive(Debug, Clone, Args)]
pub struct UninstallArgs {
    /// Do not ask
    #[arg(long, conflicts_with = "dry_run")]
    pub yes: bool,
    /// Only print the statements; change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `bitacora completions`.
#[derive(Debug, Clone, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// `bitacora man`.
#[derive(Debug, Clone, Args)]
pub struct ManArgs {
    /// Write one page for each command into this folder
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_a_short_and_a_long_help_with_an_example() {
        fn look_at(command: &clap::Command) {
            for command in command.get_subcommands() {
                let name = command.get_name();
                assert!(command.get_about().is_some(), "{name} has no short help");
                assert!(command.get_long_about().is_some(), "{name} has no long help");
                let example = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(example.starts_with("Example"), "{name} has no example");
                look_at(command);
            }
        }
        look_at(&Cli::command());
    }

    #[test]
    fn a_month_is_a_year_and_a_month() {
        assert_eq!(month("2024-05"), Ok(202_405));
        for text in ["", "2024", "2024-5", "2024-13", "2024-05-01", "-024-05", "20240-5"] {
            assert!(month(text).is_err(), "{text}");
        }
    }

    #[test]
    fn options_of_every_command_may_follow_the_command() {
        let cli = Cli::try_parse_from(["bitacora", "status", "--json", "-c", "x.toml", "-vv"]).unwrap();
        assert_eq!(cli.global.config, PathBuf::from("x.toml"));
        assert_eq!(cli.global.verbose, 2);
    }
}
