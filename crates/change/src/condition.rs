//! Which rows of a table count: a condition on columns, as a tree.
//!
//! The product judges rows by it itself, so that log and copy are judged alike. A connector may use it to spare the
//! server rows that do not count, and must then never leave out one that does: see [`crate::Dialect`].

/// A condition on a row's columns, with SQL's three-valued logic: a row counts where it is true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// A column's value stands in this relation to a literal.
    Compare {
        /// The column, taken literally.
        column: String,
        /// The relation.
        operator: Operator,
        /// The right side.
        literal: Literal,
    },
    /// A column's value is one of these.
    In {
        /// The column, taken literally.
        column: String,
        /// The list; never empty.
        literals: Vec<Literal>,
    },
    /// A column holds NULL.
    IsNull {
        /// The column, taken literally.
        column: String,
    },
    /// All of them hold.
    And(Vec<Condition>),
    /// At least one of them holds.
    Or(Vec<Condition>),
    /// It does not hold.
    Not(Box<Condition>),
}

/// A relation between two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `=`
    Equal,
    /// `<>`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

impl Operator {
    /// As SQL spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "<>",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }

    /// The relation that holds where this one does not, NULL apart.
    #[must_use]
    pub fn opposite(self) -> Self {
        match self {
            Self::Equal => Self::NotEqual,
            Self::NotEqual => Self::Equal,
            Self::Less => Self::GreaterOrEqual,
            Self::LessOrEqual => Self::Greater,
            Self::Greater => Self::LessOrEqual,
            Self::GreaterOrEqual => Self::Less,
        }
    }
}

/// A value that is written in a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Literal {
    /// A text.
    Text(String),
    /// A decimal number: digits, perhaps with a minus before them and a point among them.
    Number(String),
    /// A truth value.
    Bool(bool),
}

/// One test of a condition, after every NOT has been carried down to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Test<'a> {
    /// A column's value stands in this relation to a literal.
    Compare(&'a str, Operator, &'a Literal),
    /// A column's value is, or is none, of these.
    In {
        /// The column.
        column: &'a str,
        /// The list.
        literals: &'a [Literal],
        /// Whether it must be none of them.
        negated: bool,
    },
    /// A column holds, or does not hold, NULL.
    Null {
        /// The column.
        column: &'a str,
        /// Whether it must hold something else.
        negated: bool,
    },
}

impl Condition {
    /// Visits the columns that it names, as often as it names them.
    pub fn for_each_column<'a>(&'a self, visit: &mut dyn FnMut(&'a str)) {
        match self {
            Self::Compare { column, .. } | Self::In { column, .. } | Self::IsNull { column } => visit(column),
            Self::And(parts) | Self::Or(parts) => parts.iter().for_each(|part| part.for_each_column(visit)),
            Self::Not(part) => part.for_each_column(visit),
        }
    }

    /// SQL that holds for every row for which the condition holds, and perhaps for more; `None` where nothing can be
    /// left out. `render` writes one test, or returns `None` where the server could judge it more strictly than the
    /// product does: by its collation, its padding, or a type that does not fit the literal.
    pub(crate) fn sql(&self, render: &dyn Fn(Test<'_>) -> Option<String>) -> Option<String> {
        self.write(false, render)
    }

    fn write(&self, negated: bool, render: &dyn Fn(Test<'_>) -> Option<String>) -> Option<String> {
        match self {
            Self::Compare { column, operator, literal } => {
                let operator = if negated { operator.opposite() } else { *operator };
                render(Test::Compare(column, operator, literal))
            }
            Self::In { column, literals } => render(Test::In { column, literals, negated }),
            Self::IsNull { column } => render(Test::Null { column, negated }),
            Self::Not(part) => part.write(!negated, render),
            Self::And(parts) if !negated => all(parts, negated, render),
            Self::Or(parts) if negated => all(parts, negated, render),
            Self::And(parts) | Self::Or(parts) => any(parts, negated, render),
        }
    }
}

/// A part that cannot be written leaves nothing out: the others still do.
fn all(parts: &[Condition], negated: bool, render: &dyn Fn(Test<'_>) -> Option<String>) -> Option<String> {
    let written: Vec<String> = parts.iter().filter_map(|part| part.write(negated, render)).collect();
    (!written.is_empty()).then(|| format!("({})", written.join(" AND ")))
}

/// One part that cannot be written may hold for any row.
fn any(parts: &[Condition], negated: bool, render: &dyn Fn(Test<'_>) -> Option<String>) -> Option<String> {
    let written: Vec<String> = parts.iter().map(|part| part.write(negated, render)).collect::<Option<_>>()?;
    Some(format!("({})", written.join(" OR ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn equal(column: &str) -> Condition {
        let literal = Literal::Number("1".into());
        Condition::Compare { column: column.into(), operator: Operator::Equal, literal }
    }

    fn not(condition: Condition) -> Condition {
        Condition::Not(Box::new(condition))
    }

    /// Writes every test of a column but those of the column `x`.
    fn sql(condition: &Condition) -> Option<String> {
        condition.sql(&|test| match test {
            Test::Compare("x", ..) => None,
            Test::Compare(column, operator, _) => Some(format!("{column} {} 1", operator.as_str())),
            Test::In { column, negated, .. } => Some(format!("{column} in {}", !negated)),
            Test::Null { column, negated } => Some(format!("{column} null {}", !negated)),
        })
    }

    #[test]
    fn every_not_is_carried_down_to_the_tests() {
        let list = Condition::In { column: "c".into(), literals: vec![Literal::Bool(true)] };
        let null = Condition::IsNull { column: "d".into() };
        let whole =
            not(Condition::And(vec![equal("a"), Condition::Or(vec![not(equal("b")), list]), not(null)]));
        let expected = "(a <> 1 OR (b = 1 AND c in false) OR d null true)";
        assert_eq!(sql(&whole).as_deref(), Some(expected));
        assert_eq!(sql(&not(not(equal("a")))).as_deref(), Some("a = 1"));
        let mut columns = Vec::new();
        whole.for_each_column(&mut |column| columns.push(column));
        assert_eq!(columns, ["a", "b", "c", "d"]);
    }

    #[test]
    fn a_test_that_cannot_be_written_never_leaves_a_row_out() {
        let both = || vec![equal("a"), equal("x")];
        assert_eq!(sql(&Condition::And(both())).as_deref(), Some("(a = 1)"));
        assert_eq!(sql(&Condition::Or(both())), None);
        assert_eq!(sql(&not(Condition::And(both()))), None);
        assert_eq!(sql(&not(Condition::Or(both()))).as_deref(), Some("(a <> 1)"));
        assert_eq!(sql(&Condition::And(vec![equal("x")])), None);
        assert_eq!(sql(&not(equal("x"))), None);
    }
}
