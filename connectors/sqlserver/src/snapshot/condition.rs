//! Which rows a copy leaves out: the old ones, and those that do not count.

use change::{Days, Literal, Operator, TableScope, Test};
use chrono::{DateTime, Duration};

use crate::catalog::{Column, Table};
use crate::name::{quote_ident, quote_literal};
use crate::value::Kind;

/// The digits that the server's numbers have at the most, in front of the point and behind it together
/// (<https://learn.microsoft.com/en-us/sql/t-sql/data-types/decimal-and-numeric-transact-sql>).
const DIGITS_MAX: usize = 38;

/// The condition of the statement; `None` for no condition. `opened` are the only days of opening, if there are any.
pub(super) fn filter(table: &Table, scope: &TableScope, opened: &[Days]) -> Option<String> {
    let columns = &table.columns;
    let counting = scope.condition.as_ref().and_then(|condition| condition.sql(&|test| write(columns, test)));
    let parts: Vec<String> = days(columns, scope, opened).into_iter().chain(counting).collect();
    (!parts.is_empty()).then(|| parts.join(" AND "))
}

/// Leaves out what was opened before the day, and on other days than `opened` where there are any, as far as the column
/// can be compared with a day.
fn days(columns: &[Column], scope: &TableScope, opened: &[Days]) -> Option<String> {
    let since = scope.since.as_ref()?;
    let is_time = |column: &&Column| column.name == since.column && column.kind().is_ok_and(Kind::is_time);
    let column = columns.iter().find(is_time)?;
    let name = quote_ident(&column.name);
    // Converted to the column's own type, not the column to the text's: an index on it may serve.
    let day = |day: i32| {
        let day = DateTime::UNIX_EPOCH.checked_add_signed(Duration::days(day.into()))?;
        Some(format!("CONVERT({}, N'{}', 112)", column.sql_type(), day.format("%Y%m%d")))
    };
    let spans: Option<Vec<String>> = opened
        .iter()
        .map(|days| Some(format!("({name} >= {} AND {name} < {})", day(days.first)?, day(days.end)?)))
        .collect();
    let old = format!("({name} >= {} OR {name} IS NULL)", day(since.day)?);
    match spans.filter(|spans| !spans.is_empty()) {
        Some(spans) => Some(format!("{old} AND ({} OR {name} IS NULL)", spans.join(" OR "))),
        None => Some(old),
    }
}

/// Writes a test where the server judges it as the product does, or less strictly.
///
/// Equal texts are equal under every collation, with trailing blanks or without; which texts differ, and what comes before
/// what, is the collation's business and not asked
/// (<https://learn.microsoft.com/en-us/sql/relational-databases/collations/collation-and-unicode-support>).
fn write(columns: &[Column], test: Test<'_>) -> Option<String> {
    let found = |name: &str| columns.iter().find(|column| column.name == name);
    match test {
        Test::Null { column, negated } => {
            let not = if negated { "NOT " } else { "" };
            found(column).map(|column| format!("{} IS {not}NULL", quote_ident(&column.name)))
        }
        Test::Compare(column, operator, literal) => {
            let column = found(column)?;
            let right = right(column, operator, literal)?;
            Some(format!("{} {} {right}", left(column), operator.as_str()))
        }
        Test::In { column, literals, negated } => {
            let column = found(column)?;
            let (operator, not) = if negated { (Operator::NotEqual, "NOT ") } else { (Operator::Equal, "") };
            let list: Option<Vec<String>> =
                literals.iter().map(|literal| right(column, operator, literal)).collect();
            Some(format!("{} {not}IN ({})", left(column), list?.join(", ")))
        }
    }
}

/// The column as it is compared: money as the decimal that it is, because beside money a literal is rounded to four digits.
fn left(column: &Column) -> String {
    if column.is_large() { quote_ident(&column.name) } else { column.expression() }
}

/// The literal as the column's type takes it; `None` where the server would not judge as the product does.
fn right(column: &Column, operator: Operator, literal: &Literal) -> Option<String> {
    match (literal, column.kind().ok()?) {
        (Literal::Text(text), Kind::Text | Kind::PaddedText) if operator == Operator::Equal => {
            Some(quote_literal(text))
        }
        (Literal::Number(number), Kind::Int | Kind::Decimal) if is_comparable(column, number) => {
            Some(format!("({number})"))
        }
        (Literal::Bool(truth), Kind::Int | Kind::Decimal) => Some(if *truth { "1" } else { "0" }.to_owned()),
        _ => None,
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
    use change::{Condition, Since};

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
            since: since.map(|(column, day)| Since { column: column.to_owned(), day }),
            condition,
        };
        filter(&table, &scope, opened)
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
