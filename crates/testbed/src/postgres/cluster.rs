//! A new data folder with its settings.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use rand::Rng;
use rand::distr::Alphanumeric;

use super::binaries::Binaries;
use crate::TestbedError;
use crate::account::Account;
use crate::program::run;

/// The superuser's name on every server.
pub(crate) const SUPERUSER: &str = "postgres";

/// What every server begins with; the caller's own settings come after these and win.
const SETTINGS: &[(&str, &str)] = &[
    ("listen_addresses", "127.0.0.1"),
    ("wal_level", "logical"),
    ("max_wal_senders", "20"),
    ("max_replication_slots", "20"),
    // The libraries of just-in-time compilation are large and not fetched.
    ("jit", "off"),
    ("timezone", "UTC"),
    ("log_timezone", "UTC"),
    ("lc_messages", "C"),
    ("log_line_prefix", "%m [%p] %q%a "),
];

/// The folder of one server.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) dir: PathBuf,
    pub(crate) password: String,
}

impl Cluster {
    /// Makes an empty folder for one server, owned by the account that runs it.
    ///
    /// # Errors
    /// [`TestbedError::Io`] when it cannot be made.
    pub(crate) fn make_folder(account: Account) -> Result<PathBuf, TestbedError> {
        let parent = account.temp_dir();
        let dir = tempfile::Builder::new()
            .prefix("bitacora-testbed-")
            .tempdir_in(&parent)
            .map_err(TestbedError::io("create a folder in", &parent))?
            // From here on the watchdog removes it, which also works when we are killed.
            .keep();
        account.hand_over(&dir)?;
        fs::canonicalize(&dir).map_err(TestbedError::io("look at", &dir))
    }

    /// Makes the data folder within `dir`, with a superuser and a random password.
    ///
    /// # Errors
    /// [`TestbedError::Program`] when `initdb` fails.
    pub(crate) fn initialise(
        dir: PathBuf,
        binaries: &Binaries,
        account: Account,
    ) -> Result<Cluster, TestbedError> {
        let password: String = rand::rng().sample_iter(Alphanumeric).take(24).map(char::from).collect();
        let password_file = dir.join("password");
        fs::write(&password_file, &password).map_err(TestbedError::io("write", &password_file))?;
        account.hand_over(&password_file)?;
        let mut command = binaries.program("initdb");
        command.args(["--username", SUPERUSER, "--auth", "scram-sha-256", "--encoding", "UTF8"]);
        command.args(["--locale", "C", "--no-sync", "--no-instructions", "--pwfile"]).arg(&password_file);
        command.arg("--pgdata").arg(dir.join("data"));
        account.apply(&mut command);
        run(&mut command)?;
        let cluster = Cluster { dir, password };
        cluster.append_settings(SETTINGS.iter().copied())?;
        let sockets = cluster.dir.to_string_lossy().into_owned();
        cluster.append_settings([("unix_socket_directories", sockets.as_str())])?;
        Ok(cluster)
    }

    /// The data folder.
    pub(crate) fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Appends settings to `postgresql.conf`, in which
    /// [the last one of a name wins](https://www.postgresql.org/docs/current/config-setting.html).
    ///
    /// # Errors
    /// [`TestbedError::Io`] when the file cannot be written.
    pub(crate) fn append_settings<'a>(
        &self,
        settings: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<(), TestbedError> {
        let mut lines = String::new();
        for (name, value) in settings {
            // Writing into a string cannot fail.
            let _written = writeln!(lines, "{name} = '{}'", value.replace('\'', "''"));
        }
        append(&self.data().join("postgresql.conf"), &lines)
    }
}

fn append(path: &Path, text: &str) -> Result<(), TestbedError> {
    let mut file = OpenOptions::new().append(true).open(path).map_err(TestbedError::io("open", path))?;
    file.write_all(text.as_bytes()).map_err(TestbedError::io("write", path))
}
