//! The demonstration itself, on a smaller institution and for a shorter time.

use std::process::{Command, Stdio};

#[test]
fn a_small_demonstration_on_postgresql_proves_that_everything_arrived() {
    everything_arrives("postgres");
}

#[test]
fn a_small_demonstration_on_mysql_proves_that_everything_arrived() {
    everything_arrives("mysql");
}

#[test]
fn a_small_demonstration_on_mariadb_proves_that_everything_arrived() {
    everything_arrives("mariadb");
}

#[test]
fn a_small_demonstration_on_sql_servers_stand_in_proves_that_everything_arrived() {
    everything_arrives("sqlserver");
}

fn everything_arrives(engine: &str) {
    let output = Command::new(env!("CARGO_BIN_EXE_demo"))
        .args(["--engine", engine, "--requests", "2500", "--seconds", "3"])
        .stdin(Stdio::null())
        .output()
        .expect("the program of this package");
    let told = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{told}\n{complained}", output.status);
    for name in ["missing", "repeated", "out of order", "invented"] {
        let row = told.lines().find(|line| line.trim_start().starts_with(name));
        let last = row.and_then(|row| row.split_whitespace().last());
        assert_eq!(last, Some("0"), "{name} in\n{told}");
    }
}
