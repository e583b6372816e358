//! What is asked of the server, as the README lists it for whoever administers it.

use std::collections::BTreeSet;
use std::path::Path;

/// The lines of the connector's code, without comments and unit tests.
fn code(folder: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            lines.extend(code(&path));
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        let is_code = |line: &&str| !line.trim_start().starts_with("//");
        lines.extend(text.lines().filter(is_code).map(str::to_owned));
    }
    lines
}

fn source() -> Vec<String> {
    code(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
}

/// Names of the server's own objects in a line.
fn objects(line: &str) -> BTreeSet<String> {
    let plain = line.replace(['[', ']'], "");
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.');
    let words = plain.split(|letter| !is_name(letter)).map(|word| word.trim_matches('.').to_owned());
    words.filter(|word| ["sys.", "cdc.", "msdb.dbo."].iter().any(|schema| word.starts_with(schema))).collect()
}

#[test]
fn everything_that_is_asked_of_the_server_stands_in_the_readme() {
    let readme = include_str!("../README.md");
    let asked: BTreeSet<String> = source().iter().flat_map(|line| objects(line)).collect();
    assert!(asked.contains("cdc.lsn_time_mapping") && asked.contains("sys.databases"), "{asked:?}");
    let missing: Vec<&String> =
        asked.iter().filter(|object| !readme.contains(&format!("`{object}`"))).collect();
    assert!(missing.is_empty(), "not in README.md: {missing:?}");
}

/// The oldest supported server is 2016 with its first service pack; a database may be of a lower level than its server.
#[test]
fn nothing_newer_than_the_oldest_server_is_asked_for() {
    let newer = [
        "STRING_AGG",
        "CONCAT_WS",
        "TRIM(",
        "TRANSLATE(",
        "GREATEST(",
        "LEAST(",
        "DATETRUNC",
        "DATE_BUCKET",
        "GENERATE_SERIES",
        "IS DISTINCT FROM",
        "APPROX_",
        "BIT_COUNT",
        // Not below level 130, 120 and 110.
        "STRING_SPLIT",
        "OPENJSON",
        "TRY_CONVERT",
    ];
    for line in source() {
        let found: Vec<&&str> = newer.iter().filter(|word| line.contains(**word)).collect();
        assert!(found.is_empty(), "{found:?} in {line}");
    }
}
