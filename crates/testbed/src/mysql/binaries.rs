//! The programs of one product: found on the machine, or fetched.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Product, packages};
use crate::TestbedError;
use crate::account::Account;
use crate::cache::Cache;
use crate::program::run;

/// What a person can do when MySQL is not to be had.
const MYSQL_HINT: &str = "install a MySQL server of version 8.0 to 9.x (on Ubuntu: `apt-get install mysql-server`), \
    or put the folder that holds its `mysqld` on the PATH; to have it fetched, a machine needs `apt-get` with `dpkg` \
    and a Debian mirror among its sources";

/// What a person can do when MariaDB is not to be had.
const MARIADB_HINT: &str = "install a MariaDB server of version 10.6 to 12.x (on Debian and Ubuntu: `apt-get install \
    mariadb-server`), or put the folder that holds its `mariadbd` on the PATH; to have it fetched, a machine needs \
    `apt-get` with `dpkg` and its package mirror in reach";

/// Folders of programs, below the folder that a product was installed or unpacked into.
const PROGRAM_FOLDERS: &[&str] = &["sbin", "bin", "libexec"];

/// The programs of one product.
#[derive(Debug, Clone)]
pub(crate) struct Binaries {
    pub(crate) product: Product,
    /// Major, minor, patch.
    pub(crate) version: (u32, u32, u32),
    /// The product's folder, such as `/usr`.
    pub(crate) base: PathBuf,
    /// The loader and the libraries that came along with fetched programs.
    own_libraries: Option<(PathBuf, String)>,
}

impl Binaries {
    /// Finds the programs of `product`, fetching them when the machine has none.
    ///
    /// # Errors
    /// [`TestbedError::Missing`] when they are not to be had; it says how to get them.
    pub(crate) fn obtain(product: Product, account: Account) -> Result<Binaries, TestbedError> {
        let ignore_installed =
            std::env::var_os("BITACORA_TESTBED_IGNORE_INSTALLED").is_some_and(|value| value == "1");
        if !ignore_installed && let Some(found) = installed(product, account) {
            return Ok(found);
        }
        let cache = Cache::open(account)?;
        let fetched = packages::fetch(&cache, product)
            .map_err(|error| error.to_string())
            .and_then(|root| Binaries::unpacked(product, &root, account));
        let hint = match product {
            Product::MySql => MYSQL_HINT,
            Product::MariaDb => MARIADB_HINT,
        };
        fetched.map_err(|reason| TestbedError::Missing { wanted: product.to_string(), reason, hint })
    }

    fn unpacked(product: Product, root: &Path, account: Account) -> Result<Binaries, String> {
        let folders = library_folders(root);
        let loader = folders.iter().find_map(|folder| loader_in(folder));
        let loader = loader.ok_or_else(|| format!("{} holds no loader", root.display()))?;
        let path: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
        Binaries::at(product, root.join("usr"), Some((loader, path.join(":"))), account)
    }

    /// The programs below `base`, provided that `account` can run them and that they are supported.
    fn at(
        product: Product,
        base: PathBuf,
        own_libraries: Option<(PathBuf, String)>,
        account: Account,
    ) -> Result<Binaries, String> {
        let mut binaries = Binaries { product, version: (0, 0, 0), base, own_libraries };
        let mut command = binaries.program(product.server_program());
        account.apply(command.arg("--version"));
        let answer = run(&mut command).map_err(|error| error.to_string())?;
        let of_mariadb = answer.contains("MariaDB");
        if of_mariadb != (product == Product::MariaDb) {
            return Err(format!("expected {product}, found {answer:?}"));
        }
        binaries.version = version(&answer).ok_or_else(|| format!("unknown version {answer:?}"))?;
        let (major, minor, _) = binaries.version;
        let supported = match product {
            Product::MySql => (8..=9).contains(&major),
            Product::MariaDb => (10, 6) <= (major, minor) && major <= 12,
        };
        if supported { Ok(binaries) } else { Err(format!("{product} {major}.{minor} is not supported")) }
    }

    /// A command that runs one of the programs, such as `mysqlbinlog`.
    ///
    /// Nothing of the caller's environment that the programs would listen to is passed on.
    pub(crate) fn program(&self, name: &str) -> Command {
        let path = self.path_of(name);
        let mut command = match &self.own_libraries {
            None => Command::new(&path),
            Some((loader, libraries)) => {
                let mut command = Command::new(loader);
                command.arg("--library-path").arg(libraries).arg("--argv0").arg(&path).arg(&path);
                command
            }
        };
        for (variable, _) in std::env::vars_os() {
            let name = variable.to_string_lossy();
            if name.starts_with("MYSQL_") || name.starts_with("MARIADB_") || name.starts_with("LD_") {
                command.env_remove(&variable);
            }
        }
        command.env("LC_ALL", "C").env_remove("TZ").current_dir("/");
        command
    }

    /// The server with the folders that it was built with replaced by its real ones.
    pub(crate) fn server(&self) -> ServerFolders {
        ServerFolders {
            base: self.base.clone(),
            messages: self.base.join("share/mysql"),
            plugins: self.base.join("lib/mysql/plugin"),
            is_unpacked: self.own_libraries.is_some(),
        }
    }

    /// Product and version, as people write them.
    pub(crate) fn title(&self) -> String {
        let (major, minor, patch) = self.version;
        format!("{} {major}.{minor}.{patch}", self.product)
    }

    fn path_of(&self, name: &str) -> PathBuf {
        let folders = PROGRAM_FOLDERS.iter().map(|folder| self.base.join(folder).join(name));
        let found = folders.into_iter().find(|path| path.is_file());
        found.unwrap_or_else(|| self.base.join("bin").join(name))
    }
}

/// Where a server finds what it reads beside its data.
pub(crate) struct ServerFolders {
    base: PathBuf,
    pub(crate) messages: PathBuf,
    plugins: PathBuf,
    is_unpacked: bool,
}

impl ServerFolders {
    /// The arguments that tell an unpacked server; an installed one knows.
    pub(crate) fn arguments(&self) -> Vec<String> {
        if !self.is_unpacked {
            return Vec::new();
        }
        let charsets = self.messages.join("charsets");
        let named = [
            ("basedir", &self.base),
            ("lc-messages-dir", &self.messages),
            ("character-sets-dir", &charsets),
            ("plugin-dir", &self.plugins),
        ];
        named.iter().map(|(name, path)| format!("--{name}={}", path.display())).collect()
    }
}

/// The first installation of `product` that is supported and whole.
fn installed(product: Product, account: Account) -> Option<Binaries> {
    let program = product.server_program();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    // Where servers are, and an ordinary user's PATH does not lead.
    folders.extend(["/usr/sbin", "/usr/local/sbin", "/usr/libexec"].map(PathBuf::from));
    let programs = folders.iter().filter_map(|folder| fs::canonicalize(folder.join(program)).ok());
    let bases = programs.filter_map(|found| Some(found.parent()?.parent()?.to_owned()));
    let mut whole = bases.filter_map(|base| Binaries::at(product, base, None, account).ok());
    // Where only the server's own program was installed, the fetched packages have the others.
    let others = [product.binlog_program(), product.client_program()];
    whole.find(|binaries| others.iter().all(|name| binaries.path_of(name).is_file()))
}

/// The folders of unpacked libraries, such as `usr/lib/x86_64-linux-gnu`.
fn library_folders(root: &Path) -> Vec<PathBuf> {
    let parents = [root.join("usr/lib"), root.join("lib")];
    let entries = parents.iter().filter_map(|parent| fs::read_dir(parent).ok()).flatten().flatten();
    let folders = entries.map(|entry| entry.path());
    folders.filter(|folder| folder.to_string_lossy().ends_with("-linux-gnu")).collect()
}

fn loader_in(folder: &Path) -> Option<PathBuf> {
    let mut entries = fs::read_dir(folder).ok()?.flatten();
    entries.find_map(|entry| {
        let is_loader = entry.file_name().to_string_lossy().starts_with("ld-linux");
        is_loader.then(|| entry.path())
    })
}

/// The 9.7.4 of `mysqld  Ver 9.7.4-2 for Linux on x86_64 ((Debian))`.
fn version(answer: &str) -> Option<(u32, u32, u32)> {
    let mut words = answer.split_whitespace().skip_while(|word| *word != "Ver");
    let word = words.nth(1)?;
    let number: String = word.chars().take_while(|&digit| digit.is_ascii_digit() || digit == '.').collect();
    let mut parts = number.split('.').map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_the_servers_answer() {
        assert_eq!(version("/x/mysqld  Ver 9.7.4-2 for Linux on x86_64 ((Debian))\n"), Some((9, 7, 4)));
        let mariadb = "mariadbd  Ver 10.11.19-MariaDB-0+deb12u1 for debian-linux-gnu on x86_64 (Debian 12)";
        assert_eq!(version(mariadb), Some((10, 11, 19)));
        assert_eq!(version("something else"), None);
    }
}
