//! Requests: batches, remote procedure calls, and transactions begun without text ([MS-TDS] 2.2.6).
//!
//! [MS-TDS]: https://learn.microsoft.com/en-us/openspecs/windows_protocols/ms-tds/619c43b6-9495-4a58-9e49-a4950db245b3

use super::ProtocolError;
use super::bytes::{Reader, utf16_text};
use super::packet::{Kind, Message};
use super::parameter::read_parameter;
use crate::sql::datatype::SqlType;
use crate::sql::value::Value;

/// A parameter of a call.
#[derive(Debug)]
pub(crate) struct Parameter {
    /// With its `@`, or empty.
    pub(crate) name: String,
    pub(crate) of: SqlType,
    pub(crate) value: Value,
}

/// What a client asks.
#[derive(Debug)]
pub(crate) enum Request {
    Batch(String),
    Call { procedure: String, parameters: Vec<Parameter> },
    Begin,
    Commit { begin_next: bool },
    Rollback,
    Attention,
}

/// Procedures that are called by number.
const NUMBERED: [(u16, &str); 4] =
    [(10, "sp_executesql"), (11, "sp_prepare"), (12, "sp_execute"), (13, "sp_prepexec")];

/// Reads a request.
///
/// # Errors
/// [`ProtocolError::Malformed`] for anything that a client does not send after its log-in.
pub(crate) fn parse(message: &Message) -> Result<Request, ProtocolError> {
    let mut reader = Reader::new(&message.body);
    match message.kind {
        Kind::Attention => Ok(Request::Attention),
        Kind::Batch => {
            skip_headers(&mut reader)?;
            Ok(Request::Batch(utf16_text(reader.remainder())))
        }
        Kind::Rpc => {
            skip_headers(&mut reader)?;
            call(&mut reader)
        }
        Kind::TransactionManager => {
            skip_headers(&mut reader)?;
            match reader.u16()? {
                5 => Ok(Request::Begin),
                7 => {
                    reader.b_varchar()?;
                    Ok(Request::Commit { begin_next: reader.u8()? & 1 == 1 })
                }
                8 => Ok(Request::Rollback),
                _ => Err(ProtocolError::Malformed("a transaction request that is not modelled")),
            }
        }
        _ => Err(ProtocolError::Malformed("a message that is not modelled after the log-in")),
    }
}

fn skip_headers(reader: &mut Reader<'_>) -> Result<(), ProtocolError> {
    let total = reader.u32()? as usize;
    let rest =
        total.checked_sub(4).ok_or(ProtocolError::Malformed("headers are shorter than their length"))?;
    reader.take(rest)?;
    Ok(())
}

fn call(reader: &mut Reader<'_>) -> Result<Request, ProtocolError> {
    let length = reader.u16()?;
    let procedure = if length == u16::MAX {
        let number = reader.u16()?;
        let known = NUMBERED.iter().find(|(known, _)| *known == number);
        known.map_or_else(|| format!("sp_procedure_{number}"), |(_, name)| (*name).to_owned())
    } else {
        reader.utf16(usize::from(length))?
    };
    reader.u16()?;
    let mut parameters = Vec::new();
    while !reader.is_empty() {
        let name = reader.b_varchar()?;
        reader.u8()?;
        let (of, value) = read_parameter(reader)?;
        parameters.push(Parameter { name, of, value });
    }
    Ok(Request::Call { procedure, parameters })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_call_is_an_error_and_never_a_shorter_call() {
        let mut body = vec![22, 0, 0, 0];
        body.extend_from_slice(&[0; 18]);
        body.extend_from_slice(&[0xFF, 0xFF, 10, 0, 0, 0]);
        let whole = body.len();
        body.extend_from_slice(&[0, 0, 0x26, 4, 4, 7, 0, 0, 0]);
        let parse_part = |length: usize| parse(&Message { kind: Kind::Rpc, body: body[..length].to_vec() });
        let Request::Call { procedure, parameters } = parse_part(body.len()).unwrap() else { unreachable!() };
        assert_eq!((procedure.as_str(), &parameters[0].value), ("sp_executesql", &Value::Int(7)));
        for length in (0..whole).chain(whole + 1..body.len()) {
            assert!(parse_part(length).is_err(), "{length} bytes");
        }
    }
}
