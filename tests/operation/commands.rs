//! `init`, `check`, `tablero`, exit statuses.

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use super::Scene;
use crate::support::backend::Session;
use crate::support::config::replace;
use crate::support::http;
use crate::support::product::Product;
use crate::support::wait::{SOON, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_init_writes_lacks_nothing_but_the_institutions_own() {
    let scene = Scene::new().await;
    let product = Product::bare().with_variable("BITACORA_DB_PASSWORD", scene.backend.server().password());
    product.must(&["init", "--engine", "postgres"]).await;
    let mut text = std::fs::read_to_string(product.path("bitacora.toml")).unwrap();
    // An existing file is never overwritten unasked.
    let second = product.command(&["init", "--engine", "postgres"]).await;
    assert_ne!(second.code, Some(0));
    assert_eq!(std::fs::read_to_string(product.path("bitacora.toml")).unwrap(), text);

    let server = scene.backend.server();
    for (from, to) in [
        ("5432", server.port().to_string()),
        ("\"tramites\"", format!("\"{}\"", scene.backend.database())),
        ("user     = \"bitacora\"", format!("user = \"{}\"", server.superuser())),
        ("\"verify-full\"\n", "\"disable\"\n".to_owned()),
        ("slot        = \"bitacora\"", format!("slot = \"{}\"", scene.backend.slot())),
        ("\"/var/lib/bitacora\"", "\"ledger\"".to_owned()),
        ("\"127.0.0.1:9187\"", "\"127.0.0.1:0\"".to_owned()),
    ] {
        replace(&mut text, from, &to);
    }
    let url = text.lines().find(|line| line.starts_with("url")).unwrap().to_owned();
    replace(&mut text, &url, &format!("url = \"{}\"", scene.dashboard.url()));
    product.write("bitacora.toml", &text);
    product.must(&["check"]).await;
    let daemon = product.run().await;
    scene.open("S-1", "RECIBIDA").await;
    daemon.captured(1).await;
    product.flush().await;
    assert_eq!(scene.dashboard.lines(), ["S-1 9"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_finds_everything_at_once_and_sends_no_record() {
    let mut scene = Scene::new().await;
    scene.open("S-1", "RECIBIDA").await;
    scene.product.must(&["check"]).await;
    let good: Value = serde_json::from_str(&scene.product.must(&["check", "--json"]).await).unwrap();
    assert_eq!(good["version"], 1);
    assert_eq!(good["ok"], true);
    assert!(!scene.product.path("ledger/ledger.sqlite").exists(), "a check made a ledger");

    scene.open("S-2", "ARCHIVADA").await;
    scene.sql.run("ALTER TABLE solicitudes DROP CONSTRAINT solicitudes_pkey").await;
    scene.reconfigure(|config| {
        replace(&mut config.mapping, "column = \"servicio\"", "column = \"servicios\"");
        let first = config.delivery.lines().next().unwrap().to_owned();
        // A port that nobody listens on.
        replace(&mut config.delivery, &first, "url = \"http://127.0.0.1:9/api/load\"");
    });
    let found = scene.product.command(&["check", "--json"]).await.with_code(1);
    let found: Value = serde_json::from_str(&found.stdout).unwrap();
    assert_eq!(found["ok"], false);
    let findings = found["findings"].as_array().unwrap();
    let bad: Vec<&Value> = findings.iter().filter(|finding| finding["severity"] != "pass").collect();
    let told = bad.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    for expected in ["servicios", "127.0.0.1:9"] {
        assert!(told.contains(expected), "{expected} is not among\n{told}");
    }
    for finding in bad {
        assert!(finding["what"].is_string() && finding["why"].is_string(), "{finding:#}");
    }
    assert_eq!(scene.dashboard.attempts(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_tries_the_mapping_on_rows() {
    let scene = Scene::new().await;
    scene.open("S-1", "RECIBIDA").await;
    scene.open("S-2", "ARCHIVADA").await;
    let checked = scene.product.command(&["check"]).await;
    assert!(checked.stdout.contains("ARCHIVADA"), "{}", checked.stdout);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_simulator_can_be_rehearsed_against() {
    let product = Product::bare();
    let simulator = product.spawn_command(&["tablero", "--listen", "127.0.0.1:0", "--fault", "503:1"]);
    let address = eventually("the simulator tells its address", SOON, async || {
        let log = simulator.log();
        let (_, rest) = log.split_once("127.0.0.1:")?;
        let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
        (port.len() > 1 && port != "0").then(|| format!("http://127.0.0.1:{port}"))
    })
    .await;
    let mut scene = Scene::new().await;
    scene.reconfigure(|config| {
        let first = config.delivery.lines().next().unwrap().to_owned();
        replace(&mut config.delivery, &first, &format!("url = \"{address}/api/load\""));
    });
    let daemon = scene.product.run().await;
    scene.open("S-1", "RECIBIDA").await;
    daemon.captured(1).await;
    scene.product.flush().await;
    let summary = http::get(&format!("{address}/_tablero/summary")).await.unwrap();
    let summary: Value = serde_json::from_str(&summary.body).unwrap();
    assert_eq!(summary["records"], 1);
    assert_eq!(summary["attempts"], 2);
    assert_eq!(simulator.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_usage_ends_with_two_and_help_with_zero() {
    let product = Product::bare();
    for args in [
        &["nothing"][..],
        &["run", "--nothing"],
        &["quarantine", "discard"],
        &["backfill", "--from", "x"],
        &[],
    ] {
        product.command(args).await.with_code(2);
    }
    for args in [&["--help"][..], &["help", "run"], &["run", "--help"], &["--version"]] {
        let told = product.command(args).await.with_code(0);
        assert!(!told.stdout.is_empty() && told.stderr.is_empty(), "{told:?}");
    }
    // A file that is not there.
    product.command(&["run"]).await.with_code(2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_else_can_read_the_ledger_and_no_log_tells_a_secret() {
    let scene = Scene::with(|config| {
        config.delivery.push_str("headers = { api-key = \"llave-secreta\" }\n");
    })
    .await;
    let daemon = {
        let mut daemon = scene.product.spawn(&["-vv"]);
        daemon.served().await;
        daemon
    };
    daemon.streaming().await;
    scene.open("S-CONFIDENCIAL", "RECIBIDA").await;
    daemon.captured(1).await;
    scene.product.flush().await;
    let mode = |path: &str| std::fs::metadata(scene.product.path(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("ledger"), 0o700);
    assert_eq!(mode("ledger/ledger.sqlite"), 0o600);
    let log = daemon.log();
    for secret in [scene.backend.server().password(), "llave-secreta", "S-CONFIDENCIAL"] {
        assert!(!log.contains(secret), "the log holds {secret:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_ledger_is_told_and_nothing_is_overwritten() {
    let scene = Scene::new().await;
    scene.product.run().await.stop().await;
    let path = scene.product.path("ledger/ledger.sqlite");
    // What was not moved into the file yet would repair it.
    drop(std::fs::remove_file(scene.product.path("ledger/ledger.sqlite-wal")));
    let mut damaged = std::fs::read(&path).unwrap();
    for byte in damaged.iter_mut().take(4096) {
        *byte = byte.wrapping_add(77);
    }
    std::fs::write(&path, &damaged).unwrap();
    for command in [&["run"][..], &["status"], &["flush"], &["explain", "S-1"], &["quarantine", "list"]] {
        let told = scene.product.command(command).await.with_code(1);
        assert!(told.stderr.contains("ledger") && !told.stderr.contains("panicked"), "{told:?}");
    }
    assert_eq!(std::fs::read(&path).unwrap(), damaged);
}

/// A server that takes the connection and then says nothing, as behind a broken firewall.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_stops_when_it_is_told_to() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let mut scene = Scene::new().await;
    let server = format!("port = {}", scene.backend.server().port());
    scene.reconfigure(|config| replace(&mut config.source, &server, &format!("port = {port}")));
    for command in [&["run"][..], &["backfill"], &["backfill", "--dry-run"], &["check"], &["setup"]] {
        let process = scene.product.spawn_command(command);
        let (connection, _) = silent.accept().await.unwrap();
        let code = process.terminate().await;
        assert!(matches!(code, Some(0 | 1)), "{command:?} ended with {code:?}");
        drop(connection);
    }
}
