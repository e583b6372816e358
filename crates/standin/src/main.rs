//! Runs one stand-in until its input ends: `cargo run -p standin -- '{"port": 1433, "dir": "standin-data"}'`.

use std::io::{Read, Write};
use std::process::ExitCode;

use standin::{Options, Standin};

fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints the two ports, of TDS and of control, and keeps the server until the standard input ends.
fn serve() -> Result<(), Box<dyn std::error::Error>> {
    let options: Options = match std::env::args().nth(1) {
        Some(text) => serde_json::from_str(&text)?,
        None => Options::default(),
    };
    let server = Standin::start(options)?;
    let control = server.open_control_port()?;
    let mut out = std::io::stdout();
    writeln!(out, "{} {control}", server.port())?;
    out.flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
