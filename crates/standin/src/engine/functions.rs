//! The functions and the collation that SQLite is given, so that it computes as the server does.

use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use rusqlite::functions::{Aggregate, Context, FunctionFlags};
use rusqlite::types::{Value as Cell, ValueRef};

use super::pattern::matches;
use super::versions::{Reading, Versions, View};
use super::{lsn, moments};
use crate::sql::calendar::{self, MINUTE};
use crate::sql::convert::{assign, convert, ticks_of};
use crate::sql::datatype::SqlType;
use crate::sql::decimal;
use crate::sql::error::SqlError;
use crate::sql::stored::{load, store};
use crate::sql::value::Value;

type Scalar = fn(&Context<'_>) -> Result<Cell, SqlError>;

/// Names, counts of arguments (-1: any), and what they do.
const SCALARS: &[(&str, i32, Scalar)] =
    &[
        ("ts_cast", 4, cast),
        ("ts_try_cast", 4, |ctx| Ok(cast(ctx).unwrap_or(Cell::Null))),
        ("ts_assign", 3, |ctx| Ok(store(&assign(&value(ctx, 0, 1)?, code(ctx, 1), code(ctx, 2))?))),
        ("ts_arith", 6, arithmetic),
        ("ts_like", 3, like),
        ("ts_len", 1, |ctx| Ok(int(text(ctx, 0)?.map(|text| units(text.trim_end_matches(' ')))))),
        ("ts_datalength", 2, data_length),
        ("ts_upper", 1, |ctx| Ok(text_cell(text(ctx, 0)?.map(|text| text.to_uppercase())))),
        ("ts_lower", 1, |ctx| Ok(text_cell(text(ctx, 0)?.map(|text| text.to_lowercase())))),
        ("ts_substring", 3, substring),
        ("ts_right", 2, right),
        ("ts_charindex", 3, char_index),
        ("ts_replicate", 2, replicate),
        ("ts_join", 2, join_bytes),
        ("ts_round", 3, round),
        ("ts_dateadd", 4, |ctx| match number(ctx, 1)? {
            Some(count) => Ok(store(&moments::add(&part(ctx)?, count, &value(ctx, 2, 3)?, code(ctx, 3))?)),
            None => Ok(Cell::Null),
        }),
        ("ts_datediff", 5, |ctx| {
            Ok(store(&moments::difference(&part(ctx)?, &value(ctx, 1, 2)?, &value(ctx, 3, 4)?)?))
        }),
        ("ts_datepart", 3, |ctx| Ok(store(&moments::extract(&part(ctx)?, &value(ctx, 1, 2)?)?))),
        ("ts_offset", 4, with_offset),
        ("ts_lsn_step", 2, |ctx| {
            let up = number(ctx, 1)? == Some(1);
            Ok(blob(ctx, 0)?.map_or(Cell::Null, |bytes| Cell::Blob(lsn::step(&bytes, up))))
        }),
        ("ts_lsn", 1, |ctx| {
            Ok(number(ctx, 0)?.map_or(Cell::Null, |number| Cell::Blob(lsn::of(number).to_vec())))
        }),
        ("ts_bit", 2, bit_set),
        ("ts_newid", 0, |_| Ok(store(&Value::Guid(rand::random())))),
    ];

/// Gives `connection` everything that translated statements call.
///
/// # Errors
/// What SQLite answers.
pub(crate) fn register(
    connection: &Connection,
    versions: &Arc<Versions>,
    view: &Arc<Mutex<View>>,
) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    for &(name, count, scalar) in SCALARS {
        let flags = if count == 0 { FunctionFlags::SQLITE_UTF8 } else { flags };
        connection.create_scalar_function(name, count, flags, move |ctx| {
            scalar(ctx).map_err(rusqlite::Error::from)
        })?;
    }
    let (versions, view) = (Arc::clone(versions), Arc::clone(view));
    connection.create_scalar_function("vis", 3, FunctionFlags::SQLITE_UTF8, move |ctx| {
        let how = match ctx.get_raw(2) {
            ValueRef::Integer(1) => Reading::Locking,
            ValueRef::Integer(2) => Reading::Dirty,
            _ => Reading::Versioned,
        };
        let mut view = view.lock().unwrap_or_else(PoisonError::into_inner);
        versions.sees(&mut view, (ctx.get(0)?, ctx.get(1)?), how).map_err(rusqlite::Error::from)
    })?;
    connection.create_aggregate_function("ts_sum", 2, flags, DecimalSum { average: false })?;
    connection.create_aggregate_function("ts_avg", 2, flags, DecimalSum { average: true })?;
    connection.create_collation("MSCI", |one, other| {
        let folded = |text: &str| text.trim_end_matches(' ').to_lowercase();
        if one.is_ascii() && other.is_ascii() {
            let lower = |text: &'_ str| text.trim_end_matches(' ').len();
            let (one, other) =
                (one.get(..lower(one)).unwrap_or(one), other.get(..lower(other)).unwrap_or(other));
            let bytes = |text: &'_ str| text.to_ascii_lowercase();
            return bytes(one).cmp(&bytes(other));
        }
        folded(one).cmp(&folded(other))
    })
}

fn code(ctx: &Context<'_>, at: usize) -> SqlType {
    SqlType::from_code(ctx.get(at).unwrap_or(0))
}

fn value(ctx: &Context<'_>, at: usize, type_at: usize) -> Result<Value, SqlError> {
    load(ctx.get_raw(at), code(ctx, type_at))
}

fn number(ctx: &Context<'_>, at: usize) -> Result<Option<i64>, SqlError> {
    ctx.get(at).map_err(SqlError::from)
}

fn text(ctx: &Context<'_>, at: usize) -> Result<Option<String>, SqlError> {
    ctx.get(at).map_err(SqlError::from)
}

fn blob(ctx: &Context<'_>, at: usize) -> Result<Option<Vec<u8>>, SqlError> {
    ctx.get(at).map_err(SqlError::from)
}

fn part(ctx: &Context<'_>) -> Result<String, SqlError> {
    Ok(text(ctx, 0)?.unwrap_or_default())
}

fn int(number: Option<usize>) -> Cell {
    number.map_or(Cell::Null, |number| Cell::Integer(i64::try_from(number).unwrap_or(i64::MAX)))
}

fn text_cell(text: Option<String>) -> Cell {
    text.map_or(Cell::Null, Cell::Text)
}

fn units(text: &str) -> usize {
    text.encode_utf16().count()
}

/// `ts_cast(value, from, to, style)`
fn cast(ctx: &Context<'_>) -> Result<Cell, SqlError> {
    let style = number(ctx, 3)?.unwrap_or(0);
    Ok(store(&convert(&value(ctx, 0, 1)?, code(ctx, 1), code(ctx, 2), style)?))
}

/// `ts_arith(operator, a, b, type of a, type of b, type of the result)` for exact numbers.
fn arithmetic(ctx: &Context<'_>) -> Result<Cell, SqlError> {
    let operator = text(ctx, 0)?.unwrap_or_default();
    let (left, right) = (value(ctx, 1, 3)?, value(ctx, 2, 4)?);
    let (left_type, right_type, to) = (code(ctx, 3), code(ctx, 4), code(ctx, 5));
    if left.is_null() || right.is_null() {
        return Ok(Cell::Null);
    }
    let exact = |value: &Value, of: SqlType| match value {
        Value::Int(number) => (i128::from(*number), 0),
        Value::Decimal(number) => (*number, of.exact().map_or(0, |(_, scale)| scale)),
        _ => (0, 0),
    };
    let ((a, a_scale), (b, b_scale)) = (exact(&left, left_type), exact(&right, right_type));
    let overflow = || SqlError::overflow(to.name());
    let scale = a_scale.max(b_scale);
    let aligned = |number: i128, from: u8| decimal::rescale(number, from, scale).ok_or_else(overflow);
    let zero = || SqlError::new(8134, 16, 1, "Divide by zero error encountered.");
    let (number, found) = match operator.as_str() {
        "+" => (aligned(a, a_scale)?.checked_add(aligned(b, b_scale)?), scale),
        "-" => (aligned(a, a_scale)?.checked_sub(aligned(b, b_scale)?), scale),
        "*" => (a.checked_mul(b), a_scale + b_scale),
        "/" => {
            let wanted = to.exact().map_or(0, |(_, scale)| scale);
            if b == 0 {
                return Err(zero());
            }
            let up = (i16::from(wanted) + i16::from(b_scale) - i16::from(a_scale)).max(0);
            let up = u8::try_from(up).unwrap_or(0);
            (a.checked_mul(decimal::power(up)).map(|a| a / b), a_scale + up - b_scale)
        }
        "&" => (Some(a & b), 0),
        "|" => (Some(a | b), 0),
        "^" => (Some(a ^ b), 0),
        _ => {
            let (a, b) = (aligned(a, a_scale)?, aligned(b, b_scale)?);
            (Some(a.checked_rem(b).ok_or_else(zero)?), scale)
        }
    };
    let number = number.ok_or_else(overflow)?;
    if let Some((low, high)) = to.whole_range() {
        let number = i64::try_from(number).ok().filter(|number| (low..=high).contains(number));
        return number.map(Cell::Integer).ok_or_else(overflow);
    }
    let (precision, scale) = to.exact().ok_or_else(overflow)?;
    let number = decimal::rescale(number, found, scale).ok_or_else(overflow)?;
    Ok(store(&Value::Decimal(decimal::fit(number, precision)?)))
}

/// `ts_like(text, pattern, escape)`
///
/// <https://learn.microsoft.com/en-us/sql/t-sql/language-elements/like-transact-sql>
fn like(ctx: &Context<'_>) -> Result<Cell, SqlError> {
    let (Some(subject), Some(pattern)) = (text(ctx, 0)?, text(ctx, 1)?) else { return Ok(Cell::Null) };
    let escape = text(ctx, 2)?.and_then(|escape| escape.chars().next());
    let subject: Vec<char> = subject.to_lowercase().chars().collect();
    let pattern: Vec<char> = pattern.to_lowercase().chars().collect();
    Ok(Cell::Integer(i64::from(matches(&subject, &pattern, escape))))
}

fn data_length(ctx: &Context<'_>) -> Result<Cell, SqlError> {
    let of = code(ctx, 1);
    let mut wire = Vec::new();
    let value = value(ctx, 0, 1)?;
    if value.is_null() {
        return Ok(Cell::Null);
    }
    let length = match (&value, of) {
        (Value::Text(text), SqlType::Text { unicode: true, .. }) => units(text) * 2,
        (Value::Text(text), _) => text.chars().count(),
        (Value::Bytes(bytes), _) => bytes.len(),
        _ => {
            crate::tds::typeinfo::push_value(&mut wire, &value, of);
            wire.len().saturating_sub(1)
        }
    };
    Ok(int(Some(length)))
}

/// `ts_substring(text or bytes, from 1, count)`
fn substring(ctx: &Context<'_>) -> Result<Cell, SqlError> {
    let (Some(start), Some(count)) = (number(ctx, 1)?, number(ctx, 2)?) else { return Ok(Cell::Null) };
    if count < 0 {
        return Err(SqlError::new(
            537,
            16,
            3,
            "Invalid length parameter passed to the LEFT or SUBSTRING function.",
        ));
    }
    // What lies before the first character counts, although it is not there.
    let end = usize::try_from(start.saturating_add(count) - 1).unwrap_or(0);
    let from = usize::try_from(start - 1).unwrap_or(0);
    let count = end.saturating_sub(from);
    Ok(match ctx.get_raw(0) {
        ValueRef::Blob(bytes) => Cell::Blob(bytes.iter().skip(from).take(count).copied().collect()),
        ValueRef::Text(bytes) => {
            Cell::Text(String::from_utf8_lossy(bytes).chars().skip(from).take(count).collect())
        }
        _ => Cell::Null,
    })
}

fn right(ctx: &Context<'_>) -> Result<Cell, SqlError> {
    let (Some(text), Some(count)) = (text(ctx, 0)?, number(ctx, 1)?) else { return Ok(Cell::Null) };
    let length = text.chars().count();
    let skip = length.saturating_sub(usize::try_from(count).unwrap_or(0));
    Ok(Cell::Text(text.chars().skip(skip).collect()))
}

fn char_index(ctx: &Context<'_>) -> Result<Cell, SqlError> {
    let (Some(wanted), Some(text)) = (text(ctx, 0)?, text(ctx, 1)?) else { return Ok(Cell::Null) };
    let skip = usize::try_from(number(ctx, 2)?.unwrap_or(1) - 1).unwrap_or(0);
    let subject: Vec<char> = text.to_lowercase().chars().collect();
    let wanted: Vec<char> = wanted.to_lowercase().chars().collect();
    if wanted.is_empty() {
        return Ok(Cell::Integer(0));
    }
    let found = subject.windows(wanted.len()).enumerate().skip(skip).find(|(_, window)| *window == wanted);
    Ok(int(Some(found.map_or(0, |(at, _)| at + 1))))
}

fn replicate(ctx: &Context<'_>) -> Result<Cell, SqlError> {
    let (Some(text), Some(count)) = (text(ctx, 0)?, number(ctx, 1)?) else { return Ok(Cell::Null) };
    // The server stops at 8000 bytes unless the text is of a (max) type; the stand-in at 16 MB.
    let room = (16 << 20) / text.len().max(1);
    match usize::try_from(count) {
        Ok(count) => Ok(Cell::Text(text.repeat(count.min(room)))),
        Err(_) => Ok(Cell::Null),
    }
}

fn join_bytes(ctx: &Context<'_>) -> Result<Cell, SqlError> {
    let (Some(mut left), Some(right)) = (blob(ctx, 0)?, blob(ctx, 1)?) else { return Ok(Cell::Null) };
    left.extend_from_slice(&right);
    Ok(Cell::Blob(left))
}

/// `ts_round(value, type, digits)`; digits of -100 and -101 stand for FLOOR and CEILING.
fn round(ctx: &Context<'_>) -> Result<Cell, SqlError> {
    let (of, digits) = (code(ctx, 1), number(ctx, 2)?.unwrap_or(0));
    Ok(store(&match value(ctx, 0, 1)? {
        Value::Float(number) => Value::Float(match digits {
            -100 => number.floor(),
            -101 => number.ceil(),
            digits => {
                let power = 10f64.powi(i32::try_from(digits).unwrap_or(0));
                (number * power).round() / power
            }
        }),
        Value::Decimal(number) => {
            let scale = of.exact().map_or(0, |(_, scale)| scale);
            let whole = decimal::power(scale);
            Value::Decimal(match digits {
                -100 => number.div_euclid(whole) * whole,
                -101 => -((-number).div_euclid(whole)) * whole,
                digits => {
                    let keep = u8::try_from(digits.clamp(0, i64::from(scale))).unwrap_or(0);
                    decimal::rescale(number, scale, keep).unwrap_or(0) * decimal::power(scale - keep)
                }
            })
        }
        other => other,
    }))
}

/// `ts_offset(value, type, offset or zone, whether the moment stays the same)`
fn with_offset(ctx: &Context<'_>) -> Result<Cell, SqlError> {
    let (value, name) = (value(ctx, 0, 1)?, text(ctx, 2)?.unwrap_or_default());
    let unknown = || {
        SqlError::new(
            9820,
            16,
            1,
            format!("The time zone parameter '{name}' provided to AT TIME ZONE clause is invalid."),
        )
    };
    let zone = calendar::Zone::parse(&name).ok_or_else(unknown)?;
    let moment = match value {
        Value::Offset { utc, .. } if number(ctx, 3)? == Some(1) => {
            Value::Offset { utc, minutes: zone.minutes_ahead(utc) }
        }
        other => match ticks_of(&other) {
            None => Value::Null,
            Some((ticks, _)) => {
                let guess = zone.minutes_ahead(ticks - i64::from(zone.minutes_ahead(ticks)) * MINUTE);
                Value::Offset { utc: ticks - i64::from(guess) * MINUTE, minutes: guess }
            }
        },
    };
    Ok(store(&moment))
}

/// Is the bit of a column set in an update mask? The first columns are in the last byte.
///
/// <https://learn.microsoft.com/en-us/sql/relational-databases/system-functions/sys-fn-cdc-is-bit-set-transact-sql>
fn bit_set(ctx: &Context<'_>) -> Result<Cell, SqlError> {
    let (Some(ordinal), Some(mask)) = (number(ctx, 0)?, blob(ctx, 1)?) else { return Ok(Cell::Null) };
    let Ok(bit) = usize::try_from(ordinal - 1) else { return Ok(Cell::Null) };
    let byte = mask.iter().rev().nth(bit / 8).copied().unwrap_or(0);
    Ok(Cell::Integer(i64::from(byte >> (bit % 8) & 1)))
}

/// The sum, or the average, of exact numbers.
struct DecimalSum {
    average: bool,
}

impl Aggregate<(i128, i128, i64), Cell> for DecimalSum {
    fn init(&self, _: &mut Context<'_>) -> rusqlite::Result<(i128, i128, i64)> {
        Ok((0, 0, 0))
    }

    fn step(&self, ctx: &mut Context<'_>, sum: &mut (i128, i128, i64)) -> rusqlite::Result<()> {
        sum.2 = ctx.get(1)?;
        if let Value::Decimal(number) = value(ctx, 0, 1)? {
            sum.0 = sum.0.saturating_add(number);
            sum.1 += 1;
        }
        Ok(())
    }

    fn finalize(&self, _: &mut Context<'_>, sum: Option<(i128, i128, i64)>) -> rusqlite::Result<Cell> {
        let Some((sum, count, of)) = sum.filter(|(_, count, _)| *count > 0) else { return Ok(Cell::Null) };
        if !self.average {
            return Ok(store(&Value::Decimal(sum)));
        }
        let scale = SqlType::from_code(of).exact().map_or(0, |(_, scale)| scale);
        let more = 6u8.saturating_sub(scale);
        Ok(store(&Value::Decimal(sum.saturating_mul(decimal::power(more)) / count)))
    }
}
