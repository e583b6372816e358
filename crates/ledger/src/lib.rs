//! What survives power loss: status changes, last known statuses, position, deliveries, quarantine,
//! backfill.
//!
//! One SQLite file in write-ahead mode, `ledger.sqlite`, written by one process and read by any:
//! operators can open it with tools they know. [`Ledger`] writes; [`LedgerReader`] reads beside it.
//!
//! # How a change becomes a record
//! 1. **Ingest** appends what the stream brings, in the order of the log, together with the position, in
//!    one commit. Rows of a transaction whose commit has not been read are *open*: nobody sees them.
//!    They are packed, many rows into one, until they are settled.
//! 2. **Settle** takes slices of the log sorted by request and merges them with the last known statuses: a
//!    candidate that repeats what is known goes, everything else stays as a status change. This is the
//!    only place where the known statuses are touched, so that ingest stays a pure append.
//! 3. **Flush** seals what is settled and cuts it into batches, each stored with its bytes until the
//!    dashboard's answer is known, so that a repeat is identical.
//!
//! # Copies
//! A copy of the table is staged apart from the log and merged at a *marker*, a place in the log: a fenced
//! page's marker is put when the stream has passed the page's fence, an exact copy's when it is complete.
//! What the stream touched since the copy began comes by the stream; the rest comes from the copy.
//!
//! # What must hold
//! - A log row is never altered before it is settled, and the seq of a row is its place in the log.
//! - Rows of one request leave in the order of their seqs, the backfill's row before them.
//! - Whatever is neither acknowledged nor in quarantine is in the delta or waits for the backfill.
//! - No step holds more than a batch, a page or a slice of a copy in memory.
//!
//! # Layout
//! - [`Ledger`], [`Queries`], [`LedgerReader`]: who may do what; `lock`, `owner`, `schema`, `meta`: the file
//! - `ingest`, `captured_rows`, `captured_block`, `log_row`: appending; `settle`, `known`, `row_owner`: what the appended rows mean
//! - `copy`, `copy_state`, `staged`, `absorb`: copies of the table; `packing`: how packed rows lie in blocks;
//!   `backfill`, `progress`: their delivery
//! - `history`, `absorb_history`: tables of which each row is a status change
//! - `flush`, `form`, `form_backfill`, `draft`, `shard`, `batch`, `verdict`: batches and what became of them; `delta`: what is owed
//! - `quarantine`, `retry`: what could not be mapped or was refused; `gap`: logs that were lost
//! - `audit`, `audit_compare`, `audit_owed`, `tally`: the table compared with what was told; `repair`: telling what differs
//! - `explain`: the life of one request; `prune`: forgetting what was acknowledged long ago

mod absorb;
mod absorb_history;
mod audit;
mod audit_compare;
mod audit_owed;
mod audit_tables;
mod backfill;
mod batch;
mod captured_block;
mod captured_rows;
mod cells;
mod copy;
mod copy_state;
mod copy_turn;
mod declared;
mod delta;
mod draft;
mod error;
mod explain;
mod flush;
mod form;
mod form_backfill;
mod gap;
mod history;
mod ingest;
mod join;
mod joined_copy;
mod known;
mod ledger;
mod lock;
mod log_row;
mod meta;
mod owner;
mod packing;
mod parents;
mod progress;
mod prune;
mod quarantine;
mod queries;
mod reader;
mod rehearsal;
mod repair;
mod retry;
mod row_owner;
mod schema;
mod settle;
mod shard;
mod staged;
mod table_counts;
mod table_id;
mod tally;
mod unjoined;
mod unpack;
mod verdict;
mod waiting;

pub use audit::{Audit, AuditScope, Difference, DifferenceKind, KnownSide, MonthAudit};
pub use batch::{Batch, BatchId, BodyBuilder};
pub use captured_rows::CapturedRows;
pub use copy::{CopyId, CopyKind, NewCopy, PageId, StagedPage};
pub use copy_state::{CopyProgress, Unfinished};
pub use declared::{Declared, ShapeId};
pub use delta::Delta;
pub use error::{LedgerError, LedgerErrorKind};
pub use explain::{LifeEvent, LifeState};
pub use flush::{FlushId, FlushKind, FlushResult, FlushRow};
pub use form::Limits;
pub use gap::{Gap, GapFound, GapId, OpenGap};
pub use ingest::{Captured, Entry, Ingest, RejectedRow};
pub use ledger::{Durable, Ledger};
pub use log_row::Origin;
pub use progress::{BackfillMonth, BackfillState, BackfillStatus};
pub use prune::Pruned;
pub use quarantine::{QuarantineCounts, QuarantineId, QuarantineItem, QuarantineKind, RowForRetry};
pub use queries::Queries;
pub use reader::LedgerReader;
pub use rehearsal::Rehearsal;
pub use repair::{Repair, RepairAt};
pub use retry::{Discard, Resolution};
pub use settle::Settled;
pub use shard::Shard;
pub use staged::StagedRows;
pub use table_counts::TableCounts;
pub use table_id::TableId;
pub use tally::Tallies;
pub use unjoined::{Unjoined, UnjoinedRows};
