//! The questions to the catalogue, which work on every supported version of both products.

use change::{SourceError, SourceErrorKind, TableScope};

use super::key::{self, IndexPart};
use super::{Column, Kind, Lookup, MissingColumn, Table};
use crate::config::MysqlConfig;
use crate::name::{configured_part, parse_table_name, quote_literal};
use crate::wire::Connection;
use change::nearest::nearest;

/// A row of a small result.
type Answer = Vec<Option<String>>;

/// Looks the table up without judging it.
///
/// # Errors
/// When the name cannot be read, or the catalogue cannot.
pub(crate) fn look_up(
    connection: &mut Connection,
    config: &MysqlConfig,
    scope: &TableScope,
) -> Result<Lookup, SourceError> {
    let (database, name) = parse_table_name(&scope.table, &config.database)?;
    let Some(entry) = entry(connection, &database, &name)? else {
        let similar = similar_tables(connection, &config.database, &database, &name)?;
        return Ok(Lookup::Absent { database, name, similar });
    };
    let columns = columns(connection, &entry)?;
    let find = |wanted: &str| columns.iter().position(|column| column.name == wanted);
    let missing = scope
        .columns
        .iter()
        .filter(|wanted| find(wanted).is_none())
        .map(|wanted| MissingColumn {
            name: wanted.clone(),
            similar: nearest(wanted, columns.iter().map(|column| column.name.as_str())),
        })
        .collect();
    let mapped = scope.columns.iter().filter_map(|wanted| find(wanted)).collect();
    let (key_name, key) = key(connection, &entry, &columns)?.unwrap_or_default();
    let table = Table {
        kind: entry.kind(),
        database: entry.database,
        name: entry.name,
        engine: entry.engine,
        transactional: entry.transactional,
        rows_estimate: entry.rows,
        columns,
        mapped,
        key,
        key_name,
    };
    Ok(Lookup::Found { table: Box::new(table), missing })
}

/// What the catalogue has about the table as a whole.
struct Entry {
    database: String,
    name: String,
    table_type: String,
    engine: String,
    transactional: bool,
    rows: Option<u64>,
}

impl Entry {
    fn kind(&self) -> Kind {
        match (self.table_type.as_str(), self.engine.to_ascii_uppercase().as_str()) {
            ("VIEW" | "SYSTEM VIEW", _) => Kind::Unfit("a view"),
            ("SEQUENCE", _) => Kind::Unfit("a sequence"),
            ("TEMPORARY", _) => Kind::Unfit("a temporary table"),
            (_, "BLACKHOLE") => Kind::Unfit("a table of engine BLACKHOLE, which keeps no rows"),
            (_, "FEDERATED" | "CONNECT" | "SPIDER") => {
                Kind::Unfit("a table whose rows are on another server")
            }
            (_, "MRG_MYISAM") => Kind::Unfit("a union of other tables"),
            ("SYSTEM VERSIONED", _) => Kind::Versioned,
            _ if self.is_system() => Kind::Unfit("a system table"),
            _ => Kind::Ordinary,
        }
    }

    fn is_system(&self) -> bool {
        ["mysql", "sys", "information_schema", "performance_schema"]
            .contains(&self.database.to_lowercase().as_str())
    }
}

fn entry(connection: &mut Connection, database: &str, name: &str) -> Result<Option<Entry>, SourceError> {
    let sql = format!(
        "SELECT t.TABLE_SCHEMA, t.TABLE_NAME, t.TABLE_TYPE, t.ENGINE, e.TRANSACTIONS, t.TABLE_ROWS,
                @@lower_case_table_names
           FROM information_schema.TABLES t LEFT JOIN information_schema.ENGINES e ON e.ENGINE = t.ENGINE
          WHERE t.TABLE_SCHEMA = {} AND t.TABLE_NAME = {}",
        quote_literal(database),
        quote_literal(name)
    );
    let context = "read the table's entry in the catalogue";
    for row in connection.query(context, &sql)? {
        let mut cells = Cells::of(context, row);
        let entry = Entry {
            database: cells.text()?,
            name: cells.text()?,
            table_type: cells.text()?,
            engine: cells.optional().unwrap_or_default(),
            transactional: cells.optional().as_deref() == Some("YES"),
            rows: cells.optional().and_then(|rows| rows.parse().ok()),
        };
        let folds = cells.text()? != "0";
        // The catalogue's own comparison may ignore case where the server's file system does not.
        let same =
            |one: &str, other: &str| one == other || folds && one.to_lowercase() == other.to_lowercase();
        if same(&entry.database, database) && same(&entry.name, name) {
            return Ok(Some(entry));
        }
    }
    Ok(None)
}

fn columns(connection: &mut Connection, entry: &Entry) -> Result<Vec<Column>, SourceError> {
    let context = "read the table's columns in the catalogue";
    let sql = format!(
        "SELECT COLUMN_NAME, ORDINAL_POSITION, lower(DATA_TYPE), COLUMN_TYPE, CHARACTER_SET_NAME, IS_NULLABLE,
                TABLE_NAME
           FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {} ORDER BY ORDINAL_POSITION",
        quote_literal(&entry.database),
        quote_literal(&entry.name)
    );
    let mut columns = Vec::new();
    for row in connection.query(context, &sql)? {
        let mut cells = Cells::of(context, row);
        let name = cells.text()?;
        let ordinal = cells.number()?;
        let data_type = cells.text()?;
        let column_type = cells.text()?;
        let charset = cells.optional();
        let nullable = cells.text()? == "YES";
        let unsigned = column_type.split(' ').any(|word| word == "unsigned" || word == "zerofill");
        if cells.text()? == entry.name {
            columns.push(Column { name, ordinal, data_type, column_type, charset, unsigned, nullable });
        }
    }
    Ok(columns)
}

fn key(
    connection: &mut Connection,
    entry: &Entry,
    columns: &[Column],
) -> Result<Option<(String, Vec<usize>)>, SourceError> {
    let context = "read the table's unique indexes in the catalogue";
    let sql = format!(
        "SELECT INDEX_NAME, SEQ_IN_INDEX, COLUMN_NAME, SUB_PART, TABLE_NAME
           FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {} AND NON_UNIQUE = 0
          ORDER BY INDEX_NAME, SEQ_IN_INDEX",
        quote_literal(&entry.database),
        quote_literal(&entry.name)
    );
    let mut parts = Vec::new();
    for row in connection.query(context, &sql)? {
        let mut cells = Cells::of(context, row);
        let index = cells.text()?;
        let place = cells.number()?;
        let name = cells.optional();
        let prefix = cells.optional().is_some();
        if cells.text()? != entry.name {
            continue;
        }
        let column = name.and_then(|name| columns.iter().position(|column| column.name == name));
        let unfit = column
            .and_then(|index| columns.get(index))
            .is_none_or(|column| column.nullable || column.key_kind().is_none());
        parts.push(IndexPart { index, place, column, prefix, unfit });
    }
    Ok(key::choose(&parts))
}

/// Existing tables whose name is close to `name`, in the configured database and the one looked into, spelt for the
/// configuration.
fn similar_tables(
    connection: &mut Connection,
    configured: &str,
    database: &str,
    name: &str,
) -> Result<Vec<String>, SourceError> {
    let context = "list the database's tables";
    let sql = format!(
        "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES
          WHERE TABLE_SCHEMA IN ({}, {}) AND TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED') LIMIT 10000",
        quote_literal(database),
        quote_literal(configured)
    );
    let mut tables = Vec::new();
    for row in connection.query(context, &sql)? {
        let mut cells = Cells::of(context, row);
        tables.push((cells.text()?, cells.text()?));
    }
    let close = nearest(name, tables.iter().map(|(_, table)| table.as_str()));
    let mut similar = Vec::new();
    for wanted in &close {
        for (database, table) in tables.iter().filter(|(_, table)| table == wanted) {
            let table = configured_part(table);
            similar.push(if database == configured {
                table
            } else {
                format!("{}.{table}", configured_part(database))
            });
        }
    }
    similar.dedup();
    similar.truncate(3);
    Ok(similar)
}

/// The cells of an answer, taken one after the other.
struct Cells<'a> {
    context: &'a str,
    rest: std::vec::IntoIter<Option<String>>,
}

impl<'a> Cells<'a> {
    fn of(context: &'a str, row: Answer) -> Self {
        Self { context, rest: row.into_iter() }
    }

    fn optional(&mut self) -> Option<String> {
        self.rest.next().flatten()
    }

    fn text(&mut self) -> Result<String, SourceError> {
        self.optional().ok_or_else(|| {
            let context = format!("{}: the server left a cell empty", self.context);
            SourceError::new(SourceErrorKind::Protocol, context)
        })
    }

    fn number(&mut self) -> Result<u32, SourceError> {
        let text = self.text()?;
        text.parse().map_err(|_| {
            let context = format!("{}: '{text}' is not a number", self.context);
            SourceError::new(SourceErrorKind::Protocol, context)
        })
    }
}
