//! Whether the endpoint can be reached, without sending it a record.

use std::time::Duration;

use crate::fault::Fault;

/// What a probe found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeReport {
    /// The address that was asked, without any password.
    pub address: String,
    /// The HTTP status that came back.
    pub status: u16,
    /// How long the exchange took.
    pub elapsed: Duration,
    /// Something answered, but not as the dashboard would: deliveries may still pass, because X-Road grants
    /// access by method and path, and not every dashboard answers a GET.
    pub doubt: Option<Fault>,
}
