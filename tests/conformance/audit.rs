//! The table compared with what the dashboard was told.

use serde_json::{Value, json};

use super::filter::only;
use super::history::history;
use crate::support::backend::{Backend, Session};
use crate::support::heavy;
use crate::support::load::{Load, seed};
use crate::support::scene::Scene;

/// Runs an audit with `args`, which must end with exit status `code`; returns its JSON.
async fn audit<B: Backend>(scene: &Scene<B>, args: &[&str], code: i32) -> Value {
    let args = [&["audit", "--json"], args].concat();
    let outcome = scene.product.command(&args).await.with_code(code);
    serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {}", outcome.stdout))
}

/// What an audit counted: equal, on their way, missing, different, unknown, set aside.
fn counts(audited: &Value) -> [u64; 6] {
    ["equal", "on_their_way", "missing", "different", "unknown", "set_aside"]
        .map(|name| audited["total"][name].as_u64().unwrap())
}

/// What differs, as `DIFFERENCE REQUEST KNOWN DATABASE`.
fn differences(audited: &Value) -> Vec<String> {
    let tell = |found: &Value| {
        let word = |name: &str| found[name].as_str().unwrap().to_owned();
        let status =
            |name: &str| found[name].as_u64().map_or_else(|| "-".to_owned(), |status| status.to_string());
        let known = status("known_status");
        format!("{} {} {known} {}", word("difference"), word("request_id"), status("database_status"))
    };
    audited["differences"].as_array().unwrap().iter().map(tell).collect()
}

pub(crate) async fn what_is_captured_or_can_be_is_on_its_way<B: Backend>() {
    let scene = Scene::<B>::new().await;
    for numero in ["S-1", "S-2", "S-3", "S-4"] {
        scene.open(numero, "RECIBIDA").await;
    }
    let daemon = scene.product.run().await;
    let nothing = scene.product.command(&["audit", "--month", "2019-12"]).await.with_code(2);
    assert!(nothing.stderr.contains("--month 2019-12 is before"), "{}", nothing.stderr);
    scene.product.must(&["backfill"]).await;
    for estado in ["REVISION", "APROBADA"] {
        scene.pass("S-1", estado).await;
        daemon.captured(1).await;
        scene.drain().await;
    }
    scene.sql.run("DELETE FROM solicitudes WHERE numero = 'S-4'").await;
    scene.drain().await;
    let audited = audit(&scene, &[], 0).await;
    // The three that the drains opened; nobody reports deletions here.
    assert_eq!(counts(&audited), [6, 0, 0, 0, 1, 0], "{audited:#}");
    assert_eq!(differences(&audited), ["unknown S-4 9 -"]);

    scene.pass("S-2", "REVISION").await;
    daemon.delta(1).await;
    assert_eq!(counts(&audit(&scene, &[], 0).await), [5, 1, 0, 0, 1, 0]);
    daemon.stop().await;
    // What happened since is still in the log, and is captured first.
    scene.pass("S-3", "REVISION").await;
    scene.open("S-5", "RECIBIDA").await;
    let sent = scene.dashboard.lines().len();
    assert_eq!(counts(&audit(&scene, &["--month", "2026-03"], 0).await), [4, 3, 0, 0, 1, 0]);
    assert_eq!(counts(&audit(&scene, &["--month", "2026-02"], 0).await), [0; 6]);
    assert_eq!(scene.dashboard.lines().len(), sent, "an audit sends nothing");
    scene.product.flush().await;
    assert_eq!(counts(&audit(&scene, &[], 0).await), [7, 0, 0, 0, 1, 0]);
}

pub(crate) async fn rows_that_do_not_count_or_cannot_be_mapped_are_not_missing<B: Backend>() {
    let scene = Scene::<B>::with(|config| only(config, "nota IS NULL")).await;
    for (numero, estado) in [("S-1", "RECIBIDA"), ("S-2", "RECIBIDA"), ("S-3", "PERDIDA")] {
        scene.open(numero, estado).await;
    }
    scene.sql.run("UPDATE solicitudes SET nota = 'queja' WHERE numero = 'S-2'").await;
    let daemon = scene.product.run().await;
    scene.product.command(&["backfill"]).await.with_code(3);
    let audited = audit(&scene, &[], 3).await;
    assert_eq!(counts(&audited), [1, 0, 0, 0, 0, 0], "{audited:#}");
    assert_eq!(audited["rejected_rows"], 1);
    scene.pass("S-3", "REVISION").await;
    daemon.delta(1).await;
    assert_eq!(counts(&audit(&scene, &[], 0).await), [1, 1, 0, 0, 0, 0]);
}

pub(crate) async fn what_a_lost_log_hid_is_found_and_repaired<B: Backend>() {
    let scene = Scene::<B>::own(|_| {}).await;
    for numero in ["S-1", "S-2", "S-3"] {
        scene.open(numero, "RECIBIDA").await;
    }
    let daemon = scene.product.run().await;
    scene.product.must(&["backfill"]).await;
    daemon.stop().await;
    assert_eq!(counts(&audit(&scene, &[], 0).await), [3, 0, 0, 0, 0, 0]);
    scene.backend.lose_log().await;
    scene.pass("S-1", "APROBADA").await;
    scene.open("S-4", "REVISION").await;
    scene.sql.run("DELETE FROM solicitudes WHERE numero = 'S-3'").await;
    scene.sql.run("UPDATE solicitudes SET nota = 'x' WHERE numero = 'S-2'").await;

    let audited = audit(&scene, &[], 1).await;
    let found = ["missing S-4 - 2", "different S-1 9 3", "unknown S-3 9 -"];
    assert_eq!(differences(&audited), found, "{audited:#}");
    assert_eq!(counts(&audited), [1, 0, 1, 1, 1, 0]);
    assert_eq!((&audited["log_lost"], &audited["repaired"]), (&json!(true), &Value::Null));
    assert_eq!(differences(&audit(&scene, &["--month", "2026-03"], 1).await), found);
    let text = scene.product.command(&["audit"]).await.with_code(1).stdout;
    assert!(text.contains("1 request missing and 1 request different on the dashboard"), "{text}");
    assert!(text.contains("different   2026-03  101      S-1      9 Recibido"), "{text}");

    let repaired = audit(&scene, &["--repair"], 0).await;
    assert_eq!(
        (&repaired["repaired"], differences(&repaired)),
        (&json!(2), found.map(str::to_owned).to_vec())
    );
    assert_eq!(counts(&audit(&scene, &[], 0).await), [1, 2, 0, 0, 1, 0]);
    scene.product.flush().await;
    let mut lines = scene.dashboard.lines();
    lines.sort();
    assert_eq!(lines, ["S-1 3", "S-1 9", "S-2 9", "S-3 9", "S-4 2"]);
    let life = scene.product.must(&["explain", "S-4"]).await;
    assert!(life.contains(", repair,"), "{life}");
    // The daemon compares once more, because the log is lost, and has nothing left to send.
    let _daemon = scene.product.run().await;
    assert_eq!(counts(&audit(&scene, &["--repair"], 0).await), [3, 0, 0, 0, 1, 0]);
}

pub(crate) async fn of_a_history_each_row_is_compared<B: Backend>() {
    let scene = Scene::<B>::own(history).await;
    scene.backend.capture("historia").await;
    for estado in ["REVISION", "APROBADA"] {
        scene.open(&format!("S-{estado}"), "RECIBIDA").await;
        scene.pass(&format!("S-{estado}"), estado).await;
    }
    let daemon = scene.product.run().await;
    scene.product.must(&["backfill"]).await;
    scene.pass("S-REVISION", "APROBADA").await;
    daemon.delta(1).await;
    let audited = audit(&scene, &[], 0).await;
    assert_eq!((counts(&audited), &audited["compared"]), ([4, 1, 0, 0, 0, 0], &json!("rows")));
    scene.product.flush().await;
    daemon.stop().await;
    scene.backend.lose_log().await;
    scene.sql.run("UPDATE historia SET estado = 'RECHAZADA' WHERE estado = 'REVISION'").await;
    scene.pass("S-APROBADA", "ENTREGADA").await;
    let audited = audit(&scene, &[], 1).await;
    let found = ["missing S-APROBADA - 14", "different S-REVISION 2 8"];
    assert_eq!(differences(&audited), found, "{audited:#}");
    audit(&scene, &["--repair"], 0).await;
    scene.product.flush().await;
    let lines = scene.dashboard.lines();
    let mut last = lines[lines.len() - 2..].to_vec();
    last.sort();
    assert_eq!(last, ["S-APROBADA 14", "S-REVISION 8"]);
    assert_eq!(counts(&audit(&scene, &[], 0).await), [6, 0, 0, 0, 0, 0]);
}

pub(crate) async fn an_audit_under_load_makes_nothing_up<B: Backend>() {
    let _alone = heavy::alone().await;
    let scene = Scene::<B>::with(|config| config.schedule = "every = \"1s\"\n".into()).await;
    let _daemon = scene.product.run().await;
    let load = Load::start(&scene.backend, seed(), 60);
    load.commits(50).await;
    scene.product.must(&["backfill"]).await;
    for round in 0..3 {
        load.commits(50).await;
        let audited = audit(&scene, &[], 0).await;
        assert_eq!(differences(&audited), Vec::<String>::new(), "round {round}: {audited:#}");
    }
    load.finish().await;
    scene.drain().await;
    let [equal, on_their_way, ..] = counts(&audit(&scene, &[], 0).await);
    assert!(equal > 30 && on_their_way == 0, "{equal} equal, {on_their_way} on their way");
}
