//! Mistakes in the file.

use super::{Scene, told, told_in};
use crate::support::config::{Config, replace};
use crate::support::product::Product;

const SOURCE: &str = "[source]\nengine = \"postgres\"\nhost = \"127.0.0.1\"\nport = 1\ndatabase = \"tramites\"\n\
                      user = \"bitacora\"\npassword = \"secreto\"\ntable = \"solicitudes\"\ntls = \"disable\"\n";

/// What `check` says of a configuration with one mistake.
async fn mistake(change: impl FnOnce(&mut Config)) -> String {
    let mut config = Config::new(SOURCE.to_owned(), "http://127.0.0.1:9/api/load");
    change(&mut config);
    let product = Product::new(&config, "secreto");
    let folder = product.dir().display().to_string();
    told(&product.command(&["run"]).await, &[(&folder, "FOLDER")])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_key_names_the_nearest_one() {
    let text = mistake(|config| config.delivery.push_str("batchsize = 500\n")).await;
    insta::assert_snapshot!(text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_section_names_the_nearest_one() {
    let text = mistake(|config| config.source.push_str("[deliver]\nurl = \"http://x/\"\n")).await;
    insta::assert_snapshot!(text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_status_id_names_the_catalogue() {
    let text = mistake(|config| replace(&mut config.mapping, "APROBADA = 3", "APROBADA = 33")).await;
    insta::assert_snapshot!(text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_environment_variable_is_named() {
    let text = mistake(|config| replace(&mut config.source, "\"secreto\"", "\"${BITACORA_NO_SUCH}\"")).await;
    insta::assert_snapshot!(text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_key_is_named_with_an_example() {
    let text =
        mistake(|config| replace(&mut config.mapping, "request_id = { column = \"numero\" }\n", "")).await;
    insta::assert_snapshot!(text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_time_zone_is_named() {
    let text = mistake(|config| {
        replace(&mut config.mapping, "America/Santo_Domingo", "America/Santo Domingo");
    })
    .await;
    insta::assert_snapshot!(text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_that_cannot_be_read_is_named() {
    let text = mistake(|config| config.schedule = "cron = \"61 2 * * *\"\n".into()).await;
    insta::assert_snapshot!(text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_not_there_says_how_to_make_one() {
    let product = Product::bare();
    let folder = product.dir().display().to_string();
    let outcome = product.command(&["run"]).await;
    insta::assert_snapshot!(told(&outcome, &[(&folder, "FOLDER")]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_not_toml_names_the_line() {
    let text = mistake(|config| config.mapping.push_str("request_id = {\n")).await;
    insta::assert_snapshot!(text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_the_dashboard_would_refuse_names_the_limit() {
    let text = mistake(|config| config.delivery.push_str("batch_size = 5000\n")).await;
    insta::assert_snapshot!(text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backfill_before_the_floor_names_the_floor() {
    let scene = Scene::new().await;
    let outcome = scene.product.command(&["backfill", "--from", "2019-01-01"]).await;
    insta::assert_snapshot!(told_in(&scene, &outcome));
}
