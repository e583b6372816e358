//! Reads the condition of `[source] where`: a small part of SQL, and everything else refused where it stands.

use std::fmt;
use std::iter::Peekable;
use std::str::CharIndices;

use change::{Condition, Literal, Operator};

/// How deep parentheses and NOT may be nested.
const DEPTH_MAX: usize = 32;

/// What a condition may consist of.
const GRAMMAR: &str = "a condition compares columns with values by =, <>, <, <=, >, >=, IN (…), IS NULL and IS NOT NULL, \
                       put together by AND, OR, NOT and parentheses; texts stand in single quotes, and a column's \
                       name in double quotes where it is no plain word";

/// Why a text is no condition, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConditionError {
    /// The line within the condition, from 1.
    pub line: usize,
    /// The character within the line, from 1.
    pub column: usize,
    /// What is wrong there: found and expected.
    pub message: String,
    /// What to write instead.
    pub hint: String,
}

impl fmt::Display for ConditionError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            1 => write!(formatter, "at character {}: {}", self.column, self.message),
            line => write!(formatter, "at line {line}, character {}: {}", self.column, self.message),
        }
    }
}

impl std::error::Error for ConditionError {}

/// Reads a condition.
///
/// # Errors
/// The first place at which the text is none.
pub fn parse_condition(text: &str) -> Result<Condition, ConditionError> {
    let tokens = tokens(text)?;
    let mut parser = Parser { text, tokens: tokens.into_iter().peekable(), depth: 0 };
    let condition = parser.any()?;
    match parser.tokens.next() {
        None => Ok(condition),
        Some(found) => {
            Err(parser.fault(found.at, format!("found {}, expected AND, OR or the end", found.token)))
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// A word that is no keyword, or a name in double quotes.
    Name(String),
    Keyword(&'static str),
    Text(String),
    Number(String),
    Operator(Operator),
    Open,
    Close,
    Comma,
}

impl fmt::Display for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(formatter, "\"{name}\""),
            Self::Keyword(word) => formatter.write_str(word),
            Self::Text(text) => write!(formatter, "the text '{text}'"),
            Self::Number(number) => write!(formatter, "the number {number}"),
            Self::Operator(operator) => write!(formatter, "\"{}\"", operator.as_str()),
            Self::Open => formatter.write_str("\"(\""),
            Self::Close => formatter.write_str("\")\""),
            Self::Comma => formatter.write_str("\",\""),
        }
    }
}

/// A token, and the byte at which it begins.
#[derive(Debug, Clone)]
struct Placed {
    token: Token,
    at: usize,
}

const KEYWORDS: [&str; 8] = ["AND", "OR", "NOT", "IN", "IS", "NULL", "TRUE", "FALSE"];

/// The error at a byte of the text.
fn fault(text: &str, at: usize, message: impl Into<String>, hint: &str) -> ConditionError {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|letter| *letter != '\n').count() + 1;
    ConditionError { line, column, message: message.into(), hint: hint.to_owned() }
}

fn tokens(text: &str) -> Result<Vec<Placed>, ConditionError> {
    let mut tokens = Vec::new();
    let mut letters = text.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        let token = match letter {
            letter if letter.is_whitespace() => continue,
            '(' => Token::Open,
            ')' => Token::Close,
            ',' => Token::Comma,
            '\'' | '"' => {
                let what = if letter == '"' { "name" } else { "text" };
                let quoted = quoted(&mut letters, letter).ok_or_else(|| {
                    fault(text, at, format!("a {what} begins here and has no end"), GRAMMAR)
                })?;
                if letter == '"' { Token::Name(quoted) } else { Token::Text(quoted) }
            }
            '=' | '<' | '>' | '!' => {
                operator(letter, &mut letters).ok_or_else(|| fault(text, at, "found \"!\" alone", GRAMMAR))?
            }
            '-' | '0'..='9' => number(letter, &mut letters).ok_or_else(|| {
                fault(text, at, "found a number that is not written in plain digits", GRAMMAR)
            })?,
            letter if letter.is_alphabetic() || letter == '_' => word(letter, &mut letters),
            other => {
                return Err(fault(text, at, format!("found \"{other}\", which no condition has"), GRAMMAR));
            }
        };
        tokens.push(Placed { token, at });
    }
    Ok(tokens)
}

type Letters<'a> = Peekable<CharIndices<'a>>;

/// What stands up to the closing quote; a quote inside is written twice.
fn quoted(letters: &mut Letters<'_>, quote: char) -> Option<String> {
    let mut text = String::new();
    loop {
        let (_, letter) = letters.next()?;
        if letter != quote || letters.next_if(|(_, next)| *next == quote).is_some() {
            text.push(letter);
        } else {
            return Some(text);
        }
    }
}

fn operator(first: char, letters: &mut Letters<'_>) -> Option<Token> {
    let mut is_next = |wanted: char| letters.next_if(|(_, next)| *next == wanted).is_some();
    Some(Token::Operator(match first {
        '=' => Operator::Equal,
        '<' if is_next('>') => Operator::NotEqual,
        '<' if is_next('=') => Operator::LessOrEqual,
        '<' => Operator::Less,
        '>' if is_next('=') => Operator::GreaterOrEqual,
        '>' => Operator::Greater,
        _ if is_next('=') => Operator::NotEqual,
        _ => return None,
    }))
}

fn number(first: char, letters: &mut Letters<'_>) -> Option<Token> {
    let mut number = String::from(first);
    while let Some((_, letter)) = letters.next_if(|(_, next)| next.is_alphanumeric() || *next == '.') {
        number.push(letter);
    }
    let (whole, fraction) = number.split_once('.').unwrap_or((&number, "0"));
    let is_digits = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    (is_digits(whole.strip_prefix('-').unwrap_or(whole)) && is_digits(fraction))
        .then_some(Token::Number(number))
}

fn word(first: char, letters: &mut Letters<'_>) -> Token {
    let mut word = String::from(first);
    while let Some((_, letter)) =
        letters.next_if(|(_, next)| next.is_alphanumeric() || matches!(next, '_' | '$' | '#'))
    {
        word.push(letter);
    }
    match KEYWORDS.into_iter().find(|keyword| keyword.eq_ignore_ascii_case(&word)) {
        Some(keyword) => Token::Keyword(keyword),
        None => Token::Name(word),
    }
}

struct Parser<'a> {
    text: &'a str,
    tokens: Peekable<std::vec::IntoIter<Placed>>,
    depth: usize,
}

impl Parser<'_> {
    fn fault(&self, at: usize, message: impl Into<String>) -> ConditionError {
        fault(self.text, at, message, GRAMMAR)
    }

    /// The error that `expected` does not stand here.
    fn expected(&mut self, expected: &str) -> ConditionError {
        match self.tokens.next() {
            Some(found) => self.fault(found.at, format!("found {}, expected {expected}", found.token)),
            None => self.fault(self.text.len(), format!("the condition ends, expected {expected}")),
        }
    }

    fn takes(&mut self, token: &Token) -> bool {
        self.tokens.next_if(|next| next.token == *token).is_some()
    }

    fn takes_keyword(&mut self, keyword: &'static str) -> bool {
        self.takes(&Token::Keyword(keyword))
    }

    fn any(&mut self) -> Result<Condition, ConditionError> {
        let first = self.all()?;
        let mut parts = vec![first];
        while self.takes_keyword("OR") {
            parts.push(self.all()?);
        }
        Ok(one_or(parts, Condition::Or))
    }

    fn all(&mut self) -> Result<Condition, ConditionError> {
        let mut parts = vec![self.single()?];
        while self.takes_keyword("AND") {
            parts.push(self.single()?);
        }
        Ok(one_or(parts, Condition::And))
    }

    fn single(&mut self) -> Result<Condition, ConditionError> {
        let at = self.tokens.peek().map_or(self.text.len(), |next| next.at);
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.fault(at, format!("nested more than {DEPTH_MAX} deep")));
        }
        let condition = if self.takes_keyword("NOT") {
            Condition::Not(Box::new(self.single()?))
        } else if self.takes(&Token::Open) {
            let inner = self.any()?;
            if !self.takes(&Token::Close) {
                return Err(self.expected("AND, OR or \")\""));
            }
            inner
        } else {
            self.test()?
        };
        self.depth -= 1;
        Ok(condition)
    }

    fn test(&mut self) -> Result<Condition, ConditionError> {
        let name = self.tokens.next_if(|next| matches!(next.token, Token::Name(_)));
        let Some(Placed { token: Token::Name(column), .. }) = name else {
            return Err(self.expected("a column, NOT or \"(\""));
        };
        if self.takes_keyword("IS") {
            let negated = self.takes_keyword("NOT");
            if !self.takes_keyword("NULL") {
                return Err(self.expected(if negated { "NULL" } else { "NULL or NOT NULL" }));
            }
            return Ok(negate(negated, Condition::IsNull { column }));
        }
        let negated = self.takes_keyword("NOT");
        if self.takes_keyword("IN") {
            return Ok(negate(negated, Condition::In { column, literals: self.list()? }));
        }
        if negated {
            return Err(self.expected("IN"));
        }
        match self.tokens.next_if(|next| matches!(next.token, Token::Operator(_))) {
            Some(Placed { token: Token::Operator(operator), .. }) => {
                Ok(Condition::Compare { column, operator, literal: self.literal()? })
            }
            _ => Err(self.expected("=, <>, <, <=, >, >=, IN, NOT IN, IS NULL or IS NOT NULL")),
        }
    }

    fn list(&mut self) -> Result<Vec<Literal>, ConditionError> {
        if !self.takes(&Token::Open) {
            return Err(self.expected("\"(\""));
        }
        let mut literals = vec![self.literal()?];
        while self.takes(&Token::Comma) {
            literals.push(self.literal()?);
        }
        if !self.takes(&Token::Close) {
            return Err(self.expected("\",\" or \")\""));
        }
        Ok(literals)
    }

    fn literal(&mut self) -> Result<Literal, ConditionError> {
        let literal = match self.tokens.peek().map(|next| &next.token) {
            Some(Token::Text(text)) => Literal::Text(text.clone()),
            Some(Token::Number(number)) => Literal::Number(number.clone()),
            Some(Token::Keyword("TRUE")) => Literal::Bool(true),
            Some(Token::Keyword("FALSE")) => Literal::Bool(false),
            Some(Token::Keyword("NULL")) => {
                return Err(self.expected("a value: nothing equals NULL, write IS NULL or IS NOT NULL"));
            }
            _ => return Err(self.expected("a text in single quotes, a number, TRUE or FALSE")),
        };
        self.tokens.next();
        Ok(literal)
    }
}

fn negate(negated: bool, condition: Condition) -> Condition {
    if negated { Condition::Not(Box::new(condition)) } else { condition }
}

/// The only part, or what `whole` makes of several.
fn one_or(mut parts: Vec<Condition>, whole: fn(Vec<Condition>) -> Condition) -> Condition {
    match (parts.len(), parts.pop()) {
        (1, Some(only)) => only,
        (_, last) => {
            parts.extend(last);
            whole(parts)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn compare(column: &str, operator: Operator, literal: Literal) -> Condition {
        Condition::Compare { column: column.into(), operator, literal }
    }

    fn text(text: &str) -> Literal {
        Literal::Text(text.into())
    }

    #[test]
    fn conditions_are_read_with_the_precedence_of_sql() {
        use Operator::{Equal, GreaterOrEqual, NotEqual};
        let a = || compare("a", Equal, Literal::Number("-1.50".into()));
        let b = || compare("b", NotEqual, text("it's"));
        let c = || compare("c d", GreaterOrEqual, Literal::Bool(true));
        let not = |condition| Condition::Not(Box::new(condition));
        for (written, expected) in [
            ("a = -1.50", a()),
            ("b<>'it''s'", b()),
            ("b != 'it''s'", b()),
            ("\"c d\" >= true", c()),
            (
                "a = -1.50 or b <> 'it''s' AND \"c d\" >= TRUE",
                Condition::Or(vec![a(), Condition::And(vec![b(), c()])]),
            ),
            (
                "(a = -1.50 OR b <> 'it''s') and not \"c d\" >= true",
                Condition::And(vec![Condition::Or(vec![a(), b()]), not(c())]),
            ),
            ("NOT NOT a = -1.50", not(not(a()))),
            (
                "año IN ('A', 2)",
                Condition::In {
                    column: "año".into(),
                    literals: vec![text("A"), Literal::Number("2".into())],
                },
            ),
            (
                "x NOT IN (1)",
                not(Condition::In { column: "x".into(), literals: vec![Literal::Number("1".into())] }),
            ),
            ("x IS NULL", Condition::IsNull { column: "x".into() }),
            ("x is not null", not(Condition::IsNull { column: "x".into() })),
            ("\"or\" IS NULL", Condition::IsNull { column: "or".into() }),
        ] {
            assert_eq!(parse_condition(written), Ok(expected), "{written}");
        }
    }

    #[test]
    fn what_is_no_condition_is_refused_where_it_stands() {
        for (written, at, message) in [
            ("", 1, "the condition ends, expected a column, NOT or \"(\""),
            (
                "tipo LIKE 'T%'",
                6,
                "found \"LIKE\", expected =, <>, <, <=, >, >=, IN, NOT IN, IS NULL or IS NOT NULL",
            ),
            (
                "tipo = \"TRAMITE\"",
                8,
                "found \"TRAMITE\", expected a text in single quotes, a number, TRUE or FALSE",
            ),
            (
                "tipo = NULL",
                8,
                "found NULL, expected a value: nothing equals NULL, write IS NULL or IS NOT NULL",
            ),
            (
                "lower(tipo) = 'a'",
                6,
                "found \"(\", expected =, <>, <, <=, >, >=, IN, NOT IN, IS NULL or IS NOT NULL",
            ),
            ("tipo = 'A' tipo", 12, "found \"tipo\", expected AND, OR or the end"),
            ("'A' = tipo", 1, "found the text 'A', expected a column, NOT or \"(\""),
            ("(tipo = 'A'", 12, "the condition ends, expected AND, OR or \")\""),
            ("tipo IN ()", 10, "found \")\", expected a text in single quotes, a number, TRUE or FALSE"),
            ("tipo IN ('A' 'B')", 14, "found the text 'B', expected \",\" or \")\""),
            ("tipo NOT = 'A'", 10, "found \"=\", expected IN"),
            ("tipo IS 'A'", 9, "found the text 'A', expected NULL or NOT NULL"),
            ("tipo = 'A", 8, "a text begins here and has no end"),
            ("a + 1 = 2", 3, "found \"+\", which no condition has"),
            ("a = 1e5", 5, "found a number that is not written in plain digits"),
            ("a = 1; DROP TABLE x", 6, "found \";\", which no condition has"),
            (
                "activo",
                7,
                "the condition ends, expected =, <>, <, <=, >, >=, IN, NOT IN, IS NULL or IS NOT NULL",
            ),
            ("a ! 1", 3, "found \"!\" alone"),
        ] {
            let error = parse_condition(written).unwrap_err();
            assert_eq!((error.line, error.column, &*error.message), (1, at, message), "{written}");
        }
        let error = parse_condition("ñandú = 'x'\n  OR tipo = 'A' AND\n").unwrap_err();
        assert_eq!(
            error.to_string(),
            "at line 3, character 1: the condition ends, expected a column, NOT or \"(\""
        );
        let deep = format!("{}a = 1{}", "(".repeat(40), ")".repeat(40));
        assert!(parse_condition(&deep).unwrap_err().message.contains("32 deep"));
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd_to_be_read(written in "([a-c] |= |< |'x' |1 |IN |NOT |AND |OR |\\(|\\)|, |IS |NULL |\\PC){0,12}") {
            drop(parse_condition(&written));
        }
    }
}
