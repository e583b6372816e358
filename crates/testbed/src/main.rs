//! Runs one throw-away server for as long as a person needs it: `cargo run -p testbed -- 18`.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use testbed::TestbedError;
use testbed::mysql::{self, Product};
use testbed::postgres::{self, Version};
use testbed::sqlserver;

fn main() -> ExitCode {
    let wanted = match std::env::args().nth(1).as_deref() {
        None | Some("any") => Wanted::Postgres(Version::Any),
        Some("distribution") => Wanted::Postgres(Version::Distribution),
        Some("18") => Wanted::Postgres(Version::V18),
        Some("mysql") => Wanted::Mysql(Product::MySql),
        Some("mariadb") => Wanted::Mysql(Product::MariaDb),
        Some("sqlserver") => Wanted::StandIn,
        // The stand-in as a process of its own.
        Some(options) if options.starts_with('{') => return sqlserver::main_with(Some(options.to_owned())),
        Some(other) => {
            eprintln!(
                "unknown server {other:?}, expected any, distribution, 18, mysql, mariadb or sqlserver"
            );
            return ExitCode::from(2);
        }
    };
    match serve(wanted) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Which server the command line asks for.
enum Wanted {
    Postgres(Version),
    Mysql(Product),
    StandIn,
}

/// Prints the server's address, and keeps the server until the standard input ends.
fn serve(wanted: Wanted) -> Result<(), Box<dyn std::error::Error>> {
    match wanted {
        Wanted::Postgres(version) => {
            let server = postgres::Server::start(postgres::Options::new(version))?;
            let title = format!("PostgreSQL {}", server.major());
            hold(&title, server.data_dir(), &server.url("postgres"))?;
        }
        Wanted::Mysql(product) => {
            let server = mysql::Server::start(mysql::Options::new(product))?;
            let (major, minor, patch) = server.version();
            hold(&format!("{product} {major}.{minor}.{patch}"), server.data_dir(), &server.url("mysql"))?;
        }
        Wanted::StandIn => {
            let program = std::env::current_exe()?;
            let server = sqlserver::StandIn::start(&program, sqlserver::Options::default())?;
            hold("a stand-in for SQL Server", server.dir().to_owned(), &server.address().url())?;
        }
    }
    Ok(())
}

fn hold(title: &str, data: PathBuf, url: &str) -> Result<(), TestbedError> {
    let told = || -> std::io::Result<()> {
        let mut out = std::io::stdout();
        writeln!(out, "{title} in {}", data.display())?;
        writeln!(out, "{url}")?;
        writeln!(out, "Ctrl-C, or the end of the input, stops it and removes it.")?;
        out.flush()?;
        std::io::stdin().read_to_end(&mut Vec::new()).map(drop)
    };
    told().map_err(|source| TestbedError::Io { action: "talk about", path: data, source })
}
