//! A connection to the server.
//!
//! The TDS client beneath is one that cannot give a statement up: whoever stops waiting leaves it in the middle of an
//! answer. So every call has a time of its own, and a connection that did not answer in time, or broke, is *spent*:
//! its owner opens another.

use std::pin::Pin;
use std::time::Duration;

use change::{SourceError, SourceErrorKind};
use futures_util::StreamExt;
use tiberius::{AuthMethod, EncryptionLevel, Query, QueryItem, QueryStream};
use tokio::time::timeout;
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

mod answer;
mod framing;
mod line;
mod prelogin;

pub(crate) use answer::Answer;

use crate::config::SqlServerConfig;
use crate::fault;
use line::Line;

/// How long connecting and logging in may take.
const CONNECT_MAX: Duration = Duration::from_secs(15);

/// How many times a server may send us on to another.
const ROUTES_MAX: usize = 3;

/// What makes answers the same whatever the login's and the server's defaults are, and keeps us out of others' way: in
/// a deadlock the application's statement survives, and no lock is waited for long.
///
/// Changes cannot be had under READ UNCOMMITTED: nothing of ours ever uses it, nor the hint NOLOCK.
const SESSION: &str = "SET NOCOUNT ON; SET ANSI_NULLS ON; SET ANSI_PADDING ON; SET ANSI_WARNINGS ON; \
    SET ARITHABORT ON; SET CONCAT_NULL_YIELDS_NULL ON; SET QUOTED_IDENTIFIER ON; SET NUMERIC_ROUNDABORT OFF; \
    SET IMPLICIT_TRANSACTIONS OFF; SET LANGUAGE us_english; SET DATEFORMAT ymd; SET DATEFIRST 7; \
    SET LOCK_TIMEOUT 10000; SET DEADLOCK_PRIORITY LOW; SET TRANSACTION ISOLATION LEVEL READ COMMITTED";

/// From here on each statement reads what was committed when it began, and waits for no lock. Only where the database
/// allows it
/// (<https://learn.microsoft.com/en-us/sql/t-sql/statements/set-transaction-isolation-level-transact-sql>).
pub(crate) const VERSIONED: &str = "SET TRANSACTION ISOLATION LEVEL SNAPSHOT";

/// What a statement is given for its `@P1`, `@P2` and so on.
#[derive(Debug, Clone)]
pub(crate) enum Param {
    /// `bigint`.
    Int(i64),
    /// `nvarchar`.
    Text(String),
    /// `varbinary`.
    Bytes(Vec<u8>),
}

impl From<i64> for Param {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<&str> for Param {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<crate::lsn::Lsn> for Param {
    fn from(lsn: crate::lsn::Lsn) -> Self {
        Self::Bytes(lsn.bytes().to_vec())
    }
}

/// An open session.
pub(crate) struct Client {
    inner: tiberius::Client<Compat<Line>>,
    call_max: Duration,
    spent: bool,
}

impl Client {
    /// Connects, logs in and makes the session ours. Servers that send us on to another are followed.
    ///
    /// # Errors
    /// When the server cannot be reached, is not the one that we trust, or refuses the login.
    pub(crate) async fn open(config: &SqlServerConfig) -> Result<Self, SourceError> {
        let (mut host, mut port) = (config.host.clone(), config.port);
        for _ in 0..=ROUTES_MAX {
            let address = SqlServerConfig::address(&host, port);
            let opening = Box::pin(log_in(config, &host, port));
            let opened = timeout(CONNECT_MAX, opening).await.unwrap_or_else(|_| {
                let late = std::io::Error::new(
                    std::io::ErrorKind::TimedOut,
                    format!("no log-in within {} s", CONNECT_MAX.as_secs()),
                );
                Err(fault::unreachable(&address, late))
            })?;
            match opened {
                Opened::Here(inner) => {
                    let mut client = Self { inner: *inner, call_max: config.call_timeout, spent: false };
                    client.run("prepare the session", SESSION).await?;
                    return Ok(client);
                }
                Opened::Elsewhere { host: next, port: next_port } => {
                    tracing::debug!(from = address, to = next, "the server sends us on");
                    (host, port) = (next, next_port);
                }
            }
        }
        let context = format!(
            "{host} sends us on to another server, after {ROUTES_MAX} others did: expected one that answers"
        );
        Err(SourceError::new(SourceErrorKind::Configuration, context)
            .with_hint("check the read-only routing lists of the availability group's replicas"))
    }

    /// Whether it can be used no more.
    pub(crate) fn is_spent(&self) -> bool {
        self.spent
    }

    /// Runs a batch; what it answers is dropped.
    ///
    /// # Errors
    /// What the server says to its first statement that fails.
    pub(crate) async fn run(&mut self, context: &'static str, batch: &str) -> Result<(), SourceError> {
        self.expect_usable(context)?;
        let running = async {
            let stream = self.inner.simple_query(batch).await?;
            stream.into_results().await.map(drop)
        };
        let done = timeout(self.call_max, Box::pin(running)).await;
        judge(context, self.call_max, done, &mut self.spent)
    }

    /// All rows of a small answer.
    ///
    /// # Errors
    /// What the server says, and when it does not answer in time.
    pub(crate) async fn rows(
        &mut self,
        context: &'static str,
        sql: &str,
        params: &[Param],
    ) -> Result<Vec<Answer>, SourceError> {
        self.expect_usable(context)?;
        let running = async {
            let stream = query(sql, params).query(&mut self.inner).await?;
            stream.into_first_result().await
        };
        let done = timeout(self.call_max, Box::pin(running)).await;
        let rows = judge(context, self.call_max, done, &mut self.spent)?;
        Ok(rows.into_iter().map(|row| Answer::new(context, row)).collect())
    }

    /// The rows of a large answer, one by one.
    ///
    /// # Errors
    /// What the server says, and when its first row does not come in time.
    pub(crate) async fn read(
        &mut self,
        context: &'static str,
        sql: &str,
        params: &[Param],
    ) -> Result<Reading<'_>, SourceError> {
        self.expect_usable(context)?;
        let begun = timeout(self.call_max, Box::pin(query(sql, params).query(&mut self.inner))).await;
        let stream = judge(context, self.call_max, begun, &mut self.spent)?;
        Ok(Reading { stream: Box::pin(stream), context, call_max: self.call_max, spent: &mut self.spent })
    }

    fn expect_usable(&self, context: &'static str) -> Result<(), SourceError> {
        if self.spent {
            let context = format!("{context}: the connection broke or timed out before");
            return Err(SourceError::new(SourceErrorKind::Unreachable, context));
        }
        Ok(())
    }
}

/// An answer on its way.
pub(crate) struct Reading<'a> {
    stream: Pin<Box<QueryStream<'a>>>,
    context: &'static str,
    call_max: Duration,
    spent: &'a mut bool,
}

impl Reading<'_> {
    /// The next row, or `None` after the last.
    ///
    /// # Errors
    /// What the server says, and when the row does not come in time.
    pub(crate) async fn next(&mut self) -> Result<Option<tiberius::Row>, SourceError> {
        loop {
            let item = timeout(self.call_max, self.stream.next()).await;
            let item = item.map(Option::transpose);
            match judge(self.context, self.call_max, item, self.spent)? {
                Some(QueryItem::Row(row)) => return Ok(Some(row)),
                Some(_) => {}
                None => return Ok(None),
            }
        }
    }
}

fn query<'a>(sql: &'a str, params: &'a [Param]) -> Query<'a> {
    let mut query = Query::new(sql);
    for param in params {
        match param {
            Param::Int(number) => query.bind(*number),
            Param::Text(text) => query.bind(text.as_str()),
            Param::Bytes(bytes) => query.bind(bytes.as_slice()),
        }
    }
    query
}

/// What became of a call. Only a server's refusal leaves the connection usable.
fn judge<T>(
    context: &'static str,
    call_max: Duration,
    done: Result<tiberius::Result<T>, tokio::time::error::Elapsed>,
    spent: &mut bool,
) -> Result<T, SourceError> {
    match done {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => {
            *spent |= !matches!(error, tiberius::error::Error::Server(_));
            Err(fault::client_error(context, error))
        }
        Err(_) => {
            *spent = true;
            let what = format!("{context}: no answer within {} s", call_max.as_secs_f64());
            Err(SourceError::new(SourceErrorKind::Unreachable, what)
                .with_hint("look for blocked or slow statements of ours on the server"))
        }
    }
}

enum Opened {
    Here(Box<tiberius::Client<Compat<Line>>>),
    Elsewhere { host: String, port: u16 },
}

async fn log_in(config: &SqlServerConfig, host: &str, port: u16) -> Result<Opened, SourceError> {
    let line = Line::open(config, host, port).await?;
    let mut settings = tiberius::Config::new();
    settings.host(host);
    settings.port(port);
    settings.database(&config.database);
    settings.authentication(AuthMethod::sql_server(&config.user, &config.password));
    settings.application_name("bitacora");
    settings.readonly(config.read_only);
    // TLS is the line's: to the client beneath, the line is as good as a wire in the same room.
    settings.encryption(EncryptionLevel::NotSupported);
    settings.handshake_timeout(None);
    settings.command_timeout(None);
    match Box::pin(tiberius::Client::connect(settings, line.compat())).await {
        Ok(client) => Ok(Opened::Here(Box::new(client))),
        Err(tiberius::error::Error::Routing { host, port }) => Ok(Opened::Elsewhere { host, port }),
        Err(tiberius::error::Error::Io { kind, message }) => {
            let address = SqlServerConfig::address(host, port);
            Err(fault::unreachable(&address, std::io::Error::new(kind, message)))
        }
        Err(error) => Err(fault::client_error("log in", error)),
    }
}
