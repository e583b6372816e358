//! The stand-in for SQL Server, built with the tests so that they always run what is in the tree.

use std::process::ExitCode;

fn main() -> ExitCode {
    standin::main_with(std::env::args().nth(1))
}
