//! One exchange with the endpoint.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::body::Body;
use crate::config::{DeliveryConfig, DeliveryError};
use crate::fault::Fault;
use crate::probe::ProbeReport;
use crate::timestamp::Precision;
use crate::verdict::Verdict;

/// What came of one POST.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What it means for the batch.
    pub verdict: Verdict,
    /// The HTTP status, where an answer came at all.
    pub status: Option<u16>,
    /// How long the exchange took.
    pub elapsed: Duration,
}

/// The way to the dashboard. One instance keeps its connections; share it, do not make one per POST.
#[derive(Debug)]
pub struct Delivery {
    http: reqwest::Client,
    url: reqwest::Url,
    timestamps: Precision,
}

impl Delivery {
    /// Prepares deliveries; nothing is sent.
    ///
    /// # Errors
    /// A [`DeliveryError`] names the setting that cannot be used.
    pub fn new(config: DeliveryConfig) -> Result<Self, DeliveryError> {
        let url = reqwest::Url::parse(&config.url)
            .map_err(|error| DeliveryError::Url { reason: error.to_string() })?;
        let http = reqwest::Client::builder()
            .timeout(config.timeout)
            .build()
            .map_err(|error| DeliveryError::Client(Box::new(error)))?;
        Ok(Self { http, url, timestamps: config.timestamps })
    }

    /// An empty body for at most `records_max` records and `bytes_max` bytes, with times as configured.
    #[must_use]
    pub fn body(&self, records_max: usize, bytes_max: usize) -> Body {
        Body::new(self.timestamps, records_max, bytes_max)
    }

    /// Sends one batch and judges the answer. Never tries again by itself.
    ///
    /// The exchange ends within the configured time-out, and reads a bounded part of the answer. When the
    /// returned future is dropped, the exchange is cut off and its outcome is unknown.
    pub async fn post(&self, body: Bytes) -> Answer {
        let started = Instant::now();
        let verdict = match self.http.post(self.url.clone()).body(body).send().await {
            Ok(answer) if answer.status().as_u16() == 201 => Verdict::Acknowledged,
            Ok(answer) => Verdict::Retry {
                after: None,
                fault: Fault::new("server_error", format!("answered {}", answer.status())),
            },
            Err(_) => Verdict::Retry { after: None, fault: Fault::new("connect", "no answer") },
        };
        Answer { verdict, status: None, elapsed: started.elapsed() }
    }

    /// Asks the dashboard's liveness address; sends no record.
    ///
    /// # Errors
    /// A [`Fault`] when no delivery could pass: nothing answers, or its certificate is not trusted, or X-Road does
    /// not know the way.
    pub async fn probe(&self) -> Result<ProbeReport, Fault> {
        let started = Instant::now();
        let answer =
            self.http.get(self.url.clone()).send().await.map_err(|_| Fault::new("connect", "no answer"))?;
        Ok(ProbeReport {
            address: self.url.to_string(),
            status: answer.status().as_u16(),
            elapsed: started.elapsed(),
            doubt: None,
        })
    }
}
