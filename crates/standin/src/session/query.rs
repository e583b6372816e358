//! SELECT: rows to the client, or into variables.

use rusqlite::types::Value as Cell;
use sqlparser::ast::{Expr, Query};

use super::{Session, Stop};
use crate::bind::{Binder, Relation, Scope};
use crate::sql::datatype::SqlType;
use crate::sql::error::SqlError;
use crate::sql::stored::load;
use crate::sql::value::Value;
use crate::tds::token::{COUNT, MORE};

/// As many rows are kept back, so that a statement that has to wait for a row can begin anew unseen.
const HELD_BACK: usize = 2000;

impl Session {
    pub(super) fn select(&mut self, query: &Query) -> Result<(), Stop> {
        loop {
            let hold = self.take_view();
            let outcome = self.select_once(query);
            drop(hold);
            match outcome {
                Ok(()) => return Ok(()),
                Err(Ended::Gone) => return Err(Stop::Gone),
                Err(Ended::Error(error)) => match self.wait_if_blocked() {
                    Ok(true) => {}
                    Ok(false) => return self.fail(&error),
                    Err(error) => return self.fail(&error),
                },
            }
        }
    }

    fn select_once(&mut self, query: &Query) -> Result<(), Ended> {
        self.check_open()?;
        let (relation, parameters, shared) = {
            let facts = self.facts();
            let mut binder = Binder::new(&facts);
            let relation = binder.query(query, None)?;
            (relation, binder.parameters, binder.shared)
        };
        self.share(&shared)?;
        if !relation.variables.is_empty() {
            return Ok(self.assign(&relation, &parameters)?);
        }
        self.stream(&relation, &parameters)
    }

    /// Takes shared locks on tables.
    fn share(&self, tables: &[i64]) -> Result<(), SqlError> {
        let own = self.tran.as_ref().map(|tran| tran.id);
        for table in tables {
            let own = own.ok_or_else(|| SqlError::not_modelled("TABLOCK outside a transaction"))?;
            if let Some(holder) = self.database.versions.share_table(own, *table) {
                self.view().blocked_by = Some(holder);
                return Err(SqlError::new(1222, 16, 51, "blocked"));
            }
        }
        Ok(())
    }

    fn stream(&mut self, relation: &Relation, parameters: &[Cell]) -> Result<(), Ended> {
        let Session { connection, out, ending, signals, view, .. } = self;
        let mut statement = connection.prepare(&relation.sql).map_err(SqlError::from)?;
        let parameters = parameters.iter().take(statement.parameter_count());
        let mut rows = statement.query(rusqlite::params_from_iter(parameters)).map_err(SqlError::from)?;
        let mut held: Option<Vec<Vec<Value>>> = Some(Vec::new());
        let mut count = 0u64;
        let mut start = |out: &mut crate::tds::token::TokenStream| {
            if let Some((status, rows)) = ending.take() {
                let token = if self.in_procedure {
                    crate::tds::token::Done::InProcedure
                } else {
                    crate::tds::token::Done::Batch
                };
                out.done(token, status | MORE, rows);
            }
            out.metadata(&relation.columns);
            out.order(&relation.order);
        };
        while let Some(row) = rows.next().map_err(SqlError::from)? {
            let mut values = Vec::with_capacity(relation.columns.len());
            for (at, column) in relation.columns.iter().enumerate() {
                values.push(load(row.get_ref(at).map_err(SqlError::from)?, column.of)?);
            }
            count += 1;
            match &mut held {
                Some(kept) if kept.len() < HELD_BACK && self.cut_after != Some(count) => kept.push(values),
                kept => {
                    if let Some(kept) = kept.take() {
                        view.lock().unwrap_or_else(std::sync::PoisonError::into_inner).streaming = true;
                        start(out);
                        for values in kept {
                            out.row(&relation.columns, &values);
                        }
                    }
                    out.row(&relation.columns, &values);
                    out.flush_full()?;
                }
            }
            if self.cut_after == Some(count) {
                out.send_torn()?;
                return Err(Ended::Gone);
            }
            if signals.cancelled() {
                return Err(SqlError::new(3617, 11, 1, "The query was cancelled by its client.").into());
            }
        }
        drop(rows);
        drop(statement);
        if let Some(kept) = held {
            start(out);
            for values in kept {
                out.row(&relation.columns, &values);
            }
            out.flush_full()?;
        }
        self.row_count = i64::try_from(count).unwrap_or(i64::MAX);
        self.end_result(COUNT, count);
        Ok(())
    }

    /// Variables take the columns of the last row; without a row they stay as they are.
    fn assign(&mut self, relation: &Relation, parameters: &[Cell]) -> Result<(), SqlError> {
        let rows = self.rows_of(relation, parameters)?;
        self.row_count = i64::try_from(rows.len()).unwrap_or(i64::MAX);
        if let Some(last) = rows.into_iter().next_back() {
            for ((name, column), value) in relation.variables.iter().zip(&relation.columns).zip(last) {
                self.set_variable(name, value, column.of)?;
            }
        }
        Ok(())
    }

    pub(super) fn set_variable(&mut self, name: &str, value: Value, from: SqlType) -> Result<(), SqlError> {
        match self.variables.get_mut(&name.to_lowercase()) {
            Some((of, place)) => {
                *place = crate::sql::convert::convert(&value, from, *of, 0)?;
                Ok(())
            }
            None => Err(SqlError::new(137, 15, 2, format!("Must declare the scalar variable \"{name}\"."))),
        }
    }

    /// All rows of a query.
    pub(super) fn rows_of(
        &self,
        relation: &Relation,
        parameters: &[Cell],
    ) -> Result<Vec<Vec<Value>>, SqlError> {
        let mut statement = self.connection.prepare(&relation.sql)?;
        let parameters = parameters.iter().take(statement.parameter_count());
        let mut rows = statement.query(rusqlite::params_from_iter(parameters))?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            let mut values = Vec::with_capacity(relation.columns.len());
            for (at, column) in relation.columns.iter().enumerate() {
                values.push(load(row.get_ref(at)?, column.of)?);
            }
            all.push(values);
        }
        Ok(all)
    }

    /// The value of an expression outside any query.
    pub(super) fn evaluate(&mut self, expr: &Expr) -> Result<(SqlType, Value), SqlError> {
        loop {
            let hold = self.take_view();
            let outcome = self.evaluate_once(expr);
            drop(hold);
            match outcome {
                Ok(found) => return Ok(found),
                Err(error) => {
                    if !self.wait_if_blocked()? {
                        return Err(error);
                    }
                }
            }
        }
    }

    fn evaluate_once(&self, expr: &Expr) -> Result<(SqlType, Value), SqlError> {
        let facts = self.facts();
        let mut binder = Binder::new(&facts);
        let typed = binder.value(expr, &Scope::default())?;
        if let Some(value) = typed.constant {
            return Ok((typed.of, value));
        }
        let value = self.single(&typed.sql, &binder.parameters, typed.of)?;
        Ok((typed.of, value))
    }

    /// Is a condition outside any query true?
    pub(super) fn holds(&mut self, expr: &Expr) -> Result<bool, SqlError> {
        loop {
            let hold = self.take_view();
            let outcome = self.holds_once(expr);
            drop(hold);
            match outcome {
                Ok(found) => return Ok(found),
                Err(error) => {
                    if !self.wait_if_blocked()? {
                        return Err(error);
                    }
                }
            }
        }
    }

    pub(super) fn holds_once(&self, expr: &Expr) -> Result<bool, SqlError> {
        let facts = self.facts();
        let mut binder = Binder::new(&facts);
        let condition = binder.predicate(expr, &Scope::default())?;
        Ok(self.single(&condition, &binder.parameters, SqlType::Bit)? == Value::Int(1))
    }

    fn single(&self, sql: &str, parameters: &[Cell], of: SqlType) -> Result<Value, SqlError> {
        let mut statement = self.connection.prepare(&format!("SELECT {sql}"))?;
        let parameters = parameters.iter().take(statement.parameter_count());
        let mut rows = statement.query(rusqlite::params_from_iter(parameters))?;
        match rows.next()? {
            Some(row) => load(row.get_ref(0)?, of),
            None => Ok(Value::Null),
        }
    }
}

enum Ended {
    Gone,
    Error(SqlError),
}

impl From<SqlError> for Ended {
    fn from(error: SqlError) -> Ended {
        Ended::Error(error)
    }
}

impl From<crate::tds::token::Gone> for Ended {
    fn from(_: crate::tds::token::Gone) -> Ended {
        Ended::Gone
    }
}
