//! The views that tell of tables: columns, types, indexes and constraints.

use super::Facts;
use super::system::{BIT, INT, MOMENT, NAME, View, flag, int, made, text};
use crate::engine::catalog::Table;
use crate::sql::datatype::{Length, SqlType};
use crate::sql::error::SqlError;
use crate::sql::value::Value;

pub(super) fn schemas(facts: &Facts<'_>) -> View {
    const COLUMNS: &[(&str, SqlType)] = &[("name", NAME), ("schema_id", INT), ("principal_id", INT)];
    let catalog = facts.database.catalog();
    let mut rows: Vec<_> =
        catalog.schemas.iter().map(|(id, name)| vec![text(name), int(*id), int(1)]).collect();
    rows.push(vec![text("sys"), int(4), int(4)]);
    made(COLUMNS, rows)
}

/// The tables that the reader has any right to.
fn visible(facts: &Facts<'_>) -> Vec<Table> {
    let catalog = facts.database.catalog();
    let any = |table: &&Table| {
        let place = (table.schema.as_str(), table.name.as_str());
        ["SELECT", "INSERT", "UPDATE", "DELETE", "VIEW DEFINITION"]
            .iter()
            .any(|right| facts.principal.may(&catalog, right, place.0, place.1))
            || table
                .columns
                .iter()
                .any(|column| facts.principal.may_column(&catalog, "SELECT", place, Some(&column.name)))
    };
    catalog.tables.values().filter(any).cloned().collect()
}

fn schema_id(facts: &Facts<'_>, name: &str) -> Value {
    facts.database.catalog().schema_id(name).map_or(Value::Null, Value::Int)
}

/// <https://learn.microsoft.com/en-us/sql/relational-databases/system-catalog-views/sys-tables-transact-sql>
pub(super) fn tables(facts: &Facts<'_>) -> View {
    const COLUMNS: &[(&str, SqlType)] = &[
        ("name", NAME),
        ("object_id", INT),
        ("schema_id", INT),
        ("type", SqlType::Text { unicode: false, fixed: true, length: Length::Limited(2) }),
        ("create_date", MOMENT),
        ("modify_date", MOMENT),
        ("is_ms_shipped", BIT),
        ("is_tracked_by_cdc", BIT),
        ("temporal_type", SqlType::TinyInt),
    ];
    let catalog = facts.database.catalog();
    let rows = visible(facts).into_iter().map(|table| {
        vec![
            text(&table.name),
            int(table.id),
            schema_id(facts, &table.schema),
            text("U "),
            Value::DateTime(table.created_at),
            Value::DateTime(table.created_at),
            flag(table.system),
            flag(catalog.instances_of(table.id).next().is_some()),
            int(0),
        ]
    });
    made(COLUMNS, rows.collect())
}

pub(super) fn objects(facts: &Facts<'_>) -> View {
    const COLUMNS: &[(&str, SqlType)] = &[
        ("name", NAME),
        ("object_id", INT),
        ("schema_id", INT),
        ("type", SqlType::Text { unicode: false, fixed: true, length: Length::Limited(2) }),
        ("type_desc", NAME),
        ("is_ms_shipped", BIT),
    ];
    let rows = visible(facts).into_iter().map(|table| {
        let schema = schema_id(facts, &table.schema);
        vec![text(&table.name), int(table.id), schema, text("U "), text("USER_TABLE"), flag(table.system)]
    });
    made(COLUMNS, rows.collect())
}

/// `system_type_id` of a type.
fn type_id(of: SqlType) -> i64 {
    match of {
        SqlType::Bit => 104,
        SqlType::TinyInt => 48,
        SqlType::SmallInt => 52,
        SqlType::BigInt => 127,
        SqlType::Decimal { .. } => 106,
        SqlType::SmallMoney => 122,
        SqlType::Money => 60,
        SqlType::Real => 59,
        SqlType::Float => 62,
        SqlType::Date => 40,
        SqlType::Time(_) => 41,
        SqlType::SmallDateTime => 58,
        SqlType::DateTime => 61,
        SqlType::DateTime2(_) => 42,
        SqlType::DateTimeOffset(_) => 43,
        SqlType::UniqueIdentifier => 36,
        SqlType::Text { unicode: true, fixed: true, .. } => 239,
        SqlType::Text { unicode: true, fixed: false, .. } => 231,
        SqlType::Text { unicode: false, fixed: true, .. } => 175,
        SqlType::Text { unicode: false, fixed: false, .. } => 167,
        SqlType::Bytes { fixed: true, .. } => 173,
        SqlType::Bytes { fixed: false, .. } => 165,
        SqlType::Variant => 98,
        SqlType::Null | SqlType::Int => 56,
    }
}

/// `max_length`, `precision` and `scale` as `sys.columns` tells them.
fn sizes(of: SqlType) -> (i64, i64, i64) {
    let length = |length: Length, width: i64| match length {
        Length::Limited(length) => i64::from(length) * width,
        Length::Max => -1,
    };
    match of {
        SqlType::Text { unicode, length: limit, .. } => (length(limit, if unicode { 2 } else { 1 }), 0, 0),
        SqlType::Bytes { length: limit, .. } => (length(limit, 1), 0, 0),
        SqlType::Decimal { precision, scale } => {
            let width = match precision {
                0..=9 => 5,
                10..=19 => 9,
                20..=28 => 13,
                _ => 17,
            };
            (width, i64::from(precision), i64::from(scale))
        }
        SqlType::DateTime2(scale) => (8, 20 + i64::from(scale), i64::from(scale)),
        SqlType::DateTimeOffset(scale) => (10, 27 + i64::from(scale), i64::from(scale)),
        SqlType::Time(scale) => (5, 9 + i64::from(scale), i64::from(scale)),
        SqlType::Date => (3, 10, 0),
        SqlType::DateTime => (8, 23, 3),
        SqlType::SmallDateTime => (4, 16, 0),
        SqlType::UniqueIdentifier => (16, 0, 0),
        SqlType::BigInt => (8, 19, 0),
        SqlType::SmallInt => (2, 5, 0),
        SqlType::TinyInt => (1, 3, 0),
        SqlType::Bit => (1, 1, 0),
        SqlType::Money => (8, 19, 4),
        SqlType::SmallMoney => (4, 10, 4),
        SqlType::Float => (8, 53, 0),
        SqlType::Real => (4, 24, 0),
        _ => (4, 10, 0),
    }
}

/// <https://learn.microsoft.com/en-us/sql/relational-databases/system-catalog-views/sys-columns-transact-sql>
pub(super) fn columns(facts: &Facts<'_>) -> View {
    const COLUMNS: &[(&str, SqlType)] = &[
        ("object_id", INT),
        ("name", NAME),
        ("column_id", INT),
        ("system_type_id", SqlType::TinyInt),
        ("user_type_id", INT),
        ("max_length", SqlType::SmallInt),
        ("precision", SqlType::TinyInt),
        ("scale", SqlType::TinyInt),
        ("collation_name", NAME),
        ("is_nullable", BIT),
        ("is_identity", BIT),
        ("is_computed", BIT),
    ];
    let mut rows = Vec::new();
    for table in visible(facts) {
        for column in &table.columns {
            let (length, precision, scale) = sizes(column.of);
            let collation =
                if column.of.is_text() { text("SQL_Latin1_General_CP1_CI_AS") } else { Value::Null };
            rows.push(vec![
                int(table.id),
                text(&column.name),
                int(column.id),
                int(type_id(column.of)),
                int(type_id(column.of)),
                int(length),
                int(precision),
                int(scale),
                collation,
                flag(column.nullable),
                flag(column.identity.is_some()),
                int(0),
            ]);
        }
    }
    made(COLUMNS, rows)
}

pub(super) fn types() -> View {
    const COLUMNS: &[(&str, SqlType)] = &[
        ("name", NAME),
        ("system_type_id", SqlType::TinyInt),
        ("user_type_id", INT),
        ("schema_id", INT),
        ("is_user_defined", BIT),
    ];
    let names = [
        "bit",
        "tinyint",
        "smallint",
        "int",
        "bigint",
        "decimal",
        "smallmoney",
        "money",
        "real",
        "float",
        "date",
        "time",
        "smalldatetime",
        "datetime",
        "datetime2",
        "datetimeoffset",
        "uniqueidentifier",
        "nchar",
        "nvarchar",
        "char",
        "varchar",
        "binary",
        "varbinary",
    ];
    let rows = names.into_iter().filter_map(|name| {
        let id = type_id(SqlType::parse(name, &[]).ok()?);
        Some(vec![text(name), int(id), int(id), int(4), int(0)])
    });
    made(COLUMNS, rows.collect())
}

/// <https://learn.microsoft.com/en-us/sql/relational-databases/system-catalog-views/sys-indexes-transact-sql>
pub(super) fn indexes(facts: &Facts<'_>) -> View {
    const COLUMNS: &[(&str, SqlType)] = &[
        ("object_id", INT),
        ("name", NAME),
        ("index_id", INT),
        ("type", SqlType::TinyInt),
        ("type_desc", NAME),
        ("is_unique", BIT),
        ("is_primary_key", BIT),
        ("is_unique_constraint", BIT),
        ("is_disabled", BIT),
        ("has_filter", BIT),
    ];
    let mut rows = Vec::new();
    for table in visible(facts) {
        for index in &table.indexes {
            let clustered = index.id == 1;
            rows.push(vec![
                int(table.id),
                text(&index.name),
                int(index.id),
                int(if clustered { 1 } else { 2 }),
                text(if clustered { "CLUSTERED" } else { "NONCLUSTERED" }),
                flag(index.unique),
                flag(index.primary),
                flag(index.constraint),
                int(0),
                int(0),
            ]);
        }
    }
    made(COLUMNS, rows)
}

pub(super) fn index_columns(facts: &Facts<'_>) -> View {
    const COLUMNS: &[(&str, SqlType)] = &[
        ("object_id", INT),
        ("index_id", INT),
        ("index_column_id", INT),
        ("column_id", INT),
        ("key_ordinal", SqlType::TinyInt),
        ("is_included_column", BIT),
    ];
    let mut rows = Vec::new();
    for table in visible(facts) {
        for index in &table.indexes {
            for (at, column) in (1..).zip(&index.columns) {
                rows.push(vec![int(table.id), int(index.id), int(at), int(*column), int(at), int(0)]);
            }
        }
    }
    made(COLUMNS, rows)
}

/// Every table and every index has one partition; the number of its rows is told without regard to who sees them.
///
/// <https://learn.microsoft.com/en-us/sql/relational-databases/system-catalog-views/sys-partitions-transact-sql>
pub(super) fn partitions(facts: &Facts<'_>) -> Result<View, SqlError> {
    const COLUMNS: &[(&str, SqlType)] = &[
        ("partition_id", SqlType::BigInt),
        ("object_id", INT),
        ("index_id", INT),
        ("partition_number", INT),
        ("rows", SqlType::BigInt),
    ];
    let mut rows = Vec::new();
    for table in visible(facts) {
        let sql = format!("SELECT count(*) FROM {} WHERE _xmax = 0", table.stored());
        let count: i64 = facts.connection.query_row(&sql, [], |row| row.get(0))?;
        let heap = (!table.indexes.iter().any(|index| index.id == 1)).then_some(0);
        for index in heap.into_iter().chain(table.indexes.iter().map(|index| index.id)) {
            rows.push(vec![int(table.id * 1000 + index), int(table.id), int(index), int(1), int(count)]);
        }
    }
    Ok(made(COLUMNS, rows))
}

pub(super) fn key_constraints(facts: &Facts<'_>) -> View {
    const COLUMNS: &[(&str, SqlType)] = &[
        ("name", NAME),
        ("schema_id", INT),
        ("parent_object_id", INT),
        ("type", SqlType::Text { unicode: false, fixed: true, length: Length::Limited(2) }),
        ("type_desc", NAME),
        ("unique_index_id", INT),
    ];
    let mut rows = Vec::new();
    for table in visible(facts) {
        for index in table.indexes.iter().filter(|index| index.primary || index.constraint) {
            let (short, long) =
                if index.primary { ("PK", "PRIMARY_KEY_CONSTRAINT") } else { ("UQ", "UNIQUE_CONSTRAINT") };
            let schema = schema_id(facts, &table.schema);
            rows.push(vec![text(&index.name), schema, int(table.id), text(short), text(long), int(index.id)]);
        }
    }
    made(COLUMNS, rows)
}

pub(super) fn schema_tables(facts: &Facts<'_>) -> View {
    const COLUMNS: &[(&str, SqlType)] = &[
        ("TABLE_CATALOG", NAME),
        ("TABLE_SCHEMA", NAME),
        ("TABLE_NAME", NAME),
        ("TABLE_TYPE", SqlType::varchar(10)),
    ];
    let rows = visible(facts).into_iter().map(|table| {
        vec![text(&facts.database.name), text(&table.schema), text(&table.name), text("BASE TABLE")]
    });
    made(COLUMNS, rows.collect())
}

pub(super) fn schema_columns(facts: &Facts<'_>) -> View {
    const COLUMNS: &[(&str, SqlType)] = &[
        ("TABLE_CATALOG", NAME),
        ("TABLE_SCHEMA", NAME),
        ("TABLE_NAME", NAME),
        ("COLUMN_NAME", NAME),
        ("ORDINAL_POSITION", INT),
        ("IS_NULLABLE", SqlType::varchar(3)),
        ("DATA_TYPE", NAME),
        ("CHARACTER_MAXIMUM_LENGTH", INT),
    ];
    let mut rows = Vec::new();
    for table in visible(facts) {
        for (at, column) in (1..).zip(&table.columns) {
            let length = match column.of {
                SqlType::Text { length, .. } | SqlType::Bytes { length, .. } => match length {
                    Length::Limited(length) => int(i64::from(length)),
                    Length::Max => int(-1),
                },
                _ => Value::Null,
            };
            rows.push(vec![
                text(&facts.database.name),
                text(&table.schema),
                text(&table.name),
                text(&column.name),
                int(at),
                text(if column.nullable { "YES" } else { "NO" }),
                text(column.of.name()),
                length,
            ]);
        }
    }
    made(COLUMNS, rows)
}
