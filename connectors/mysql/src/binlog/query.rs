//! Events that carry a statement
//! (<https://dev.mysql.com/doc/dev/mysql-server/latest/classmysql_1_1binlog_1_1event_1_1Query__event.html>).

use std::borrow::Cow;

use super::DecodeError;
use super::event::kind;
use super::inflate::inflate;
use crate::wire::fields::Fields;

/// Between the event's status and its statement an `EXECUTE_LOAD_QUERY` has these many bytes about its file.
const LOAD_BYTES: usize = 13;

/// A logged statement.
#[derive(Debug)]
pub(crate) struct Query<'a> {
    /// The session's database.
    pub(crate) database: &'a [u8],
    /// Its text; what is not UTF-8 is replaced.
    pub(crate) text: Cow<'a, str>,
}

impl<'a> Query<'a> {
    /// Reads a statement of any of the events that carry one.
    ///
    /// # Errors
    /// When the bytes are too few or cannot be inflated.
    pub(crate) fn read(event: u8, body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut fields = Fields(body);
        let _thread = fields.u32()?;
        let _seconds = fields.u32()?;
        let database = usize::from(fields.u8()?);
        let _error = fields.u16()?;
        let status = usize::from(fields.u16()?);
        if event == kind::EXECUTE_LOAD_QUERY {
            fields.bytes(LOAD_BYTES)?;
        }
        fields.bytes(status)?;
        let database = fields.bytes(database)?;
        let _zero = fields.u8()?;
        let text = if event == kind::MARIA_QUERY_COMPRESSED {
            Cow::Owned(String::from_utf8_lossy(&inflate(fields.0)?).into_owned())
        } else {
            String::from_utf8_lossy(fields.0)
        };
        Ok(Self { database, text })
    }
}
