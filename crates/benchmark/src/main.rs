//! Measures the connector beside the database's own tools, in one run:
//! `cargo run --release -p benchmark -- --engine postgres`.
//!
//! Everything is a ratio of two whole processes that did the same work on the same server one after the
//! other: the machine's own speed cancels out. The connector's side includes its ledger's commits.
//!
//! - drain: `bitacora run` on a backlog of updates beside `pg_recvlogical` to /dev/null on a second slot of
//!   the same publication; for MySQL and MariaDB beside the reader of binary logs, once to files as they are and once
//!   decoded to /dev/null
//! - snapshot: the first copy of `bitacora run` beside `psql -c "COPY (SELECT …) TO STDOUT"` to /dev/null, or
//!   `mysql --quick -e "SELECT …"`
//! - audit, with `--audit`: `bitacora audit` of what was delivered, without and with four differences, beside the client's
//!   `SELECT count(*)` and one pass of the mapped columns
//! - join, with `--join`: the drain with the opening and the number joined from a parent beside the drain without
//! - flush, with `--flush 1000000`: `bitacora flush` to the simulator, and the share of its time spent waiting for it; with
//!   `--answer-after 5` to one that takes its time

mod audit_run;
mod connector;
mod endpoint;
mod figures;
mod flush_run;
mod join_run;
mod mysql_rival;
mod mysql_run;
mod mysql_stage;
mod postgres_run;
mod rival;
mod stage;

use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use testbed::mysql::Product;

/// What went wrong, in words.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Measures the connector beside the database's own tools.
#[derive(Debug, Parser)]
#[command(name = "benchmark", version)]
struct Options {
    /// The database engine
    #[arg(long, value_enum, default_value = "postgres")]
    engine: Engine,
    /// How often each measurement is taken
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Rows of the table, and updates in the backlog of 1000-row transactions
    #[arg(long, default_value_t = 1_000_000)]
    rows: u32,
    /// Updates in the backlog of single-row transactions
    #[arg(long, default_value_t = 200_000)]
    single: u32,
    /// Measure flushes of so many records instead: how fast, how much memory, and how much of the time waiting
    #[arg(long, value_name = "RECORDS")]
    flush: Option<u32>,
    /// With --flush: how many milliseconds the simulator takes for its answer, beyond what it needs
    #[arg(long, value_name = "MS", default_value_t = 0, requires = "flush")]
    answer_after: u32,
    /// Measure audits of the table instead
    #[arg(long, conflicts_with_all = ["flush", "join"])]
    audit: bool,
    /// Measure what a join costs instead, on PostgreSQL
    #[arg(long, conflicts_with = "flush")]
    join: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Engine {
    Postgres,
    Mysql,
    Mariadb,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    if arguments.nth(1).is_some_and(|argument| argument == connector::AS_CONNECTOR) {
        let program = std::ffi::OsString::from("bitacora");
        return bitacora::main_with(std::iter::once(program).chain(arguments));
    }
    let options = Options::parse();
    let measured = match (options.flush, options.engine) {
        (None, Engine::Postgres) if options.join => join_run::run(&options),
        (None, Engine::Postgres) if options.audit => audit_run::postgres(&options),
        (None, Engine::Mysql) if options.audit => audit_run::mysql(&options, Product::MySql),
        (None, Engine::Mariadb) if options.audit => audit_run::mysql(&options, Product::MariaDb),
        (None, Engine::Mysql | Engine::Mariadb) if options.join => {
            Err("--join is measured on PostgreSQL only: leave --engine out".into())
        }
        (Some(records), _) => flush_run::run(&options, records),
        (None, Engine::Postgres) => postgres_run::run(&options),
        (None, Engine::Mysql) => mysql_run::run(&options, Product::MySql),
        (None, Engine::Mariadb) => mysql_run::run(&options, Product::MariaDb),
    };
    match measured {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("benchmark: {failure}");
            let mut cause = failure.source();
            while let Some(error) = cause {
                eprintln!("  caused by: {error}");
                cause = error.source();
            }
            ExitCode::FAILURE
        }
    }
}
