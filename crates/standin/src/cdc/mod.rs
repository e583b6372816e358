//! Change data capture, after its documentation.
//!
//! <https://learn.microsoft.com/en-us/sql/relational-databases/track-changes/about-change-data-capture-sql-server>

pub(crate) mod capture;
pub(crate) mod cleanup;
pub(crate) mod enable;
pub(crate) mod rows;
pub(crate) mod tables;
