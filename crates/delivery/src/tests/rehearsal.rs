//! Deliveries to the dashboard's simulator, fault by fault.

use bytes::Bytes;
use normalizer::StatusChange;
use tablero::{Fault, Tablero, TableroConfig, TlsIdentity};

use super::certificates::{issued, params};
use super::{PATIENCE, SHORT, config, summary};
use crate::{ClientIdentity, Delivery, DeliveryConfig, Secret};

fn changes(count: usize) -> impl Iterator<Item = StatusChange> {
    (0..count).map(|number| StatusChange {
        service_id: "101".into(),
        request_id: format!("REQ-{number}").into(),
        opening_at: 1_749_801_600_000_000,
        status_id: 2,
        modified_at: 1_749_809_700_123_456,
    })
}

fn batch(delivery: &Delivery, count: usize) -> Bytes {
    let mut body = delivery.body(1000, 1_000_000);
    assert!(changes(count).all(|change| body.push(&change)));
    body.finish().into()
}

#[tokio::test]
async fn a_full_batch_is_taken_as_it_was_meant() {
    let tablero = Tablero::start(TableroConfig::default()).await.unwrap();
    let delivery = Delivery::new(config(tablero.url())).unwrap();
    let body = batch(&delivery, 1000);
    assert_eq!(summary(&delivery.post(body.clone()).await), "acknowledged");
    assert_eq!(tablero.received()[0].body, body);
    let records = tablero.records();
    assert_eq!((records.len(), records[999].request_id.as_str()), (1000, "REQ-999"));
    assert_eq!(records[0].last_modified_date, "2025-06-13T10:15:00.123456Z");
    assert_eq!(delivery.probe().await.unwrap().doubt, None);
}

#[tokio::test]
async fn every_fault_of_the_simulator_has_its_verdict_and_tells_whether_the_batch_is_there() {
    let cases = [
        ("none", "acknowledged", 1),
        ("500", "retry server_error", 0),
        ("503", "retry server_error", 0),
        ("429", "retry too_many_requests", 0),
        ("400", "refused refused", 0),
        ("413", "too-large too_large", 0),
        ("422", "refused refused", 0),
        ("502", "retry server_error", 0),
        ("no-certificate", "halt proxy_refused", 0),
        ("401", "halt unauthorized", 0),
        ("403", "halt forbidden", 0),
        ("404", "halt not_found", 0),
        ("html", "retry html_answer", 0),
        ("empty", "retry empty_answer", 0),
        ("success-false", "refused success_false", 0),
        ("reset", "retry connection_lost", 0),
        ("reset-after-store", "retry connection_lost", 1),
        ("hang", "retry timeout", 0),
        ("hang-after-store", "retry timeout", 1),
        ("slow", "retry timeout", 1),
        ("garbage", "retry connection_lost", 0),
        ("redirect", "halt redirect", 0),
        ("truncated", "retry connection_lost", 1),
        ("poison:REQ-1", "refused refused", 0),
        ("x-road-access-denied", "halt x_road_access_denied", 0),
        ("x-road-network-error", "retry x_road_network", 0),
        ("x-road-timeout", "retry x_road_io", 0),
        ("x-road=server.clientproxy.invalid_client_identifier", "halt x_road_client_identifier", 0),
        ("x-road-after-store=Server.ServerProxy.ServiceFailed.HttpError", "retry x_road_service_failed", 1),
        ("huge-answer", "retry unreadable_answer", 1),
    ];
    assert_eq!(cases.len(), Fault::all().count());
    for (fault, expected, batches) in cases {
        let fault: Fault = fault.parse().unwrap();
        let tablero =
            Tablero::start(TableroConfig { fault: fault.clone(), ..TableroConfig::default() }).await.unwrap();
        let is_slow = expected == "retry timeout";
        let timeout = if is_slow { SHORT } else { PATIENCE };
        let delivery = Delivery::new(DeliveryConfig { timeout, ..config(tablero.url()) }).unwrap();
        assert_eq!(summary(&delivery.post(batch(&delivery, 2)).await), expected, "{fault}");
        assert_eq!(tablero.summary().batches, batches, "{fault}");
    }
}

#[tokio::test]
async fn the_services_are_those_that_the_dashboard_lists() {
    let listed = async |services: &[&str]| {
        let services = services.iter().map(|id| (*id).to_owned()).collect();
        let tablero = Tablero::start(TableroConfig { services, ..TableroConfig::default() }).await.unwrap();
        let listed = Delivery::new(config(tablero.url())).unwrap().services().await;
        assert_eq!(tablero.summary().attempts, 0, "no record is sent");
        listed.map(|ids| ids.into_iter().collect::<Vec<_>>())
    };
    assert_eq!(listed(&["102", "101"]).await, Some(vec!["101".to_owned(), "102".to_owned()]));
    assert_eq!(listed(&[]).await, None);
}

#[tokio::test]
async fn the_simulator_rehearses_certificates_of_both_sides() {
    let (server_authority, server) = issued(&params("127.0.0.1"));
    let (client_authority, client) = issued(&params("conector"));
    let tls = TlsIdentity {
        certificate_pem: server.certificate.pem().into_bytes(),
        key_pem: server.key.serialize_pem().into_bytes(),
        clients_pem: Some(client_authority.into_bytes()),
    };
    let tablero = Tablero::start(TableroConfig { tls: Some(tls), ..TableroConfig::default() }).await.unwrap();
    let known = ClientIdentity {
        certificate_pem: client.certificate.pem().into_bytes(),
        key_pem: Secret::new(client.key.serialize_pem()),
    };
    let trusted = || Some(server_authority.clone().into_bytes());
    let meet = async |tls_ca_pem, tls_client| {
        let config = DeliveryConfig { tls_ca_pem, tls_client, ..config(tablero.url()) };
        let delivery = Delivery::new(config).unwrap();
        summary(&delivery.post(batch(&delivery, 1)).await)
    };
    assert_eq!(meet(trusted(), Some(known.clone())).await, "acknowledged");
    assert_eq!(meet(None, Some(known)).await, "halt tls_certificate");
    assert_eq!(meet(trusted(), None).await, "halt tls_client_certificate");
    assert_eq!(tablero.summary().records, 1);
}

#[tokio::test]
async fn a_key_and_a_path_through_x_road_arrive() {
    let tablero =
        Tablero::start(TableroConfig { api_key: Some("k-1".to_owned()), ..TableroConfig::default() })
            .await
            .unwrap();
    let url = tablero.url().replace("/api/load", "/r1/DO/GOB/CNC/MONITOREO/INTEGRACION/api/load");
    let delivery = Delivery::new(DeliveryConfig {
        headers: vec![("api-key".to_owned(), Secret::new("k-1"))],
        x_road_client: Some("DO/GOB/INSTITUCION/SUBSISTEMA".to_owned()),
        ..config(url)
    })
    .unwrap();
    assert_eq!(summary(&delivery.post(batch(&delivery, 1)).await), "acknowledged");
    let request = &tablero.requests()[0];
    assert_eq!(request.header("x-road-client"), Some("DO/GOB/INSTITUCION/SUBSISTEMA"));
    assert_eq!(delivery.probe().await.unwrap().doubt, None);
}
