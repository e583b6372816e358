//! The JSON of a batch: `{"requests":[...]}`, compact, keys in the contract's order.

use normalizer::StatusChange;

use crate::timestamp::{self, Precision};

const OPENING: &[u8] = br#"{"requests":["#;
const CLOSING: &[u8] = b"]}";

/// The body of one POST, filled record by record up to a number of records and of bytes.
///
/// Equal status changes in equal order make equal bytes, so a batch that is made again is the same batch.
#[derive(Debug)]
pub struct Body {
    bytes: Vec<u8>,
    precision: Precision,
    records: usize,
    records_max: usize,
    bytes_max: usize,
}

impl Body {
    /// An empty body that takes at most `records_max` records and `bytes_max` bytes as sent.
    #[must_use]
    pub fn new(precision: Precision, records_max: usize, bytes_max: usize) -> Self {
        Self { bytes: OPENING.to_vec(), precision, records: 0, records_max, bytes_max }
    }

    /// Adds a record; `false` means that the body is full and holds what it held before.
    ///
    /// The first record is always taken: a record that is larger than the limit must meet the endpoint's own
    /// judgement rather than wait for ever.
    #[must_use]
    pub fn push(&mut self, change: &StatusChange) -> bool {
        if self.records > 0 && self.records >= self.records_max {
            return false;
        }
        let length_before = self.bytes.len();
        if self.records > 0 {
            self.bytes.push(b',');
        }
        append_record(&mut self.bytes, change, self.precision);
        if self.records > 0 && self.bytes.len() + CLOSING.len() > self.bytes_max {
            self.bytes.truncate(length_before);
            return false;
        }
        self.records += 1;
        true
    }

    /// How many records the body holds.
    #[must_use]
    pub fn records(&self) -> usize {
        self.records
    }

    /// The bytes to send.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.extend_from_slice(CLOSING);
        self.bytes
    }
}

fn append_record(buffer: &mut Vec<u8>, change: &StatusChange, precision: Precision) {
    buffer.extend_from_slice(br#"{"service_id":"#);
    append_text(buffer, &change.service_id);
    buffer.extend_from_slice(br#","request_id":"#);
    append_text(buffer, &change.request_id);
    buffer.extend_from_slice(br#","opening_date":""#);
    timestamp::append(buffer, change.opening_at, precision);
    buffer.extend_from_slice(br#"","status_id":"#);
    append_status(buffer, change.status_id);
    buffer.extend_from_slice(br#","last_modified_date":""#);
    timestamp::append(buffer, change.modified_at, precision);
    buffer.extend_from_slice(br#""}"#);
}

fn append_status(buffer: &mut Vec<u8>, status_id: u8) {
    if status_id >= 100 {
        buffer.push(b'0' + status_id / 100);
    }
    if status_id >= 10 {
        buffer.push(b'0' + status_id / 10 % 10);
    }
    buffer.push(b'0' + status_id % 10);
}

/// Appends a JSON string, escaping only what RFC 8259 demands: quotation mark, backslash, control characters.
fn append_text(buffer: &mut Vec<u8>, text: &str) {
    buffer.push(b'"');
    if text.bytes().all(is_plain) {
        buffer.extend_from_slice(text.as_bytes());
    } else {
        for byte in text.bytes() {
            append_escaped(buffer, byte);
        }
    }
    buffer.push(b'"');
}

/// Bytes of multi-byte characters are plain: JSON is UTF-8, and so is the text.
fn is_plain(byte: u8) -> bool {
    byte >= 0x20 && byte != b'"' && byte != b'\\'
}

fn append_escaped(buffer: &mut Vec<u8>, byte: u8) {
    match byte {
        b'"' => buffer.extend_from_slice(br#"\""#),
        b'\\' => buffer.extend_from_slice(br"\\"),
        b'\n' => buffer.extend_from_slice(br"\n"),
        b'\r' => buffer.extend_from_slice(br"\r"),
        b'\t' => buffer.extend_from_slice(br"\t"),
        0x00..0x20 => {
            let digit = char::from_digit(u32::from(byte & 0x0f), 16).unwrap_or('0');
            buffer.extend_from_slice(if byte < 0x10 { br"\u000" } else { br"\u001" });
            buffer.extend_from_slice(digit.encode_utf8(&mut [0; 4]).as_bytes());
        }
        plain => buffer.push(plain),
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use serde_json::{Value, json};

    use super::*;

    fn change(request_id: &str) -> StatusChange {
        StatusChange {
            service_id: "123".into(),
            request_id: request_id.into(),
            opening_at: 1_749_801_600_000_000,
            status_id: 2,
            modified_at: 1_749_809_700_000_000,
        }
    }

    fn body_of(changes: &[StatusChange]) -> String {
        let mut body = Body::new(Precision::Micros, 1000, 1_000_000);
        for change in changes {
            assert!(body.push(change));
        }
        String::from_utf8(body.finish()).unwrap()
    }

    #[test]
    fn a_body_is_the_contract_s_own_example() {
        assert_eq!(
            body_of(&[change("REQ-001")]),
            concat!(
                r#"{"requests":[{"service_id":"123","request_id":"REQ-001","opening_date":"2025-06-13T08:00:00Z","#,
                r#""status_id":2,"last_modified_date":"2025-06-13T10:15:00Z"}]}"#
            )
        );
        assert_eq!(body_of(&[]), r#"{"requests":[]}"#);
    }

    #[test]
    fn every_status_is_written_as_a_number() {
        for status_id in 0..=u8::MAX {
            let text = body_of(&[StatusChange { status_id, ..change("1") }]);
            let read: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(read["requests"][0]["status_id"], json!(status_id));
        }
    }

    #[test]
    fn any_text_is_read_back_as_it_was() {
        let seed: u64 = rand::random();
        eprintln!("seed {seed}");
        let mut random = rand::rngs::StdRng::seed_from_u64(seed);
        let mut texts: Vec<String> = (0_u8..=127).map(|byte| char::from(byte).to_string()).collect();
        texts.push("expediente «ñ» \u{2028}\u{1f4c4}\u{7f}".to_owned());
        texts.extend((0..2000).map(|_| (0..12).map(|_| random.random::<char>()).collect::<String>()));
        for text in texts {
            let read: Value = serde_json::from_str(&body_of(&[change(&text)])).unwrap();
            assert_eq!(read["requests"][0]["request_id"], json!(text));
        }
    }

    #[test]
    fn a_body_is_full_at_its_number_of_records() {
        let mut body = Body::new(Precision::Micros, 2, 1_000_000);
        assert!(body.push(&change("1")) && body.push(&change("2")));
        assert!(!body.push(&change("3")));
        assert_eq!(body.records(), 2);
        assert_eq!(String::from_utf8(body.finish()).unwrap(), body_of(&[change("1"), change("2")]));
    }

    #[test]
    fn a_body_never_exceeds_its_bytes_once_it_holds_a_record() {
        let two = body_of(&[change("1"), change("2")]);
        for (bytes_max, expected) in [(two.len(), 2), (two.len() - 1, 1), (0, 1)] {
            let mut body = Body::new(Precision::Micros, 1000, bytes_max);
            assert!(body.push(&change("1")), "the first record is always taken");
            assert_eq!(body.push(&change("2")), expected == 2, "{bytes_max} bytes");
            assert_eq!(body.records(), expected);
            let bytes = body.finish();
            assert!(serde_json::from_slice::<Value>(&bytes).is_ok());
            assert!(expected == 1 || bytes.len() <= bytes_max);
        }
    }
}
