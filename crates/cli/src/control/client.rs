//! The command's side.

use std::path::Path;
use std::time::Duration;

use change::Position;
use ledger::{Repair, RepairAt};
use pipeline::{BackfillRange, DeliveryProgress, FlushReport, RetryReport, Status};
use reqwest::{Method, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Address, BackfillAsked, DiscardAsked, Discarded, Line, Refusal, RepairAsked, Repaired};
use crate::exit::Failure;

/// The daemon is on this machine and answers at once, or not at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// A running daemon that can be asked.
pub(crate) struct Client {
    address: Address,
    http: reqwest::Client,
}

impl Client {
    /// The daemon that holds the ledger in `dir`, if its address is on record.
    pub(crate) fn find(dir: &Path) -> Option<Self> {
        let address = Address::read(dir)?;
        let http = reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT).no_proxy().build().ok()?;
        Some(Self { address, http })
    }

    /// The daemon's state.
    pub(crate) async fn status(&self) -> Result<Status, Failure> {
        self.read(self.send(Method::GET, "/status", &()).await?).await
    }

    /// Flushes now.
    pub(crate) async fn flush(&self, tell: impl FnMut(DeliveryProgress)) -> Result<FlushReport, Failure> {
        self.follow(self.send(Method::POST, "/flush", &()).await?, tell).await
    }

    /// Asks for a backfill and follows it.
    pub(crate) async fn backfill(
        &self,
        range: BackfillRange,
        tell: impl FnMut(DeliveryProgress),
    ) -> Result<FlushReport, Failure> {
        let asked = BackfillAsked { from_at: range.from_at, to_at: range.to_at, restart: range.restart };
        self.follow(self.send(Method::POST, "/backfill", &asked).await?, tell).await
    }

    /// Maps and sends quarantined items again with the configuration as it is now.
    pub(crate) async fn retry_quarantine(&self) -> Result<RetryReport, Failure> {
        self.read(self.send(Method::POST, "/quarantine/retry", &()).await?).await
    }

    /// Discards quarantined items; `None` for all.
    pub(crate) async fn discard_quarantine(&self, ids: Option<Vec<i64>>) -> Result<u64, Failure> {
        let asked = DiscardAsked { ids };
        let answer: Discarded =
            self.read(self.send(Method::POST, "/quarantine/discard", &asked).await?).await?;
        Ok(answer.discarded)
    }

    /// Puts what an audit found into the delta; returns how much of it.
    pub(crate) async fn repair(&self, repairs: &[Repair], at: &RepairAt) -> Result<u64, Failure> {
        let asked = RepairAsked {
            repairs: repairs.iter().map(Into::into).collect(),
            position: at.position.as_ref().map(Position::to_string),
            read_at: at.read_at,
        };
        let answer: Repaired = self.read(self.send(Method::POST, "/audit/repair", &asked).await?).await?;
        Ok(answer.repaired)
    }

    async fn send<B: Serialize>(&self, method: Method, path: &str, body: &B) -> Result<Response, Failure> {
        let url = format!("http://{}{path}", self.address.address);
        let request = self.http.request(method, url).bearer_auth(&self.address.token).json(body);
        request.send().await.map_err(|error| self.lost(&error))
    }

    async fn read<T: DeserializeOwned>(&self, answer: Response) -> Result<T, Failure> {
        if !answer.status().is_success() {
            return Err(self.refused(answer).await);
        }
        answer.json().await.map_err(|error| self.lost(&error))
    }

    async fn follow(
        &self,
        mut answer: Response,
        mut tell: impl FnMut(DeliveryProgress),
    ) -> Result<FlushReport, Failure> {
        if !answer.status().is_success() {
            return Err(self.refused(answer).await);
        }
        let mut pending = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| self.lost(&error))? {
            pending.extend_from_slice(&chunk);
            while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = pending.drain(..=end).collect();
                match serde_json::from_slice(&line) {
                    Ok(Line::Progress(progress)) => tell(progress),
                    Ok(Line::Report(report)) => return Ok(report),
                    Ok(Line::Error(refusal)) => return Err(failure(refusal)),
                    Err(error) => return Err(self.lost(&error)),
                }
            }
        }
        Err(Failure::new(format!(
            "the daemon (process {}) stopped before it had an answer",
            self.address.pid
        ))
        .for_the_data("nothing is lost: it goes on when it runs again"))
    }

    async fn refused(&self, answer: Response) -> Failure {
        let status = answer.status();
        match answer.json::<Refusal>().await {
            Ok(refusal) => failure(refusal),
            Err(_) => Failure::new(format!("the daemon (process {}) answered {status}", self.address.pid)),
        }
    }

    fn lost(&self, error: &(dyn std::error::Error + 'static)) -> Failure {
        Failure::new(format!("ask the daemon (process {}) at {}", self.address.pid, self.address.address))
            .caused_by(error)
            .for_the_data("nothing was changed by this command")
            .with_hint("see whether the daemon runs, and in its log why it does not answer")
    }
}

fn failure(refusal: Refusal) -> Failure {
    Failure::new(refusal.message).with_hint_opt(refusal.hint)
}
