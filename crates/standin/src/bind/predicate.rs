//! Conditions: true, false or unknown, but no value.

use sqlparser::ast::{BinaryOperator, Expr, UnaryOperator};

use super::{Binder, Scope, Typed};
use crate::sql::datatype::SqlType;
use crate::sql::error::SqlError;

impl Binder<'_> {
    /// A condition, in SQLite's text.
    ///
    /// # Errors
    /// As [`Binder::value`]; 4145 for an expression that is no condition.
    pub(crate) fn predicate(&mut self, expr: &Expr, scope: &Scope<'_>) -> Result<String, SqlError> {
        Ok(match expr {
            Expr::Nested(inner) => format!("({})", self.predicate(inner, scope)?),
            Expr::BinaryOp { left, op: op @ (BinaryOperator::And | BinaryOperator::Or), right } => {
                format!("({} {op} {})", self.predicate(left, scope)?, self.predicate(right, scope)?)
            }
            Expr::UnaryOp { op: UnaryOperator::Not, expr } => {
                format!("(NOT {})", self.predicate(expr, scope)?)
            }
            Expr::BinaryOp { left, op, right } => {
                let op = comparison(op).ok_or_else(|| not_a_condition(expr))?;
                let (left, right) = (self.value(left, scope)?, self.value(right, scope)?);
                self.compare(left, op, right)?
            }
            Expr::IsNull(inner) => format!("({} IS NULL)", self.value(inner, scope)?.sql),
            Expr::IsNotNull(inner) => format!("({} IS NOT NULL)", self.value(inner, scope)?.sql),
            Expr::IsDistinctFrom(left, right) => self.distinct(left, right, "IS NOT", scope)?,
            Expr::IsNotDistinctFrom(left, right) => self.distinct(left, right, "IS", scope)?,
            Expr::Between { expr, negated, low, high } => {
                let (value, low, high) =
                    (self.value(expr, scope)?, self.value(low, scope)?, self.value(high, scope)?);
                let above = self.compare(value.clone(), ">=", low)?;
                let below = self.compare(value, "<=", high)?;
                format!("{}({above} AND {below})", not(*negated))
            }
            Expr::InList { expr, list, negated } => {
                let mut all = vec![self.value(expr, scope)?];
                for item in list {
                    all.push(self.value(item, scope)?);
                }
                let (of, all) = self.unify(all)?;
                let mut all = all.into_iter().map(|one| comparable(&one.sql, of));
                let value = all.next().unwrap_or_default();
                let list: Vec<String> = all.collect();
                format!("({value} {}IN ({}))", not(*negated), list.join(", "))
            }
            Expr::InSubquery { expr, subquery, negated } => {
                let value = self.value(expr, scope)?;
                let relation = self.query(subquery, Some(scope))?;
                let [column] = relation.columns.as_slice() else { return Err(SqlError::syntax("IN")) };
                let of = value.of.unified(column.of);
                let inner = self.alias();
                let wanted = self.cast(Typed::new(format!("{inner}.c1"), column.of), of, 0)?;
                let value = self.cast(value, of, 0)?;
                format!(
                    "({} {}IN (SELECT {} FROM ({}) AS {inner}))",
                    comparable(&value.sql, of),
                    not(*negated),
                    comparable(&wanted.sql, of),
                    relation.sql
                )
            }
            Expr::Exists { subquery, negated } => {
                format!("({}EXISTS ({}))", not(*negated), self.query(subquery, Some(scope))?.sql)
            }
            Expr::Like { negated, any: false, expr, pattern, escape_char } => {
                let (text, pattern) = (self.value(expr, scope)?, self.value(pattern, scope)?);
                let escape = match escape_char {
                    Some(escape) => self.value(escape, scope)?.sql,
                    None => "NULL".to_owned(),
                };
                let wide = SqlType::nvarchar(4000);
                let (text, pattern) = (self.cast(text, wide, 0)?, self.cast(pattern, wide, 0)?);
                format!("({}ts_like({}, {}, {escape}))", not(*negated), text.sql, pattern.sql)
            }
            other => return Err(not_a_condition(other)),
        })
    }

    /// `left op right`, both in the type that they meet in.
    ///
    /// # Errors
    /// As [`Binder::cast`].
    pub(super) fn compare(&mut self, left: Typed, op: &str, right: Typed) -> Result<String, SqlError> {
        let of = left.of.unified(right.of);
        let (left, right) = (self.cast(left, of, 0)?, self.cast(right, of, 0)?);
        Ok(format!("({} {op} {})", comparable(&left.sql, of), comparable(&right.sql, of)))
    }

    fn distinct(
        &mut self,
        left: &Expr,
        right: &Expr,
        op: &str,
        scope: &Scope<'_>,
    ) -> Result<String, SqlError> {
        let (left, right) = (self.value(left, scope)?, self.value(right, scope)?);
        self.compare(left, op, right)
    }
}

/// The part of a stored value that equals when the values do, in the order of the values.
pub(super) fn comparable(sql: &str, of: SqlType) -> String {
    match of {
        SqlType::Text { .. } => format!("{sql} COLLATE MSCI"),
        SqlType::DateTimeOffset(_) => format!("substr({sql}, 1, 8)"),
        _ => sql.to_owned(),
    }
}

fn comparison(op: &BinaryOperator) -> Option<&'static str> {
    Some(match op {
        BinaryOperator::Eq => "=",
        BinaryOperator::NotEq => "<>",
        BinaryOperator::Lt => "<",
        BinaryOperator::LtEq => "<=",
        BinaryOperator::Gt => ">",
        BinaryOperator::GtEq => ">=",
        _ => return None,
    })
}

fn not(negated: bool) -> &'static str {
    if negated { "NOT " } else { "" }
}

fn not_a_condition(expr: &Expr) -> SqlError {
    let message = format!(
        "An expression of non-boolean type specified in a context where a condition is expected, near '{expr}'."
    );
    SqlError::new(4145, 15, 1, message)
}
