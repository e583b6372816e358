//! The command line.

use clap::{Parser, ValueEnum};
use testbed::mysql::Product;
use testbed::postgres::Version;

/// Shows the whole product on this machine, with nothing to prepare.
///
/// It brings its own database, plays years of history and a live workload, runs check, backfill, stream and flush
/// against a simulator of the dashboard, kills the connector in the middle, and proves that all arrived.
///
/// Exit status: 0 all arrived exactly; 1 it did not, or the demonstration failed; 2 bad usage.
#[derive(Debug, Parser)]
#[command(name = "demo", version)]
pub(crate) struct DemoOptions {
    /// The database engine; SQL Server is a stand-in, because none can be fetched
    #[arg(long, value_enum, default_value = "postgres")]
    engine: EngineChoice,
    /// Which PostgreSQL: whichever is to be had soonest, the distribution's own, or 18
    #[arg(long, value_enum, default_value = "any", value_name = "VERSION")]
    postgres: PostgresChoice,
    /// How many requests the institution has since 2020
    #[arg(long, default_value_t = 240_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=20_000_000))]
    requests: u32,
    /// For how many seconds it works while the connector reads along
    #[arg(long, default_value_t = 20, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) seconds: u64,
    /// The seed of everything that is made up
    #[arg(long, default_value_t = 2020)]
    pub(crate) seed: u64,
    /// Leave everything running in the end, for a look at the status page
    #[arg(long)]
    pub(crate) keep: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum EngineChoice {
    Postgres,
    Mysql,
    Mariadb,
    Sqlserver,
}

/// Which server the demonstration brings up.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Engine {
    Postgres(Version),
    Mysql(Product),
    SqlServer,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum PostgresChoice {
    Any,
    Distribution,
    #[value(name = "18")]
    V18,
}

impl DemoOptions {
    /// Which server the demonstration brings up.
    pub(crate) fn engine(&self) -> Engine {
        match self.engine {
            EngineChoice::Postgres => Engine::Postgres(self.version()),
            EngineChoice::Mysql => Engine::Mysql(Product::MySql),
            EngineChoice::Mariadb => Engine::Mysql(Product::MariaDb),
            EngineChoice::Sqlserver => Engine::SqlServer,
        }
    }

    fn version(&self) -> Version {
        match self.postgres {
            PostgresChoice::Any => Version::Any,
            PostgresChoice::Distribution => Version::Distribution,
            PostgresChoice::V18 => Version::V18,
        }
    }

    /// How many requests the institution has since 2020.
    pub(crate) fn request_count(&self) -> usize {
        usize::try_from(self.requests).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        DemoOptions::command().debug_assert();
    }

    #[test]
    fn an_engine_that_is_not_there_yet_is_named_clearly() {
        let error = DemoOptions::try_parse_from(["demo", "--engine", "oracle"]).unwrap_err();
        assert!(error.to_string().contains("postgres, mysql, mariadb, sqlserver"), "{error}");
    }
}
