//! The board and its channels: tells each channel what it has yet to hear.

use std::time::Duration;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use thiserror::Error;

use crate::board::{Board, Evidence, Standing};
use crate::email::{Email, Mail};
use crate::language::Language;
use crate::message::{Letterhead, Message};
use crate::webhook::Webhook;

/// How long one message may take: whoever waits for it has other channels to tell.
const SEND_TIMEOUT: Duration = Duration::from_secs(15);

/// A channel that failed is tried again after this time, then after twice as long, and so on.
const PAUSE_FIRST: Duration = Duration::from_secs(30);
const PAUSE_MAX: Duration = Duration::from_secs(15 * 60);

/// How alerts are told.
#[derive(Debug, Clone)]
pub struct Manner {
    /// In which language.
    pub language: Language,
    /// By the clocks of which zone.
    pub zone: Tz,
    /// Which connector this is, such as the database and the table.
    pub source: String,
    /// After how long an alert that stands is told again.
    pub repeat_every: Duration,
}

/// A way to people.
#[derive(Clone)]
pub enum Channel {
    /// An address that takes a JSON POST. It may hold a key.
    Webhook(String),
    /// E-mail.
    Email(Mail),
}

/// Why alerts cannot be sent as configured. No message quotes an address that may hold a key.
#[derive(Debug, Error)]
pub enum AlertError {
    /// `webhook`.
    #[error("[alerts] webhook cannot be used")]
    Webhook(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// `email.smtp`, or its `tls_ca`.
    #[error("[alerts] email.smtp cannot be used")]
    Smtp(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// `email.from` or `email.to`.
    #[error("[alerts] email: \"{written}\" is not an e-mail address")]
    Mailbox {
        /// What was written.
        written: String,
        /// What is wrong with it.
        #[source]
        source: lettre::address::AddressError,
    },
}

/// Why a message did not arrive.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct ChannelFault(String);

impl ChannelFault {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }

    pub(crate) fn from_error(error: &dyn std::error::Error) -> Self {
        let mut told = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            let text = inner.to_string();
            if !told.contains(&text) {
                told.push_str(": ");
                told.push_str(&text);
            }
            cause = inner.source();
        }
        Self(told.chars().filter(|character| !character.is_control()).take(300).collect())
    }
}

/// How a channel is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelState {
    /// `webhook` or `email`.
    pub name: &'static str,
    /// When a message last arrived, since this process began.
    pub delivered_at: Option<DateTime<Utc>>,
    /// Since when it fails; `None` while it does not.
    pub failing_since: Option<DateTime<Utc>>,
    /// Why it fails.
    pub error: Option<String>,
}

/// Tells people of alerts.
pub struct Herald {
    manner: Manner,
    board: Board,
    posts: Vec<Post>,
}

/// A channel with what is known of it.
struct Post {
    way: Way,
    state: ChannelState,
    failures: u32,
    next_try: DateTime<Utc>,
}

enum Way {
    Webhook(Webhook),
    Email(Box<Email>),
}

impl Herald {
    /// Prepares the channels; nothing is sent. `memory` is what an earlier process left by [`Herald::memory`].
    ///
    /// # Errors
    /// When a channel cannot be used as configured.
    pub fn new(manner: Manner, channels: &[Channel], memory: Option<&str>) -> Result<Self, AlertError> {
        let posts =
            channels.iter().map(|channel| Post::new(channel, &manner)).collect::<Result<Vec<_>, _>>()?;
        let mut board: Board = memory.map_or_else(Board::default, |memory| {
            serde_json::from_str(memory).unwrap_or_else(|error| {
                tracing::warn!("what was told of alerts cannot be read, and is told again: {error}");
                Board::default()
            })
        });
        board.keep_channels(posts.iter().map(|post| post.state.name));
        Ok(Self { manner, board, posts })
    }

    /// What must be kept for the next process.
    #[must_use]
    pub fn memory(&self) -> String {
        serde_json::to_string(&self.board).unwrap_or_default()
    }

    /// How the channels are doing.
    pub fn channels(&self) -> impl Iterator<Item = &ChannelState> {
        self.posts.iter().map(|post| &post.state)
    }

    /// Takes in what stands at `now`, and tells each channel what it has yet to hear. A channel that fails is
    /// left alone for a while.
    pub async fn round(&mut self, now: DateTime<Utc>, standing: &[Standing], evidence: Evidence) {
        self.board.update(now, standing, evidence);
        let Self { manner, board, posts } = self;
        let head = manner.letterhead();
        for post in posts.iter_mut().filter(|post| post.next_try <= now) {
            for due in board.due(post.state.name, now, manner.repeat_every) {
                match post.send(&head.message(&due, now), now).await {
                    Ok(()) => board.told(post.state.name, &due, now),
                    Err(fault) => {
                        tracing::warn!(channel = post.state.name, "an alert did not arrive: {fault}");
                        break;
                    }
                }
            }
        }
    }

    /// Sends a test message to every channel.
    pub async fn trial(&mut self, now: DateTime<Utc>) -> Vec<(&'static str, Result<(), ChannelFault>)> {
        let message = self.manner.letterhead().trial(now);
        let mut results = Vec::with_capacity(self.posts.len());
        for post in &mut self.posts {
            results.push((post.state.name, post.send(&message, now).await));
        }
        results
    }
}

impl Manner {
    fn letterhead(&self) -> Letterhead<'_> {
        Letterhead { language: self.language, zone: self.zone, source: &self.source }
    }
}

impl Post {
    fn new(channel: &Channel, manner: &Manner) -> Result<Self, AlertError> {
        let (name, way) = match channel {
            Channel::Webhook(url) => ("webhook", Way::Webhook(Webhook::new(url, SEND_TIMEOUT)?)),
            Channel::Email(mail) => {
                ("email", Way::Email(Box::new(Email::new(mail, manner.language, SEND_TIMEOUT)?)))
            }
        };
        let state = ChannelState { name, delivered_at: None, failing_since: None, error: None };
        Ok(Self { way, state, failures: 0, next_try: DateTime::UNIX_EPOCH })
    }

    async fn send(&mut self, message: &Message, now: DateTime<Utc>) -> Result<(), ChannelFault> {
        let sent = match &self.way {
            Way::Webhook(webhook) => webhook.send(message).await,
            Way::Email(email) => email.send(message).await,
        };
        match &sent {
            Ok(()) => {
                self.failures = 0;
                self.state.delivered_at = Some(now);
                (self.state.failing_since, self.state.error) = (None, None);
            }
            Err(fault) => {
                self.next_try = now + pause(self.failures);
                self.failures = self.failures.saturating_add(1);
                self.state.failing_since.get_or_insert(now);
                self.state.error = Some(fault.to_string());
            }
        }
        sent
    }
}

fn pause(failures: u32) -> Duration {
    PAUSE_FIRST.saturating_mul(2_u32.saturating_pow(failures)).min(PAUSE_MAX)
}

#[cfg(test)]
mod tests;
