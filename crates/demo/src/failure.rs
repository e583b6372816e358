//! Why the demonstration could not go on.

use std::error::Error;
use std::fmt;

/// What happened, in words for the one who watches.
#[derive(Debug)]
pub(crate) struct Failure {
    what: String,
    lost_a_lock: bool,
}

impl Failure {
    /// A failure in these words.
    pub(crate) fn new(what: impl Into<String>) -> Failure {
        Failure { what: what.into(), lost_a_lock: false }
    }

    /// Whether a transaction got into the way of another and was given up by the database, as happens on any busy day.
    pub(crate) fn has_lost_a_lock(&self) -> bool {
        self.lost_a_lock
    }

    /// A failure with the whole chain of its causes; meant for `map_err`.
    pub(crate) fn of<E: Error>(what: &str) -> impl FnOnce(E) -> Failure {
        move |error| Failure::new(format!("{what}: {}", chain(&error)))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.what)
    }
}

impl Error for Failure {}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Failure {
        let lost_a_lock = error.code() == Some(&tokio_postgres::error::SqlState::T_R_DEADLOCK_DETECTED);
        Failure { what: format!("the database said no: {}", chain(&error)), lost_a_lock }
    }
}

impl From<mysql_async::Error> for Failure {
    fn from(error: mysql_async::Error) -> Failure {
        // A deadlock, and a lock that was waited for too long.
        let lost_a_lock =
            matches!(&error, mysql_async::Error::Server(refusal) if [1213, 1205].contains(&refusal.code));
        Failure { what: format!("the database said no: {}", chain(&error)), lost_a_lock }
    }
}

impl From<testbed::sqlserver::Error> for Failure {
    fn from(error: testbed::sqlserver::Error) -> Failure {
        // A deadlock, and a lock that was waited for too long.
        let lost_a_lock = matches!(error.code(), Some(1205 | 1222));
        Failure { what: format!("the database said no: {}", chain(&error)), lost_a_lock }
    }
}

impl From<testbed::TestbedError> for Failure {
    fn from(error: testbed::TestbedError) -> Failure {
        Failure::new(chain(&error))
    }
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    text
}
