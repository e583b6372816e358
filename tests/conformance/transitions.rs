//! Which row changes are status changes.

use tablero::Record;

use crate::support::backend::{Backend, Session};
use crate::support::scene::Scene;

pub(crate) async fn a_first_start_takes_the_present_as_known<B: Backend>() {
    let scene = Scene::<B>::new().await;
    scene.open("S-1", "RECIBIDA").await;
    scene.open("S-2", "REVISION").await;
    let daemon = scene.product.run().await;
    scene.pass("S-1", "APROBADA").await;
    scene.open("S-3", "RECIBIDA").await;
    let status = daemon.captured(2).await;
    assert_eq!(status["source"]["engine"], B::ENGINE);
    scene.flushed(&["S-1 3", "S-3 9"]).await;
}

pub(crate) async fn each_transition_is_one_record_in_order<B: Backend>() {
    let scene = Scene::<B>::new().await;
    let daemon = scene.product.run().await;
    scene.open("S-1", "RECIBIDA").await;
    scene.pass("S-1", "REVISION").await;
    // Several within one transaction, two requests in turns, and back to where a request came from.
    scene.sql.begin().await;
    scene.open("S-2", "RECIBIDA").await;
    for (numero, estado) in
        [("S-1", "APROBADA"), ("S-2", "RECHAZADA"), ("S-1", "REVISION"), ("S-1", "ENTREGADA")]
    {
        scene.pass(numero, estado).await;
    }
    scene.sql.commit().await;
    scene.pass("S-2", "RECIBIDA").await;
    daemon.captured(8).await;
    scene.flushed(&["S-1 9", "S-1 2", "S-2 9", "S-1 3", "S-2 8", "S-1 2", "S-1 14", "S-2 9"]).await;
}

pub(crate) async fn all_five_fields_arrive_as_the_table_says<B: Backend>() {
    let scene = Scene::<B>::new().await;
    let daemon = scene.product.run().await;
    let insert = "INSERT INTO solicitudes (numero, servicio, estado, fecha_apertura, fecha_modificacion)";
    scene
        .sql
        .run(&format!(
            "{insert} VALUES ('SOL-ñ \"1\"\\', 'PER', 'REVISION', '2025-06-13 08:00:00', '2025-12-31 22:15:00.120000')"
        ))
        .await;
    daemon.captured(1).await;
    scene.product.flush().await;
    let expected = Record {
        service_id: "102".into(),
        request_id: "SOL-ñ \"1\"\\".into(),
        opening_date: "2025-06-13T12:00:00Z".into(),
        status_id: 2,
        last_modified_date: "2026-01-01T02:15:00.120000Z".into(),
    };
    assert_eq!(scene.dashboard.records(), [expected]);
}

pub(crate) async fn edits_of_other_columns_are_no_records<B: Backend>() {
    let scene = Scene::<B>::new().await;
    scene.open("S-1", "RECIBIDA").await;
    let daemon = scene.product.run().await;
    scene.open("S-2", "RECIBIDA").await;
    scene.sql.run("UPDATE solicitudes SET nota = 'llamar al solicitante'").await;
    let moment = scene.moment();
    scene.sql.run(&format!("UPDATE solicitudes SET fecha_modificacion = '{moment}'")).await;
    // Not even when they come in one statement with a real transition of another request.
    scene.open("S-3", "RECIBIDA").await;
    scene
        .sql
        .run(
            "UPDATE solicitudes SET nota = 'x', \
             estado = CASE numero WHEN 'S-3' THEN 'APROBADA' ELSE estado END",
        )
        .await;
    let status = daemon.captured(9).await;
    assert_eq!(status["captured_changes"], 9, "row changes are counted, status changes or not");
    scene.flushed(&["S-2 9", "S-3 9", "S-3 3"]).await;
}

pub(crate) async fn a_repeat_of_a_status_is_no_record<B: Backend>() {
    let scene = Scene::<B>::new().await;
    scene.open("S-1", "RECIBIDA").await;
    let daemon = scene.product.run().await;
    scene.pass("S-1", "RECIBIDA").await;
    scene.pass("S-1", "APROBADA").await;
    scene.pass("S-1", "APROBADA").await;
    daemon.captured(3).await;
    scene.flushed(&["S-1 3"]).await;
    // The flush is a boundary inside the product, not in the database.
    scene.pass("S-1", "APROBADA").await;
    daemon.captured(4).await;
    scene.flushed(&["S-1 3"]).await;
    // Neither is a restart.
    daemon.stop().await;
    scene.pass("S-1", "APROBADA").await;
    scene.pass("S-1", "RECIBIDA").await;
    let daemon = scene.product.run().await;
    daemon.captured(6).await;
    scene.flushed(&["S-1 3", "S-1 9"]).await;
}

pub(crate) async fn what_was_rolled_back_never_leaves<B: Backend>() {
    let scene = Scene::<B>::new().await;
    scene.open("S-1", "RECIBIDA").await;
    let daemon = scene.product.run().await;
    scene.sql.begin().await;
    scene.pass("S-1", "RECHAZADA").await;
    scene.open("S-2", "RECIBIDA").await;
    scene.sql.rollback().await;
    scene.sql.begin().await;
    scene.pass("S-1", "REVISION").await;
    scene.sql.run(B::Session::SAVEPOINT).await;
    scene.pass("S-1", "RECHAZADA").await;
    scene.open("S-3", "RECIBIDA").await;
    scene.sql.run(B::Session::ROLLBACK_TO_SAVEPOINT).await;
    scene.pass("S-1", "APROBADA").await;
    scene.sql.commit().await;
    let status = daemon.captured(2).await;
    assert_eq!(status["captured_changes"], 2);
    scene.flushed(&["S-1 2", "S-1 3"]).await;
}

pub(crate) async fn a_changed_request_id_is_another_request<B: Backend>() {
    let scene = Scene::<B>::new().await;
    scene.open("S-1", "RECIBIDA").await;
    scene.open("S-2", "RECIBIDA").await;
    let daemon = scene.product.run().await;
    // The request id; then the key of the table.
    scene.sql.run("UPDATE solicitudes SET numero = 'T-1' WHERE numero = 'S-1'").await;
    scene.pass("T-1", "APROBADA").await;
    scene.sql.run("DELETE FROM solicitudes WHERE numero = 'S-2'").await;
    scene.open("S-2", "REVISION").await;
    daemon.captured(4).await;
    scene.flushed(&["T-1 9", "T-1 3", "S-2 2"]).await;
}

pub(crate) async fn a_flush_of_nothing_sends_nothing<B: Backend>() {
    let scene = Scene::<B>::new().await;
    scene.open("S-1", "RECIBIDA").await;
    let daemon = scene.product.run().await;
    scene.flushed(&[]).await;
    daemon.stop().await;
    scene.flushed(&[]).await;
    assert_eq!(scene.dashboard.attempts(), []);
}
