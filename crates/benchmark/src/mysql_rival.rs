//! MySQL's and MariaDB's own tools, as whole processes.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::Failure;
use crate::mysql_stage::MysqlStage;
use crate::stage::DATABASE;

/// A folder in memory, where the machine has one.
const MEMORY: &str = "/dev/shm";

/// Seconds that the reader of binary logs takes to store everything from the file `first` on as it is.
pub(crate) fn raw(stage: &MysqlStage, first: &str) -> Result<f64, Failure> {
    let builder = tempfile::Builder::new();
    let folder = if Path::new(MEMORY).is_dir() { builder.tempdir_in(MEMORY)? } else { builder.tempdir()? };
    let mut command = reader(stage);
    command.arg("--raw").arg(format!("--result-file={}/", folder.path().display())).arg(first);
    timed(command)
}

/// Seconds that it takes to decode the same to /dev/null.
pub(crate) fn decoded(stage: &MysqlStage, first: &str) -> Result<f64, Failure> {
    let mut command = reader(stage);
    command.args(["--verbose", "--base64-output=decode-rows", first]);
    timed(command)
}

/// Seconds that the command line client takes to copy the mapped columns to /dev/null.
pub(crate) fn copy(stage: &MysqlStage) -> Result<f64, Failure> {
    query(stage, "SELECT numero, servicio, estado, fecha_apertura, fecha_modificacion FROM solicitudes")
}

/// Seconds that it takes to count the rows.
pub(crate) fn count(stage: &MysqlStage) -> Result<f64, Failure> {
    query(stage, "SELECT count(*) FROM solicitudes")
}

fn query(stage: &MysqlStage, sql: &str) -> Result<f64, Failure> {
    let mut command = stage.server.program(stage.server.product().client_program());
    command.args(["--quick", "--skip-column-names", "--batch", "-e", sql, DATABASE]);
    timed(command)
}

fn reader(stage: &MysqlStage) -> Command {
    let mut command = stage.server.program(stage.server.product().binlog_program());
    command.args(["--read-from-remote-server", "--to-last-log"]);
    command
}

fn timed(mut command: Command) -> Result<f64, Failure> {
    let started = Instant::now();
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status()?;
    if !status.success() {
        return Err(format!("{:?} ended with {status}", command.get_program()).into());
    }
    Ok(started.elapsed().as_secs_f64())
}
