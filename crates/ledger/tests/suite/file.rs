//! The ledger's file: who may open it, and what it says when it cannot be opened.

use std::fs;
use std::path::Path;

use ledger::{Ledger, LedgerErrorKind, LedgerReader};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::arrange::{Desk, change, open, record};

fn file(dir: &Path) -> std::path::PathBuf {
    dir.join("ledger.sqlite")
}

#[test]
fn a_second_process_is_told_who_holds_the_ledger() {
    let desk = Desk::new();
    let error = Ledger::open(desk.dir.path(), "bitacora flush").unwrap_err();
    assert_eq!(error.kind(), LedgerErrorKind::Held);
    let expected = format!(
        "the ledger in {} is held by pid {} bitacora test since 2026-11-22T02:00:00Z",
        desk.dir.path().display(),
        std::process::id()
    );
    assert_eq!(error.to_string(), expected);
    desk.reopen();
}

#[test]
fn a_reader_sees_what_the_writer_commits() {
    let mut desk = Desk::new();
    let reader = LedgerReader::open(desk.dir.path()).unwrap();
    assert_eq!(reader.delta().unwrap().records, 0);
    desk.commit(vec![record("101 A 9")]);
    desk.settle();
    assert_eq!(reader.queries().delta().unwrap().records, 1);
    let Desk { ledger, dir } = desk;
    drop(ledger);
    assert_eq!(LedgerReader::open(dir.path()).unwrap().delta().unwrap().records, 1);
}

#[test]
fn a_reader_without_a_ledger_says_so_and_makes_none() {
    let dir = TempDir::new().unwrap();
    let error = LedgerReader::open(dir.path()).unwrap_err();
    assert_eq!(error.kind(), LedgerErrorKind::Missing);
    assert_eq!(error.to_string(), format!("no ledger in {}", dir.path().display()));
    assert!(!file(dir.path()).exists());
}

#[cfg(unix)]
#[test]
fn whoever_opens_the_ledger_its_files_belong_to_the_owner_of_the_folder() {
    use std::os::unix::fs::{MetadataExt, chown};
    let dir = TempDir::new().unwrap();
    // Only root may give the folder away; for everybody else it is theirs, and so are the files.
    drop(chown(dir.path(), Some(65_534), Some(65_534)));
    let owner = fs::metadata(dir.path()).unwrap().uid();
    let mut desk = Desk { ledger: open(dir.path()), dir };
    desk.commit(vec![record("101 A 9")]);
    let files: Vec<_> = fs::read_dir(desk.dir.path()).unwrap().map(|entry| entry.unwrap()).collect();
    assert_eq!(files.len(), 4, "{files:?}");
    for file in files {
        assert_eq!(file.metadata().unwrap().uid(), owner, "{file:?}");
    }
}

#[cfg(unix)]
#[test]
fn only_its_owner_may_look_into_the_ledger() {
    use std::os::unix::fs::PermissionsExt;
    let dir = TempDir::new().unwrap();
    let inner = dir.path().join("a/ledger");
    let _ledger = open(&inner);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&inner), 0o700);
    assert_eq!(mode(&file(&inner)), 0o600);
}

#[test]
fn a_file_that_is_no_ledger_is_left_as_it_is() {
    let dir = TempDir::new().unwrap();
    fs::write(file(dir.path()), "this is not a database, and was never meant to be one".repeat(100)).unwrap();
    let error = Ledger::open(dir.path(), "test").unwrap_err();
    assert_eq!(error.kind(), LedgerErrorKind::Damaged);
    assert!(error.hint().unwrap().contains("backup"));

    fs::remove_file(file(dir.path())).unwrap();
    Connection::open(file(dir.path())).unwrap().execute_batch("CREATE TABLE other(x)").unwrap();
    let error = Ledger::open(dir.path(), "test").unwrap_err();
    assert_eq!(error.kind(), LedgerErrorKind::Damaged);
    assert_eq!(LedgerReader::open(dir.path()).unwrap_err().kind(), LedgerErrorKind::Damaged);
}

#[test]
fn damage_is_an_error_and_never_a_panic() {
    for seed in 0..20_u64 {
        let mut desk = Desk::new();
        desk.baseline(&[change("101 A 9"), change("101 B 9")]);
        desk.commit((0..400).map(|index| record(&format!("101 R{index} 9"))).collect());
        desk.settle();
        let Desk { ledger, dir } = desk;
        drop(ledger);
        let mut bytes = fs::read(file(dir.path())).unwrap();
        // Every seed scribbles over other places; the first pages are hit by the first ones.
        let stride = 4096 * (seed as usize % 5 + 1);
        for place in (100 + seed as usize * 37..bytes.len()).step_by(stride) {
            bytes[place] ^= 0x5a;
        }
        fs::write(file(dir.path()), bytes).unwrap();
        // Whatever can still be read is read, the rest is refused in words.
        if let Ok(mut ledger) = Ledger::open(dir.path(), "test") {
            let told = [
                ledger.settle(100).err(),
                ledger.explain("R7").err(),
                ledger.delta_by_service().err(),
                ledger.backfill_status().err(),
                ledger.prune(i64::MAX).err(),
            ];
            for error in told.into_iter().flatten() {
                assert!(!error.to_string().is_empty(), "seed {seed}");
            }
        }
    }
}

#[test]
fn a_ledger_of_a_newer_version_is_refused() {
    let Desk { ledger, dir } = Desk::new();
    drop(ledger);
    Connection::open(file(dir.path())).unwrap().pragma_update(None, "user_version", 99).unwrap();
    for error in [Ledger::open(dir.path(), "test").unwrap_err(), LedgerReader::open(dir.path()).unwrap_err()]
    {
        assert_eq!(error.kind(), LedgerErrorKind::NewerSchema);
        assert!(error.to_string().contains("version 99"), "{error}");
    }
}
