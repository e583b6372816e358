//! The ledger's folder: whether it can be written, who else can read it, and how much room there is.

use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use change::Finding;
use ledger::{LedgerErrorKind, LedgerReader};

use crate::config::{LedgerConfig, size};

const CODE: &str = "ledger_dir";

/// One finding for the folder, one for the room, one for the ledger in it.
pub(super) fn look_at(config: &LedgerConfig) -> Vec<Finding> {
    let (existing, missing) = nearest_existing(&config.dir);
    let mut findings = vec![folder(&config.dir, &existing, missing)];
    findings.extend(room(config, &existing));
    if !missing {
        findings.extend(content(&config.dir));
    }
    findings
}

/// The folder itself, or the one in which it would be made.
fn nearest_existing(dir: &Path) -> (PathBuf, bool) {
    let existing = dir.ancestors().find(|folder| folder.exists());
    let existing = existing.filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let missing = existing != dir;
    (std::path::absolute(existing).unwrap_or_else(|_| existing.to_owned()), missing)
}

fn folder(dir: &Path, existing: &Path, missing: bool) -> Finding {
    const WHY: &str = "nothing can be captured: what is read must be durable before the log may forget it";
    let shown = dir.display();
    if !existing.is_dir() {
        let what = format!("[ledger] dir {shown}: {} is not a folder", existing.display());
        return Finding::error(CODE, what, WHY).mended_by("name another folder in [ledger] dir");
    }
    let owner = match try_to_write(existing) {
        Ok(owner) => owner,
        Err(error) => {
            let what = format!("[ledger] dir {shown}: {} cannot be written: {error}", existing.display());
            let mend = format!(
                "install -d -m 700 -o \"$(id -un)\" {shown}    # as root, for the user that runs bitacora"
            );
            return Finding::error(CODE, what, WHY).mended_by(mend);
        }
    };
    if missing {
        return Finding::pass(CODE, format!("[ledger] dir {shown} will be made in {}", existing.display()));
    }
    access(dir, owner)
}

/// Makes and removes a file; returns who owns what this process makes.
fn try_to_write(dir: &Path) -> std::io::Result<Option<u32>> {
    let path = dir.join(format!(".bitacora-check-{}", std::process::id()));
    let file = OpenOptions::new().write(true).create_new(true).open(&path);
    let owner = file.and_then(|file| file.metadata()).map(|metadata| owner(&metadata));
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => owner.and(Err(error)),
        _ => owner,
    }
}

#[cfg(unix)]
fn owner(metadata: &fs::Metadata) -> Option<u32> {
    Some(std::os::unix::fs::MetadataExt::uid(metadata))
}

#[cfg(not(unix))]
fn owner(_metadata: &fs::Metadata) -> Option<u32> {
    None
}

#[cfg(unix)]
fn access(dir: &Path, owner_of_ours: Option<u32>) -> Finding {
    use std::os::unix::fs::MetadataExt;
    let shown = dir.display();
    let Ok(metadata) = fs::metadata(dir) else {
        return Finding::pass(CODE, format!("[ledger] dir {shown} can be written"));
    };
    let (mode, uid) = (metadata.mode() & 0o777, metadata.uid());
    if mode & 0o077 != 0 {
        let what = format!("[ledger] dir {shown} has mode {mode:o}, expected 700");
        let why = "the ledger holds records of citizens' requests, which others on this machine could read";
        return Finding::warning(CODE, what, why).mended_by(format!("chmod 700 {shown}"));
    }
    // What root makes there is given to the folder's owner.
    if let Some(us) = owner_of_ours.filter(|us| *us != uid && *us != 0) {
        let what = format!("[ledger] dir {shown} belongs to user {uid}, and this command runs as user {us}");
        let why = "files that this command makes there may be unreadable for the daemon";
        return Finding::warning(CODE, what, why).mended_by("run bitacora as the user that owns the folder");
    }
    Finding::pass(CODE, format!("[ledger] dir {shown} can be written, and by nobody else"))
}

#[cfg(not(unix))]
fn access(dir: &Path, _owner_of_ours: Option<u32>) -> Finding {
    Finding::pass(CODE, format!("[ledger] dir {} can be written", dir.display()))
}

fn room(config: &LedgerConfig, existing: &Path) -> Option<Finding> {
    const CODE: &str = "ledger_space";
    let free = fs4::available_space(existing).ok()?;
    let what = format!("{} are free on the ledger's disk", size::display(free));
    if free < config.min_free {
        let what = format!("{what}, expected at least {} (`min_free`)", size::display(config.min_free));
        let why = "capture would stop at once; nothing is lost, and the database keeps its log meanwhile";
        return Some(Finding::error(CODE, what, why).mended_by("free disk space, or move [ledger] dir"));
    }
    if let Some(max) = config.max_size.filter(|max| free < *max) {
        let what = format!("{what}, less than the {} that `max_size` allows", size::display(max));
        let why = "the disk may be full before the ledger's own limit is reached";
        return Some(Finding::warning(CODE, what, why).mended_by("free disk space, or lower max_size"));
    }
    Some(Finding::pass(CODE, what))
}

fn content(dir: &Path) -> Option<Finding> {
    const CODE: &str = "ledger";
    match LedgerReader::open(dir) {
        Ok(_) => Some(Finding::pass(CODE, "the ledger in it can be read")),
        Err(error) if error.kind() == LedgerErrorKind::Missing => None,
        Err(error) if error.kind() == LedgerErrorKind::OlderSchema => {
            Some(Finding::pass(CODE, format!("{error}: the next start does that, and keeps everything")))
        }
        Err(error) => {
            let why = "the daemon would not start with it";
            let finding = Finding::error(CODE, error.to_string(), why);
            Some(match error.hint() {
                Some(hint) => finding.mended_by(hint),
                None => finding,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use change::Severity;

    use super::*;

    fn look_at_folder(dir: &Path) -> Finding {
        let config = LedgerConfig { dir: dir.to_owned(), keep_days: 90, max_size: None, min_free: 0 };
        look_at(&config).into_iter().next().unwrap()
    }

    #[test]
    fn a_folder_that_can_be_made_is_fine_and_is_not_made() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("a/b");
        assert_eq!(look_at_folder(&dir).severity, Severity::Pass);
        assert!(!dir.exists());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_in_the_place_of_the_folder_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(look_at_folder(&file).severity, Severity::Error);
        assert_eq!(look_at_folder(&file.join("below")).severity, Severity::Error);
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_that_others_can_read_is_warned_about() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(look_at_folder(folder.path()).severity, Severity::Warning);
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(look_at_folder(folder.path()).severity, Severity::Pass);
    }

    #[test]
    fn too_little_room_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let config =
            LedgerConfig { dir: folder.path().to_owned(), keep_days: 90, max_size: None, min_free: u64::MAX };
        let findings = look_at(&config);
        let space = findings.iter().find(|finding| finding.code == "ledger_space").unwrap();
        assert_eq!(space.severity, Severity::Error);
    }
}
