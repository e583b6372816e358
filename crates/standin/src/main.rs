//! Runs one stand-in until its input ends: `cargo run -p standin -- '{"port": 1433, "dir": "standin-data"}'`.

use std::process::ExitCode;

fn main() -> ExitCode {
    standin::main_with(std::env::args().nth(1))
}
