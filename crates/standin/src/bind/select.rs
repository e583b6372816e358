//! Queries.

use sqlparser::ast::{
    Distinct, Expr, GroupByExpr, LimitClause, OrderBy, OrderByExpr, OrderByKind, OrderBySort, Query, Select,
    SelectItem, SelectItemQualifiedWildcardKind, SetExpr, TopQuantity, Value as Literal,
};

use super::predicate::comparable;
use super::{Binder, DEPTH_MAX, Scope, Source, Typed, parts};
use crate::engine::catalog::same;
use crate::sql::datatype::SqlType;
use crate::sql::error::SqlError;
use crate::tds::token::ResultColumn;

/// A query's translation: a SELECT whose columns are called `c1`, `c2` and so on.
#[derive(Debug, Clone)]
pub(crate) struct Relation {
    pub(crate) sql: String,
    pub(crate) columns: Vec<ResultColumn>,
    /// The variables that take the columns of the last row.
    pub(crate) variables: Vec<String>,
    /// Columns, counted from 1, by which the rows are ordered.
    pub(crate) order: Vec<u16>,
}

/// Columns with their names, and the variables that take them.
type Projection = (Vec<(String, Typed)>, Vec<String>);

impl Binder<'_> {
    /// A query inside `outer`, or on its own.
    ///
    /// # Errors
    /// What a server answers for what is wrong in it, and 102 for what is not modelled.
    pub(crate) fn query(&mut self, query: &Query, outer: Option<&Scope<'_>>) -> Result<Relation, SqlError> {
        if query.for_clause.is_some() || !query.locks.is_empty() {
            return Err(SqlError::not_modelled("FOR"));
        }
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(SqlError::new(191, 15, 1, "Some part of your SQL statement is nested too deeply."));
        }
        let known = self.expressions.len();
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            let columns = cte.alias.columns.iter().map(|column| column.name.clone()).collect();
            self.expressions.push((cte.alias.name.clone(), columns, cte.query.clone()));
        }
        let limit = self.limit(query)?;
        let relation = match query.body.as_ref() {
            SetExpr::Select(select) => self.select(select, query.order_by.as_ref(), &limit, outer),
            body => self.compound(body, query.order_by.as_ref(), &limit, outer),
        };
        self.expressions.truncate(known);
        self.depth -= 1;
        relation
    }

    /// OFFSET and FETCH.
    fn limit(&mut self, query: &Query) -> Result<String, SqlError> {
        let offset = match &query.limit_clause {
            None => None,
            Some(LimitClause::LimitOffset { limit: None, offset: Some(offset), limit_by })
                if limit_by.is_empty() =>
            {
                Some(self.value(&offset.value, &Scope::default())?.sql)
            }
            Some(other) => return Err(SqlError::syntax(other)),
        };
        let fetch = match &query.fetch {
            None => None,
            Some(fetch) if fetch.percent || fetch.with_ties => return Err(SqlError::not_modelled(fetch)),
            Some(fetch) => match &fetch.quantity {
                Some(quantity) => Some(self.value(quantity, &Scope::default())?.sql),
                None => Some("1".to_owned()),
            },
        };
        if (offset.is_some() || fetch.is_some()) && query.order_by.is_none() {
            return Err(SqlError::syntax("OFFSET"));
        }
        Ok(match (offset, fetch) {
            (None, None) => String::new(),
            (offset, fetch) => format!(
                " LIMIT {} OFFSET {}",
                fetch.unwrap_or_else(|| "-1".to_owned()),
                offset.unwrap_or_else(|| "0".to_owned())
            ),
        })
    }

    pub(super) fn select(
        &mut self,
        select: &Select,
        order_by: Option<&OrderBy>,
        limit: &str,
        outer: Option<&Scope<'_>>,
    ) -> Result<Relation, SqlError> {
        refuse_the_unknown(select)?;
        let (from, sources) = self.from(&select.from, outer)?;
        let scope = Scope { sources: &sources, outer };
        let (items, variables) = self.projection(&select.projection, &scope)?;
        let mut sql = "SELECT ".to_owned();
        match &select.distinct {
            None | Some(Distinct::All) => {}
            Some(Distinct::Distinct) => sql.push_str("DISTINCT "),
            Some(Distinct::On(_)) => return Err(SqlError::syntax("ON")),
        }
        let list: Vec<String> =
            items.iter().enumerate().map(|(at, (_, item))| format!("{} AS c{}", item.sql, at + 1)).collect();
        sql.push_str(&list.join(", "));
        if !from.is_empty() {
            sql.push_str(&format!(" FROM {from}"));
        }
        if let Some(condition) = &select.selection {
            sql.push_str(&format!(" WHERE {}", self.predicate(condition, &scope)?));
        }
        self.grouping(&mut sql, select, &items, &scope)?;
        let columns: Vec<ResultColumn> = items
            .iter()
            .map(|(name, item)| ResultColumn { name: name.clone(), of: item.of, nullable: item.nullable })
            .collect();
        let order = self.ordering(&mut sql, order_by, &columns, Some(&scope))?;
        let top = self.top(select)?;
        if !top.is_empty() && !limit.is_empty() {
            return Err(SqlError::new(
                10_741,
                15,
                2,
                "A TOP can not be used in the same query or sub-query as a OFFSET.",
            ));
        }
        sql.push_str(&top);
        sql.push_str(limit);
        Ok(Relation { sql, columns, variables, order })
    }

    fn top(&mut self, select: &Select) -> Result<String, SqlError> {
        let Some(top) = &select.top else { return Ok(String::new()) };
        if top.percent || top.with_ties {
            return Err(SqlError::not_modelled(top));
        }
        Ok(match &top.quantity {
            Some(TopQuantity::Constant(count)) => format!(" LIMIT {count}"),
            Some(TopQuantity::Expr(count)) => {
                let count = self.value(count, &Scope::default())?;
                format!(" LIMIT max({}, 0)", count.sql)
            }
            None => return Err(SqlError::syntax("TOP")),
        })
    }

    fn grouping(
        &mut self,
        sql: &mut String,
        select: &Select,
        items: &[(String, Typed)],
        scope: &Scope<'_>,
    ) -> Result<(), SqlError> {
        let GroupByExpr::Expressions(groups, modifiers) = &select.group_by else {
            return Err(SqlError::syntax("ALL"));
        };
        if !modifiers.is_empty() {
            return Err(SqlError::not_modelled("WITH"));
        }
        let mut keys = Vec::new();
        for group in groups {
            keys.push(self.value(group, scope)?);
        }
        if !keys.is_empty() {
            let keys: Vec<String> = keys.iter().map(|key| comparable(&key.sql, key.of)).collect();
            sql.push_str(&format!(" GROUP BY {}", keys.join(", ")));
        }
        if let Some(having) = &select.having {
            sql.push_str(&format!(" HAVING {}", self.predicate(having, scope)?));
        }
        let aggregated = !keys.is_empty() || items.iter().any(|(_, item)| is_aggregate(&item.sql));
        let loose = items
            .iter()
            .find(|(_, item)| is_plain_column(&item.sql) && !keys.iter().any(|key| key.sql == item.sql));
        match loose {
            Some((name, _)) if aggregated => {
                let message = format!(
                    "Column '{name}' is invalid in the select list because it is not contained in either an aggregate function or the GROUP BY clause."
                );
                Err(SqlError::new(8120, 16, 1, message))
            }
            _ => Ok(()),
        }
    }

    /// Columns of the answer, and the variables that take them.
    fn projection(&mut self, items: &[SelectItem], scope: &Scope<'_>) -> Result<Projection, SqlError> {
        let (mut out, mut variables) = (Vec::new(), Vec::new());
        for item in items {
            match item {
                SelectItem::UnnamedExpr(expr) => {
                    let name = match expr {
                        Expr::Identifier(name) if !name.value.starts_with('@') => name.value.clone(),
                        Expr::CompoundIdentifier(name) => {
                            name.last().map(|name| name.value.clone()).unwrap_or_default()
                        }
                        _ => String::new(),
                    };
                    out.push((name, self.value(expr, scope)?));
                }
                SelectItem::ExprWithAlias { expr, alias } if is_variable(alias) => {
                    variables.push(alias.value.to_lowercase());
                    out.push((String::new(), self.value(expr, scope)?));
                }
                SelectItem::ExprWithAlias { expr, alias } => {
                    out.push((alias.value.clone(), self.value(expr, scope)?));
                }
                SelectItem::Wildcard(_) if scope.sources.is_empty() => {
                    return Err(SqlError::new(263, 16, 1, "Must specify table to select from."));
                }
                SelectItem::Wildcard(_) => {
                    for source in scope.sources {
                        all_columns(source, &mut out)?;
                    }
                }
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
                    let wanted = parts(name)?;
                    let source = scope.sources.iter().find(|source| source.is_called(&wanted));
                    all_columns(source.ok_or_else(|| SqlError::invalid_object(name))?, &mut out)?;
                }
                other => return Err(SqlError::not_modelled(other)),
            }
        }
        if !variables.is_empty() && variables.len() != out.len() {
            let message = "A SELECT statement that assigns a value to a variable must not be combined with data-retrieval operations.";
            return Err(SqlError::new(141, 15, 1, message));
        }
        Ok((out, variables))
    }

    pub(super) fn ordering(
        &mut self,
        sql: &mut String,
        order_by: Option<&OrderBy>,
        columns: &[ResultColumn],
        scope: Option<&Scope<'_>>,
    ) -> Result<Vec<u16>, SqlError> {
        let Some(order_by) = order_by else { return Ok(Vec::new()) };
        let OrderByKind::Expressions(keys) = &order_by.kind else { return Err(SqlError::syntax("ALL")) };
        let (mut list, mut known) = (Vec::new(), Vec::new());
        for key in keys {
            let (text, at) = self.order_key(key, columns, scope)?;
            let direction = if matches!(key.options.sort, Some(OrderBySort::Desc)) { " DESC" } else { "" };
            list.push(format!("{text}{direction}"));
            known.extend(at);
        }
        sql.push_str(&format!(" ORDER BY {}", list.join(", ")));
        Ok(known)
    }

    /// What one key of ORDER BY stands for: a column of the answer, or an expression.
    fn order_key(
        &mut self,
        key: &OrderByExpr,
        columns: &[ResultColumn],
        scope: Option<&Scope<'_>>,
    ) -> Result<(String, Option<u16>), SqlError> {
        if key.options.nulls_first.is_some() {
            return Err(SqlError::syntax("NULLS"));
        }
        let at = match &key.expr {
            Expr::Value(literal) => match &literal.value {
                Literal::Number(text, _) => {
                    let at: usize = text.parse().map_err(|_| SqlError::syntax(text))?;
                    if at == 0 || at > columns.len() {
                        let message = format!(
                            "The ORDER BY position number {at} is out of range of the number of items in the select list."
                        );
                        return Err(SqlError::new(108, 16, 1, message));
                    }
                    Some(at - 1)
                }
                _ => return Err(SqlError::syntax(&key.expr)),
            },
            Expr::Identifier(name) => columns
                .iter()
                .position(|column| same(&column.name, &name.value))
                // Inside of an expression SQLite takes a name for a column of the table, not of the answer.
                .filter(|at| scope.is_none() || !columns.get(*at).is_some_and(|column| is_offset(column.of))),
            _ => None,
        };
        if let Some(at) = at
            && let Some(column) = columns.get(at)
        {
            return Ok((comparable(&format!("c{}", at + 1), column.of), u16::try_from(at + 1).ok()));
        }
        match scope {
            Some(scope) => {
                let value = self.value(&key.expr, scope)?;
                Ok((comparable(&value.sql, value.of), None))
            }
            None => Err(SqlError::new(
                104,
                16,
                1,
                "ORDER BY items must appear in the select list if the statement contains a UNION, INTERSECT or EXCEPT operator.",
            )),
        }
    }
}

fn is_variable(name: &sqlparser::ast::Ident) -> bool {
    name.quote_style.is_none() && name.value.starts_with('@')
}

fn all_columns(source: &Source, out: &mut Vec<(String, Typed)>) -> Result<(), SqlError> {
    for column in &source.columns {
        let name = sqlparser::ast::Ident::with_quote('[', column.name.clone());
        let alone = Source { columns: vec![column.clone()], ..source.clone() };
        let scope = Scope { sources: &[alone], outer: None };
        out.push((column.name.clone(), scope.column(&[name])?));
    }
    Ok(())
}

fn refuse_the_unknown(select: &Select) -> Result<(), SqlError> {
    if select.into.is_some() {
        return Err(SqlError::not_modelled("INTO"));
    }
    let unknown = !select.lateral_views.is_empty()
        || select.prewhere.is_some()
        || !select.connect_by.is_empty()
        || select.qualify.is_some()
        || !select.named_window.is_empty()
        || select.exclude.is_some();
    if unknown { Err(SqlError::not_modelled(select)) } else { Ok(()) }
}

/// Is the translation a column and nothing else, such as `a1.c2`?
fn is_plain_column(sql: &str) -> bool {
    sql.split_once('.').is_some_and(|(alias, column)| {
        let digits = |text: &str, first: char| {
            text.strip_prefix(first)
                .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
        };
        digits(alias, 'a') && digits(column, 'c')
    })
}

fn is_aggregate(sql: &str) -> bool {
    ["count(", "sum(", "min(", "max(", "ts_sum(", "ts_avg(", "avg("].iter().any(|name| {
        sql.match_indices(name).any(|(at, _)| {
            // What a subquery or a window counts does not make a group of this SELECT.
            !sql.contains(" OVER (") && !sql.get(..at).unwrap_or_default().contains("(SELECT ")
        })
    })
}

fn is_offset(of: SqlType) -> bool {
    matches!(of, SqlType::DateTimeOffset(_))
}
