//! The least that the product's user needs: what `setup` prints, and nothing else.

use super::backend::{Postgres, Release};
use super::on_both_versions;
use crate::support::backend::{Backend, Session};
use crate::support::config::{Config, replace};
use crate::support::dashboard::Dashboard;
use crate::support::product::{PASSWORD, Product};
use crate::support::scene::Scene;
use crate::support::wait::{SOON, eventually};

on_both_versions! {
    what_setup_prints_is_enough,
}

/// The password of the user that the tests make.
const SECRET: &str = "una clave ñ '\\";

async fn what_setup_prints_is_enough<R: Release>() {
    let mut scene = Scene::<Postgres<R>>::new().await;
    let user = format!("lector_{}", scene.backend.database());
    let superuser = scene.backend.server().superuser().to_owned();
    scene.reconfigure(|config| {
        replace(&mut config.source, &format!("user = \"{superuser}\""), &format!("user = \"{user}\""));
    });
    scene.product = scene.product.with_variable(PASSWORD, SECRET);
    scene.open("S-1", "RECIBIDA").await;
    scene.product.command(&["check"]).await.with_code(1);

    let script = scene.product.must(&["setup"]).await;
    assert!(script.contains(&format!("CREATE ROLE \"{user}\"")), "{script}");
    assert!(!script.contains(SECRET), "a script for others must not hold the password:\n{script}");
    run_as_dba(&scene, &script).await;

    scene.product.must(&["check"]).await;
    let daemon = scene.product.run().await;
    scene.pass("S-1", "APROBADA").await;
    daemon.captured(1).await;
    scene.product.must(&["backfill"]).await;
    scene.flushed(&["S-1 9", "S-1 3"]).await;
    daemon.stop().await;
    // Once set up, there is nothing left to do, and the script may be run again.
    run_as_dba(&scene, &scene.product.must(&["setup"]).await).await;
    remove_role(&scene, &user).await;
}

/// Runs a script as the administrator would.
async fn run_as_dba<R: Release>(scene: &Scene<Postgres<R>>, script: &str) {
    let client = scene.backend.client().await;
    // One by one: what changes the server's settings must not share a transaction. Statements stand apart from
    // each other by an empty line, each under its reason.
    for statement in script.split("\n\n") {
        client.run(statement).await;
    }
}

async fn remove_role<R: Release>(scene: &Scene<Postgres<R>>, user: &str) {
    eventually("the role is free", SOON, async || {
        let sql = format!("DROP OWNED BY {user} CASCADE; DROP ROLE {user}");
        scene.backend.client().await.try_run(&sql).await.ok()
    })
    .await;
}

/// TLS as far as the certificate: the modes of the configuration against a server with a private authority.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_modes_of_tls_mean_what_they_say() {
    use super::backend::Distribution;

    let backend = Postgres::<Distribution>::own_with_tls().await;
    backend.create_table().await;
    let dashboard = Dashboard::start().await;
    let authority = backend.server().tls_ca().unwrap().display().to_string();
    let config = |mode: &str, host: &str, extra: &str| {
        let mut config = Config::new(backend.source(), &dashboard.url());
        replace(&mut config.source, "tls = \"disable\"", &format!("tls = \"{mode}\"\n{extra}"));
        replace(&mut config.source, "host = \"127.0.0.1\"", &format!("host = \"{host}\""));
        config
    };
    let with_ca = format!("tls_ca = \"{authority}\"\n");
    for (mode, host, extra, works) in [
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
    ] {
        let product = Product::new(&config(mode, host, extra), &backend.password());
        let checked = product.command(&["check"]).await;
        assert_eq!(checked.code == Some(0), works, "{mode} {host} {extra}: {checked:?}");
        if !works {
            assert!(format!("{checked:?}").to_lowercase().contains("certificate"), "{checked:?}");
        }
    }
}
