//! Capture instances that come and go under the stream.

use super::backend::SqlServer;
use crate::support::backend::Session;
use crate::support::config::replace;
use crate::support::scene::Scene;
use crate::support::wait::SOON;

/// Another instance of the table with the columns of now.
const SECOND: &str = "EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'solicitudes',
    @capture_instance = N'segunda', @role_name = NULL, @supports_net_changes = 0";
const DROP_FIRST: &str =
    "EXEC sys.sp_cdc_disable_table @source_schema = N'dbo', @source_name = N'solicitudes',
    @capture_instance = N'dbo_solicitudes'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stream_passes_to_another_instance_and_loses_and_repeats_nothing() {
    let scene = Scene::<SqlServer>::new().await;
    scene.open("S-1", "RECIBIDA").await;
    let daemon = scene.product.run().await;
    scene.pass("S-1", "REVISION").await;
    scene.sql.run("ALTER TABLE dbo.solicitudes ADD prioridad int NULL").await;
    scene.sql.run(SECOND).await;
    scene.pass("S-1", "APROBADA").await;
    daemon.captured(2).await;
    scene.sql.run(DROP_FIRST).await;
    scene.pass("S-1", "ENTREGADA").await;
    let status = daemon.captured(3).await;
    assert_eq!(status["captured_changes"], 3);
    // The same while the product is stopped.
    daemon.stop().await;
    scene.sql.run(&SECOND.replace("segunda", "tercera")).await;
    scene.pass("S-1", "RECHAZADA").await;
    scene.backend.captured().await;
    scene.sql.run(&DROP_FIRST.replace("dbo_solicitudes", "segunda")).await;
    scene.pass("S-1", "RECIBIDA").await;
    let daemon = scene.product.start().await;
    daemon
        .until("the last status arrives", SOON, |status| status["delta"]["records"].as_u64() >= Some(4))
        .await;
    scene.product.flush().await;
    let lines = scene.dashboard.lines();
    assert_eq!(lines[..3], ["S-1 2", "S-1 3", "S-1 14"]);
    // What the second alone had captured went with it, unless the third was there in time.
    assert_eq!(lines.last().unwrap(), "S-1 9");
}

/// A column that is mapped later than the instance was made is not captured.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mapped_column_that_no_instance_has_is_named_with_what_mends_it() {
    let mut scene = Scene::<SqlServer>::new().await;
    scene.open("S-1", "RECIBIDA").await;
    scene.product.run().await.stop().await;
    scene.sql.run("ALTER TABLE dbo.solicitudes ADD situacion varchar(20) NULL").await;
    scene.reconfigure(|config| replace(&mut config.mapping, "column = \"estado\"", "column = \"situacion\""));
    let checked = scene.product.command(&["check"]).await.with_code(1);
    assert!(
        checked.stdout.contains("situacion") && checked.stdout.contains("sp_cdc_enable_table"),
        "{checked:?}"
    );
    let refused = scene.product.command(&["run"]).await.with_code(1);
    assert!(refused.stderr.contains("situacion"), "{refused:?}");
    // What `setup` prints mends it.
    let script = scene.product.must(&["setup"]).await;
    scene.sql.run(&script).await;
    scene.sql.run("UPDATE dbo.solicitudes SET situacion = estado").await;
    scene.backend.captured().await;
    scene.product.command(&["check"]).await.with_code(0);
}
