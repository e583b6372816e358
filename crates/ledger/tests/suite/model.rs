//! What the ledger should do, in the plainest words: everything in memory, each committed log row in the
//! order of the log, nothing sliced, sorted or merged.

use std::collections::BTreeMap;

/// One of a handful of requests, and the number of a row's key.
pub(crate) type Request = usize;
pub(crate) type Key = usize;

/// What the stream, or an operator, puts into the log. `moment` tells records apart.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Event {
    Record { request: Request, status: u8, moment: i64, key: Option<Key> },
    Candidate { request: Request, status: u8, moment: i64, key: Option<Key>, left: Option<Key> },
    Deleted { key: Key, moment: i64 },
    Broken { request: Request, key: Option<Key> },
    MappedAgain { request: Request, status: u8, moment: i64 },
    SentAgain { request: Request, status: u8, moment: i64 },
}

/// The status that reports a deletion.
pub(crate) const DELETED: u8 = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) request: Request,
    pub(crate) status: u8,
    pub(crate) moment: i64,
    pub(crate) seq: i64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Known {
    status: u8,
    has_opening: bool,
    touched: i64,
    emitted: i64,
    retried: u8,
    /// The copy whose row carries it.
    carried: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Baseline,
    Repair,
    Again,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct TableRow {
    pub(crate) request: Request,
    pub(crate) status: u8,
    pub(crate) moment: i64,
    pub(crate) key: Option<Key>,
}

/// A row of a copy that should reach the dashboard.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Carried {
    pub(crate) moment: i64,
    /// Records behind this seq must not leave before it.
    pub(crate) seq: i64,
}

#[derive(Debug, Default)]
pub(crate) struct Model {
    /// The seq of the next log row, and the last committed one.
    pub(crate) next: i64,
    pub(crate) committed: i64,
    open: Vec<(i64, Event)>,
    open_changes: u64,
    open_rejected: Vec<Request>,
    known: BTreeMap<Request, Known>,
    owners: BTreeMap<Key, (Request, bool, i64)>,
    pub(crate) records: Vec<Record>,
    pub(crate) captured: u64,
    pub(crate) rejected: Vec<Request>,
    pub(crate) unknown_deletions: u64,
    copies: usize,
    /// Whether there is, or will be, something for the backfill.
    pub(crate) was_copied: bool,
    copied_before: bool,
    /// Whether a copy was read to its end.
    pub(crate) was_read: bool,
    /// Whether the copy under way is a repair that stands in for the first one.
    is_first: bool,
    pub(crate) copy: Option<(Kind, i64)>,
    pub(crate) carried: BTreeMap<(usize, Request), Carried>,
}

impl Model {
    pub(crate) fn new() -> Self {
        Self { next: 1, ..Self::default() }
    }

    pub(crate) fn append(&mut self, events: &[Event], rejected: &[Request], commit: bool) {
        for event in events {
            self.open.push((self.next, *event));
            self.next += 1;
        }
        self.open_changes += events.len() as u64;
        self.open_rejected.extend(rejected);
        if commit {
            self.committed = self.next - 1;
            self.captured += std::mem::take(&mut self.open_changes);
            self.rejected.append(&mut self.open_rejected);
            for (seq, event) in std::mem::take(&mut self.open) {
                self.take(seq, event);
            }
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.next > self.committed + 1 || self.open_changes > 0 || !self.open_rejected.is_empty()
    }

    pub(crate) fn discard(&mut self) {
        self.open.clear();
        self.open_rejected.clear();
        self.open_changes = 0;
        self.next = self.committed + 1;
    }

    /// Puts a committed event at the log's end that did not come by the stream.
    pub(crate) fn put(&mut self, event: Event) {
        let seq = self.next;
        self.next += 1;
        self.committed = seq;
        self.take(seq, event);
    }

    fn take(&mut self, seq: i64, event: Event) {
        match event {
            Event::Record { request, status, moment, key } => {
                self.own((key, None), request, true, seq);
                self.emit(request, status, moment, seq);
            }
            Event::Candidate { request, status, moment, key, left } => {
                self.own((key, left), request, true, seq);
                let known = self.known.entry(request).or_default();
                known.retried = 0;
                if known.status == status {
                    known.touched = seq;
                } else {
                    self.emit(request, status, moment, seq);
                }
            }
            Event::Deleted { key, moment } => self.delete(key, moment, seq),
            Event::Broken { request, key } => {
                self.own((key, None), request, false, seq);
                let known = self.known.entry(request).or_default();
                known.status = 0;
                known.touched = seq;
                known.retried = 0;
            }
            Event::MappedAgain { request, status, moment } => self.mapped_again(request, status, moment, seq),
            Event::SentAgain { request, status, moment } => {
                self.records.push(Record { request, status, moment, seq });
            }
        }
    }

    fn delete(&mut self, key: Key, moment: i64, seq: i64) {
        let owner = self.owners.remove(&key);
        match owner {
            Some((request, opening, _))
                if opening || self.known.get(&request).is_some_and(|known| known.has_opening) =>
            {
                let known = self.known.entry(request).or_default();
                known.retried = 0;
                if known.status == DELETED {
                    known.touched = seq;
                } else {
                    self.emit(request, DELETED, moment, seq);
                }
            }
            _ => self.unknown_deletions += 1,
        }
    }

    fn mapped_again(&mut self, request: Request, status: u8, moment: i64, seq: i64) {
        let known = self.known.entry(request).or_default();
        if known.status == 0 {
            self.emit(request, status, moment, seq);
        } else if known.retried != status {
            known.touched = seq;
            known.emitted = seq;
            self.records.push(Record { request, status, moment, seq });
        }
        self.known.entry(request).or_default().retried = status;
    }

    fn emit(&mut self, request: Request, status: u8, moment: i64, seq: i64) {
        self.records.push(Record { request, status, moment, seq });
        let known = self.known.entry(request).or_default();
        let carried = known.carried;
        *known = Known { status, has_opening: true, touched: seq, emitted: seq, retried: 0, carried };
    }

    /// A row now has the first key, and not the second any more.
    fn own(&mut self, (key, left): (Option<Key>, Option<Key>), request: Request, opening: bool, seq: i64) {
        if let Some(left) = left {
            self.owners.remove(&left);
        }
        if let Some(key) = key {
            let before = self.owners.get(&key).is_some_and(|(owner, told, _)| *owner == request && *told);
            self.owners.insert(key, (request, opening || before, seq));
        }
    }

    pub(crate) fn begin(&mut self, kind: Kind, has_left: impl Fn(i64) -> bool) {
        self.copies += 1;
        self.copy = Some((kind, self.committed));
        self.copied_before = self.was_copied;
        // Where no copy was complete, a repair stands in for the first one.
        self.is_first = kind == Kind::Repair && !self.was_read;
        self.was_copied |= kind != Kind::Repair || self.is_first;
        if kind == Kind::Again {
            self.carried.retain(|_, row| has_left(row.moment));
        }
    }

    /// A page's, or a whole copy's, turn in the log.
    pub(crate) fn merge(&mut self, rows: &[TableRow], has_left: impl Fn(i64) -> bool) {
        let (kind, began) = self.copy.unwrap();
        let marker = self.next;
        let reserved = if kind == Kind::Repair { rows.len() as i64 } else { 0 };
        self.committed = marker + reserved;
        self.next = self.committed + 1;
        let mut newest = BTreeMap::new();
        for row in rows {
            newest.insert(row.request, *row);
        }
        let mut keyed: Vec<_> = rows.iter().filter(|row| row.key.is_some()).collect();
        keyed.sort_by_key(|row| (row.request, row.moment));
        for row in keyed {
            let key = row.key.unwrap();
            if self.owners.get(&key).is_none_or(|(_, _, seq)| *seq <= began) {
                self.owners.insert(key, (row.request, true, began));
            }
        }
        let mut seq = marker;
        for row in newest.values() {
            let known = self.known.get(&row.request);
            let is_history = self.is_first && known.is_none_or(|known| known.carried == Some(self.copies));
            if is_history {
                self.carry(row, (Kind::Baseline, began), marker, &has_left);
            } else if kind == Kind::Repair {
                self.compare(row, began, &mut seq);
            } else {
                self.carry(row, (kind, began), marker, &has_left);
            }
        }
    }

    fn compare(&mut self, row: &TableRow, began: i64, seq: &mut i64) {
        let differs = self
            .known
            .get(&row.request)
            .is_none_or(|known| known.status != row.status && known.touched <= began);
        if differs {
            *seq += 1;
            self.emit(row.request, row.status, row.moment, *seq);
        }
    }

    fn carry(
        &mut self,
        row: &TableRow,
        (kind, began): (Kind, i64),
        marker: i64,
        has_left: impl Fn(i64) -> bool,
    ) {
        let before = self.known.get(&row.request).copied();
        let mut known = before.unwrap_or_default();
        let broken_since = known.status == 0 && known.touched > began;
        let carries = before.is_none()
            || match kind {
                Kind::Baseline => {
                    let by_other = known.carried.is_some_and(|copy| copy != self.copies);
                    known.emitted == 0 && !broken_since && !by_other
                }
                _ => {
                    let unsent = |record: &Record| record.seq == known.emitted && !has_left(record.moment);
                    known.emitted <= began && !broken_since && !self.records.iter().any(unsent)
                }
            };
        if carries {
            known = Known {
                status: row.status,
                has_opening: true,
                retried: 0,
                carried: Some(self.copies),
                ..known
            };
            self.known.insert(row.request, known);
            let carried = Carried { moment: row.moment, seq: marker };
            self.carried.insert((self.copies, row.request), carried);
        }
    }

    pub(crate) fn abandon(&mut self, has_left: impl Fn(i64) -> bool) {
        let (kind, _) = self.copy.take().unwrap();
        let copy = self.copies;
        self.carried.retain(|(of, _), row| *of != copy || has_left(row.moment));
        self.was_copied = self.copied_before;
        if kind != Kind::Again {
            self.known.retain(|_, known| known.carried != Some(copy) || known.emitted > 0);
        }
        for known in self.known.values_mut().filter(|known| known.carried == Some(copy)) {
            known.carried = None;
        }
    }

    /// The last known statuses; of requests whose row was rejected there is none.
    pub(crate) fn statuses(&self) -> impl Iterator<Item = (Request, u8)> {
        self.known.iter().map(|(request, known)| (*request, known.status)).filter(|(_, status)| *status > 0)
    }

    /// Whether a record of the request came into the log behind `seq`.
    pub(crate) fn has_record_behind(&self, request: Request, seq: i64) -> bool {
        self.records.iter().any(|record| record.request == request && record.seq > seq)
    }
}
