//! The Debian package: what is in it, that it runs, and how much its unit exposes.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// The exposure that `systemd-analyze security` may find, in tenths: 2.0 of 10.
const EXPOSURE_MAX: &str = "20";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Runs a program that must succeed; returns what it printed.
fn must(program: &str, args: &[&str]) -> String {
    let run = Command::new(program).args(args).env("DPKG_DEB_COMPRESSOR_TYPE", "none").output();
    let output = run.unwrap_or_else(|error| panic!("{program}, of the package dpkg or systemd: {error}"));
    let told = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{program} {args:?}\n{}\n{}", told[0], told[1]);
    let [stdout, _] = told;
    stdout
}

/// The package, built and unpacked.
struct Unpacked {
    dir: TempDir,
}

impl Unpacked {
    fn build() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let binary = env!("CARGO_BIN_EXE_bitacora-under-test");
        let build = root().join("packaging/build-deb");
        let out = dir.path().join("out");
        let printed = must(build.to_str().unwrap(), &["--binary", binary, "--out", out.to_str().unwrap()]);
        let package = printed.lines().last().unwrap().to_owned();
        let this = Self { dir };
        must("dpkg-deb", &["--extract", &package, this.path("").to_str().unwrap()]);
        must("dpkg-deb", &["--control", &package, this.path("DEBIAN").to_str().unwrap()]);
        this
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("root").join(name)
    }

    fn mode(&self, name: &str) -> u32 {
        std::fs::metadata(self.path(name))
            .unwrap_or_else(|error| panic!("{name}: {error}"))
            .permissions()
            .mode()
            & 0o777
    }
}

#[test]
fn the_package_holds_all_that_an_institution_needs() {
    let package = Unpacked::build();
    for (name, mode) in [
        ("usr/bin/bitacora", 0o755),
        ("usr/lib/systemd/system/bitacora@.service", 0o644),
        ("usr/share/man/man1/bitacora.1.gz", 0o644),
        ("usr/share/man/man1/bitacora-quarantine-retry.1.gz", 0o644),
        ("usr/share/bash-completion/completions/bitacora", 0o644),
        ("usr/share/zsh/vendor-completions/_bitacora", 0o644),
        ("usr/share/fish/vendor_completions.d/bitacora.fish", 0o644),
        ("usr/share/doc/bitacora/docs/es/primer-dia.md", 0o644),
        ("usr/share/doc/bitacora/docs/en/first-day.md", 0o644),
        ("usr/share/doc/bitacora/docs/monitoring/alert-rules.yml", 0o644),
        ("etc/bitacora", 0o755),
        ("etc/bitacora/secrets", 0o700),
        ("DEBIAN/postinst", 0o755),
        ("DEBIAN/prerm", 0o755),
        ("DEBIAN/postrm", 0o755),
    ] {
        assert_eq!(package.mode(name), mode, "{name}");
    }
    let version = must(package.path("usr/bin/bitacora").to_str().unwrap(), &["--version"]);
    let control = std::fs::read_to_string(package.path("DEBIAN/control")).unwrap();
    let number = version.trim().strip_prefix("bitacora ").unwrap();
    assert!(control.contains(&format!("\nVersion: {number}\n")), "{control}");
    for script in ["postinst", "prerm", "postrm"] {
        must("sh", &["-n", package.path(&format!("DEBIAN/{script}")).to_str().unwrap()]);
    }
    let unit = package.path("usr/lib/systemd/system/bitacora@.service");
    let threshold = format!("--threshold={EXPOSURE_MAX}");
    must("systemd-analyze", &["security", "--offline=true", &threshold, unit.to_str().unwrap()]);
}

#[test]
fn every_page_of_the_guides_exists_in_both_languages_and_every_link_leads_somewhere() {
    let folder = |language: &str| root().join("docs").join(language);
    let count = |language: &str| std::fs::read_dir(folder(language)).unwrap().count();
    assert_eq!(count("en"), count("es"));
    let mut texts: Vec<PathBuf> = ["README.md", "README.es.md"].map(|name| root().join(name)).to_vec();
    for language in ["en", "es"] {
        texts.extend(std::fs::read_dir(folder(language)).unwrap().map(|entry| entry.unwrap().path()));
    }
    for path in texts {
        let text = std::fs::read_to_string(&path).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap();
            if file.is_empty() || file.contains("://") {
                continue;
            }
            let found = path.parent().unwrap().join(file);
            assert!(found.exists(), "{}: {target} leads nowhere", path.display());
        }
    }
}

#[test]
fn the_guides_name_only_commands_and_options_that_exist() {
    let mut named: BTreeMap<Vec<String>, PathBuf> = BTreeMap::new();
    for language in ["en", "es"] {
        for entry in std::fs::read_dir(root().join("docs").join(language)).unwrap() {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            named.extend(text.lines().flat_map(commands).map(|command| (command, path.clone())));
        }
    }
    assert!(named.len() > 20, "hardly a command was found: {named:?}");
    for (command, path) in named {
        assert!(is_known(&command), "{}: `bitacora {}` does not exist", path.display(), command.join(" "));
    }
}

/// What stands behind `bitacora ` in code, up to the end of the code: `bitacora check -c FILE` gives `check`, `-c`.
fn commands(line: &str) -> Vec<Vec<String>> {
    let is_shell = line.starts_with("bitacora ") || line.contains("sudo bitacora ");
    let spans: Vec<&str> = if is_shell { vec![line] } else { line.split('`').skip(1).step_by(2).collect() };
    let calls = spans.into_iter().filter_map(|span| {
        let (before, call) = span.split_once("bitacora ")?;
        (before.is_empty() || before.ends_with(' ')).then_some(call)
    });
    let words = calls.map(|call| {
        let call = call.split(['#', '|', '>', ';', '&']).next().unwrap_or_default();
        call.split_whitespace()
            .filter(|word| word.starts_with('-') || word.chars().all(|letter| letter.is_ascii_lowercase()))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    });
    words.filter(|words| !words.is_empty()).collect()
}

/// Whether the command has a help of its own, and its options stand in it.
fn is_known(words: &[String]) -> bool {
    let (options, path): (Vec<&String>, Vec<&String>) = words.iter().partition(|word| word.starts_with('-'));
    let help = |path: &[&String]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bitacora-under-test"));
        let output = command.args(path).arg("--help").output().unwrap();
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    // What follows a command may be a value, such as the name of an engine.
    let Some(text) = (0..=path.len()).rev().find_map(|length| help(path.get(..length)?)) else {
        return false;
    };
    let first = path.first().is_none_or(|name| help(&[name]).is_some());
    first
        && options
            .iter()
            .all(|option| text.contains(option.as_str()) || ["--version"].contains(&option.as_str()))
}
