//! The least that the product's user needs: what `setup` prints, and nothing else; TLS.

use super::backend::SqlServer;
use crate::support::backend::{Backend, Session};
use crate::support::config::{Config, replace};
use crate::support::dashboard::Dashboard;
use crate::support::product::{PASSWORD, Product};
use crate::support::scene::Scene;

/// The password of the user that the tests make.
const SECRET: &str = "Una clave-ñ '7";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_setup_prints_is_enough() {
    let mut scene = Scene::<SqlServer>::own(|_| {}).await;
    // Logins belong to the whole server.
    let login = format!("lector_{}", std::process::id());
    let administrator = format!("user = \"{}\"", scene.backend.address().user);
    scene.reconfigure(|config| replace(&mut config.source, &administrator, &format!("user = \"{login}\"")));
    scene.product = scene.product.with_variable(PASSWORD, SECRET);
    scene.open("S-1", "RECIBIDA").await;
    scene.product.command(&["check"]).await.with_code(1);

    let script = scene.product.must(&["setup"]).await;
    assert!(script.contains("CREATE LOGIN") && script.contains(&login), "{script}");
    assert!(!script.contains("clave"), "a script for others must not hold the password:\n{script}");
    // The administrator puts the password in its place.
    let placed = script.replace("<password>", &SECRET.replace('\'', "''"));
    assert_ne!(placed, script);
    scene.sql.run(&placed).await;
    scene.backend.captured().await;

    let checked = scene.product.command(&["check"]).await;
    assert_eq!(checked.code, Some(0), "{}\n{}", script, checked.stdout);
    let daemon = scene.product.run().await;
    scene.pass("S-1", "APROBADA").await;
    daemon.captured(1).await;
    scene.product.must(&["backfill"]).await;
    scene.flushed(&["S-1 9", "S-1 3"]).await;
    daemon.stop().await;
    // Once set up, nothing is missing, and the first script may be run again.
    let again = scene.product.must(&["setup"]).await;
    assert!(!again.contains("CREATE LOGIN"), "{again}");
    scene.sql.run(&placed).await;
}

/// An institution that has enabled nothing yet: the script enables database and table.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_setup_prints_enables_the_capture() {
    let scene = Scene::<SqlServer>::new().await;
    scene.sql.run("EXEC sys.sp_cdc_disable_db").await;
    let checked = scene.product.command(&["check"]).await.with_code(1);
    assert!(checked.stdout.contains("sp_cdc_enable_db"), "{}", checked.stdout);
    scene.product.must(&["setup", "--apply"]).await;
    scene.open("S-1", "RECIBIDA").await;
    scene.backend.captured().await;
    scene.product.command(&["check"]).await.with_code(0);
    let daemon = scene.product.run().await;
    scene.pass("S-1", "APROBADA").await;
    daemon.captured(1).await;
    scene.flushed(&["S-1 3"]).await;
}

/// The stand-in's certificate is one that it made for itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_modes_of_tls_mean_what_they_say() {
    let backend = SqlServer::own().await;
    let Some(standin) = backend.standin() else { return };
    let with_ca = format!("tls_ca = \"{}\"\n", standin.dir().join("certificate.pem").display());
    backend.create_table().await;
    backend.captured().await;
    let dashboard = Dashboard::start().await;
    for (mode, extra, works) in [
        ("disable", "", true),
        ("require", "", true),
        ("verify-ca", with_ca.as_str(), true),
        ("verify-full", with_ca.as_str(), true),
        // Nobody has vouched for it.
        ("verify-ca", "", false),
        ("verify-full", "", false),
    ] {
        let mut config = Config::new(backend.source(), &dashboard.url());
        replace(&mut config.source, "tls = \"disable\"", &format!("tls = \"{mode}\"\n{extra}"));
        let product = Product::new(&config, &backend.password());
        let checked = product.command(&["check"]).await;
        assert_eq!(checked.code == Some(0), works, "{mode} {extra}: {checked:?}");
        if !works {
            assert!(format!("{checked:?}").to_lowercase().contains("certificate"), "{checked:?}");
        }
    }
}

/// An edition without an agent: `check` says so, and what can be done instead.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn express_is_told_that_it_cannot_capture() {
    let mut options = testbed::sqlserver::Options::default();
    options.edition = "Express Edition (64-bit)".to_owned();
    let backend = SqlServer::own_without_capture(options).await;
    let Some(_) = backend.standin() else { return };
    let dashboard = Dashboard::start().await;
    let config = Config::new(backend.source(), &dashboard.url());
    let product = Product::new(&config, &backend.password());
    let checked = product.command(&["check"]).await.with_code(1);
    assert!(
        checked.stdout.contains("Express") && checked.stdout.contains("mode = \"poll\""),
        "{}",
        checked.stdout
    );
}
