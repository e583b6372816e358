//! Whether the endpoint can be reached, without sending it a record.

use std::time::Duration;

use chrono::Utc;
use reqwest::Url;

use crate::fault::Fault;
use crate::reply::Reply;
use crate::verdict::{self, Verdict};

/// What a probe found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeReport {
    /// The address that was asked, without user, password and query.
    pub address: String,
    /// The HTTP status that came back.
    pub status: u16,
    /// How long the exchange took.
    pub elapsed: Duration,
    /// Something answered, but not as the dashboard would: deliveries may still pass, because X-Road grants
    /// access by method and path, and not every dashboard answers a GET.
    pub doubt: Option<Fault>,
}

/// The dashboard's liveness address: `<base>/`. Where the configured address does not end as the contract says, the
/// base is anyone's guess, and the address itself is asked; a GET does no harm.
pub(crate) fn liveness_address(url: &Url) -> Url {
    let mut address = url.clone();
    if let Some(base) = base(url) {
        address.set_path(&format!("{base}/"));
    }
    address
}

/// What stands before the dashboard's own path.
pub(crate) fn base(url: &Url) -> Option<&str> {
    ["/api/load", "/services-data/requests"].iter().find_map(|end| url.path().strip_suffix(end))
}

/// What an answer to the probe says about deliveries.
///
/// # Errors
/// The fault, where X-Road itself says that no call can pass.
pub(crate) fn report(reply: &Reply, address: String, elapsed: Duration) -> Result<ProbeReport, Fault> {
    let status = reply.status.as_u16();
    let doubt = if reply.header("x-road-error").is_some() {
        match verdict::judge(reply, Utc::now()) {
            // These two are decided by method and path, and the probe's are not those of a delivery.
            Verdict::Halt { fault }
                if !["x_road_access_denied", "x_road_unknown_service"].contains(&fault.code) =>
            {
                return Err(fault);
            }
            verdict => verdict.fault().map(without_batch),
        }
    } else if reply.status.is_success() {
        None
    } else {
        verdict::judge(reply, Utc::now()).fault().map(without_batch)
    };
    Ok(ProbeReport { address, status, elapsed, doubt })
}

/// The fault of a probe that met no answer.
pub(crate) fn unreachable(verdict: &Verdict) -> Fault {
    verdict.fault().map_or_else(|| Fault::new("connection_lost", "no answer"), without_batch)
}

/// A probe carries no batch, so nothing about one is unknown.
fn without_batch(fault: &Fault) -> Fault {
    let mut fault = fault.clone();
    if let Some((said, _)) = fault.message.split_once("; whether the batch") {
        fault.message = said.to_owned();
    }
    fault
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_liveness_address_is_the_base_of_the_configured_one() {
        let cases = [
            ("http://d/api/load", "http://d/"),
            ("http://d/services-data/requests", "http://d/"),
            (
                "https://s/r1/DO/GOB/CNC/MONITOREO/INTEGRACION/api/load",
                "https://s/r1/DO/GOB/CNC/MONITOREO/INTEGRACION/",
            ),
            ("http://d/elsewhere?key=1", "http://d/elsewhere?key=1"),
        ];
        for (url, expected) in cases {
            assert_eq!(liveness_address(&Url::parse(url).unwrap()).as_str(), expected);
        }
    }

    fn probed(
        status: u16,
        headers: &[(&'static str, &'static str)],
    ) -> Result<Option<&'static str>, &'static str> {
        let reply = Reply::of(status, headers, "");
        report(&reply, String::new(), Duration::ZERO)
            .map(|report| report.doubt.map(|fault| fault.code))
            .map_err(|fault| fault.code)
    }

    #[test]
    fn an_answer_is_good_or_doubtful_and_only_x_road_rules_deliveries_out() {
        assert_eq!(probed(200, &[]), Ok(None));
        assert_eq!(probed(404, &[]), Ok(Some("not_found")));
        assert_eq!(probed(503, &[]), Ok(Some("server_error")));
        assert_eq!(probed(302, &[("location", "/x")]), Ok(Some("redirect")));
        let x_road = |code| probed(500, &[("x-road-error", code)]);
        assert_eq!(x_road("Server.ServerProxy.AccessDenied"), Ok(Some("x_road_access_denied")));
        assert_eq!(x_road("server.serverproxy.unknown_service"), Ok(Some("x_road_unknown_service")));
        assert_eq!(x_road("Server.ServerProxy.NetworkError"), Ok(Some("x_road_network")));
        assert_eq!(x_road("Server.ClientProxy.UnknownMember"), Err("x_road_unknown_member"));
        let reply = Reply::of(500, &[("x-road-error", "Server.ServerProxy.IOError")], "");
        let doubt = report(&reply, String::new(), Duration::ZERO).unwrap().doubt.unwrap();
        assert_eq!(doubt.message, "x-road answered Server.ServerProxy.IOError", "a probe carries no batch");
    }
}
