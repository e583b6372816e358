//! What was received.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use chrono::Utc;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::contract::Record;

/// One stored batch.
///
/// It keeps the body's bytes and reads the records out of them when asked: a million records are 140 MB so, and
/// twice that otherwise.
#[derive(Debug, Clone)]
pub struct Received {
    /// The batch's number, from 0, in order of arrival.
    pub batch: usize,
    /// When it was stored, in microseconds since the Unix epoch.
    pub at: i64,
    /// How many records it holds.
    pub record_count: usize,
    /// The body, byte for byte.
    pub body: Bytes,
}

impl Received {
    /// The records, in the order in which they stood in the batch.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        #[derive(Deserialize)]
        struct Load {
            requests: Vec<Record>,
        }
        // Only what has been read once is stored.
        serde_json::from_slice(&self.body).map_or_else(|_| Vec::new(), |load: Load| load.requests)
    }
}

/// One POST to the dashboard's address, whatever became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// When its body had arrived, in microseconds since the Unix epoch.
    pub at: i64,
    /// The address's path.
    pub path: String,
    /// The headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// How many bytes the body had.
    pub body_bytes: usize,
    /// SHA-256 of the body, in hexadecimal: equal batches have equal ones.
    pub sha256: String,
    /// Whether the batch was stored.
    pub is_stored: bool,
    /// The HTTP status of the answer; `None` where the connection was broken or left hanging.
    pub status: Option<u16>,
}

impl Attempt {
    /// The value of a header; its name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Numbers of what was received.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Stored records, repeats included.
    pub records: usize,
    /// Stored records that are equal to one stored before, all five fields.
    pub repeats: usize,
    /// Stored batches.
    pub batches: usize,
    /// POSTs, whatever became of them.
    pub attempts: usize,
    /// Stored records by service.
    pub services: BTreeMap<String, usize>,
    /// Stored records by status.
    pub statuses: BTreeMap<u8, usize>,
}

#[derive(Default)]
struct Contents {
    batches: Vec<Received>,
    attempts: Vec<Attempt>,
    records: usize,
    repeats: usize,
    /// Hashes of the records: enough to count repeats, and 8 bytes each.
    known: HashSet<u64>,
    services: BTreeMap<String, usize>,
    statuses: BTreeMap<u8, usize>,
}

impl Contents {
    fn count(&mut self, record: &Record) {
        let mut hasher = DefaultHasher::new();
        record.hash(&mut hasher);
        if !self.known.insert(hasher.finish()) {
            self.repeats += 1;
        }
        self.records += 1;
        *self.statuses.entry(record.status_id).or_default() += 1;
        match self.services.get_mut(&record.service_id) {
            Some(count) => *count += 1,
            None => {
                self.services.insert(record.service_id.clone(), 1);
            }
        }
    }
}

/// How far the store is, for those who wait.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Progress {
    pub(crate) records: usize,
    pub(crate) attempts: usize,
}

/// All that was received, in memory.
pub(crate) struct Store {
    contents: Mutex<Contents>,
    progress: watch::Sender<Progress>,
}

impl Store {
    pub(crate) fn new() -> Self {
        Self { contents: Mutex::default(), progress: watch::Sender::default() }
    }

    /// Keeps a batch.
    pub(crate) fn add(&self, records: &[Record], body: Bytes) {
        let mut contents = self.lock();
        for record in records {
            contents.count(record);
        }
        let batch = contents.batches.len();
        contents.batches.push(Received { batch, at: now(), record_count: records.len(), body });
        self.announce(&contents);
    }

    /// Keeps an attempt.
    pub(crate) fn note(&self, attempt: Attempt) {
        let mut contents = self.lock();
        contents.attempts.push(attempt);
        self.announce(&contents);
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.lock().batches.clone()
    }

    pub(crate) fn attempts(&self) -> Vec<Attempt> {
        self.lock().attempts.clone()
    }

    pub(crate) fn summary(&self) -> Summary {
        let contents = self.lock();
        Summary {
            records: contents.records,
            repeats: contents.repeats,
            batches: contents.batches.len(),
            attempts: contents.attempts.len(),
            services: contents.services.clone(),
            statuses: contents.statuses.clone(),
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        let mut contents = self.lock();
        *contents = Contents::default();
        self.announce(&contents);
    }

    pub(crate) fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    fn announce(&self, contents: &Contents) {
        self.progress.send_replace(Progress { records: contents.records, attempts: contents.attempts.len() });
    }

    /// No code panics while it holds the lock, so a poisoned one holds whole contents.
    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The present, in microseconds since the Unix epoch.
pub(crate) fn now() -> i64 {
    Utc::now().timestamp_micros()
}
