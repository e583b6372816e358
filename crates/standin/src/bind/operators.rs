//! `+ - * / % & | ^`.
//!
//! Precision and scale of results:
//! <https://learn.microsoft.com/en-us/sql/t-sql/data-types/precision-scale-and-length-transact-sql>

use sqlparser::ast::BinaryOperator;

use super::{Binder, Typed};
use crate::sql::datatype::{Length, SqlType};
use crate::sql::error::SqlError;

impl Binder<'_> {
    /// Two operands and what is done with them.
    ///
    /// # Errors
    /// 402 and 8117 for types that do not go together.
    pub(super) fn binary(
        &mut self,
        left: Typed,
        op: &BinaryOperator,
        right: Typed,
    ) -> Result<Typed, SqlError> {
        let symbol = match op {
            BinaryOperator::Plus => "+",
            BinaryOperator::Minus => "-",
            BinaryOperator::Multiply => "*",
            BinaryOperator::Divide => "/",
            BinaryOperator::Modulo => "%",
            BinaryOperator::BitwiseAnd => "&",
            BinaryOperator::BitwiseOr => "|",
            BinaryOperator::BitwiseXor => "^",
            other => return Err(SqlError::syntax(other)),
        };
        let text = |of: SqlType| of.is_text() || of == SqlType::Null;
        if symbol == "+" && text(left.of) && text(right.of) && (left.of.is_text() || right.of.is_text()) {
            return Ok(joined(&left, &right));
        }
        if let (SqlType::Bytes { length: a, .. }, SqlType::Bytes { length: b, .. }) = (left.of, right.of)
            && symbol == "+"
        {
            let of = SqlType::Bytes { fixed: false, length: total(a, b) };
            return Ok(Typed::new(format!("ts_join({}, {})", left.sql, right.sql), of));
        }
        if left.of == SqlType::DateTime || left.of == SqlType::SmallDateTime {
            return self.shifted(left, symbol, &right);
        }
        let common = left.of.unified(right.of);
        if common.is_temporal() || common == SqlType::UniqueIdentifier {
            let message =
                format!("Operand data type {} is invalid for the operator '{symbol}'.", common.name());
            return Err(SqlError::new(8117, 16, 1, message));
        }
        if matches!(common, SqlType::Float | SqlType::Real) {
            let (left, right) = (self.cast(left, SqlType::Float, 0)?, self.cast(right, SqlType::Float, 0)?);
            let sql = format!("({} {symbol} {})", left.sql, right.sql);
            return Ok(Typed::new(sql, common));
        }
        let common = if common == SqlType::Null { SqlType::Int } else { common };
        let exact = |of: SqlType| if of.exact().is_some() { of } else { common };
        let (left_type, right_type) = (exact(left.of), exact(right.of));
        let (left, right) = (self.cast(left, left_type, 0)?, self.cast(right, right_type, 0)?);
        let of = exact_result(symbol, left_type, right_type, common);
        let sql = format!(
            "ts_arith('{symbol}', {}, {}, {}, {}, {})",
            left.sql,
            right.sql,
            left_type.code(),
            right_type.code(),
            of.code()
        );
        Ok(Typed { sql, of, nullable: left.nullable || right.nullable, constant: None })
    }

    /// A datetime and a number of days.
    fn shifted(&mut self, moment: Typed, symbol: &str, days: &Typed) -> Result<Typed, SqlError> {
        if !matches!(symbol, "+" | "-") || days.of.whole_range().is_none() {
            let message = format!(
                "The data types {} and {} are incompatible in the operator.",
                moment.of.name(),
                days.of.name()
            );
            return Err(SqlError::new(402, 16, 1, message));
        }
        let code = moment.of.code();
        let sql = format!("ts_dateadd('day', {symbol}({}), {}, {code})", days.sql, moment.sql);
        Ok(Typed::new(sql, moment.of))
    }
}

fn joined(left: &Typed, right: &Typed) -> Typed {
    let of = match (left.of, right.of) {
        (SqlType::Text { unicode, length, .. }, SqlType::Text { unicode: other, length: more, .. }) => {
            SqlType::Text { unicode: unicode || other, fixed: false, length: total(length, more) }
        }
        (SqlType::Null, other) | (other, _) => other,
    };
    let nullable = left.nullable || right.nullable;
    Typed { sql: format!("({} || {})", left.sql, right.sql), of, nullable, constant: None }
}

fn total(one: Length, other: Length) -> Length {
    match (one, other) {
        (Length::Limited(a), Length::Limited(b)) => Length::Limited(a.saturating_add(b).min(4000)),
        _ => Length::Max,
    }
}

fn exact_result(symbol: &str, left: SqlType, right: SqlType, common: SqlType) -> SqlType {
    if common.whole_range().is_some() {
        // Arithmetic on bits and the smallest numbers stays in the wider of the two.
        return if common == SqlType::Bit { SqlType::TinyInt } else { common };
    }
    if matches!(common, SqlType::Money | SqlType::SmallMoney) {
        return common;
    }
    let ((p1, s1), (p2, s2)) = (left.exact().unwrap_or((38, 0)), right.exact().unwrap_or((38, 0)));
    let (precision, scale) = match symbol {
        "*" => (p1 + p2 + 1, s1 + s2),
        "/" => {
            let scale = (s1 + p2 + 1).max(6);
            ((p1 - s1) + s2 + scale, scale)
        }
        "%" => ((p1 - s1).min(p2 - s2) + s1.max(s2), s1.max(s2)),
        _ => ((p1 - s1).max(p2 - s2) + s1.max(s2) + 1, s1.max(s2)),
    };
    if precision <= 38 {
        return SqlType::Decimal { precision, scale };
    }
    // Digits after the point give way, down to six.
    let whole = precision - scale;
    let scale = scale.min(38u8.saturating_sub(whole).max(scale.min(6)));
    SqlType::Decimal { precision: 38, scale }
}
