//! What the dashboard must have in the end, written down by those who changed the database, at the moment their
//! transactions had committed. Nothing of the product takes part.

use chrono::NaiveDateTime;

use crate::institution::{Service, State, floor, moment};

/// A status that the dashboard must learn of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Due {
    /// The dashboard's id of the status.
    pub(crate) status_id: u8,
    /// Since when, in microseconds since the Unix epoch.
    pub(crate) modified_at: i64,
}

/// A request as it stands in the table, with what is due for it.
#[derive(Debug)]
pub(crate) struct Request {
    /// The institution's number of it, which the dashboard takes as its id.
    pub(crate) number: String,
    /// The service asked for.
    pub(crate) service: &'static Service,
    /// When it was opened, local time.
    pub(crate) opened: NaiveDateTime,
    /// Its present status.
    pub(crate) state: &'static State,
    /// When it was last modified, local time.
    pub(crate) modified: NaiveDateTime,
    /// What the dashboard must get, in this order.
    pub(crate) due: Vec<Due>,
    /// Was it there before the live workload began? Then the first thing due comes by the backfill.
    pub(crate) is_history: bool,
}

impl Request {
    /// A request that is in the table from now on.
    pub(crate) fn new(
        number: String,
        service: &'static Service,
        opened: NaiveDateTime,
        now: (&'static State, NaiveDateTime),
    ) -> Request {
        let (state, modified) = now;
        let mut request =
            Request { number, service, opened, state, modified, due: Vec::new(), is_history: false };
        request.owe();
        request
    }

    /// The row now has this status and time; what is no change of status to the dashboard is not due.
    pub(crate) fn set(&mut self, state: &'static State, modified: NaiveDateTime) {
        let is_change = state.id != self.state.id;
        self.state = state;
        self.modified = modified;
        if is_change {
            self.owe();
        }
    }

    /// Opened before the first day that the dashboard wants?
    pub(crate) fn is_before_floor(&self) -> bool {
        self.opened < floor()
    }

    fn owe(&mut self) {
        if !self.is_before_floor() {
            self.due.push(Due { status_id: self.state.id, modified_at: moment(self.modified) });
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::institution::{SERVICES, STATES};

    fn state(code: &str) -> &'static State {
        STATES.iter().find(|state| state.code == code).unwrap()
    }

    fn request(opened: NaiveDateTime) -> Request {
        Request::new("SOL-1".into(), &SERVICES[0], opened, (state("RECIBIDA"), opened))
    }

    #[test]
    fn two_statuses_that_are_one_to_the_dashboard_are_due_once() {
        let mut request = request(floor());
        let later = floor() + TimeDelta::hours(1);
        request.set(state("REV_TECNICA"), later);
        request.set(state("REV_LEGAL"), later + TimeDelta::hours(1));
        let due: Vec<_> = request.due.iter().map(|due| due.status_id).collect();
        assert_eq!(due, [9, 2]);
        assert_eq!(request.due[1].modified_at, moment(later));
    }

    #[test]
    fn what_was_opened_before_2020_is_never_due() {
        let mut request = request(floor() - TimeDelta::microseconds(1));
        request.set(state("ENTREGADA"), floor() + TimeDelta::days(1));
        assert!(request.due.is_empty());
    }
}
