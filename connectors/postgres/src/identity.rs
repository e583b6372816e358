//! Which server answers, and whether a stored position belongs to its history.

use change::{Checkpoint, ServerIdentity, SourceError, SourceErrorKind};

use crate::config::PostgresConfig;
use crate::position::Lsn;
use crate::wire::{Connection, TextRow};

/// What a server tells of itself on a replication connection
/// (<https://www.postgresql.org/docs/current/protocol-replication.html#PROTOCOL-REPLICATION-IDENTIFY-SYSTEM>).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    /// Made when the database cluster was; copies of it keep it.
    system: String,
    /// Which history of the cluster this is: every promotion and every restore begins a new one.
    timeline: u32,
    /// Up to where its log is durable.
    pub(crate) flushed: Lsn,
    /// Whether it follows another server.
    pub(crate) standby: bool,
}

impl Server {
    /// Asks the server.
    ///
    /// # Errors
    /// When it does not answer, or with something else.
    pub(crate) fn identify(connection: &mut Connection) -> Result<Self, SourceError> {
        let context = "ask the server who it is";
        let rows = connection.query(context, "IDENTIFY_SYSTEM")?;
        let mut cells = rows.into_iter().next().unwrap_or_default().into_iter().flatten();
        let (system, timeline, flushed) = (cells.next(), cells.next(), cells.next());
        let timeline = timeline.and_then(|text| text.parse().ok());
        let flushed = flushed.and_then(|text| text.parse().ok());
        let (Some(system), Some(timeline), Some(flushed)) = (system, timeline, flushed) else {
            return Err(SourceError::new(
                SourceErrorKind::Protocol,
                format!("{context}: the answer is not readable"),
            ));
        };
        let rows =
            connection.query("ask whether the server is a standby", "SELECT pg_is_in_recovery()::text")?;
        let standby = rows.into_iter().flatten().flatten().next().as_deref() == Some("true");
        Ok(Self { system, timeline, flushed, standby })
    }

    /// What is stored beside a position.
    pub(crate) fn identity(&self, config: &PostgresConfig) -> ServerIdentity {
        ServerIdentity::new(format!(
            "system={} timeline={} slot={} publication={}",
            self.system, self.timeline, config.slot, config.publication
        ))
    }

    /// Whether the checkpoint's position belongs to this server's history, and its log reaches that far.
    ///
    /// # Errors
    /// [`SourceErrorKind::LostLog`] when it does not.
    pub(crate) fn expect_history_of(
        &self,
        connection: &mut Connection,
        checkpoint: &Checkpoint,
    ) -> Result<(), SourceError> {
        let lost = |why: String| Err(SourceError::new(SourceErrorKind::LostLog, why));
        let at = Lsn::of(&checkpoint.position)?;
        let stored = Stored::read(checkpoint.server.as_str())?;
        if stored.system != self.system {
            return lost(format!(
                "another server answers: its system identifier is {}, the checkpoint's is {}",
                self.system, stored.system
            ));
        }
        if self.timeline < stored.timeline {
            return lost(format!(
                "the server is on timeline {}, the checkpoint on the later timeline {}: an older copy took its place",
                self.timeline, stored.timeline
            ));
        }
        if self.timeline > stored.timeline {
            let fork = fork(connection, self.timeline, stored.timeline)?;
            if fork.is_none_or(|fork| fork < at) {
                return lost(format!(
                    "the server's timeline {} left timeline {} at {}, before the checkpoint {at}: it was restored to an \
                     earlier time",
                    self.timeline,
                    stored.timeline,
                    fork.map_or_else(|| "an unknown position".to_owned(), |fork| fork.to_string())
                ));
            }
        }
        if self.flushed < at {
            return lost(format!(
                "the server's log ends at {}, before the checkpoint {at}: an older copy took its place",
                self.flushed
            ));
        }
        Ok(())
    }
}

/// Where the history that led to `timeline` left the timeline `ancestor`; `None` when it was never on it.
fn fork(connection: &mut Connection, timeline: u32, ancestor: u32) -> Result<Option<Lsn>, SourceError> {
    let rows =
        connection.query("read the server's timeline history", &format!("TIMELINE_HISTORY {timeline}"))?;
    let content: Option<TextRow> = rows.into_iter().next();
    let history = content.and_then(|row| row.into_iter().nth(1)).flatten().unwrap_or_default();
    Ok(fork_in(&history, ancestor))
}

/// Reads a timeline history: lines of a timeline, the position at which it was left, and the reason.
fn fork_in(history: &str, ancestor: u32) -> Option<Lsn> {
    history.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let timeline: u32 = words.next()?.parse().ok()?;
        let left_at = words.next()?.parse().ok()?;
        (timeline == ancestor).then_some(left_at)
    })
}

/// A stored identity.
struct Stored<'a> {
    system: &'a str,
    timeline: u32,
}

impl<'a> Stored<'a> {
    fn read(text: &'a str) -> Result<Self, SourceError> {
        let part = |key: &str| text.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        let timeline = part("timeline").and_then(|timeline| timeline.parse().ok());
        match (part("system"), timeline) {
            (Some(system), Some(timeline)) => Ok(Self { system, timeline }),
            _ => Err(SourceError::new(
                SourceErrorKind::LostLog,
                format!("the checkpoint's server \"{text}\" is not one of PostgreSQL"),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeline_history_tells_where_a_timeline_was_left() {
        let history =
            "1\t0/A000198\tno recovery target specified\n\n2\t0/C000060\tbefore 2026-11-20 10:00:00+00\n";
        assert_eq!(fork_in(history, 1), Some(Lsn(0xA00_0198)));
        assert_eq!(fork_in(history, 2), Some(Lsn(0xC00_0060)));
        assert_eq!(fork_in(history, 3), None);
        assert_eq!(fork_in("garbage\n1", 1), None);
    }

    #[test]
    fn an_identity_that_is_not_ours_is_no_match() {
        assert!(Stored::read("system=7 timeline=2 slot=a publication=b").is_ok());
        for text in ["", "system=7", "timeline=1", "system=7 timeline=x", "server_uuid=1"] {
            assert!(Stored::read(text).is_err(), "{text}");
        }
    }
}
