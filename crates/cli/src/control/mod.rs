//! How commands reach a running daemon.
//!
//! The daemon listens on a loopback port of the system's choosing and writes its address, with a token that
//! only it made, into the ledger's folder, which nobody else can read. Whoever may read the ledger may
//! therefore ask the daemon, and nobody else: no password to configure, and the same on every platform.

mod client;
mod server;

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use change::RowKey;
use ledger::Repair;
use normalizer::StatusChange;
use pipeline::{DeliveryProgress, FlushReport};
use serde::{Deserialize, Serialize};

pub(crate) use client::Client;
pub(crate) use server::{Reload, Server};

/// The file in the ledger's folder that says where the daemon listens.
const FILE: &str = "control.json";

/// Where the daemon listens, and what proves that one may ask it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Address {
    address: SocketAddr,
    token: String,
    pid: u32,
}

impl Address {
    fn path(dir: &Path) -> PathBuf {
        dir.join(FILE)
    }

    fn read(dir: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(Self::path(dir)).ok()?).ok()
    }

    /// Writes the file readable by the owner alone, whole or not at all.
    fn write(&self, dir: &Path) -> std::io::Result<()> {
        let half = dir.join("control.json.new");
        // One that a crash has left behind may belong to somebody else.
        drop(fs::remove_file(&half));
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&half)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        drop(file);
        fs::rename(half, Self::path(dir))
    }
}

/// One line of the answer to a request that takes its time.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Progress(DeliveryProgress),
    Report(FlushReport),
    Error(Refusal),
}

/// An error that crossed from the daemon to the command.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Refusal {
    message: String,
    hint: Option<String>,
}

/// The body of a backfill request, in microseconds since the epoch.
#[derive(Debug, Serialize, Deserialize)]
struct BackfillAsked {
    from_at: i64,
    to_at: i64,
    restart: bool,
}

/// The body of a request to repair what an audit found.
#[derive(Debug, Serialize, Deserialize)]
struct RepairAsked {
    repairs: Vec<RepairTold>,
    position: Option<String>,
    read_at: i64,
}

/// One of them.
#[derive(Debug, Serialize, Deserialize)]
struct RepairTold {
    service_id: String,
    request_id: String,
    opening_at: i64,
    status_id: u8,
    modified_at: i64,
    row_key: Option<String>,
    known_seq: Option<i64>,
    place: String,
}

impl From<&Repair> for RepairTold {
    fn from(repair: &Repair) -> Self {
        let change = &repair.change;
        Self {
            service_id: change.service_id.to_string(),
            request_id: change.request_id.to_string(),
            opening_at: change.opening_at,
            status_id: change.status_id,
            modified_at: change.modified_at,
            row_key: repair.row_key.as_ref().map(|key| key.as_str().to_owned()),
            known_seq: repair.known_seq,
            place: repair.place.clone(),
        }
    }
}

impl From<RepairTold> for Repair {
    fn from(told: RepairTold) -> Self {
        Self {
            change: StatusChange {
                service_id: told.service_id.as_str().into(),
                request_id: told.request_id.as_str().into(),
                opening_at: told.opening_at,
                status_id: told.status_id,
                modified_at: told.modified_at,
            },
            row_key: told.row_key.map(RowKey::from),
            known_seq: told.known_seq,
            place: told.place,
        }
    }
}

/// How many were repaired.
#[derive(Debug, Serialize, Deserialize)]
struct Repaired {
    repaired: u64,
}

/// The body of a discard request; no ids means all.
#[derive(Debug, Serialize, Deserialize)]
struct DiscardAsked {
    ids: Option<Vec<i64>>,
}

/// How many items were discarded.
#[derive(Debug, Serialize, Deserialize)]
struct Discarded {
    discarded: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_owner_may_read_the_token() {
        let dir = tempfile::tempdir().unwrap();
        let address = Address { address: "127.0.0.1:1".parse().unwrap(), token: "t".into(), pid: 1 };
        address.write(dir.path()).unwrap();
        assert_eq!(Address::read(dir.path()).unwrap().token, "t");
        #[cfg(unix)]
        {
            let mode = fs::metadata(Address::path(dir.path())).unwrap();
            assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777, 0o600);
        }
    }
}
