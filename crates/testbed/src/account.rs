//! The unprivileged user that servers run as when we are root: PostgreSQL refuses to run as root.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::TestbedError;

/// Who runs the servers: ourselves, or `nobody` when we are root.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Account {
    /// User and group to change to; `None` when servers run as ourselves.
    other: Option<(u32, u32)>,
}

impl Account {
    /// Finds out who we are and so who runs the servers.
    ///
    /// # Errors
    /// [`TestbedError::Io`] when no temporary file can be made, by whose owner we know ourselves.
    pub(crate) fn for_servers() -> Result<Account, TestbedError> {
        let temp = std::env::temp_dir();
        let ourselves = tempfile::tempfile_in(&temp)
            .and_then(|file| file.metadata())
            .map_err(TestbedError::io("create a temporary file in", &temp))?
            .uid();
        Ok(Account { other: (ourselves == 0).then(nobody) })
    }

    /// Are we root?
    pub(crate) fn we_are_root(self) -> bool {
        self.other.is_some()
    }

    /// Makes `command` run as this account.
    pub(crate) fn apply(self, command: &mut Command) {
        if let Some((uid, gid)) = self.other {
            command.uid(uid).gid(gid);
        }
    }

    /// Hands `path` over to this account.
    ///
    /// # Errors
    /// [`TestbedError::Io`] when the system refuses.
    pub(crate) fn hand_over(self, path: &Path) -> Result<(), TestbedError> {
        match self.other {
            Some((uid, gid)) => {
                chown(path, Some(uid), Some(gid)).map_err(TestbedError::io("change the owner of", path))
            }
            None => Ok(()),
        }
    }

    /// A folder for temporary files that this account can reach.
    pub(crate) fn temp_dir(self) -> PathBuf {
        let ours = std::env::temp_dir();
        if self.other.is_none() || open_to_all(&ours) { ours } else { PathBuf::from("/tmp") }
    }
}

/// User and group id of `nobody`; the usual number when the machine has no such name.
fn nobody() -> (u32, u32) {
    let known = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let ids = known.lines().find_map(|line| {
        let mut fields = line.strip_prefix("nobody:")?.split(':').skip(1);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    });
    ids.unwrap_or((65_534, 65_534))
}

/// May everybody pass through `dir` and every folder above it?
fn open_to_all(dir: &Path) -> bool {
    dir.ancestors().all(|folder| {
        std::fs::metadata(folder).is_ok_and(|found| found.permissions().mode() & 0o001 == 0o001)
    })
}
