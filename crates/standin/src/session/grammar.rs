//! The grammar of definitions and rights: CREATE, ALTER, DROP, GRANT and their kin.

use sqlparser::tokenizer::Token;

use super::parse::Reader;
use super::statement::{NewColumn, NewKey, Stmt};
use crate::engine::catalog::Event;
use crate::sql::error::SqlError;

impl Reader<'_> {
    fn names(&mut self) -> Result<Vec<String>, SqlError> {
        self.expect(&Token::LParen)?;
        let mut all = Vec::new();
        loop {
            all.push(self.word()?);
            if !self.take("ASC") {
                self.take("DESC");
            }
            if !self.token(&Token::Comma) {
                self.expect(&Token::RParen)?;
                return Ok(all);
            }
        }
    }

    pub(super) fn definition(&mut self) -> Result<Stmt, SqlError> {
        match (self.peek().as_str(), self.peek_at(1).as_str()) {
            ("CREATE", "TABLE") => self.create_table(),
            ("CREATE", "INDEX" | "UNIQUE" | "CLUSTERED" | "NONCLUSTERED") => self.create_index(),
            ("CREATE", "SCHEMA") => {
                self.skip(2);
                Ok(Stmt::CreateSchema(self.word()?))
            }
            ("CREATE", "DATABASE") => {
                self.skip(2);
                Ok(Stmt::CreateDatabase(self.word()?))
            }
            ("ALTER", "DATABASE") => {
                self.skip(2);
                let name = self.word()?;
                self.want("SET")?;
                Ok(Stmt::AlterDatabase { name, option: self.words() })
            }
            ("ALTER", "TABLE") => self.alter_table(),
            ("DROP", "TABLE") => {
                self.skip(2);
                let if_exists = self.take("IF") && self.take("EXISTS");
                let mut names = vec![self.name()?];
                while self.token(&Token::Comma) {
                    names.push(self.name()?);
                }
                Ok(Stmt::DropTable { names, if_exists })
            }
            ("CREATE", "TRIGGER") => self.create_trigger(),
            ("DROP", "TRIGGER") => {
                self.skip(2);
                let if_exists = self.take("IF") && self.take("EXISTS");
                let mut names = vec![self.name()?];
                while self.token(&Token::Comma) {
                    names.push(self.name()?);
                }
                Ok(Stmt::DropTrigger { names, if_exists })
            }
            ("TRUNCATE", "TABLE") => {
                self.skip(2);
                Ok(Stmt::Truncate(self.name()?))
            }
            ("GRANT" | "DENY" | "REVOKE", _)
            | ("CREATE" | "ALTER" | "DROP", "LOGIN" | "USER" | "ROLE" | "SERVER") => {
                Ok(Stmt::Rights(self.words()))
            }
            _ => Err(SqlError::not_modelled(format!("{} {}", self.peek(), self.peek_at(1)))),
        }
    }

    /// Every token to the end of the statement.
    fn words(&mut self) -> Vec<String> {
        let mut words = Vec::new();
        loop {
            let next = self.parser.peek_token_ref().token.clone();
            if matches!(next, Token::EOF | Token::SemiColon) {
                return words;
            }
            let first = words.first().map(String::as_str).unwrap_or_default();
            let begins = matches!(
                self.peek().as_str(),
                "EXEC"
                    | "USE"
                    | "PRINT"
                    | "IF"
                    | "END"
                    | "DECLARE"
                    | "BEGIN"
                    | "GRANT"
                    | "DENY"
                    | "REVOKE"
                    | "CREATE"
                    | "DROP"
            ) && !words.is_empty();
            // A right can have such a name, which stands before ON or TO.
            let inside = matches!(first, "GRANT" | "DENY" | "REVOKE")
                && !words.iter().any(|word| word == "TO" || word == "FROM");
            if begins && !inside || self.peek() == "ALTER" && !words.is_empty() && !inside {
                return words;
            }
            self.parser.advance_token();
            words.push(match next {
                Token::Word(word)
                    if word.quote_style.is_none()
                        && word.keyword != sqlparser::keywords::Keyword::NoKeyword =>
                {
                    word.value.to_uppercase()
                }
                Token::Word(word) => word.value,
                Token::SingleQuotedString(text) | Token::NationalStringLiteral(text) => text,
                other => other.to_string(),
            });
        }
    }

    fn create_trigger(&mut self) -> Result<Stmt, SqlError> {
        self.skip(2);
        let name = self.name()?;
        self.want("ON")?;
        let table = self.name()?;
        if !self.take("AFTER") {
            self.want("FOR")?;
        }
        let mut events = Vec::new();
        loop {
            events.push(match self.peek().as_str() {
                "INSERT" => Event::Insert,
                "UPDATE" => Event::Update,
                "DELETE" => Event::Delete,
                _ => return Err(self.unexpected()),
            });
            self.skip(1);
            if !self.token(&Token::Comma) {
                break;
            }
        }
        self.want("AS")?;
        Ok(Stmt::CreateTrigger { name, table, events, body: self.rest() })
    }

    fn create_table(&mut self) -> Result<Stmt, SqlError> {
        self.skip(2);
        let name = self.name()?;
        self.expect(&Token::LParen)?;
        let (mut columns, mut keys) = (Vec::new(), Vec::new());
        loop {
            let named = if self.take("CONSTRAINT") { Some(self.word()?) } else { None };
            match self.peek().as_str() {
                "PRIMARY" | "UNIQUE" => keys.push(self.key(named, None)?),
                "FOREIGN" | "CHECK" => return Err(SqlError::not_modelled(self.peek())),
                _ => columns.push(self.column(&mut keys)?),
            }
            if self.token(&Token::Comma) {
                continue;
            }
            self.expect(&Token::RParen)?;
            return Ok(Stmt::CreateTable { name, columns, keys });
        }
    }

    fn key(&mut self, name: Option<String>, column: Option<&str>) -> Result<NewKey, SqlError> {
        let primary = self.take("PRIMARY");
        self.want(if primary { "KEY" } else { "UNIQUE" })?;
        if !self.take("CLUSTERED") {
            self.take("NONCLUSTERED");
        }
        let columns = match column {
            Some(column) if self.parser.peek_token_ref().token != Token::LParen => vec![column.to_owned()],
            _ => self.names()?,
        };
        Ok(NewKey { name, primary, columns })
    }

    fn column(&mut self, keys: &mut Vec<NewKey>) -> Result<NewColumn, SqlError> {
        let name = self.word()?;
        let of = self.parser.parse_data_type().map_err(|error| self.failed(&error))?;
        let mut column = NewColumn { name, of, nullable: true, identity: None, default: None };
        loop {
            let named = if self.take("CONSTRAINT") { Some(self.word()?) } else { None };
            match self.peek().as_str() {
                "NOT" => {
                    self.skip(1);
                    self.want("NULL")?;
                    column.nullable = false;
                }
                "NULL" => self.skip(1),
                "IDENTITY" => {
                    self.skip(1);
                    column.identity = Some(self.identity()?);
                    column.nullable = false;
                }
                "DEFAULT" => {
                    self.skip(1);
                    column.default = Some(self.parser.parse_prefix().map_err(|error| self.failed(&error))?);
                }
                "PRIMARY" | "UNIQUE" => keys.push(self.key(named, Some(&column.name))?),
                "COLLATE" => {
                    self.skip(1);
                    self.word()?;
                }
                "REFERENCES" | "CHECK" | "AS" | "SPARSE" | "ROWGUIDCOL" => {
                    return Err(SqlError::not_modelled(self.peek()));
                }
                _ => return Ok(column),
            }
        }
    }

    fn identity(&mut self) -> Result<(i64, i64), SqlError> {
        if !self.token(&Token::LParen) {
            return Ok((1, 1));
        }
        let mut number = || -> Result<i64, SqlError> {
            let negative = self.token(&Token::Minus);
            let number: i64 = match self.parser.next_token().token {
                Token::Number(text, _) => text.parse().map_err(|_| SqlError::syntax(&text))?,
                other => return Err(SqlError::syntax(other)),
            };
            self.token(&Token::Comma);
            Ok(if negative { -number } else { number })
        };
        let pair = (number()?, number()?);
        self.expect(&Token::RParen)?;
        Ok(pair)
    }

    fn create_index(&mut self) -> Result<Stmt, SqlError> {
        self.skip(1);
        let unique = self.take("UNIQUE");
        if !self.take("CLUSTERED") {
            self.take("NONCLUSTERED");
        }
        self.want("INDEX")?;
        let name = self.word()?;
        self.want("ON")?;
        let table = self.name()?;
        let columns = self.names()?;
        if self.take("INCLUDE") {
            self.names()?;
        }
        if self.peek() == "WHERE" {
            return Err(SqlError::not_modelled("WHERE"));
        }
        Ok(Stmt::CreateIndex { name: Some(name), unique, table, columns })
    }

    fn alter_table(&mut self) -> Result<Stmt, SqlError> {
        self.skip(2);
        let table = self.name()?;
        let mut keys = Vec::new();
        let stmt = match (self.peek().as_str(), self.peek_at(1).as_str()) {
            ("ALTER", "COLUMN") => {
                self.skip(2);
                Stmt::AlterColumn { table, column: self.column(&mut keys)? }
            }
            ("DROP", "COLUMN") => {
                self.skip(2);
                Stmt::DropColumn { table, column: self.word()? }
            }
            ("ADD", "UNIQUE") => {
                self.skip(2);
                Stmt::CreateIndex { name: None, unique: true, table, columns: self.names()? }
            }
            ("ADD", "CONSTRAINT" | "PRIMARY" | "FOREIGN" | "CHECK") => {
                return Err(SqlError::not_modelled("ADD CONSTRAINT"));
            }
            ("ADD", _) => {
                self.skip(1);
                Stmt::AddColumn { table, column: self.column(&mut keys)? }
            }
            _ => return Err(self.unexpected()),
        };
        if keys.is_empty() { Ok(stmt) } else { Err(SqlError::not_modelled("a key of a new column")) }
    }
}
