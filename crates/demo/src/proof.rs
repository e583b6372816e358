//! What was committed beside what arrived.

use std::collections::HashMap;

use chrono::DateTime;
use tablero::Record;

use crate::narration::count;
use crate::truth::{Due, Request};

/// How many examples of what went wrong are shown.
const EXAMPLES: usize = 5;

/// One column of the table.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Count {
    /// Records that are due.
    pub(crate) committed: u64,
    /// Of these, the ones that arrived.
    pub(crate) arrived: u64,
    /// Arrived once more than they were due.
    pub(crate) repeated: u64,
    /// Arrived after one that happened later to the same request.
    pub(crate) out_of_order: u64,
}

impl Count {
    fn missing(self) -> u64 {
        self.committed - self.arrived
    }
}

/// The comparison.
#[derive(Debug, Default)]
pub(crate) struct Proof {
    /// Each request's first record where it was there before the live workload.
    pub(crate) history: Count,
    /// Everything else.
    pub(crate) live: Count,
    /// Records that nothing committed accounts for.
    pub(crate) invented: u64,
    /// Some of what went wrong, in words.
    pub(crate) examples: Vec<String>,
}

impl Proof {
    /// Compares, request by request, what is due with what arrived, in the order of arrival.
    pub(crate) fn compare(requests: &[Request], arrived: &[Record]) -> Proof {
        let mut proof = Proof::default();
        let mut by_request: HashMap<(&str, &str), Vec<&Record>> = HashMap::new();
        for record in arrived {
            by_request.entry((&record.service_id, &record.request_id)).or_default().push(record);
        }
        for request in requests {
            let got = by_request.remove(&(request.service.id, request.number.as_str())).unwrap_or_default();
            proof.compare_one(request, &got);
        }
        for (key, strange) in by_request {
            proof.invented += u64::try_from(strange.len()).unwrap_or(u64::MAX);
            proof.example(|| format!("request {} of service {} was never asked for", key.1, key.0));
        }
        proof
    }

    /// Nothing missing, invented, repeated or out of order?
    pub(crate) fn is_exact(&self) -> bool {
        let total = self.total();
        let faults = total.missing() + self.invented + total.repeated + total.out_of_order;
        total.committed > 0 && faults == 0
    }

    /// The table for the one who watches.
    pub(crate) fn table(&self) -> String {
        let total = self.total();
        let rows = [
            ("committed in the database", [self.history.committed, self.live.committed, total.committed]),
            ("arrived at the dashboard", [self.history.arrived, self.live.arrived, total.arrived]),
            ("missing", [self.history.missing(), self.live.missing(), total.missing()]),
            ("repeated", [self.history.repeated, self.live.repeated, total.repeated]),
            ("out of order", [self.history.out_of_order, self.live.out_of_order, total.out_of_order]),
        ];
        let mut lines =
            vec![format!("{:<28}{:>12}{:>12}{:>12}", "status changes", "history", "live", "together")];
        for (name, [history, live, together]) in rows {
            lines.push(format!("{name:<28}{:>12}{:>12}{:>12}", count(history), count(live), count(together)));
        }
        lines.push(format!("{:<28}{:>12}{:>12}{:>12}", "invented", "", "", count(self.invented)));
        lines.join("\n")
    }

    fn total(&self) -> Count {
        let Proof { history, live, .. } = self;
        Count {
            committed: history.committed + live.committed,
            arrived: history.arrived + live.arrived,
            repeated: history.repeated + live.repeated,
            out_of_order: history.out_of_order + live.out_of_order,
        }
    }

    fn compare_one(&mut self, request: &Request, got: &[&Record]) {
        let opened_at = crate::institution::moment(request.opened);
        let places: HashMap<Due, usize> =
            request.due.iter().enumerate().map(|(place, due)| (*due, place)).collect();
        let mut times = vec![0_u64; request.due.len()];
        let mut latest = 0;
        for record in got {
            let due = due(record).filter(|_| micros(&record.opening_date) == Some(opened_at));
            let Some(&place) = due.and_then(|due| places.get(&due)) else {
                self.invented += 1;
                self.example(|| format!("{} arrived with what it never was: {record:?}", request.number));
                continue;
            };
            let count = self.count_of(request, place);
            if let Some(times) = times.get_mut(place) {
                *times += 1;
                if *times > 1 {
                    count.repeated += 1;
                } else if place < latest {
                    count.out_of_order += 1;
                }
            }
            latest = latest.max(place);
        }
        for (place, times) in times.into_iter().enumerate() {
            let count = self.count_of(request, place);
            count.committed += 1;
            count.arrived += u64::from(times > 0);
            if times == 0 {
                self.example(|| format!("{} {} is missing", request.number, described(request, place)));
            }
        }
    }

    fn count_of(&mut self, request: &Request, place: usize) -> &mut Count {
        if request.is_history && place == 0 { &mut self.history } else { &mut self.live }
    }

    fn example(&mut self, words: impl FnOnce() -> String) {
        if self.examples.len() < EXAMPLES {
            self.examples.push(words());
        }
    }
}

fn described(request: &Request, place: usize) -> String {
    let due = request.due.get(place);
    let since = due.and_then(|due| DateTime::from_timestamp_micros(due.modified_at)).unwrap_or_default();
    format!("passing to status {} at {since}", due.map_or(0, |due| due.status_id))
}

fn due(record: &Record) -> Option<Due> {
    Some(Due { status_id: record.status_id, modified_at: micros(&record.last_modified_date)? })
}

/// The moment of a text such as `2026-11-21T08:00:00Z`, in microseconds since the Unix epoch; only UTC will do.
fn micros(text: &str) -> Option<i64> {
    let moment = DateTime::parse_from_rfc3339(text).ok()?;
    text.ends_with('Z').then(|| moment.timestamp_micros())
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::institution::{SERVICES, STATES, floor};

    /// A request from history that went through three statuses, and the records of them.
    fn example() -> (Request, Vec<Record>) {
        let at = |hours| floor() + TimeDelta::hours(hours);
        let mut request = Request::new("SOL-1".into(), &SERVICES[0], floor(), (&STATES[0], at(1)));
        request.is_history = true;
        request.set(&STATES[3], at(2));
        request.set(&STATES[4], at(3));
        let record = |status_id, hour| Record {
            service_id: "101".into(),
            request_id: "SOL-1".into(),
            opening_date: "2020-01-01T04:00:00Z".into(),
            status_id,
            last_modified_date: format!("2020-01-01T{hour:02}:00:00Z"),
        };
        (request, vec![record(9, 5), record(5, 6), record(4, 7)])
    }

    fn proof_of(change: impl FnOnce(&mut Vec<Record>)) -> Proof {
        let (request, mut records) = example();
        change(&mut records);
        Proof::compare(&[request], &records)
    }

    #[test]
    fn what_arrived_as_committed_is_exact() {
        let proof = proof_of(|_| {});
        assert!(proof.is_exact(), "{proof:?}");
        assert_eq!((proof.history.arrived, proof.live.arrived), (1, 2));
    }

    #[test]
    fn a_record_that_did_not_arrive_is_missing() {
        let proof = proof_of(|records| drop(records.remove(0)));
        assert!(!proof.is_exact());
        assert_eq!((proof.history.missing(), proof.live.missing()), (1, 0));
    }

    #[test]
    fn a_record_that_arrives_twice_is_repeated_and_not_out_of_order() {
        let proof = proof_of(|records| records.push(records[0].clone()));
        assert_eq!((proof.history.repeated, proof.total().out_of_order), (1, 0));
        assert!(!proof.is_exact());
    }

    #[test]
    fn a_record_after_a_later_one_is_out_of_order() {
        let proof = proof_of(|records| records.swap(1, 2));
        assert_eq!((proof.live.out_of_order, proof.total().missing()), (1, 0));
        assert!(!proof.is_exact());
    }

    #[test]
    fn what_nothing_accounts_for_is_invented() {
        let other_opening = proof_of(|records| records[1].opening_date = "2020-01-01T00:00:00Z".into());
        assert_eq!((other_opening.invented, other_opening.live.missing()), (1, 1));
        let stranger = proof_of(|records| {
            let mut record = records[0].clone();
            record.service_id = "102".into();
            records.push(record);
        });
        assert_eq!(stranger.invented, 1);
        assert!(!stranger.is_exact());
    }

    #[test]
    fn nothing_at_all_is_no_proof() {
        assert!(!Proof::compare(&[], &[]).is_exact());
    }
}
