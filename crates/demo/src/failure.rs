//! Why the demonstration could not go on.

use std::error::Error;
use std::fmt;

/// What happened, in words for the one who watches.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    /// A failure in these words.
    pub(crate) fn new(what: impl Into<String>) -> Failure {
        Failure(what.into())
    }

    /// A failure with the whole chain of its causes; meant for `map_err`.
    pub(crate) fn of<E: Error>(what: &str) -> impl FnOnce(E) -> Failure {
        move |error| Failure(format!("{what}: {}", chain(&error)))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Error for Failure {}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Failure {
        Failure(format!("the database said no: {}", chain(&error)))
    }
}

impl From<mysql_async::Error> for Failure {
    fn from(error: mysql_async::Error) -> Failure {
        Failure(format!("the database said no: {}", chain(&error)))
    }
}

impl From<testbed::TestbedError> for Failure {
    fn from(error: testbed::TestbedError) -> Failure {
        Failure(chain(&error))
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
