//! `[ledger]`: where the ledger is, and how much of the disk is its.

use std::path::PathBuf;

use super::item::Item;
use super::reader::Section;

/// `[ledger]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerConfig {
    /// The ledger's folder.
    pub dir: PathBuf,
    /// How many days acknowledged records stay.
    pub keep_days: u32,
    /// Bytes that the ledger may take at most; without it only `min_free` limits it.
    pub max_size: Option<u64>,
    /// Bytes that must stay free on the ledger's disk: capture stops before.
    pub min_free: u64,
}

const MIB: u64 = 1 << 20;
const MIN_FREE_DEFAULT: u64 = 256 * MIB;
const SIZE_LIMITS: (u64, u64) = (64 * MIB, 1 << 50);
const FREE_LIMITS: (u64, u64) = (16 * MIB, 1 << 50);

pub(super) fn read(section: &Section<'_, '_>) -> Option<LedgerConfig> {
    let dir = section.required("dir").and_then(|item| item.path());
    let keep_days = section.or("keep_days", 90, |item| item.integer((1, 36_500))?.try_into().ok());
    let max_size = section.maybe("max_size", |item| item.size(SIZE_LIMITS));
    let min_free = section.or("min_free", MIN_FREE_DEFAULT, |item| Item::size(item, FREE_LIMITS));
    Some(LedgerConfig { dir: dir?, keep_days: keep_days?, max_size: max_size?, min_free: min_free? })
}
