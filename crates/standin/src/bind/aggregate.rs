//! Functions over several rows: aggregates and windows.
//!
//! <https://learn.microsoft.com/en-us/sql/t-sql/functions/aggregate-functions-transact-sql>

use sqlparser::ast::{
    DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, OrderBySort,
    WindowType,
};

use super::call::wrong_count;
use super::predicate::comparable;
use super::{Binder, Scope, Typed};
use crate::sql::datatype::SqlType;
use crate::sql::error::SqlError;

impl Binder<'_> {
    pub(super) fn count(
        &mut self,
        name: &str,
        function: &Function,
        args: &[FunctionArg],
        scope: &Scope<'_>,
    ) -> Result<Typed, SqlError> {
        let of = if name == "count" { SqlType::Int } else { SqlType::BigInt };
        let sql = match args {
            [FunctionArg::Unnamed(FunctionArgExpr::Wildcard)] => "count(*)".to_owned(),
            [FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))] => {
                let value = self.value(expr, scope)?;
                let distinct = if is_distinct(function) { "DISTINCT " } else { "" };
                format!("count({distinct}{})", comparable(&value.sql, value.of))
            }
            _ => return Err(wrong_count(name)),
        };
        let mut counted = Typed { sql, of, nullable: false, constant: None };
        if let Some(over) = &function.over {
            counted.sql.push_str(&self.over(over, scope)?);
        }
        Ok(counted)
    }

    pub(super) fn aggregate(
        &mut self,
        name: &str,
        function: &Function,
        values: &[Typed],
    ) -> Result<Option<Typed>, SqlError> {
        if !matches!(name, "min" | "max" | "sum" | "avg") {
            return Ok(None);
        }
        let [value] = values else { return Err(wrong_count(name)) };
        let distinct = if is_distinct(function) { "DISTINCT " } else { "" };
        let decimal = matches!(value.of, SqlType::Decimal { .. } | SqlType::Money | SqlType::SmallMoney);
        let (code, sql) = (value.of.code(), &value.sql);
        let money = matches!(value.of, SqlType::Money | SqlType::SmallMoney);
        let scale = value.of.exact().map_or(0, |(_, scale)| scale);
        Ok(Some(match name {
            "min" | "max" if value.of == SqlType::Bit => {
                return Err(SqlError::new(
                    8117,
                    16,
                    1,
                    format!("Operand data type bit is invalid for {name} operator."),
                ));
            }
            "min" | "max" => Typed::new(format!("{name}({})", comparable_whole(sql, value.of)), value.of),
            "sum" if decimal => {
                let of = if money { SqlType::Money } else { SqlType::Decimal { precision: 38, scale } };
                Typed::new(format!("ts_sum({sql}, {code})"), of)
            }
            "avg" if decimal => {
                let scale = scale.max(6);
                Typed::new(format!("ts_avg({sql}, {code})"), SqlType::Decimal { precision: 38, scale })
            }
            _ if matches!(value.of, SqlType::Float | SqlType::Real) => {
                Typed::new(format!("{name}({distinct}{sql})"), SqlType::Float)
            }
            _ if value.of.whole_range().is_some() => {
                let of = if value.of == SqlType::BigInt { SqlType::BigInt } else { SqlType::Int };
                let big = SqlType::BigInt.code();
                let sum = format!("sum({distinct}{sql})");
                let inner = if name == "sum" { sum } else { format!("({sum} / count({distinct}{sql}))") };
                Typed::new(format!("ts_cast({inner}, {big}, {}, 0)", of.code()), of)
            }
            _ => {
                let message =
                    format!("Operand data type {} is invalid for {name} operator.", value.of.name());
                return Err(SqlError::new(8117, 16, 1, message));
            }
        }))
    }

    pub(super) fn windowed(
        &mut self,
        name: &str,
        args: &[&Expr],
        over: &WindowType,
        scope: &Scope<'_>,
    ) -> Result<Typed, SqlError> {
        let window = self.over(over, scope)?;
        let mut values = Vec::new();
        for arg in args {
            values.push(self.value(arg, scope)?);
        }
        let list: Vec<&str> = values.iter().map(|value| value.sql.as_str()).collect();
        let of = match (name, values.first()) {
            ("row_number" | "rank" | "dense_rank", None) => SqlType::BigInt,
            ("lag" | "lead" | "first_value" | "last_value" | "min" | "max", Some(value)) => value.of,
            _ => return Err(SqlError::not_modelled(format!("{name} OVER"))),
        };
        Ok(Typed::new(format!("{name}({}){window}", list.join(", ")), of))
    }

    fn over(&mut self, over: &WindowType, scope: &Scope<'_>) -> Result<String, SqlError> {
        let WindowType::WindowSpec(window) = over else { return Err(SqlError::syntax("OVER")) };
        if window.window_frame.is_some() || window.window_name.is_some() {
            return Err(SqlError::not_modelled(window));
        }
        let mut text = Vec::new();
        let mut keys = Vec::new();
        for key in &window.partition_by {
            let key = self.value(key, scope)?;
            keys.push(comparable(&key.sql, key.of));
        }
        if !keys.is_empty() {
            text.push(format!("PARTITION BY {}", keys.join(", ")));
        }
        let mut order = Vec::new();
        for key in &window.order_by {
            let value = self.value(&key.expr, scope)?;
            let direction = if matches!(key.options.sort, Some(OrderBySort::Desc)) { " DESC" } else { "" };
            order.push(format!("{}{direction}", comparable(&value.sql, value.of)));
        }
        if !order.is_empty() {
            text.push(format!("ORDER BY {}", order.join(", ")));
        }
        Ok(format!(" OVER ({})", text.join(" ")))
    }
}

/// MIN and MAX compare whole values, but answer them whole, too.
fn comparable_whole(sql: &str, of: SqlType) -> String {
    if of.is_text() { format!("{sql} COLLATE MSCI") } else { sql.to_owned() }
}

fn is_distinct(function: &Function) -> bool {
    matches!(&function.args, FunctionArguments::List(list)
        if list.duplicate_treatment == Some(DuplicateTreatment::Distinct))
}
