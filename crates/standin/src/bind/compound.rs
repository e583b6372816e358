//! UNION and its kin, and rows of values.

use sqlparser::ast::{OrderBy, SetExpr, SetOperator, SetQuantifier, Values};

use super::select::Relation;
use super::{Binder, Scope, Typed};
use crate::sql::error::SqlError;
use crate::tds::token::ResultColumn;

impl Binder<'_> {
    /// UNION and its kin, and rows of values.
    pub(super) fn compound(
        &mut self,
        body: &SetExpr,
        order_by: Option<&OrderBy>,
        limit: &str,
        outer: Option<&Scope<'_>>,
    ) -> Result<Relation, SqlError> {
        let mut relation = self.set(body, outer)?;
        if order_by.is_some() || !limit.is_empty() {
            relation.sql = format!("SELECT * FROM ({})", relation.sql);
            relation.order = self.ordering(&mut relation.sql, order_by, &relation.columns, None)?;
            relation.sql.push_str(limit);
        }
        Ok(relation)
    }

    fn set(&mut self, body: &SetExpr, outer: Option<&Scope<'_>>) -> Result<Relation, SqlError> {
        match body {
            SetExpr::Select(select) => self.select(select, None, "", outer),
            SetExpr::Query(query) => self.query(query, outer),
            SetExpr::Values(values) => self.rows(values, outer),
            SetExpr::SetOperation { left, op, set_quantifier, right } => {
                let operator = match (op, set_quantifier) {
                    (SetOperator::Union, SetQuantifier::All) => "UNION ALL",
                    (SetOperator::Union, SetQuantifier::None) => "UNION",
                    (SetOperator::Except, SetQuantifier::None) => "EXCEPT",
                    (SetOperator::Intersect, SetQuantifier::None) => "INTERSECT",
                    _ => return Err(SqlError::syntax(op)),
                };
                let (left, right) = (self.set(left, outer)?, self.set(right, outer)?);
                self.united(&left, operator, &right)
            }
            other => Err(SqlError::not_modelled(other)),
        }
    }

    fn united(&mut self, left: &Relation, operator: &str, right: &Relation) -> Result<Relation, SqlError> {
        if left.columns.len() != right.columns.len() {
            let message = "All queries combined using a UNION, INTERSECT or EXCEPT operator must have an equal number of expressions in their target lists.";
            return Err(SqlError::new(205, 16, 1, message));
        }
        let mut columns = Vec::new();
        let (mut first, mut second) = (Vec::new(), Vec::new());
        for (at, (a, b)) in left.columns.iter().zip(&right.columns).enumerate() {
            let of = a.of.unified(b.of);
            let name = format!("c{}", at + 1);
            for (list, from) in [(&mut first, a.of), (&mut second, b.of)] {
                let cast = self.cast(Typed::new(name.clone(), from), of, 0)?;
                list.push(format!("{} AS {name}", cast.sql));
            }
            columns.push(ResultColumn { name: a.name.clone(), of, nullable: a.nullable || b.nullable });
        }
        let sql = format!(
            "SELECT {} FROM ({}) {operator} SELECT {} FROM ({})",
            first.join(", "),
            left.sql,
            second.join(", "),
            right.sql
        );
        Ok(Relation { sql, columns, variables: Vec::new(), order: Vec::new() })
    }

    /// `VALUES (…), (…)`
    fn rows(&mut self, values: &Values, outer: Option<&Scope<'_>>) -> Result<Relation, SqlError> {
        let scope = Scope { sources: &[], outer };
        let mut by_column: Vec<Vec<Typed>> = Vec::new();
        for row in &values.rows {
            if by_column.is_empty() {
                by_column.resize_with(row.len(), Vec::new);
            }
            if by_column.len() != row.len() {
                let message =
                    "The number of columns for each row in a table value constructor must be the same.";
                return Err(SqlError::new(10_709, 16, 1, message));
            }
            for (column, expr) in by_column.iter_mut().zip(row.iter()) {
                column.push(self.value(expr, &scope)?);
            }
        }
        let mut columns = Vec::new();
        let mut rows: Vec<Vec<String>> = vec![Vec::new(); values.rows.len()];
        for column in by_column {
            let (of, column) = self.unify(column)?;
            let nullable = column.iter().any(|value| value.nullable);
            for (row, value) in rows.iter_mut().zip(column) {
                row.push(value.sql);
            }
            columns.push(ResultColumn { name: String::new(), of, nullable });
        }
        let names: Vec<String> =
            (1..=columns.len()).map(|number| format!("column{number} AS c{number}")).collect();
        let rows: Vec<String> = rows.iter().map(|row| format!("({})", row.join(", "))).collect();
        let sql = format!("SELECT {} FROM (VALUES {})", names.join(", "), rows.join(", "));
        Ok(Relation { sql, columns, variables: Vec::new(), order: Vec::new() })
    }
}
