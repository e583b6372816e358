//! How a copy's condition is written for MySQL and MariaDB.

use change::{Dialect, Literal, Operator};

use crate::catalog::Column;
use crate::name::{quote_ident, quote_literal};
use crate::value_text::Kind;

/// The columns of the table, to be compared as the server does.
///
/// Equal texts are equal under every collation; which texts differ, and what comes before what, is the collation's
/// business and not asked (<https://dev.mysql.com/doc/refman/8.4/en/charset-collation-effect.html>).
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

    fn left(&self, column: &str, _operator: Operator) -> Option<String> {
        self.quoted(column)
    }

    fn right(&self, column: &str, operator: Operator, literal: &Literal) -> Option<String> {
        let column = self.find(column)?;
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

    fn is_time(&self, column: &str) -> bool {
        self.find(column).is_some_and(|column| column.kind().is_ok_and(Kind::is_time))
    }

    fn day(&self, _column: &str, day: i32) -> Option<String> {
        Some(format!("DATE '1970-01-01' + INTERVAL {day} DAY"))
    }

    /// Years before 1000 stand for all days that are no days (<https://dev.mysql.com/doc/refman/8.4/en/datetime.html>).
    fn no_day(&self, quoted: &str) -> String {
        format!("{quoted} < DATE '1000-01-01' OR {quoted} IS NULL")
    }
}

#[cfg(test)]
mod tests {
    use change::{Condition, Days, Since, TableScope, copied_rows};

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
            apart_by: Vec::new(),
        };
        copied_rows(&scope, &[], &Columns(&columns))
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
            apart_by: Vec::new(),
        };
        let days = [Days { first: 9, end: 41 }];
        let day = |day| format!("DATE '1970-01-01' + INTERVAL {day} DAY");
        let (first, end) = (day(9), day(41));
        let sql = copied_rows(&scope("apertura"), &days, &Columns(&columns)).unwrap();
        let within =
            format!("((`apertura` >= {first} AND `apertura` < {end}) OR `apertura` < DATE '1000-01-01' ");
        assert!(sql.contains(&within), "{sql}");
        assert_eq!(copied_rows(&scope("hora"), &days, &Columns(&columns)), None);
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
