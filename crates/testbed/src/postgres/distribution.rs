//! PostgreSQL from the distribution's packages, unpacked into the cache instead of installed: that needs no
//! rights and changes nothing on the machine.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::TestbedError;
use crate::cache::Cache;
use crate::program::run;

/// Libraries that are never unpacked: the loader and the C library must be the machine's own pair, and the
/// compilers' are part of every machine that has them or of no server that we start.
const NEVER_UNPACKED: &[&str] =
    &["libc6", "libc-bin", "libgcc-s1", "libstdc++6", "libllvm", "libz3", "libperl"];

/// Fetches the packages into the cache once and returns the folder of their programs, with the path of the
/// libraries that came along.
///
/// `with_libraries` unpacks the libraries too that are installed already.
///
/// # Errors
/// [`TestbedError::Program`] with what `apt-get` or `dpkg` said.
pub(crate) fn fetch(cache: &Cache, with_libraries: bool) -> Result<(PathBuf, OsString), TestbedError> {
    let name = if with_libraries { "postgres-distribution-whole" } else { "postgres-distribution" };
    let root = cache.folder(name, |folder| {
        let known = unpack_into(folder, &Lists::System, with_libraries);
        known.or_else(|stale| {
            // The machine's package lists are missing or older than its mirror.
            remove_contents(folder)?;
            let own = Lists::Own(folder.join("apt"));
            unpack_into(folder, &own, with_libraries).map_err(|error| TestbedError::Program {
                program: "apt-get download".to_owned(),
                output: format!("{error}; and with the machine's own package lists: {stale}"),
            })
        })
    })?;
    let bin_dir = program_folder(&root)?;
    Ok((bin_dir, library_path(&root)))
}

/// Where `apt-get` looks up packages.
enum Lists {
    /// The machine's own lists, which only root can refresh.
    System,
    /// Fresh lists in a folder of ours.
    Own(PathBuf),
}

impl Lists {
    /// `apt-get` or `apt-cache` with the words of one action.
    fn command(&self, program: &str, action: &[&str], place: &Path) -> Command {
        let mut command = Command::new(program);
        command.args(action).env("LC_ALL", "C").env("DEBIAN_FRONTEND", "noninteractive").current_dir(place);
        // Its own unprivileged user could not write into our folder.
        command.args(["-q", "-o", "APT::Sandbox::User=root"]);
        if let Lists::Own(dir) = self {
            command.arg("-o").arg(format!("Dir::State::Lists={}", dir.join("lists").display()));
            command.arg("-o").arg(format!("Dir::Cache={}", dir.join("cache").display()));
        }
        command
    }

    /// Downloads the lists when they are our own.
    fn refresh(&self, place: &Path) -> Result<(), TestbedError> {
        let Lists::Own(dir) = self else { return Ok(()) };
        for folder in [dir.join("lists/partial"), dir.join("cache/archives/partial")] {
            fs::create_dir_all(&folder).map_err(TestbedError::io("create", &folder))?;
        }
        run(&mut self.command("apt-get", &["update"], place)).map(drop)
    }
}

fn unpack_into(folder: &Path, lists: &Lists, with_libraries: bool) -> Result<(), TestbedError> {
    lists.refresh(folder)?;
    let server = server_package(lists, folder)?;
    let packages = packages(lists, folder, &server, with_libraries)?;
    run(lists.command("apt-get", &["download"], folder).args(&packages))?;
    for entry in fs::read_dir(folder).map_err(TestbedError::io("list", folder))? {
        let archive = entry.map_err(TestbedError::io("list", folder))?.path();
        if archive.extension().is_some_and(|extension| extension == "deb") {
            run(Command::new("dpkg").arg("-x").arg(&archive).arg(folder))?;
            fs::remove_file(&archive).map_err(TestbedError::io("remove", &archive))?;
        }
    }
    if let Lists::Own(dir) = lists {
        fs::remove_dir_all(dir).map_err(TestbedError::io("remove", dir))?;
    }
    Ok(())
}

/// The package that `postgresql` stands for, such as `postgresql-15`.
fn server_package(lists: &Lists, place: &Path) -> Result<String, TestbedError> {
    let answer = run(&mut lists.command("apt-cache", &["depends", "postgresql"], place))?;
    let mut dependencies = answer.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    let found = dependencies.find(|name| name.starts_with("postgresql-")).map(str::to_owned);
    found.ok_or_else(|| TestbedError::Program {
        program: "apt-cache depends postgresql".to_owned(),
        output: format!("names no server package: {answer}"),
    })
}

/// Server, client programs, and the libraries of both that are not installed.
fn packages(
    lists: &Lists,
    place: &Path,
    server: &str,
    with_libraries: bool,
) -> Result<Vec<String>, TestbedError> {
    let mut command = lists.command("apt-cache", &["depends", server], place);
    command.args(["--recurse", "--no-recommends", "--no-suggests", "--no-conflicts"]);
    command.args(["--no-breaks", "--no-replaces", "--no-enhances"]);
    let closure = run(&mut command)?;
    let installed = if with_libraries { HashSet::new() } else { installed_packages()? };
    let mut names = vec![server.to_owned(), server.replace("postgresql-", "postgresql-client-")];
    let libraries = closure.lines().filter(|line| is_library(line) && !installed.contains(*line));
    names.extend(libraries.map(str::to_owned));
    names.sort();
    names.dedup();
    Ok(names)
}

/// Is this line of the closure, in which a package's own dependencies are indented, a shared library that a
/// server needs?
fn is_library(line: &str) -> bool {
    line.starts_with("lib")
        && !line.ends_with("-perl")
        && !line.contains(':')
        && !NEVER_UNPACKED.iter().any(|never| line.starts_with(never))
}

fn installed_packages() -> Result<HashSet<String>, TestbedError> {
    let answer = run(Command::new("dpkg-query").args(["-W", "-f", "${db:Status-Status} ${Package}\n"]))?;
    Ok(answer.lines().filter_map(|line| line.strip_prefix("installed ")).map(str::to_owned).collect())
}

fn program_folder(root: &Path) -> Result<PathBuf, TestbedError> {
    let versions = root.join("usr/lib/postgresql");
    let mut entries = fs::read_dir(&versions).map_err(TestbedError::io("list", &versions))?;
    let folder = entries.find_map(|entry| Some(entry.ok()?.path().join("bin")).filter(|bin| bin.is_dir()));
    folder.ok_or_else(|| TestbedError::Program {
        program: "dpkg -x".to_owned(),
        output: format!("left no programs in {}", versions.display()),
    })
}

/// The folders of unpacked libraries, such as `usr/lib/x86_64-linux-gnu`.
fn library_path(root: &Path) -> OsString {
    let parents = [root.join("usr/lib"), root.join("lib")];
    let entries = parents.iter().filter_map(|parent| fs::read_dir(parent).ok()).flatten().flatten();
    let folders = entries.map(|entry| entry.path());
    let of_libraries = folders.filter(|folder| folder.to_string_lossy().contains("-linux-"));
    std::env::join_paths(of_libraries).unwrap_or_default()
}

fn remove_contents(folder: &Path) -> Result<(), TestbedError> {
    fs::remove_dir_all(folder).map_err(TestbedError::io("remove", folder))?;
    fs::create_dir(folder).map_err(TestbedError::io("create", folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_shared_libraries_of_a_server_are_unpacked() {
        let closure =
            ["libpq5", "  Depends: libpq5", "libjson-perl", "libc6", "libllvm14", "tzdata", "libicu72"];
        let kept: Vec<_> = closure.into_iter().filter(|line| is_library(line)).collect();
        assert_eq!(kept, ["libpq5", "libicu72"]);
    }
}
