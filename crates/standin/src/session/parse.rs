//! A batch as statements: queries and changes by the parser's own grammar, everything around them by ours, because
//! T-SQL separates statements by nothing at all.

use sqlparser::ast::Expr;
use sqlparser::dialect::MsSqlDialect;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, Whitespace};

use super::statement::{Line, Stmt, StmtText};
use crate::bind::parts;
use crate::sql::error::SqlError;

/// A batch's statements.
///
/// # Errors
/// 102 with what stands where the batch cannot be understood.
pub(super) fn batch(text: &str) -> Result<Vec<Line>, SqlError> {
    let dialect = MsSqlDialect {};
    let tokens = Tokenizer::new(&dialect, text).tokenize_with_location().map_err(|error| {
        located(
            SqlError::new(105, 15, 1, format!("Incorrect syntax: {}.", error.message)),
            error.location.line,
        )
    })?;
    let tokens = without_options(tokens);
    let mut reader = Reader { parser: Parser::new(&dialect).with_tokens_with_locations(tokens), text };
    let mut lines: Vec<Line> = Vec::new();
    while !reader.at_end() {
        let line = reader.line()?;
        if matches!(line.stmt, Stmt::CreateTrigger { .. }) && !lines.is_empty() {
            let message = "'CREATE TRIGGER' must be the first statement in a query batch.";
            return Err(located(SqlError::new(111, 15, 1, message), line.number.into()));
        }
        lines.push(line);
    }
    Ok(lines)
}

fn located(mut error: SqlError, line: u64) -> SqlError {
    error.line = u32::try_from(line).unwrap_or(0);
    error
}

/// Leaves out `OPTION (…)`: hints to an optimizer that this server does not have.
fn without_options(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut out = Vec::with_capacity(tokens.len());
    let mut rest = tokens.into_iter().peekable();
    while let Some(token) = rest.next() {
        let is_option = matches!(&token.token, Token::Word(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("option"));
        while is_option
            && rest.peek().is_some_and(|next| matches!(next.token, Token::Whitespace(Whitespace::Space)))
        {
            rest.next();
        }
        if is_option && rest.peek().is_some_and(|next| next.token == Token::LParen) {
            let mut depth = 0i32;
            for token in rest.by_ref() {
                depth += i32::from(token.token == Token::LParen) - i32::from(token.token == Token::RParen);
                if depth == 0 {
                    break;
                }
            }
        } else {
            out.push(token);
        }
    }
    separated(out)
}

/// Puts a semicolon before reserved words that begin a statement, which the parser would take for an alias.
fn separated(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    const BEGINNINGS: [&str; 6] = ["BEGIN", "COMMIT", "ROLLBACK", "SAVE", "USE", "WAITFOR"];
    let mut out = Vec::with_capacity(tokens.len());
    for token in tokens {
        let begins = matches!(&token.token, Token::Word(word)
            if word.quote_style.is_none() && BEGINNINGS.iter().any(|known| word.value.eq_ignore_ascii_case(known)));
        if begins {
            out.push(TokenWithSpan::new(Token::SemiColon, token.span));
        }
        out.push(token);
    }
    out
}

/// Reads a batch's tokens.
pub(super) struct Reader<'a> {
    pub(super) parser: Parser<'a>,
    text: &'a str,
}

impl Reader<'_> {
    fn at_end(&mut self) -> bool {
        while self.parser.consume_token(&Token::SemiColon) {}
        self.parser.peek_token_ref().token == Token::EOF
    }

    /// The unquoted word that comes next, in upper case.
    pub(super) fn peek(&self) -> String {
        self.peek_at(0)
    }

    pub(super) fn peek_at(&self, ahead: usize) -> String {
        match self.parser.peek_nth_token(ahead).token {
            Token::Word(word) if word.quote_style.is_none() => word.value.to_uppercase(),
            _ => String::new(),
        }
    }

    pub(super) fn take(&mut self, word: &str) -> bool {
        let found = self.peek() == word;
        if found {
            self.parser.advance_token();
        }
        found
    }

    pub(super) fn want(&mut self, word: &str) -> Result<(), SqlError> {
        if self.take(word) { Ok(()) } else { Err(self.unexpected()) }
    }

    pub(super) fn unexpected(&self) -> SqlError {
        let token = self.parser.peek_token_ref();
        let mut error = match &token.token {
            Token::Word(word)
                if word.keyword != sqlparser::keywords::Keyword::NoKeyword && word.quote_style.is_none() =>
            {
                SqlError::new(156, 15, 1, format!("Incorrect syntax near the keyword '{}'.", word.value))
            }
            other => SqlError::syntax(other),
        };
        error.line = u32::try_from(token.span.start.line).unwrap_or(0);
        error
    }

    pub(super) fn failed(&self, error: &ParserError) -> SqlError {
        let mut ours = self.unexpected();
        let (ParserError::TokenizerError(text) | ParserError::ParserError(text)) = error else { return ours };
        ours.message = format!("{} ({text})", ours.message);
        ours
    }

    /// What is left of the batch, as it was written; nothing of it is left afterwards.
    pub(super) fn rest(&mut self) -> String {
        let start = self.parser.peek_token_ref().span.start;
        while self.parser.next_token().token != Token::EOF {}
        let count = |number: u64| usize::try_from(number).unwrap_or(0).saturating_sub(1);
        let mut lines = self.text.split_inclusive('\n').skip(count(start.line));
        let first: String = lines.next().unwrap_or_default().chars().skip(count(start.column)).collect();
        lines.fold(first, |rest, line| rest + line)
    }

    pub(super) fn expr(&mut self) -> Result<Expr, SqlError> {
        self.parser.parse_expr().map_err(|error| self.failed(&error))
    }

    pub(super) fn name(&mut self) -> Result<Vec<String>, SqlError> {
        let name = self.parser.parse_object_name(false).map_err(|error| self.failed(&error))?;
        parts(&name)
    }

    pub(super) fn word(&mut self) -> Result<String, SqlError> {
        let name = self.parser.parse_identifier().map_err(|error| self.failed(&error))?;
        Ok(name.value)
    }

    pub(super) fn token(&mut self, token: &Token) -> bool {
        self.parser.consume_token(token)
    }

    pub(super) fn expect(&mut self, token: &Token) -> Result<(), SqlError> {
        if self.token(token) { Ok(()) } else { Err(self.unexpected()) }
    }

    fn line(&mut self) -> Result<Line, SqlError> {
        while self.token(&Token::SemiColon) {}
        let from = self.parser.index();
        let number = u32::try_from(self.parser.peek_token_ref().span.start.line).unwrap_or(0);
        let stmt = self.stmt()?;
        let text = format!("{}", StmtText(&stmt));
        debug_assert!(self.parser.index() >= from);
        Ok(Line { number, text, stmt })
    }

    fn stmt(&mut self) -> Result<Stmt, SqlError> {
        match (self.peek().as_str(), self.peek_at(1).as_str()) {
            ("DECLARE", _) => self.declare(),
            ("SET", _) => self.set(),
            ("BEGIN", "TRAN" | "TRANSACTION") => {
                self.skip(2);
                self.optional_name();
                Ok(Stmt::Begin)
            }
            ("BEGIN", "TRY" | "CATCH") => Err(SqlError::not_modelled("TRY")),
            ("BEGIN", _) => {
                self.skip(1);
                Ok(Stmt::Block(self.until_end()?))
            }
            ("COMMIT", _) => {
                self.end_of_transaction();
                self.optional_name();
                Ok(Stmt::Commit)
            }
            ("ROLLBACK", _) => {
                self.end_of_transaction();
                Ok(Stmt::Rollback(self.optional_name()))
            }
            ("SAVE", _) => {
                self.end_of_transaction();
                Ok(Stmt::Save(self.word()?))
            }
            ("USE", _) => {
                self.skip(1);
                Ok(Stmt::Use(self.word()?))
            }
            ("EXEC" | "EXECUTE", _) => self.execute(),
            ("IF", _) => self.branch(),
            ("WHILE", _) => {
                self.skip(1);
                let condition = self.expr()?;
                Ok(Stmt::While(condition, vec![self.line()?]))
            }
            ("PRINT", _) => {
                self.skip(1);
                Ok(Stmt::Print(self.expr()?))
            }
            ("RAISERROR", _) => {
                self.skip(1);
                Ok(Stmt::RaiseError(self.list()?))
            }
            ("WAITFOR", "DELAY") => {
                self.skip(2);
                Ok(Stmt::Wait(self.expr()?))
            }
            ("RETURN", _) => {
                self.skip(1);
                Ok(Stmt::Return)
            }
            ("CREATE" | "ALTER" | "DROP" | "TRUNCATE" | "GRANT" | "DENY" | "REVOKE", _) => self.definition(),
            ("SELECT" | "INSERT" | "UPDATE" | "DELETE" | "WITH", _) => self.sql(),
            _ if self.parser.peek_token_ref().token == Token::LParen => self.sql(),
            _ => Err(self.unexpected()),
        }
    }

    pub(super) fn skip(&mut self, count: usize) {
        for _ in 0..count {
            self.parser.advance_token();
        }
    }

    fn sql(&mut self) -> Result<Stmt, SqlError> {
        let statement = self.parser.parse_statement().map_err(|error| self.failed(&error))?;
        Ok(Stmt::Sql(Box::new(statement)))
    }

    fn end_of_transaction(&mut self) {
        self.skip(1);
        if !self.take("TRANSACTION") && !self.take("TRAN") {
            self.take("WORK");
        }
    }

    /// The name of a transaction or savepoint, which nothing but the next statement may follow.
    fn optional_name(&mut self) -> Option<String> {
        const STARTS: [&str; 24] = [
            "DECLARE",
            "SET",
            "BEGIN",
            "COMMIT",
            "ROLLBACK",
            "SAVE",
            "USE",
            "EXEC",
            "EXECUTE",
            "IF",
            "WHILE",
            "PRINT",
            "RAISERROR",
            "WAITFOR",
            "RETURN",
            "CREATE",
            "ALTER",
            "DROP",
            "SELECT",
            "INSERT",
            "UPDATE",
            "DELETE",
            "ELSE",
            "END",
        ];
        let word = self.peek();
        if word.is_empty() || STARTS.contains(&word.as_str()) {
            return None;
        }
        self.word().ok()
    }

    fn until_end(&mut self) -> Result<Vec<Line>, SqlError> {
        let mut lines = Vec::new();
        loop {
            if self.at_end() {
                return Err(self.unexpected());
            }
            if self.take("END") {
                return Ok(lines);
            }
            lines.push(self.line()?);
        }
    }

    fn branch(&mut self) -> Result<Stmt, SqlError> {
        self.skip(1);
        let condition = self.expr()?;
        let yes = vec![self.line()?];
        while self.token(&Token::SemiColon) {}
        let no = if self.take("ELSE") { vec![self.line()?] } else { Vec::new() };
        Ok(Stmt::If(condition, yes, no))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_need_nothing_between_them() {
        let text = "declare @a int = 1 set @a = 2 select @a select 1 begin tran commit exec sp_who print 'x'";
        assert_eq!(batch(text).unwrap().len(), 8);
        let text = "if 1 = 1 begin select 1; select 2 end else select 3\nselect 4";
        let lines = batch(text).unwrap();
        assert_eq!((lines.len(), lines[1].number), (2, 2));
    }

    #[test]
    fn hints_to_the_optimizer_are_left_out() {
        assert_eq!(batch("select 1 option (recompile, maxdop 1) select 2").unwrap().len(), 2);
    }

    #[test]
    fn what_cannot_be_understood_is_an_error() {
        for text in [
            "selec 1",
            "select from",
            "create table t (a int check (a > 1))",
            "begin try select 1 end try",
            "begin select 1",
        ] {
            let error = batch(text).unwrap_err();
            assert!(matches!(error.number, 102 | 156), "{text}: {error}");
        }
    }
}
