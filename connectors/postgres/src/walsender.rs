//! What the server's sender of the log says while it streams.

use change::{SourceError, SourceErrorKind};

use crate::assembly::Assembly;
use crate::decode::{DecodeError, Fields};
use crate::wire::{Raw, refused, sqlstate};

/// Takes in one message; whether the server asks for a reply.
pub(crate) fn take_in(assembly: &mut Assembly, raw: Raw<'_>, publication: &str) -> Result<bool, SourceError> {
    match raw.tag {
        b'd' => copy_data(assembly, raw.body),
        b'E' => Err(refusal(raw.body, publication)),
        b'c' | b'C' => Err(ended("the server is shutting down")),
        b'N' => notice(raw.body, publication).map(|()| false),
        b'S' => Ok(false),
        tag => Err(SourceError::new(
            SourceErrorKind::Protocol,
            format!("message of type {tag:#04x} has no place in a stream"),
        )),
    }
}

/// PostgreSQL 18 does not fail where the publication is missing at some place in the log: it warns, and skips the
/// changes there. The warning's text comes in the server's language; nothing else warns with this code here.
pub(crate) fn notice(body: &[u8], publication: &str) -> Result<(), SourceError> {
    const OBJECT_NOT_IN_PREREQUISITE_STATE: &str = "55000";
    if sqlstate(body) == OBJECT_NOT_IN_PREREQUISITE_STATE {
        return Err(unpublished(publication).caused_by(refused("stream the log", body)));
    }
    tracing::debug!(sqlstate = sqlstate(body), "the server has something to say about the stream");
    Ok(())
}

/// Reads what the walsender wraps its messages in
/// (<https://www.postgresql.org/docs/current/protocol-replication.html#PROTOCOL-REPLICATION-XLOGDATA>).
fn copy_data(assembly: &mut Assembly, body: &[u8]) -> Result<bool, SourceError> {
    let mut fields = Fields(body);
    match fields.u8()? {
        b'w' => {
            let _start = fields.lsn()?;
            let _end = fields.lsn()?;
            let _clock = fields.u64()?;
            assembly.read(fields.0)?;
            Ok(false)
        }
        b'k' => {
            assembly.keepalive(fields.lsn()?);
            let _clock = fields.u64()?;
            Ok(fields.u8()? == 1)
        }
        unknown => Err(DecodeError::UnknownMessage(unknown).into()),
    }
}

/// What it means that the server gives up while streaming. Only a publication can be an undefined object then.
fn refusal(body: &[u8], publication: &str) -> SourceError {
    const UNDEFINED_OBJECT: &str = "42704";
    let error = refused("stream the log", body);
    if sqlstate(body) == UNDEFINED_OBJECT { unpublished(publication).caused_by(error) } else { error }
}

/// The stream began with the publication in place, so it was dropped since, or made after these changes.
fn unpublished(publication: &str) -> SourceError {
    SourceError::new(
        SourceErrorKind::LostLog,
        format!(
            "publication \"{}\" did not exist yet at this place in the log: what changed there cannot be decoded",
            publication
        ),
    )
}

/// The error for a stream that the server, or the way to it, cut off.
pub(crate) fn ended(what: &str) -> SourceError {
    SourceError::new(SourceErrorKind::Unreachable, format!("the stream ended: {what}"))
}
