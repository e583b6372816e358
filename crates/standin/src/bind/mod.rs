//! From T-SQL to SQLite's SQL: names are resolved, every expression gets its type, and what is left is computed
//! by SQLite with the functions of [`engine::functions`](crate::engine::functions).

mod aggregate;
mod call;
mod compound;
mod expression;
mod facts;
mod names;
mod objects;
mod operators;
mod predicate;
mod scope;
mod select;
mod session;
mod source;
pub(crate) mod system;

use std::sync::Arc;

use rusqlite::types::Value as Cell;
use sqlparser::ast::{Ident, ObjectName, ObjectNamePart, Query};

pub(crate) use facts::{Facts, Fired};
pub(crate) use scope::{Scope, Source, SourceColumn};
pub(crate) use select::Relation;

use crate::engine::catalog::Catalog;
use crate::engine::versions::Reading;
use crate::sql::convert::convert;
use crate::sql::datatype::{Length, SqlType};
use crate::sql::error::SqlError;
use crate::sql::stored::store;
use crate::sql::value::Value;

/// An expression: SQLite's text for it, and the type of its value.
#[derive(Debug, Clone)]
pub(crate) struct Typed {
    pub(crate) sql: String,
    pub(crate) of: SqlType,
    pub(crate) nullable: bool,
    /// The value, where it is known already.
    pub(crate) constant: Option<Value>,
}

impl Typed {
    pub(crate) fn new(sql: impl Into<String>, of: SqlType) -> Typed {
        Typed { sql: sql.into(), of, nullable: true, constant: None }
    }
}

/// Translates one statement.
pub(crate) struct Binder<'a> {
    pub(crate) facts: &'a Facts<'a>,
    pub(crate) catalog: Arc<Catalog>,
    /// What `?1`, `?2` and so on stand for.
    pub(crate) parameters: Vec<Cell>,
    pub(crate) reading: Reading,
    /// Tables that the statement locks against changes, to the end of its transaction.
    pub(crate) shared: Vec<i64>,
    aliases: usize,
    expressions: Vec<(Ident, Vec<Ident>, Box<Query>)>,
    /// How many views and subqueries lie inside each other.
    depth: usize,
}

/// Subqueries inside each other beyond this are refused.
const DEPTH_MAX: usize = 32;

impl<'a> Binder<'a> {
    pub(crate) fn new(facts: &'a Facts<'a>) -> Binder<'a> {
        Binder {
            facts,
            catalog: facts.database.catalog(),
            parameters: Vec::new(),
            reading: facts.reading,
            shared: Vec::new(),
            aliases: 0,
            expressions: Vec::new(),
            depth: 0,
        }
    }

    /// A name that no other part of the statement has.
    fn alias(&mut self) -> String {
        self.aliases += 1;
        format!("a{}", self.aliases)
    }

    /// A value that is known already.
    pub(crate) fn constant(&mut self, value: Value, of: SqlType) -> Typed {
        let sql = match &value {
            Value::Null => "NULL".to_owned(),
            Value::Int(number) => number.to_string(),
            other => {
                self.parameters.push(store(other));
                format!("?{}", self.parameters.len())
            }
        };
        Typed { sql, of, nullable: value.is_null(), constant: Some(value) }
    }

    /// The expression as type `to`.
    ///
    /// # Errors
    /// When its value is known and has no counterpart in `to`.
    pub(crate) fn cast(&mut self, from: Typed, to: SqlType, style: i64) -> Result<Typed, SqlError> {
        if let Some(value) = &from.constant {
            let value = convert(value, from.of, to, style)?;
            return Ok(self.constant(value, to));
        }
        if style == 0 && keeps_its_form(from.of, to) {
            return Ok(Typed { of: to, ..from });
        }
        let sql = format!("ts_cast({}, {}, {}, {style})", from.sql, from.of.code(), to.code());
        Ok(Typed { sql, of: to, nullable: from.nullable, constant: None })
    }
}

/// Is a stored value of type `from` also the stored value of type `to`?
fn keeps_its_form(from: SqlType, to: SqlType) -> bool {
    if from == to || from == SqlType::Null {
        return true;
    }
    if let (Some((low, high)), Some((to_low, to_high))) = (from.whole_range(), to.whole_range()) {
        return to != SqlType::Bit && to_low <= low && high <= to_high;
    }
    let holds = |to: Length, from: Length| match (to, from) {
        (Length::Max, _) => true,
        (Length::Limited(to), Length::Limited(from)) => to >= from,
        _ => false,
    };
    match (from, to) {
        (SqlType::Text { length, .. }, SqlType::Text { fixed: false, length: wanted, .. })
        | (SqlType::Bytes { length, .. }, SqlType::Bytes { fixed: false, length: wanted }) => {
            holds(wanted, length)
        }
        (SqlType::DateTime2(from), SqlType::DateTime2(to))
        | (SqlType::DateTimeOffset(from), SqlType::DateTimeOffset(to))
        | (SqlType::Time(from), SqlType::Time(to)) => from <= to,
        (SqlType::Real, SqlType::Float) => true,
        (
            SqlType::Decimal { precision, scale },
            SqlType::Decimal { precision: wanted, scale: wanted_scale },
        ) => scale == wanted_scale && precision <= wanted,
        _ => false,
    }
}

/// The parts of a name, without quotes.
///
/// # Errors
/// 102 for a part that is no name.
pub(crate) fn parts(name: &ObjectName) -> Result<Vec<String>, SqlError> {
    let part = |part: &ObjectNamePart| match part {
        ObjectNamePart::Identifier(name) => Ok(name.value.clone()),
        ObjectNamePart::Function(_) => Err(SqlError::syntax(name)),
    };
    name.0.iter().map(part).collect()
}

/// The type that a parsed type stands for.
///
/// # Errors
/// As [`SqlType::parse`].
pub(crate) fn declared(parsed: &sqlparser::ast::DataType) -> Result<SqlType, SqlError> {
    expression::data_type(parsed)
}
