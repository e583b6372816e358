//! What the endpoint says in an answer that is no acknowledgement.
//!
//! Nobody has written down the dashboard's errors. These are the shapes of what may stand behind its address:
//! NestJS (`message`, a text or a list), FastAPI (`detail`, a text or a list of objects with `loc` and `msg`),
//! X-Road (`message`), ASP.NET (`title`), and the web page of a proxy.

use serde_json::Value;

use crate::reply::Reply;

/// How many of a list of complaints are worth quoting: the rest say the same of other records.
const COMPLAINTS_MAX: usize = 3;

/// The endpoint's own words, where the answer holds any that a person can read.
pub(crate) fn of(reply: &Reply) -> Option<String> {
    let text = String::from_utf8_lossy(&reply.body);
    let words = match serde_json::from_str::<Value>(&text) {
        Ok(body) => json_words(&body),
        Err(_) if reply.is_html() => page_title(&text),
        Err(_) => text.lines().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned),
    };
    words.filter(|words| !words.is_empty())
}

fn json_words(body: &Value) -> Option<String> {
    let Some(object) = body.as_object() else {
        return body.as_str().map(str::to_owned);
    };
    ["message", "detail", "title", "error"].iter().find_map(|key| object.get(*key).and_then(words_of))
}

fn words_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(complaints) => {
            let words: Vec<String> = complaints.iter().filter_map(complaint).take(COMPLAINTS_MAX).collect();
            (!words.is_empty()).then(|| words.join("; "))
        }
        Value::Object(object) => object.get("message").and_then(Value::as_str).map(str::to_owned),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

/// One of several complaints. Of FastAPI's objects only place and message are taken: `input` would quote a record.
fn complaint(value: &Value) -> Option<String> {
    if let Some(text) = value.as_str() {
        return Some(text.to_owned());
    }
    let message = value.get("msg").and_then(Value::as_str)?;
    let place: Vec<String> = value
        .get("loc")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|part| part.as_str().map_or_else(|| part.to_string(), str::to_owned))
        .collect();
    Some(if place.is_empty() { message.to_owned() } else { format!("{}: {message}", place.join(".")) })
}

fn page_title(text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    let from = lower.find("<title>")? + "<title>".len();
    let to = from + lower.get(from..)?.find("</title>")?;
    text.get(from..to).map(|title| title.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_endpoint_is_understood() {
        let cases = [
            (
                r#"{"message":["requests.0.status_id must be an integer number"],"statusCode":400}"#,
                Some("requests.0.status_id must be an integer number"),
            ),
            (r#"{"message":["a","b","c","d"]}"#, Some("a; b; c")),
            (r#"{"statusCode":500,"message":"Internal server error"}"#, Some("Internal server error")),
            (
                r#"{"detail":[{"loc":["body","requests",0,"status_id"],"msg":"too big","input":"secret"}]}"#,
                Some("body.requests.0.status_id: too big"),
            ),
            (r#"{"detail":"Not Found"}"#, Some("Not Found")),
            (
                r#"{"type":"Server.ServerProxy.AccessDenied","message":"Request is not allowed","detail":"6d0f"}"#,
                Some("Request is not allowed"),
            ),
            (r#"{"type":"about:blank","title":"Bad Request","status":400}"#, Some("Bad Request")),
            (r#"{"error":{"message":"quota"}}"#, Some("quota")),
            ("<html><head><TITLE> 502 Bad Gateway </TITLE></head></html>", Some("502 Bad Gateway")),
            ("<html><body>no title</body></html>", None),
            ("\n upstream connect error \nmore", Some("upstream connect error")),
            (r#""just a text""#, Some("just a text")),
            ("[1,2]", None),
            (r#"{"message":[]}"#, None),
            (r#"{"message":7}"#, None),
            ("", None),
        ];
        for (body, expected) in cases {
            assert_eq!(of(&Reply::of(400, &[], body)).as_deref(), expected, "{body}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_do_no_harm() {
        let mut reply = Reply::of(500, &[], "");
        reply.body = vec![0xff, 0xfe, b'<', 0x80];
        assert!(of(&reply).is_some());
    }
}
