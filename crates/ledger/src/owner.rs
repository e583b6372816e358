//! Who owns the ledger's files.

use std::fs::File;
use std::path::Path;

/// Gives a file that root has made in somebody else's folder to the folder's owner: a command that an administrator runs
/// must not leave files behind that the service's own user cannot open. SQLite does the same for its log files.
///
/// # Errors
/// When the system tells or changes no owner.
#[cfg(unix)]
pub(crate) fn give_to_owner_of(dir: &Path, file: &File) -> std::io::Result<()> {
    use std::os::unix::fs::{MetadataExt, fchown};
    let (folder, made) = (std::fs::metadata(dir)?, file.metadata()?);
    if made.uid() == 0 && folder.uid() != 0 {
        fchown(file, Some(folder.uid()), Some(folder.gid()))?;
    }
    Ok(())
}

/// Elsewhere files belong to whom the folder's own rules say.
///
/// # Errors
/// None.
#[cfg(not(unix))]
pub(crate) fn give_to_owner_of(_dir: &Path, _file: &File) -> std::io::Result<()> {
    Ok(())
}
