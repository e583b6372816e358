//! kill -9 in the middle of writing: what was promised is there, and nothing that was not.
//!
//! The writer is this test binary, started once more.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use ledger::{FlushKind, LedgerReader};
use tempfile::TempDir;

use crate::arrange::{Desk, NOW, candidate, checkpoint, open, piece, record};

/// Names the folder of the ledger to the writer.
const FOLDER: &str = "LEDGER_CRASH_FOLDER";

/// Commits numbered transactions for ever, and says each number when it is durable. Only the other test
/// starts it so; by itself it has nothing to do.
#[test]
fn writer_of_numbered_transactions() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let mut ledger = open(Path::new(&folder));
    ledger.set_checkpoint(&checkpoint("0")).unwrap();
    let mut out = std::io::stdout();
    for number in 1_u64.. {
        let rows = |part: u64| {
            (0..40).map(|row| record(&format!("101 {number}-{part}-{row} 9"))).collect::<Vec<_>>()
        };
        ledger.append(&[piece(rows(0), None)]).unwrap();
        ledger.append(&[piece(rows(1), Some(&number.to_string()))]).unwrap();
        ledger.settle(60).unwrap();
        writeln!(out, "\ndurable {number}").unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn what_was_durable_survives_a_kill() {
    for transactions in [1, 7, 30] {
        let dir = TempDir::new().unwrap();
        let mut writer = Command::new(std::env::current_exe().unwrap())
            .args(["crash::writer_of_numbered_transactions", "--exact", "--nocapture"])
            .env(FOLDER, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(writer.stdout.take().unwrap());
        let numbers =
            out.lines().filter_map(|line| line.unwrap().strip_prefix("durable ")?.parse::<u64>().ok());
        let seen = numbers.take(transactions).last().unwrap();
        writer.kill().unwrap();
        writer.wait().unwrap();
        let found = LedgerReader::open(dir.path()).unwrap().checkpoint().unwrap().unwrap();
        let committed: u64 = found.position.as_str().parse().unwrap();
        assert!(committed >= seen, "transaction {seen} was durable, the ledger is at {committed}");

        let mut desk = Desk { ledger: open(dir.path()), dir };
        desk.commit(vec![candidate("101 after 9")]);
        let sent = desk.flush(FlushKind::Delta, false).concat();
        assert_eq!(sent.len() as u64, committed * 80 + 1);
        assert_eq!(desk.ledger.delta().unwrap().records, 0);
        assert!(sent.iter().all(|line| !line.starts_with(&format!("101 {}-", committed + 1))));
    }
}

#[test]
fn every_step_of_a_flush_survives_a_restart() {
    let mut desk = Desk::new();
    desk.commit((0..12).map(|index| record(&format!("101 R{index} 9"))).collect());
    let flush = desk.start(FlushKind::Delta);
    let mut sent = Vec::new();
    loop {
        desk = desk.reopen();
        let Some(batch) = desk.next(flush) else { break };
        desk = desk.reopen();
        let again = desk.next(flush).unwrap();
        assert_eq!((again.id, &again.body), (batch.id, &batch.body));
        sent.extend(crate::arrange::lines(&again));
        desk.ledger.acknowledge(again.id, NOW, Some(201)).unwrap();
    }
    let expected: Vec<_> = (0..12).map(|index| format!("101 R{index} 9")).collect();
    assert_eq!(sent, expected);
}
