//! How a copy's condition is written for SQL Server.

use change::{Dialect, Literal, Operator};
use chrono::{DateTime, Duration};

use crate::catalog::Column;
use crate::name::{quote_ident, quote_literal};
use crate::value::Kind;

/// The digits that the server's numbers have at the most, in front of the point and behind it together
/// (<https://learn.microsoft.com/en-us/sql/t-sql/data-types/decimal-and-numeric-transact-sql>).
const DIGITS_MAX: usize = 38;

/// The columns of the table, to be compared as the server does.
///
/// Equal texts are equal under every collation, with trailing blanks or without; which texts differ, and what comes before
/// what, is the collation's business and not asked
/// (<https://learn.microsoft.com/en-us/sql/relational-databases/collations/collation-and-unicode-support>).
pub(super) struct Columns<'a>(pub(super) &'a [Column]);

impl Columns<'_> {
    fn find(&self, name: &str) -> Option<&Column> {
        self.0.iter().find(|column| column.name == name)
    }
}

impl Dialect for Columns<'_> {
    fn quoted(&self, column: &str) -> Option<String> {
        self.find(column).map(|column| quote_ident(&column.name))
    }

    /// Money is compared as the decimal that it is, because beside money a literal is rounded to four digits.
    fn left(&self, column: &str, _operator: Operator) -> Option<String> {
        let column = self.find(column)?;
        Some(if column.is_large() { quote_ident(&column.name) } else { column.expression() })
    }

    fn right(&self, column: &str, operator: Operator, literal: &Literal) -> Option<String> {
        let column = self.find(column)?;
        match (literal, column.kind().ok()?) {
            (Literal::Text(text), Kind::Text | Kind::PaddedText) if operator == Operator::Equal => {
                Some(quote_literal(text))
            }
            (Literal::Number(number), Kind::Int | Kind::Decimal) if is_comparable(column, number) => {
                Some(format!("({number})"))
            }
            (Literal::Bool(truth), Kind::Int | Kind::Decimal) => {
                Some(if *truth { "1" } else { "0" }.to_owned())
            }
            _ => None,
        }
    }

    fn is_time(&self, column: &str) -> bool {
        self.find(column).is_some_and(|column| column.kind().is_ok_and(Kind::is_time))
    }

    /// Converted to the column's own type, not the column to the text's: an index on it may serve.
    fn day(&self, column: &str, day: i32) -> Option<String> {
        let day = DateTime::UNIX_EPOCH.checked_add_signed(Duration::days(day.into()))?;
        Some(format!("CONVERT({}, N'{}', 112)", self.find(column)?.sql_type(), day.format("%Y%m%d")))
    }
}

/// Whether there is a type that holds both the column's numbers and the literal: else comparing them is an error.
fn is_comparable(column: &Column, number: &str) -> bool {
    let digits = |part: &str| part.bytes().filter(u8::is_ascii_digit).count();
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let scale = usize::try_from(column.scale).unwrap_or(DIGITS_MAX);
    let precision = usize::try_from(column.precision).unwrap_or(DIGITS_MAX);
    let (whole, fraction) = (digits(whole), digits(fraction));
    whole.max(precision.saturating_sub(scale)) + fraction.max(scale) <= DIGITS_MAX
}

#[cfg(test)]
mod tests {
    use change::{Condition, Days, Since, TableScope, copied_rows};

    use super::*;
    use crate::catalog::tests::table;

    fn sql(condition: Option<Condition>, since: Option<(&str, i32)>, opened: &[Days]) -> Option<String> {
        let mut table = table(&[
            ("numero", "varchar"),
            ("sigla", "nchar"),
            ("anio", "int"),
            ("activo", "bit"),
            ("monto", "decimal"),
            ("tasa", "money"),
            ("clave", "uniqueidentifier"),
            ("abierta", "datetime"),
            ("nota", "nvarchar"),
        ]);
        table.columns.last_mut().unwrap().max_length = -1;
        let scope = TableScope {
            table: "t".to_owned(),
            columns: Vec::new(),
            keys: false,
            parent_keys: Vec::new(),
            apart_by: Vec::new(),
            since: since.map(|(column, day)| Since { column: column.to_owned(), day }),
            condition,
        };
        copied_rows(&scope, opened, &Columns(&table.columns))
    }

    fn compare(column: &str, operator: Operator, literal: Literal) -> Condition {
        Condition::Compare { column: column.to_owned(), operator, literal }
    }

    fn equal(column: &str, literal: Literal) -> Condition {
        compare(column, Operator::Equal, literal)
    }

    fn text(text: &str) -> Literal {
        Literal::Text(text.to_owned())
    }

    fn number(number: &str) -> Literal {
        Literal::Number(number.to_owned())
    }

    #[test]
    fn tests_are_written_as_each_type_takes_them() {
        let not = |condition| Condition::Not(Box::new(condition));
        let list = || Condition::In { column: "numero".to_owned(), literals: vec![text("A"), text("it's")] };
        for (condition, expected) in [
            (equal("numero", text("ñ")), Some("[numero] = N'ñ'")),
            (equal("sigla", text("A")), Some("[sigla] = N'A'")),
            (equal("nota", text("A")), Some("[nota] = N'A'")),
            (not(equal("numero", text("A"))), None),
            (compare("numero", Operator::Less, text("A")), None),
            (list(), Some("[numero] IN (N'A', N'it''s')")),
            (not(list()), None),
            (equal("anio", number("-7.5")), Some("[anio] = (-7.5)")),
            (not(equal("monto", number("7"))), Some("[monto] <> (7)")),
            (not(equal("tasa", number("7.00001"))), Some("CAST([tasa] AS decimal(19, 4)) <> (7.00001)")),
            (compare("monto", Operator::GreaterOrEqual, number("7")), Some("[monto] >= (7)")),
            (equal("activo", Literal::Bool(true)), Some("[activo] = 1")),
            (equal("anio", text("7")), None),
            (equal("numero", number("7")), None),
            (equal("clave", text("6F9619FF-8B86-D011-B42D-00C04FC964FF")), None),
            (equal("abierta", text("2024-01-01")), None),
            (not(Condition::IsNull { column: "abierta".to_owned() }), Some("[abierta] IS NOT NULL")),
            (equal("otra", text("A")), None),
        ] {
            assert_eq!(sql(Some(condition.clone()), None, &[]).as_deref(), expected, "{condition:?}");
        }
    }

    #[test]
    fn a_number_that_no_type_holds_beside_the_columns_is_not_compared() {
        // The column has eight digits in front of the point and two behind.
        let long = |whole: usize, fraction: usize| format!("{}.{}", "9".repeat(whole), "9".repeat(fraction));
        assert!(sql(Some(equal("monto", number(&long(8, 30)))), None, &[]).is_some());
        assert!(sql(Some(equal("monto", number(&long(7, 31)))), None, &[]).is_none());
        assert!(sql(Some(equal("monto", number(&"9".repeat(36)))), None, &[]).is_some());
        assert!(sql(Some(equal("monto", number(&"9".repeat(37)))), None, &[]).is_none());
    }

    #[test]
    fn old_rows_are_left_out_where_the_column_is_a_time() {
        assert_eq!(
            sql(None, Some(("abierta", 18_261)), &[]).unwrap(),
            "([abierta] >= CONVERT(datetime, N'20191231', 112) OR [abierta] IS NULL)"
        );
        assert_eq!(sql(None, Some(("anio", 18_261)), &[]), None);
    }

    #[test]
    fn only_the_days_that_are_asked_for_are_read() {
        let days = [Days { first: 18_262, end: 18_293 }];
        let within = sql(None, Some(("abierta", 18_261)), &days).unwrap();
        assert!(
            within.ends_with(
                "AND (([abierta] >= CONVERT(datetime, N'20200101', 112) AND \
                 [abierta] < CONVERT(datetime, N'20200201', 112)) OR [abierta] IS NULL)"
            ),
            "{within}"
        );
        assert_eq!(sql(None, Some(("anio", 18_261)), &days), None);
    }

    #[test]
    fn both_conditions_stand_together() {
        let both = sql(Some(equal("anio", number("1"))), Some(("abierta", 18_261)), &[]).unwrap();
        assert!(both.starts_with("([abierta] >= ") && both.ends_with("IS NULL) AND [anio] = (1)"), "{both}");
    }
}
