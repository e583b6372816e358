//! PostgreSQL's own tools, as whole processes.

use std::process::{Command, Stdio};
use std::time::Instant;

use crate::Failure;
use crate::stage::{DATABASE, RIVAL_SLOT, SLOT, Stage};

/// Seconds that `pg_recvlogical` takes to drain its slot up to `end`, writing to /dev/null.
pub(crate) fn recvlogical(stage: &Stage, end: &str) -> Result<f64, Failure> {
    let mut command = client(stage, "pg_recvlogical");
    command.args(["--slot", RIVAL_SLOT, "--start", "--file", "/dev/null", "--endpos", end]).args([
        "-o",
        "proto_version=1",
        "-o",
        &format!("publication_names={SLOT}"),
    ]);
    timed(command)
}

/// Seconds that `psql` takes to copy the mapped columns to /dev/null.
pub(crate) fn copy(stage: &Stage) -> Result<f64, Failure> {
    let mut command = client(stage, "psql");
    let sql = "COPY (SELECT numero, servicio, estado, fecha_apertura, fecha_modificacion \
               FROM public.solicitudes) TO STDOUT";
    command.args(["--no-psqlrc", "--quiet", "-c", sql]).stdout(Stdio::null());
    timed(command)
}

/// Seconds that `psql` takes to count the rows.
pub(crate) fn count(stage: &Stage) -> Result<f64, Failure> {
    let mut command = client(stage, "psql");
    command
        .args(["--no-psqlrc", "--quiet", "-c", "SELECT count(*) FROM public.solicitudes"])
        .stdout(Stdio::null());
    timed(command)
}

fn client(stage: &Stage, program: &str) -> Command {
    let server = &stage.server;
    let mut command = server.program(program);
    command
        .args(["--host", server.host(), "--port", &server.port().to_string()])
        .args(["--username", server.superuser(), "--dbname", DATABASE])
        .env("PGPASSWORD", server.password())
        .env("PGSSLMODE", "disable")
        .stdin(Stdio::null());
    command
}

fn timed(mut command: Command) -> Result<f64, Failure> {
    let started = Instant::now();
    let status = command.status().map_err(|error| format!("start {command:?}: {error}"))?;
    if !status.success() {
        return Err(format!("{command:?} ended with {status}").into());
    }
    Ok(started.elapsed().as_secs_f64())
}
