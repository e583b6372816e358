//! FROM: tables, views of the system, functions that answer rows, subqueries, joins.

use sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, JoinConstraint, JoinOperator, ObjectName, TableAlias, TableFactor,
    TableWithJoins,
};

use super::{Binder, Relation, Scope, Source, SourceColumn, parts, system};
use crate::cdc::rows::ChangeRows;
use crate::engine::catalog::{Table, same};
use crate::engine::versions::Reading;
use crate::sql::datatype::SqlType;
use crate::sql::error::SqlError;
use crate::sql::value::Value;

/// SQLite's text of a source, and its columns.
type Bound = (String, Source);

impl Binder<'_> {
    /// Everything after FROM.
    ///
    /// # Errors
    /// 208 for names that are nothing, 229 for what the reader may not see.
    pub(crate) fn from(
        &mut self,
        from: &[TableWithJoins],
        outer: Option<&Scope<'_>>,
    ) -> Result<(String, Vec<Source>), SqlError> {
        let mut sources = Vec::new();
        let mut list = Vec::new();
        for item in from {
            list.push(self.joined_tables(item, outer, &mut sources)?);
        }
        Ok((list.join(" CROSS JOIN "), sources))
    }

    fn joined_tables(
        &mut self,
        item: &TableWithJoins,
        outer: Option<&Scope<'_>>,
        sources: &mut Vec<Source>,
    ) -> Result<String, SqlError> {
        let mut sql = self.factor(&item.relation, outer, sources)?;
        for join in &item.joins {
            let (operator, constraint) = match &join.join_operator {
                JoinOperator::Join(on) | JoinOperator::Inner(on) => ("JOIN", Some(on)),
                JoinOperator::Left(on) | JoinOperator::LeftOuter(on) => ("LEFT JOIN", Some(on)),
                JoinOperator::Right(on) | JoinOperator::RightOuter(on) => ("RIGHT JOIN", Some(on)),
                JoinOperator::FullOuter(on) => ("FULL JOIN", Some(on)),
                JoinOperator::CrossJoin(_) | JoinOperator::CrossApply => ("CROSS JOIN", None),
                other => return Err(SqlError::not_modelled(format!("{other:?}"))),
            };
            let right = self.factor(&join.relation, outer, sources)?;
            sql = format!("{sql} {operator} {right}");
            match constraint {
                None => {}
                Some(JoinConstraint::On(condition)) => {
                    let scope = Scope { sources, outer };
                    let condition = self.predicate(condition, &scope)?;
                    sql.push_str(&format!(" ON {condition}"));
                }
                Some(_) => return Err(SqlError::syntax("JOIN")),
            }
        }
        if sources.len() > 1 {
            // The other side of an outer join has no row.
            for source in sources.iter_mut() {
                source.columns.iter_mut().for_each(|column| column.nullable = true);
            }
        }
        Ok(sql)
    }

    fn factor(
        &mut self,
        factor: &TableFactor,
        outer: Option<&Scope<'_>>,
        sources: &mut Vec<Source>,
    ) -> Result<String, SqlError> {
        let (sql, source) = match factor {
            TableFactor::Table { name, alias, args, with_hints, version: None, sample: None, .. } => {
                match args {
                    None => self.named(name, alias.as_ref(), with_hints)?,
                    Some(args) => self.row_function(name, alias.as_ref(), &args.args)?,
                }
            }
            TableFactor::Function { name, args, alias, .. } => {
                self.row_function(name, alias.as_ref(), args)?
            }
            TableFactor::Derived { subquery, alias: Some(alias), lateral: false, .. } => {
                let relation = self.query(subquery, outer)?;
                self.derived(&relation, alias)
            }
            TableFactor::NestedJoin { table_with_joins, alias: None } => {
                return Ok(format!("({})", self.joined_tables(table_with_joins, outer, sources)?));
            }
            other => return Err(SqlError::not_modelled(other)),
        };
        let sql = format!("({sql}) AS {}", source.alias);
        sources.push(source);
        Ok(sql)
    }

    fn derived(&mut self, relation: &Relation, alias: &TableAlias) -> Bound {
        let column = |(at, column): (usize, &crate::tds::token::ResultColumn)| SourceColumn {
            name: alias.columns.get(at).map_or_else(|| column.name.clone(), |given| given.name.value.clone()),
            stored: format!("c{}", at + 1),
            of: column.of,
            nullable: column.nullable,
            denied: false,
        };
        let columns = relation.columns.iter().enumerate().map(column).collect();
        let names = vec![vec![alias.name.value.clone()]];
        (relation.sql.clone(), Source { names, alias: self.alias(), columns, table: None })
    }

    fn named(
        &mut self,
        name: &ObjectName,
        alias: Option<&TableAlias>,
        hints: &[Expr],
    ) -> Result<Bound, SqlError> {
        let all = parts(name)?;
        if let [single] = all.as_slice()
            && let Some(at) = self.expressions.iter().rposition(|(known, _, _)| same(&known.value, single))
            && let Some((known, columns, query)) = self.expressions.get(at).cloned()
        {
            // An expression sees those before it, and never itself.
            let later = self.expressions.split_off(at);
            let relation = self.query(&query, None);
            self.expressions.extend(later);
            let columns =
                columns.into_iter().map(|name| sqlparser::ast::TableAliasColumnDef { name, data_type: None });
            let called = TableAlias {
                explicit: true,
                name: alias.map_or(known, |alias| alias.name.clone()),
                columns: columns.collect(),
                at: None,
            };
            return Ok(self.derived(&relation?, &called));
        }
        if let Some(bound) = self.fired_rows(&all, alias) {
            return Ok(bound);
        }
        let (database, schema, object) = self.located(&all)?;
        if let Some(view) = system::view(self.facts, &database, &schema, &object)? {
            let columns = view.columns.iter().enumerate().map(|(at, (name, of))| SourceColumn {
                name: (*name).to_owned(),
                stored: format!("c{}", at + 1),
                of: *of,
                nullable: true,
                denied: false,
            });
            let names = vec![alias.map_or_else(
                || vec![schema.clone(), object.clone()],
                |alias| vec![alias.name.value.clone()],
            )];
            let source = Source { names, alias: self.alias(), columns: columns.collect(), table: None };
            return Ok((view.sql(), source));
        }
        if !same(&database, &self.facts.database.name) {
            return Err(SqlError::not_modelled(format!("{name} (another database)")));
        }
        let table =
            self.catalog.table(&schema, &object).cloned().ok_or_else(|| SqlError::invalid_object(name))?;
        let (reading, is_shared) = hinted(hints, self.reading)?;
        self.shared.extend(is_shared.then_some(table.id));
        self.table(&table, alias.map(|alias| alias.name.value.as_str()), reading)
    }

    /// `inserted` and `deleted`, which only a trigger sees.
    ///
    /// <https://learn.microsoft.com/en-us/sql/relational-databases/triggers/use-the-inserted-and-deleted-tables>
    fn fired_rows(&mut self, all: &[String], alias: Option<&TableAlias>) -> Option<Bound> {
        let [name] = all else { return None };
        let fired = self.facts.fired.clone()?;
        let rows = match name.to_lowercase().as_str() {
            "inserted" => &fired.inserted,
            "deleted" => &fired.deleted,
            _ => return None,
        };
        let columns = fired.table.columns.iter().map(|column| SourceColumn {
            name: column.name.clone(),
            stored: format!("c{}", column.id),
            of: column.of,
            nullable: column.nullable,
            denied: false,
        });
        let columns: Vec<SourceColumn> = columns.collect();
        let stored: Vec<&str> = columns.iter().map(|column| column.stored.as_str()).collect();
        let sql = system::rows_sql(&stored, rows.iter().map(|row| row.iter().map(system::cell).collect()));
        let names = vec![vec![alias.map_or_else(|| name.clone(), |alias| alias.name.value.clone())]];
        Some((sql, Source { names, alias: self.alias(), columns, table: None }))
    }

    /// Database, schema and name of what `all` may be.
    fn located(&self, all: &[String]) -> Result<(String, String, String), SqlError> {
        let own = self.facts.database.name.clone();
        Ok(match all {
            [object] => (own, "dbo".to_owned(), object.clone()),
            [schema, object] => (own, schema.clone(), object.clone()),
            [database, schema, object] => {
                let schema = if schema.is_empty() { "dbo" } else { schema };
                (database.clone(), schema.to_owned(), object.clone())
            }
            _ => return Err(SqlError::invalid_object(all.join("."))),
        })
    }

    /// The rows of a table that the statement sees.
    ///
    /// # Errors
    /// 229 when the reader has no right to any column.
    pub(crate) fn table(
        &mut self,
        table: &Table,
        alias: Option<&str>,
        how: Reading,
    ) -> Result<Bound, SqlError> {
        if self.facts.snapshot_denied {
            let message = format!(
                "Snapshot isolation transaction failed accessing database '{}' because snapshot isolation is not allowed in this database. Use ALTER DATABASE to allow snapshot isolation.",
                self.facts.database.name
            );
            return Err(SqlError::new(3952, 16, 1, message));
        }
        let principal = self.facts.principal;
        let place = (table.schema.as_str(), table.name.as_str());
        let columns: Vec<SourceColumn> = table
            .columns
            .iter()
            .map(|column| SourceColumn {
                name: column.name.clone(),
                stored: format!("c{}", column.id),
                of: column.of,
                nullable: column.nullable,
                // A trigger's tables are its owner's own.
                denied: self.facts.fired.is_none()
                    && !principal.may_column(&self.catalog, "SELECT", place, Some(&column.name)),
            })
            .collect();
        if columns.iter().all(|column| column.denied) {
            return Err(SqlError::denied("SELECT", &table.name, &self.facts.database.name, &table.schema));
        }
        let list: Vec<&str> = columns.iter().map(|column| column.stored.as_str()).collect();
        let sql = format!(
            "SELECT _rid, {} FROM {} WHERE vis(_xmin, _xmax, {})",
            list.join(", "),
            table.stored(),
            how as u8
        );
        let names = match alias {
            Some(alias) => vec![vec![alias.to_owned()]],
            None => vec![vec![table.schema.clone(), table.name.clone()]],
        };
        Ok((sql, Source { names, alias: self.alias(), columns, table: Some(table.id) }))
    }

    /// What is told of a database's log.
    fn log_stats(
        &mut self,
        alias: Option<&TableAlias>,
        values: &[(SqlType, Value)],
    ) -> Result<Bound, SqlError> {
        let [(_, Value::Int(id))] = values else {
            return Err(SqlError::not_modelled("dm_db_log_stats without the number of a database"));
        };
        if *id != self.facts.database.id {
            return Err(SqlError::not_modelled("dm_db_log_stats of another database"));
        }
        let view = system::log_stats(self.facts)?;
        let columns = view.columns.iter().enumerate().map(|(at, (name, of))| SourceColumn {
            name: (*name).to_owned(),
            stored: format!("c{}", at + 1),
            of: *of,
            nullable: true,
            denied: false,
        });
        let name = alias.map_or_else(|| "dm_db_log_stats".to_owned(), |alias| alias.name.value.clone());
        let source =
            Source { names: vec![vec![name]], alias: self.alias(), columns: columns.collect(), table: None };
        Ok((view.sql(), source))
    }

    /// A function that answers rows: those that read changes, and what is told of the log.
    fn row_function(
        &mut self,
        name: &ObjectName,
        alias: Option<&TableAlias>,
        args: &[FunctionArg],
    ) -> Result<Bound, SqlError> {
        let all = parts(name)?;
        let (schema, function) = match all.as_slice() {
            [schema, function] | [_, schema, function] => (schema.as_str(), function.as_str()),
            _ => return Err(SqlError::invalid_object(name)),
        };
        let mut values = Vec::new();
        for arg in args {
            let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = arg else {
                return Err(SqlError::syntax(arg));
            };
            values.push(self.computed(expr)?);
        }
        if same(schema, "sys") && same(function, "dm_db_log_stats") {
            return self.log_stats(alias, &values);
        }
        if !same(schema, "cdc") {
            return Err(SqlError::invalid_object(name));
        }
        let rows = ChangeRows::of(self.facts, &self.catalog, function, &values)?;
        let names = vec![vec![alias.map_or_else(|| function.to_owned(), |alias| alias.name.value.clone())]];
        let columns = rows.columns.iter().enumerate().map(|(at, (name, of))| SourceColumn {
            name: name.clone(),
            stored: format!("c{}", at + 1),
            of: *of,
            nullable: true,
            denied: false,
        });
        let columns = columns.collect();
        for bytes in [rows.from, rows.to] {
            self.parameters.push(rusqlite::types::Value::Blob(bytes));
        }
        let to = self.parameters.len();
        let sql = rows.sql.replace("{from}", &format!("?{}", to - 1)).replace("{to}", &format!("?{to}"));
        Ok((sql, Source { names, alias: self.alias(), columns, table: None }))
    }

    /// The value of an expression that no row has a part in, computed now.
    fn computed(&mut self, expr: &Expr) -> Result<(SqlType, Value), SqlError> {
        let mut inner = Binder::new(self.facts);
        let typed = inner.value(expr, &Scope::default())?;
        if let Some(value) = typed.constant {
            return Ok((typed.of, value));
        }
        let sql = format!("SELECT {}", typed.sql);
        let mut statement = self.facts.connection.prepare(&sql)?;
        let parameters = inner.parameters.iter().take(statement.parameter_count());
        let mut rows = statement.query(rusqlite::params_from_iter(parameters))?;
        let value = match rows.next()? {
            Some(row) => crate::sql::stored::load(row.get_ref(0)?, typed.of)?,
            None => Value::Null,
        };
        Ok((typed.of, value))
    }
}

/// How a table with these hints is read, and whether it is locked against changes as a whole.
///
/// <https://learn.microsoft.com/en-us/sql/t-sql/queries/hints-transact-sql-table>
fn hinted(hints: &[Expr], default: Reading) -> Result<(Reading, bool), SqlError> {
    let mut reading = default;
    let (mut table, mut held) = (false, false);
    for hint in hints {
        match hint.to_string().to_ascii_uppercase().as_str() {
            "NOLOCK" | "READUNCOMMITTED" => reading = Reading::Dirty,
            "READCOMMITTED" | "ROWLOCK" | "PAGLOCK" | "FORCESEEK" | "FORCESCAN" => {}
            "READCOMMITTEDLOCK" => reading = Reading::Locking,
            "TABLOCK" => table = true,
            "HOLDLOCK" | "SERIALIZABLE" => held = true,
            _ => return Err(SqlError::not_modelled(hint)),
        }
    }
    if table != held {
        return Err(SqlError::not_modelled("TABLOCK without HOLDLOCK, or HOLDLOCK without TABLOCK"));
    }
    Ok((if table { Reading::Locking } else { reading }, table))
}
