//! MySQL and MariaDB servers.
//!
//! ```no_run
//! # async fn example() -> Result<(), testbed::TestbedError> {
//! use testbed::mysql::{Options, Product, Server, prelude::*};
//!
//! let server = Server::start(Options::new(Product::MySql).setting("binlog_row_metadata", "FULL"))?;
//! server.create_database("tramites").await?;
//! let mut client = server.connect("tramites").await?;
//! client.query_drop("CREATE TABLE solicitudes (numero varchar(40) PRIMARY KEY)").await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Layout
//! - `options`: which product, with which settings
//! - `binaries`: its programs, found or fetched
//! - `packages`: the place to fetch from
//! - `data_folder`: a new data folder
//! - `daemon`: the server's process
//! - `server`: what callers hold

mod binaries;
mod daemon;
mod data_folder;
mod options;
mod packages;
mod server;

pub use mysql_async::{Conn, Opts, prelude};
pub use options::{Options, Product};
pub use server::{Server, shared};
