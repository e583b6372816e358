//! What a database knows of itself: tables, users, rights, and whether changes are captured.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::principals::{Grant, Role, User};
use crate::sql::datatype::SqlType;

/// A column of a table.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Column {
    /// `column_id`; never used twice in a table.
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) of: SqlType,
    pub(crate) nullable: bool,
    /// Seed and increment.
    pub(crate) identity: Option<(i64, i64)>,
    /// The expression, as it was written.
    pub(crate) default: Option<String>,
}

/// An index, perhaps of a constraint.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Index {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) unique: bool,
    pub(crate) primary: bool,
    /// Made by a UNIQUE constraint.
    pub(crate) constraint: bool,
    /// `column_id`s.
    pub(crate) columns: Vec<i64>,
}

/// A table.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Table {
    pub(crate) id: i64,
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) columns: Vec<Column>,
    pub(crate) indexes: Vec<Index>,
    /// One of the tables of change data capture, which users do not write to.
    pub(crate) system: bool,
    /// Units of 1/300 s since 1900-01-01, local.
    pub(crate) created_at: i64,
}

impl Table {
    /// The table of SQLite.
    pub(crate) fn stored(&self) -> String {
        format!("t{}", self.id)
    }

    pub(crate) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| same(&column.name, name))
    }

    pub(crate) fn primary(&self) -> Option<&Index> {
        self.indexes.iter().find(|index| index.primary)
    }

    pub(crate) fn full_name(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }
}

/// A capture instance: one change table and what fills it.
///
/// <https://learn.microsoft.com/en-us/sql/relational-databases/system-tables/cdc-change-tables-transact-sql>
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Instance {
    pub(crate) name: String,
    /// `object_id` of the change table.
    pub(crate) change_table: i64,
    /// `object_id` of the table whose changes are captured.
    pub(crate) source: i64,
    /// Captured columns: the source's `column_id`, their name and type at the time of enabling.
    pub(crate) columns: Vec<(i64, String, SqlType)>,
    /// Names of the columns that tell a row.
    pub(crate) key: Vec<String>,
    pub(crate) net_changes: bool,
    /// The record of the log at which it was made.
    pub(crate) enabled_record: i64,
    pub(crate) role: Option<String>,
}

/// What a trigger waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Event {
    Insert,
    Update,
    Delete,
}

/// What happens after each statement that changes a table.
///
/// <https://learn.microsoft.com/en-us/sql/t-sql/statements/create-trigger-transact-sql>
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Trigger {
    pub(crate) id: i64,
    /// It is in the schema of its table.
    pub(crate) name: String,
    /// `object_id` of the table.
    pub(crate) table: i64,
    pub(crate) events: Vec<Event>,
    /// The statements, as they were written.
    pub(crate) body: String,
}

/// The parameters of the two jobs.
///
/// <https://learn.microsoft.com/en-us/sql/relational-databases/system-tables/dbo-cdc-jobs-transact-sql>
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Jobs {
    /// `maxtrans`, `maxscans`, `continuous`, `pollinginterval` in seconds.
    pub(crate) capture: Option<(i64, i64, bool, i64)>,
    /// `retention` in minutes, `threshold` in rows.
    pub(crate) cleanup: Option<(i64, i64)>,
}

/// Everything.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Catalog {
    pub(crate) next_object: i64,
    /// Units of 1/300 s since 1900-01-01, local.
    pub(crate) created_at: i64,
    pub(crate) recovery_fork: [u8; 16],
    pub(crate) broker: [u8; 16],
    pub(crate) snapshot_isolation: bool,
    pub(crate) read_committed_snapshot: bool,
    pub(crate) cdc_enabled: bool,
    pub(crate) schemas: Vec<(i64, String)>,
    pub(crate) tables: BTreeMap<i64, Table>,
    pub(crate) users: Vec<User>,
    pub(crate) roles: Vec<Role>,
    pub(crate) grants: Vec<Grant>,
    pub(crate) instances: Vec<Instance>,
    pub(crate) triggers: Vec<Trigger>,
    pub(crate) jobs: Jobs,
}

impl Catalog {
    /// A new database's.
    pub(crate) fn new(created_at: i64) -> Catalog {
        let role = |(number, name): (i64, &str)| Role { id: number, name: name.to_owned() };
        Catalog {
            next_object: 901_578_250,
            created_at,
            recovery_fork: rand::random(),
            broker: rand::random(),
            snapshot_isolation: false,
            read_committed_snapshot: false,
            cdc_enabled: false,
            schemas: vec![(1, "dbo".to_owned())],
            tables: BTreeMap::new(),
            users: vec![User { id: 1, name: "dbo".to_owned(), login: None, roles: Vec::new() }],
            roles: [
                (0, "public"),
                (16_384, "db_owner"),
                (16_390, "db_datareader"),
                (16_391, "db_datawriter"),
                (16_387, "db_ddladmin"),
                (16_386, "db_securityadmin"),
            ]
            .into_iter()
            .map(role)
            .collect(),
            grants: Vec::new(),
            instances: Vec::new(),
            triggers: Vec::new(),
            jobs: Jobs { capture: None, cleanup: None },
        }
    }

    /// A number for a new object.
    pub(crate) fn new_object(&mut self) -> i64 {
        self.next_object += 16;
        self.next_object
    }

    pub(crate) fn table(&self, schema: &str, name: &str) -> Option<&Table> {
        self.tables.values().find(|table| same(&table.schema, schema) && same(&table.name, name))
    }

    pub(crate) fn schema_id(&self, name: &str) -> Option<i64> {
        self.schemas.iter().find(|(_, known)| same(known, name)).map(|(id, _)| *id)
    }

    pub(crate) fn instance(&self, name: &str) -> Option<&Instance> {
        self.instances.iter().find(|instance| same(&instance.name, name))
    }

    /// The capture instances of a table.
    pub(crate) fn instances_of(&self, table: i64) -> impl Iterator<Item = &Instance> {
        self.instances.iter().filter(move |instance| instance.source == table)
    }
}

/// Are two names the same in a collation that ignores case?
pub(crate) fn same(one: &str, other: &str) -> bool {
    one == other || one.to_lowercase() == other.to_lowercase()
}
