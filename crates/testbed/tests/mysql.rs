//! Real MySQL and MariaDB servers: side by side, logging row by row, crashing, and leaving nothing behind.

mod held;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use held::{Held, wait_until};
use testbed::TestbedError;
use testbed::mysql::prelude::Queryable;
use testbed::mysql::{Options, Product, Server, shared};

const BOTH: [Product; 2] = [Product::MySql, Product::MariaDb];

fn quick(product: Product) -> Options {
    Options::new(product).without_fsync()
}

async fn variable(server: &Server, name: &str) -> Result<String, TestbedError> {
    let value = server.connect("").await?.query_first(format!("SELECT CAST(@@{name} AS CHAR)")).await?;
    Ok(value.expect("one row"))
}

#[tokio::test]
async fn both_products_run_side_by_side_and_log_rows() -> Result<(), TestbedError> {
    let servers = [Server::start(quick(Product::MySql))?, Server::start(quick(Product::MariaDb))?];
    for server in &servers {
        server.create_database("tramites").await?;
        let mut client = server.connect("tramites").await?;
        client.query_drop("CREATE TABLE t (id int PRIMARY KEY) ENGINE=InnoDB").await?;
        client.query_drop("INSERT INTO t VALUES (7)").await?;
        let logs: Vec<mysql_async::Row> = client.query("SHOW BINARY LOGS").await?;
        assert_eq!(logs.len(), 1, "{}", server.product());
        assert_eq!(variable(server, "binlog_format").await?, "ROW");
        let (major, minor, _) = server.version();
        assert!(variable(server, "version").await?.starts_with(&format!("{major}.{minor}.")));
        let mut dump = server.program(server.product().binlog_program());
        dump.args(["--read-from-remote-server", "--verbose", "--base64-output=decode-rows", "binlog.000001"]);
        let output = dump.output().expect("the product's own program");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("###   @1=7"), "{}: {text}", String::from_utf8_lossy(&output.stderr));
        let said =
            server.program(server.product().client_program()).args(["-N", "-e", "SELECT 6*7"]).output();
        assert_eq!(said.expect("the product's own program").stdout, b"42\n");
    }
    assert_ne!(servers[0].port(), servers[1].port());
    Ok(())
}

#[tokio::test]
async fn two_servers_of_one_product_are_two_servers() -> Result<(), TestbedError> {
    let servers = [Server::start(quick(Product::MySql))?, Server::start(quick(Product::MySql))?];
    let names = [variable(&servers[0], "server_uuid").await?, variable(&servers[1], "server_uuid").await?];
    assert_ne!(names[0], names[1]);
    Ok(())
}

#[tokio::test]
async fn transactions_are_numbered_unless_that_is_not_wanted() -> Result<(), TestbedError> {
    let numbered = Server::start(quick(Product::MySql))?;
    assert_eq!(variable(&numbered, "gtid_mode").await?, "ON");
    // What the testbed itself has changed is in no log.
    assert_eq!(variable(&numbered, "gtid_executed").await?, "");
    let server = Server::start(quick(Product::MySql).without_gtid())?;
    assert_eq!(variable(&server, "gtid_mode").await?, "OFF");
    Ok(())
}

#[test]
fn a_machine_with_nothing_installed_gets_both_products() {
    for product in ["mysql", "mariadb"] {
        let held = Held::start(product, &[("BITACORA_TESTBED_IGNORE_INSTALLED", "1")]);
        assert!(held.data.is_dir(), "{product}");
    }
}

#[test]
fn processes_that_fetch_at_once_do_not_race() {
    let cache = tempfile::tempdir().unwrap();
    // The server's own user has to reach it.
    std::fs::set_permissions(cache.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = cache.path().to_str().unwrap();
    let environment = [("BITACORA_TESTBED_CACHE", path), ("BITACORA_TESTBED_IGNORE_INSTALLED", "1")];
    let spawned = [Held::spawn("mariadb", &environment), Held::spawn("mariadb", &environment)];
    let [first, second] = spawned.map(Held::await_start);
    assert_ne!(first.data, second.data);
}

#[test]
fn a_server_ends_when_its_owner_is_killed() {
    for product in ["mysql", "mariadb"] {
        let mut held = Held::start(product, &[]);
        let pid = std::fs::read_to_string(held.data.with_file_name("server.pid")).unwrap();
        let process = Path::new("/proc").join(pid.trim());
        assert!(process.exists());
        held.process.kill().unwrap();
        wait_until("the server is gone", || !process.exists());
        wait_until("its folder is gone", || !held.data.parent().unwrap().exists());
    }
}

#[tokio::test]
async fn tls_is_offered_with_a_certificate_of_the_testbeds_authority() -> Result<(), TestbedError> {
    for product in BOTH {
        let server = Server::start(quick(product).with_tls())?;
        let authority = server.tls_ca().unwrap();
        let mut client = server.program(product.client_program());
        client.arg(format!("--ssl-ca={}", authority.display()));
        client.arg(if product == Product::MySql {
            "--ssl-mode=VERIFY_CA"
        } else {
            "--ssl-verify-server-cert"
        });
        let output = client.args(["-N", "-e", "SHOW STATUS LIKE 'Ssl_cipher'"]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("TLS_"), "{product}: {text} {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

#[tokio::test]
async fn a_killed_server_comes_back_with_what_was_committed() -> Result<(), TestbedError> {
    for product in BOTH {
        let server = Server::start(quick(product))?;
        server.create_database("tramites").await?;
        let mut client = server.connect("tramites").await?;
        client.query_drop("CREATE TABLE t (id int PRIMARY KEY)").await?;
        client.query_drop("INSERT INTO t VALUES (7)").await?;
        let port = server.port();
        server.kill()?;
        assert!(client.query_drop("SELECT 1").await.is_err(), "the connection outlived the server");
        assert!(server.connect("").await.is_err(), "something still answers");
        server.restart()?;
        assert_eq!(server.port(), port);
        let id: Option<i32> = server.connect("tramites").await?.query_first("SELECT id FROM t").await?;
        assert_eq!(id, Some(7));
    }
    Ok(())
}

#[tokio::test]
async fn settings_are_in_force_when_they_were_set() -> Result<(), TestbedError> {
    for product in BOTH {
        let server = Server::start(quick(product).setting("binlog_row_metadata", "FULL"))?;
        assert_eq!(variable(&server, "global.binlog_row_metadata").await?, "FULL");
        server.set(&[("binlog_row_image", "MINIMAL"), ("max_connections", "33")]).await?;
        assert_eq!(variable(&server, "binlog_row_image").await?, "MINIMAL");
        server.set_on_restart(&[("log_slave_updates", "OFF")])?;
        server.restart()?;
        assert_eq!(variable(&server, "max_connections").await?, "33");
    }
    Ok(())
}

#[tokio::test]
async fn tests_of_one_process_share_a_server() -> Result<(), TestbedError> {
    let (first, second) = (shared(Product::MariaDb)?, shared(Product::MariaDb)?);
    assert_eq!(first.port(), second.port());
    first.create_database("shared").await?;
    second.connect("shared").await?.query_drop("SELECT 1").await?;
    Ok(())
}

#[tokio::test]
async fn a_dropped_server_leaves_nothing_behind() -> Result<(), TestbedError> {
    for product in BOTH {
        let server = Server::start(quick(product))?;
        let (folder, pid) = (server.dir().to_owned(), server.pid().unwrap());
        drop(server);
        assert!(!folder.exists(), "{} is still there", folder.display());
        assert!(!Path::new("/proc").join(pid.to_string()).exists(), "process {pid} is still there");
    }
    Ok(())
}

#[test]
fn a_server_that_cannot_start_says_why() {
    for product in BOTH {
        let error = Server::start(quick(product).setting("no_such_variable", "1")).unwrap_err();
        assert!(error.to_string().contains("no_such_variable"), "{error}");
    }
}
