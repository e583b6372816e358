//! How a copy's condition is written for PostgreSQL.

use change::{Dialect, Literal, Operator};

use crate::catalog::Column;
use crate::name::{quote_ident, quote_literal};
use crate::value::Kind;

/// `text`, `character` and `character varying` (`pg_type.dat` of the server's source).
const TEXTS: [u32; 3] = [25, 1042, 1043];
/// `bigint`, `smallint` and `integer`.
const INTEGERS: [u32; 3] = [20, 21, 23];

/// The columns of the table, to be compared as PostgreSQL does.
///
/// Equal texts are equal under every collation. Which texts differ, and what comes before what, is the collation's
/// business: the former is asked under "C", which compares bytes
/// (<https://www.postgresql.org/docs/current/collation.html>), the latter not at all.
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

    fn left(&self, column: &str, operator: Operator) -> Option<String> {
        let column = self.find(column)?;
        let name = quote_ident(&column.name);
        if !TEXTS.contains(&column.base_type_oid) {
            return Some(name);
        }
        match operator {
            Operator::Equal if column.type_oid == column.base_type_oid => Some(name),
            // To an enumeration, a text that is none of its labels is an error.
            Operator::Equal => Some(format!("{name}::text")),
            Operator::NotEqual => Some(format!("{name}::text COLLATE \"C\"")),
            _ => None,
        }
    }

    fn right(&self, column: &str, _operator: Operator, literal: &Literal) -> Option<String> {
        let base_type = self.find(column)?.base_type_oid;
        match literal {
            Literal::Text(text) if TEXTS.contains(&base_type) && !text.contains('\0') => {
                Some(quote_literal(text))
            }
            Literal::Number(number) if INTEGERS.contains(&base_type) => Some(format!("({number})")),
            Literal::Bool(truth) if Kind::of(base_type) == Kind::Bool => {
                Some(if *truth { "TRUE" } else { "FALSE" }.to_owned())
            }
            _ => None,
        }
    }

    fn is_time(&self, column: &str) -> bool {
        self.find(column).is_some_and(|column| Kind::of(column.base_type_oid).is_time())
    }

    fn day(&self, _column: &str, day: i32) -> Option<String> {
        Some(format!("DATE '1970-01-01' + ({day})"))
    }
}

#[cfg(test)]
mod tests {
    use change::{Condition, Days, Since, TableScope, copied_rows};

    use super::*;
    use crate::catalog::Generated;

    fn column(name: &str, base_type_oid: u32, type_oid: u32) -> Column {
        Column {
            name: name.to_owned(),
            attnum: 1,
            type_oid,
            base_type_oid,
            type_name: String::new(),
            not_null: false,
            toastable: false,
            generated: Generated::No,
        }
    }

    fn columns() -> Vec<Column> {
        vec![
            column("tipo", 1043, 1043),
            column("clase", 25, 90_001),
            column("anio", 23, 23),
            column("activo", 16, 16),
            column("apertura", 1114, 1114),
        ]
    }

    fn equal(column: &str, literal: Literal) -> Condition {
        Condition::Compare { column: column.to_owned(), operator: Operator::Equal, literal }
    }

    fn sql(condition: Condition, since: Option<Since>) -> Option<String> {
        let scope = TableScope {
            table: "public.t".to_owned(),
            columns: Vec::new(),
            keys: false,
            since,
            condition: Some(condition),
            parent_keys: Vec::new(),
            apart_by: Vec::new(),
        };
        copied_rows(&scope, &[], &Columns(&columns()))
    }

    #[test]
    fn tests_are_written_as_each_type_takes_them() {
        let text = |text: &str| Literal::Text(text.to_owned());
        let number = || Literal::Number("-7.5".to_owned());
        let not = |condition| Condition::Not(Box::new(condition));
        let list = || Condition::In { column: "tipo".to_owned(), literals: vec![text("A"), text("it's")] };
        for (condition, expected) in [
            (equal("tipo", text("A")), Some("\"tipo\" = 'A'")),
            (not(equal("tipo", text("A"))), Some("\"tipo\"::text COLLATE \"C\" <> 'A'")),
            (equal("clase", text("A")), Some("\"clase\"::text = 'A'")),
            (list(), Some("\"tipo\" IN ('A', 'it''s')")),
            (not(list()), Some("\"tipo\"::text COLLATE \"C\" NOT IN ('A', 'it''s')")),
            (equal("anio", number()), Some("\"anio\" = (-7.5)")),
            (equal("anio", text("7")), None),
            (equal("tipo", number()), None),
            (equal("activo", Literal::Bool(true)), Some("\"activo\" = TRUE")),
            (equal("activo", number()), None),
            (equal("apertura", text("2024-01-01")), None),
            (Condition::IsNull { column: "apertura".to_owned() }, Some("\"apertura\" IS NULL")),
            (equal("otra", text("A")), None),
        ] {
            assert_eq!(sql(condition.clone(), None).as_deref(), expected, "{condition:?}");
        }
        let less =
            Condition::Compare { column: "tipo".to_owned(), operator: Operator::Less, literal: text("B") };
        assert_eq!(sql(less, None), None);
    }

    #[test]
    fn only_the_days_that_are_asked_for_are_read() {
        let scope = |column: &str| TableScope {
            table: "public.t".to_owned(),
            columns: Vec::new(),
            keys: false,
            since: Some(Since { column: column.to_owned(), day: 5 }),
            condition: None,
            parent_keys: Vec::new(),
            apart_by: Vec::new(),
        };
        let days = [Days { first: 9, end: 41 }, Days { first: 99, end: 131 }];
        let name = "\"apertura\"";
        let at = |day| format!("DATE '1970-01-01' + ({day})");
        let expected = format!(
            "({name} >= {} OR {name} IS NULL) AND (({name} >= {} AND {name} < {}) OR ({name} >= {} AND {name} < {}) \
             OR {name} IS NULL)",
            at(5),
            at(9),
            at(41),
            at(99),
            at(131)
        );
        assert_eq!(copied_rows(&scope("apertura"), &days, &Columns(&columns())), Some(expected));
        assert_eq!(copied_rows(&scope("tipo"), &days, &Columns(&columns())), None);
    }

    #[test]
    fn both_conditions_stand_together() {
        let since = Some(Since { column: "apertura".to_owned(), day: 18_262 });
        let both = sql(equal("anio", Literal::Number("1".to_owned())), since).unwrap();
        let old = "(\"apertura\" >= DATE '1970-01-01' + (18262) OR \"apertura\" IS NULL)";
        assert_eq!(both, format!("{old} AND \"anio\" = (1)"));
    }
}
