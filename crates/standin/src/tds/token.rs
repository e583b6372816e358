//! The token stream of an answer ([MS-TDS] 2.2.7).
//!
//! [MS-TDS]: https://learn.microsoft.com/en-us/openspecs/windows_protocols/ms-tds/67b6113c-d722-42d1-902c-3f6e8de09173

use tokio::sync::mpsc::Sender;

use super::bytes::{push_b_varchar, push_us_varchar};
use super::packet::{HEADER, packet};
use super::typeinfo::{COLLATION, push_type, push_value};
use crate::sql::datatype::SqlType;
use crate::sql::error::SqlError;
use crate::sql::value::Value;

/// A column of a result.
#[derive(Debug, Clone)]
pub(crate) struct ResultColumn {
    pub(crate) name: String,
    pub(crate) of: SqlType,
    pub(crate) nullable: bool,
}

/// More results follow this one.
pub(crate) const MORE: u16 = 0x01;
/// The statement failed.
pub(crate) const ERROR: u16 = 0x02;
/// The count of rows is valid.
pub(crate) const COUNT: u16 = 0x10;
/// The answer to an attention.
pub(crate) const ATTENTION: u16 = 0x20;

/// Which of the three tokens ends a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Done {
    /// A statement of a batch.
    Batch = 0xFD,
    /// A procedure.
    Procedure = 0xFE,
    /// A statement inside a procedure.
    InProcedure = 0xFF,
}

/// The client has gone, or is to be thought gone.
#[derive(Debug)]
pub(crate) struct Gone;

/// An answer as it is written: packets leave as soon as they are full.
pub(crate) struct TokenStream {
    pending: Vec<u8>,
    packet_size: usize,
    packet_id: u8,
    out: Sender<Vec<u8>>,
    server_name: String,
}

impl TokenStream {
    pub(crate) fn new(out: Sender<Vec<u8>>, packet_size: usize, server_name: &str) -> TokenStream {
        TokenStream {
            pending: Vec::new(),
            packet_size,
            packet_id: 0,
            out,
            server_name: server_name.to_owned(),
        }
    }

    fn send(&mut self, payload: &[u8], last: bool) -> Result<(), Gone> {
        self.packet_id = self.packet_id.wrapping_add(1);
        self.out.blocking_send(packet(4, payload, last, self.packet_id)).map_err(|_| Gone)
    }

    /// Sends what fills packets.
    ///
    /// # Errors
    /// [`Gone`] when nobody takes them any more.
    pub(crate) fn flush_full(&mut self) -> Result<(), Gone> {
        let room = self.packet_size - HEADER;
        while self.pending.len() > room {
            let rest = self.pending.split_off(room);
            let full = std::mem::replace(&mut self.pending, rest);
            self.send(&full, false)?;
        }
        Ok(())
    }

    /// Ends the message.
    ///
    /// # Errors
    /// As [`TokenStream::flush_full`].
    pub(crate) fn finish(&mut self) -> Result<(), Gone> {
        self.flush_full()?;
        let payload = std::mem::take(&mut self.pending);
        self.send(&payload, true)?;
        self.packet_id = 0;
        Ok(())
    }

    /// Sends what is there in a packet that is not the last: what a connection that is cut has sent so far.
    ///
    /// # Errors
    /// As [`TokenStream::flush_full`].
    pub(crate) fn send_torn(&mut self) -> Result<(), Gone> {
        self.flush_full()?;
        let mut payload = std::mem::take(&mut self.pending);
        payload.truncate(payload.len().saturating_sub(3));
        self.send(&payload, false)
    }

    /// Begins a result: its columns.
    pub(crate) fn metadata(&mut self, columns: &[ResultColumn]) {
        self.pending.push(0x81);
        self.pending.extend_from_slice(&u16::try_from(columns.len()).unwrap_or(u16::MAX).to_le_bytes());
        for column in columns {
            self.pending.extend_from_slice(&0u32.to_le_bytes());
            // Bit 3: may be changed, unknown by whom.
            let flags: u16 = if column.nullable { 0x09 } else { 0x08 };
            self.pending.extend_from_slice(&flags.to_le_bytes());
            push_type(&mut self.pending, column.of);
            push_b_varchar(&mut self.pending, &column.name);
        }
    }

    /// The columns by which a result is ordered, counted from 1.
    pub(crate) fn order(&mut self, columns: &[u16]) {
        if columns.is_empty() {
            return;
        }
        self.pending.push(0xA9);
        self.pending.extend_from_slice(&u16::try_from(columns.len() * 2).unwrap_or(u16::MAX).to_le_bytes());
        for column in columns {
            self.pending.extend_from_slice(&column.to_le_bytes());
        }
    }

    /// One row: with a bitmap of its NULLs where there are several, as the server does.
    pub(crate) fn row(&mut self, columns: &[ResultColumn], values: &[Value]) {
        let nulls = values.iter().filter(|value| value.is_null()).count();
        let compressed = nulls > 1;
        if compressed {
            self.pending.push(0xD2);
            for eight in values.chunks(8) {
                let bits = eight.iter().enumerate().filter(|(_, value)| value.is_null());
                self.pending.push(bits.fold(0u8, |bits, (at, _)| bits | 1 << at));
            }
        } else {
            self.pending.push(0xD1);
        }
        for (column, value) in columns.iter().zip(values) {
            if !(compressed && value.is_null()) {
                push_value(&mut self.pending, value, column.of);
            }
        }
    }

    pub(crate) fn done(&mut self, token: Done, status: u16, rows: u64) {
        self.pending.push(token as u8);
        self.pending.extend_from_slice(&status.to_le_bytes());
        self.pending.extend_from_slice(&0xC1u16.to_le_bytes());
        self.pending.extend_from_slice(&rows.to_le_bytes());
    }

    pub(crate) fn return_status(&mut self, status: i32) {
        self.pending.push(0x79);
        self.pending.extend_from_slice(&status.to_le_bytes());
    }

    /// An error, or with a class of 10 and less a message.
    pub(crate) fn error(&mut self, error: &SqlError) {
        let mut body = Vec::new();
        body.extend_from_slice(&error.number.to_le_bytes());
        body.extend_from_slice(&[error.state, error.class]);
        push_us_varchar(&mut body, &error.message);
        push_b_varchar(&mut body, &self.server_name);
        push_b_varchar(&mut body, &error.procedure);
        body.extend_from_slice(&error.line.max(1).to_le_bytes());
        self.pending.push(if error.class > 10 { 0xAA } else { 0xAB });
        self.pending.extend_from_slice(&u16::try_from(body.len()).unwrap_or(u16::MAX).to_le_bytes());
        self.pending.extend_from_slice(&body);
    }

    fn environment(&mut self, kind: u8, fields: &[u8]) {
        self.pending.push(0xE3);
        self.pending.extend_from_slice(&u16::try_from(fields.len() + 1).unwrap_or(u16::MAX).to_le_bytes());
        self.pending.push(kind);
        self.pending.extend_from_slice(fields);
    }

    fn environment_text(&mut self, kind: u8, new: &str, old: &str) {
        let mut fields = Vec::new();
        push_b_varchar(&mut fields, new);
        push_b_varchar(&mut fields, old);
        self.environment(kind, &fields);
    }

    pub(crate) fn database_changed(&mut self, new: &str, old: &str) {
        self.environment_text(1, new, old);
        let changed = format!("Changed database context to '{new}'.");
        self.error(&SqlError::new(5701, 0, 2, changed));
    }

    /// What follows a good log-in.
    pub(crate) fn logged_in(&mut self, database: &str, packet_size: usize) {
        self.database_changed(database, "master");
        self.environment_text(2, "us_english", "");
        self.error(&SqlError::new(5703, 0, 1, "Changed language setting to us_english."));
        let mut fields = vec![5];
        fields.extend_from_slice(&COLLATION);
        fields.push(0);
        self.environment(7, &fields);
        self.environment_text(4, &packet_size.to_string(), "4096");
        let mut body = vec![1];
        body.extend_from_slice(&[0x74, 0, 0, 4]);
        push_b_varchar(&mut body, "Microsoft SQL Server");
        body.extend_from_slice(&[16, 0, 0x10, 0x4A]);
        self.pending.push(0xAD);
        self.pending.extend_from_slice(&u16::try_from(body.len()).unwrap_or(u16::MAX).to_le_bytes());
        self.pending.extend_from_slice(&body);
    }

    /// Sends the client to another server ([MS-TDS] ENVCHANGE type 20).
    ///
    /// [MS-TDS]: https://learn.microsoft.com/en-us/openspecs/windows_protocols/ms-tds/2b3eb7e5-d43d-4d1b-bf4d-76b9e3afc791
    pub(crate) fn routed(&mut self, host: &str, port: u16) {
        let mut route = vec![0];
        route.extend_from_slice(&port.to_le_bytes());
        push_us_varchar(&mut route, host);
        let mut fields = u16::try_from(route.len()).unwrap_or(u16::MAX).to_le_bytes().to_vec();
        fields.extend_from_slice(&route);
        fields.extend_from_slice(&0u16.to_le_bytes());
        self.environment(20, &fields);
    }

    pub(crate) fn transaction_begun(&mut self, descriptor: u64) {
        let mut fields = vec![8];
        fields.extend_from_slice(&descriptor.to_le_bytes());
        fields.push(0);
        self.environment(8, &fields);
    }

    /// A transaction's end: committed, or rolled back.
    pub(crate) fn transaction_ended(&mut self, descriptor: u64, committed: bool) {
        let mut fields = vec![0, 8];
        fields.extend_from_slice(&descriptor.to_le_bytes());
        self.environment(if committed { 9 } else { 10 }, &fields);
    }
}
