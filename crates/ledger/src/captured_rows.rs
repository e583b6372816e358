//! Captured changes on their way to the ledger's thread.
//!
//! They are packed where they are captured: the ledger's thread takes bytes over, and need not read and drop texts and
//! shares of transactions that another thread made.

use crate::captured_block::Packer;
use crate::ingest::Captured;

/// Row changes that may matter, packed, in the order of the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CapturedRows {
    captured_at: i64,
    committed_at: Option<i64>,
    count: usize,
    full: Vec<Packer>,
    last: Packer,
}

impl CapturedRows {
    /// None yet, of a piece of the log that was read at `captured_at`, in microseconds since the epoch.
    #[must_use]
    pub fn new(captured_at: i64) -> Self {
        Self { captured_at, ..Self::default() }
    }

    /// All of these, captured at the same moment.
    #[must_use]
    pub fn pack<'a>(captured_at: i64, rows: impl IntoIterator<Item = &'a Captured>) -> Self {
        let mut packed = Self::new(captured_at);
        for row in rows {
            packed.push(row);
        }
        packed
    }

    /// Adds the next one.
    pub fn push(&mut self, captured: &Captured) {
        self.last.push(captured, self.captured_at);
        self.committed_at = Some(captured.transaction.committed_at);
        self.count += 1;
        if self.last.is_full() {
            self.full.push(std::mem::take(&mut self.last));
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// When the piece was read, in microseconds since the epoch.
    pub(crate) fn captured_at(&self) -> i64 {
        self.captured_at
    }

    /// When the last one's transaction committed, in microseconds since the epoch.
    pub(crate) fn committed_at(&self) -> Option<i64> {
        self.committed_at
    }

    /// The packed rows, in pieces no larger than a block.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = &Packer> {
        self.full.iter().chain([&self.last])
    }
}
