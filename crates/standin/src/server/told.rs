//! What the server tells of itself and of its capture jobs.

use super::state::{ServerState, locked};
use crate::bind::system::{View as Rows, made};
use crate::sql::datatype::SqlType;
use crate::sql::format::hex;
use crate::sql::value::Value;

impl ServerState {
    /// <https://learn.microsoft.com/en-us/sql/relational-databases/system-dynamic-management-views/change-data-capture-sys-dm-cdc-log-scan-sessions>
    pub(crate) fn scan_sessions(&self, database: &str) -> Rows {
        const COLUMNS: &[(&str, SqlType)] = &[
            ("session_id", SqlType::Int),
            ("start_time", SqlType::DateTime),
            ("end_time", SqlType::DateTime),
            ("duration", SqlType::BigInt),
            ("scan_phase", SqlType::nvarchar(200)),
            ("error_count", SqlType::Int),
            ("start_lsn", SqlType::nvarchar(23)),
            ("current_lsn", SqlType::nvarchar(23)),
            ("end_lsn", SqlType::nvarchar(23)),
            ("tran_count", SqlType::BigInt),
            ("last_commit_lsn", SqlType::nvarchar(23)),
            ("last_commit_time", SqlType::DateTime),
            ("command_count", SqlType::BigInt),
            ("latency", SqlType::Int),
            ("empty_scan_count", SqlType::Int),
            ("failed_sessions_count", SqlType::Int),
        ];
        let captured = locked(&self.captured);
        let id = self.database(database).map_or(0, |database| database.id);
        let Some(entry) = captured.get(&id) else { return made(COLUMNS, Vec::new()) };
        let lsn = |lsn: &Option<Vec<u8>>| match lsn {
            Some(bytes) => {
                let digits = hex(bytes).to_lowercase();
                let part = |from: usize, to: usize| digits.get(from..to).unwrap_or_default().to_owned();
                Value::Text(format!("{}:{}:{}", part(0, 8), part(8, 16), part(16, 20)))
            }
            None => Value::from("00000000:00000000:0000"),
        };
        let errors = i64::try_from(entry.errors.len()).unwrap_or(0);
        let rows = (1i64..).zip(&entry.scans).map(|(number, scan)| {
            vec![
                Value::Int(number),
                Value::DateTime(scan.started_at),
                Value::DateTime(scan.ended_at),
                Value::Int((scan.ended_at - scan.started_at) / 300),
                Value::from("Done"),
                Value::Int(0),
                lsn(&scan.first_lsn),
                lsn(&scan.last_lsn),
                lsn(&scan.last_lsn),
                Value::Int(scan.transactions),
                lsn(&scan.last_lsn),
                scan.last_commit_at.map_or(Value::Null, Value::DateTime),
                Value::Int(scan.commands),
                Value::Int(scan.latency),
                Value::Int(if scan.transactions == 0 { entry.empty } else { 0 }),
                Value::Int(errors),
            ]
        });
        made(COLUMNS, rows.collect())
    }

    /// <https://learn.microsoft.com/en-us/sql/relational-databases/system-dynamic-management-views/change-data-capture-sys-dm-cdc-errors>
    pub(crate) fn capture_errors(&self, database: &str) -> Rows {
        const COLUMNS: &[(&str, SqlType)] = &[
            ("session_id", SqlType::Int),
            ("phase_number", SqlType::Int),
            ("entry_time", SqlType::DateTime),
            ("error_number", SqlType::Int),
            ("error_severity", SqlType::Int),
            ("error_state", SqlType::Int),
            ("error_message", SqlType::nvarchar(1024)),
        ];
        let captured = locked(&self.captured);
        let id = self.database(database).map_or(0, |database| database.id);
        let errors = captured.get(&id).map(|entry| entry.errors.as_slice()).unwrap_or_default();
        let rows = errors.iter().map(|(at, message)| {
            vec![
                Value::Int(1),
                Value::Int(7),
                Value::DateTime(*at),
                Value::Int(22_859),
                Value::Int(16),
                Value::Int(2),
                Value::from(message.as_str()),
            ]
        });
        made(COLUMNS, rows.collect())
    }

    /// Is it a database of the cloud, beside others' on a server that nobody sees?
    pub(crate) fn is_azure(&self) -> bool {
        self.options.edition.contains("Azure")
    }

    pub(crate) fn version_text(&self) -> String {
        format!(
            "Microsoft SQL Server 2022 (RTM) - 16.0.4170.1 (X64) \n\tbitacora stand-in\n\t{}",
            self.options.edition
        )
    }

    /// <https://learn.microsoft.com/en-us/sql/t-sql/functions/serverproperty-transact-sql>
    pub(crate) fn property(&self, name: &str) -> Value {
        match name.to_lowercase().as_str() {
            "productversion" => Value::from("16.0.4170.1"),
            "productmajorversion" => Value::from("16"),
            "productlevel" => Value::from("RTM"),
            "edition" => Value::from(self.options.edition.as_str()),
            "engineedition" => Value::Int(match self.options.edition.as_str() {
                _ if self.is_azure() => 5,
                edition if edition.contains("Express") => 4,
                edition if edition.contains("Standard") => 2,
                _ => 3,
            }),
            "servername" | "machinename" => Value::from(self.name.as_str()),
            "collation" => Value::from("SQL_Latin1_General_CP1_CI_AS"),
            "ishadrenabled" | "isclustered" => Value::Int(0),
            _ => Value::Null,
        }
    }
}
