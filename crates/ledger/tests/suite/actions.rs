//! What may happen in a ledger's life, at random.

use proptest::prelude::*;

use crate::model::Request;

pub(crate) const REQUESTS: [(&str, &str); 5] =
    [("101", "A"), ("101", "B"), ("102", "A"), ("102", "C"), ("103", "D")];
pub(crate) const KEYS: [&str; 4] = ["k1", "k2", "k3", "k4"];

/// Rows of the table: request, status, key.
pub(crate) type TableRows = Vec<(Request, u8, Option<usize>)>;

/// What may happen.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    Append { rows: Vec<Row>, commit: bool },
    RestartStream,
    Crash,
    Settle(u64),
    BeginCopy(u8),
    Page(TableRows),
    PassFence,
    FinishCopy,
    AbandonCopy,
    ExactCopy(u8, TableRows),
    AskBackfill,
    Start { backfill: bool, by_service: bool },
    Acknowledge,
    Fail,
    Split,
    Suspect,
    Release,
    Finish,
    RetryRow(u8),
    RetryRecords,
}

/// What the stream may bring.
#[derive(Debug, Clone)]
pub(crate) enum Row {
    Record(Request, u8, Option<usize>),
    Candidate(Request, u8, Option<usize>),
    Moved(Request, u8, usize, usize),
    Deleted(usize),
    Broken(Request, Option<usize>),
}

fn row() -> impl Strategy<Value = Row> {
    let request = || 0..REQUESTS.len();
    let status = || 1_u8..4;
    let key = || 0..KEYS.len();
    let perhaps = || proptest::option::of(key());
    prop_oneof![
        2 => (request(), status(), perhaps()).prop_map(|(request, status, key)| Row::Record(request, status, key)),
        8 => (request(), status(), perhaps()).prop_map(|(request, status, key)| Row::Candidate(request, status, key)),
        1 => (request(), status(), key(), key())
            .prop_map(|(request, status, from, to)| Row::Moved(request, status, from, to)),
        1 => key().prop_map(Row::Deleted),
        1 => (request(), perhaps()).prop_map(|(request, key)| Row::Broken(request, key)),
    ]
}

pub(crate) fn action() -> impl Strategy<Value = Action> {
    let table = || {
        let row = (0..REQUESTS.len(), 1_u8..4, proptest::option::of(0..KEYS.len()));
        proptest::collection::vec(row, 0..12)
    };
    prop_oneof![
        10 => (proptest::collection::vec(row(), 0..6), proptest::bool::weighted(0.8))
            .prop_map(|(rows, commit)| Action::Append { rows, commit }),
        1 => Just(Action::RestartStream),
        1 => Just(Action::Crash),
        5 => (1_u64..6).prop_map(Action::Settle),
        2 => (0_u8..3).prop_map(Action::BeginCopy),
        4 => table().prop_map(Action::Page),
        4 => Just(Action::PassFence),
        2 => Just(Action::FinishCopy),
        1 => Just(Action::AbandonCopy),
        1 => ((0_u8..3), table()).prop_map(|(kind, rows)| Action::ExactCopy(kind, rows)),
        1 => Just(Action::AskBackfill),
        3 => (any::<bool>(), any::<bool>())
            .prop_map(|(backfill, by_service)| Action::Start { backfill, by_service }),
        8 => Just(Action::Acknowledge),
        2 => Just(Action::Fail),
        2 => Just(Action::Split),
        1 => Just(Action::Suspect),
        1 => Just(Action::Release),
        2 => Just(Action::Finish),
        2 => (1_u8..4).prop_map(Action::RetryRow),
        1 => Just(Action::RetryRecords),
    ]
}
