//! A batch that a lane has formed, and which requests it holds.

use std::hash::{DefaultHasher, Hash, Hasher};

use delivery::{Body, Precision};
use ledger::{Batch, BodyBuilder};
use normalizer::StatusChange;

/// What a lane found when it looked for its next batch.
pub(crate) struct Formed {
    pub(crate) next: Option<Next>,
    /// How many batches all lanes had formed before.
    pub(crate) seen: u64,
}

/// A lane's next batch.
pub(crate) struct Next {
    pub(crate) batch: Batch,
    pub(crate) requests: RequestSet,
}

/// The requests of a batch, by their hashes: two that hash alike are held to be one, which does no harm.
pub(crate) struct RequestSet(Vec<u64>);

impl RequestSet {
    /// Whether none of these requests is one of `others`.
    pub(crate) fn share_none_with(&self, others: &Self) -> bool {
        self.0.iter().all(|request| others.0.binary_search(request).is_err())
    }
}

/// Lets the ledger fill a batch's body while it chooses the records.
pub(crate) struct Builder {
    precision: Precision,
    records_max: usize,
    bytes_max: usize,
    body: Body,
    requests: Vec<u64>,
}

impl Builder {
    /// A builder of bodies that hold at most so many records and bytes.
    pub(crate) fn new(precision: Precision, records_max: u32, bytes_max: usize) -> Self {
        let records_max = records_max as usize;
        let body = Body::new(precision, records_max, bytes_max);
        Self { precision, records_max, bytes_max, body, requests: Vec::new() }
    }

    /// Whose records it has taken.
    pub(crate) fn into_requests(mut self) -> RequestSet {
        self.requests.sort_unstable();
        self.requests.dedup();
        RequestSet(self.requests)
    }
}

impl BodyBuilder for Builder {
    fn push(&mut self, change: &StatusChange) -> bool {
        let has_room = self.body.push(change);
        if has_room {
            let mut hasher = DefaultHasher::new();
            (&change.service_id, &change.request_id).hash(&mut hasher);
            self.requests.push(hasher.finish());
        }
        has_room
    }

    fn finish(&mut self) -> Vec<u8> {
        let next = Body::new(self.precision, self.records_max, self.bytes_max);
        std::mem::replace(&mut self.body, next).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests(of: &[(&str, &str)]) -> RequestSet {
        let mut builder = Builder::new(Precision::Micros, 10, 100_000);
        for (service_id, request_id) in of {
            let (service_id, request_id) = ((*service_id).into(), (*request_id).into());
            let change = StatusChange { service_id, request_id, opening_at: 0, status_id: 1, modified_at: 0 };
            assert!(builder.push(&change));
        }
        builder.into_requests()
    }

    #[test]
    fn batches_share_a_request_when_both_hold_a_record_of_it() {
        let first = requests(&[("101", "A"), ("101", "B"), ("102", "C"), ("101", "A")]);
        for (others, shares_none) in [
            (vec![], true),
            (vec![("101", "C"), ("102", "A"), ("10", "1A")], true),
            (vec![("103", "D"), ("102", "C")], false),
            (vec![("101", "A")], false),
        ] {
            assert_eq!(first.share_none_with(&requests(&others)), shares_none, "{others:?}");
            assert_eq!(requests(&others).share_none_with(&first), shares_none, "{others:?}");
        }
    }

    #[test]
    fn a_record_that_found_no_room_is_not_held() {
        let mut builder = Builder::new(Precision::Micros, 1, 100_000);
        let change = |request_id: &str| StatusChange {
            service_id: "101".into(),
            request_id: request_id.into(),
            opening_at: 0,
            status_id: 1,
            modified_at: 0,
        };
        assert!(builder.push(&change("A")) && !builder.push(&change("B")));
        let held = builder.into_requests();
        assert!(held.share_none_with(&requests(&[("101", "B")])));
        assert!(!held.share_none_with(&requests(&[("101", "A")])));
    }
}
