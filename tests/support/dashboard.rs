//! The dashboard's simulator, in this process.

use tablero::{Attempt, Received, Record, Tablero, TableroConfig};

/// A simulator with a port of its own.
pub(crate) struct Dashboard {
    tablero: Tablero,
}

impl Dashboard {
    /// One that takes everything.
    pub(crate) async fn start() -> Self {
        Self::start_with(TableroConfig::default()).await
    }

    pub(crate) async fn start_with(config: TableroConfig) -> Self {
        Self { tablero: Tablero::start(config).await.unwrap() }
    }

    /// The address that takes POSTs.
    pub(crate) fn url(&self) -> String {
        self.tablero.url()
    }

    /// The port that it listens on.
    pub(crate) fn port(&self) -> u16 {
        self.tablero.addr().port()
    }

    /// Fails in this way from the next POST on.
    pub(crate) fn fail(&self, fault: &str) {
        self.tablero.set_fault(fault.parse().unwrap());
    }

    /// The stored batches, in order of arrival.
    pub(crate) fn batches(&self) -> Vec<Received> {
        self.tablero.received()
    }

    /// The stored records, in order of arrival, repeats included.
    pub(crate) fn records(&self) -> Vec<Record> {
        self.tablero.records()
    }

    /// The stored records as `REQUEST STATUS`, in order of arrival: what most tests compare.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.records().iter().map(|record| format!("{} {}", record.request_id, record.status_id)).collect()
    }

    /// How many records are stored, repeats included.
    pub(crate) fn count(&self) -> usize {
        self.tablero.summary().records
    }

    /// Every POST, whatever became of it.
    pub(crate) fn attempts(&self) -> Vec<Attempt> {
        self.tablero.requests()
    }

    /// Waits until this many records are stored.
    pub(crate) async fn wait_for(&self, records: usize) {
        let waiting = self.tablero.wait_for(records);
        if tokio::time::timeout(super::wait::LATER, waiting).await.is_err() {
            panic!("{} of {records} records have arrived", self.count());
        }
        // A batch is stored a moment before its POST is on record.
        self.wait_for_attempts(self.batches().len()).await;
    }

    /// Waits until this many POSTs have come.
    pub(crate) async fn wait_for_attempts(&self, attempts: usize) {
        let waiting = self.tablero.wait_for_requests(attempts);
        if tokio::time::timeout(super::wait::LATER, waiting).await.is_err() {
            panic!("{} of {attempts} POSTs have come", self.attempts().len());
        }
    }
}
