//! Real servers: side by side, decoding, crashing, and leaving nothing behind.

mod held;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use held::{Held, wait_until};
use rustls_pki_types::pem::PemObject;
use testbed::TestbedError;
use testbed::postgres::{Options, Server, Version, shared};

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
async fn servers_of_different_versions_run_side_by_side() -> Result<(), TestbedError> {
    let old = Server::start(quick(Version::Distribution))?;
    let new = Server::start(quick(Version::V18))?;
    for server in [&old, &new] {
        let row = server.connect("postgres").await?.query_one("SHOW server_version_num", &[]).await?;
        let number: u32 = row.get::<_, String>(0).parse().unwrap();
        assert_eq!(number / 10_000, server.major());
        let slot = "SELECT pg_create_logical_replication_slot('bitacora', 'pgoutput')";
        server.connect("postgres").await?.execute(slot, &[]).await?;
    }
    assert_eq!(new.major(), 18);
    assert_ne!(old.port(), new.port());
    Ok(())
}

#[test]
fn a_machine_with_nothing_installed_gets_both_versions() {
    for version in ["distribution", "18"] {
        let held = Held::start(version, &[("BITACORA_TESTBED_IGNORE_INSTALLED", "1")]);
        assert!(held.data.is_dir(), "version {version}");
    }
}

#[test]
fn processes_that_fetch_at_once_do_not_race() {
    let cache = tempfile::tempdir().unwrap();
    // The server's own user has to reach it.
    std::fs::set_permissions(cache.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = cache.path().to_str().unwrap();
    let environment = [("BITACORA_TESTBED_CACHE", path), ("BITACORA_TESTBED_IGNORE_INSTALLED", "1")];
    let spawned = [Held::spawn("18", &environment), Held::spawn("18", &environment)];
    let [first, second] = spawned.map(Held::await_start);
    assert_ne!(first.data, second.data);
}

#[test]
fn a_server_ends_when_its_owner_is_killed() {
    let mut held = Held::start("distribution", &[]);
    let pid = std::fs::read_to_string(held.data.join("postmaster.pid")).unwrap();
    let process = Path::new("/proc").join(pid.lines().next().unwrap());
    assert!(process.exists());
    held.process.kill().unwrap();
    wait_until("the server is gone", || !process.exists());
    wait_until("its folder is gone", || !held.data.parent().unwrap().exists());
}

#[tokio::test]
async fn tls_is_offered_with_a_certificate_that_can_be_verified() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::start(quick(Version::Distribution).with_tls())?;
    let mut roots = rustls::RootCertStore::empty();
    let authority = std::fs::read(server.tls_ca().unwrap())?;
    roots.add(rustls_pki_types::CertificateDer::from_pem_slice(&authority)?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let connector = tokio_postgres_rustls::MakeRustlsConnect::new(config);
    let mut settings = server.config("postgres");
    settings.ssl_mode(tokio_postgres::config::SslMode::Require);
    let (client, connection) = settings.connect(connector).await?;
    let connection = tokio::spawn(connection);
    let used = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    assert!(client.query_one(used, &[]).await?.get::<_, bool>(0));
    drop(client);
    connection.await??;
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
async fn tests_of_one_process_share_a_server() -> Result<(), TestbedError> {
    let (first, second) = (shared(Version::Distribution)?, shared(Version::Distribution)?);
    assert_eq!(first.port(), second.port());
    first.create_database("shared").await?;
    second.connect("shared").await?.batch_execute("SELECT 1").await?;
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
