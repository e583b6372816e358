//! `[delivery]` beyond its single values: the parts of X-Road's address, certificates, hours.

use super::*;

/// The smallest configuration with `lines` in place of the address.
fn addressed(lines: &str) -> String {
    LEAST.replace("url = \"https://dashboard.example/api/load\"\n", lines)
}

#[test]
fn the_parts_of_x_road_s_address_make_address_and_caller() {
    let config = parse(&addressed(
        "[delivery.x_road]\nsecurity_server = \"10.0.0.5\"\nclient = \"DO/GOB/INSTITUCION/SUBSISTEMA\"\n",
    ))
    .unwrap();
    let production = "https://10.0.0.5/r1/DO/GOB/CNC/MONITOREO/INTEGRACION/api/load";
    assert_eq!(config.delivery.url.as_str(), production);
    assert_eq!(config.delivery.x_road_client.as_deref(), Some("DO/GOB/INSTITUCION/SUBSISTEMA"));
    let config = parse(&addressed(
        "x_road = { security_server = \"http://ss:8080\", client = \"DO/GOB/I/S\", instance = \"DO-TEST\", \
         member_class = \"COM\", member = \"M\", subsystem = \"S\", service = \"INTEGRACION-DEV\", path = \
         \"services-data/requests\" }\n",
    ))
    .unwrap();
    let other = "http://ss:8080/r1/DO-TEST/COM/M/S/INTEGRACION-DEV/services-data/requests";
    assert_eq!(config.delivery.url.as_str(), other);
}

#[test]
fn mistakes_in_the_address() {
    let section = "[delivery.x_road]\nsecurity_server = \"10.0.0.5\"\nclient = \"DO/GOB/I/S\"\n";
    let mut messages = String::new();
    for lines in [
        String::new(),
        "[delivery.x_road]\n".to_owned(),
        format!("url = \"https://10.0.0.5/\"\n{section}"),
        format!("x_road_client = \"DO/GOB/I/S\"\n{section}"),
        section.replace("10.0.0.5", "10.0.0.5/r1"),
        section.replace("DO/GOB/I/S", "I/S"),
        format!("{section}service = \"CNC:MONITOREO:INTEGRACION\"\n"),
        format!("{section}member_clas = \"GOB\"\n"),
    ] {
        writeln!(messages, "{lines}{}\n", mistakes(&addressed(&lines))).unwrap();
    }
    insta::assert_snapshot!(messages);
}

#[test]
fn mistakes_in_manners() {
    let messages = mistakes_with(&[
        ("delivery", "concurrency = 0"),
        ("delivery", "concurrency = 17"),
        ("delivery", "requests_per_minute = 0"),
        ("delivery", "window = \"20-6\""),
    ]);
    insta::assert_snapshot!(messages);
}

#[test]
fn a_certificate_of_the_client_is_read_with_its_key() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("cert.pem"), "-----BEGIN CERTIFICATE-----\n").unwrap();
    std::fs::write(folder.path().join("key.pem"), "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n").unwrap();
    let both = "tls_client_cert = \"cert.pem\"\ntls_client_key = \"key.pem\"";
    let config = parse_in(folder.path(), &with("delivery", both), Secrets::Needed).unwrap();
    assert!(!format!("{config:?}").contains("c2VjcmV0"));
    assert!(config.to_delivery().tls_client.unwrap().key_pem.expose().contains("c2VjcmV0"));
    // A command that only reads the ledger may not be allowed to read the key.
    std::fs::remove_file(folder.path().join("key.pem")).unwrap();
    assert!(parse_in(folder.path(), &with("delivery", both), Secrets::Spared).is_ok());
    for (lines, expected) in [
        (both, "delivery.tls_client_key: the file "),
        ("tls_client_cert = \"cert.pem\"", "delivery.tls_client_cert: lacks its key"),
        ("tls_client_key = \"cert.pem\"", "holds no private key in PEM"),
    ] {
        let told =
            parse_in(folder.path(), &with("delivery", lines), Secrets::Needed).unwrap_err().to_string();
        assert!(told.contains(expected), "{told}");
    }
}
