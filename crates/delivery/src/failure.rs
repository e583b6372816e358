//! What an exchange without an answer means.

use std::error::Error;
use std::io;
use std::time::Duration;

use rustls::{AlertDescription, CertificateError};

use crate::fault::Fault;
use crate::verdict::Verdict;

/// What every fault says after which the dashboard may or may not have the batch.
const UNKNOWN: &str = "whether the batch was stored is unknown";

/// Judges an exchange that ended without an answer. `target` names the endpoint in messages.
pub(crate) fn judge(error: &reqwest::Error, target: &str) -> Verdict {
    if let Some(tls) = find_tls(error) {
        return judge_tls(tls, target);
    }
    let retry = |fault| Verdict::Retry { after: None, fault };
    let cause = innermost(error);
    if error.is_connect() {
        return retry(match find_io(error).map(io::Error::kind) {
            _ if error.is_timeout() => {
                Fault::new("connection_timeout", format!("no connection to {target} in time"))
            }
            Some(io::ErrorKind::ConnectionRefused) => {
                Fault::new("connection_refused", format!("{target} refused the connection"))
            }
            _ => Fault::new("connection_failed", format!("no connection to {target}: {cause}")),
        });
    }
    retry(Fault::new("connection_lost", format!("the connection to {target} broke: {cause}; {UNKNOWN}")))
}

/// The verdict on an exchange that took longer than `limit`.
pub(crate) fn timed_out(limit: Duration, target: &str) -> Verdict {
    let message = format!("no answer from {target} within {limit:?}; {UNKNOWN}");
    let mut fault = Fault::new("timeout", message);
    if limit < Duration::from_secs(60) {
        fault = fault.with_hint(
            "X-Road itself may take 60 seconds: with [delivery] timeout above that, fewer deliveries end unknown.",
        );
    }
    Verdict::Retry { after: None, fault }
}

fn judge_tls(error: &rustls::Error, target: &str) -> Verdict {
    match error {
        rustls::Error::InvalidCertificate(reason) => {
            let message = format!("the certificate of {target} is not trusted: {reason}");
            Verdict::Halt {
                fault: Fault::new("tls_certificate", message).with_hint(certificate_hint(reason)),
            }
        }
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
            let message = format!("{target} demands a certificate of the client");
            Verdict::Halt {
                fault: Fault::new("tls_client_certificate", message).with_hint(
                    "In the security server set the connection type of the client subsystem to HTTPS NO AUTH.",
                ),
            }
        }
        rustls::Error::InvalidMessage(_) => {
            let message = format!("{target} does not speak TLS: {error}");
            let fault = Fault::new("tls_handshake", message)
                .with_hint("If this lasts, check port and scheme of [delivery] url.");
            Verdict::Retry { after: None, fault }
        }
        _ => {
            let fault = Fault::new("tls_handshake", format!("no TLS with {target}: {error}"));
            Verdict::Retry { after: None, fault }
        }
    }
}

fn certificate_hint(reason: &CertificateError) -> &'static str {
    match reason {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "Have the certificate renewed, and check this machine's clock. Until then the certificate itself may be \
             named in [delivery] tls_ca."
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "Check this machine's clock."
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "Write the host in [delivery] url as the certificate names it, or export the certificate itself and name \
             the file in [delivery] tls_ca."
        }
        _ => {
            "A security server's certificate is usually its own: export it there and name the file in [delivery] \
             tls_ca. Switching verification off with tls_insecure = true lets anyone on the way read and answer."
        }
    }
}

fn find_tls<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    chain(error).find_map(|cause| cause.downcast_ref())
}

fn find_io<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a io::Error> {
    chain(error).filter_map(|cause| cause.downcast_ref()).last()
}

/// The last of the causes: the only one that says what happened rather than where.
fn innermost(error: &(dyn Error + 'static)) -> String {
    chain(error).last().map(ToString::to_string).unwrap_or_default()
}

/// An error and all its causes, outermost first.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| cause(*error))
}

/// The cause of an error. An `io::Error` around another error shows it by `get_ref` only: its `source` is already the
/// cause of that one.
fn cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_inside_an_io_error_is_found() {
        let tls = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let wrapped = io::Error::new(io::ErrorKind::InvalidData, tls.clone());
        let twice = io::Error::other(wrapped);
        assert_eq!(find_tls(&twice), Some(&tls));
        assert_eq!(innermost(&twice), tls.to_string());
        assert_eq!(find_io(&twice).unwrap().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_demand_for_a_client_s_certificate_stops_deliveries() {
        let error = rustls::Error::AlertReceived(AlertDescription::CertificateRequired);
        let verdict = judge_tls(&error, "https://server");
        assert!(
            matches!(&verdict, Verdict::Halt { fault } if fault.code == "tls_client_certificate"),
            "{verdict:?}"
        );
        let passing = rustls::Error::AlertReceived(AlertDescription::InternalError);
        assert!(matches!(judge_tls(&passing, "https://server"), Verdict::Retry { .. }));
    }

    #[test]
    fn a_time_out_shorter_than_x_road_s_own_is_pointed_out() {
        for (seconds, is_hinted) in [(30, true), (90, false)] {
            let verdict = timed_out(Duration::from_secs(seconds), "https://server");
            let fault = verdict.fault().unwrap();
            assert_eq!(fault.hint.is_some(), is_hinted);
            assert!(fault.message.contains(&format!("within {seconds}s")), "{}", fault.message);
        }
    }
}
