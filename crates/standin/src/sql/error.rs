//! Errors and messages with number, severity and state, as the server tells them.
//!
//! <https://learn.microsoft.com/en-us/sql/relational-databases/errors-events/database-engine-events-and-errors>

/// An error, or with a severity (class) of 10 and less a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{number}: {message}")]
pub struct SqlError {
    /// The message's number.
    pub number: i32,
    /// Severity: 11 to 16 for a user's mistakes, 20 and more end the connection.
    pub class: u8,
    /// State: where in the server's code it was raised.
    pub state: u8,
    /// The text.
    pub message: String,
    /// The procedure in which it was raised, or empty.
    pub procedure: String,
    /// The line of the batch, counted from 1; 0 before it is known.
    pub line: u32,
}

impl SqlError {
    /// An error of the number, class and state given.
    #[must_use]
    pub fn new(number: i32, class: u8, state: u8, message: impl Into<String>) -> SqlError {
        SqlError { number, class, state, message: message.into(), procedure: String::new(), line: 0 }
    }

    pub(crate) fn in_procedure(mut self, procedure: &str) -> SqlError {
        procedure.clone_into(&mut self.procedure);
        self
    }

    /// 102: text that cannot be parsed, near `near`.
    pub(crate) fn syntax(near: impl std::fmt::Display) -> SqlError {
        SqlError::new(102, 15, 1, format!("Incorrect syntax near '{near}'."))
    }

    /// 102 for what a real server may run and this one does not.
    pub(crate) fn not_modelled(what: impl std::fmt::Display) -> SqlError {
        SqlError::new(
            102,
            15,
            99,
            format!("Incorrect syntax near '{what}': the stand-in does not model this."),
        )
    }

    pub(crate) fn invalid_object(name: impl std::fmt::Display) -> SqlError {
        SqlError::new(208, 16, 1, format!("Invalid object name '{name}'."))
    }

    pub(crate) fn invalid_column(name: &str) -> SqlError {
        SqlError::new(207, 16, 1, format!("Invalid column name '{name}'."))
    }

    pub(crate) fn denied(permission: &str, object: &str, database: &str, schema: &str) -> SqlError {
        let message = format!(
            "The {permission} permission was denied on the object '{object}', database '{database}', schema '{schema}'."
        );
        SqlError::new(229, 14, 5, message)
    }

    pub(crate) fn conversion(from: &str, to: &str) -> SqlError {
        SqlError::new(8114, 16, 5, format!("Error converting data type {from} to {to}."))
    }

    pub(crate) fn overflow(to: &str) -> SqlError {
        SqlError::new(
            8115,
            16,
            2,
            format!("Arithmetic overflow error converting expression to data type {to}."),
        )
    }

    /// Does the batch go on after this error? Errors of single rows and constraints let it.
    pub(crate) fn lets_the_batch_go_on(&self) -> bool {
        matches!(
            self.number,
            515 | 547 | 2601 | 2627 | 2628 | 8152 | 229 | 50000 | 22901..=22999 | 3902 | 3903
        ) || self.class <= 10
    }

    /// Does this error undo the transaction that it happened in?
    pub(crate) fn undoes_the_transaction(&self) -> bool {
        matches!(self.number, 1205 | 3960)
    }

    /// The error as text, for the way through SQLite's own errors.
    pub(crate) fn packed(&self) -> String {
        format!("\u{1}{}\u{1}{}\u{1}{}\u{1}{}", self.number, self.class, self.state, self.message)
    }

    /// The error that [`SqlError::packed`] made `text` of.
    pub(crate) fn unpacked(text: &str) -> Option<SqlError> {
        let (_, packed) = text.split_once('\u{1}')?;
        let mut fields = packed.splitn(4, '\u{1}');
        let number = fields.next()?.parse().ok()?;
        let class = fields.next()?.parse().ok()?;
        let state = fields.next()?.parse().ok()?;
        Some(SqlError::new(number, class, state, fields.next()?))
    }
}

impl From<rusqlite::Error> for SqlError {
    fn from(error: rusqlite::Error) -> SqlError {
        let text = error.to_string();
        if let Some(ours) = SqlError::unpacked(&text) {
            return ours;
        }
        if let rusqlite::Error::UserFunctionError(inner) = &error
            && let Some(ours) = inner.downcast_ref::<SqlError>()
        {
            return ours.clone();
        }
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::OperationInterrupted) => {
                SqlError::new(3617, 11, 1, "The query was cancelled by its client.")
            }
            _ => SqlError::new(8630, 17, 1, format!("Internal Query Processor Error: {text}")),
        }
    }
}

impl From<SqlError> for rusqlite::Error {
    fn from(error: SqlError) -> rusqlite::Error {
        rusqlite::Error::UserFunctionError(Box::from(error.packed()))
    }
}
