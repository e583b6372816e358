//! `bitacora setup`: the SQL that the database's administrator must run.

use change::{Source, Statement};

use crate::args::SetupArgs;
use crate::config::{Engine, Secrets};
use crate::daemon;
use crate::exit::{Exit, Failure};
use crate::terminal;

use super::Context;

/// Prints the statements, and runs them where that was asked for.
pub(crate) async fn setup(context: &Context, args: &SetupArgs) -> Result<Exit, Failure> {
    let config = context.config(Secrets::Needed)?;
    let tables = daemon::tables(&config)?;
    let source = daemon::source(&config, &tables);
    let statements = source
        .setup()
        .await
        .map_err(|error| Failure::from(error).for_the_data("nothing was changed in the database"))?;
    let path = config.path.display().to_string();
    terminal::say(&script(&path, config.source.engine, &statements))?;
    if args.apply {
        source
            .apply(&statements)
            .await
            .map_err(|error| Failure::from(error).for_the_data("the table and its rows were not touched"))?;
        terminal::say(&format!("-- Applied: {}.", terminal::counted(statements.len() as u64, "statement")))?;
    }
    Ok(Exit::Done)
}

/// The statements as a script that a person can read and the server's own client can run.
///
/// SQL Server takes what it is sent as one batch, in which a variable is declared once and some statements must stand alone:
/// there each is a batch of its own, which its clients know by the word GO
/// (<https://learn.microsoft.com/en-us/sql/t-sql/language-elements/sql-server-utilities-statements-go>).
fn script(config: &str, engine: Engine, statements: &[Statement]) -> String {
    let end = if engine == Engine::Sqlserver { "GO\n" } else { "" };
    let mut text = format!("-- What the database needs for {config}, as a script for its administrator.\n");
    if statements.is_empty() {
        text.push_str("-- Nothing: everything is there already.\n");
    }
    for statement in statements {
        text.push('\n');
        text.push_str(&terminal::comment(&statement.why));
        text.push_str(&format!("{};\n{end}", statement.sql.trim_end().trim_end_matches(';')));
    }
    text.push_str(&format!("\n-- Then: bitacora check -c {config}"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_statement_stands_under_its_reason() {
        let statements = [
            Statement {
                why: "capture needs the log".into(),
                sql: "ALTER SYSTEM SET wal_level = 'logical'".into(),
            },
            Statement { why: format!("two\nlines {}", "of many words ".repeat(10)), sql: "SELECT 1;".into() },
        ];
        insta::assert_snapshot!(script("bitacora.toml", Engine::Postgres, &statements), @r"
        -- What the database needs for bitacora.toml, as a script for its administrator.

        -- capture needs the log
        ALTER SYSTEM SET wal_level = 'logical';

        -- two
        -- lines of many words of many words of many words of many words of many words of many words of many words of
        -- many words of many words of many words
        SELECT 1;

        -- Then: bitacora check -c bitacora.toml
        ");
    }

    #[test]
    fn on_sql_server_each_statement_is_a_batch_of_its_own() {
        let statement = |sql: &str| Statement { why: "why".into(), sql: sql.into() };
        let statements = [statement("DECLARE @columns int;\nSELECT @columns"), statement("SELECT 1")];
        insta::assert_snapshot!(script("bitacora.toml", Engine::Sqlserver, &statements), @r"
        -- What the database needs for bitacora.toml, as a script for its administrator.

        -- why
        DECLARE @columns int;
        SELECT @columns;
        GO

        -- why
        SELECT 1;
        GO

        -- Then: bitacora check -c bitacora.toml
        ");
    }
}
