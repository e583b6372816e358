//! What an exchange without an answer means.

use std::error::Error;
use std::io;
use std::time::Duration;

use reqwest::Url;
use rustls::{AlertDescription, CertificateError};

use crate::fault::Fault;
use crate::verdict::Verdict;

/// What every fault says after which the dashboard may or may not have the batch.
pub(crate) const UNKNOWN: &str = "whether the batch was stored is unknown";

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

/// Adds the certificates that the endpoint showed, and the line that would trust it, to a verdict on them.
pub(crate) fn with_certificates(verdict: Verdict, shown: Option<String>, url: &Url) -> Verdict {
    match (verdict, shown) {
        (Verdict::Halt { fault }, Some(shown)) if fault.code == "tls_certificate" => {
            let server = format!(
                "{}:{}",
                url.host_str().unwrap_or_default(),
                url.port_or_known_default().unwrap_or(443)
            );
            let trust = format!(
                "To trust exactly this certificate, compare its SHA-256 with the one that the server's operator sees, save \
                 it with `openssl s_client -connect {server} </dev/null | openssl x509 > security-server.pem`, and write \
                 tls_ca = \"security-server.pem\" into [delivery]."
            );
            let hint = fault.hint.as_deref().map_or_else(|| trust.clone(), |hint| format!("{hint} {trust}"));
            Verdict::Halt { fault: fault.followed_by(&format!("it showed {shown}")).with_hint(hint) }
        }
        (verdict, _) => verdict,
    }
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
        rustls::Error::AlertReceived(alert) if is_about_the_client(*alert) => {
            let message = match alert {
                AlertDescription::CertificateRequired => {
                    format!("{target} demands a certificate of the client")
                }
                alert => format!("{target} does not take this connector's certificate: {alert:?}"),
            };
            Verdict::Halt {
                fault: Fault::new("tls_client_certificate", message).with_hint(
                    "Name a certificate and its key in [delivery] tls_client_cert and tls_client_key, and register the \
                     certificate in the security server under Internal Servers; or set the connection type of the client \
                     subsystem there to HTTPS NO AUTH.",
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

/// Whether the server complains of the client's certificate: nothing else of ours is there to be complained of
/// (<https://www.rfc-editor.org/rfc/rfc8446#section-6.2>).
fn is_about_the_client(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
    )
}

fn certificate_hint(reason: &CertificateError) -> &'static str {
    match reason {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "Have the certificate renewed, and check this machine's clock."
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "Check this machine's clock."
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "Write the host in [delivery] url as the certificate names it."
        }
        _ => {
            "A security server's certificate is usually its own, and must be named to be trusted. Switching verification \
             off with tls_insecure = true lets anyone on the way read and answer."
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
        let refusal = judge_tls(&rustls::Error::AlertReceived(AlertDescription::UnknownCA), "https://server");
        let message = &refusal.fault().unwrap().message;
        assert!(message.contains("does not take this connector's certificate"), "{message}");
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
