//! The daemon under a service manager: it tells when it is ready, that it lives, and that it stops.

use std::time::Duration;

use tokio::net::UnixDatagram;

use super::Scene;
use crate::support::wait::SOON;

/// Within this time the manager wants to hear of the daemon, which speaks up three times as often.
const WATCHDOG: Duration = Duration::from_secs(6);

async fn heard(socket: &UnixDatagram) -> String {
    let mut message = vec![0; 1000];
    let length = tokio::time::timeout(SOON, socket.recv(&mut message)).await.expect("a message").unwrap();
    message.truncate(length);
    String::from_utf8(message).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_manager_hears_of_the_start_of_life_and_of_the_stop() {
    let mut scene = Scene::new().await;
    let path = scene.product.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    let within = WATCHDOG.as_micros().to_string();
    scene.product = scene
        .product
        .with_variable("NOTIFY_SOCKET", path.to_str().unwrap())
        .with_variable("WATCHDOG_USEC", &within);
    let daemon = scene.product.run().await;
    assert_eq!(heard(&socket).await, "READY=1");
    let mut state = String::new();
    while state != "WATCHDOG=1\nSTATUS=streaming" {
        state = heard(&socket).await;
        assert!(state.starts_with("WATCHDOG=1\nSTATUS="), "{state}");
    }
    assert_eq!(heard(&socket).await, state, "signs of life go on");
    daemon.stop().await;
    let mut last = heard(&socket).await;
    while last.starts_with("WATCHDOG=1") {
        last = heard(&socket).await;
    }
    assert_eq!(last, "STOPPING=1");
}
