//! Random lives of a ledger, crashes included, compared with [`crate::model`].
//!
//! At the end everything is delivered, and what the dashboard saw must be what the model says: each record
//! once, each request's records in order, and what a copy carries before what came after it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use change::{Position, RowKey};
use ledger::{
    Batch, CopyKind, Entry, FlushKind, FlushResult, GapFound, Ingest, LedgerErrorKind, Resolution, StagedPage,
};
use normalizer::StatusChange;
use proptest::prelude::*;

use crate::actions::{Action, KEYS, REQUESTS, Row, TableRows, action};
use crate::arrange::{
    Desk, EVER, Lines, NOW, captured, change, checkpoint, key, lines, packed, page, piece, rejected, single,
};
use crate::audit::audit;
use crate::model::{Event, Kind, Model, Record, Request, TableRow};

proptest! {
    #[test]
    fn any_life_delivers_what_the_model_says(actions in proptest::collection::vec(action(), 1..70)) {
        let mut life = Life::new();
        for action in actions {
            life.act(action);
        }
        life.end();
    }
}

struct StagedFenced {
    id: i64,
    rows: Vec<TableRow>,
}

struct Life {
    // Taken only for the moment of a crash.
    desk: Option<Desk>,
    model: Model,
    copy: Option<i64>,
    pages: VecDeque<StagedFenced>,
    flush: [Option<i64>; 2],
    /// Records that entered a batch, those that were acknowledged, in order, and those that were refused.
    left: BTreeSet<i64>,
    sent: Vec<(Request, u8, i64)>,
    refused: Vec<(Request, u8, i64)>,
    /// Refused records that were put into the log again, by moment.
    again: Vec<(Request, u8, i64)>,
    suspects: u32,
    moment: i64,
}

impl Life {
    fn new() -> Self {
        let mut desk = Desk::new();
        desk.ledger.declare_tables(single(false)).unwrap();
        desk.ledger.set_checkpoint(&checkpoint("0/0")).unwrap();
        Self {
            desk: Some(desk),
            model: Model::new(),
            copy: None,
            pages: VecDeque::new(),
            flush: [None, None],
            left: BTreeSet::new(),
            sent: Vec::new(),
            refused: Vec::new(),
            again: Vec::new(),
            suspects: 0,
            moment: 0,
        }
    }

    fn desk(&mut self) -> &mut Desk {
        self.desk.as_mut().unwrap()
    }

    fn moment(&mut self) -> i64 {
        self.moment += 1;
        self.moment
    }

    fn change(&self, request: Request, status: u8, moment: i64) -> StatusChange {
        let (service, id) = REQUESTS[request];
        change(&format!("{service} {id} {status} {moment}"))
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Append { rows, commit } => self.append(&rows, commit),
            Action::RestartStream => self.restart_stream(),
            Action::Crash => self.crash(),
            Action::Settle(rows) => drop(self.desk().ledger.settle(rows).unwrap()),
            Action::BeginCopy(kind) => self.begin(kind, false),
            Action::Page(rows) => self.page(&rows),
            Action::PassFence => self.pass_fence(),
            Action::FinishCopy => self.finish_copy(),
            Action::AbandonCopy => self.abandon_copy(),
            Action::ExactCopy(kind, rows) => self.exact_copy(kind, &rows),
            Action::AskBackfill => self.desk().ledger.request_backfill(EVER.0, EVER.1, NOW).unwrap(),
            Action::Start { backfill, by_service } => self.start(backfill, by_service),
            Action::Acknowledge => self.acknowledge(),
            Action::Fail => self.fail(),
            Action::Split => self.split(),
            Action::Suspect => self.suspect(),
            Action::Release => self.release(),
            Action::Finish => self.finish(),
            Action::RetryRow(status) => self.retry_row(status),
            Action::RetryRecords => self.retry_records(),
        }
    }

    fn append(&mut self, rows: &[Row], commit: bool) {
        let (mut events, mut stored, mut broken) = (Vec::new(), Vec::new(), Vec::new());
        for row in rows {
            let moment = self.moment();
            let name = |key: usize| KEYS[key];
            let (event, entry, key, left) = match *row {
                Row::Record(request, status, key) => {
                    let entry = Entry::Record(self.change(request, status, moment));
                    (Event::Record { request, status, moment, key }, entry, key, None)
                }
                Row::Candidate(request, status, key) => {
                    let entry = Entry::Candidate(self.change(request, status, moment));
                    (Event::Candidate { request, status, moment, key, left: None }, entry, key, None)
                }
                Row::Moved(request, status, from, to) => {
                    let entry = Entry::Candidate(self.change(request, status, moment));
                    let (key, left) = (Some(to), Some(from));
                    (Event::Candidate { request, status, moment, key, left }, entry, key, left)
                }
                Row::Deleted(key) => {
                    let entry = Entry::Deletion { status_id: crate::model::DELETED, modified_at: moment };
                    (Event::Deleted { key, moment }, entry, Some(key), None)
                }
                Row::Broken(request, key) => {
                    broken.push(request);
                    let entry = Entry::Broken(key_of(request));
                    (Event::Broken { request, key }, entry, key, None)
                }
            };
            events.push(event);
            stored.push(captured(entry, key.map(name), left.map(name)));
        }
        let ingest = Ingest {
            changes: stored.len() as u64,
            captured: packed(&stored),
            rejected: broken.iter().map(|request| rejected(Some(key_of(*request)))).collect(),
            ..piece(vec![], commit.then_some("0/1"))
        };
        self.desk().ledger.append(&[ingest]).unwrap();
        self.model.append(&events, &broken, commit);
    }

    fn restart_stream(&mut self) {
        self.desk().ledger.discard_open().unwrap();
        self.model.discard();
    }

    fn crash(&mut self) {
        let desk = self.desk.take().unwrap();
        self.desk = Some(desk.reopen());
        self.model.discard();
        self.suspects = 0;
    }

    fn begin(&mut self, kind: u8, exact: bool) {
        if self.copy.is_some() {
            return;
        }
        let kind = match kind {
            // The table is copied for the first time only once.
            0 if !self.model.was_copied => Kind::Baseline,
            1 => Kind::Repair,
            _ => Kind::Again,
        };
        let left = self.left.clone();
        self.model.begin(kind, |moment| left.contains(&moment));
        let desk = self.desk();
        let copy_kind = match kind {
            Kind::Baseline => CopyKind::Baseline,
            Kind::Again => CopyKind::Again,
            Kind::Repair => {
                let found = GapFound { found_at: NOW, reason: "the slot is gone".into() };
                CopyKind::Repair { gap: desk.ledger.open_gap(&found).unwrap() }
            }
        };
        let copy = desk.begin(copy_kind, exact);
        self.copy = Some(copy);
    }

    fn stage(&mut self, rows: &TableRows) -> (Vec<TableRow>, StagedPage) {
        let mut told: Vec<TableRow> = Vec::new();
        let mut staged = page(&[]);
        for (request, status, key) in rows {
            // A key is a row's alone. And while a copy of any other kind counts the newest of a request's rows
            // wherever they are, a repair compares slice by slice.
            let is_told = |row: &TableRow| row.request == *request;
            if self.model.copy.is_some_and(|(kind, _)| kind == Kind::Repair) && told.iter().any(is_told) {
                continue;
            }
            let key = &key.filter(|key| told.iter().all(|row| row.key != Some(*key)));
            let moment = self.moment();
            told.push(TableRow { request: *request, status: *status, moment, key: *key });
            let row_key = key.map(|key| RowKey::from_columns([KEYS[key]]));
            let month = 202_001 + (moment % 3) as u32;
            staged.rows.push(&self.change(*request, *status, moment), month, row_key.as_ref());
        }
        (told, staged)
    }

    fn page(&mut self, rows: &TableRows) {
        let Some(copy) = self.copy else { return };
        let (rows, staged) = self.stage(rows);
        let staged = StagedPage { fence: Some(Position::new("0/9")), ..staged };
        let id = self.desk().ledger.append_page(copy, &staged).unwrap();
        self.pages.push_back(StagedFenced { id, rows });
    }

    fn pass_fence(&mut self) {
        let Some(page) = self.pages.pop_front() else { return };
        if self.model.is_open() {
            let refused = self.desk().ledger.pass_fence(page.id).unwrap_err();
            assert_eq!(refused.kind(), LedgerErrorKind::OpenTransaction);
            self.pages.push_front(page);
            return;
        }
        self.desk().ledger.pass_fence(page.id).unwrap();
        self.merge(&page.rows);
    }

    fn merge(&mut self, rows: &[TableRow]) {
        let left = self.left.clone();
        self.model.merge(rows, |moment| left.contains(&moment));
        if self.model.copy.is_some_and(|(kind, _)| kind == Kind::Again) {
            self.desk().settle();
        }
    }

    fn finish_copy(&mut self) {
        let Some(copy) = self.copy.filter(|_| !self.model.is_open()) else { return };
        if !self.pages.is_empty() {
            assert_eq!(
                self.desk().ledger.finish_copy(copy, None).unwrap_err().kind(),
                LedgerErrorKind::Misuse
            );
            return;
        }
        self.desk().ledger.finish_copy(copy, None).unwrap();
        self.model.was_read = true;
        self.copy_ended();
    }

    fn copy_ended(&mut self) {
        self.model.copy = None;
        self.copy = None;
        self.pages.clear();
        let desk = self.desk();
        if let Some(gap) = desk.ledger.open_gap_id().unwrap() {
            desk.ledger.close_gap(gap.id, NOW).unwrap();
        }
    }

    fn abandon_copy(&mut self) {
        let Some(copy) = self.copy else { return };
        // Rows whose turn has come are merged first, so that both sides forget the same.
        self.desk().settle();
        self.desk().ledger.abandon_copy(copy).unwrap();
        let left = self.left.clone();
        self.model.abandon(|moment| left.contains(&moment));
        self.copy_ended();
    }

    /// An exact copy stands where no stream runs: it begins from the copy's position afterwards.
    fn exact_copy(&mut self, kind: u8, rows: &TableRows) {
        if self.copy.is_some() {
            return;
        }
        self.restart_stream();
        self.begin(kind, true);
        let (rows, staged) = self.stage(rows);
        let copy = self.copy.unwrap();
        self.desk().ledger.append_page(copy, &staged).unwrap();
        self.desk().ledger.finish_copy(copy, Some(&checkpoint("0/5"))).unwrap();
        self.merge(&rows);
        self.model.was_read = true;
        self.copy_ended();
    }

    fn start(&mut self, backfill: bool, by_service: bool) {
        let kind = if backfill { FlushKind::Backfill } else { FlushKind::Delta };
        if self.flush[usize::from(backfill)].is_some() {
            return;
        }
        self.desk().settle();
        let flush = self.desk().ledger.start_flush(kind, by_service, NOW).unwrap();
        self.flush[usize::from(backfill)] = Some(flush.id);
    }

    /// The next batch of whichever flush is open; the backfill's turn comes first.
    fn next(&mut self) -> Option<Batch> {
        let flush = self.flush[1].or(self.flush[0])?;
        let batch = self.desk().next(flush)?;
        for (_, _, moment) in parse(&batch) {
            self.left.insert(moment);
        }
        Some(batch)
    }

    fn acknowledge(&mut self) {
        let Some(batch) = self.next() else { return };
        self.desk().ledger.acknowledge(batch.id, NOW, Some(201)).unwrap();
        self.sent.extend(parse(&batch));
        // Whoever is refused among the acknowledged is at fault: the courier decides so, too.
        if self.suspects > 0 {
            self.confirm();
        }
    }

    fn confirm(&mut self) {
        let mut confirmed = 0;
        for flush in self.flush.into_iter().flatten() {
            confirmed += self.desk().ledger.confirm_suspects(flush, NOW).unwrap();
        }
        assert_eq!(confirmed, u64::from(self.suspects));
        self.suspects = 0;
        let known = self.refused.len() + self.again.len();
        let items = self.desk().ledger.quarantine(Some(ledger::QuarantineKind::Record), 0, 1_000).unwrap();
        let standing = items.iter().map(|item| {
            let request =
                request_of(item.service_id.as_deref().unwrap(), item.request_id.as_deref().unwrap());
            (request, item.status_id.unwrap(), item.modified_at.unwrap())
        });
        self.refused = standing.collect();
        assert_eq!(self.refused.len() + self.again.len(), known + confirmed as usize);
    }

    fn fail(&mut self) {
        let Some(batch) = self.next() else { return };
        self.desk().ledger.attempt_failed(batch.id, "no answer", None).unwrap();
        let again = self.next().unwrap();
        assert_eq!((batch.id, batch.body, batch.sha256), (again.id, again.body, again.sha256));
    }

    fn split(&mut self) {
        let Some(batch) = self.next().filter(|batch| batch.records > 1) else { return };
        assert_eq!(self.desk().ledger.split(batch.id, &mut Lines::default(), NOW).unwrap(), 2);
    }

    fn suspect(&mut self) {
        let Some(batch) = self.next().filter(|batch| batch.records == 1) else { return };
        self.desk().ledger.suspect(batch.id, "refused", "no", NOW).unwrap();
        self.suspects += 1;
    }

    fn release(&mut self) {
        for flush in self.flush.into_iter().flatten() {
            self.desk().ledger.release_suspects(flush).unwrap();
        }
        self.suspects = 0;
    }

    /// A flush may end anywhere; what it leaves goes with the next one.
    fn finish(&mut self) {
        self.release();
        for flush in std::mem::take(&mut self.flush).into_iter().flatten() {
            self.desk().ledger.finish_flush(flush, FlushResult::Failed, Some("gave up"), NOW).unwrap();
        }
    }

    fn retry_row(&mut self, status: u8) {
        let rows = self.desk().ledger.rows_for_retry(0, 1_000).unwrap();
        let Some(row) = rows.into_iter().find(|row| row.code == "unknown_status") else { return };
        let request = self.model.rejected[0];
        assert_eq!(row.request, Some(key_of(request)));
        let moment = self.moment();
        let resolution = Resolution::Mapped { change: self.change(request, status, moment), month: 202_001 };
        let resolved = self.desk().ledger.resolve_row(row.id, &resolution, NOW);
        if self.model.is_open() {
            assert_eq!(resolved.unwrap_err().kind(), LedgerErrorKind::OpenTransaction);
            return;
        }
        resolved.unwrap();
        self.model.rejected.remove(0);
        self.model.put(Event::MappedAgain { request, status, moment });
    }

    fn retry_records(&mut self) {
        if self.model.is_open() {
            return;
        }
        assert_eq!(self.desk().ledger.retry_records(NOW).unwrap(), self.refused.len() as u64);
        for (request, status, moment) in std::mem::take(&mut self.refused) {
            self.again.push((request, status, moment));
            self.model.put(Event::SentAgain { request, status, moment });
        }
    }

    /// Brings everything to its end and compares.
    fn end(mut self) {
        if self.model.is_open() {
            self.append(&[], true);
        }
        while !self.pages.is_empty() {
            self.pass_fence();
        }
        self.finish_copy();
        self.finish();
        self.desk().settle();
        self.check_counts();
        self.desk().ledger.request_backfill(EVER.0, EVER.1, NOW).unwrap();
        for backfill in [false, true] {
            self.start(backfill, false);
            while self.next().is_some() {
                self.acknowledge();
            }
            self.finish();
        }
        assert_eq!(self.desk().ledger.delta().unwrap().records, 0);
        self.check_order();
        self.check_audit();
    }

    /// A table that says what is known does not differ; one that says otherwise of one request differs in that.
    fn check_audit(&mut self) {
        let copied = "SELECT count(*) FROM copy WHERE kind = 0 AND state = 2";
        let ledger = rusqlite::Connection::open(self.desk().dir.path().join("ledger.sqlite")).unwrap();
        if ledger.query_row(copied, [], |row| row.get::<_, i64>(0)).unwrap() == 0 {
            return;
        }
        let known: Vec<_> = self.model.statuses().collect();
        let table = |altered: Option<usize>| {
            let status = |place, status| if altered == Some(place) { 20 } else { status };
            let rows = known.iter().enumerate();
            let rows = rows.map(|(place, (request, known))| self.change(*request, status(place, *known), 0));
            page(&rows.collect::<Vec<_>>())
        };
        let tables: Vec<_> = (0..known.len()).map(|place| table(Some(place))).collect();
        let (same, requests) = (table(None), known.clone());
        assert_eq!(audit(self.desk(), &same).differences, Vec::<String>::new());
        for (table, (request, status)) in tables.iter().zip(requests) {
            let found = format!("different {} {status} 20", REQUESTS[request].1);
            assert_eq!(audit(self.desk(), table).differences, [found]);
        }
    }

    fn check_counts(&mut self) {
        let (captured, rejected) = (self.model.captured, self.model.rejected.len() as u64);
        let unknown = self.model.unknown_deletions;
        let refused = self.refused.len() as u64;
        let desk = self.desk();
        assert_eq!(desk.ledger.captured_changes().unwrap(), captured);
        let counts = desk.ledger.quarantine_counts().unwrap();
        assert_eq!((counts.rows, counts.records), (rejected + unknown, refused));
        let by_status: u64 = desk.ledger.delta_by_status().unwrap().values().sum();
        assert_eq!(desk.ledger.delta().unwrap().records, by_status);
    }

    fn check_order(&self) {
        let carried: BTreeMap<i64, i64> =
            self.model.carried.values().map(|row| (row.moment, row.seq)).collect();
        for (request, name) in REQUESTS.iter().enumerate() {
            let sent: Vec<_> = self.sent.iter().filter(|(of, ..)| *of == request).collect();
            let expected = self.expected(request);
            let is_row = |moment: &i64| carried.contains_key(moment) && !self.was_refused(*moment);
            let (rows, records): (Vec<_>, Vec<_>) =
                sent.iter().copied().partition(|(_, _, moment)| is_row(moment));
            let records: Vec<_> = records.iter().map(|(_, status, moment)| (*status, *moment)).collect();
            assert_eq!(records, expected, "records of {name:?}");
            let unique: BTreeSet<_> = rows.iter().map(|(_, _, moment)| *moment).collect();
            assert_eq!(unique.len(), rows.len(), "a row of a copy was sent twice");
            self.check_rows(request, &sent);
        }
    }

    /// The records that the model owes for a request, in order: those that were refused went to quarantine.
    fn expected(&self, request: Request) -> Vec<(u8, i64)> {
        let mut refused: Vec<i64> = self
            .refused
            .iter()
            .chain(&self.again)
            .filter(|(of, ..)| *of == request)
            .map(|(_, _, moment)| *moment)
            .collect();
        // The first refusal of a copy's row concerns no record: that came when the row was sent again.
        for row in self.model.carried.values() {
            if let Some(found) = refused.iter().position(|moment| *moment == row.moment) {
                refused.remove(found);
            }
        }
        let mut expected = Vec::new();
        for Record { status, moment, .. } in
            self.model.records.iter().filter(|record| record.request == request)
        {
            match refused.iter().position(|refused| refused == moment) {
                Some(found) => drop(refused.remove(found)),
                None => expected.push((*status, *moment)),
            }
        }
        expected
    }

    fn was_refused(&self, moment: i64) -> bool {
        self.refused.iter().chain(&self.again).any(|(_, _, refused)| *refused == moment)
    }

    /// Every row of a copy left, before any record that came after it, or was overtaken by such a record.
    fn check_rows(&self, request: Request, sent: &[&(Request, u8, i64)]) {
        for ((_, of), row) in self.model.carried.iter().filter(|((_, of), _)| *of == request) {
            let place = sent.iter().position(|(_, _, moment)| *moment == row.moment);
            let Some(place) = place else {
                let overtaken = self.model.has_record_behind(*of, row.seq) || self.was_refused(row.moment);
                assert!(overtaken, "the row {row:?} of {:?} never left", REQUESTS[request]);
                continue;
            };
            if self.was_refused(row.moment) {
                continue;
            }
            let early = sent[..place].iter().find(|(_, _, moment)| {
                self.model.records.iter().any(|record| record.moment == *moment && record.seq > row.seq)
            });
            assert_eq!(early, None, "left before the row {row:?} of {:?}", REQUESTS[request]);
        }
    }
}

fn key_of(request: Request) -> normalizer::RequestKey {
    let (service, id) = REQUESTS[request];
    key(service, id)
}

fn request_of(service: &str, id: &str) -> Request {
    REQUESTS.iter().position(|request| *request == (service, id)).unwrap()
}

fn parse(batch: &Batch) -> Vec<(Request, u8, i64)> {
    let parse = |line: &String| {
        let parts: Vec<_> = line.split(' ').collect();
        (request_of(parts[0], parts[1]), parts[2].parse().unwrap(), parts[3].parse().unwrap())
    };
    lines(batch).iter().map(parse).collect()
}
