//! UPDATE, DELETE and TRUNCATE: which rows, and what becomes of them.

use rusqlite::types::Value as Cell;
use sqlparser::ast::{
    Assignment, AssignmentTarget, Delete, Expr, FromTable, TableFactor, TableWithJoins, Update,
    UpdateTableFromKind,
};

use super::Session;
use super::batch::binder;
use super::dml::{Row, assigned, fetch};
use super::log::Change;
use super::transaction::Tran;
use crate::bind::{Binder, Fired, Scope, Typed, parts};
use crate::engine::catalog::{Catalog, Event, Table, same};
use crate::engine::versions::Reading;
use crate::sql::error::SqlError;

/// Rows with their new cells, and which columns those are for.
type NewValues = (Vec<(Found, Row)>, Vec<usize>);

/// A row that a statement changes.
struct Found {
    row: i64,
    ended: i64,
    cells: Row,
}

impl Session {
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
        self.write(|session, tran| session.update_within(tran, update))
    }

    /// Answers how many rows were updated.
    pub(super) fn update_within(&self, tran: &mut Tran, update: &Update) -> Result<u64, SqlError> {
        if update.output.is_some() || update.returning.is_some() || update.limit.is_some() {
            return Err(SqlError::not_modelled("OUTPUT"));
        }
        let from = match &update.from {
            None => Vec::new(),
            Some(UpdateTableFromKind::AfterSet(from)) => from.clone(),
            Some(UpdateTableFromKind::BeforeSet(_)) => return Err(SqlError::syntax("FROM")),
        };
        let (table, from) = self.changed_table(&update.table, from, "UPDATE")?;
        self.lock_for_change(&table, tran)?;
        let (rows, columns) = self.new_values(update, &table, &from)?;
        for (found, _) in &rows {
            self.end_version(&table, tran, (found.row, found.ended))?;
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
            self.no_nulls(&table, &after, "UPDATE")?;
            self.place(&table, tran, &after, Some(&found.cells))?;
            pairs.push((found.cells, after));
        }
        self.log_updates(&table, tran, &pairs)?;
        let count = pairs.len() as u64;
        if self.has_trigger(&table, Event::Update) {
            let (deleted, inserted) = pairs.into_iter().unzip();
            self.fire(Event::Update, Fired { table, inserted, deleted }, tran)?;
        }
        Ok(count)
    }

    pub(super) fn delete(&mut self, delete: &Delete) -> Result<u64, SqlError> {
        self.write(|session, tran| session.delete_within(tran, delete))
    }

    /// Answers how many rows were deleted.
    pub(super) fn delete_within(&self, tran: &mut Tran, delete: &Delete) -> Result<u64, SqlError> {
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
        self.lock_for_change(&table, tran)?;
        let facts = self.facts();
        let mut binder = binder(&facts);
        let (sql, _, _) = self.scan(&mut binder, (&table, &from), delete.selection.as_ref(), &[])?;
        let rows = self.found(&sql, &binder.parameters, &table, 0)?;
        tran.commands += 1;
        for (found, _) in &rows {
            self.end_version(&table, tran, (found.row, found.ended))?;
            self.log(&table, tran, &Change { before: Some(&found.cells), after: None })?;
        }
        let count = rows.len() as u64;
        if self.has_trigger(&table, Event::Delete) {
            let deleted = rows.into_iter().map(|(found, _)| found.cells).collect();
            self.fire(Event::Delete, Fired { table, inserted: Vec::new(), deleted }, tran)?;
        }
        Ok(count)
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

fn own_columns(table: &Table) -> String {
    let list: Vec<String> = table.columns.iter().map(|column| format!("own.c{}", column.id)).collect();
    list.join(", ")
}
