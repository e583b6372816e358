//! Functions that answer one value.
//!
//! <https://learn.microsoft.com/en-us/sql/t-sql/functions/functions>

use sqlparser::ast::{Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments};

use super::expression::substring;
use super::{Binder, Scope, Typed, parts};
use crate::engine::moments;
use crate::sql::datatype::{Length, SqlType};
use crate::sql::error::SqlError;
use crate::sql::value::Value;

impl Binder<'_> {
    pub(super) fn call(&mut self, function: &Function, scope: &Scope<'_>) -> Result<Typed, SqlError> {
        let all = parts(&function.name)?;
        let Some((name, schema)) = all.split_last() else { return Err(SqlError::syntax(function)) };
        let name = name.to_lowercase();
        let list = match &function.args {
            FunctionArguments::None => &[][..],
            FunctionArguments::List(list) => &list.args,
            FunctionArguments::Subquery(_) => return Err(SqlError::syntax(function)),
        };
        if name == "count" || name == "count_big" {
            return self.count(&name, function, list, scope);
        }
        let mut args = Vec::new();
        for arg in list {
            match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => args.push(expr),
                other => return Err(SqlError::syntax(other)),
            }
        }
        if let Some(schema) = schema.last() {
            return self.qualified(schema, &name, &args, scope);
        }
        if let Some(over) = &function.over {
            return self.windowed(&name, &args, over, scope);
        }
        if matches!(
            name.as_str(),
            "dateadd" | "datediff" | "datediff_big" | "datepart" | "year" | "month" | "day"
        ) {
            return self.dated(&name, &args, scope);
        }
        if name == "iif" {
            let [condition, yes, no] = exactly(&name, args)?;
            let condition = self.predicate(condition, scope)?;
            let (of, results) = {
                let both = vec![self.value(yes, scope)?, self.value(no, scope)?];
                self.unify(both)?
            };
            let [yes, no] = exactly(&name, results)?;
            return Ok(Typed::new(format!("CASE WHEN {condition} THEN {} ELSE {} END", yes.sql, no.sql), of));
        }
        let mut values = Vec::new();
        for arg in args {
            values.push(self.value(arg, scope)?);
        }
        if let Some(aggregate) = self.aggregate(&name, function, &values)? {
            return Ok(aggregate);
        }
        if let Some((value, of)) = self.session_function(&name, &values)? {
            return Ok(self.constant(value, of));
        }
        if let [value] = values.as_slice()
            && let Some(named) = self.name_of(&name, value)
        {
            return Ok(named);
        }
        if name == "schema_name" && values.is_empty() {
            return Ok(self.constant(Value::from("dbo"), SqlType::NAME));
        }
        self.scalar(&name, values)
    }

    fn dated(&mut self, name: &str, args: &[&Expr], scope: &Scope<'_>) -> Result<Typed, SqlError> {
        let moment = |binder: &mut Self, expr: &Expr| -> Result<Typed, SqlError> {
            let value = binder.value(expr, scope)?;
            if value.of.is_temporal() { Ok(value) } else { binder.cast(value, SqlType::DateTime, 0) }
        };
        match (name, args) {
            ("year" | "month" | "day", [value]) => {
                let value = moment(self, value)?;
                Ok(Typed::new(
                    format!("ts_datepart('{name}', {}, {})", value.sql, value.of.code()),
                    SqlType::Int,
                ))
            }
            ("datepart", [part, value]) => {
                let part = moments::part(&part.to_string())?;
                let value = moment(self, value)?;
                Ok(Typed::new(
                    format!("ts_datepart('{part}', {}, {})", value.sql, value.of.code()),
                    SqlType::Int,
                ))
            }
            ("dateadd", [part, count, value]) => {
                let part = moments::part(&part.to_string())?;
                let count = self.value(count, scope)?;
                let count = self.cast(count, SqlType::Int, 0)?;
                let value = moment(self, value)?;
                let sql = format!("ts_dateadd('{part}', {}, {}, {})", count.sql, value.sql, value.of.code());
                Ok(Typed::new(sql, value.of))
            }
            ("datediff" | "datediff_big", [part, from, to]) => {
                let part = moments::part(&part.to_string())?;
                let (from, to) = (moment(self, from)?, moment(self, to)?);
                let of = if name == "datediff" { SqlType::Int } else { SqlType::BigInt };
                let sql = format!(
                    "ts_cast(ts_datediff('{part}', {}, {}, {}, {}), {}, {}, 0)",
                    from.sql,
                    from.of.code(),
                    to.sql,
                    to.of.code(),
                    SqlType::BigInt.code(),
                    of.code()
                );
                Ok(Typed::new(sql, of))
            }
            _ => Err(wrong_count(name)),
        }
    }

    fn scalar(&mut self, name: &str, values: Vec<Typed>) -> Result<Typed, SqlError> {
        let wide = |of: SqlType| match of {
            SqlType::Text { unicode, length, .. } => SqlType::Text { unicode, fixed: false, length },
            SqlType::Bytes { length, .. } => SqlType::Bytes { fixed: false, length },
            SqlType::Null => SqlType::varchar(8000),
            _ => SqlType::varchar(8000),
        };
        match (name, values.as_slice()) {
            ("coalesce" | "isnull" | "nullif" | "concat", [_, _, ..]) => self.of_nulls(name, values),
            ("datalength", [value]) => {
                Ok(Typed::new(format!("ts_datalength({}, {})", value.sql, value.of.code()), SqlType::Int))
            }
            ("substring", [text, from, count]) => Ok(substring(text, &from.sql, &count.sql)),
            ("left", [text, count]) => Ok(substring(text, "1", &count.sql)),
            ("abs", [value]) => {
                let zero = self.constant(Value::Int(0), SqlType::Int);
                let below = self.compare(value.clone(), "<", zero.clone())?;
                let negated = self.binary(zero, &sqlparser::ast::BinaryOperator::Minus, value.clone())?;
                let negated = self.cast(negated, value.of, 0)?;
                Ok(Typed::new(
                    format!("CASE WHEN {below} THEN {} ELSE {} END", negated.sql, value.sql),
                    value.of,
                ))
            }
            ("round", [value, digits]) if value.of.whole_range().is_none() => Ok(Typed::new(
                format!("ts_round({}, {}, {})", value.sql, value.of.code(), digits.sql),
                value.of,
            )),
            ("switchoffset" | "todatetimeoffset", [value, offset]) => {
                let scale = match value.of {
                    SqlType::DateTime2(scale) | SqlType::DateTimeOffset(scale) => scale,
                    _ => 7,
                };
                let keep = u8::from(name == "switchoffset");
                let sql = format!("ts_offset({}, {}, {}, {keep})", value.sql, value.of.code(), offset.sql);
                Ok(Typed::new(sql, SqlType::DateTimeOffset(scale)))
            }
            ("ceiling" | "floor", [_]) => {
                let [value] = exactly(name, values)?;
                self.whole_part(value, if name == "floor" { -100 } else { -101 })
            }
            ("newid", []) => Ok(Typed::new("ts_newid()", SqlType::UniqueIdentifier)),
            (
                "len" | "upper" | "lower" | "ltrim" | "rtrim" | "trim" | "right" | "charindex" | "replace"
                | "replicate",
                _,
            ) => self.textual(name, values, wide),
            _ => Err(unknown(name)),
        }
    }

    /// Functions that look at NULL.
    fn of_nulls(&mut self, name: &str, values: Vec<Typed>) -> Result<Typed, SqlError> {
        match (name, values.as_slice()) {
            ("coalesce", [_, _, ..]) => {
                let nullable = values.iter().all(|value| value.nullable);
                let (of, values) = self.unify(values)?;
                let list: Vec<String> = values.into_iter().map(|value| value.sql).collect();
                Ok(Typed { sql: format!("coalesce({})", list.join(", ")), of, nullable, constant: None })
            }
            ("isnull", [_, _]) => {
                let [value, other] = exactly(name, values)?;
                let of = if value.of == SqlType::Null { other.of } else { value.of };
                let nullable = value.nullable && other.nullable;
                let other = self.cast(other, of, 0)?;
                Ok(Typed {
                    sql: format!("coalesce({}, {})", value.sql, other.sql),
                    of,
                    nullable,
                    constant: None,
                })
            }
            ("nullif", [_, _]) => {
                let [value, other] = exactly(name, values)?;
                let equal = self.compare(value.clone(), "=", other)?;
                Ok(Typed::new(format!("CASE WHEN {equal} THEN NULL ELSE {} END", value.sql), value.of))
            }
            ("concat", [_, _, ..]) => {
                let mut list = Vec::new();
                for value in values {
                    let text = self.cast(value, SqlType::nvarchar(4000), 0)?;
                    list.push(format!("coalesce({}, '')", text.sql));
                }
                Ok(Typed {
                    sql: format!("({})", list.join(" || ")),
                    of: SqlType::nvarchar(4000),
                    nullable: false,
                    constant: None,
                })
            }
            _ => Err(wrong_count(name)),
        }
    }

    /// Functions of texts, whose arguments become texts first.
    fn textual(
        &mut self,
        name: &str,
        values: Vec<Typed>,
        wide: impl Fn(SqlType) -> SqlType,
    ) -> Result<Typed, SqlError> {
        let mut texts = Vec::new();
        for value in values {
            let of = wide(value.of);
            let keep = value.of.whole_range().is_some() || value.of.is_text();
            texts.push(if keep { value } else { self.cast(value, of, 0)? });
        }
        let of = texts.first().map_or(SqlType::varchar(8000), |text| wide(text.of));
        let list: Vec<&str> = texts.iter().map(|text| text.sql.as_str()).collect();
        let made = |sql: String, of: SqlType| Ok(Typed::new(sql, of));
        match (name, list.as_slice()) {
            ("len", [text]) => made(format!("ts_len({text})"), SqlType::Int),
            ("upper" | "lower", [text]) => made(format!("ts_{name}({text})"), of),
            ("ltrim" | "rtrim" | "trim", [text]) => made(format!("{name}({text})"), of),
            ("right", [text, count]) => made(format!("ts_right({text}, {count})"), of),
            ("charindex", [wanted, text]) => made(format!("ts_charindex({wanted}, {text}, 1)"), SqlType::Int),
            ("charindex", [wanted, text, from]) => {
                made(format!("ts_charindex({wanted}, {text}, {from})"), SqlType::Int)
            }
            ("replace", [text, from, to]) => {
                let unicode = matches!(of, SqlType::Text { unicode: true, .. });
                let length = Length::Limited(if unicode { 4000 } else { 8000 });
                made(
                    format!("replace({text}, {from}, {to})"),
                    SqlType::Text { unicode, fixed: false, length },
                )
            }
            ("replicate", [text, count]) => {
                let of = match of {
                    SqlType::Text { unicode, length: Length::Limited(_), .. } => {
                        let length = Length::Limited(if unicode { 4000 } else { 8000 });
                        SqlType::Text { unicode, fixed: false, length }
                    }
                    other => other,
                };
                let limited = format!("ts_replicate({text}, {count})");
                if matches!(of, SqlType::Text { length: Length::Max, .. }) {
                    return made(limited, of);
                }
                let cast =
                    format!("ts_cast({limited}, {}, {}, 0)", SqlType::nvarchar(4000).code(), of.code());
                made(cast, of)
            }
            _ => Err(wrong_count(name)),
        }
    }
}

fn exactly<T, const N: usize>(name: &str, values: Vec<T>) -> Result<[T; N], SqlError> {
    values.try_into().map_err(|_| wrong_count(name))
}

/// 174
pub(super) fn wrong_count(name: &str) -> SqlError {
    SqlError::new(174, 15, 1, format!("The {name} function has been given the wrong number of arguments."))
}

/// 195
pub(super) fn unknown(name: &str) -> SqlError {
    SqlError::new(195, 15, 10, format!("'{name}' is not a recognized built-in function name."))
}
