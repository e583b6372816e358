//! What exists in the database for this configuration alone, and the statements that take it away.

use change::{Removal, SourceError, SourceErrorKind, Statement};

use crate::config::PostgresConfig;
use crate::name::{quote_ident, quote_literal};
use crate::session::{self, Session};

/// The slot and the publication that are there, the slot first: while it exists, the server keeps its log.
///
/// # Errors
/// When the server cannot be asked, and [`SourceErrorKind::Busy`] when somebody reads the slot.
pub(crate) async fn removal(config: &PostgresConfig) -> Result<Removal, SourceError> {
    config.validate()?;
    let session = session::connect(config).await?;
    let mut removal = Removal::default();
    find_slot(&session, config, &mut removal).await?;
    find_publication(&session, config, &mut removal).await?;
    removal.remains.push(Statement {
        why: format!(
            "the role {} and its rights stay; where nothing else logs in with it, this locks it",
            quote_ident(&config.user)
        ),
        sql: format!("ALTER ROLE {} NOLOGIN NOREPLICATION", quote_ident(&config.user)),
    });
    removal.remains.push(Statement {
        why: "wal_level and the other settings stay: replicas and backups may need them".to_owned(),
        sql: String::new(),
    });
    Ok(removal)
}

async fn find_slot(
    session: &Session,
    config: &PostgresConfig,
    removal: &mut Removal,
) -> Result<(), SourceError> {
    // https://www.postgresql.org/docs/current/view-pg-replication-slots.html
    let sql =
        "SELECT active_pid::text, coalesce(plugin = 'pgoutput' AND database = current_database(), false)
                 FROM pg_replication_slots WHERE slot_name = $1";
    let rows = session.query("look for the replication slot", sql, &[&config.slot]).await?;
    let Some(row) = rows.first() else { return Ok(()) };
    let name = &config.slot;
    if let Some(pid) = row.get::<_, Option<String>>(0) {
        let context = format!("replication slot \"{name}\" is read by process {pid}");
        return Err(SourceError::new(SourceErrorKind::Busy, context)
            .with_hint("stop whoever reads it, on whatever machine it runs, then try again"));
    }
    let drop = format!("SELECT pg_drop_replication_slot({})", quote_literal(name));
    if row.get(1) {
        let why = format!("replication slot \"{name}\" makes the server keep its log for bitacora");
        removal.statements.push(Statement { why, sql: drop });
    } else {
        let why = format!("replication slot \"{name}\" is of another kind than bitacora's: it stays");
        removal.remains.push(Statement { why, sql: drop });
    }
    Ok(())
}

async fn find_publication(
    session: &Session,
    config: &PostgresConfig,
    removal: &mut Removal,
) -> Result<(), SourceError> {
    // https://www.postgresql.org/docs/current/catalog-pg-publication.html
    let sql = "SELECT p.puballtables,
                      (SELECT coalesce(string_agg(format('%I.%I', t.schemaname, t.tablename), ', '
                                                  ORDER BY t.schemaname, t.tablename), 'no table')
                         FROM pg_publication_tables t WHERE t.pubname = p.pubname)
                 FROM pg_publication p WHERE p.pubname = $1";
    let rows = session.query("look for the publication", sql, &[&config.publication]).await?;
    let Some(row) = rows.first() else { return Ok(()) };
    let name = &config.publication;
    let drop = format!("DROP PUBLICATION {}", quote_ident(name));
    if row.get(0) {
        let why = format!("publication \"{name}\" is for all tables, as bitacora never makes one: it stays");
        removal.remains.push(Statement { why, sql: drop });
    } else {
        let tables: String = row.get(1);
        let why = format!("publication \"{name}\" names the table and columns to send: {tables}");
        removal.statements.push(Statement { why, sql: drop });
    }
    Ok(())
}
