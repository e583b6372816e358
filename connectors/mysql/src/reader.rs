//! From events to changes: what each event of the log means, in which transaction it stands, and where.

use std::error::Error as _;
use std::io::Read;

use change::{Batch, Change, Position, SourceError, SourceErrorKind};

use crate::assembly::Assembly;
use crate::binlog::event::{Checksum, Header, kind};
use crate::binlog::familiar::Familiar;
use crate::binlog::group::{Begin, Prepare, Xid};
use crate::binlog::payload::Payload;
use crate::binlog::query::Query;
use crate::binlog::rows::{Rows, RowsKind};
use crate::binlog::statement::{Meaning, meaning};
use crate::binlog::{DecodeError, rows};
use crate::changes::Changes;
use crate::gtid::{Gtid, GtidSet};
use crate::place::Tracker;
use crate::position::{LogPosition, Place};
use crate::prepared::{Prepared, committed_by};
use crate::pump::End;
use crate::tables::Tables;

mod open;

use open::Open;

/// Takes full batches while an event is being read.
pub(crate) trait Outlet {
    /// Waits until there is room for the batch.
    ///
    /// # Errors
    /// When the stream is not wanted any more.
    fn deliver(&mut self, batch: Batch) -> Result<(), End>;
}

/// Reads the log, event by event.
pub(crate) struct Reader {
    pub(crate) tables: Tables,
    pub(crate) assembly: Assembly,
    pub(crate) prepared: Prepared,
    tracker: Tracker,
    checksum: Checksum,
    gtids: Option<GtidSet>,
    learns_gtids: bool,
    open: Option<Open>,
    familiar: Familiar,
}

impl Reader {
    /// Starts at a position that is durable already.
    pub(crate) fn new(tables: Tables, tracker: Tracker, gtids: Option<GtidSet>, checksum: Checksum) -> Self {
        Self {
            tables,
            assembly: Assembly::default(),
            prepared: Prepared::default(),
            tracker,
            checksum,
            gtids,
            learns_gtids: false,
            open: None,
            familiar: Familiar::default(),
        }
    }

    /// The file that is read from its beginning tells the GTIDs that the position lacks.
    pub(crate) fn learn_gtids(&mut self) {
        self.learns_gtids = true;
    }

    /// How far everything has been read.
    pub(crate) fn position(&self) -> LogPosition {
        LogPosition {
            place: self.tracker.reached().cloned(),
            gtids: self.gtids.clone(),
            prepared: self.prepared.oldest().cloned(),
        }
    }

    /// Whether the log has been read up to `end`.
    pub(crate) fn has_reached(&self, end: &Place) -> bool {
        self.tracker.reached().is_some_and(|reached| reached >= end)
    }

    /// How events are protected just now.
    pub(crate) fn checksum(&self) -> Checksum {
        self.checksum
    }

    /// Takes in a whole event.
    ///
    /// # Errors
    /// When it cannot be decoded, or tells that changes are lost.
    pub(crate) fn event(&mut self, event: &[u8], outlet: &mut dyn Outlet) -> Result<(), End> {
        let (header, body) =
            self.checksum.open(event).map_err(|fault| fault.within(&self.tracker.event_end()))?;
        self.tracker.enter(&header);
        self.apply(&header, body, outlet).map_err(|end| self.placed(end))?;
        self.tracker.leave(self.open.is_none());
        if self.tracker.take_advanced() {
            self.assembly.note_moved();
        }
        Ok(())
    }

    /// Takes in a compressed transaction, of which header and body come apart; `body` ends before the checksum.
    ///
    /// # Errors
    /// As for [`Reader::event`].
    pub(crate) fn long_payload(
        &mut self,
        header: &Header,
        body: impl Read,
        outlet: &mut dyn Outlet,
    ) -> Result<(), End> {
        self.tracker.enter(header);
        self.payload(body, outlet).map_err(|end| self.placed(end))
    }

    /// The end with the place of the event that could not be decoded.
    fn placed(&self, end: End) -> End {
        let End::Failed(error) = &end else { return end };
        match error.source().and_then(|cause| cause.downcast_ref::<DecodeError>()) {
            Some(fault) => fault.clone().within(&self.tracker.event_start()).into(),
            None => end,
        }
    }

    fn payload(&mut self, body: impl Read, outlet: &mut dyn Outlet) -> Result<(), End> {
        let mut payload = Payload::open(body)?;
        while let Some((header, body)) = payload.next_event()? {
            if header.kind == kind::TRANSACTION_PAYLOAD {
                return Err(DecodeError::OutOfOrder("compressed transaction within another").into());
            }
            self.apply(&header, body, outlet)?;
        }
        match &self.open {
            // A payload that lacks its end would lose what was cut off.
            Some(_) => Err(DecodeError::OutOfOrder("compressed transaction without a commit").into()),
            None => Ok(()),
        }
    }

    fn apply(&mut self, header: &Header, body: &[u8], outlet: &mut dyn Outlet) -> Result<(), End> {
        if let Some(rows) = RowsKind::of(header.kind) {
            return self.rows(rows, body, outlet);
        }
        match header.kind {
            kind::TABLE_MAP => Ok(self.tables.describe(body)?),
            kind::XID => {
                self.commit();
                Ok(())
            }
            kind::QUERY | kind::EXECUTE_LOAD_QUERY | kind::MARIA_QUERY_COMPRESSED => {
                Ok(self.query(header.kind, body)?)
            }
            kind::GTID | kind::ANONYMOUS_GTID | kind::GTID_TAGGED | kind::MARIA_GTID => {
                Ok(self.begin(header, body)?)
            }
            kind::XA_PREPARE => Ok(self.prepare(&Prepare::read(body)?)?),
            kind::TRANSACTION_PAYLOAD => self.payload(body, outlet),
            kind::ROTATE | kind::FORMAT_DESCRIPTION => {
                self.tables.forget_numbers();
                if header.kind == kind::FORMAT_DESCRIPTION && header.is_in_file() {
                    // A server that died in the middle of a transaction begins a new file.
                    self.roll_back()?;
                }
                Ok(self.tracker.rotate(header, body)?)
            }
            kind::HEARTBEAT | kind::HEARTBEAT_V2 => {
                Ok(self.tracker.heartbeat(header, body, self.open.is_none())?)
            }
            kind::PREVIOUS_GTIDS => Ok(self.learn(body)?),
            kind::INCIDENT => {
                Err(self.lost("the server lost changes before it could log them (INCIDENT event)").into())
            }
            kind::STOP
            | kind::INTVAR
            | kind::APPEND_BLOCK
            | kind::DELETE_FILE
            | kind::RAND
            | kind::USER_VAR
            | kind::BEGIN_LOAD_QUERY
            | kind::IGNORABLE
            | kind::ROWS_QUERY
            | kind::TRANSACTION_CONTEXT
            | kind::VIEW_CHANGE
            | kind::MARIA_ANNOTATE_ROWS
            | kind::MARIA_BINLOG_CHECKPOINT
            | kind::MARIA_GTID_LIST
            | kind::MARIA_START_ENCRYPTION => Ok(()),
            _ if header.is_ignorable() => Ok(()),
            unknown => Err(DecodeError::UnknownEvent(unknown).into()),
        }
    }

    fn begin(&mut self, header: &Header, body: &[u8]) -> Result<(), SourceError> {
        if self.open.is_some() && self.assembly.has_open() {
            return Err(DecodeError::OutOfOrder("transaction within another").into());
        }
        let begin = Begin::read(header.kind, header.server, body)?;
        self.open = Some(Open::announced(&self.tracker, begin));
        Ok(())
    }

    /// A file of MySQL begins with what lies before it: where our position lacks GTIDs, they are counted from here on.
    fn learn(&mut self, body: &[u8]) -> Result<(), DecodeError> {
        if std::mem::take(&mut self.learns_gtids) {
            self.gtids = Some(GtidSet::decode(body)?);
        }
        Ok(())
    }

    fn query(&mut self, event: u8, body: &[u8]) -> Result<(), SourceError> {
        let query = Query::read(event, body)?;
        let meaning = meaning(&query.text, query.database, self.tables.subjects());
        let old = self.open.as_ref().is_some_and(|open| open.old);
        match meaning {
            Meaning::Begin | Meaning::XaStart => {
                let open = self.open.get_or_insert_with(|| Open::unannounced(&self.tracker));
                open.begun = true;
                open.xa |= meaning == Meaning::XaStart;
                return Ok(());
            }
            Meaning::Commit => {
                self.commit();
                return Ok(());
            }
            Meaning::Rollback => {
                self.roll_back()?;
                self.commit();
                return Ok(());
            }
            Meaning::RollbackPart if self.assembly.has_open() => {
                return Err(
                    self.lost("a transaction was rolled back in part after it changed a captured table")
                );
            }
            Meaning::XaCommit(xid) => self.xa_commit(&xid)?,
            Meaning::XaRollback(xid) => drop(self.prepared.take(&xid)),
            Meaning::Changed if !old => {
                return Err(self
                    .lost("a statement that names a captured table was logged as such, not row by row")
                    .with_hint("a session has set binlog_format to STATEMENT or MIXED: find it, and take that right away"));
            }
            Meaning::Emptied(ours) => {
                for table in ours {
                    self.tables.emptied(table);
                    if !old {
                        let position = Position::new(self.tracker.event_start().to_string());
                        self.assembly.add_truncation(table, position);
                    }
                }
            }
            Meaning::Defined { ours, opens } => {
                for table in ours {
                    self.tables.redefined(table, &self.tracker.event_start())?;
                }
                if opens && let Some(open) = &mut self.open {
                    open.begun = true;
                }
            }
            Meaning::Aside | Meaning::ChangedOther | Meaning::RollbackPart | Meaning::Changed => {}
        }
        if !self.open.as_ref().is_some_and(|open| open.begun) {
            self.commit();
        }
        Ok(())
    }

    fn xa_commit(&mut self, xid: &Xid) -> Result<(), SourceError> {
        let Some(changes) = self.prepared.take(xid) else {
            return Err(
                self.lost("an XA transaction was committed that had been prepared before reading began")
            );
        };
        let open = self.open.get_or_insert_with(|| Open::unannounced(&self.tracker));
        if open.old {
            return Ok(());
        }
        let transaction = open.transaction();
        for (change, bytes) in changes {
            self.assembly.add(committed_by(change, &transaction), bytes);
        }
        Ok(())
    }

    fn prepare(&mut self, prepare: &Prepare) -> Result<(), SourceError> {
        let mut open = self.open.take().unwrap_or_else(|| Open::unannounced(&self.tracker));
        if prepare.one_phase {
            let changes = self.prepared.take_open();
            let transaction = open.transaction();
            for (change, bytes) in changes.into_iter().filter(|_| !open.old) {
                self.assembly.add(committed_by(change, &transaction), bytes);
            }
        } else {
            self.prepared.prepare(prepare.xid.clone(), open.place.clone())?;
        }
        self.open = Some(open);
        self.commit();
        Ok(())
    }

    /// Everything up to here is committed.
    fn commit(&mut self) {
        if let Some(open) = self.open.take()
            && let (Some(gtids), Some(gtid)) = (&mut self.gtids, &open.gtid)
            && (!open.old || matches!(gtid, Gtid::MySql { .. }))
        {
            // MariaDB's sets know the last transaction only: an old one would set them back.
            gtids.add(gtid);
        }
        self.tracker.commit();
        self.assembly.commit();
    }

    fn roll_back(&mut self) -> Result<(), SourceError> {
        drop(self.prepared.take_open());
        if self.assembly.roll_back() {
            return Ok(());
        }
        Err(self.lost("a large transaction was rolled back after parts of it had been read"))
    }

    fn rows(&mut self, kind: RowsKind, body: &[u8], outlet: &mut dyn Outlet) -> Result<(), End> {
        let id = rows::table_of(body)?;
        let Some(table) = self.tables.ours(id)? else { return Ok(()) };
        let Some(open) = &mut self.open else {
            return Err(DecodeError::OutOfOrder("row change outside a transaction").into());
        };
        if open.old && !open.xa {
            return Ok(());
        }
        let layout = self.tables.layout_of(id, table)?;
        let (transaction, xa) = (open.transaction(), open.xa);
        let rows = Rows::read(kind, body)?;
        let mut changes = Changes::new((table, &layout), kind, &rows, &transaction)?;
        while let Some((change, bytes)) = changes.next_change(&mut self.familiar)? {
            self.take(change, bytes, xa, outlet)?;
        }
        Ok(())
    }

    fn take(&mut self, change: Change, bytes: usize, xa: bool, outlet: &mut dyn Outlet) -> Result<(), End> {
        if xa {
            return Ok(self.prepared.hold(change, bytes)?);
        }
        self.assembly.add(change, bytes);
        if self.assembly.is_full() {
            let position = self.position();
            if let Some(batch) = self.assembly.take_full(|| position.to_position()) {
                outlet.deliver(batch)?;
            }
        }
        Ok(())
    }

    fn lost(&self, what: &str) -> SourceError {
        let place = self.tracker.event_start();
        SourceError::new(SourceErrorKind::LostLog, format!("{what}, at {place}"))
    }
}

#[cfg(test)]
mod tests;
