//! The dashboard behind X-Road, by the parts of its address.

use tablero::TableroConfig;

use super::{Scene, with_delta};
use crate::support::dashboard::Dashboard;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_make_the_way_and_check_compares_the_services_without_sending_a_record() {
    let mut scene = Scene::new().await;
    // The mapping of the suite also knows 102.
    let services = vec!["101".to_owned(), "103".to_owned()];
    scene.dashboard = Dashboard::start_with(TableroConfig { services, ..TableroConfig::default() }).await;
    let port = scene.dashboard.port();
    scene.reconfigure(|config| {
        config.delivery = format!(
            "[delivery.x_road]\nsecurity_server = \"http://127.0.0.1:{port}\"\nclient = \"DO/GOB/INSTITUCION/SUBSISTEMA\"\n\
             service = \"INTEGRACION-DEV\"\n"
        );
    });
    let _daemon = with_delta(&scene, 1).await;
    let checked = scene.product.must(&["check"]).await;
    assert!(checked.contains("the dashboard does not list the service ids \"102\""), "{checked}");
    assert!(checked.contains("the dashboard lists \"101\", \"103\""), "{checked}");
    assert_eq!(scene.dashboard.attempts(), []);

    scene.product.flush().await;
    let attempt = &scene.dashboard.attempts()[0];
    assert_eq!(attempt.path, "/r1/DO/GOB/CNC/MONITOREO/INTEGRACION-DEV/api/load");
    assert_eq!(attempt.header("x-road-client"), Some("DO/GOB/INSTITUCION/SUBSISTEMA"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outside_the_window_a_flush_sends_nothing_and_says_until_when() {
    let mut scene = Scene::new().await;
    let daemon = with_delta(&scene, 1).await;
    daemon.stop().await;
    // An hour that begins two hours from now.
    let opens = chrono::Utc::now() + chrono::TimeDelta::hours(2);
    let window =
        format!("{}-{}", opens.format("%H:%M"), (opens + chrono::TimeDelta::hours(1)).format("%H:%M"));
    scene.reconfigure(|config| {
        config.schedule.push_str("time_zone = \"UTC\"\n");
        config.delivery.push_str(&format!("window = \"{window}\"\n"));
    });
    let closed = scene.product.command(&["flush"]).await.with_code(1);
    let until = opens.format("%Y-%m-%dT%H:%M:00Z").to_string();
    assert!(closed.stderr.contains(&format!("closed until {until}")), "{}", closed.stderr);
    assert_eq!(scene.dashboard.attempts(), []);
    // The daemon takes the flush up again and waits for the same moment.
    let daemon = scene.product.run().await;
    daemon
        .until("the next flush is at the opening", crate::support::wait::SOON, |status| {
            status["flush"]["next_at"] == until.as_str()
        })
        .await;
    assert_eq!(scene.dashboard.attempts(), []);
}
