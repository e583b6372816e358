//! What the errors of X-Road mean.
//!
//! An X-Road security server answers 500 to nearly everything that goes wrong with it, a wrong address or a missing
//! right included; its header `X-Road-Error` is what tells the errors apart. Up to 7.7 the codes are spelled
//! `Server.ServerProxy.AccessDenied`, since 7.8 `server.serverproxy.access_denied`, so both are read alike: in lower
//! case and without underscores. The codes are listed in
//! <https://github.com/nordic-institute/X-Road/blob/master/src/common/common-core/src/main/java/ee/ria/xroad/common/ErrorCodes.java>.

use chrono::{DateTime, Utc};

use crate::endpoint_words;
use crate::failure;
use crate::fault::Fault;
use crate::reply::Reply;
use crate::retry_after::asked_pause;
use crate::verdict::Verdict;

/// Names the origin of an error in front of the code proper: a person's own server, or the dashboard's.
const ORIGINS: [&str; 5] = ["server", "client", "clientproxy", "serverproxy", "signer"];

/// A code, as it is read here; the fault's code; and what the institution should do.
type Known = (&'static str, &'static str, &'static str);

/// A code, as it is read here, and the fault's code: waiting is all there is to do.
type Waiting = (&'static str, &'static str);

/// Errors that no waiting mends.
const PERMANENT: [Known; 10] = [
    (
        "invalidclientidentifier",
        "x_road_client_identifier",
        "Set [delivery] x_road_client (or client in [delivery.x_road]) to the subsystem as the security server knows it: \
      instance/class/member/subsystem.",
    ),
    (
        "unknownmember",
        "x_road_unknown_member",
        "Check both members and subsystems, the caller's (x_road_client) and the dashboard's (in url or [delivery.x_road]), \
      against the security server; if they are right, its operator must check that its global configuration is current.",
    ),
    (
        "sslauthenticationfailed",
        "x_road_connection_type",
        "Give the connector a certificate ([delivery] tls_client_cert and tls_client_key) and register it in the security \
      server under Internal Servers, or set the connection type of the client subsystem there to HTTPS NO AUTH.",
    ),
    (
        "invalidsecurityserver",
        "x_road_security_server",
        "Remove the header X-Road-Security-Server from [delivery] headers, or correct it.",
    ),
    (
        "accessdenied",
        "x_road_access_denied",
        "Ask the dashboard's owner to grant this subsystem the right to POST to exactly this path; rights on the older \
      path do not cover /api/load.",
    ),
    (
        "unknownservice",
        "x_road_unknown_service",
        "Check the service and its path in [delivery] url: INTEGRACION in production, INTEGRACION-DEV in development.",
    ),
    (
        "servicemissingurl",
        "x_road_service_configuration",
        "The dashboard's owner must set the address of the service in their security server.",
    ),
    (
        "servicemalformedurl",
        "x_road_service_configuration",
        "The dashboard's owner must correct the address of the service in their security server.",
    ),
    (
        "servicetype",
        "x_road_service_type",
        "Check the service in [delivery] url: the one named there is not a REST service.",
    ),
    (
        "invalidservicetype",
        "x_road_service_type",
        "Check the service in [delivery] url: the one named there is not a REST service.",
    ),
];

/// Errors that pass, as far as someone could hasten that.
const PASSING: [Known; 15] = [
    (
        "loggingfailed",
        "x_road_logging",
        "The security server cannot write its message log: its operator must check disk space and time-stamping.",
    ),
    (
        "timestampingfailed",
        "x_road_timestamping",
        "The security server has no time-stamps: its operator must check the time-stamping service.",
    ),
    (
        "networkerror",
        "x_road_network",
        "The security server cannot reach the dashboard's: its operator must check the network, ports 5500 and 5577.",
    ),
    (
        "unknownhost",
        "x_road_network",
        "The security server cannot resolve the dashboard's: its operator must check name resolution.",
    ),
    (
        "outdatedglobalconf",
        "x_road_global_configuration",
        "The security server's global configuration is out of date: its operator must check the download.",
    ),
    (
        "globalconfoutdated",
        "x_road_global_configuration",
        "The security server's global configuration is out of date: its operator must check the download.",
    ),
    (
        "servicedisabled",
        "x_road_service_disabled",
        "The dashboard's owner has switched the service off for now.",
    ),
    ("maintenancemode", "x_road_maintenance", "The security server is under maintenance."),
    (
        "tokennotactive",
        "x_road_token",
        "The security server's signing token is not active: its operator must enter the PIN.",
    ),
    (
        "cannotcreatesignature",
        "x_road_signature",
        "The security server cannot sign: its operator must check token and certificates.",
    ),
    ("certvalidation", "x_road_certificates", "The security server's operator must check its certificates."),
    ("databaseerror", "x_road_database", "The security server's operator must check its database."),
    (
        "clientproxyversionnotsupported",
        "x_road_version",
        "The security server is too old for the dashboard's: its operator must upgrade it.",
    ),
    (
        "anchorfilenotfound",
        "x_road_anchor",
        "The security server has no configuration anchor: its operator must upload it.",
    ),
    (
        "malformedanchor",
        "x_road_anchor",
        "The security server's configuration anchor is damaged: its operator must upload it anew.",
    ),
];

/// Errors after which the dashboard may or may not have the batch: the call had begun, or its answer was lost. So may any
/// error that is not known here.
const UNKNOWN: [Waiting; 7] = [
    ("ioerror", "x_road_io"),
    ("servicefailed", "x_road_service_failed"),
    ("inconsistentresponse", "x_road_response"),
    ("invalidresponse", "x_road_response"),
    ("missingsignature", "x_road_response"),
    ("invalidsignaturevalue", "x_road_response"),
    ("internalerror", "x_road_internal"),
];

/// Judges an answer whose header `X-Road-Error` is `code`.
pub(crate) fn judge(code: &str, reply: &Reply, now: DateTime<Utc>) -> Verdict {
    let words = endpoint_words::of(reply).unwrap_or_default();
    let separator = if words.is_empty() { "" } else { ": " };
    let message = format!("x-road answered {code}{separator}{words}");
    let name = proper(code);
    if words.to_ascii_lowercase().contains("message size exceeds") {
        return Verdict::TooLarge { fault: Fault::new("x_road_message_size", message) };
    }
    if name == "internalerror" && words.to_ascii_lowercase().contains("invalid request uri") {
        let hint =
            "Write [delivery] url as https://SERVER/r1/INSTANCE/CLASS/MEMBER/SUBSYSTEM/SERVICE/api/load.";
        return Verdict::Halt { fault: Fault::new("x_road_address", message).with_hint(hint) };
    }
    if let Some((_, fault_code, hint)) = find(&PERMANENT, &name) {
        return Verdict::Halt { fault: Fault::new(fault_code, message).with_hint(*hint) };
    }
    let fault = match find(&PASSING, &name) {
        Some((_, fault_code, hint)) => Fault::new(fault_code, message).with_hint(*hint),
        None => {
            let fault_code =
                UNKNOWN.iter().find(|(known, _)| *known == name).map_or("x_road_error", |(_, code)| *code);
            Fault::new(fault_code, message).followed_by(failure::UNKNOWN)
        }
    };
    Verdict::Retry { after: asked_pause(reply, now), fault }
}

fn find<'a>(known: &'a [Known], name: &str) -> Option<&'a Known> {
    known.iter().find(|(known, ..)| *known == name)
}

/// The code without spelling, origin and detail. What follows the code proper says what happened further away:
/// `ServiceFailed.SslAuthenticationFailed` is about the dashboard's side, not about ours.
fn proper(code: &str) -> String {
    code.to_ascii_lowercase()
        .replace('_', "")
        .split('.')
        .map(str::trim)
        .find(|part| !ORIGINS.contains(part))
        .unwrap_or_default()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(code: &str, message: &str) -> Verdict {
        let body = format!(r#"{{"type":"{code}","message":"{message}","detail":"6d0f"}}"#);
        judge(code, &Reply::of(500, &[], &body), Utc::now())
    }

    fn class(verdict: &Verdict) -> &'static str {
        match verdict {
            Verdict::Acknowledged => "acknowledged",
            Verdict::Retry { .. } => "retry",
            Verdict::TooLarge { .. } => "too large",
            Verdict::Refused { .. } => "refused",
            Verdict::Halt { .. } => "halt",
        }
    }

    #[test]
    fn both_spellings_of_every_code_mean_the_same() {
        let cases = [
            (
                "Server.ClientProxy.InvalidClientIdentifier",
                "server.clientproxy.invalid_client_identifier",
                "halt",
            ),
            ("Server.ClientProxy.UnknownMember", "server.clientproxy.unknown_member", "halt"),
            (
                "Server.ClientProxy.SslAuthenticationFailed",
                "server.clientproxy.ssl_authentication_failed",
                "halt",
            ),
            (
                "Server.ClientProxy.InvalidSecurityServer",
                "server.clientproxy.invalid_security_server",
                "halt",
            ),
            ("Server.ServerProxy.AccessDenied", "server.serverproxy.access_denied", "halt"),
            ("Server.ServerProxy.UnknownService", "server.serverproxy.unknown_service", "halt"),
            ("Server.ServerProxy.ServiceMissingUrl", "server.serverproxy.service_missing_url", "halt"),
            ("Server.ServerProxy.ServiceMalformedUrl", "server.serverproxy.service_malformed_url", "halt"),
            ("Server.ServerProxy.ServiceType", "server.serverproxy.service_type", "halt"),
            ("Server.ServerProxy.InvalidServiceType", "server.serverproxy.invalid_service_type", "halt"),
            (
                "Server.ClientProxy.LoggingFailed.TimestamperFailed",
                "server.clientproxy.logging_failed.timestamper_failed",
                "retry",
            ),
            ("Server.ClientProxy.TimestampingFailed", "server.clientproxy.timestamping_failed", "retry"),
            ("Server.ClientProxy.NetworkError", "server.clientproxy.network_error", "retry"),
            ("Server.ServerProxy.IOError", "server.serverproxy.io_error", "retry"),
            ("Server.ClientProxy.OutdatedGlobalConf", "server.clientproxy.global_conf_outdated", "retry"),
            ("Server.ServerProxy.ServiceDisabled", "server.serverproxy.service_disabled", "retry"),
            ("Server.ServerProxy.MaintenanceMode", "server.serverproxy.maintenance_mode", "retry"),
            (
                "Server.ServerProxy.ServiceFailed.SslAuthenticationFailed",
                "server.serverproxy.service_failed.ssl_authentication_failed",
                "retry",
            ),
            ("Server.ClientProxy.InternalError", "server.clientproxy.internal_error", "retry"),
            ("Server.ClientProxy.InconsistentResponse", "server.clientproxy.inconsistent_response", "retry"),
            ("Server.ClientProxy.TokenNotActive", "server.clientproxy.token_not_active", "retry"),
            ("Server.ClientProxy.UnknownHost", "server.clientproxy.unknown_host", "retry"),
            ("Server.ClientProxy.DatabaseError", "server.clientproxy.database_error", "retry"),
            (
                "Server.ServerProxy.ClientProxyVersionNotSupported",
                "server.serverproxy.client_proxy_version_not_supported",
                "retry",
            ),
        ];
        for (old, new, expected) in cases {
            let (old_verdict, new_verdict) = (verdict(old, "words"), verdict(new, "words"));
            assert_eq!(class(&old_verdict), expected, "{old}");
            assert_eq!(class(&new_verdict), expected, "{new}");
            assert_eq!(old_verdict.fault().unwrap().code, new_verdict.fault().unwrap().code, "{old}");
        }
    }

    #[test]
    fn a_halt_always_says_what_to_do() {
        for (name, code, _) in PERMANENT {
            let verdict = verdict(&format!("Server.ServerProxy.{name}"), "no");
            let fault = verdict.fault().unwrap();
            assert_eq!((class(&verdict), fault.code), ("halt", code));
            assert!(fault.hint.as_ref().is_some_and(|hint| hint.ends_with('.')), "{name}");
        }
    }

    #[test]
    fn an_error_after_the_call_had_begun_says_that_the_outcome_is_unknown() {
        let cases = [
            ("Server.ServerProxy.IOError", true),
            ("server.serverproxy.service_failed.http_error", true),
            ("Server.ClientProxy.InconsistentResponse", true),
            ("server.clientproxy.missing_signature", true),
            ("Server.ClientProxy.InternalError", true),
            ("Server.ServerProxy.BrandNew", true),
            ("server.clientproxy.network_error", false),
            ("Server.ServerProxy.ServiceDisabled", false),
            ("Server.ClientProxy.LoggingFailed.TimestamperFailed", false),
            ("Server.ServerProxy.AccessDenied", false),
        ];
        for (code, is_unknown) in cases {
            let message = verdict(code, &"words ".repeat(100)).fault().unwrap().message.clone();
            assert_eq!(message.ends_with("whether the batch was stored is unknown"), is_unknown, "{message}");
        }
    }

    #[test]
    fn the_words_decide_where_the_code_does_not() {
        let size = "Message size exceeds maximum loggable size";
        assert_eq!(class(&verdict("Server.ClientProxy.LoggingFailed", size)), "too large");
        assert_eq!(class(&verdict("server.clientproxy.logging_failed", &size.to_uppercase())), "too large");
        assert_eq!(
            class(&verdict("Server.ClientProxy.InternalError", "Invalid request URI: /r1/DO")),
            "halt"
        );
        assert_eq!(class(&verdict("Server.ServerProxy.LoggingFailed", "disk full")), "retry");
    }

    #[test]
    fn codes_never_seen_are_tried_again() {
        for code in ["", ".", "Server", "Server.ServerProxy", "whatever", "Server.ServerProxy.Brand_New"] {
            let verdict = verdict(code, "no");
            assert_eq!((class(&verdict), verdict.fault().unwrap().code), ("retry", "x_road_error"), "{code}");
        }
    }

    #[test]
    fn the_message_quotes_code_and_words() {
        let verdict = verdict("Server.ServerProxy.AccessDenied", "Request is not allowed");
        assert_eq!(
            verdict.fault().unwrap().message,
            "x-road answered Server.ServerProxy.AccessDenied: Request is not allowed"
        );
    }
}
