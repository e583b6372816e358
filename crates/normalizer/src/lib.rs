//! What a row change *means*: mapping, catalogue of statuses, status changes, rejections.
//!
//! Everything here is a pure function of its arguments: no I/O, no clock, no async. A row that cannot be
//! mapped is a value, [`Rejection`], and never the end of a stream.
//!
//! # Layout
//! - [`Mapping`]: which column is which field, checked once (`mapping`, `field`, `derived`)
//! - [`Tables`]: all mapped tables and their parents (`tables`), and rows with their parents' columns (`join`)
//! - [`parse_condition`]: which rows count (`condition`), and what a row says to that (`filter`)
//! - [`normalize`]: a change to a record, or to the reason why it is none (`normalize`)
//! - [`store_change`], [`normalize_stored`]: rows in quarantine, and out of it (`stored_row`)
//! - [`Rejection`]: why a row cannot be mapped (`rejection`)
//! - [`StatusChange`], [`RequestKey`]: what the dashboard is told (`status_change`)
//! - [`status`]: the catalogue of the 21 statuses (`catalogue`)
//! - times: texts and cells to moments (`time`), and which instant a local time means when clocks change
//!   (`zone`)

mod catalogue;
mod condition;
mod day;
mod derived;
mod field;
mod filter;
mod join;
mod mapping;
mod normalize;
mod rejection;
#[cfg(test)]
mod sample;
mod status_change;
mod stored_row;
mod tables;
mod time;
mod zone;

pub use catalogue::{Category, Status, all, status};
pub use condition::{ConditionError, parse_condition};
pub use day::{first_instant, month_of};
pub use field::{Field, TimeField};
pub use join::{Join, JoinConfig, Mapped, Mirror};
pub use mapping::{Mapping, MappingConfig, MappingError, OnDelete, Rows};
pub use normalize::{Normalized, NormalizedRow, normalize, normalize_row, whole_row};
pub use rejection::{Rejection, rejection_hint};
pub use status_change::{RequestKey, StatusChange};
pub use stored_row::{
    Find, complete_stored, missing_parent, missing_table, normalize_stored, readable_row, restore_row,
    store_change, store_joined, store_row,
};
pub use tables::{Table, TableConfig, TableError, Tables};
