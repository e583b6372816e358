//! INSERT: which rows, and what becomes of them; and what all statements that change rows share.

use rusqlite::Connection;
use rusqlite::types::Value as Cell;
use sqlparser::ast::{Insert, TableObject};

use super::Session;
use super::batch::binder;
use super::log::Change;
use super::transaction::Tran;
use crate::bind::{Fired, Scope, parts};
use crate::engine::catalog::{Column, Event, Table, same};
use crate::sql::datatype::SqlType;
use crate::sql::error::SqlError;

/// A row's cells, in the order of the table's columns.
pub(super) type Row = Vec<Cell>;

impl Session {
    pub(super) fn target(&self, name: &[String], right: &str) -> Result<Table, SqlError> {
        let catalog = self.database.catalog();
        let (schema, object) = match name {
            [object] => ("dbo", object.as_str()),
            [schema, object] => (schema.as_str(), object.as_str()),
            [database, schema, object] if same(database, &self.database.name) => {
                (schema.as_str(), object.as_str())
            }
            _ => return Err(SqlError::invalid_object(name.join("."))),
        };
        let table =
            catalog.table(schema, object).ok_or_else(|| SqlError::invalid_object(name.join(".")))?.clone();
        let allowed = self.in_trigger() || self.principal.may(&catalog, right, &table.schema, &table.name);
        if table.system || !allowed {
            return Err(SqlError::denied(right, &table.name, &self.database.name, &table.schema));
        }
        Ok(table)
    }

    /// # Errors
    /// When another transaction holds a shared lock on the table; the view then names it.
    pub(super) fn lock_for_change(&self, table: &Table, tran: &Tran) -> Result<(), SqlError> {
        match self.database.versions.change_table(tran.id, table.id) {
            None => Ok(()),
            Some(holder) => {
                self.view().blocked_by = Some(holder);
                Err(SqlError::new(1222, 16, 51, "blocked"))
            }
        }
    }

    pub(super) fn insert(&mut self, insert: &Insert) -> Result<u64, SqlError> {
        let (count, identity) = self.write(|session, tran| session.insert_within(tran, insert))?;
        self.identity = identity.or(self.identity);
        Ok(count)
    }

    /// Answers how many rows were inserted, and the last value of an identity column.
    pub(super) fn insert_within(
        &self,
        tran: &mut Tran,
        insert: &Insert,
    ) -> Result<(u64, Option<i64>), SqlError> {
        if insert.output.is_some() || insert.on.is_some() || insert.returning.is_some() {
            return Err(SqlError::not_modelled("OUTPUT"));
        }
        let TableObject::TableName(name) = &insert.table else { return Err(SqlError::syntax("INSERT")) };
        let table = self.target(&parts(name)?, "INSERT")?;
        let mut names = Vec::new();
        for column in &insert.columns {
            names.extend(parts(column)?.pop());
        }
        let columns = chosen(&table, &names)?;
        self.lock_for_change(&table, tran)?;
        let fires = self.has_trigger(&table, Event::Insert);
        let given = self.source_rows(insert, &columns)?;
        let (mut identity, mut count, mut inserted) = (None, 0, Vec::new());
        for cells in given {
            let (row, made) = self.completed(&table, &columns, cells)?;
            identity = made.or(identity);
            self.place(&table, tran, &row, None)?;
            tran.commands += 1;
            self.log(&table, tran, &Change { before: None, after: Some(&row) })?;
            count += 1;
            if fires {
                inserted.push(row);
            }
        }
        if fires {
            self.fire(Event::Insert, Fired { table, inserted, deleted: Vec::new() }, tran)?;
        }
        Ok((count, identity))
    }

    /// The rows that are to be inserted, each cell of the type of its column.
    fn source_rows(&self, insert: &Insert, columns: &[Column]) -> Result<Vec<Row>, SqlError> {
        let Some(source) = &insert.source else { return Ok(vec![Vec::new()]) };
        let facts = self.facts();
        let mut binder = binder(&facts);
        let relation = binder.query(source, None)?;
        if relation.columns.len() != columns.len() {
            let (number, more) =
                if relation.columns.len() > columns.len() { (110, "fewer") } else { (109, "more") };
            let message = format!(
                "There are {more} columns in the INSERT statement than values specified in the VALUES clause. The number of values in the VALUES clause must match the number of columns specified in the INSERT statement."
            );
            return Err(SqlError::new(number, 15, 1, message));
        }
        let list: Vec<String> = relation
            .columns
            .iter()
            .zip(columns)
            .enumerate()
            .map(|(at, (from, to))| assigned(&format!("c{}", at + 1), from.of, to.of))
            .collect();
        let sql = format!("SELECT {} FROM ({})", list.join(", "), relation.sql);
        fetch(&self.connection, &sql, &binder.parameters, columns.len())
    }

    /// A row with what was not given: identities, defaults, NULLs.
    fn completed(
        &self,
        table: &Table,
        columns: &[Column],
        cells: Row,
    ) -> Result<(Row, Option<i64>), SqlError> {
        let mut identity = None;
        let mut row = Vec::with_capacity(table.columns.len());
        let mut given: Vec<Option<Cell>> = cells.into_iter().map(Some).collect();
        for column in &table.columns {
            let at = columns.iter().position(|one| one.id == column.id);
            let cell = match at.and_then(|at| given.get_mut(at)).and_then(Option::take) {
                Some(cell) => cell,
                None => match (column.identity, &column.default) {
                    (Some((seed, step)), _) => {
                        let next =
                            self.database.next_identity(&self.connection, table, (column.id, seed, step))?;
                        identity = Some(next);
                        crate::sql::stored::store(&crate::sql::convert::convert(
                            &crate::sql::value::Value::Int(next),
                            SqlType::BigInt,
                            column.of,
                            0,
                        )?)
                    }
                    (None, Some(default)) => self.default_of(default, column)?,
                    (None, None) => Cell::Null,
                },
            };
            row.push(cell);
        }
        self.no_nulls(table, &row, "INSERT")?;
        Ok((row, identity))
    }

    fn default_of(&self, default: &str, column: &Column) -> Result<Cell, SqlError> {
        let dialect = sqlparser::dialect::MsSqlDialect {};
        let expr = sqlparser::parser::Parser::new(&dialect)
            .try_with_sql(default)
            .and_then(|mut parser| parser.parse_expr())
            .map_err(SqlError::syntax)?;
        let facts = self.facts();
        let mut binder = binder(&facts);
        let typed = binder.value(&expr, &Scope::default())?;
        let sql = format!("SELECT {}", assigned(&typed.sql, typed.of, column.of));
        let mut rows = fetch(&self.connection, &sql, &binder.parameters, 1)?;
        Ok(rows.pop().and_then(|mut row| row.pop()).unwrap_or(Cell::Null))
    }
}

/// A value as the column it is stored in wants it.
pub(super) fn assigned(sql: &str, from: SqlType, to: SqlType) -> String {
    if from == to && !matches!(to, SqlType::Text { fixed: true, .. }) {
        return sql.to_owned();
    }
    format!("ts_assign({sql}, {}, {})", from.code(), to.code())
}

/// The columns that an INSERT names; without names, all that take values.
fn chosen(table: &Table, names: &[String]) -> Result<Vec<Column>, SqlError> {
    if names.is_empty() {
        return Ok(table.columns.iter().filter(|column| column.identity.is_none()).cloned().collect());
    }
    let mut columns = Vec::new();
    for name in names {
        let column = table.column(name).ok_or_else(|| SqlError::invalid_column(name))?;
        if column.identity.is_some() {
            let message = format!(
                "Cannot insert explicit value for identity column in table '{}' when IDENTITY_INSERT is set to OFF.",
                table.name
            );
            return Err(SqlError::new(544, 16, 1, message));
        }
        columns.push(column.clone());
    }
    Ok(columns)
}

pub(super) fn fetch(
    connection: &Connection,
    sql: &str,
    parameters: &[Cell],
    width: usize,
) -> Result<Vec<Row>, SqlError> {
    let mut statement = connection.prepare(sql)?;
    let parameters = parameters.iter().take(statement.parameter_count());
    let mut rows = statement.query(rusqlite::params_from_iter(parameters))?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        let mut cells = Vec::with_capacity(width);
        for at in 0..width {
            cells.push(row.get(at)?);
        }
        all.push(cells);
    }
    Ok(all)
}
