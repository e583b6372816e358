//! A new data folder with its settings.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rand::Rng;
use rand::distr::Alphanumeric;

use super::binaries::Binaries;
use super::{Options, Product};
use crate::account::Account;
use crate::cache::Cache;
use crate::program::{run, tail};
use crate::{TestbedError, certificate};

/// The administrator's name on every server.
pub(crate) const SUPERUSER: &str = "root";

/// How much of a failed program's output an error carries, in bytes.
const OUTPUT_TAIL: usize = 4_000;

/// What every server begins with; the caller's own settings come after these and win.
const SETTINGS: &[(&str, &str)] = &[
    ("bind_address", "127.0.0.1"),
    ("skip_name_resolve", "ON"),
    ("server_id", "1"),
    ("log_bin", "binlog"),
    ("binlog_format", "ROW"),
    ("character_set_server", "utf8mb4"),
    ("default_time_zone", "'+00:00'"),
    // Tests run several servers at once.
    ("performance_schema", "OFF"),
    ("innodb_buffer_pool_size", "64M"),
    ("secure_file_priv", ""),
];

/// Statements that make MariaDB's own tables, in the files that come with the server and in
/// [the order of its own script](https://mariadb.com/docs/server/clients-and-utilities/deployment-tools/mariadb-install-db).
/// From 11 on the first word of the names is the product's.
const MARIADB_TABLES: &[&str] =
    &["_system_tables.sql", "_performance_tables.sql", "_system_tables_data.sql", "_sys_schema.sql"];

/// The folder of one server.
#[derive(Debug)]
pub(crate) struct DataFolder {
    pub(crate) dir: PathBuf,
    pub(crate) password: String,
    pub(crate) tls_ca: Option<PathBuf>,
}

impl DataFolder {
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

    /// Makes the data folder within `dir`, with an administrator and a random password.
    ///
    /// # Errors
    /// [`TestbedError::Program`] when the server cannot make its own tables.
    pub(crate) fn initialise(
        dir: PathBuf,
        binaries: &Binaries,
        options: &Options,
        account: Account,
    ) -> Result<DataFolder, TestbedError> {
        let pristine = pristine(binaries, account)?;
        let mut copy = Command::new("cp");
        copy.arg("-R").arg(pristine.join("data")).arg(dir.join("data"));
        account.apply(&mut copy);
        run(&mut copy)?;
        for name in ["tmp", "init.sql", "my.cnf"] {
            make(&dir.join(name), name == "tmp", account)?;
        }
        let password: String = rand::rng().sample_iter(Alphanumeric).take(24).map(char::from).collect();
        let mut folder = DataFolder { dir, password, tls_ca: None };
        append(&folder.dir.join("init.sql"), &folder.administrator())?;
        append(&folder.dir.join("my.cnf"), "[mysqld]\n")?;
        folder.append_settings(SETTINGS.iter().copied())?;
        for (name, path) in [("socket", folder.socket()), ("tmpdir", folder.dir.join("tmp"))] {
            folder.append_settings([(name, path.to_string_lossy().as_ref())])?;
        }
        if options.product == Product::MySql {
            folder.append_settings([("mysqlx", "OFF")])?;
        }
        if options.tls {
            let issued = certificate::issue(&folder.dir, account)?;
            for (name, path) in
                [("ssl_ca", &issued.authority), ("ssl_cert", &issued.certificate), ("ssl_key", &issued.key)]
            {
                folder.append_settings([(name, path.to_string_lossy().as_ref())])?;
            }
            folder.tls_ca = Some(issued.authority);
        }
        folder
            .append_settings(options.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())))?;
        Ok(folder)
    }

    /// The data folder.
    pub(crate) fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// The Unix socket.
    pub(crate) fn socket(&self) -> PathBuf {
        socket(&self.dir)
    }

    /// Appends settings to the option file, in which
    /// [the last one of a name wins](https://dev.mysql.com/doc/refman/en/option-files.html).
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
            let _written = writeln!(lines, "{name} = {value}");
        }
        append(&self.dir.join("my.cnf"), &lines)
    }

    /// The statements, each in one line, that the server runs before it takes connections.
    ///
    /// They stay out of the log: a test must find its own changes there. MariaDB's own script makes accounts for
    /// single addresses, which would stand before ours.
    fn administrator(&self) -> String {
        let password = &self.password;
        format!(
            "SET sql_log_bin = 0;\n\
             CREATE USER IF NOT EXISTS {SUPERUSER}@'%' IDENTIFIED BY '{password}';\n\
             DROP USER IF EXISTS {SUPERUSER}@'127.0.0.1', {SUPERUSER}@'::1';\n\
             GRANT ALL PRIVILEGES ON *.* TO {SUPERUSER}@'%' WITH GRANT OPTION;\n\
             ALTER USER {SUPERUSER}@localhost IDENTIFIED BY '{password}';\n"
        )
    }
}

/// The Unix socket of the server in `dir`.
pub(crate) fn socket(dir: &Path) -> PathBuf {
    dir.join("mysql.sock")
}

/// A data folder of this very version that no server has used yet, made once and kept in the cache.
fn pristine(binaries: &Binaries, account: Account) -> Result<PathBuf, TestbedError> {
    let name = format!("{}-data", binaries.title().to_lowercase().replace(' ', "-"));
    Cache::open(account)?.folder(&name, |folder| {
        let data = folder.join("data");
        make(&data, true, account)?;
        match binaries.product {
            Product::MySql => initialise_mysql(binaries, &data, account)?,
            Product::MariaDb => initialise_mariadb(binaries, &data, account)?,
        }
        // It names the server, and each copy is to be a server of its own.
        let identity = data.join("auto.cnf");
        if identity.exists() {
            fs::remove_file(&identity).map_err(TestbedError::io("remove", &identity))?;
        }
        Ok(())
    })
}

fn initialiser(binaries: &Binaries, data: &Path, account: Account) -> Command {
    let mut command = binaries.program(binaries.product.server_program());
    command.arg("--no-defaults").args(binaries.server().arguments());
    command.arg(format!("--datadir={}", data.display()));
    account.apply(&mut command);
    command
}

fn initialise_mysql(binaries: &Binaries, data: &Path, account: Account) -> Result<(), TestbedError> {
    let mut command = initialiser(binaries, data, account);
    command.args(["--initialize-insecure", "--skip-log-bin", "--mysqlx=OFF", "--secure-file-priv="]);
    run(&mut command).map(drop)
}

fn initialise_mariadb(binaries: &Binaries, data: &Path, account: Account) -> Result<(), TestbedError> {
    let messages = binaries.server().messages;
    let mut script = String::from("CREATE DATABASE mysql;\nUSE mysql;\n");
    script.push_str("SET @auth_root_socket = NULL, @skip_auth_anonymous = 1;\n");
    for name in MARIADB_TABLES {
        let candidates = ["mariadb", "mysql"].map(|product| messages.join(format!("{product}{name}")));
        let [new, old] = &candidates;
        let path = if new.is_file() { new } else { old };
        script.push_str(&fs::read_to_string(path).map_err(TestbedError::io("read", path))?);
    }
    let input = data.with_file_name("tables.sql");
    append(&input, &script)?;
    let file = fs::File::open(&input).map_err(TestbedError::io("open", &input))?;
    let mut command = initialiser(binaries, data, account);
    command.arg("--bootstrap").stdin(Stdio::from(file));
    let program = format!("{} --bootstrap", Product::MariaDb.server_program());
    match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let told = String::from_utf8_lossy(&output.stderr);
            Err(TestbedError::Program { program, output: tail(&told, OUTPUT_TAIL).to_owned() })
        }
        Err(error) => Err(TestbedError::Program { program, output: error.to_string() }),
    }
}

/// Makes a folder or an empty file that belongs to the account.
fn make(path: &Path, is_folder: bool, account: Account) -> Result<(), TestbedError> {
    let made = if is_folder { fs::create_dir(path) } else { fs::write(path, "") };
    made.map_err(TestbedError::io("create", path))?;
    account.hand_over(path)
}

fn append(path: &Path, text: &str) -> Result<(), TestbedError> {
    let file = OpenOptions::new().create(true).append(true).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(TestbedError::io("write", path))
}
