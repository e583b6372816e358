//! A server or table that will not do.

use super::{Scene, told_in};
use crate::support::backend::Session;
use crate::support::config::replace;
use crate::support::product::PASSWORD;

/// What `command` says in a scene whose configuration was changed.
async fn told_after(scene: &Scene, command: &[&str]) -> String {
    let outcome = scene.product.command(command).await;
    told_in(scene, &outcome)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_column_names_the_nearest_one() {
    let scene = Scene::with(|config| {
        replace(&mut config.mapping, "column = \"estado\"", "column = \"estados\"");
    })
    .await;
    insta::assert_snapshot!(told_after(&scene, &["run"]).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_column_in_other_letters_names_the_right_ones() {
    let scene = Scene::with(|config| {
        replace(&mut config.mapping, "column = \"numero\"", "column = \"Numero\"");
    })
    .await;
    insta::assert_snapshot!(told_after(&scene, &["run"]).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_table_names_the_nearest_one() {
    let scene = Scene::with(|config| {
        replace(&mut config.source, "public.solicitudes", "public.solicitud");
    })
    .await;
    insta::assert_snapshot!(told_after(&scene, &["run"]).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_says_who_was_refused() {
    let mut scene = Scene::new().await;
    scene.product = scene.product.with_variable(PASSWORD, "otra");
    insta::assert_snapshot!(told_after(&scene, &["run"]).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_database_says_which() {
    let mut scene = Scene::new().await;
    let database = format!("database = \"{}\"", scene.backend.database());
    scene.reconfigure(|config| replace(&mut config.source, &database, "database = \"tramite\""));
    insta::assert_snapshot!(told_after(&scene, &["run"]).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreachable_server_says_where_nobody_answered() {
    let mut scene = Scene::new().await;
    let port = format!("port = {}", scene.backend.server().port());
    scene.reconfigure(|config| replace(&mut config.source, &port, "port = 9"));
    insta::assert_snapshot!(told_after(&scene, &["backfill"]).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_tls_says_what_to_choose() {
    let scene = Scene::with(|config| replace(&mut config.source, "\"disable\"", "\"verify-full\"")).await;
    insta::assert_snapshot!(told_after(&scene, &["run"]).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_rights_are_named_with_the_statements_that_grant_them() {
    let mut scene = Scene::new().await;
    let user = format!("pobre_{}", scene.backend.database());
    scene.sql.run(&format!("CREATE ROLE {user} LOGIN PASSWORD 'clave'")).await;
    let superuser = format!("user = \"{}\"", scene.backend.server().superuser());
    scene.reconfigure(|config| replace(&mut config.source, &superuser, &format!("user = \"{user}\"")));
    scene.product = scene.product.with_variable(PASSWORD, "clave");
    let run = told_after(&scene, &["run"]).await;
    scene.sql.run(&format!("ALTER ROLE {user} REPLICATION")).await;
    let replicating = told_after(&scene, &["run"]).await;
    scene.sql.run(&format!("DROP ROLE {user}")).await;
    insta::assert_snapshot!("missing_right_to_replicate", run);
    insta::assert_snapshot!("missing_right_to_read", replicating);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_without_a_key_says_what_its_owner_must_do() {
    let scene = Scene::new().await;
    scene
        .sql
        .run(
            "ALTER TABLE solicitudes DROP CONSTRAINT solicitudes_pkey;
             ALTER TABLE solicitudes DROP CONSTRAINT solicitudes_numero_key",
        )
        .await;
    insta::assert_snapshot!(told_after(&scene, &["run"]).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn local_times_without_a_zone_say_which_column_needs_one() {
    let scene = Scene::with(|config| {
        config.mapping = config.mapping.replace(", time_zone = \"America/Santo_Domingo\"", "");
    })
    .await;
    scene.open("S-1", "RECIBIDA").await;
    insta::assert_snapshot!(told_after(&scene, &["backfill", "--dry-run"]).await);
}
