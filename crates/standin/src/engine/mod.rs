//! Databases: what they hold, and transactions over it.

pub(crate) mod catalog;
pub(crate) mod database;
pub(crate) mod functions;
pub(crate) mod lsn;
pub(crate) mod moments;
mod pattern;
pub(crate) mod principals;
pub(crate) mod versions;
