//! The product's binary, built with the tests so that they always run what is in the tree.

use std::process::ExitCode;

fn main() -> ExitCode {
    bitacora::main_with(std::env::args_os())
}
