//! The configuration file, written so that a person learns from it.

use std::net::SocketAddr;
use std::path::Path;

use crate::database::{DATABASE, Server};
use crate::institution::{SERVICES, STATES, ZONE};

/// The part of the file that an institution thinks about most.
pub(crate) fn mapping() -> String {
    let services = SERVICES.iter().map(|service| format!("{} = \"{}\"", service.code, service.id));
    let states = STATES.iter().map(|state| format!("{} = {}", state.code, state.id));
    let (services, states) = (list(services), list(states));
    format!(
        r#"[mapping]
# The institution's own words on the left, the dashboard's on the right.
service_id         = {{ column = "servicio", map = {{ {services} }} }}
request_id         = {{ column = "numero" }}
# Times without a zone mean nothing until somebody says whose clock they are from.
opening_date       = {{ column = "fecha_apertura", time_zone = "{ZONE}" }}
status_id          = {{ column = "estado", map = {{ {states} }} }}
last_modified_date = {{ column = "fecha_modificacion", time_zone = "{ZONE}" }}
"#
    )
}

/// Where the connector finds and keeps things.
pub(crate) struct Places<'a> {
    pub(crate) server: &'a Server,
    /// The address that takes the dashboard's POSTs.
    pub(crate) dashboard: &'a str,
    /// Where the status page is to be.
    pub(crate) page: SocketAddr,
    /// The demonstration's folder.
    pub(crate) folder: &'a Path,
}

/// The whole file.
pub(crate) fn text(places: &Places<'_>) -> String {
    let Places { server, dashboard, page, folder } = places;
    let (engine, table) = server.engine_and_table();
    let ((host, port), folder) = (server.address(), folder.display());
    format!(
        r#"# The configuration of the demonstration. Every key is explained by `bitacora init --engine {engine}`.

[source]
engine   = "{engine}"
host     = "{host}"
port     = {port}
database = "{DATABASE}"
user     = "bitacora"
password = "${{file:{folder}/password}}"
table    = "{table}"
tls      = "disable"            # this database is on the same machine; leave the line out where it is not

{mapping}
[schedule]
flush_at  = ["02:00"]
time_zone = "{ZONE}"

[delivery]
url   = "{dashboard}"
retry = {{ first = "200ms", factor = 2.0, cap = "5s", give_up_after = "2m" }}

[ledger]
dir = "{folder}/ledger"

[status]
listen = "{page}"
"#,
        mapping = mapping()
    )
}

fn list(entries: impl Iterator<Item = String>) -> String {
    entries.collect::<Vec<_>>().join(", ")
}
