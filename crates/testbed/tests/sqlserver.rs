//! The stand-in for SQL Server as a process: capturing, crashing, and leaving nothing behind.

use std::path::Path;

use testbed::TestbedError;
use testbed::sqlserver::{Client, Command, Options, StandIn};

fn start() -> Result<StandIn, TestbedError> {
    StandIn::start(Path::new(env!("CARGO_BIN_EXE_testbed")), Options::default())
}

async fn number(client: &mut Client, sql: &str) -> Result<i32, TestbedError> {
    let rows = client.simple_query(sql).await?.into_first_result().await?;
    Ok(rows.first().and_then(|row| row.get(0)).expect("one number"))
}

#[tokio::test]
async fn a_killed_stand_in_comes_back_with_what_was_committed() -> Result<(), TestbedError> {
    let server = start()?;
    let address = server.address().clone();
    address.create_database("tramites").await?;
    let mut client = address.connect("tramites").await?;
    client
        .simple_query("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (7)")
        .await?
        .into_results()
        .await?;
    client.simple_query("BEGIN TRAN; INSERT INTO t VALUES (8)").await?.into_results().await?;
    server.kill()?;
    assert!(address.connect("tramites").await.is_err());
    assert!(server.control(&Command::Agent(true)).is_err());
    server.restart()?;
    server.control(&Command::Agent(true))?;
    let mut client = address.connect("tramites").await?;
    assert_eq!(number(&mut client, "SELECT COUNT(*) FROM t").await?, 1);
    Ok(())
}

#[tokio::test]
async fn a_stand_in_leaves_nothing_behind() -> Result<(), TestbedError> {
    let server = start()?;
    let (dir, address) = (server.dir().to_owned(), server.address().clone());
    assert!(dir.join("certificate.pem").is_file());
    drop(server);
    assert!(!dir.exists());
    assert!(address.connect("master").await.is_err());
    Ok(())
}
