//! Which rows count, judged on their cells as SQL judges: true, false, or unknown because of a NULL.

use std::cmp::Ordering;

use change::{Condition, Literal, Operator, Value};

use crate::field::Cells;
use crate::rejection::Complaint;
use crate::time::{self, Written};

/// A condition that has been made ready for use.
///
/// # Rules
/// - Texts are compared letter by letter: case, accents and blanks count, whatever the column's collation.
/// - Numbers are compared by value, whether the cell is an integer or a text that is a plain decimal number.
/// - `TRUE` and `FALSE` are 1 and 0 to an integer.
/// - A date or time is compared with a text that is one: with an offset exactly where the cell is an instant.
/// - What cannot be compared so is a complaint, unless the rest of the condition decides.
#[derive(Debug, Clone)]
pub(crate) struct Filter(Node);

#[derive(Debug, Clone)]
enum Node {
    Compare { index: usize, operator: Operator, side: Side },
    In { index: usize, sides: Vec<Side> },
    IsNull { index: usize },
    And(Vec<Node>),
    Or(Vec<Node>),
    Not(Box<Node>),
}

/// A literal, with what it could mean to cells of other kinds.
#[derive(Debug, Clone)]
struct Side {
    literal: Literal,
    number: Option<Decimal>,
    written: Option<Written>,
}

/// What a condition says of a row.
enum Verdict {
    True,
    False,
    Unknown,
    /// It cannot be told.
    Untold(Complaint),
}

impl Filter {
    /// `index` tells the place of a column in rows.
    pub(crate) fn new(condition: Condition, index: &mut dyn FnMut(String) -> usize) -> Self {
        Self(Node::new(condition, index))
    }

    /// Whether the row counts.
    pub(crate) fn admits(&self, cells: &Cells<'_>) -> Result<bool, Complaint> {
        match self.0.judge(cells) {
            Verdict::True => Ok(true),
            Verdict::False | Verdict::Unknown => Ok(false),
            Verdict::Untold(complaint) => Err(complaint),
        }
    }
}

impl Node {
    fn new(condition: Condition, index: &mut dyn FnMut(String) -> usize) -> Self {
        let mut nodes =
            |parts: Vec<Condition>| parts.into_iter().map(|part| Self::new(part, index)).collect::<Vec<_>>();
        match condition {
            Condition::And(parts) => Self::And(nodes(parts)),
            Condition::Or(parts) => Self::Or(nodes(parts)),
            Condition::Not(part) => Self::Not(Box::new(Self::new(*part, index))),
            Condition::IsNull { column } => Self::IsNull { index: index(column) },
            Condition::In { column, literals } => {
                Self::In { index: index(column), sides: literals.into_iter().map(Side::new).collect() }
            }
            Condition::Compare { column, operator, literal } => {
                Self::Compare { index: index(column), operator, side: Side::new(literal) }
            }
        }
    }

    fn judge(&self, cells: &Cells<'_>) -> Verdict {
        match self {
            Self::Compare { index, operator, side } => {
                test(cells, *index, |cell| side.order(cell).map(|order| holds(*operator, order)))
            }
            Self::In { index, sides } => test(cells, *index, |cell| {
                for side in sides {
                    if side.order(cell)? == Ordering::Equal {
                        return Ok(true);
                    }
                }
                Ok(false)
            }),
            Self::IsNull { index } => match cells.cell(*index) {
                Some(Value::Null) => Verdict::True,
                Some(Value::Unchanged) => untold(cells, *index, Complaint::unlogged()),
                None => untold(cells, *index, Complaint::missing_column()),
                Some(_) => Verdict::False,
            },
            Self::Not(part) => match part.judge(cells) {
                Verdict::True => Verdict::False,
                Verdict::False => Verdict::True,
                same => same,
            },
            Self::And(parts) => together(parts, cells, false),
            Self::Or(parts) => together(parts, cells, true),
        }
    }
}

/// One part decides alone: one that is false of AND, one that is true of OR.
fn together(parts: &[Node], cells: &Cells<'_>, decisive: bool) -> Verdict {
    let mut verdict = if decisive { Verdict::False } else { Verdict::True };
    for part in parts {
        match (part.judge(cells), &verdict) {
            (Verdict::True, _) if decisive => return Verdict::True,
            (Verdict::False, _) if !decisive => return Verdict::False,
            (untold @ Verdict::Untold(_), _) => verdict = untold,
            (Verdict::Unknown, Verdict::True | Verdict::False) => verdict = Verdict::Unknown,
            _ => {}
        }
    }
    verdict
}

fn test(cells: &Cells<'_>, index: usize, judge: impl FnOnce(&Value) -> Result<bool, Complaint>) -> Verdict {
    if matches!(cells.cell(index), Some(Value::Null)) {
        return Verdict::Unknown;
    }
    match cells.read(index, judge) {
        Ok(true) => Verdict::True,
        Ok(false) => Verdict::False,
        Err(complaint) => Verdict::Untold(complaint),
    }
}

fn untold(cells: &Cells<'_>, index: usize, complaint: Complaint) -> Verdict {
    Verdict::Untold(complaint.in_columns(cells, &[index]))
}

fn holds(operator: Operator, order: Ordering) -> bool {
    match operator {
        Operator::Equal => order.is_eq(),
        Operator::NotEqual => order.is_ne(),
        Operator::Less => order.is_lt(),
        Operator::LessOrEqual => order.is_le(),
        Operator::Greater => order.is_gt(),
        Operator::GreaterOrEqual => order.is_ge(),
    }
}

impl Side {
    fn new(literal: Literal) -> Self {
        let (number, written) = match &literal {
            Literal::Text(text) => (Decimal::parse(text), time::parse(text)),
            Literal::Number(number) => (Decimal::parse(number), None),
            Literal::Bool(truth) => (Some(Decimal::of(i64::from(*truth))), None),
        };
        Self { literal, number, written }
    }

    /// How the cell, which is not NULL, stands to the literal.
    fn order(&self, cell: &Value) -> Result<Ordering, Complaint> {
        let order = match (cell, &self.literal) {
            (Value::Text(cell), Literal::Text(text)) => Some((**cell).cmp(text)),
            (Value::Text(cell), Literal::Number(_)) => {
                Decimal::parse(cell).zip(self.number.as_ref()).map(|(cell, number)| cell.cmp(number))
            }
            (Value::Int(cell), _) => self.number.as_ref().map(|number| Decimal::of(*cell).cmp(number)),
            (Value::Bool(cell), Literal::Bool(truth)) => Some(cell.cmp(truth)),
            (Value::Bool(cell), Literal::Number(_)) => {
                self.number.as_ref().map(|number| Decimal::of(i64::from(*cell)).cmp(number))
            }
            (Value::Date(_) | Value::Local(_) | Value::Instant(_), Literal::Text(_)) => self.time_order(cell),
            _ => None,
        };
        order.ok_or_else(|| Complaint::unfit_for_where(cell, &self.literal))
    }

    fn time_order(&self, cell: &Value) -> Option<Ordering> {
        const MICROS_PER_DAY: i64 = 86_400_000_000;
        match (cell, self.written.as_ref()?) {
            (Value::Instant(cell), Written::Instant(at)) => Some(cell.cmp(at)),
            (Value::Local(cell), Written::Local(at)) => Some(cell.cmp(at)),
            (Value::Date(day), Written::Local(at)) => Some((i64::from(*day) * MICROS_PER_DAY).cmp(at)),
            _ => None,
        }
    }
}

/// A decimal number of any length, in the one form in which equal numbers are equal.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Decimal {
    negative: bool,
    /// Without zeros before it.
    whole: String,
    /// Without zeros behind it.
    fraction: String,
}

impl Decimal {
    fn parse(text: &str) -> Option<Self> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let is_digits = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        if !is_digits(whole) || !is_digits(fraction) {
            return None;
        }
        let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
        let is_zero = whole.is_empty() && fraction.is_empty();
        Some(Self { negative: negative && !is_zero, whole: whole.into(), fraction: fraction.into() })
    }

    fn of(integer: i64) -> Self {
        let whole = if integer == 0 { String::new() } else { integer.unsigned_abs().to_string() };
        Self { negative: integer < 0, whole, fraction: String::new() }
    }

    fn size(&self) -> (usize, &str, &str) {
        (self.whole.len(), &self.whole, &self.fraction)
    }

    fn cmp(&self, other: &Self) -> Ordering {
        match (self.negative, other.negative) {
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, false) => self.size().cmp(&other.size()),
            (true, true) => other.size().cmp(&self.size()),
        }
    }
}

#[cfg(test)]
mod tests {
    use change::Row;
    use proptest::prelude::*;

    use super::*;
    use crate::condition::parse_condition;

    const COLUMNS: [&str; 3] = ["a", "b", "c"];

    fn judge(condition: &str, cells: &[Value]) -> Result<bool, String> {
        let filter = Filter::new(parse_condition(condition).unwrap(), &mut |column| {
            COLUMNS.iter().position(|known| *known == column).unwrap()
        });
        let columns = COLUMNS.map(str::to_owned);
        let row = Row::new(cells.to_vec());
        let judged = filter.admits(&Cells { columns: &columns, row: &row, before: None });
        judged.map_err(|complaint| complaint.about("where").reject(None).reason)
    }

    fn text(value: &str) -> Value {
        Value::text(value)
    }

    #[test]
    fn values_are_compared_by_the_written_rule() {
        #[rustfmt::skip] // A table reads better with one case a line.
        let cases = [
            ("a = 'LIC'", text("LIC"), true),
            ("a = 'LIC'", text("lic"), false),
            ("a = 'LIC'", text("LIC "), false),
            ("a <> 'LIC'", text("lic"), true),
            ("a < 'b'", text("ab"), true),
            ("a > 'Z'", text("a"), true),
            ("a = 7", Value::Int(7), true),
            ("a = 7.0", Value::Int(7), true),
            ("a = '7'", Value::Int(7), true),
            ("a >= 7.5", Value::Int(7), false),
            ("a < -7.5", Value::Int(-8), true),
            ("a = 7", text("007.00"), true),
            ("a > 18446744073709551615", text("18446744073709551616"), true),
            ("a = -0", Value::Int(0), true),
            ("a = TRUE", Value::Int(1), true),
            ("a = TRUE", Value::Int(2), false),
            ("a = FALSE", Value::Bool(false), true),
            ("a = 1", Value::Bool(true), true),
            ("a IN ('x', 'y')", text("y"), true),
            ("a IN (1, 2)", Value::Int(3), false),
            ("a NOT IN (1, 2)", Value::Int(3), true),
            ("a >= '2024-01-01'", Value::Date(19_723), true),
            ("a >= '2024-01-02'", Value::Date(19_723), false),
            ("a < '2024-01-01 00:00:01'", Value::Local(1_704_067_200_000_000), true),
            ("a = '2024-01-01T00:00:00Z'", Value::Instant(1_704_067_200_000_000), true),
            ("a IS NULL", text(""), false),
            ("a IS NOT NULL", Value::Unusable("infinity".into()), true),
        ];
        for (condition, cell, expected) in cases {
            let cells = [cell];
            assert_eq!(judge(condition, &cells), Ok(expected), "{condition} for {cells:?}");
        }
    }

    #[test]
    fn null_is_unknown_and_unknown_rows_do_not_count() {
        let cells = [Value::Null, Value::Int(1)];
        for (condition, expected) in [
            ("a = 1", false),
            ("NOT a = 1", false),
            ("a <> 1", false),
            ("a IN (1)", false),
            ("a NOT IN (1)", false),
            ("a IS NULL", true),
            ("a = 1 OR b = 1", true),
            ("a = 1 AND b = 1", false),
            ("NOT (a = 1 AND b = 2)", true),
            ("NOT (a = 1 OR b = 2)", false),
        ] {
            assert_eq!(judge(condition, &cells), Ok(expected), "{condition}");
        }
    }

    #[test]
    fn what_cannot_be_compared_is_told_unless_the_rest_decides() {
        let cells = [text("viejo"), Value::Int(1), Value::Unchanged];
        let reason = "column \"a\" of where holds \"viejo\", which cannot be compared with the number 5";
        assert_eq!(judge("a > 5", &cells), Err(reason.into()));
        assert_eq!(judge("NOT a > 5", &cells), Err(reason.into()));
        assert_eq!(judge("a > 5 AND b = 2", &cells), Ok(false));
        assert_eq!(judge("b = 1 OR a > 5", &cells), Ok(true));
        assert_eq!(judge("b = 1 AND a > 5", &cells), Err(reason.into()));
        assert!(judge("b = 'uno'", &cells).unwrap_err().contains("the text 'uno'"));
        for condition in ["c = 1", "c IS NULL", "c IN (1)"] {
            assert!(judge(condition, &cells).unwrap_err().contains("left out of the log"), "{condition}");
        }
        // A local time and an offset, or the other way round: which of two moments is meant is not known.
        for (cell, at) in [(Value::Local(0), "2024-01-01T00:00:00Z"), (Value::Instant(0), "2024-01-01")] {
            let told = judge(&format!("a < '{at}'"), &[cell]).unwrap_err();
            assert!(told.contains(at), "{told}");
        }
        assert!(judge("a = 1", &[]).unwrap_err().contains("does not carry it"));
    }

    proptest! {
        #[test]
        fn numbers_are_ordered_by_value(one in -2_000_i64..2_000, other in -2_000_i64..2_000) {
            // In hundredths, so that signs, points and zeros are written in all their forms.
            let written = |hundredths: i64| {
                let sign = if hundredths < 0 { "-" } else { "" };
                format!("{sign}{}.{:02}", hundredths.abs() / 100, hundredths.abs() % 100)
            };
            let order = Decimal::parse(&written(one)).unwrap().cmp(&Decimal::parse(&written(other)).unwrap());
            prop_assert_eq!(order, one.cmp(&other));
            prop_assert_eq!(Decimal::of(one).cmp(&Decimal::of(other)), one.cmp(&other));
        }
    }
}
