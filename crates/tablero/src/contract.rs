//! What the dashboard accepts.

use chrono::DateTime;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The most records that one POST may carry.
const RECORDS_MAX: usize = 1000;
/// How many complaints one refusal lists; a real one lists them all.
const COMPLAINTS_MAX: usize = 20;
const KEYS: [&str; 5] = ["service_id", "request_id", "opening_date", "status_id", "last_modified_date"];

/// One record, as it was sent.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The id of the service.
    pub service_id: String,
    /// The institution's id of the request.
    pub request_id: String,
    /// When the request was opened: ISO 8601 with `Z`.
    pub opening_date: String,
    /// The status, 1 to 21.
    pub status_id: u8,
    /// When the status changed: ISO 8601 with `Z`.
    pub last_modified_date: String,
}

impl Record {
    fn is_acceptable(&self) -> bool {
        !self.service_id.is_empty()
            && !self.request_id.is_empty()
            && (1..=21).contains(&self.status_id)
            && is_moment(&self.opening_date)
            && is_moment(&self.last_modified_date)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Load {
    requests: Vec<Record>,
}

/// Reads a body, or says in NestJS's words why it is refused.
///
/// A body is accepted quickly and refused slowly: only a refused one is looked at field by field.
pub(crate) fn read(body: &[u8]) -> Result<Vec<Record>, Vec<String>> {
    if let Ok(Load { requests }) = serde_json::from_slice(body)
        && (1..=RECORDS_MAX).contains(&requests.len())
        && requests.iter().all(Record::is_acceptable)
    {
        return Ok(requests);
    }
    let value = serde_json::from_slice(body).map_err(|error| vec![format!("Unexpected token: {error}")])?;
    let mut complaints = complaints_about(&value);
    if complaints.is_empty() {
        // The two readings differ where a key appears twice, for instance.
        complaints.push("the body is ambiguous".to_owned());
    }
    complaints.truncate(COMPLAINTS_MAX);
    Err(complaints)
}

fn complaints_about(body: &Value) -> Vec<String> {
    let Some(object) = body.as_object() else {
        return vec!["requests must be an array".to_owned()];
    };
    let mut complaints: Vec<String> = object
        .keys()
        .filter(|key| *key != "requests")
        .map(|key| format!("property {key} should not exist"))
        .collect();
    match object.get("requests").and_then(Value::as_array) {
        None => complaints.push("requests must be an array".to_owned()),
        Some(records) if records.is_empty() => complaints.push("requests should not be empty".to_owned()),
        Some(records) if records.len() > RECORDS_MAX => {
            complaints.push(format!("requests must contain no more than {RECORDS_MAX} elements"));
        }
        Some(records) => {
            for (index, record) in records.iter().enumerate() {
                complain_about_record(index, record, &mut complaints);
            }
        }
    }
    complaints
}

fn complain_about_record(index: usize, record: &Value, complaints: &mut Vec<String>) {
    let Some(record) = record.as_object() else {
        complaints.push(format!("requests.{index} must be an object"));
        return;
    };
    let about = |complaint: String| format!("requests.{index}.{complaint}");
    let unknown = record.keys().filter(|key| !KEYS.contains(&key.as_str()));
    complaints.extend(unknown.map(|key| about(format!("property {key} should not exist"))));
    for key in ["service_id", "request_id"] {
        complaints.extend(complaint_about_id(record, key).map(about));
    }
    for key in ["opening_date", "last_modified_date"] {
        if !record.get(key).and_then(Value::as_str).is_some_and(is_moment) {
            complaints.push(about(format!("{key} must be a valid ISO 8601 date string")));
        }
    }
    complaints.extend(complaint_about_status(record).map(about));
}

fn complaint_about_id(record: &Map<String, Value>, key: &str) -> Option<String> {
    match record.get(key).and_then(Value::as_str) {
        None => Some(format!("{key} must be a string")),
        Some("") => Some(format!("{key} should not be empty")),
        Some(_) => None,
    }
}

fn complaint_about_status(record: &Map<String, Value>) -> Option<String> {
    match record.get("status_id").and_then(Value::as_i64) {
        None => Some("status_id must be an integer number".to_owned()),
        Some(..1) => Some("status_id must not be less than 1".to_owned()),
        Some(22..) => Some("status_id must not be greater than 21".to_owned()),
        Some(1..=21) => None,
    }
}

/// Whether `text` is a moment in UTC: `YYYY-MM-DDTHH:MM:SS[.fff]Z`. The contract knows no other form.
fn is_moment(text: &str) -> bool {
    text.ends_with('Z')
        && text.as_bytes().get(10) == Some(&b'T')
        && DateTime::parse_from_rfc3339(text).is_ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record() -> Value {
        json!({"service_id": "123", "request_id": "REQ-001", "opening_date": "2025-06-13T08:00:00Z",
               "status_id": 2, "last_modified_date": "2025-06-13T10:15:00.123456Z"})
    }

    fn with(key: &str, value: Value) -> Value {
        let mut record = record();
        record[key] = value;
        json!({ "requests": [record] })
    }

    fn complaints(body: &Value) -> Vec<String> {
        read(body.to_string().as_bytes()).map(|_| ()).unwrap_err()
    }

    #[test]
    fn the_contract_s_own_example_is_accepted() {
        let records = read(json!({ "requests": [record(), record()] }).to_string().as_bytes()).unwrap();
        assert_eq!(records.len(), 2);
        assert_eq!(serde_json::to_value(&records[0]).unwrap(), record());
    }

    #[test]
    fn each_field_is_judged() {
        let cases = [
            (with("service_id", json!(123)), "requests.0.service_id must be a string"),
            (with("service_id", json!("")), "requests.0.service_id should not be empty"),
            (with("request_id", json!(null)), "requests.0.request_id must be a string"),
            (with("status_id", json!("2")), "requests.0.status_id must be an integer number"),
            (with("status_id", json!(2.5)), "requests.0.status_id must be an integer number"),
            (with("status_id", json!(0)), "requests.0.status_id must not be less than 1"),
            (with("status_id", json!(-4)), "requests.0.status_id must not be less than 1"),
            (with("status_id", json!(22)), "requests.0.status_id must not be greater than 21"),
            (with("status_id", json!(300)), "requests.0.status_id must not be greater than 21"),
            (with("extra", json!(1)), "requests.0.property extra should not exist"),
            (json!({"requests": [7]}), "requests.0 must be an object"),
            (json!({"requests": []}), "requests should not be empty"),
            (json!({"requests": {}}), "requests must be an array"),
            (json!([]), "requests must be an array"),
        ];
        for (body, expected) in cases {
            assert_eq!(complaints(&body), [expected]);
        }
    }

    #[test]
    fn a_date_needs_its_time_its_z_and_a_day_that_exists() {
        let wrong = [
            "2025-06-13",
            "2025-06-13T08:00:00",
            "2025-06-13T08:00:00+00:00",
            "2025-06-13 08:00:00Z",
            "2025-02-30T08:00:00Z",
            "2025-06-13T25:00:00Z",
            "",
        ];
        for date in wrong {
            let expected = "requests.0.opening_date must be a valid ISO 8601 date string";
            assert_eq!(complaints(&with("opening_date", json!(date))), [expected], "{date}");
        }
    }

    #[test]
    fn a_thousand_records_are_the_most() {
        let body = |records| json!({ "requests": vec![record(); records] });
        assert_eq!(read(body(1000).to_string().as_bytes()).unwrap().len(), 1000);
        assert_eq!(complaints(&body(1001)), ["requests must contain no more than 1000 elements"]);
    }

    #[test]
    fn a_body_that_is_not_json_is_refused_and_so_is_an_ambiguous_one() {
        assert!(read(b"{\"requests\":[").unwrap_err()[0].starts_with("Unexpected token"));
        let twice = r#"{"requests":[{"service_id":"1","service_id":"2","request_id":"3","status_id":1,
            "opening_date":"2025-06-13T08:00:00Z","last_modified_date":"2025-06-13T08:00:00Z"}]}"#;
        assert_eq!(read(twice.as_bytes()).unwrap_err(), ["the body is ambiguous"]);
    }
}
