//! The slot, how much log it may hold back, and what would keep it from being made.

use std::time::Duration;

use change::{Finding, SourceError, Statement};

use super::Subject;
use crate::rights;
use crate::session::{APPLICATION_NAME, sql_error};

/// Held-back log above this is worth a word.
const KEPT_BYTES_MAX: f64 = 4.0 * 1024.0 * 1024.0 * 1024.0;

/// A transaction that has been open for longer holds up a new slot noticeably.
const LONG_SECONDS: f64 = 60.0;
/// How long a transaction of hidden age must live on to be worth a word.
const HIDDEN_AGE_WAIT: Duration = Duration::from_secs(1);

/// A slot as the server shows it.
struct Slot {
    kind: String,
    plugin: String,
    database: String,
    temporary: bool,
    wal_status: String,
    invalidation: Option<String>,
    kept_bytes: Option<f64>,
    reader: Option<Reader>,
    inactive_since: Option<String>,
    failover: Option<String>,
}

struct Reader {
    pid: i32,
    application: String,
    address: String,
}

pub(super) async fn findings(subject: &Subject<'_>) -> Result<Vec<Finding>, SourceError> {
    let mut findings = match read(subject).await? {
        Some(slot) => {
            let mut findings = vec![state(subject, &slot)];
            findings.extend(held_back(subject, &slot));
            findings.extend(failover(subject, &slot));
            findings
        }
        None => {
            let mut findings = vec![room(subject)];
            findings.extend(blockers(subject).await?);
            findings
        }
    };
    findings.push(cap(subject));
    findings.extend(idle_timeout(subject));
    Ok(findings)
}

async fn read(subject: &Subject<'_>) -> Result<Option<Slot>, SourceError> {
    let context = "read the state of the replication slot";
    // Columns that came with later versions are read through JSON, where a missing one is NULL.
    let sql = "SELECT s.slot_type, coalesce(s.plugin::text, ''), coalesce(s.database::text, ''), s.temporary,
                      coalesce(s.wal_status, ''), to_jsonb(s) ->> 'invalidation_reason',
                      pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
                                           ELSE pg_current_wal_lsn() END, s.restart_lsn)::float8,
                      s.active_pid, coalesce(a.application_name, ''),
                      coalesce(host(a.client_addr), 'a local socket'),
                      to_jsonb(s) ->> 'inactive_since', to_jsonb(s) ->> 'failover'
                 FROM pg_replication_slots s LEFT JOIN pg_stat_activity a ON a.pid = s.active_pid
                WHERE s.slot_name = $1";
    let rows = subject.session.query(context, sql, &[&subject.config.slot]).await?;
    let one = |row: &tokio_postgres::Row| -> Result<Slot, tokio_postgres::Error> {
        let (application, address) = (row.try_get(8)?, row.try_get(9)?);
        Ok(Slot {
            kind: row.try_get(0)?,
            plugin: row.try_get(1)?,
            database: row.try_get(2)?,
            temporary: row.try_get(3)?,
            wal_status: row.try_get(4)?,
            invalidation: row.try_get(5)?,
            kept_bytes: row.try_get(6)?,
            reader: row.try_get::<_, Option<i32>>(7)?.map(|pid| Reader { pid, application, address }),
            inactive_since: row.try_get(10)?,
            failover: row.try_get(11)?,
        })
    };
    rows.first().map(|row| one(row).map_err(|error| sql_error(context, error))).transpose()
}

fn state(subject: &Subject<'_>, slot: &Slot) -> Finding {
    let config = subject.config;
    let name = format!("slot \"{}\"", config.slot);
    let misfit = if slot.kind != "logical" {
        Some(format!("{name} is {}, expected logical", slot.kind))
    } else if slot.plugin != "pgoutput" {
        Some(format!("{name} decodes with \"{}\", expected \"pgoutput\"", slot.plugin))
    } else if slot.database != config.database {
        Some(format!("{name} belongs to database \"{}\", expected \"{}\"", slot.database, config.database))
    } else {
        slot.temporary.then(|| format!("{name} is temporary, expected a lasting one"))
    };
    if let Some(what) = misfit {
        return Finding::error(
            "slot",
            what,
            "it belongs to something else, which would lose its changes to us",
        )
        .mended_by("set another slot in the [source.postgres] part; it is made when missing");
    }
    let reason =
        slot.invalidation.clone().or_else(|| (slot.wal_status == "lost").then(|| "wal_removed".to_owned()));
    if let Some(reason) = reason {
        return Finding::error(
            "slot",
            format!("{name} was given up by the server ({reason})"),
            "changes since its last position are no longer in the log; the connector alerts, reads the \
             table, sends what differs and goes on with a new slot",
        )
        .mended_by(
            "start `bitacora run`, which mends it; then look into slot_limit below to keep it from coming \
            back",
        );
    }
    match &slot.reader {
        Some(reader) if reader.application != APPLICATION_NAME => Finding::error(
            "slot",
            format!(
                "{name} is read by process {} of application \"{}\" from {}",
                reader.pid, reader.application, reader.address
            ),
            "two readers of one slot take each other's changes away",
        )
        .mended_by("stop the other one, or set another slot in the [source.postgres] part"),
        Some(reader) => {
            Finding::pass("slot", format!("{name} is read by a connector, process {}", reader.pid))
        }
        None => {
            let since = slot.inactive_since.as_ref().map(|at| format!(" since {at}")).unwrap_or_default();
            Finding::pass("slot", format!("{name} exists and is not being read{since}"))
        }
    }
}

fn held_back(subject: &Subject<'_>, slot: &Slot) -> Option<Finding> {
    let name = format!("slot \"{}\"", subject.config.slot);
    if slot.wal_status == "unreserved" {
        return Some(
            Finding::error(
                "slot_log",
                format!("{name} is past its limit and loses its log at the next checkpoint"),
                "what was not captured by then can only be mended by a new copy of the table",
            )
            .mended_by("start `bitacora run` now; before that, raise max_slot_wal_keep_size and reload"),
        );
    }
    let kept = slot.kept_bytes?;
    let what = format!("{name} holds back {:.1} MiB of log", kept / 1024.0 / 1024.0);
    if kept > KEPT_BYTES_MAX {
        return Some(
            Finding::warning("slot_log", what, "the log fills the server's disk while nobody reads the slot")
                .mended_by("start `bitacora run`, or drop the slot if it is not needed any more"),
        );
    }
    Some(Finding::pass("slot_log", what))
}

/// From 17 on a standby can keep a copy of the slot and carry it on after a fail-over
/// (<https://www.postgresql.org/docs/current/logicaldecoding-explanation.html>).
fn failover(subject: &Subject<'_>, slot: &Slot) -> Option<Finding> {
    let name = &subject.config.slot;
    match slot.failover.as_deref()? {
        "true" => Some(Finding::pass("slot_failover", format!("slot \"{name}\" can outlive a fail-over"))),
        _ => Some(
            Finding::warning(
                "slot_failover",
                format!("slot \"{name}\" is not kept on standbys (failover is false)"),
                "after a fail-over the new primary has no slot: the connector must read the whole table to \
                 mend the gap",
            )
            .mended_by(format!(
                "over a replication connection: ALTER_REPLICATION_SLOT {name} (FAILOVER true); on the \
                 standby: sync_replication_slots = on, hot_standby_feedback = on, dbname in \
                 primary_conninfo"
            )),
        ),
    }
}

fn room(subject: &Subject<'_>) -> Finding {
    let server = subject.server;
    let limit = server.number("max_replication_slots").unwrap_or_default();
    let used = server.slots_used;
    let name = &subject.config.slot;
    if used < limit {
        return Finding::pass("slot", format!("slot \"{name}\" does not exist yet and will be made"));
    }
    let Statement { sql, .. } = rights::raise(server, "max_replication_slots", limit + 4);
    Finding::error(
        "max_replication_slots",
        format!(
            "all {used} of max_replication_slots = {limit} are taken, and slot \"{name}\" does not exist yet"
        ),
        "without a slot the server does not keep the log for the connector",
    )
    .mended_by(format!("{sql}; then restart the server, or drop a slot that nobody reads"))
}

/// Making a slot waits until every transaction has ended that had written something before.
async fn blockers(subject: &Subject<'_>) -> Result<Vec<Finding>, SourceError> {
    let mut findings = Vec::new();
    let open = open_transactions(subject).await?;
    if !open.is_empty() {
        findings.push(
            Finding::warning(
                "open_transactions",
                format!("{} transactions have been open for long: {}", open.len(), open.join(", ")),
                "making the slot waits until each of them has ended",
            )
            .mended_by("have them committed or rolled back, or end one by SELECT pg_terminate_backend(…)"),
        );
    }
    let prepared = prepared_transactions(subject).await?;
    if !prepared.is_empty() {
        findings.push(
            Finding::warning(
                "prepared_transactions",
                format!("there are prepared transactions: {prepared}"),
                "making the slot waits until each of them has ended, and forgotten ones never end",
            )
            .mended_by("COMMIT PREPARED '…' or ROLLBACK PREPARED '…', as their application says"),
        );
    }
    Ok(findings)
}

/// A transaction that has written something.
struct Writer {
    pid: i32,
    transaction: String,
    user: String,
    /// Without the right to see others' statistics, the server tells no age.
    age_seconds: Option<f64>,
}

/// The writing transactions that have been open for long, in words. Where the server hides their ages,
/// those that outlive a moment count.
async fn open_transactions(subject: &Subject<'_>) -> Result<Vec<String>, SourceError> {
    let mut found = writers(subject).await?;
    if found.iter().any(|writer| writer.age_seconds.is_none()) {
        tokio::time::sleep(HIDDEN_AGE_WAIT).await;
        let later = writers(subject).await?;
        found.retain(|writer| {
            writer.age_seconds.is_some() || later.iter().any(|other| other.transaction == writer.transaction)
        });
    }
    found.retain(|writer| writer.age_seconds.is_none_or(|age| age > LONG_SECONDS));
    let words = |writer: &Writer| match writer.age_seconds {
        Some(age) => format!("process {} of \"{}\" for {age:.0} s", writer.pid, writer.user),
        None => format!("process {} of \"{}\" for an unknown time", writer.pid, writer.user),
    };
    Ok(found.iter().map(words).collect())
}

async fn writers(subject: &Subject<'_>) -> Result<Vec<Writer>, SourceError> {
    let context = "look for transactions that a new slot would wait for";
    let sql = "SELECT pid, backend_xid::text, coalesce(usename::text, ''),
                      extract(epoch FROM clock_timestamp() - xact_start)::float8
                 FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid()
                ORDER BY 4 DESC NULLS LAST LIMIT 20";
    let rows = subject.session.query(context, sql, &[]).await?;
    let writer = |row: &tokio_postgres::Row| -> Result<Writer, tokio_postgres::Error> {
        Ok(Writer {
            pid: row.try_get(0)?,
            transaction: row.try_get(1)?,
            user: row.try_get(2)?,
            age_seconds: row.try_get(3)?,
        })
    };
    rows.iter().map(|row| writer(row).map_err(|error| sql_error(context, error))).collect()
}

async fn prepared_transactions(subject: &Subject<'_>) -> Result<String, SourceError> {
    let context = "look for prepared transactions";
    let sql = "SELECT coalesce(string_agg(format('\"%s\" since %s', gid, date_trunc('second', prepared)), \
        ', '), '')
                 FROM (SELECT gid, prepared FROM pg_prepared_xacts ORDER BY prepared LIMIT 10) p";
    let row = subject.session.query_one(context, sql, &[]).await?;
    row.try_get(0).map_err(|error| sql_error(context, error))
}

/// What protects the server's disk from a connector that stands still
/// (<https://www.postgresql.org/docs/current/runtime-config-replication.html#GUC-MAX-SLOT-WAL-KEEP-SIZE>).
fn cap(subject: &Subject<'_>) -> Finding {
    match subject.server.number("max_slot_wal_keep_size") {
        Some(megabytes) if megabytes >= 1024 => {
            Finding::pass("slot_limit", format!("max_slot_wal_keep_size is {} GB", megabytes / 1024))
        }
        Some(megabytes) if megabytes >= 0 => Finding::warning(
            "slot_limit",
            format!("max_slot_wal_keep_size is {megabytes} MB"),
            "a stop of the connector of minutes can cost the slot its log, which takes a new copy of the \
             table to mend",
        )
        .mended_by("ALTER SYSTEM SET max_slot_wal_keep_size = '20GB'; SELECT pg_reload_conf()"),
        _ => Finding::warning(
            "slot_limit",
            "max_slot_wal_keep_size is -1: slots may hold back log without limit",
            "while the connector stands still the log fills the server's disk, and then the server stops",
        )
        .mended_by("ALTER SYSTEM SET max_slot_wal_keep_size = '20GB'; SELECT pg_reload_conf()"),
    }
}

fn idle_timeout(subject: &Subject<'_>) -> Option<Finding> {
    let seconds = subject.server.number("idle_replication_slot_timeout")?;
    (seconds > 0).then(|| {
        Finding::warning(
            "idle_replication_slot_timeout",
            format!("idle_replication_slot_timeout is {seconds} s, expected 0"),
            "when the connector is stopped for that long the server gives up the slot, and a new copy of \
             the table is needed",
        )
        .mended_by("ALTER SYSTEM SET idle_replication_slot_timeout = 0; SELECT pg_reload_conf()")
    })
}
