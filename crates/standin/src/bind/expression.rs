//! Expressions that have a value.

use sqlparser::ast::{CaseWhen, CastKind, DataType, Expr, Ident, Query, UnaryOperator, Value as Literal};

use super::{Binder, Scope, Typed};
use crate::sql::datatype::{Length, SqlType};
use crate::sql::decimal;
use crate::sql::error::SqlError;
use crate::sql::format::parse_hex;
use crate::sql::value::Value;

/// The type that a parsed type stands for.
///
/// # Errors
/// As [`SqlType::parse`].
pub(crate) fn data_type(parsed: &DataType) -> Result<SqlType, SqlError> {
    let text = parsed.to_string();
    let (name, rest) = text.split_once('(').unwrap_or((&text, ""));
    let name = name.trim().trim_matches(['[', ']', '"']);
    let name = name.strip_prefix("sys.").unwrap_or(name);
    let arguments: Vec<String> = rest
        .trim_end_matches(')')
        .split(',')
        .map(|argument| argument.trim().to_owned())
        .filter(|argument| !argument.is_empty())
        .collect();
    SqlType::parse(name, &arguments)
}

impl Binder<'_> {
    /// An expression that has a value.
    ///
    /// # Errors
    /// 102, 156, 195, 207 and their kin for what cannot be understood.
    pub(crate) fn value(&mut self, expr: &Expr, scope: &Scope<'_>) -> Result<Typed, SqlError> {
        match expr {
            Expr::Nested(inner) => self.value(inner, scope),
            Expr::Value(literal) => self.literal(&literal.value),
            Expr::Identifier(name) => self.identifier(name, scope),
            Expr::CompoundIdentifier(name) => scope.column(name),
            Expr::BinaryOp { left, op, right } => {
                let (left, right) = (self.value(left, scope)?, self.value(right, scope)?);
                self.binary(left, op, right)
            }
            Expr::UnaryOp { op, expr } => self.unary(*op, expr, scope),
            Expr::Cast { kind, expr, data_type: to, format: None } => {
                let to = cast_target(to)?;
                let from = self.value(expr, scope)?;
                self.cast_as(from, to, 0, matches!(kind, CastKind::TryCast | CastKind::SafeCast))
            }
            Expr::Convert { is_try, expr, data_type: Some(to), styles, .. } => {
                let to = cast_target(to)?;
                let from = self.value(expr, scope)?;
                let style = match styles.first() {
                    None => 0,
                    Some(style) => {
                        self.value(style, scope)?.constant.and_then(|style| style.as_int()).unwrap_or(0)
                    }
                };
                self.cast_as(from, to, style, *is_try)
            }
            Expr::Case { operand, conditions, else_result, .. } => {
                self.case(operand.as_deref(), conditions, else_result.as_deref(), scope)
            }
            Expr::Function(function) => self.call(function, scope),
            Expr::Subquery(query) => self.scalar_subquery(query, scope),
            Expr::Collate { expr, .. } => self.value(expr, scope),
            Expr::AtTimeZone { timestamp, time_zone } => {
                let moment = self.value(timestamp, scope)?;
                let zone = self.value(time_zone, scope)?;
                let scale = match moment.of {
                    SqlType::DateTime2(scale) | SqlType::DateTimeOffset(scale) => scale,
                    _ => 3,
                };
                let sql = format!("ts_offset({}, {}, {}, 1)", moment.sql, moment.of.code(), zone.sql);
                Ok(Typed::new(sql, SqlType::DateTimeOffset(scale)))
            }
            Expr::Substring { expr, substring_from: Some(from), substring_for: Some(count), .. } => {
                let (text, from, count) =
                    (self.value(expr, scope)?, self.value(from, scope)?, self.value(count, scope)?);
                Ok(substring(&text, &from.sql, &count.sql))
            }
            Expr::Ceil { expr, .. } => self.rounded(expr, -101, scope),
            Expr::Floor { expr, .. } => self.rounded(expr, -100, scope),
            Expr::Trim { expr, trim_where: None, trim_what: None, trim_characters: None } => {
                let text = self.value(expr, scope)?;
                Ok(Typed::new(format!("trim({})", text.sql), text.of))
            }
            other => Err(SqlError::not_modelled(other)),
        }
    }

    fn literal(&mut self, literal: &Literal) -> Result<Typed, SqlError> {
        let (value, of) = match literal {
            Literal::Null => (Value::Null, SqlType::Null),
            Literal::Number(text, _) => number(text)?,
            Literal::SingleQuotedString(text) => {
                (Value::from(text.as_str()), SqlType::varchar(width(text, 8000)))
            }
            Literal::NationalStringLiteral(text) => {
                (Value::from(text.as_str()), SqlType::nvarchar(width(text, 4000)))
            }
            Literal::HexStringLiteral(digits) => {
                let digits = if digits.len() % 2 == 0 { digits.clone() } else { format!("0{digits}") };
                let bytes = parse_hex(&digits).ok_or_else(|| SqlError::syntax(&digits))?;
                let width = u16::try_from(bytes.len()).unwrap_or(8000).clamp(1, 8000);
                (Value::Bytes(bytes), SqlType::varbinary(width))
            }
            other => return Err(SqlError::syntax(other)),
        };
        Ok(self.constant(value, of))
    }

    fn identifier(&mut self, name: &Ident, scope: &Scope<'_>) -> Result<Typed, SqlError> {
        if name.quote_style.is_none() && name.value.starts_with('@') {
            return self.variable(&name.value);
        }
        match scope.column(std::slice::from_ref(name)) {
            Err(error) if error.number == 207 && name.quote_style.is_none() => {
                self.niladic(&name.value).unwrap_or(Err(error))
            }
            found => found,
        }
    }

    /// A variable, a parameter, or one of the functions whose names begin with `@@`.
    fn variable(&mut self, name: &str) -> Result<Typed, SqlError> {
        if name.starts_with("@@") {
            let (value, of) = self.global(name)?;
            return Ok(self.constant(value, of));
        }
        match self.facts.variables.get(&name.to_lowercase()) {
            Some((of, value)) => {
                let (of, value) = (*of, value.clone());
                Ok(self.constant(value, of))
            }
            None => {
                let message = format!("Must declare the scalar variable \"{name}\".");
                Err(SqlError::new(137, 15, 2, message))
            }
        }
    }

    fn unary(&mut self, op: UnaryOperator, expr: &Expr, scope: &Scope<'_>) -> Result<Typed, SqlError> {
        let operand = self.value(expr, scope)?;
        match op {
            UnaryOperator::Plus => Ok(operand),
            UnaryOperator::Minus => {
                if let Some(value) = &operand.constant {
                    let negated = match value {
                        Value::Int(number) => Value::Int(-number),
                        Value::Decimal(number) => Value::Decimal(-number),
                        Value::Float(number) => Value::Float(-number),
                        _ => Value::Null,
                    };
                    return Ok(self.constant(negated, operand.of));
                }
                let zero = self.constant(Value::Int(0), SqlType::Int);
                self.binary(zero, &sqlparser::ast::BinaryOperator::Minus, operand)
            }
            UnaryOperator::BitwiseNot => Ok(Typed::new(format!("(~{})", operand.sql), operand.of)),
            other => Err(SqlError::syntax(other)),
        }
    }

    fn cast_as(&mut self, from: Typed, to: SqlType, style: i64, quietly: bool) -> Result<Typed, SqlError> {
        if !quietly {
            return self.cast(from, to, style);
        }
        let sql = format!("ts_try_cast({}, {}, {}, {style})", from.sql, from.of.code(), to.code());
        Ok(Typed::new(sql, to))
    }

    fn case(
        &mut self,
        operand: Option<&Expr>,
        conditions: &[CaseWhen],
        otherwise: Option<&Expr>,
        scope: &Scope<'_>,
    ) -> Result<Typed, SqlError> {
        let operand = operand.map(|operand| self.value(operand, scope)).transpose()?;
        let mut whens = Vec::new();
        let mut results = Vec::new();
        for when in conditions {
            whens.push(match &operand {
                None => self.predicate(&when.condition, scope)?,
                Some(operand) => {
                    let wanted = self.value(&when.condition, scope)?;
                    self.compare(operand.clone(), "=", wanted)?
                }
            });
            results.push(self.value(&when.result, scope)?);
        }
        results.push(match otherwise {
            Some(otherwise) => self.value(otherwise, scope)?,
            None => self.constant(Value::Null, SqlType::Null),
        });
        let (of, results) = self.unify(results)?;
        let mut sql = "CASE".to_owned();
        for (when, result) in whens.iter().zip(&results) {
            sql.push_str(&format!(" WHEN {when} THEN {}", result.sql));
        }
        if let Some(last) = results.last() {
            sql.push_str(&format!(" ELSE {}", last.sql));
        }
        let nullable = results.iter().any(|result| result.nullable);
        Ok(Typed { sql: format!("{sql} END"), of, nullable, constant: None })
    }

    /// Expressions that are to stand in one column, in one type.
    ///
    /// # Errors
    /// As [`Binder::cast`].
    pub(crate) fn unify(&mut self, of: Vec<Typed>) -> Result<(SqlType, Vec<Typed>), SqlError> {
        let common = of.iter().map(|one| one.of).reduce(SqlType::unified).unwrap_or(SqlType::Null);
        let cast: Result<Vec<_>, _> = of.into_iter().map(|one| self.cast(one, common, 0)).collect();
        Ok((common, cast?))
    }

    fn scalar_subquery(&mut self, query: &Query, scope: &Scope<'_>) -> Result<Typed, SqlError> {
        let relation = self.query(query, Some(scope))?;
        let [column] = relation.columns.as_slice() else {
            let message = "Only one expression can be specified in the select list when the subquery is not introduced with EXISTS.";
            return Err(SqlError::new(116, 16, 1, message));
        };
        Ok(Typed::new(format!("({})", relation.sql), column.of))
    }

    pub(super) fn rounded(&mut self, expr: &Expr, digits: i64, scope: &Scope<'_>) -> Result<Typed, SqlError> {
        let value = self.value(expr, scope)?;
        self.whole_part(value, digits)
    }

    /// FLOOR (-100) and CEILING (-101).
    pub(super) fn whole_part(&mut self, value: Typed, digits: i64) -> Result<Typed, SqlError> {
        if value.of.whole_range().is_some() {
            return Ok(value);
        }
        let (from, scale) = (value.of.code(), value.of.exact());
        let rounded = Typed::new(format!("ts_round({}, {from}, {digits})", value.sql), value.of);
        match (value.of, scale) {
            (SqlType::Decimal { precision, .. }, Some(_)) if digits <= -100 => {
                self.cast(rounded, SqlType::Decimal { precision, scale: 0 }, 0)
            }
            _ => Ok(rounded),
        }
    }
}

/// `CAST(x AS varchar)` without a length means 30 characters.
fn cast_target(parsed: &DataType) -> Result<SqlType, SqlError> {
    let to = data_type(parsed)?;
    let without_length = !parsed.to_string().contains('(');
    Ok(match to {
        SqlType::Text { unicode, fixed, length: Length::Limited(1) } if without_length => {
            SqlType::Text { unicode, fixed, length: Length::Limited(30) }
        }
        SqlType::Bytes { fixed, length: Length::Limited(1) } if without_length => {
            SqlType::Bytes { fixed, length: Length::Limited(30) }
        }
        other => other,
    })
}

/// Part of a text or of bytes, in a type that does not fill up.
pub(super) fn substring(text: &Typed, from: &str, count: &str) -> Typed {
    let of = match text.of {
        SqlType::Text { unicode, length, .. } => SqlType::Text { unicode, fixed: false, length },
        SqlType::Bytes { length, .. } => SqlType::Bytes { fixed: false, length },
        other => other,
    };
    Typed::new(format!("ts_substring({}, {from}, {count})", text.sql), of)
}

fn width(text: &str, limit: u16) -> u16 {
    u16::try_from(text.encode_utf16().count()).unwrap_or(limit).clamp(1, limit)
}

fn number(text: &str) -> Result<(Value, SqlType), SqlError> {
    if text.contains(['e', 'E']) {
        let float = text.parse().map_err(|_| SqlError::syntax(text))?;
        return Ok((Value::Float(float), SqlType::Float));
    }
    if let Ok(number) = text.parse::<i32>() {
        return Ok((Value::Int(i64::from(number)), SqlType::Int));
    }
    let (number, scale) = decimal::parse(text).ok_or_else(|| SqlError::syntax(text))?;
    let digits = u8::try_from(number.unsigned_abs().to_string().len()).unwrap_or(38);
    let precision = digits.max(scale).clamp(1, 38);
    Ok((Value::Decimal(number), SqlType::Decimal { precision, scale }))
}
