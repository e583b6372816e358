//! `SET` of what holds for the session.
//!
//! <https://learn.microsoft.com/en-us/sql/t-sql/statements/set-statements-transact-sql>

use super::Session;
use super::transaction::Isolation;
use crate::sql::error::SqlError;

/// Options that change nothing that is modelled, and are accepted as clients set them on connecting.
const WITHOUT_EFFECT: &[&str] = &[
    "ANSI_NULLS",
    "ANSI_PADDING",
    "ANSI_WARNINGS",
    "ANSI_NULL_DFLT_ON",
    "ARITHABORT",
    "CONCAT_NULL_YIELDS_NULL",
    "CURSOR_CLOSE_ON_COMMIT",
    "DATEFIRST",
    "DATEFORMAT",
    "LANGUAGE",
    "NUMERIC_ROUNDABORT",
    "QUOTED_IDENTIFIER",
    "TEXTSIZE",
    "DEADLOCK_PRIORITY",
    "STATISTICS",
];

impl Session {
    pub(super) fn set_option(&mut self, words: &[String]) -> Result<(), SqlError> {
        let all: Vec<&str> = words.iter().map(String::as_str).collect();
        match all.as_slice() {
            ["NOCOUNT", switch] => {
                self.count_rows = *switch == "OFF";
                Ok(())
            }
            ["XACT_ABORT", switch] => {
                self.xact_abort = *switch == "ON";
                Ok(())
            }
            ["LOCK_TIMEOUT", milliseconds] => {
                self.lock_timeout = milliseconds.parse().map_err(|_| SqlError::syntax(milliseconds))?;
                Ok(())
            }
            ["IMPLICIT_TRANSACTIONS", "OFF"] => Ok(()),
            ["TRANSACTION", "ISOLATION", "LEVEL", rest @ ..] => {
                self.isolation = match rest {
                    ["READ", "COMMITTED"] => Isolation::ReadCommitted,
                    ["READ", "UNCOMMITTED"] => Isolation::ReadUncommitted,
                    ["SNAPSHOT"] => {
                        // A transaction that did not begin as a snapshot cannot become one.
                        if self.tran.is_some() && self.isolation != Isolation::Snapshot {
                            let message = format!(
                                "Transaction failed in database '{}' because the statement was run under snapshot isolation but the transaction did not start in snapshot isolation.",
                                self.database.name
                            );
                            return Err(SqlError::new(3951, 16, 1, message));
                        }
                        Isolation::Snapshot
                    }
                    other => return Err(SqlError::not_modelled(other.join(" "))),
                };
                Ok(())
            }
            [name, ..] if WITHOUT_EFFECT.contains(name) => Ok(()),
            other => Err(SqlError::new(
                195,
                15,
                5,
                format!("'{}' is not a recognized SET option.", other.join(" ")),
            )),
        }
    }
}
