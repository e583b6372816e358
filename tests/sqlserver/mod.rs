//! SQL Server as a backend of the conformance suite, and what only it has.
//!
//! - `backend`: the backend

mod backend;

use backend::SqlServer;

crate::conformance::suite!(sqlserver: SqlServer);
