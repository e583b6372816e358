//! The least that the product's user needs: what `setup` prints, and nothing else; log-in and TLS.

use super::backend::{Dialect, MariaDb, MySql, Mysql};
use super::on_both_products;
use crate::support::backend::{Backend, Session};
use crate::support::config::{Config, replace};
use crate::support::dashboard::Dashboard;
use crate::support::product::{PASSWORD, Product};
use crate::support::scene::Scene;

on_both_products! {
    what_setup_prints_is_enough,
    the_modes_of_tls_mean_what_they_say,
}

/// The password of the user that the tests make.
const SECRET: &str = "una clave ñ '\\";

/// The same as a literal of the administrator's client, in which a backslash escapes.
const SECRET_LITERAL: &str = "'una clave ñ ''\\\\'";

/// The same as a literal of the suite's own sessions, in which it does not.
const PLAIN_LITERAL: &str = "'una clave ñ ''\\'";

async fn what_setup_prints_is_enough<D: Dialect>() {
    let mut scene = Scene::<Mysql<D>>::own(|_| {}).await;
    scene.reconfigure(|config| replace(&mut config.source, "user = \"root\"", "user = \"lector\""));
    scene.product = scene.product.with_variable(PASSWORD, SECRET);
    scene.open("S-1", "RECIBIDA").await;
    scene.product.command(&["check"]).await.with_code(1);

    let script = scene.product.must(&["setup"]).await;
    assert!(script.contains("CREATE USER") && script.contains("lector"), "{script}");
    assert!(!script.contains("clave"), "a script for others must not hold the password:\n{script}");
    // The administrator puts the password in its place.
    let placed = script.replace("'<password>'", SECRET_LITERAL);
    assert_ne!(placed, script);
    run_as_dba(&scene, &placed);

    let checked = scene.product.command(&["check"]).await;
    assert_eq!(checked.code, Some(0), "{}\n{}", script, checked.stdout);
    let daemon = scene.product.run().await;
    scene.pass("S-1", "APROBADA").await;
    daemon.captured(1).await;
    scene.product.must(&["backfill"]).await;
    scene.flushed(&["S-1 9", "S-1 3"]).await;
    daemon.stop().await;
    // Once set up, the script may be run again.
    run_as_dba(&scene, &scene.product.must(&["setup"]).await.replace("'<password>'", SECRET_LITERAL));
}

/// Runs a script as the administrator would, with the product's own client.
fn run_as_dba<D: Dialect>(scene: &Scene<Mysql<D>>, script: &str) {
    let server = scene.backend.server();
    scene.product.write("setup.sql", script);
    let input = std::fs::File::open(scene.product.path("setup.sql")).unwrap();
    let mut client = server.program(server.product().client_program());
    let output = client.arg(scene.backend.database()).stdin(input).output().unwrap();
    assert!(output.status.success(), "{}\n{script}", String::from_utf8_lossy(&output.stderr));
}

/// TLS as far as the certificate: the modes of the configuration against a server with a private authority.
async fn the_modes_of_tls_mean_what_they_say<D: Dialect>() {
    let options = Mysql::<D>::options(&[("bind_address", "127.0.0.1,127.0.0.2")]).with_tls();
    let backend = Mysql::<D>::start(options).await;
    let authority = backend.server().tls_ca().unwrap().display().to_string();
    let with_ca = format!("tls_ca = \"{authority}\"\n");
    try_modes(
        backend,
        &[
            ("disable", "127.0.0.1", "", true),
            ("require", "127.0.0.1", "", true),
            ("verify-ca", "127.0.0.1", with_ca.as_str(), true),
            ("verify-full", "localhost", with_ca.as_str(), true),
            ("verify-full", "127.0.0.1", with_ca.as_str(), true),
            // The certificate names neither of these.
            ("verify-ca", "127.0.0.2", with_ca.as_str(), true),
            ("verify-full", "127.0.0.2", with_ca.as_str(), false),
            // Nobody has vouched for the private authority.
            ("verify-ca", "127.0.0.1", "", false),
            ("verify-full", "127.0.0.1", "", false),
        ],
    )
    .await;
}

/// MySQL makes certificates itself that name no host at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_certificate_that_mysql_makes_for_itself_can_be_verified() {
    let backend = Mysql::<MySql>::own().await;
    let with_ca = format!("tls_ca = \"{}\"\n", backend.server().data_dir().join("ca.pem").display());
    try_modes(
        backend,
        &[
            ("require", "127.0.0.1", "", true),
            ("verify-ca", "127.0.0.1", with_ca.as_str(), true),
            ("verify-full", "127.0.0.1", with_ca.as_str(), false),
            ("verify-ca", "127.0.0.1", "", false),
        ],
    )
    .await;
}

async fn try_modes<D: Dialect>(backend: Mysql<D>, modes: &[(&str, &str, &str, bool)]) {
    backend.create_table().await;
    let dashboard = Dashboard::start().await;
    for (mode, host, extra, works) in modes {
        let mut config = Config::new(backend.source(), &dashboard.url());
        replace(&mut config.source, "tls = \"disable\"", &format!("tls = \"{mode}\"\n{extra}"));
        replace(&mut config.source, "host = \"127.0.0.1\"", &format!("host = \"{host}\""));
        let product = Product::new(&config, &backend.password());
        let checked = product.command(&["check"]).await;
        assert_eq!(checked.code == Some(0), *works, "{mode} {host} {extra}: {checked:?}");
        if !works {
            assert!(format!("{checked:?}").to_lowercase().contains("certificate"), "{checked:?}");
        }
    }
}

/// Every way to log in that the two products share, or have alone, with and without TLS.
async fn logs_in<D: Dialect>(prelude: &[&str], users: &[(&str, &str)]) {
    let backend = Mysql::<D>::start(Mysql::<D>::options(&[]).with_tls()).await;
    let scene = Scene::on(backend, |_| {}).await;
    for statement in prelude {
        scene.sql.run(statement).await;
    }
    for (number, (how, password)) in users.iter().enumerate() {
        let user = format!("lector{number}");
        scene.sql.run(&format!("CREATE USER {user} IDENTIFIED {how}")).await;
        scene.sql.run(&format!("GRANT ALL PRIVILEGES ON *.* TO {user}")).await;
        for tls in ["disable", "require"] {
            // The server remembers who has logged in before; the first time must work, too.
            scene.sql.run("FLUSH PRIVILEGES").await;
            let mut config = scene.config.clone();
            replace(&mut config.source, "user = \"root\"", &format!("user = \"{user}\""));
            replace(&mut config.source, "tls = \"disable\"", &format!("tls = \"{tls}\""));
            config.ledger = format!("dir = \"ledger-{user}-{tls}\"\n");
            let product = Product::new(&config, password);
            let checked = product.command(&["check"]).await;
            assert_eq!(checked.code, Some(0), "{how} {tls}: {checked:?}");
            product.run().await.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mysqls_ways_to_log_in_work_with_and_without_tls() {
    logs_in::<MySql>(
        &[],
        &[
            (&format!("WITH caching_sha2_password BY {PLAIN_LITERAL}"), SECRET),
            ("WITH caching_sha2_password BY ''", ""),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadbs_ways_to_log_in_work_with_and_without_tls() {
    logs_in::<MariaDb>(
        &["INSTALL SONAME 'auth_ed25519'"],
        &[
            (&format!("VIA mysql_native_password USING PASSWORD({PLAIN_LITERAL})"), SECRET),
            (&format!("VIA ed25519 USING PASSWORD({PLAIN_LITERAL})"), SECRET),
        ],
    )
    .await;
}
