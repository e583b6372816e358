//! Rows that are joined to their parents, and several tables in one connector.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;

use super::audit::{audit, counts};
use crate::support::backend::{Backend, Session};
use crate::support::config::{Config, replace};
use crate::support::heavy;
use crate::support::load::{Load, seed};
use crate::support::oracle::{self, Begins};
use crate::support::scene::Scene;
use crate::support::wait::{LATER, SOON, eventually};

/// How the configuration writes the suite's own table, and what stands before its name.
fn written(config: &Config) -> (String, String) {
    let line = config.source.lines().find(|line| line.starts_with("table = ")).unwrap().to_owned();
    let name = line.trim_start_matches("table = ").trim_matches(['"', '\'']).to_owned();
    (line, name.trim_end_matches("solicitudes").to_owned())
}

/// Watches the suite's table of status changes; services and openings are taken from its requests.
fn history(config: &mut Config) {
    let (line, schema) = written(config);
    let joined = format!(
        "table = \"{schema}historia\"\nrows = \"history\"\njoin = [{{ table = \"{schema}solicitudes\", \
         on = {{ numero = \"numero\" }}, columns = [\"servicio\", \"fecha_apertura\"] }}]"
    );
    replace(&mut config.source, &line, &joined);
}

/// Files with steps and licences beside them: three tables, each with a mapping of its own.
async fn files<B: Backend>(scene: &Scene<B>) {
    for (table, columns) in [
        ("expedientes", "codigo varchar(40) NOT NULL, servicio varchar(10) NOT NULL, apertura date NOT NULL"),
        ("pasos", "expediente_id integer NOT NULL, estado varchar(20) NOT NULL, fecha date NOT NULL"),
        ("licencias", "codigo varchar(40) NOT NULL, fase varchar(20) NOT NULL, apertura date NOT NULL"),
    ] {
        scene.sql.run(&format!("CREATE TABLE {table} (id integer NOT NULL PRIMARY KEY, {columns})")).await;
        scene.backend.capture(table).await;
    }
}

/// Steps of files, whose codes and services stand with the files; and licences.
fn steps_and_licences(config: &mut Config) {
    let (line, schema) = written(config);
    replace(&mut config.source, &format!("{line}\n"), "");
    config.mapping.clear();
    config.source.push_str(&format!(
        r#"
[[source.tables]]
table = "{schema}pasos"
rows = "history"

[[source.tables.join]]
table = "{schema}expedientes"
on = {{ expediente_id = "id" }}
columns = ["codigo", "servicio"]

[source.tables.mapping]
service_id = {{ column = "servicio", map = {{ LIC = "101", PER = "102" }} }}
request_id = {{ column = "codigo" }}
opening_date = {{ column = "expedientes.apertura", time_zone = "America/Santo_Domingo" }}
status_id = {{ column = "estado", map = {{ RECIBIDA = 9, REVISION = 2, APROBADA = 3 }} }}
last_modified_date = {{ column = "fecha", time_zone = "America/Santo_Domingo" }}

[[source.tables]]
table = "{schema}licencias"

[source.tables.mapping]
service_id = {{ value = "200" }}
request_id = {{ column = "codigo" }}
opening_date = {{ column = "apertura", time_zone = "America/Santo_Domingo" }}
status_id = {{ column = "fase", map = {{ A = 9, B = 3 }} }}
last_modified_date = {{ commit_time = true }}
"#
    ));
}

/// A product for the files, whose configuration the suite's own table has no part in.
async fn at_the_files<B: Backend>() -> Scene<B> {
    let scene = Scene::<B>::with(steps_and_licences).await;
    files(&scene).await;
    scene
}

async fn file<B: Backend>(scene: &Scene<B>, id: u32, code: &str) {
    let values = format!("{id}, '{code}', 'LIC', '2026-03-01'");
    scene
        .sql
        .run(&format!("INSERT INTO expedientes (id, codigo, servicio, apertura) VALUES ({values})"))
        .await;
}

async fn step<B: Backend>(scene: &Scene<B>, id: u32, file: u32, status: &str) {
    let values = format!("{id}, {file}, '{status}', '2026-03-05'");
    scene.sql.run(&format!("INSERT INTO pasos (id, expediente_id, estado, fecha) VALUES ({values})")).await;
}

pub(crate) async fn each_row_is_sent_with_its_parent_as_it_was_at_the_rows_own_commit<B: Backend>() {
    let scene = at_the_files::<B>().await;
    file(&scene, 1, "S-1").await;
    let daemon = scene.product.run().await;
    step(&scene, 1, 1, "RECIBIDA").await;
    scene.sql.run("UPDATE expedientes SET codigo = 'S-1B' WHERE id = 1").await;
    step(&scene, 2, 1, "REVISION").await;
    scene.sql.begin().await;
    file(&scene, 2, "S-2").await;
    step(&scene, 3, 2, "RECIBIDA").await;
    scene.sql.run("UPDATE expedientes SET codigo = 'S-2B' WHERE id = 2").await;
    step(&scene, 4, 2, "REVISION").await;
    scene.sql.commit().await;
    // Nobody hears of a parent alone.
    scene.sql.run("UPDATE expedientes SET codigo = 'S-3' WHERE id = 1").await;
    daemon.captured(8).await;
    scene.flushed(&["S-1 9", "S-1B 2", "S-2 9", "S-2B 2"]).await;
    // What is known of parents outlives the process.
    daemon.kill().await;
    let daemon = scene.product.run().await;
    step(&scene, 5, 1, "APROBADA").await;
    daemon.captured(9).await;
    scene.flushed(&["S-1 9", "S-1B 2", "S-2 9", "S-2B 2", "S-3 3"]).await;
    // Nor does the audit take a parent that was altered for a difference of the rows before.
    assert_eq!(counts(&audit(&scene, &[], 0).await), [5, 0, 0, 0, 0, 0]);
}

pub(crate) async fn a_row_waits_for_its_parent_and_goes_to_quarantine_if_it_does_not_come<B: Backend>() {
    let scene = at_the_files::<B>().await;
    let daemon = scene.product.run().await;
    step(&scene, 1, 7, "RECIBIDA").await;
    step(&scene, 2, 8, "RECIBIDA").await;
    daemon.captured(2).await;
    scene.flushed(&[]).await;
    assert_eq!(scene.product.status().await["quarantine"]["waiting"], 2);
    file(&scene, 7, "S-7").await;
    step(&scene, 3, 7, "APROBADA").await;
    daemon.captured(4).await;
    scene.product.command(&["flush"]).await.with_code(3);
    assert_eq!(scene.dashboard.lines(), ["S-7 9", "S-7 3"]);
    let listed = scene.product.must(&["quarantine", "list"]).await;
    assert!(listed.contains("missing_parent") && listed.contains("pasos"), "{listed}");
    file(&scene, 8, "S-8").await;
    daemon.captured(5).await;
    daemon.delta(0).await;
    scene.product.must(&["quarantine", "retry"]).await;
    scene.flushed(&["S-7 9", "S-7 3", "S-8 9"]).await;
}

pub(crate) async fn three_tables_leave_by_their_own_mappings<B: Backend>() {
    let scene = at_the_files::<B>().await;
    file(&scene, 1, "S-1").await;
    step(&scene, 1, 1, "RECIBIDA").await;
    scene.sql.run("INSERT INTO licencias VALUES (1, 'L-1', 'A', '2026-02-01')").await;
    let told = scene.product.must(&["backfill", "--dry-run"]).await;
    assert!(told.contains("2 records would be sent"), "{told}");
    scene.product.must(&["backfill"]).await;
    assert_eq!(scene.dashboard.lines(), ["L-1 9", "S-1 9"]);
    let daemon = scene.product.run().await;
    // Rows of both tables have the same key.
    step(&scene, 2, 1, "APROBADA").await;
    scene.sql.run("UPDATE licencias SET fase = 'B' WHERE id = 1").await;
    scene.sql.run("INSERT INTO licencias VALUES (2, 'L-2', 'X', '2026-02-01')").await;
    daemon.captured(3).await;
    scene.product.command(&["flush"]).await.with_code(3);
    assert_eq!(scene.dashboard.lines()[2..], ["S-1 3", "L-1 3"]);
    let services: Vec<String> =
        scene.dashboard.records().into_iter().map(|record| record.service_id).collect();
    assert_eq!(services, ["200", "101", "101", "200"]);
    let listed = scene.product.must(&["quarantine", "list"]).await;
    assert!(listed.contains("licencias"), "{listed}");
    let told = scene.product.must(&["explain", "S-1"]).await;
    assert!(told.contains("pasos") && !told.contains("licencias"), "{told}");
    let audited = audit(&scene, &[], 3).await;
    assert_eq!((counts(&audited), &audited["compared"]), ([3, 0, 0, 0, 0, 0], &"requests and rows".into()));
    assert_eq!(audited["rejected_rows"], 1);
}

pub(crate) async fn a_table_that_comes_later_is_copied_and_sent_when_it_is_asked_for<B: Backend>() {
    let mut scene = Scene::<B>::new().await;
    files(&scene).await;
    scene.open("S-1", "RECIBIDA").await;
    scene.sql.run("INSERT INTO licencias VALUES (1, 'L-1', 'A', '2026-02-01')").await;
    scene.product.must(&["backfill"]).await;
    scene.reconfigure(|config| {
        let (line, schema) = written(config);
        let (before, after) = config.source.split_once(&format!("{line}\n")).unwrap();
        let own = config.mapping.clone();
        config.source = format!(
            "{before}{after}\n[[source.tables]]\n{line}\n[source.tables.mapping]\n{own}\n\
             [[source.tables]]\ntable = \"{schema}licencias\"\n[source.tables.mapping]\n\
             service_id = {{ value = \"200\" }}\nrequest_id = {{ column = \"codigo\" }}\n\
             opening_date = {{ column = \"apertura\", time_zone = \"America/Santo_Domingo\" }}\n\
             status_id = {{ column = \"fase\", map = {{ A = 9, B = 3 }} }}\n\
             last_modified_date = {{ commit_time = true }}\n"
        );
        config.mapping.clear();
    });
    let _daemon = scene.product.run().await;
    scene.product.must(&["backfill"]).await;
    assert_eq!(scene.dashboard.lines(), ["S-1 9", "L-1 9"]);
    scene.sql.run("UPDATE licencias SET codigo = 'L-1', fase = 'A'").await;
    scene.sql.run("UPDATE licencias SET fase = 'B'").await;
    scene.pass("S-1", "APROBADA").await;
    scene.drain().await;
    assert_eq!(scene.dashboard.lines()[2..4], ["L-1 3", "S-1 3"]);
}

pub(crate) async fn what_changed_in_a_table_that_was_left_out_meanwhile_is_found_and_sent<B: Backend>() {
    let mut scene = at_the_files::<B>().await;
    file(&scene, 1, "S-1").await;
    step(&scene, 1, 1, "RECIBIDA").await;
    for values in ["1, 'L-1', 'A', '2026-02-01'", "2, 'L-2', 'A', '2026-02-01'"] {
        scene.sql.run(&format!("INSERT INTO licencias VALUES ({values})")).await;
    }
    scene.product.must(&["backfill"]).await;
    let mut whole = String::new();
    scene.reconfigure(|config| {
        whole.clone_from(&config.source);
        let licences = config.source.rfind("\n[[source.tables]]\n").unwrap();
        config.source.truncate(licences);
    });
    let daemon = scene.product.run().await;
    scene.sql.run("UPDATE licencias SET fase = 'B' WHERE id = 1").await;
    step(&scene, 2, 1, "REVISION").await;
    daemon.delta(1).await;
    daemon.stop().await;
    scene.reconfigure(|config| config.source = whole);
    let daemon = scene.product.run().await;
    step(&scene, 3, 1, "APROBADA").await;
    scene.sql.run("UPDATE licencias SET fase = 'B' WHERE id = 2").await;
    daemon.delta(3).await;
    eventually("the licences are copied anew", SOON, async || {
        let audited = scene.product.command(&["audit"]).await;
        (!audited.stderr.contains("not complete yet")).then_some(())
    })
    .await;
    let audited = audit(&scene, &["--repair"], 0).await;
    assert_eq!((counts(&audited)[3], &audited["repaired"]), (1, &1.into()), "{audited:#}");
    scene.product.must(&["flush"]).await;
    let lines = scene.dashboard.lines();
    assert_eq!(lines[..3], ["L-1 9", "L-2 9", "S-1 9"]);
    let mut later = lines[3..].to_vec();
    later.sort_unstable();
    assert_eq!(later, ["L-1 3", "L-2 3", "S-1 2", "S-1 3"]);
    let audited = counts(&audit(&scene, &[], 0).await);
    assert_eq!(audited, [5, 0, 0, 0, 0, 0]);
}

pub(crate) async fn a_joined_history_arrives_once_when_the_product_is_killed_under_load<B: Backend>() {
    let _alone = heavy::alone().await;
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    let scene = Scene::<B>::with(|config| {
        history(config);
        config.schedule = "every = \"1s\"\n".into();
    })
    .await;
    scene.backend.capture("historia").await;
    let daemon = scene.product.run().await;
    let load = Load::start(&scene.backend, seed, 400);
    daemon.captured(50).await;
    daemon.kill().await;
    for _ in 0..3 {
        let daemon = scene.product.spawn(&[]);
        // Any moment will do, those before the stream has begun included: it is the point of the test.
        tokio::time::sleep(Duration::from_millis(random.random_range(0..2500))).await;
        daemon.kill().await;
        load.commits(20).await;
    }
    load.finish().await;
    let _daemon = scene.product.run().await;
    scene.drain().await;
    let verdict = oracle::compare(&*scene.backend, &scene.dashboard, Begins::After(0), "").await;
    verdict.must_be_exact();
    println!("{verdict:?}");
}

pub(crate) async fn a_lost_log_loses_nothing_of_a_joined_history<B: Backend>() {
    let _alone = heavy::alone().await;
    let scene = Scene::<B>::own(|config| {
        history(config);
        config.schedule = "every = \"1s\"\n".into();
    })
    .await;
    scene.backend.capture("historia").await;
    let daemon = scene.product.run().await;
    let load = Load::start(&scene.backend, seed(), 200);
    load.commits(150).await;
    scene.backend.lose_log().await;
    let mended = |status: &Value| {
        let found = status["gaps"].as_array().unwrap();
        found.len() == 1 && found.iter().all(|gap| gap["repaired_at"].is_string())
    };
    daemon.until("the gap is mended", LATER, mended).await;
    daemon.streaming().await;
    load.commits(50).await;
    load.finish().await;
    scene.drain().await;
    let verdict = oracle::compare(&*scene.backend, &scene.dashboard, Begins::After(0), "L-").await;
    verdict.must_be_exact();
    println!("{verdict:?}");
}
