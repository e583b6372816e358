//! Which rows a copy leaves out: the old ones, and those that do not count.

use change::{Days, Literal, Operator, TableScope, Test};

use crate::catalog::Column;
use crate::name::{quote_ident, quote_literal};
use crate::value_text::Kind;

/// The condition of the statement; `None` for no condition. `opened` are the only days of opening, if there are any.
pub(super) fn filter(columns: &[Column], scope: &TableScope, opened: &[Days]) -> Option<String> {
    let counting = scope.condition.as_ref().and_then(|condition| condition.sql(&|test| write(columns, test)));
    let days = [since(columns, scope), within(columns, scope, opened)];
    let parts: Vec<String> = days.into_iter().flatten().chain(counting).collect();
    (!parts.is_empty()).then(|| parts.join(" AND "))
}

/// Leaves out what was opened before the day, as far as the column can be compared with a day. Rows whose day is no
/// day stay in: they are told to the operator, and years before 1000 stand for all of those
/// (<https://dev.mysql.com/doc/refman/8.4/en/datetime.html>).
fn since(columns: &[Column], scope: &TableScope) -> Option<String> {
    let column = opening(columns, scope)?;
    let first = day(scope.since.as_ref()?.day);
    Some(format!("({column} >= {first} OR {})", no_day(&column)))
}

/// Leaves out what was opened on other days, likewise.
fn within(columns: &[Column], scope: &TableScope, opened: &[Days]) -> Option<String> {
    let column = opening(columns, scope).filter(|_| !opened.is_empty())?;
    let spans: Vec<String> = opened
        .iter()
        .map(|days| format!("({column} >= {} AND {column} < {})", day(days.first), day(days.end)))
        .collect();
    Some(format!("({} OR {})", spans.join(" OR "), no_day(&column)))
}

/// The quoted column of the opening, if it can be compared with a day.
fn opening(columns: &[Column], scope: &TableScope) -> Option<String> {
    let since = scope.since.as_ref()?;
    let is_time = |column: &&Column| column.name == since.column && column.kind().is_ok_and(Kind::is_time);
    columns.iter().find(is_time).map(|column| quote_ident(&column.name))
}

fn day(day: i32) -> String {
    format!("DATE '1970-01-01' + INTERVAL {day} DAY")
}

fn no_day(column: &str) -> String {
    format!("{column} < DATE '1000-01-01' OR {column} IS NULL")
}

/// Writes a test where the server judges it as the product does, or less strictly.
///
/// Equal texts are equal under every collation; which texts differ, and what comes before what, is the collation's
/// business and not asked (<https://dev.mysql.com/doc/refman/8.4/en/charset-collation-effect.html>).
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
            Some(format!("{} {} {right}", quote_ident(&column.name), operator.as_str()))
        }
        Test::In { column, literals, negated } => {
            let column = found(column)?;
            let (operator, not) = if negated { (Operator::NotEqual, "NOT ") } else { (Operator::Equal, "") };
            let list: Option<Vec<String>> =
                literals.iter().map(|literal| right(column, operator, literal)).collect();
            Some(format!("{} {not}IN ({})", quote_ident(&column.name), list?.join(", ")))
        }
    }
}

/// The literal as the column's type takes it; `None` where the server would not judge as the product does.
fn right(column: &Column, operator: Operator, literal: &Literal) -> Option<String> {
    let is_text = column.charset.is_some() && column.kind() == Ok(Kind::Text);
    let is_number = matches!(column.kind(), Ok(Kind::Int | Kind::Decimal));
    // A letter that the column's character set lacks would be an error to the server.
    let is_known = |text: &str| text.is_ascii() || column.charset.as_deref() == Some("utf8mb4");
    match literal {
        Literal::Text(text) if is_text && operator == Operator::Equal && is_known(text) => {
            Some(quote_literal(text))
        }
        Literal::Number(number) if is_number => Some(format!("({number})")),
        Literal::Bool(truth) if is_number => Some(if *truth { "1" } else { "0" }.to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use change::{Condition, Since};

    use super::*;

    fn column(name: &str, data_type: &str, charset: Option<&str>) -> Column {
        Column {
            name: name.to_owned(),
            ordinal: 1,
            data_type: data_type.to_owned(),
            column_type: data_type.to_owned(),
            charset: charset.map(str::to_owned),
            unsigned: false,
            nullable: true,
        }
    }

    fn sql(condition: Condition, since: Option<Since>) -> Option<String> {
        let columns = [
            column("tipo", "varchar", Some("latin1")),
            column("clase", "enum", Some("utf8mb4")),
            column("anio", "int", None),
            column("monto", "decimal", None),
            column("apertura", "datetime", None),
            column("hora", "time", None),
        ];
        let condition = Some(condition);
        let scope = TableScope {
            table: "t".to_owned(),
            columns: Vec::new(),
            keys: false,
            since,
            condition,
            parent_keys: Vec::new(),
        };
        filter(&columns, &scope, &[])
    }

    fn equal(column: &str, literal: Literal) -> Condition {
        Condition::Compare { column: column.to_owned(), operator: Operator::Equal, literal }
    }

    #[test]
    fn tests_are_written_as_each_type_takes_them() {
        let text = |text: &str| Literal::Text(text.to_owned());
        let number = || Literal::Number("-7.5".to_owned());
        let not = |condition| Condition::Not(Box::new(condition));
        let list = || Condition::In { column: "tipo".to_owned(), literals: vec![text("A"), text("it's")] };
        for (condition, expected) in [
            (equal("tipo", text("A")), Some("`tipo` = 'A'")),
            (equal("tipo", text("\\")), Some("`tipo` = _utf8mb4 x'5c'")),
            (equal("tipo", text("ñ")), None),
            (equal("clase", text("ñ")), Some("`clase` = 'ñ'")),
            (not(equal("tipo", text("A"))), None),
            (list(), Some("`tipo` IN ('A', 'it''s')")),
            (not(list()), None),
            (equal("anio", number()), Some("`anio` = (-7.5)")),
            (not(equal("monto", number())), Some("`monto` <> (-7.5)")),
            (equal("anio", Literal::Bool(true)), Some("`anio` = 1")),
            (equal("anio", text("7")), None),
            (equal("tipo", number()), None),
            (equal("hora", text("10:00:00")), None),
            (equal("apertura", text("2024-01-01")), None),
            (not(Condition::IsNull { column: "apertura".to_owned() }), Some("`apertura` IS NOT NULL")),
            (equal("otra", text("A")), None),
        ] {
            assert_eq!(sql(condition.clone(), None).as_deref(), expected, "{condition:?}");
        }
    }

    #[test]
    fn only_the_days_that_are_asked_for_are_read() {
        let columns = [column("apertura", "datetime", None), column("hora", "time", None)];
        let scope = |column: &str| TableScope {
            table: "t".to_owned(),
            columns: Vec::new(),
            keys: false,
            since: Some(Since { column: column.to_owned(), day: 5 }),
            condition: None,
            parent_keys: Vec::new(),
        };
        let days = [Days { first: 9, end: 41 }];
        let (first, end) = (day(9), day(41));
        let sql = filter(&columns, &scope("apertura"), &days).unwrap();
        let within =
            format!("((`apertura` >= {first} AND `apertura` < {end}) OR `apertura` < DATE '1000-01-01' ");
        assert!(sql.contains(&within), "{sql}");
        assert_eq!(filter(&columns, &scope("hora"), &days), None);
    }

    #[test]
    fn both_conditions_stand_together() {
        let since = Some(Since { column: "apertura".to_owned(), day: 18_262 });
        let both = sql(equal("anio", Literal::Number("1".to_owned())), since).unwrap();
        assert!(
            both.starts_with("(`apertura` >= DATE '1970-01-01'") && both.ends_with("NULL) AND `anio` = (1)"),
            "{both}"
        );
    }
}
