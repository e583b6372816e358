//! Servers from packages, unpacked into the cache instead of installed: that needs no rights and changes nothing
//! on the machine.
//!
//! The packages come with everything that they need, the C library and its loader included, so that they run on a
//! machine of another release than theirs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Product;
use crate::TestbedError;
use crate::cache::Cache;
use crate::program::run;

/// Packages that a server depends on for scripts that are never run.
const NEVER_UNPACKED: &[&str] = &["perl", "libperl"];

/// Fetches the packages of `product` into the cache once and returns the folder that they were unpacked into.
///
/// # Errors
/// [`TestbedError::Program`] with what `apt-get` or `dpkg` said.
pub(crate) fn fetch(cache: &Cache, product: Product) -> Result<PathBuf, TestbedError> {
    let name = match product {
        Product::MySql => "mysql-packages",
        Product::MariaDb => "mariadb-packages",
    };
    cache.folder(name, |folder| {
        let apt = Apt::new(folder, product)?;
        apt.run("update", &[])?;
        let (with_needs, alone): (&[&str], &[&str]) = match product {
            Product::MySql => (&["mysql-server-core", "mysql-client-core"], &[]),
            // The whole server's package has the plugins, the whole client's the reader of binary logs; what both
            // need beside that is not for us.
            Product::MariaDb => {
                (&["mariadb-server-core", "mariadb-client-core"], &["mariadb-server", "mariadb-client"])
            }
        };
        let unasked = ["--yes", "--no-install-recommends", "--download-only"];
        apt.run("install", &[&unasked, with_needs].concat())?;
        if !alone.is_empty() {
            apt.run("download", alone)?;
        }
        apt.unpack(folder)
    })
}

/// An `apt-get` with lists, packages and a state of its own, for which nothing is installed yet.
struct Apt {
    dir: PathBuf,
    /// The file that names the only suite to look at; `None` for those of the machine.
    only: Option<PathBuf>,
}

impl Apt {
    fn new(folder: &Path, product: Product) -> Result<Apt, TestbedError> {
        let dir = folder.join("apt");
        for name in ["state", "lists/partial", "cache/archives/partial"] {
            let path = dir.join(name);
            fs::create_dir_all(&path).map_err(TestbedError::io("create", &path))?;
        }
        write(&dir.join("status"), "")?;
        let only = match product {
            // Distributions of the Debian family carry MariaDB; MySQL stands in Debian's newest suite alone.
            Product::MariaDb => None,
            Product::MySql => {
                let path = dir.join("sources.list");
                write(&path, &format!("deb {} sid main\n", mirror()?))?;
                Some(path)
            }
        };
        Ok(Apt { dir, only })
    }

    fn run(&self, action: &str, words: &[&str]) -> Result<(), TestbedError> {
        let archives = self.archives();
        let mut command = Command::new("apt-get");
        command.arg(action).args(words).current_dir(&archives);
        command.env("LC_ALL", "C").env("DEBIAN_FRONTEND", "noninteractive");
        let mut option = |value: String| {
            command.arg("-o").arg(value);
        };
        // Its own unprivileged user could not write into our folder.
        option("APT::Sandbox::User=root".to_owned());
        for (name, path) in
            [("State", "state"), ("State::Lists", "lists"), ("State::status", "status"), ("Cache", "cache")]
        {
            option(format!("Dir::{name}={}", self.dir.join(path).display()));
        }
        option("Debug::NoLocking=1".to_owned());
        option("Acquire::Languages=none".to_owned());
        if let Some(path) = &self.only {
            option(format!("Dir::Etc::sourcelist={}", path.display()));
            option("Dir::Etc::sourceparts=-".to_owned());
            // A mirror that stands still is old, and its signature as good as ever.
            option("Acquire::Check-Valid-Until=false".to_owned());
        }
        run(command.arg("-q")).map(drop)
    }

    fn archives(&self) -> PathBuf {
        self.dir.join("cache/archives")
    }

    /// Unpacks what was downloaded, of which `apt-get` has compared signature and SHA-256, and removes the rest.
    fn unpack(self, folder: &Path) -> Result<(), TestbedError> {
        let archives = self.archives();
        for entry in fs::read_dir(&archives).map_err(TestbedError::io("list", &archives))? {
            let archive = entry.map_err(TestbedError::io("list", &archives))?.path();
            let name = archive.file_name().unwrap_or_default().to_string_lossy();
            let is_needed = !NEVER_UNPACKED.iter().any(|never| name.starts_with(never));
            if is_needed && name.ends_with(".deb") {
                run(Command::new("dpkg").arg("-x").arg(&archive).arg(folder))?;
            }
        }
        fs::remove_dir_all(&self.dir).map_err(TestbedError::io("remove", &self.dir))
    }
}

/// The address of the machine's own Debian mirror.
fn mirror() -> Result<String, TestbedError> {
    let mut command = Command::new("apt-get");
    command.args(["indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]).env("LC_ALL", "C");
    let addresses = run(&mut command)?;
    let found = addresses.lines().find(|address| is_debian(address)).map(str::to_owned);
    found.ok_or_else(|| TestbedError::Program {
        program: "apt-get indextargets".to_owned(),
        output: format!("names no mirror of Debian: {}", addresses.trim_end()),
    })
}

/// Is this the address of Debian's packages, and not of its security updates or of anybody else's?
fn is_debian(address: &str) -> bool {
    address.trim_end_matches('/').ends_with("/debian")
}

fn write(path: &Path, text: &str) -> Result<(), TestbedError> {
    fs::write(path, text).map_err(TestbedError::io("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_told_from_other_sources() {
        assert!(is_debian("http://mirror.example/debian/"));
        assert!(is_debian("https://mirror.example/pub/debian"));
        assert!(!is_debian("http://mirror.example/debian-security/"));
        assert!(!is_debian("http://mirror.example/ubuntu/"));
    }
}
