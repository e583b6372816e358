//! The connector on the stand-in of SQL Server.

mod beginning;
mod capturing;
mod connecting;
mod copying;
mod database;
mod instances;
mod losing;
mod polling;
mod streaming;
