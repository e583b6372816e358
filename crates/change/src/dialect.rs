//! Which rows a copy leaves out, in the engine's SQL: the old ones, and those that do not count.

use crate::condition::{Literal, Operator, Test};
use crate::source::{Days, TableScope};

/// How an engine writes the condition of a copy of one table.
///
/// Everything may answer `None`: that part of the condition then leaves nothing out. What is written must hold for every
/// row for which the product judges it to hold, and may hold for more.
pub trait Dialect {
    /// The column, quoted; `None` where the table has none of this name.
    fn quoted(&self, column: &str) -> Option<String>;

    /// The column as the left side of a comparison.
    fn left(&self, column: &str, operator: Operator) -> Option<String>;

    /// The literal as the column's type takes it; `None` where the server could judge it more strictly than the product
    /// does: by its collation, its padding, or a type that does not fit the literal.
    fn right(&self, column: &str, operator: Operator, literal: &Literal) -> Option<String>;

    /// Whether the column can be compared with a day.
    fn is_time(&self, column: &str) -> bool;

    /// The beginning of a day, counted from 1970-01-01, as a value to compare the column with.
    fn day(&self, column: &str, day: i32) -> Option<String>;

    /// What holds for rows whose column, already quoted, holds no day: they stay in, to be told to the operator.
    fn no_day(&self, quoted: &str) -> String {
        format!("{quoted} IS NULL")
    }
}

/// The condition of the statement that copies the table; `None` for no condition. `opened` are the only days of opening,
/// if there are any.
#[must_use]
pub fn copied_rows(scope: &TableScope, opened: &[Days], dialect: &dyn Dialect) -> Option<String> {
    let counting = scope.condition.as_ref().and_then(|condition| condition.sql(&|test| write(dialect, test)));
    let days = [since(scope, dialect), within(scope, opened, dialect)];
    let parts: Vec<String> = days.into_iter().flatten().chain(counting).collect();
    (!parts.is_empty()).then(|| parts.join(" AND "))
}

/// Leaves out what was opened before the day, as far as the column can be compared with a day.
fn since(scope: &TableScope, dialect: &dyn Dialect) -> Option<String> {
    let (column, quoted) = opening(scope, dialect)?;
    let first = dialect.day(column, scope.since.as_ref()?.day)?;
    Some(format!("({quoted} >= {first} OR {})", dialect.no_day(&quoted)))
}

/// Leaves out what was opened on other days, likewise.
fn within(scope: &TableScope, opened: &[Days], dialect: &dyn Dialect) -> Option<String> {
    let (column, quoted) = opening(scope, dialect).filter(|_| !opened.is_empty())?;
    let span = |days: &Days| {
        let (first, end) = (dialect.day(column, days.first)?, dialect.day(column, days.end)?);
        Some(format!("({quoted} >= {first} AND {quoted} < {end})"))
    };
    let spans: Vec<String> = opened.iter().map(span).collect::<Option<_>>()?;
    Some(format!("({} OR {})", spans.join(" OR "), dialect.no_day(&quoted)))
}

/// The column of the opening and the same quoted, if it can be compared with a day.
fn opening<'a>(scope: &'a TableScope, dialect: &dyn Dialect) -> Option<(&'a str, String)> {
    let column = scope.since.as_ref().map(|since| since.column.as_str())?;
    dialect.quoted(column).filter(|_| dialect.is_time(column)).map(|quoted| (column, quoted))
}

fn write(dialect: &dyn Dialect, test: Test<'_>) -> Option<String> {
    let not = |negated| if negated { "NOT " } else { "" };
    match test {
        Test::Null { column, negated } => {
            dialect.quoted(column).map(|column| format!("{column} IS {}NULL", not(negated)))
        }
        Test::Compare(column, operator, literal) => {
            let (left, right) = (dialect.left(column, operator)?, dialect.right(column, operator, literal)?);
            Some(format!("{left} {} {right}", operator.as_str()))
        }
        Test::In { column, literals, negated } => {
            let operator = if negated { Operator::NotEqual } else { Operator::Equal };
            let left = dialect.left(column, operator)?;
            let list: Vec<String> = literals
                .iter()
                .map(|literal| dialect.right(column, operator, literal))
                .collect::<Option<_>>()?;
            Some(format!("{left} {}IN ({})", not(negated), list.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::condition::Condition;
    use crate::source::Since;

    /// A dialect whose columns `hora` hold days after the first ten, and whose numbers alone can be compared.
    struct Plain;

    impl Dialect for Plain {
        fn quoted(&self, column: &str) -> Option<String> {
            (column != "otra").then(|| format!("<{column}>"))
        }

        fn left(&self, column: &str, operator: Operator) -> Option<String> {
            self.quoted(column).filter(|_| operator != Operator::Less)
        }

        fn right(&self, _column: &str, _operator: Operator, literal: &Literal) -> Option<String> {
            match literal {
                Literal::Number(number) => Some(number.clone()),
                _ => None,
            }
        }

        fn is_time(&self, column: &str) -> bool {
            column == "hora" || column == "otra"
        }

        fn day(&self, _column: &str, day: i32) -> Option<String> {
            (day > 10).then(|| format!("day {day}"))
        }
    }

    fn scope(opening: &str, day: i32, condition: Option<Condition>) -> TableScope {
        TableScope {
            table: "t".to_owned(),
            columns: Vec::new(),
            keys: false,
            since: Some(Since { column: opening.to_owned(), day }),
            condition,
            parent_keys: Vec::new(),
            apart_by: Vec::new(),
        }
    }

    fn sql(scope: &TableScope, opened: &[Days]) -> Option<String> {
        copied_rows(scope, opened, &Plain)
    }

    #[test]
    fn rows_without_a_day_stay_in_beside_those_of_the_days_asked_for() {
        let days = [Days { first: 20, end: 30 }, Days { first: 50, end: 60 }];
        let expected = "(<hora> >= day 11 OR <hora> IS NULL) AND ((<hora> >= day 20 AND <hora> < day 30) OR \
                        (<hora> >= day 50 AND <hora> < day 60) OR <hora> IS NULL)";
        assert_eq!(sql(&scope("hora", 11, None), &days).as_deref(), Some(expected));
    }

    #[test]
    fn a_day_that_cannot_be_written_leaves_nothing_out() {
        let days = [Days { first: 5, end: 30 }, Days { first: 50, end: 60 }];
        assert_eq!(sql(&scope("hora", 5, None), &days), None);
        for column in ["otra", "tipo"] {
            assert_eq!(sql(&scope(column, 11, None), &[Days { first: 20, end: 30 }]), None, "{column}");
        }
    }

    #[test]
    fn a_list_is_left_out_whole_when_one_of_it_cannot_be_written() {
        let number = |number: &str| Literal::Number(number.to_owned());
        let list = |literals| Condition::In { column: "anio".to_owned(), literals };
        let not = |condition| Condition::Not(Box::new(condition));
        for (condition, expected) in [
            (list(vec![number("1"), number("2")]), Some("<anio> IN (1, 2)")),
            (not(list(vec![number("1")])), Some("<anio> NOT IN (1)")),
            (list(vec![number("1"), Literal::Bool(true)]), None),
            (not(Condition::IsNull { column: "anio".to_owned() }), Some("<anio> IS NOT NULL")),
            (Condition::IsNull { column: "otra".to_owned() }, None),
        ] {
            let written = sql(&scope("tipo", 11, Some(condition.clone())), &[]);
            assert_eq!(written.as_deref(), expected, "{condition:?}");
        }
    }
}
