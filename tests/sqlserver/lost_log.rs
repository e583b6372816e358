//! Changes that were cleaned up before they were read, and databases that are not what they were.

use serde_json::Value;
use testbed::sqlserver::{Action, Command, Fault};

use super::backend::SqlServer;
use crate::support::backend::Session;
use crate::support::scene::Scene;
use crate::support::wait::LATER;

/// Moves the low end to the end of what was captured, and deletes what lies before it.
const CLEAN_UP: &str = "DECLARE @end binary(10) = sys.fn_cdc_get_max_lsn();
    EXEC sys.sp_cdc_cleanup_change_table @capture_instance = N'dbo_solicitudes', @low_water_mark = @end";

fn mended(status: &Value) -> bool {
    let gaps = status["gaps"].as_array().unwrap();
    gaps.len() == 1 && gaps[0]["repaired_at"].is_string()
}

async fn last_statuses(scene: &Scene<SqlServer>, expected: &[&str]) {
    scene.product.flush().await;
    let lines = scene.dashboard.lines();
    for line in expected {
        let (numero, _) = line.split_once(' ').unwrap();
        let last = lines.iter().rfind(|line| line.split(' ').next() == Some(numero));
        assert_eq!(last.map(String::as_str), Some(*line), "{lines:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_cleaned_up_while_the_product_stood_still_is_mended() {
    let scene = Scene::<SqlServer>::new().await;
    for numero in ["S-1", "S-2"] {
        scene.open(numero, "RECIBIDA").await;
    }
    scene.product.run().await.stop().await;
    scene.pass("S-1", "REVISION").await;
    scene.pass("S-1", "APROBADA").await;
    scene.backend.captured().await;
    scene.pass("S-2", "REVISION").await;
    scene.backend.captured().await;
    scene.sql.run(CLEAN_UP).await;
    let daemon = scene.product.start().await;
    daemon.until("the gap is mended", LATER, mended).await;
    last_statuses(&scene, &["S-1 3", "S-2 2"]).await;
}

/// A reader that looks at the low end only before it reads would take what is left for the whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clean_up_between_the_two_looks_at_the_low_end_is_noticed() {
    let scene = Scene::<SqlServer>::own(|_| {}).await;
    let Some(_) = scene.backend.standin() else { return };
    for numero in ["S-1", "S-2"] {
        scene.open(numero, "RECIBIDA").await;
    }
    scene.product.run().await.stop().await;
    scene.pass("S-1", "APROBADA").await;
    scene.backend.captured().await;
    scene.pass("S-2", "REVISION").await;
    scene.backend.captured().await;
    // Just before the change table is read, and after the first look.
    let fault = Fault::once("FROM [cdc].[dbo_solicitudes_CT]", Action::Before(CLEAN_UP.to_owned()));
    scene.backend.control(&Command::Fault(fault));
    let daemon = scene.product.start().await;
    daemon.until("the gap is mended", LATER, mended).await;
    last_statuses(&scene, &["S-1 3", "S-2 2"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_was_restored_from_an_older_copy_is_noticed() {
    let scene = Scene::<SqlServer>::own(|_| {}).await;
    let Some(_) = scene.backend.standin() else { return };
    let (database, copy) = (scene.backend.database().to_owned(), scene.product.path("copia"));
    scene.open("S-1", "RECIBIDA").await;
    let daemon = scene.product.run().await;
    scene.pass("S-1", "REVISION").await;
    daemon.captured(1).await;
    scene.backend.control(&Command::Backup { database: database.clone(), to: copy.clone() });
    scene.pass("S-1", "APROBADA").await;
    daemon.captured(2).await;
    scene.product.flush().await;
    scene.backend.control(&Command::Restore { database, from: copy });
    daemon.until("the gap is mended", LATER, mended).await;
    // The database says REVISION again, and so must the dashboard.
    last_statuses(&scene, &["S-1 2"]).await;
}
