//! Tests that need the machine for themselves.

use tokio::sync::{Semaphore, SemaphorePermit};

/// One permit: tests that move hundreds of thousands of rows, or judge memory and deadlines, follow each other.
static ALONE: Semaphore = Semaphore::const_new(1);

/// Waits until no other heavy test of this process runs. Runners with one process per test have a group for
/// the same purpose, in `.config/nextest.toml`.
pub(crate) async fn alone() -> SemaphorePermit<'static> {
    ALONE.acquire().await.unwrap()
}
