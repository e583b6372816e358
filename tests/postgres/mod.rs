//! PostgreSQL as a backend of the conformance suite, and what only PostgreSQL has.
//!
//! - `backend`: the backend
//! - `identity`: replica identities
//! - `lost_log`: the ways in which a slot is lost
//! - `rights`: the least that the product's user needs
//! - `server_settings`: servers that are set up differently
//! - `slot`: what happens to the slot, and slots that exist already
//! - `tables`: names, partitions, changes of the table
//! - `transactions`: prepared ones, upserts, publications of other tables
//! - `types`: columns of other types

mod backend;
mod identity;
mod lost_log;
mod rights;
mod server_settings;
mod slot;
mod tables;
mod transactions;
mod types;

pub(crate) use backend::{Distribution, Postgres, V18};

crate::conformance::suite!(distribution: Postgres<Distribution>);
crate::conformance::suite!(quick version_18: Postgres<V18>);
crate::conformance::tests! { Postgres<Distribution>, disk::a_full_ledger_stops_capture_and_loses_nothing }

/// Makes each of the named cases a test on both versions.
macro_rules! on_both_versions {
    ($($case:ident),* $(,)?) => {
        mod distribution {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    Box::pin(super::$case::<crate::postgres::Distribution>()).await;
                }
            )*
        }
        mod version_18 {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    Box::pin(super::$case::<crate::postgres::V18>()).await;
                }
            )*
        }
    };
}

use on_both_versions;
