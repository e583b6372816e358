//! `bitacora uninstall`: takes away again what the connector has in the database.

use std::io::IsTerminal;

use change::{Removal, Source, Statement};
use ledger::{Ledger, LedgerErrorKind, LedgerReader};

use crate::args::UninstallArgs;
use crate::config::{Config, Secrets};
use crate::daemon;
use crate::exit::{Exit, Failure};
use crate::terminal::{comment, complain, counted, say};

use super::Context;

const UNTOUCHED: &str = "nothing was changed in the database";

/// Shows what would be taken away, asks, and takes it away.
pub(crate) async fn uninstall(context: &Context, args: &UninstallArgs) -> Result<Exit, Failure> {
    let config = context.config(Secrets::Needed)?;
    let mut ledger = hold_ledger(&config).await.map_err(|failure| failure.for_the_data(UNTOUCHED))?;
    let unsent = ledger.as_mut().map_or(Ok(0), unsent)?;
    let mapping = daemon::mapping(&config)?;
    let source = daemon::source(&config, &mapping);
    let removal = source.removal().await.map_err(|error| Failure::from(error).for_the_data(UNTOUCHED))?;
    say(&script(&config, &removal))?;
    if removal.statements.is_empty() || args.dry_run {
        return Ok(Exit::Done);
    }
    if !args.yes {
        ask(&config, unsent).await?;
    }
    let applied = apply(&source, &removal.statements).await;
    // Held until now, so that no daemon could start in between and make everything anew.
    drop(ledger);
    applied
}

/// The ledger, held, so that no daemon runs meanwhile; nothing where there is none yet.
async fn hold_ledger(config: &Config) -> Result<Option<Ledger>, Failure> {
    if let Err(error) = LedgerReader::open(&config.ledger.dir)
        && error.kind() == LedgerErrorKind::Missing
    {
        return Ok(None);
    }
    let held = daemon::hold(config, "bitacora uninstall").await;
    held.map(Some).map_err(|failure| {
        failure.with_hint("stop the daemon first, such as with `systemctl disable --now bitacora@NAME`")
    })
}

/// Records that the dashboard has not acknowledged.
fn unsent(ledger: &mut Ledger) -> Result<u64, Failure> {
    while ledger.settle(50_000)?.more {}
    Ok(ledger.delta()?.records)
}

/// Waits for a clear yes from somebody at a terminal.
async fn ask(config: &Config, unsent: u64) -> Result<(), Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage("nobody can be asked: the input is no terminal")
            .for_the_data(UNTOUCHED)
            .with_hint("add --yes to take all of it away unasked, or run the printed statements by hand"));
    }
    if unsent > 0 {
        complain(&format!(
            "{} not acknowledged by the dashboard yet: `bitacora flush` sends what is waiting.",
            are(unsent)
        ));
    }
    complain(&format!(
        "Take these away from database {} on {}? Changes from then on are not captured. [yes/no]",
        config.source.database, config.source.host
    ));
    // On a thread of its own: a person may take a while, and Ctrl-C must work meanwhile.
    let answer = tokio::task::spawn_blocking(|| std::io::stdin().lines().next().transpose());
    let answer = answer.await.ok().and_then(Result::ok).flatten().unwrap_or_default();
    if is_yes(&answer) {
        return Ok(());
    }
    Err(Failure::new("not confirmed").for_the_data(UNTOUCHED))
}

fn are(records: u64) -> String {
    format!("{} {}", counted(records, "record"), if records == 1 { "is" } else { "are" })
}

/// Only the whole word, in either of the operators' languages.
fn is_yes(answer: &str) -> bool {
    ["yes", "si", "sí"].contains(&answer.trim().to_lowercase().as_str())
}

/// Runs one statement after the other; one that is refused does not hold up those after it.
async fn apply(source: &impl Source, statements: &[Statement]) -> Result<Exit, Failure> {
    let mut refused: u64 = 0;
    for statement in statements {
        match source.apply(std::slice::from_ref(statement)).await {
            Ok(()) => say(&format!("-- Done: {}", statement.sql))?,
            Err(error) => {
                refused += 1;
                // The error's own hint is about setting up, which is not what is wanted here.
                complain(&format!("refused: {error}"));
            }
        }
    }
    if refused == 0 {
        return Ok(Exit::Done);
    }
    Err(Failure::new(format!("{} could not be run", counted(refused, "statement")))
        .for_the_data("the table and its rows were not touched")
        .with_hint(
            "have an administrator of the database run what was refused: the statements are printed above",
        ))
}

/// What is taken away as a script, and what stays as comments.
fn script(config: &Config, removal: &Removal) -> String {
    let path = config.path.display();
    let mut text = format!("-- What only {path} needs in database {}.\n", config.source.database);
    if removal.statements.is_empty() {
        text.push_str("-- Nothing: there is nothing to take away.\n");
    }
    for statement in &removal.statements {
        text.push_str(&format!("\n{}{};\n", comment(&statement.why), statement.sql));
    }
    text.push_str("\n-- What stays:\n");
    for statement in &removal.remains {
        text.push_str(&comment(&format!("- {}", statement.why)));
        if !statement.sql.is_empty() {
            text.push_str(&format!("--     {};\n", statement.sql));
        }
    }
    let dir = config.ledger.dir.display();
    text.push_str(&comment(&format!(
        "- the configuration {path}, and the ledger in {dir} with what was sent and what was not"
    )));
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_word_is_a_yes() {
        for answer in ["yes", " Yes\r", "sí", "SI"] {
            assert!(is_yes(answer), "{answer}");
        }
        for answer in ["", "y", "s", "no", "yes please", "yesno"] {
            assert!(!is_yes(answer), "{answer}");
        }
    }

    #[test]
    fn what_stays_is_printed_as_comments() {
        let text = include_str!("../../../../packaging/compose/postgres.toml");
        let variable = |_: &str| Some("x".into());
        let path = std::path::Path::new("/etc/bitacora/tramites.toml");
        let config = Config::parse(text, path, &variable, Secrets::Spared).unwrap();
        let statement = |why: &str, sql: &str| Statement { why: why.into(), sql: sql.into() };
        let removal = Removal {
            statements: vec![statement("the slot", "SELECT pg_drop_replication_slot('bitacora')")],
            remains: vec![
                statement("the role stays", "ALTER ROLE bitacora NOLOGIN"),
                statement("the settings stay", ""),
            ],
        };
        insta::assert_snapshot!(script(&config, &removal), @r"
        -- What only /etc/bitacora/tramites.toml needs in database tramites.

        -- the slot
        SELECT pg_drop_replication_slot('bitacora');

        -- What stays:
        -- - the role stays
        --     ALTER ROLE bitacora NOLOGIN;
        -- - the settings stay
        -- - the configuration /etc/bitacora/tramites.toml, and the ledger in /var/lib/bitacora with what was sent and
        -- what was not
        ");
        let nothing = script(&config, &Removal::default());
        assert!(nothing.contains("-- Nothing: there is nothing to take away."), "{nothing}");
    }
}
