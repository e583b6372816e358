//! What stands at the beginning and the end of a transaction.

use super::DecodeError;
use super::event::kind;
use crate::gtid::{Gtid, Origin};
use crate::name::hex;
use crate::wire::fields::Fields;

/// MariaDB: no commit follows, the next statement is all.
const STANDALONE: u8 = 1;
/// MariaDB: the transaction is prepared at its end, not committed.
const PREPARED_XA: u8 = 64;
/// The field numbers of a tagged GTID event
/// (<https://dev.mysql.com/doc/dev/mysql-server/latest/PageLibsMysqlSerialization.html>).
const FIELD_TAG: u64 = 3;
const FIELD_IMMEDIATE_COMMIT: u64 = 6;

/// The beginning of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Begin {
    /// Its identifier; `None` where GTIDs are off.
    pub(crate) gtid: Option<Gtid>,
    /// When it committed on this server, in microseconds since the epoch, where the event tells.
    pub(crate) committed_at: Option<i64>,
    /// Whether a commit must follow even without a `BEGIN`.
    pub(crate) ends_with_commit: bool,
    /// Whether the end is a prepared XA transaction, where the event tells; MySQL tells by a statement.
    pub(crate) prepares: bool,
}

impl Begin {
    /// Reads a GTID event of either product; `server` is the event's own server.
    ///
    /// # Errors
    /// When the bytes are too few.
    pub(crate) fn read(event: u8, server: u32, body: &[u8]) -> Result<Self, DecodeError> {
        let mut fields = Fields(body);
        match event {
            kind::MARIA_GTID => {
                let sequence = fields.u64()?;
                let domain = fields.u32()?;
                let flags = fields.u8()?;
                Ok(Self {
                    gtid: Some(Gtid::MariaDb { domain, server, sequence }),
                    committed_at: None,
                    ends_with_commit: flags & STANDALONE == 0,
                    prepares: flags & PREPARED_XA != 0,
                })
            }
            kind::GTID_TAGGED => tagged(fields),
            _ => untagged(event, fields),
        }
    }
}

fn untagged(event: u8, mut fields: Fields<'_>) -> Result<Begin, DecodeError> {
    let _flags = fields.u8()?;
    let uuid = fields.array()?;
    let number = fields.u64()?;
    let mut committed_at = None;
    // Logical timestamps, then the moment of the commit, whose highest bit says whether that of the first server
    // follows.
    if let Ok(2) = fields.u8() {
        let _logical = fields.bytes(16)?;
        if let Ok(packed) = fields.uint(7) {
            committed_at = micros(packed & !(1 << 55));
        }
    }
    let gtid = Gtid::MySql { origin: Origin { uuid, tag: "".into() }, number };
    Ok(Begin {
        gtid: (event == kind::GTID).then_some(gtid),
        committed_at,
        ends_with_commit: false,
        prepares: false,
    })
}

/// Fields in order of their numbers, each with its number in front, behind a version and two lengths.
fn tagged(mut fields: Fields<'_>) -> Result<Begin, DecodeError> {
    let version = varlen(&mut fields)?;
    let _size = varlen(&mut fields)?;
    let _last_needed = varlen(&mut fields)?;
    let mut uuid = [0; 16];
    let (mut number, mut tag, mut committed_at) = (0, String::new(), None);
    if version != 1 {
        return Err(DecodeError::UnknownEvent(kind::GTID_TAGGED));
    }
    while !fields.0.is_empty() {
        match varlen(&mut fields)? {
            1 => {
                for byte in &mut uuid {
                    *byte = u8::try_from(varlen(&mut fields)?).map_err(|_| DecodeError::Truncated)?;
                }
            }
            // Numbers with sign: the lowest bit is the sign.
            2 => number = varlen(&mut fields)? >> 1,
            FIELD_TAG => {
                let length = usize::try_from(varlen(&mut fields)?).map_err(|_| DecodeError::Truncated)?;
                tag = fields.text(length)?.to_owned();
            }
            FIELD_IMMEDIATE_COMMIT => {
                committed_at = micros(varlen(&mut fields)?);
                // Nothing that follows is needed.
                break;
            }
            _ => {
                varlen(&mut fields)?;
            }
        }
    }
    let gtid = Gtid::MySql { origin: Origin { uuid, tag: tag.into() }, number };
    Ok(Begin { gtid: Some(gtid), committed_at, ends_with_commit: false, prepares: false })
}

fn micros(value: u64) -> Option<i64> {
    i64::try_from(value).ok().filter(|micros| *micros > 0)
}

/// An integer whose first byte tells by its lowest one bits how many bytes follow.
fn varlen(fields: &mut Fields<'_>) -> Result<u64, DecodeError> {
    let first = *fields.0.first().ok_or(DecodeError::Truncated)?;
    let more = first.trailing_ones();
    if more == 8 {
        fields.u8()?;
        return Ok(fields.u64()?);
    }
    let width = more as usize + 1;
    Ok(fields.uint(width)? >> width)
}

/// The name of an XA transaction, in the form in which `XA COMMIT` is logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Xid(pub(crate) String);

/// The end of an XA transaction's first part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Prepare {
    /// Whether it is a commit all the same: `XA COMMIT … ONE PHASE`.
    pub(crate) one_phase: bool,
    /// The transaction's name.
    pub(crate) xid: Xid,
}

impl Prepare {
    /// Reads the event
    /// (<https://dev.mysql.com/doc/dev/mysql-server/latest/classmysql_1_1binlog_1_1event_1_1XA__prepare__event.html>).
    ///
    /// # Errors
    /// When the bytes are too few.
    pub(crate) fn read(body: &[u8]) -> Result<Self, DecodeError> {
        let mut fields = Fields(body);
        let one_phase = fields.u8()? != 0;
        let format = fields.u32()?.cast_signed();
        let global = usize::try_from(fields.u32()?).map_err(|_| DecodeError::Truncated)?;
        let branch = usize::try_from(fields.u32()?).map_err(|_| DecodeError::Truncated)?;
        let (global, branch) = (hex(fields.bytes(global)?), hex(fields.bytes(branch)?));
        Ok(Self { one_phase, xid: Xid(format!("x'{global}',x'{branch}',{format}")) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prepared_transaction_bears_the_name_that_its_commit_is_logged_with() {
        let body =
            [&[0][..], &1_u32.to_le_bytes(), &2_u32.to_le_bytes(), &1_u32.to_le_bytes(), b"abc"].concat();
        let prepare = Prepare::read(&body).unwrap();
        assert_eq!(prepare.xid, Xid("x'6162',x'63',1".to_owned()));
        for cut in 0..body.len() {
            assert!(Prepare::read(&body[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_mariadb_gtid_tells_whether_a_commit_follows() {
        let body = [&7_u64.to_le_bytes()[..], &2_u32.to_le_bytes(), &[1, 0, 0, 0, 0, 0, 0]].concat();
        let begin = Begin::read(kind::MARIA_GTID, 9, &body).unwrap();
        assert_eq!(begin.gtid.unwrap().to_string(), "2-9-7");
        assert!(!begin.ends_with_commit);
    }

    #[test]
    fn integers_of_variable_length_are_read() {
        for (bytes, expected) in
            [(&[0x00][..], 0), (&[0xfe], 127), (&[0x01, 0x02], 128), (&[0xff, 1, 0, 0, 0, 0, 0, 0, 0], 1)]
        {
            assert_eq!(varlen(&mut Fields(bytes)), Ok(expected));
        }
        assert_eq!(varlen(&mut Fields(&[0x01])), Err(DecodeError::Truncated));
    }
}
