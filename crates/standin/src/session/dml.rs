//! INSERT, UPDATE and DELETE: which rows, and what becomes of them.

use rusqlite::Connection;
use rusqlite::types::Value as Cell;
use sqlparser::ast::{
    Assignment, AssignmentTarget, Delete, Expr, FromTable, Insert, TableFactor, TableObject, TableWithJoins,
    Update, UpdateTableFromKind,
};

use super::Session;
use super::batch::binder;
use super::log::Change;
use crate::bind::{Binder, Scope, Typed, parts};
use crate::engine::catalog::{Catalog, Column, Table, same};
use crate::engine::versions::Reading;
use crate::sql::datatype::SqlType;
use crate::sql::error::SqlError;

/// A row's cells, in the order of the table's columns.
pub(super) type Row = Vec<Cell>;

impl Session {
    fn target(&self, name: &[String], right: &str) -> Result<Table, SqlError> {
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
        if table.system || !self.principal.may(&catalog, right, &table.schema, &table.name) {
            return Err(SqlError::denied(right, &table.name, &self.database.name, &table.schema));
        }
        Ok(table)
    }

    pub(super) fn insert(&mut self, insert: &Insert) -> Result<u64, SqlError> {
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
        let (count, identity) = self.write(|session, tran| {
            let given = session.source_rows(insert, &columns)?;
            let mut identity = None;
            let mut count = 0;
            for cells in given {
                let (row, made) = session.completed(&table, &columns, cells)?;
                identity = made.or(identity);
                session.place(&table, tran, &row, None)?;
                tran.commands += 1;
                session.log(&table, tran, &Change { before: None, after: Some(&row) })?;
                count += 1;
            }
            Ok((count, identity))
        })?;
        self.identity = identity.or(self.identity);
        Ok(count)
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

    /// Reading for the table that a statement changes: what is committed, waiting where it must.
    fn changing(&self) -> Reading {
        match self.reading() {
            Reading::Versioned if self.isolation == super::transaction::Isolation::Snapshot => {
                Reading::Versioned
            }
            _ => Reading::Locking,
        }
    }

    pub(super) fn update(&mut self, update: &Update) -> Result<u64, SqlError> {
        if update.output.is_some() || update.returning.is_some() || update.limit.is_some() {
            return Err(SqlError::not_modelled("OUTPUT"));
        }
        let from = match &update.from {
            None => Vec::new(),
            Some(UpdateTableFromKind::AfterSet(from)) => from.clone(),
            Some(UpdateTableFromKind::BeforeSet(_)) => return Err(SqlError::syntax("FROM")),
        };
        let (table, from) = self.changed_table(&update.table, from, "UPDATE")?;
        self.write(|session, tran| {
            let (rows, columns) = session.new_values(update, &table, &from)?;
            for (found, _) in &rows {
                session.end_version(&table, tran, (found.row, found.ended))?;
            }
            tran.commands += 1;
            let mut pairs = Vec::with_capacity(rows.len());
            for (found, values) in rows {
                let mut after = found.cells.clone();
                for (column, value) in columns.iter().zip(values) {
                    if let Some(place) = after.get_mut(*column) {
                        *place = value;
                    }
                }
                session.no_nulls(&table, &after, "UPDATE")?;
                session.place(&table, tran, &after, Some(&found.cells))?;
                pairs.push((found.cells, after));
            }
            session.log_updates(&table, tran, &pairs)?;
            Ok(pairs.len() as u64)
        })
    }

    pub(super) fn delete(&mut self, delete: &Delete) -> Result<u64, SqlError> {
        if delete.output.is_some()
            || delete.returning.is_some()
            || delete.limit.is_some()
            || delete.using.is_some()
        {
            return Err(SqlError::not_modelled("OUTPUT"));
        }
        let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &delete.from;
        let first = from.first().ok_or_else(|| SqlError::syntax("DELETE"))?;
        // `DELETE a FROM t AS a JOIN …` names the table before FROM.
        let (named, from) = match delete.tables.first() {
            Some(name) => {
                let mut named = first.clone();
                named.joins.clear();
                if let TableFactor::Table { name: place, alias, .. } = &mut named.relation {
                    *place = name.clone();
                    *alias = None;
                }
                (named, from.clone())
            }
            None => (first.clone(), Vec::new()),
        };
        let (table, from) = self.changed_table(&named, from, "DELETE")?;
        self.write(|session, tran| {
            let facts = session.facts();
            let mut binder = binder(&facts);
            let (sql, _, _) = session.scan(&mut binder, (&table, &from), delete.selection.as_ref(), &[])?;
            let rows = session.found(&sql, &binder.parameters, &table, 0)?;
            tran.commands += 1;
            for (found, _) in &rows {
                session.end_version(&table, tran, (found.row, found.ended))?;
                session.log(&table, tran, &Change { before: Some(&found.cells), after: None })?;
            }
            Ok(rows.len() as u64)
        })
    }

    /// The table that is changed, and what stands in FROM: the name before SET may be an alias of it.
    fn changed_table(
        &self,
        named: &TableWithJoins,
        from: Vec<TableWithJoins>,
        right: &str,
    ) -> Result<(Table, Vec<TableWithJoins>), SqlError> {
        let TableFactor::Table { name, .. } = &named.relation else { return Err(SqlError::syntax(named)) };
        let wanted = parts(name)?;
        if from.is_empty() {
            return Ok((self.target(&wanted, right)?, vec![named.clone()]));
        }
        let mut factors = from.iter().flat_map(|item| {
            std::iter::once(&item.relation).chain(item.joins.iter().map(|join| &join.relation))
        });
        let by_alias = factors.find_map(|factor| match factor {
            TableFactor::Table { name, alias: Some(alias), .. }
                if wanted.len() == 1
                    && wanted.first().is_some_and(|wanted| same(wanted, &alias.name.value)) =>
            {
                Some(name)
            }
            _ => None,
        });
        let real = by_alias.map_or(Ok(wanted), parts)?;
        Ok((self.target(&real, right)?, from))
    }

    /// The SELECT that finds the rows that are changed, with `more` expressions computed for each.
    fn scan(
        &self,
        binder: &mut Binder<'_>,
        (table, from): (&Table, &[TableWithJoins]),
        condition: Option<&Expr>,
        assignments: &[Assignment],
    ) -> Result<(String, Vec<usize>, usize), SqlError> {
        binder.reading = self.changing();
        let (mut tables, sources) = binder.from(from, None)?;
        let source = sources
            .iter()
            .find(|source| source.table == Some(table.id))
            .ok_or_else(|| SqlError::invalid_object(table.full_name()))?;
        let scope = Scope { sources: &sources, outer: None };
        let mut columns = Vec::new();
        let mut values = Vec::new();
        for assignment in assignments {
            let AssignmentTarget::ColumnName(name) = &assignment.target else {
                return Err(SqlError::syntax(assignment));
            };
            let name = parts(name)?.pop().unwrap_or_default();
            let at = table
                .columns
                .iter()
                .position(|column| same(&column.name, &name))
                .ok_or_else(|| SqlError::invalid_column(&name))?;
            let column = table.columns.get(at).ok_or_else(|| SqlError::invalid_column(&name))?;
            if column.identity.is_some() {
                return Err(SqlError::new(8102, 16, 1, format!("Cannot update identity column '{name}'.")));
            }
            let value: Typed = binder.value(&assignment.value, &scope)?;
            values.push(assigned(&value.sql, value.of, column.of));
            columns.push(at);
        }
        let condition = condition.map(|condition| binder.predicate(condition, &scope)).transpose()?;
        let own = own_columns(table);
        tables.push_str(&format!(" JOIN {0} AS own ON own._rid = {1}._rid", table.stored(), source.alias));
        let mut sql = format!("SELECT own._rid, own._xmax, {own}");
        for value in &values {
            sql.push_str(&format!(", {value}"));
        }
        sql.push_str(&format!(" FROM {tables}"));
        if let Some(condition) = condition {
            sql.push_str(&format!(" WHERE {condition}"));
        }
        Ok((sql, columns, values.len()))
    }

    fn new_values(
        &self,
        update: &Update,
        table: &Table,
        from: &[TableWithJoins],
    ) -> Result<NewValues, SqlError> {
        let facts = self.facts();
        let mut binder = binder(&facts);
        let (sql, columns, more) =
            self.scan(&mut binder, (table, from), update.selection.as_ref(), &update.assignments)?;
        let mut rows = self.found(&sql, &binder.parameters, table, more)?;
        // A row that a join finds twice is changed once.
        let mut seen = std::collections::HashSet::new();
        rows.retain(|(found, _)| seen.insert(found.row));
        Ok((rows, columns))
    }

    fn found(
        &self,
        sql: &str,
        parameters: &[Cell],
        table: &Table,
        more: usize,
    ) -> Result<Vec<(Found, Row)>, SqlError> {
        let own = table.columns.len();
        let rows = fetch(&self.connection, sql, parameters, own + 2 + more)?;
        let split = |mut row: Row| {
            let values = row.split_off((own + 2).min(row.len()));
            let cells = row.split_off(2.min(row.len()));
            let number = |cell: Option<&Cell>| match cell {
                Some(Cell::Integer(number)) => *number,
                _ => 0,
            };
            (Found { row: number(row.first()), ended: number(row.get(1)), cells }, values)
        };
        Ok(rows.into_iter().map(split).collect())
    }

    /// `TRUNCATE TABLE`, which a captured table refuses.
    pub(super) fn truncate(&mut self, name: &[String]) -> Result<(), SqlError> {
        let table = self.target(name, "ALTER")?;
        let catalog: std::sync::Arc<Catalog> = self.database.catalog();
        if catalog.instances_of(table.id).next().is_some() {
            let message = format!(
                "Cannot truncate table '{}' because it is published for replication or enabled for Change Data Capture.",
                table.name
            );
            return Err(SqlError::new(4711, 16, 1, message));
        }
        self.write(|session, tran| {
            let sql = format!("SELECT _rid, _xmax FROM {} WHERE vis(_xmin, _xmax, 1)", table.stored());
            for (found, _) in session.found(&sql, &[], &Table { columns: Vec::new(), ..table.clone() }, 0)? {
                session.end_version(&table, tran, (found.row, found.ended))?;
            }
            Ok(())
        })
    }
}

/// Rows with their new cells, and which columns those are for.
type NewValues = (Vec<(Found, Row)>, Vec<usize>);

/// A row that a statement changes.
struct Found {
    row: i64,
    ended: i64,
    cells: Row,
}

/// A value as the column it is stored in wants it.
fn assigned(sql: &str, from: SqlType, to: SqlType) -> String {
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

fn own_columns(table: &Table) -> String {
    let list: Vec<String> = table.columns.iter().map(|column| format!("own.c{}", column.id)).collect();
    list.join(", ")
}

fn fetch(
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
