//! The folder of fetched binaries, shared by processes.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::TestbedError;
use crate::account::Account;

/// The folder in which fetched binaries stay.
pub(crate) struct Cache {
    dir: PathBuf,
}

impl Cache {
    /// Opens the cache folder, making it when it is missing.
    ///
    /// # Errors
    /// [`TestbedError::Io`] when no folder can be made.
    pub(crate) fn open(account: Account) -> Result<Cache, TestbedError> {
        let dir = place(account);
        if let Err(error) = fs::create_dir_all(&dir) {
            if std::env::var_os("BITACORA_TESTBED_CACHE").is_some() {
                return Err(TestbedError::io("create", &dir)(error));
            }
            // A user without a home, such as `nobody`, still has the folder for temporary files.
            return Cache::in_temp_dir(account);
        }
        Ok(Cache { dir })
    }

    fn in_temp_dir(account: Account) -> Result<Cache, TestbedError> {
        let name = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_default();
        let name: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
        let dir = account.temp_dir().join(format!("bitacora-testbed-cache-{name}"));
        fs::create_dir_all(&dir).map_err(TestbedError::io("create", &dir))?;
        Ok(Cache { dir })
    }

    /// Returns the folder `name` of the cache; when it is missing, `fill` makes it.
    ///
    /// One process at a time fills, and others wait for it. A folder appears under its name only when it is
    /// complete, so that a fill that was interrupted is begun again.
    ///
    /// # Errors
    /// What `fill` answers, and [`TestbedError::Io`].
    pub(crate) fn folder(
        &self,
        name: &str,
        fill: impl FnOnce(&Path) -> Result<(), TestbedError>,
    ) -> Result<PathBuf, TestbedError> {
        let complete = self.dir.join(name);
        if complete.is_dir() {
            return Ok(complete);
        }
        let lock_path = self.dir.join("fill.lock");
        let lock = File::create(&lock_path).map_err(TestbedError::io("create", &lock_path))?;
        lock.lock().map_err(TestbedError::io("lock", &lock_path))?;
        if complete.is_dir() {
            return Ok(complete);
        }
        let partial = self.dir.join(format!("{name}.partial"));
        if partial.exists() {
            fs::remove_dir_all(&partial).map_err(TestbedError::io("remove", &partial))?;
        }
        fs::create_dir(&partial).map_err(TestbedError::io("create", &partial))?;
        fill(&partial)?;
        open_to_readers(&partial)?;
        fs::rename(&partial, &complete).map_err(TestbedError::io("rename", &partial))?;
        Ok(complete)
    }
}

fn place(account: Account) -> PathBuf {
    if let Some(chosen) = std::env::var_os("BITACORA_TESTBED_CACHE") {
        return PathBuf::from(chosen);
    }
    if account.we_are_root() {
        // Root's home is closed to the account that runs the servers.
        return PathBuf::from("/var/cache/bitacora-testbed");
    }
    let user_cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
    user_cache.unwrap_or_else(std::env::temp_dir).join("bitacora-testbed")
}

/// Lets everybody read what is below `dir`, whatever our umask was when it was made.
fn open_to_readers(dir: &Path) -> Result<(), TestbedError> {
    let entries = fs::read_dir(dir).map_err(TestbedError::io("list", dir))?;
    for entry in entries {
        let entry = entry.map_err(TestbedError::io("list", dir))?;
        let path = entry.path();
        let found = entry.metadata().map_err(TestbedError::io("look at", &path))?;
        if found.is_dir() {
            open_to_readers(&path)?;
        } else if found.is_file() {
            let mode = found.permissions().mode();
            let readable = if mode & 0o100 == 0 { 0o644 } else { 0o755 };
            fs::set_permissions(&path, Permissions::from_mode(readable))
                .map_err(TestbedError::io("open for readers", &path))?;
        }
    }
    fs::set_permissions(dir, Permissions::from_mode(0o755)).map_err(TestbedError::io("open for readers", dir))
}
