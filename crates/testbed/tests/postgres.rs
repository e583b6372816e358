//! Real servers: side by side, decoding, crashing, and leaving nothing behind.

use std::path::Path;

use testbed::TestbedError;
use testbed::postgres::{Options, Server, Version};

fn quick(version: Version) -> Options {
    Options::new(version).without_fsync()
}

#[tokio::test]
async fn a_logical_slot_can_be_made() -> Result<(), TestbedError> {
    let server = Server::start(quick(Version::Distribution))?;
    server.create_database("tramites").await?;
    let client = server.connect("tramites").await?;
    let slot = "SELECT slot_name::text FROM pg_create_logical_replication_slot('bitacora', 'pgoutput')";
    let name: String = client.query_one(slot, &[]).await?.get(0);
    assert_eq!(name, "bitacora");
    Ok(())
}

#[tokio::test]
async fn a_killed_server_comes_back_with_what_was_committed() -> Result<(), TestbedError> {
    let server = Server::start(quick(Version::Distribution))?;
    let client = server.connect("postgres").await?;
    client.batch_execute("CREATE TABLE t (id int); INSERT INTO t VALUES (7)").await?;
    let port = server.port();
    server.kill()?;
    assert!(client.batch_execute("SELECT 1").await.is_err(), "the connection outlived the server");
    assert!(server.connect("postgres").await.is_err(), "something still answers");
    server.restart()?;
    assert_eq!(server.port(), port);
    let id: i32 = server.connect("postgres").await?.query_one("SELECT id FROM t", &[]).await?.get(0);
    assert_eq!(id, 7);
    Ok(())
}

#[tokio::test]
async fn settings_are_in_force_when_they_were_set() -> Result<(), TestbedError> {
    let server = Server::start(quick(Version::Distribution).setting("datestyle", "SQL, DMY"))?;
    let show = async |name: &str| -> Result<String, TestbedError> {
        let row = server.connect("postgres").await?.query_one(&format!("SHOW {name}"), &[]).await?;
        Ok(row.get(0))
    };
    assert_eq!(show("datestyle").await?, "SQL, DMY");
    server.set(&[("work_mem", "7MB"), ("max_connections", "33")]).await?;
    assert_eq!(show("work_mem").await?, "7MB");
    server.restart()?;
    assert_eq!(show("max_connections").await?, "33");
    Ok(())
}

#[tokio::test]
async fn a_dropped_server_leaves_nothing_behind() -> Result<(), TestbedError> {
    let server = Server::start(quick(Version::Distribution))?;
    let (folder, pid) = (server.socket_dir().to_owned(), server.pid().unwrap());
    drop(server);
    assert!(!folder.exists(), "{} is still there", folder.display());
    assert!(!Path::new("/proc").join(pid.to_string()).exists(), "process {pid} is still there");
    Ok(())
}

#[test]
fn a_server_that_cannot_start_says_why() {
    let error = Server::start(quick(Version::Distribution).setting("max_connections", "many")).unwrap_err();
    assert!(error.to_string().contains("invalid value for parameter \"max_connections\""), "{error}");
}
