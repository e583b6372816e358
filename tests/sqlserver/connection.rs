//! What goes wrong on the way, on demand: only on the stand-in.

use testbed::sqlserver::{Action, Command, Fault};

use super::backend::SqlServer;
use crate::support::backend::{Backend, Session};
use crate::support::scene::Scene;

/// The change table's name in the statements that read it.
const CHANGE_TABLE: &str = "FROM [cdc].[dbo_solicitudes_CT]";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_lost_in_the_middle_of_a_row_loses_and_repeats_nothing() {
    let scene = Scene::<SqlServer>::own(|_| {}).await;
    let Some(_) = scene.backend.standin() else { return };
    scene.product.run().await.stop().await;
    scene.sql.begin().await;
    for number in 0..20 {
        scene.open(&format!("S-{number}"), "RECIBIDA").await;
    }
    scene.sql.commit().await;
    scene.backend.captured().await;
    for rows in [0, 7, 19] {
        let fault = Fault::once(CHANGE_TABLE, Action::CutAfterRows(rows));
        scene.backend.control(&Command::Fault(fault));
    }
    let daemon = scene.product.run().await;
    let status = daemon.captured(20).await;
    assert_eq!(status["captured_changes"], 20);
    let expected: Vec<String> = (0..20).map(|number| format!("S-{number} 9")).collect();
    scene.product.flush().await;
    assert_eq!(scene.dashboard.lines(), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deadlocks_and_a_database_that_moves_are_waited_out() {
    let scene = Scene::<SqlServer>::own(|_| {}).await;
    let Some(_) = scene.backend.standin() else { return };
    scene.open("S-1", "RECIBIDA").await;
    let daemon = scene.product.run().await;
    for action in [Action::Fail(1205), Action::Fail(3960), Action::CutAfterRows(0)] {
        scene.backend.control(&Command::Fault(Fault::once(CHANGE_TABLE, action)));
    }
    let user = scene.backend.address().user.clone();
    scene.backend.control(&Command::Fault(Fault::once(&user, Action::RefuseLogin(40_613))));
    // The refused one may be ours.
    if let Ok(sql) = scene.backend.session().await {
        sql.run("SELECT 1").await;
    }
    scene.pass("S-1", "REVISION").await;
    scene.pass("S-1", "APROBADA").await;
    let status = daemon.captured(2).await;
    assert_eq!(status["captured_changes"], 2);
    assert_eq!(status["gaps"].as_array().unwrap().len(), 0, "{status:#}");
    scene.flushed(&["S-1 2", "S-1 3"]).await;
}
