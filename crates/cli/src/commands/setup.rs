//! `bitacora setup`: the SQL that the database's administrator must run.

use change::{Source, Statement};

use crate::args::SetupArgs;
use crate::config::Secrets;
use crate::daemon;
use crate::exit::{Exit, Failure};
use crate::terminal;

use super::Context;

/// Prints the statements, and runs them where that was asked for.
pub(crate) async fn setup(context: &Context, args: &SetupArgs) -> Result<Exit, Failure> {
    let config = context.config(Secrets::Needed)?;
    let mapping = daemon::mapping(&config)?;
    let source = daemon::source(&config, &mapping);
    let statements = source
        .setup()
        .await
        .map_err(|error| Failure::from(error).for_the_data("nothing was changed in the database"))?;
    terminal::say(&script(&config.path.display().to_string(), &statements))?;
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
fn script(config: &str, statements: &[Statement]) -> String {
    let mut text = format!("-- What the database needs for {config}, as a script for its administrator.\n");
    if statements.is_empty() {
        text.push_str("-- Nothing: everything is there already.\n");
    }
    for statement in statements {
        text.push('\n');
        text.push_str(&terminal::comment(&statement.why));
        text.push_str(&format!("{};\n", statement.sql.trim_end().trim_end_matches(';')));
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
        insta::assert_snapshot!(script("bitacora.toml", &statements), @r"
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
}
