//! Counts and digests by month of opening, by which two sides are compared without looking at their rows.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};

use crate::copy::StagedPage;

/// One month of one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tally {
    pub(crate) rows: u64,
    /// The sum of the hashes of what each row says: the order of rows does not matter, and how often one is there does.
    digest: u64,
}

/// What is compared of a row: its key only where each row is a status change.
#[derive(Debug, Hash)]
pub(crate) struct Said<'a> {
    pub(crate) row_key: Option<&'a str>,
    pub(crate) service_id: &'a str,
    pub(crate) request_id: &'a str,
    pub(crate) status_id: u8,
}

/// One side of a comparison, by month of opening as yyyymm.
///
/// Hashes are keyed at random for each comparison, so that no table can be made up whose digests agree by design; by
/// chance they do once in 2^64.
#[derive(Debug, Clone)]
pub struct Tallies {
    keys: RandomState,
    history: bool,
    months: BTreeMap<u32, Tally>,
    rejected: u64,
}

impl Tallies {
    /// Nothing yet; with `history` each row is a status change, told apart by its key.
    #[must_use]
    pub fn new(history: bool) -> Self {
        Self { keys: RandomState::new(), history, months: BTreeMap::new(), rejected: 0 }
    }

    /// Nothing yet, to be compared with this side.
    #[must_use]
    pub fn other_side(&self) -> Self {
        Self { months: BTreeMap::new(), rejected: 0, ..self.clone() }
    }

    /// Adds a page of the table.
    pub fn add_page(&mut self, page: &StagedPage) {
        self.rejected += page.rejected.len() as u64;
        for row in page.rows.iter() {
            let said = Said {
                row_key: row.row_key.filter(|_| self.history),
                service_id: row.service_id,
                request_id: row.request_id,
                status_id: row.status_id,
            };
            self.add(row.month, &said);
        }
    }

    pub(crate) fn add(&mut self, month: u32, said: &Said<'_>) {
        let hash = self.keys.hash_one(said);
        let tally = self.months.entry(month).or_default();
        tally.rows += 1;
        tally.digest = tally.digest.wrapping_add(hash);
    }

    /// Rows that could not be mapped; no month knows of them.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.rejected
    }

    /// The months in which the two sides do not say the same.
    #[must_use]
    pub fn differing(&self, other: &Self) -> BTreeSet<u32> {
        let months = self.months.keys().chain(other.months.keys());
        months.copied().filter(|month| self.months.get(month) != other.months.get(month)).collect()
    }

    pub(crate) fn months(&self) -> impl Iterator<Item = (u32, u64)> {
        self.months.iter().map(|(month, tally)| (*month, tally.rows))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn side(like: &Tallies, rows: &[(u32, u8, u8)]) -> Tallies {
        let mut side = like.other_side();
        for (month, request, status_id) in rows {
            let request_id = request.to_string();
            side.add(
                *month,
                &Said { row_key: None, service_id: "1", request_id: &request_id, status_id: *status_id },
            );
        }
        side
    }

    proptest! {
        #[test]
        fn sides_differ_in_the_months_whose_rows_differ_whatever_their_order(
            one in prop::collection::vec((1_u32..4, 0_u8..4, 1_u8..3), 0..12),
            other in prop::collection::vec((1_u32..4, 0_u8..4, 1_u8..3), 0..12),
        ) {
            let sorted = |rows: &[(u32, u8, u8)], month: u32| {
                let mut rows: Vec<_> = rows.iter().filter(|row| row.0 == month).copied().collect();
                rows.sort_unstable();
                rows
            };
            let expected: BTreeSet<u32> =
                (1..4).filter(|month| sorted(&one, *month) != sorted(&other, *month)).collect();
            let like = Tallies::new(false);
            prop_assert_eq!(side(&like, &one).differing(&side(&like, &other)), expected);
            let reversed: Vec<_> = one.iter().rev().copied().collect();
            prop_assert!(side(&like, &one).differing(&side(&like, &reversed)).is_empty());
        }
    }
}
