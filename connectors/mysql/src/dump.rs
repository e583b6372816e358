//! Asking a server for its log
//! (<https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_replication.html>,
//! <https://mariadb.com/docs/server/reference/clientserver-protocol/replication-protocol/com_binlog_dump>).

use std::time::Duration;

use change::{SourceError, SourceErrorKind};
use sha2::{Digest, Sha256};

use crate::binlog::event::Checksum;
use crate::config::MysqlConfig;
use crate::gtid::{GtidSet, uuid_text};
use crate::name::quote_literal;
use crate::position::Place;
use crate::wire::Connection;

const COM_BINLOG_DUMP: u8 = 0x12;
const COM_REGISTER_REPLICA: u8 = 0x15;
const COM_BINLOG_DUMP_GTID: u8 = 0x1e;
/// Start after a GTID set.
const BY_GTIDS: u16 = 4;
/// Where each file of the log begins, behind its four magic bytes.
pub(crate) const FILE_START: u64 = 4;
/// The host under which servers list us among their replicas.
pub(crate) const READER: &str = "bitacora";
/// How often an idle server tells that it lives.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(5);

/// Where the log shall be read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum From {
    /// After these transactions.
    Gtids(GtidSet),
    /// At this place.
    Place(Place),
}

/// Asks for the log; events follow as packets. Returns how they are protected at first.
///
/// # Errors
/// When the server refuses, or the connection breaks.
pub(crate) fn start(
    connection: &mut Connection,
    config: &MysqlConfig,
    table: &str,
    from: &From,
) -> Result<Checksum, SourceError> {
    let server_id = server_id(config, table);
    let checksum = announce(connection, config, table, from)?;
    register(connection, server_id)?;
    let mut command = Vec::new();
    match from {
        From::Gtids(set @ GtidSet::MySql(_)) => {
            let encoded = set.encode();
            command.push(COM_BINLOG_DUMP_GTID);
            command.extend_from_slice(&BY_GTIDS.to_le_bytes());
            command.extend_from_slice(&server_id.to_le_bytes());
            command.extend_from_slice(&0_u32.to_le_bytes());
            command.extend_from_slice(&FILE_START.to_le_bytes());
            command.extend_from_slice(&u32::try_from(encoded.len()).unwrap_or(u32::MAX).to_le_bytes());
            command.extend_from_slice(&encoded);
        }
        From::Gtids(GtidSet::MariaDb(_)) => dump(&mut command, server_id, "", FILE_START),
        From::Place(place) => dump(&mut command, server_id, &place.file, place.offset),
    }
    connection.send_command(&command)?;
    Ok(checksum)
}

fn dump(command: &mut Vec<u8>, server_id: u32, file: &str, offset: u64) {
    command.push(COM_BINLOG_DUMP);
    // The command has no room for more: whoever needs a later place reads the file from its beginning.
    command.extend_from_slice(&u32::try_from(offset).unwrap_or(u32::MAX).to_le_bytes());
    command.extend_from_slice(&0_u16.to_le_bytes());
    command.extend_from_slice(&server_id.to_le_bytes());
    command.extend_from_slice(file.as_bytes());
}

/// Tells what we understand: checksums, and on MariaDB its own events; and how often we want to hear from an idle server.
/// Servers know these variables by an older or a newer name.
fn announce(
    connection: &mut Connection,
    config: &MysqlConfig,
    table: &str,
    from: &From,
) -> Result<Checksum, SourceError> {
    let context = "prepare to read the log";
    let heartbeat = HEARTBEAT.as_nanos();
    let mut settings = vec![
        format!("@master_heartbeat_period = {heartbeat}, @source_heartbeat_period = {heartbeat}"),
        "@master_binlog_checksum = @@GLOBAL.binlog_checksum, @source_binlog_checksum = @@GLOBAL.binlog_checksum"
            .to_owned(),
    ];
    if connection.flavour().is_mariadb() {
        let state = match from {
            From::Gtids(set) => quote_literal(&set.to_string()),
            From::Place(_) => "NULL".to_owned(),
        };
        settings.push("@mariadb_slave_capability = 4, @slave_gtid_strict_mode = 0".to_owned());
        settings.push(format!("@slave_gtid_ignore_duplicates = 0, @slave_connect_state = {state}"));
    } else {
        let uuid = quote_literal(&own_uuid(config, table));
        settings.push(format!("@slave_uuid = {uuid}, @replica_uuid = {uuid}"));
    }
    connection.execute(context, &format!("SET {}", settings.join(", ")))?;
    let rows = connection.query(context, "SELECT @@GLOBAL.binlog_checksum")?;
    match rows.into_iter().flatten().flatten().next().as_deref() {
        Some("CRC32") => Ok(Checksum::Crc32),
        Some("NONE") => Ok(Checksum::None),
        other => Err(SourceError::new(
            SourceErrorKind::Configuration,
            format!("binlog_checksum is {other:?}, expected CRC32 or NONE"),
        )),
    }
}

/// Lists us among the server's replicas, so that administrators see who reads.
fn register(connection: &mut Connection, server_id: u32) -> Result<(), SourceError> {
    let host = READER.as_bytes();
    let mut command = vec![COM_REGISTER_REPLICA];
    command.extend_from_slice(&server_id.to_le_bytes());
    command.push(u8::try_from(host.len()).unwrap_or_default());
    command.extend_from_slice(host);
    // Neither user nor password, no port, no rank, no source.
    command.extend_from_slice(&[0; 12]);
    connection.command("register as a reader of the log", &command)
}

/// The number under which we read: the configured one, or one that stays the same for the same table and user. It is
/// high, where administrators seldom number.
pub(crate) fn server_id(config: &MysqlConfig, table: &str) -> u32 {
    config.server_id.unwrap_or_else(|| {
        let [a, b, c, d, ..] = digest(config, table);
        u32::from_le_bytes([a, b, c, d]) | 1 << 31
    })
}

/// By this the server knows that a second connection is the same reader, and ends the first.
fn own_uuid(config: &MysqlConfig, table: &str) -> String {
    let [_, _, _, _, rest @ ..] = digest(config, table);
    let mut uuid = [0; 16];
    for (byte, made) in uuid.iter_mut().zip(rest) {
        *byte = made;
    }
    uuid_text(&uuid)
}

fn digest(config: &MysqlConfig, table: &str) -> [u8; 32] {
    let mut hasher = Sha256::new();
    let id = config.server_id.unwrap_or_default().to_string();
    for part in [&config.host, &config.port.to_string(), &config.user, &config.database, table, &id] {
        hasher.update(part.as_bytes());
        hasher.update([0]);
    }
    hasher.finalize().into()
}
