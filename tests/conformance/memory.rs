//! Bounded memory, whatever the size of a transaction, the delta or the history.

use crate::support::backend::Backend;
use crate::support::heavy;
use crate::support::scene::Scene;

/// Kept whole, their changes would take several times what is allowed. The benchmark has a million.
const ROWS: u64 = 400_000;
const MIB: u64 = 1 << 20;

/// What is promised under such a transaction.
const RESIDENT_MAX: u64 = 96 * MIB;

pub(crate) async fn a_huge_transaction_needs_little_memory<B: Backend>() {
    let _alone = heavy::alone().await;
    // On a server of its own: other slots of the server would have to read through it as well.
    let scene = Scene::<B>::own(|_| {}).await;
    let daemon = scene.product.run().await;
    scene.backend.insert_many(ROWS, "2021-01-01").await;
    let status = daemon.captured(ROWS).await;
    assert_eq!(status["captured_changes"], ROWS);
    let streamed = daemon.peak_memory();
    assert!(streamed <= RESIDENT_MAX, "{} MiB after the transaction", streamed / MIB);
    daemon.delta(ROWS).await;
    scene.product.flush().await;
    assert_eq!(scene.dashboard.count() as u64, ROWS);
    let flushed = daemon.peak_memory();
    assert!(flushed <= RESIDENT_MAX, "{} MiB after the flush", flushed / MIB);
    println!("resident at most: {} MiB streaming, {} MiB flushing", streamed / MIB, flushed / MIB);
    daemon.stop().await;
}
