//! The whole product shown on one machine with nothing to configure.
//!
//! ```text
//! cargo run --release -p demo
//! cargo run --release -p demo -- --engine mysql
//! ```
//!
//! The program is its own connector: started with a word of its own as first argument, it is `bitacora`. So the
//! demonstration can run, kill and restart the very program that it was built with.
//!
//! # Layout
//! - `story`: what happens, step by step
//! - `institution`, `history`: who the data is about, and the data
//! - `workload`, `clerk`: connections that change it
//! - `truth`, `proof`: what must arrive, and whether it did
//! - `database`: the institution's database, of whichever engine
//! - `connector`, `configuration`: the product, as its operator has it
//! - `narration`, `options`, `failure`: what a person sees

mod clerk;
mod configuration;
mod connector;
mod database;
mod failure;
mod history;
mod institution;
mod narration;
mod options;
mod proof;
mod story;
mod truth;
mod workload;

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use failure::Failure;
use narration::line;
use options::DemoOptions;

fn main() -> ExitCode {
    if let Some(code) = connector::run_if_asked() {
        return code;
    }
    // The stand-in for SQL Server, which is started with its options.
    if let Some(options) = std::env::args().nth(1).filter(|word| word.starts_with('{')) {
        return testbed::sqlserver::main_with(Some(options));
    }
    let options = DemoOptions::parse();
    let folder = match tempfile::Builder::new().prefix("bitacora-demo-").tempdir() {
        Ok(folder) => folder.keep(),
        Err(error) => {
            line(&format!("no folder for the demonstration can be made: {error}"));
            return ExitCode::FAILURE;
        }
    };
    match play(&options, &folder) {
        Ok(true) => {
            // The ledger is large and of no use without its database.
            drop(std::fs::remove_dir_all(folder.join("ledger")));
            line(&format!("Configuration, SQL and the connector's log stay in {}", folder.display()));
            ExitCode::SUCCESS
        }
        Ok(false) => {
            line(&format!("The ledger and the connector's log are in {}", folder.display()));
            ExitCode::FAILURE
        }
        Err(failure) => {
            line(&format!("\nThe demonstration could not go on: {failure}"));
            line(&format!("The connector's log: {}", folder.join("connector.log").display()));
            ExitCode::FAILURE
        }
    }
}

fn play(options: &DemoOptions, folder: &Path) -> Result<bool, Failure> {
    let runtime = tokio::runtime::Runtime::new().map_err(Failure::of("start the threads of the program"))?;
    runtime.block_on(story::tell(options, folder))
}
