//! Fields that are made of several columns.

use serde_json::Value;

use crate::support::backend::{Backend, Session};
use crate::support::config::{Config, replace};
use crate::support::scene::Scene;

/// The request is named by two columns, and its status by a pair of which the second may be NULL.
fn derived(config: &mut Config) {
    let mapping = &mut config.mapping;
    replace(mapping, "{ column = \"numero\" }", "{ template = \"{servicio}/{numero}\" }");
    let start = mapping.find("status_id").unwrap();
    let end = mapping.find("last_modified_date").unwrap();
    mapping.replace_range(
        start..end,
        "status_id = { columns = [\"estado\", \"nota\"], map = { \"RECIBIDA|\" = 9, \"REVISION|\" = 2, \
         \"REVISION|urgente\" = 4, 'REVISION|a\\|b' = 6, \"APROBADA|\" = 3 } }\n",
    );
}

pub(crate) async fn ids_and_statuses_are_made_of_several_columns<B: Backend>() {
    let scene = Scene::<B>::with(derived).await;
    scene.open("S-1", "RECIBIDA").await;
    scene.open("S-2", "REVISION").await;
    let daemon = scene.product.run().await;
    scene.product.must(&["backfill"]).await;
    scene.pass("S-1", "REVISION").await;
    // The second column alone changes the status; another one does not.
    scene.sql.run("UPDATE solicitudes SET nota = 'urgente' WHERE numero = 'S-1'").await;
    scene.sql.run("UPDATE solicitudes SET nota = '' WHERE numero = 'S-2'").await;
    scene.sql.run("UPDATE solicitudes SET nota = 'a|b' WHERE numero = 'S-2'").await;
    scene.sql.run("UPDATE solicitudes SET estado = 'APROBADA', nota = NULL WHERE numero = 'S-1'").await;
    scene.sql.run("UPDATE solicitudes SET servicio = 'PER' WHERE numero = 'S-1'").await;
    daemon.captured(6).await;
    scene
        .flushed(&["LIC/S-1 9", "LIC/S-2 2", "LIC/S-1 2", "LIC/S-1 4", "LIC/S-2 6", "LIC/S-1 3", "PER/S-1 3"])
        .await;
}

pub(crate) async fn what_no_map_lists_goes_to_quarantine_or_stands_for_something<B: Backend>() {
    let mut scene = Scene::<B>::with(derived).await;
    let daemon = scene.product.run().await;
    scene.open("S-1", "REVISION").await;
    scene.sql.run("UPDATE solicitudes SET nota = 'otra' WHERE numero = 'S-1'").await;
    daemon.captured(2).await;
    let listed: Value =
        serde_json::from_str(&scene.product.must(&["quarantine", "list", "--json"]).await).unwrap();
    let item = &listed["items"][0];
    assert_eq!(item["request_id"], "LIC/S-1");
    let reason = item["reason"].as_str().unwrap();
    assert!(reason.contains("\"estado\", \"nota\"") && reason.contains("REVISION|otra"), "{item:#}");
    assert_eq!(item["row"]["estado"], "REVISION", "all columns involved are kept: {item:#}");
    assert_eq!(item["row"]["nota"], "otra");
    assert_eq!(item["row"]["servicio"], "LIC");
    let told = scene.product.must(&["explain", "LIC/S-1"]).await;
    assert!(told.contains("REVISION|otra"), "{told}");
    daemon.stop().await;

    // Whatever is not listed stands for "in process" from now on.
    scene.reconfigure(|config| {
        replace(&mut config.mapping, "\"APROBADA|\" = 3 }", "\"APROBADA|\" = 3 }, other = 21")
    });
    scene.product.must(&["quarantine", "retry"]).await;
    let daemon = scene.product.run().await;
    scene.open("S-2", "PERDIDA").await;
    scene.sql.run("UPDATE solicitudes SET nota = 'tampoco' WHERE numero = 'S-2'").await;
    scene.pass("S-1", "APROBADA").await;
    scene.sql.run("UPDATE solicitudes SET nota = NULL WHERE numero = 'S-1'").await;
    daemon.captured(6).await;
    scene.flushed(&["LIC/S-1 2", "LIC/S-1 21", "LIC/S-2 21", "LIC/S-1 3"]).await;
}
