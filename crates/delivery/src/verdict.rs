//! What an answer of the endpoint means for the batch.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;

use crate::endpoint_words;
use crate::fault::Fault;
use crate::reply::{End, Reply};
use crate::retry_after::asked_pause;
use crate::x_road;

/// What an exchange means for the batch that it carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The dashboard said that it has stored every record.
    Acknowledged,
    /// Send the same bytes again after a pause: the cause may pass by itself. Whether the dashboard has stored
    /// the batch may be unknown.
    Retry {
        /// How long the endpoint asked to be left alone.
        after: Option<Duration>,
        /// What happened.
        fault: Fault,
    },
    /// The batch is too large for something on the way: send smaller ones.
    TooLarge {
        /// What happened.
        fault: Fault,
    },
    /// The dashboard does not take this batch; a single record of it may be to blame.
    Refused {
        /// Whether sending the same bytes again is pointless.
        certain: bool,
        /// What happened.
        fault: Fault,
    },
    /// No batch will pass until someone acts.
    Halt {
        /// What happened.
        fault: Fault,
    },
}

impl Verdict {
    /// What happened, unless the batch was acknowledged.
    #[must_use]
    pub fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Acknowledged => None,
            Self::Retry { fault, .. }
            | Self::TooLarge { fault }
            | Self::Refused { fault, .. }
            | Self::Halt { fault } => Some(fault),
        }
    }
}

/// Judges an answer. `now` is the moment of the answer.
///
/// X-Road's own header comes first, because X-Road's statuses say nothing: it answers 500 to a missing right.
pub(crate) fn judge(reply: &Reply, now: DateTime<Utc>) -> Verdict {
    if let Some(code) = reply.header("x-road-error") {
        return x_road::judge(code, reply, now);
    }
    match reply.status.as_u16() {
        200..=299 => judge_success(reply),
        300..=399 => Verdict::Halt { fault: redirect(reply) },
        // The dashboard refuses in JSON: a page is the word of a proxy, which knows nothing of records.
        400 | 422 if reply.is_html() => Verdict::Halt {
            fault: answered("proxy_refused", reply).with_hint(
                "Check scheme, port and path of [delivery] url, and whether a proxy there wants a certificate \
                 (tls_client_cert): a web page came instead of the dashboard's answer.",
            ),
        },
        400 | 422 => Verdict::Refused { certain: true, fault: answered("refused", reply) },
        413 => Verdict::TooLarge { fault: answered("too_large", reply) },
        408 | 425 | 429 => Verdict::Retry {
            after: asked_pause(reply, now),
            fault: answered(if reply.status == 429 { "too_many_requests" } else { "try_again" }, reply),
        },
        status @ 400..=499 => {
            let (code, hint) = halting(status);
            Verdict::Halt { fault: answered(code, reply).with_hint(hint) }
        }
        _ => Verdict::Retry { after: asked_pause(reply, now), fault: answered("server_error", reply) },
    }
}

/// The contract's acknowledgement, as far as it counts. A key that appears twice makes it unreadable.
#[derive(Deserialize)]
struct Acknowledgement {
    success: Option<Value>,
    code: Option<Value>,
}

fn judge_success(reply: &Reply) -> Verdict {
    let status = reply.status.as_u16();
    let unknown = |code, what: &str| Verdict::Retry {
        after: None,
        fault: Fault::new(
            code,
            format!("answered {status}, but {what}; whether the batch was stored is unknown"),
        ),
    };
    match reply.end {
        End::Whole => {}
        End::Cut => return unknown("unreadable_answer", "with far more than an acknowledgement"),
        End::Broken => return unknown("connection_lost", "the connection broke in the middle of the answer"),
        End::TimedOut => return unknown("timeout", "the answer was not complete in time"),
    }
    if reply.body.trim_ascii().is_empty() {
        return unknown("empty_answer", "without the JSON of an acknowledgement");
    }
    let body = reply.body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&reply.body);
    let Ok(acknowledgement) = serde_json::from_slice::<Acknowledgement>(body) else {
        return if reply.is_html() {
            unaddressed(reply)
        } else {
            unknown("unreadable_answer", "not with the JSON of an acknowledgement")
        };
    };
    let is_code_good = acknowledgement.code.is_none_or(|code| matches!(code.as_u64(), Some(200..=299)));
    match acknowledgement.success {
        Some(Value::Bool(true)) if is_code_good => Verdict::Acknowledged,
        Some(Value::Bool(true)) => unknown("unreadable_answer", "its code contradicts its success"),
        Some(Value::Bool(false)) => {
            Verdict::Refused { certain: false, fault: answered("success_false", reply) }
        }
        _ => unknown("unreadable_answer", "its JSON has no success"),
    }
}

/// A web page instead of an acknowledgement: most likely something else lives at the address, but a proxy in front of
/// the dashboard may also show a page for a while, so this is tried again.
fn unaddressed(reply: &Reply) -> Verdict {
    let hint = "If this lasts, check [delivery] url: a proxy or a log-in page answers there.";
    Verdict::Retry { after: None, fault: answered("html_answer", reply).with_hint(hint) }
}

/// Fault code and hint of the statuses that need a person.
fn halting(status: u16) -> (&'static str, &'static str) {
    match status {
        401 => ("unauthorized", "Check the key or token in [delivery] headers; it may have expired."),
        403 => (
            "forbidden",
            "Check the key or token in [delivery] headers, and ask the dashboard's owner for access.",
        ),
        404 => (
            "not_found",
            "Check [delivery] url: the dashboard's path is /api/load, or /services-data/requests in older versions.",
        ),
        405 => ("method_not_allowed", "Check [delivery] url: what answers there takes no POST."),
        407 => ("proxy_authentication", "Let this machine reach the dashboard without that proxy."),
        410 => {
            ("gone", "Check [delivery] url: this address is no longer served; the current path is /api/load.")
        }
        _ => (
            "client_error",
            "Check [delivery] url and headers, and ask the dashboard's owner what this answer means.",
        ),
    }
}

fn redirect(reply: &Reply) -> Fault {
    let status = reply.status.as_u16();
    let Some(target) = reply.header("location") else {
        return answered("redirect", reply)
            .with_hint("Check [delivery] url: what answers there is not the dashboard.");
    };
    // What follows the path may be a token.
    let target = target.split(['?', '#']).next().unwrap_or_default();
    Fault::new("redirect", format!("answered {status}, which points to {target}")).with_hint(
        "Redirects are not followed, so that records go nowhere unasked. If the new address is the dashboard's, set \
         [delivery] url to it.",
    )
}

/// A fault that quotes the status and the endpoint's own words.
fn answered(code: &'static str, reply: &Reply) -> Fault {
    match endpoint_words::of(reply) {
        Some(words) => Fault::new(code, format!("answered {}: {words}", reply.status.as_u16())),
        None => Fault::new(code, format!("answered {}", reply.status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACKNOWLEDGEMENT: &str =
        r#"{"code":201,"success":true,"message":"Todos los registros se han creado exitosamente.."}"#;

    fn of(status: u16, headers: &[(&'static str, &'static str)], body: &str) -> Verdict {
        judge(&Reply::of(status, headers, body), Utc::now())
    }

    /// Class and fault code of a verdict: `retry server_error`.
    fn summary(verdict: &Verdict) -> String {
        let class = match verdict {
            Verdict::Acknowledged => return "acknowledged".to_owned(),
            Verdict::Retry { .. } => "retry",
            Verdict::TooLarge { .. } => "too-large",
            Verdict::Refused { certain: true, .. } => "refused",
            Verdict::Refused { certain: false, .. } => "doubtful",
            Verdict::Halt { .. } => "halt",
        };
        format!("{class} {}", verdict.fault().unwrap().code)
    }

    #[test]
    fn only_the_contract_s_acknowledgement_acknowledges() {
        let cases = [
            (201, ACKNOWLEDGEMENT, "acknowledged"),
            (200, ACKNOWLEDGEMENT, "acknowledged"),
            (201, r#"{"success":true}"#, "acknowledged"),
            (201, r#"{"success":true,"code":200,"records":7}"#, "acknowledged"),
            (201, "\u{feff} {\"success\":true}\r\n", "acknowledged"),
            (201, r#"{"code":201,"success":false,"message":"no"}"#, "doubtful success_false"),
            (201, r#"{"code":500,"success":true}"#, "retry unreadable_answer"),
            (201, r#"{"code":"201","success":true}"#, "retry unreadable_answer"),
            (201, r#"{"code":201,"success":"true"}"#, "retry unreadable_answer"),
            (201, r#"{"code":201,"success":1}"#, "retry unreadable_answer"),
            (201, r#"{"code":201}"#, "retry unreadable_answer"),
            (201, r#"{"success":true,"success":false}"#, "retry unreadable_answer"),
            (201, r#"{"success":true} and more"#, "retry unreadable_answer"),
            (201, r#"{"code":201,"succ"#, "retry unreadable_answer"),
            (201, "true", "retry unreadable_answer"),
            (201, "[]", "retry unreadable_answer"),
            (200, "OK", "retry unreadable_answer"),
            (200, "", "retry empty_answer"),
            (204, "", "retry empty_answer"),
            (200, " \n", "retry empty_answer"),
            (200, "<html><title>Portal</title></html>", "retry html_answer"),
        ];
        for (status, body, expected) in cases {
            assert_eq!(summary(&of(status, &[], body)), expected, "{status} {body}");
        }
    }

    #[test]
    fn every_status_has_its_verdict() {
        let cases = [
            (300, "halt redirect"),
            (301, "halt redirect"),
            (307, "halt redirect"),
            (400, "refused refused"),
            (401, "halt unauthorized"),
            (402, "halt client_error"),
            (403, "halt forbidden"),
            (404, "halt not_found"),
            (405, "halt method_not_allowed"),
            (406, "halt client_error"),
            (407, "halt proxy_authentication"),
            (408, "retry try_again"),
            (409, "halt client_error"),
            (410, "halt gone"),
            (413, "too-large too_large"),
            (415, "halt client_error"),
            (422, "refused refused"),
            (425, "retry try_again"),
            (429, "retry too_many_requests"),
            (451, "halt client_error"),
            (500, "retry server_error"),
            (502, "retry server_error"),
            (503, "retry server_error"),
            (504, "retry server_error"),
            (599, "retry server_error"),
            (777, "retry server_error"),
        ];
        for (status, expected) in cases {
            // Even an acknowledgement in the body does not turn a failing status into one.
            for body in ["", ACKNOWLEDGEMENT] {
                let verdict = of(status, &[], body);
                assert_eq!(summary(&verdict), expected, "{status}");
                let hint = verdict.fault().unwrap().hint.as_deref();
                assert_eq!(
                    hint.is_some_and(|hint| hint.ends_with('.')),
                    expected.starts_with("halt"),
                    "{status}"
                );
            }
        }
    }

    #[test]
    fn a_page_that_refuses_is_the_word_of_a_proxy_and_blames_no_record() {
        let page = "<html><head><title>400 No required SSL certificate was sent</title></head></html>";
        let verdict = of(400, &[("content-type", "text/html")], page);
        assert_eq!(summary(&verdict), "halt proxy_refused");
        assert!(verdict.fault().unwrap().message.ends_with("No required SSL certificate was sent"));
        assert_eq!(summary(&of(413, &[], page)), "too-large too_large");
        assert_eq!(summary(&of(502, &[], page)), "retry server_error");
    }

    #[test]
    fn an_answer_that_broke_off_leaves_the_outcome_unknown_unless_its_status_tells() {
        for (end, expected) in [
            (End::Cut, "retry unreadable_answer"),
            (End::Broken, "retry connection_lost"),
            (End::TimedOut, "retry timeout"),
        ] {
            // What was read looks like a whole acknowledgement; that it ended there is chance.
            assert_eq!(
                summary(&judge(&Reply { end, ..Reply::of(201, &[], ACKNOWLEDGEMENT) }, Utc::now())),
                expected
            );
            let refusal = Reply { end, ..Reply::of(400, &[], "") };
            assert_eq!(summary(&judge(&refusal, Utc::now())), "refused refused");
        }
    }

    #[test]
    fn the_pause_that_was_asked_for_is_passed_on() {
        for status in [408, 425, 429, 500, 503] {
            let verdict = of(status, &[("retry-after", "17")], "");
            assert!(
                matches!(verdict, Verdict::Retry { after: Some(after), .. } if after == Duration::from_secs(17)),
                "{status}"
            );
        }
    }

    #[test]
    fn x_road_s_word_comes_before_the_status() {
        for status in [200, 400, 500] {
            let verdict = of(status, &[("x-road-error", "Server.ServerProxy.AccessDenied")], ACKNOWLEDGEMENT);
            assert_eq!(summary(&verdict), "halt x_road_access_denied", "{status}");
        }
    }

    #[test]
    fn a_redirect_names_its_target_without_what_may_be_secret() {
        let verdict = of(302, &[("location", "https://login.example/in?token=abc")], "");
        assert_eq!(
            verdict.fault().unwrap().message,
            "answered 302, which points to https://login.example/in"
        );
    }

    #[test]
    fn a_fault_quotes_the_endpoint() {
        let body = r#"{"message":["requests.0.status_id must be an integer number"],"statusCode":400}"#;
        let verdict = of(400, &[], body);
        assert_eq!(
            verdict.fault().unwrap().message,
            "answered 400: requests.0.status_id must be an integer number"
        );
        assert_eq!(of(502, &[], "").fault().unwrap().message, "answered 502 Bad Gateway");
    }
}
