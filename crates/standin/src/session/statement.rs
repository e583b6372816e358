//! Statements, as a batch is made of them.

use sqlparser::ast::{self, Expr};

use crate::engine::catalog::Event;

/// A column of CREATE TABLE or ALTER TABLE.
#[derive(Debug, Clone)]
pub(super) struct NewColumn {
    pub(super) name: String,
    pub(super) of: ast::DataType,
    pub(super) nullable: bool,
    pub(super) identity: Option<(i64, i64)>,
    pub(super) default: Option<Expr>,
}

/// A key of a table.
#[derive(Debug, Clone)]
pub(super) struct NewKey {
    pub(super) name: Option<String>,
    pub(super) primary: bool,
    pub(super) columns: Vec<String>,
}

/// A statement.
#[derive(Debug, Clone)]
pub(super) enum Stmt {
    Sql(Box<ast::Statement>),
    Declare(Vec<(String, ast::DataType, Option<Expr>)>),
    SetVariable(String, Expr),
    SetOption(Vec<String>),
    Begin,
    Commit,
    Rollback(Option<String>),
    Save(String),
    Use(String),
    Execute {
        procedure: Vec<String>,
        arguments: Vec<(Option<String>, Expr)>,
    },
    ExecuteText(Expr),
    If(Expr, Vec<Line>, Vec<Line>),
    While(Expr, Vec<Line>),
    Block(Vec<Line>),
    Print(Expr),
    RaiseError(Vec<Expr>),
    Wait(Expr),
    Return,
    CreateTable {
        name: Vec<String>,
        columns: Vec<NewColumn>,
        keys: Vec<NewKey>,
    },
    AddColumn {
        table: Vec<String>,
        column: NewColumn,
    },
    DropColumn {
        table: Vec<String>,
        column: String,
    },
    AlterColumn {
        table: Vec<String>,
        column: NewColumn,
    },
    CreateIndex {
        name: Option<String>,
        unique: bool,
        table: Vec<String>,
        columns: Vec<String>,
    },
    CreateTrigger {
        name: Vec<String>,
        table: Vec<String>,
        events: Vec<Event>,
        body: String,
    },
    DropTrigger {
        names: Vec<Vec<String>>,
        if_exists: bool,
    },
    SetContext(Expr),
    DropTable {
        names: Vec<Vec<String>>,
        if_exists: bool,
    },
    Truncate(Vec<String>),
    CreateSchema(String),
    CreateDatabase(String),
    AlterDatabase {
        name: String,
        option: Vec<String>,
    },
    /// Logins, users, roles and rights, as words.
    Rights(Vec<String>),
}

/// A statement, where it begins, and its text.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) number: u32,
    pub(super) text: String,
    pub(super) stmt: Stmt,
}

/// What the history of definitions tells of a statement.
pub(super) struct StmtText<'a>(pub(super) &'a Stmt);

impl std::fmt::Display for StmtText<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Stmt::AddColumn { table, column } => {
                write!(out, "ALTER TABLE {} ADD {} {}", table.join("."), column.name, column.of)
            }
            Stmt::DropColumn { table, column } => {
                write!(out, "ALTER TABLE {} DROP COLUMN {column}", table.join("."))
            }
            Stmt::AlterColumn { table, column } => {
                write!(out, "ALTER TABLE {} ALTER COLUMN {} {}", table.join("."), column.name, column.of)
            }
            _ => Ok(()),
        }
    }
}
