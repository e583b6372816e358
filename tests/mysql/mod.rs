//! MySQL and MariaDB as backends of the conformance suite, and what only they have.
//!
//! - `backend`: the backends
//! - `lost_log`: purged, reset, restored and replaced logs
//! - `positions`: files, offsets and numbers of transactions
//! - `rights`: the least that the product's user needs, log-in, TLS
//! - `row_images`: what a server leaves out of its log
//! - `server_settings`: zones, metadata, checksums, formats
//! - `tables`: names, changes of the table, swapped tables
//! - `transactions`: XA, compression, upserts, partial JSON
//! - `types`: columns of other types

mod backend;
mod lost_log;
mod positions;
mod rights;
mod row_images;
mod server_settings;
mod tables;
mod transactions;
mod types;

use backend::{MariaDb, MySql, Mysql};

crate::conformance::suite!(mysql: Mysql<MySql>);
crate::conformance::suite!(mariadb: Mysql<MariaDb>);

/// Makes each of the named cases a test on both products.
macro_rules! on_both_products {
    ($($case:ident),* $(,)?) => {
        mod mysql {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    Box::pin(super::$case::<crate::mysql::MySql>()).await;
                }
            )*
        }
        mod mariadb {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    Box::pin(super::$case::<crate::mysql::MariaDb>()).await;
                }
            )*
        }
    };
}

use on_both_products;
