//! What the database says must have arrived, and whether it did.
//!
//! The truth is the database's own history, which a trigger keeps in the same transactions; what arrived is
//! what the dashboard stored. The two are compared request by request, as sequences: so one comparison finds
//! what is missing, invented, repeated and out of order.

use chrono::{NaiveDateTime, TimeDelta};
use std::collections::{BTreeMap, HashSet};
use tablero::Record;

use super::backend::{Backend, HistoryRow};
use super::dashboard::Dashboard;

/// Where the records of a request must begin.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Begins {
    /// With the first change after this entry of the history.
    After(i64),
    /// With the status as of a snapshot that was taken before this entry of the history: any status up to
    /// there may be the first one, all later ones must follow.
    WithSnapshotBefore(i64),
    /// With the status that a copy in pages met, which began before this entry of the history and went on beside
    /// the stream: a request that changed before its page was read comes by the stream alone, so its first record
    /// may be its first change after this entry.
    WithCopyAround(i64),
}

/// What the comparison found.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// Records that had to arrive.
    pub(crate) expected: usize,
    /// Records that arrived, whole repeated batches counted once.
    pub(crate) arrived: usize,
    /// Batches that arrived again, whole and identical.
    pub(crate) repeated_batches: usize,
    complaints: String,
    wrong_requests: usize,
}

impl Verdict {
    /// # Panics
    /// When anything is missing, invented, out of order, or repeated other than as a whole batch.
    pub(crate) fn must_be_exact(&self) {
        assert!(
            self.wrong_requests == 0,
            "{} requests differ; {} records expected, {} arrived, {} whole batches repeated\n{}",
            self.wrong_requests,
            self.expected,
            self.arrived,
            self.repeated_batches,
            self.complaints
        );
    }
}

/// The last entry of the history, 0 when there is none.
pub(crate) async fn now<B: Backend>(backend: &B) -> i64 {
    backend.history().await.last().map_or(0, |row| row.seq)
}

/// Compares everything that the dashboard has stored with the history, for the requests whose ids begin with
/// `prefix`.
pub(crate) async fn compare<B: Backend>(
    backend: &B,
    dashboard: &Dashboard,
    begins: Begins,
    prefix: &str,
) -> Verdict {
    let mut verdict = Verdict::default();
    let history = backend.history().await.into_iter().map(|row| (row.seq, record(&row)));
    let mut expected = by_request(history);
    expected.retain(|(_, request_id), _| request_id.starts_with(prefix));
    let mut arrived = arrived(dashboard, &mut verdict);
    arrived.retain(|(_, request_id), _| request_id.starts_with(prefix));
    verdict.arrived = arrived.values().map(Vec::len).sum();
    let requests: HashSet<&(String, String)> = expected.keys().chain(arrived.keys()).collect();
    for request in requests {
        let history = expected.get(request).map_or(&[][..], Vec::as_slice);
        let records = arrived.get(request).map_or(&[][..], Vec::as_slice);
        judge(&mut verdict, begins, history, records);
    }
    verdict
}

fn judge(verdict: &mut Verdict, begins: Begins, history: &[(i64, Record)], records: &[Record]) {
    let later = |seq: i64| history.iter().position(|(at, _)| *at > seq).unwrap_or(history.len());
    let from = match begins {
        Begins::After(seq) => later(seq),
        // The longest end of the history that is as long as what arrived; at least one record for the status
        // as of the snapshot where the request is that old.
        Begins::WithSnapshotBefore(seq) => {
            history.len().saturating_sub(records.len()).min(later(seq).saturating_sub(1))
        }
        Begins::WithCopyAround(seq) => {
            let latest = later(seq).min(history.len().saturating_sub(1));
            history.len().saturating_sub(records.len()).min(latest)
        }
    };
    let wanted = &history[from..];
    verdict.expected += wanted.len();
    if wanted.iter().map(|(_, record)| record).eq(records.iter()) {
        return;
    }
    verdict.wrong_requests += 1;
    if verdict.wrong_requests <= 5 {
        verdict.complaints.push_str(&format!("history ({from} of it before the beginning):\n"));
        for (seq, record) in history {
            verdict.complaints.push_str(&format!("  {seq:>7} {}\n", line(record)));
        }
        verdict.complaints.push_str("arrived:\n");
        for record in records {
            verdict.complaints.push_str(&format!("          {}\n", line(record)));
        }
    }
}

fn arrived(dashboard: &Dashboard, verdict: &mut Verdict) -> BTreeMap<(String, String), Vec<Record>> {
    let mut seen = HashSet::new();
    let mut arrived: BTreeMap<_, Vec<Record>> = BTreeMap::new();
    for batch in dashboard.batches() {
        if !seen.insert(batch.body.clone()) {
            verdict.repeated_batches += 1;
            continue;
        }
        for record in batch.records() {
            let request = (record.service_id.clone(), record.request_id.clone());
            arrived.entry(request).or_default().push(record);
        }
    }
    arrived
}

fn by_request(rows: impl Iterator<Item = (i64, Record)>) -> BTreeMap<(String, String), Vec<(i64, Record)>> {
    let mut requests: BTreeMap<_, Vec<(i64, Record)>> = BTreeMap::new();
    for (seq, record) in rows {
        let request = (record.service_id.clone(), record.request_id.clone());
        requests.entry(request).or_default().push((seq, record));
    }
    requests
}

/// What must leave for an entry: the suite's mapping in other words than the product's.
pub(crate) fn record(row: &HistoryRow) -> Record {
    let service_id = if row.servicio == "LIC" { "101" } else { "102" };
    let status_id = match row.estado.as_str() {
        "RECIBIDA" => 9,
        "REVISION" => 2,
        "APROBADA" => 3,
        "RECHAZADA" => 8,
        "ENTREGADA" => 14,
        other => panic!("the workload writes no status {other}"),
    };
    Record {
        service_id: service_id.to_owned(),
        request_id: row.numero.clone(),
        opening_date: utc(&row.fecha_apertura),
        status_id,
        last_modified_date: utc(&row.fecha_modificacion),
    }
}

/// A moment in Santo Domingo, which has been four hours behind UTC all year since 2000, as it must leave.
fn utc(local: &str) -> String {
    let moment = NaiveDateTime::parse_from_str(local, "%Y-%m-%dT%H:%M:%S%.f").unwrap() + TimeDelta::hours(4);
    let text = moment.format("%Y-%m-%dT%H:%M:%S%.6f").to_string();
    format!("{}Z", text.strip_suffix(".000000").unwrap_or(&text))
}

fn line(record: &Record) -> String {
    let Record { service_id, request_id, opening_date, status_id, last_modified_date } = record;
    format!("{service_id} {request_id} {opening_date} {status_id:>2} {last_modified_date}")
}
