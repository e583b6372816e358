//! One request passing to one status at one moment.

use change::Text;

/// One request passing to one status at one moment: what the dashboard is told.
///
/// Times are microseconds since the Unix epoch, UTC, within the years 0001 to 9999.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StatusChange {
    /// The id of the service, as the dashboard's owner assigned it.
    pub service_id: Text,
    /// The institution's own id of the request.
    pub request_id: Text,
    /// When the request was opened.
    pub opening_at: i64,
    /// The status, 1 to 21: see [`crate::status`].
    pub status_id: u8,
    /// When the request passed to the status.
    pub modified_at: i64,
}

impl StatusChange {
    /// The request whose status changed.
    #[must_use]
    pub fn request(&self) -> RequestKey {
        RequestKey { service_id: self.service_id.clone(), request_id: self.request_id.clone() }
    }

    /// Whether `other` is about the same request: the same service *and* the same request id.
    #[must_use]
    pub fn is_of_same_request(&self, other: &Self) -> bool {
        self.request_id == other.request_id && self.service_id == other.service_id
    }
}

/// What "the same request" means: the service and the request id together, because two services may
/// number their requests alike.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestKey {
    /// The id of the service.
    pub service_id: Text,
    /// The institution's own id of the request.
    pub request_id: Text,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(service_id: &str, request_id: &str) -> StatusChange {
        StatusChange {
            service_id: service_id.into(),
            request_id: request_id.into(),
            opening_at: 0,
            status_id: 1,
            modified_at: 0,
        }
    }

    #[test]
    fn two_services_may_number_their_requests_alike() {
        assert!(change("101", "1").is_of_same_request(&change("101", "1")));
        assert!(!change("101", "1").is_of_same_request(&change("102", "1")));
        assert_ne!(change("101", "1").request(), change("102", "1").request());
    }
}
