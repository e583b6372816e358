//! The vocabulary between database engines and the product.
//!
//! A connector turns its engine's log into [`Batch`]es of [`Change`]s; the product never learns which
//! engine they came from. This crate holds no I/O, no statuses and no engine names.
//!
//! # Layout
//! - [`value`]: what a cell can hold, and rows of cells
//! - [`position`]: how far a log has been read, and on which server
//! - [`record`]: changes, transactions, batches, incidents
//! - [`condition`]: which rows of a table count
//! - [`dialect`]: the same in an engine's SQL, so that copies leave out what does not count
//! - [`finding`]: what `check` reports
//! - [`error`]: what went wrong, apart from what to do about it
//! - [`nearest`]: which existing names the operator may have meant
//! - [`table_name`]: a table's name as the configuration spells it
//! - [`source`]: the traits of the seam

pub mod condition;
pub mod dialect;
pub mod error;
pub mod finding;
pub mod nearest;
pub mod position;
pub mod record;
pub mod source;
pub mod table_name;
pub mod value;

pub use condition::{Condition, Literal, Operator};
pub use dialect::{Dialect, copied_rows};
pub use error::{BoxError, Retry, SourceError, SourceErrorKind, full_text};
pub use finding::{Finding, Removal, Severity, Statement};
pub use position::{Checkpoint, Position, ServerIdentity};
pub use record::{Batch, Change, Incident, Operation, Transaction};
pub use source::{
    Beginning, Begun, ChangeStream, Days, Inspection, Page, PageCursor, Retention, Scope, Since, Snapshot,
    SnapshotPlan, Source, TableScope,
};
pub use value::{Row, RowKey, Text, Value};
