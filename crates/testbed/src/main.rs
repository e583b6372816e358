//! Runs one throw-away server for as long as a person needs it: `cargo run -p testbed -- 18`.

use std::io::{Read, Write};
use std::process::ExitCode;

use testbed::postgres::{Options, Server, Version};

fn main() -> ExitCode {
    let version = match std::env::args().nth(1).as_deref() {
        None | Some("any") => Version::Any,
        Some("distribution") => Version::Distribution,
        Some("18") => Version::V18,
        Some(other) => {
            eprintln!("unknown version {other:?}, expected any, distribution or 18");
            return ExitCode::from(2);
        }
    };
    match serve(version) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints the server's address, and keeps the server until the standard input ends.
fn serve(version: Version) -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::start(Options::new(version))?;
    let mut out = std::io::stdout();
    writeln!(out, "PostgreSQL {} in {}", server.major(), server.data_dir().display())?;
    writeln!(out, "{}", server.url("postgres"))?;
    writeln!(out, "Ctrl-C, or the end of the input, stops it and removes it.")?;
    out.flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
