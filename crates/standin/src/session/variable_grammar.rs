//! The grammar of DECLARE, SET and EXECUTE.

use sqlparser::ast::Expr;
use sqlparser::tokenizer::Token;

use super::parse::Reader;
use super::statement::Stmt;
use crate::sql::error::SqlError;

impl Reader<'_> {
    pub(super) fn declare(&mut self) -> Result<Stmt, SqlError> {
        self.skip(1);
        let mut all = Vec::new();
        loop {
            let name = self.word()?;
            self.take("AS");
            let of = self.parser.parse_data_type().map_err(|error| self.failed(&error))?;
            let value = if self.token(&Token::Eq) { Some(self.expr()?) } else { None };
            all.push((name, of, value));
            if !self.token(&Token::Comma) {
                return Ok(Stmt::Declare(all));
            }
        }
    }

    pub(super) fn set(&mut self) -> Result<Stmt, SqlError> {
        self.skip(1);
        if self.peek().starts_with('@') {
            let name = self.word()?;
            self.expect(&Token::Eq)?;
            return Ok(Stmt::SetVariable(name, self.expr()?));
        }
        if self.take("CONTEXT_INFO") {
            return Ok(Stmt::SetContext(self.expr()?));
        }
        // An option and what it is set to: words and one number.
        let mut words = Vec::new();
        let count = match self.peek().as_str() {
            "TRANSACTION" => match self.peek_at(3).as_str() {
                "READ" | "REPEATABLE" => 5,
                _ => 4,
            },
            "IDENTITY_INSERT" => return Err(SqlError::not_modelled("IDENTITY_INSERT")),
            _ => 2,
        };
        for _ in 0..count {
            let negative = self.token(&Token::Minus);
            while self.token(&Token::Comma) {
                words.push(",".to_owned());
                let more = self.parser.next_token();
                words.push(more.token.to_string().to_uppercase());
            }
            let token = self.parser.next_token();
            let sign = if negative { "-" } else { "" };
            words.push(format!("{sign}{}", token.token.to_string().to_uppercase()));
        }
        Ok(Stmt::SetOption(words))
    }

    pub(super) fn execute(&mut self) -> Result<Stmt, SqlError> {
        self.skip(1);
        if self.token(&Token::LParen) {
            let text = self.expr()?;
            self.expect(&Token::RParen)?;
            return Ok(Stmt::ExecuteText(text));
        }
        let procedure = self.name()?;
        let mut arguments = Vec::new();
        let none = |token: &Token| matches!(token, Token::EOF | Token::SemiColon);
        while !none(&self.parser.peek_token_ref().token) {
            let named = self.peek().starts_with('@') && self.parser.peek_nth_token(1).token == Token::Eq;
            if arguments.is_empty() && !named && self.starts_a_statement() {
                break;
            }
            let name = if named {
                let name = self.word()?;
                self.expect(&Token::Eq)?;
                Some(name)
            } else {
                None
            };
            arguments.push((name, self.expr()?));
            self.take("OUTPUT");
            if !self.token(&Token::Comma) {
                break;
            }
        }
        Ok(Stmt::Execute { procedure, arguments })
    }

    fn starts_a_statement(&self) -> bool {
        matches!(
            self.peek().as_str(),
            "DECLARE"
                | "SET"
                | "BEGIN"
                | "COMMIT"
                | "ROLLBACK"
                | "SAVE"
                | "USE"
                | "EXEC"
                | "EXECUTE"
                | "IF"
                | "WHILE"
                | "PRINT"
                | "RAISERROR"
                | "WAITFOR"
                | "RETURN"
                | "CREATE"
                | "ALTER"
                | "DROP"
                | "SELECT"
                | "INSERT"
                | "UPDATE"
                | "DELETE"
                | "ELSE"
                | "END"
                | "GRANT"
                | "DENY"
                | "REVOKE"
                | "TRUNCATE"
                | "WITH"
        )
    }

    pub(super) fn list(&mut self) -> Result<Vec<Expr>, SqlError> {
        self.expect(&Token::LParen)?;
        let mut all = Vec::new();
        loop {
            all.push(self.expr()?);
            if !self.token(&Token::Comma) {
                self.expect(&Token::RParen)?;
                return Ok(all);
            }
        }
    }
}
