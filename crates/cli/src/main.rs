//! The binary `bitacora`.

use std::process::ExitCode;

fn main() -> ExitCode {
    bitacora::main_with(std::env::args_os())
}
