//! One process at a time writes the ledger, and the file that says so names it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use crate::error::{LedgerError, LedgerErrorKind};
use crate::owner::give_to_owner_of;

/// Of the holder's name, so much is read at most: the file may hold anything.
const HOLDER_BYTES_MAX: u64 = 400;

/// Held as long as it lives; the operating system gives it up when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of `dir` in the name of `holder`, such as `bitacora run since 2026-11-22T02:00:00Z`.
    ///
    /// # Errors
    /// [`LedgerErrorKind::Held`], naming the holder.
    pub(crate) fn take(dir: &Path, holder: &str) -> Result<Self, LedgerError> {
        let path = dir.join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| LedgerError::io(format!("open the lock {}", path.display()), error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(held(dir, &mut file)),
            Err(TryLockError::Error(error)) => {
                return Err(LedgerError::io(format!("lock {}", path.display()), error));
            }
        }
        let named = give_to_owner_of(dir, &file)
            .and_then(|()| file.set_len(0))
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "pid {} {holder}", std::process::id()));
        named.map_err(|error| LedgerError::io(format!("write the lock {}", path.display()), error))?;
        Ok(Self { _file: file })
    }
}

fn held(dir: &Path, file: &mut File) -> LedgerError {
    let mut bytes = Vec::new();
    // A holder that cannot be named still holds.
    let read = file.take(HOLDER_BYTES_MAX).read_to_end(&mut bytes).is_ok();
    let text = String::from_utf8_lossy(&bytes);
    let holder = match text.trim() {
        named if read && !named.is_empty() => named,
        _ => "another process",
    };
    LedgerError::new(LedgerErrorKind::Held, format!("the ledger in {} is held by {holder}", dir.display()))
}
