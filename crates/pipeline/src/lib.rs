//! The loops of the product.
//!
//! ```text
//!  connector ──► capture ──► ledger thread ══► courier ──► dashboard
//!                  │  ▲          ▲    ▲           │
//!                  │  └ position ┘    └ verdicts ─┘
//!                  └─► copier (snapshots: first copy, repair)
//! ```
//!
//! Capture runs all day and is durable at once; the courier delivers at its own hours. Both talk to one
//! [`LedgerThread`], which owns the ledger, so that every write is one queue and one order.
//!
//! # What must hold
//! - The log is acknowledged only after the ledger has committed: [`capture`].
//! - Nothing here knows an engine: the [`change::Source`] is a type parameter.
//! - Every queue is bounded, and every loop ends when the shutdown token is cancelled.
//!
//! # Layout
//! - [`settings`]: what the loops need to know
//! - [`ledger_thread`]: the one place where the ledger is written
//! - [`capture`]: connect, begin, repair, stream, reconnect
//! - [`copier`]: snapshots into the ledger, exact and fenced
//! - [`ingest`]: row changes to ledger entries
//! - `audit`: the table compared with what the dashboard was told; `throttle`: how fast the table may be read
//! - [`courier`], `flush_run`, `lanes`, `delivery_attempts`: flush and backfill, batch by acknowledged batch
//! - `pace`, `hours`, `body_limit`, `waiting`: how fast, when, how large; and how long the endpoint takes
//! - `delivery_loop`: when which of them leaves
//! - [`schedule`], [`window`]: when
//! - [`upkeep`]: settling, pruning, disk budget
//! - `lookout`: what calls for attention though nothing failed
//! - [`health`]: what is going on, as others may see it
//! - `pulse`: whether the loops still turn

mod audit;
mod body_limit;
mod capture;
mod copier;
mod courier;
mod delivery_attempts;
mod delivery_loop;
mod error;
mod flush_run;
mod health;
mod hours;
mod ingest;
mod lanes;
mod ledger_thread;
mod lookout;
mod pace;
mod pipeline;
mod pulse;
mod quarantine;
mod room;
mod schedule;
mod settings;
mod status;
mod stream_pump;
mod throttle;
mod upkeep;
mod waiting;
mod window;

pub use audit::{Auditor, Comparison, Told};
pub use courier::{Courier, DeliveryProgress, FlushReport, FlushResult};
pub use error::PipelineError;
pub use health::{Alert, Health, SourceState};
pub use ledger_thread::LedgerThread;
pub use pipeline::{BackfillRange, Deliveries, Parts, Pipeline, Requests};
pub use quarantine::{RetryReport, retry_quarantine};
pub use schedule::{Schedule, ScheduleError, Times};
pub use settings::{CaptureSettings, DeliverySettings, GroupBy, LookoutSettings, Settings, UpkeepSettings};
pub use status::{LastFlush, Status, TableStatus, status};
pub use window::Window;
