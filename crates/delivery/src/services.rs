//! The services that the dashboard knows the institution by: `GET <base>/services`.

use std::collections::BTreeSet;

use reqwest::Url;
use serde_json::Value;

use crate::probe::base;
use crate::reply::{End, Reply};

/// What a list may be wrapped in; the contract does not show one.
const WRAPPERS: [&str; 5] = ["data", "services", "servicios", "items", "results"];

/// What an id may be called.
const KEYS: [&str; 5] = ["service_id", "serviceId", "id", "code", "codigo"];

/// The address of the list; `None` where the configured address does not end as the contract says.
pub(crate) fn address(url: &Url) -> Option<Url> {
    let path = format!("{}/services", base(url)?);
    let mut address = url.clone();
    address.set_path(&path);
    Some(address)
}

/// The ids in the answer; `None` where the answer is no such list, which not every dashboard has.
pub(crate) fn ids(reply: &Reply) -> Option<BTreeSet<String>> {
    if !reply.status.is_success() || reply.end != End::Whole || reply.header("x-road-error").is_some() {
        return None;
    }
    let body: Value = serde_json::from_slice(&reply.body).ok()?;
    let list = body.as_array().or_else(|| WRAPPERS.iter().find_map(|key| body.get(key)?.as_array()))?;
    // One entry of another kind, and nothing is known of the others either.
    list.iter().map(id).collect()
}

fn id(entry: &Value) -> Option<String> {
    match entry {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Object(fields) => {
            KEYS.iter().find_map(|key| fields.get(*key)).filter(|value| !value.is_object()).and_then(id)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids_of(body: &str) -> Option<Vec<String>> {
        ids(&Reply::of(200, &[], body)).map(|ids| ids.into_iter().collect())
    }

    #[test]
    fn lists_of_several_shapes_are_read() {
        let two = Some(vec!["101".to_owned(), "102".to_owned()]);
        for body in [
            r#"[{"service_id":"101"},{"service_id":"102"}]"#,
            r#"[{"id":101,"name":"Licencia"},{"id":102}]"#,
            r#"{"success":true,"data":[{"serviceId":"102"},{"serviceId":"101"}]}"#,
            r#"{"services":["101","102"]}"#,
        ] {
            assert_eq!(ids_of(body), two, "{body}");
        }
        assert_eq!(ids_of("[]"), Some(Vec::new()));
    }

    #[test]
    fn what_is_no_such_list_tells_nothing() {
        for body in ["", "<html>", "{}", "7", r#"[{"name":"Licencia"}]"#, r#"["101",null]"#, r#"[{"id":{}}]"#]
        {
            assert_eq!(ids_of(body), None, "{body}");
        }
        assert_eq!(ids(&Reply::of(404, &[], "[]")), None);
        assert_eq!(ids(&Reply::of(200, &[("x-road-error", "Server.X")], "[]")), None);
        assert_eq!(ids(&Reply { end: End::Cut, ..Reply::of(200, &[], "[]") }), None);
    }

    #[test]
    fn the_list_is_beside_the_address_of_deliveries() {
        let address = |url: &str| address(&Url::parse(url).unwrap()).map(|url| url.to_string());
        assert_eq!(
            address("https://s/r1/DO/GOB/CNC/MONITOREO/INTEGRACION/api/load").as_deref(),
            Some("https://s/r1/DO/GOB/CNC/MONITOREO/INTEGRACION/services")
        );
        assert_eq!(address("http://d/services-data/requests").as_deref(), Some("http://d/services"));
        assert_eq!(address("http://d/elsewhere"), None);
    }
}
