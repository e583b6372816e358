//! Which package may use which. The layers of the workspace are a promise of its design, so they are tested.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::process::Command;

use serde_json::Value;

/// The dependencies of every package of the workspace, as `cargo metadata` resolves them.
struct Graph {
    /// Package id to name.
    names: HashMap<String, String>,
    /// Package id to the ids of what it needs to run (development and build left out).
    needs: HashMap<String, Vec<String>>,
    /// Ids of the workspace's own packages, by name.
    own: BTreeMap<String, String>,
}

impl Graph {
    fn read() -> Self {
        // Of this platform only: what other platforms need has not been downloaded.
        let output = Command::new(env!("CARGO"))
            .args([
                "metadata",
                "--format-version",
                "1",
                "--locked",
                "--offline",
                "--filter-platform",
                &host(),
            ])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let list = |value: &Value| value.as_array().unwrap().clone();
        let names: HashMap<String, String> = list(&metadata["packages"])
            .iter()
            .map(|package| (text(&package["id"]), text(&package["name"])))
            .collect();
        let is_needed =
            |dependency: &Value| list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"].is_null());
        let needs = list(&metadata["resolve"]["nodes"])
            .iter()
            .map(|node| {
                let deps = list(&node["deps"]);
                let needed = deps.iter().filter(|dependency| is_needed(dependency));
                (text(&node["id"]), needed.map(|dependency| text(&dependency["pkg"])).collect())
            })
            .collect();
        let own = list(&metadata["workspace_members"])
            .iter()
            .map(|id| (names[id.as_str().unwrap()].clone(), text(id)))
            .collect();
        Self { names, needs, own }
    }

    /// Names of the workspace's own packages that `package` uses itself.
    fn own_needs(&self, package: &str) -> BTreeSet<&str> {
        let needs = self.needs[&self.own[package]].iter();
        let names = needs.map(|id| self.names[id].as_str());
        names.filter(|name| self.own.contains_key(*name)).collect()
    }

    /// Names of everything that is built for `package`.
    fn all_needs(&self, package: &str) -> BTreeSet<&str> {
        let mut found = BTreeSet::new();
        let mut open = vec![self.own[package].as_str()];
        while let Some(id) = open.pop() {
            for needed in &self.needs[id] {
                if found.insert(needed.as_str()) {
                    open.push(needed);
                }
            }
        }
        found.into_iter().map(|id| self.names[id].as_str()).collect()
    }

    /// Names of the workspace's own packages that use `library` themselves.
    fn users(&self, library: &str) -> BTreeSet<&str> {
        let uses = |id: &String| self.needs[id].iter().any(|needed| self.names[needed] == library);
        self.own.iter().filter(|(_, id)| uses(id)).map(|(name, _)| name.as_str()).collect()
    }
}

/// The platform that the compiler builds for, such as `x86_64-unknown-linux-gnu`.
fn host() -> String {
    let output = Command::new("rustc").arg("-vV").output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    told.lines().find_map(|line| line.strip_prefix("host: ")).expect("a line `host: …`").to_owned()
}

/// The product's packages, and which of the others each may use. What is not listed is no part of the product.
const LAYERS: &[(&str, &[&str])] = &[
    ("change", &[]),
    ("normalizer", &["change"]),
    ("ledger", &["change", "normalizer"]),
    ("delivery", &["change", "normalizer"]),
    ("pipeline", &["change", "normalizer", "ledger", "delivery"]),
    ("trust", &["change"]),
    ("alerts", &[]),
    ("postgres-connector", &["change", "trust"]),
    ("mysql-connector", &["change", "trust"]),
    ("sqlserver-connector", &["change", "trust"]),
    ("tablero", &[]),
    ("standin", &[]),
    ("testbed", &["standin"]),
    (
        "bitacora",
        &[
            "change",
            "normalizer",
            "ledger",
            "delivery",
            "pipeline",
            "alerts",
            "postgres-connector",
            "mysql-connector",
            "sqlserver-connector",
            "tablero",
        ],
    ),
];

#[test]
fn every_package_uses_only_the_layers_below_it() {
    let graph = Graph::read();
    for (package, below) in LAYERS {
        let too_much: Vec<&str> =
            graph.own_needs(package).into_iter().filter(|needed| !below.contains(needed)).collect();
        assert!(too_much.is_empty(), "{package} uses {too_much:?}, and may use {below:?} only");
    }
    // Nothing of the product is built on what only shows or tests it.
    let product: BTreeSet<&str> = LAYERS.iter().map(|(package, _)| *package).collect();
    for (package, _) in LAYERS {
        let outside: Vec<&str> =
            graph.own_needs(package).into_iter().filter(|needed| !product.contains(needed)).collect();
        assert!(outside.is_empty(), "{package} uses {outside:?}");
    }
}

#[test]
fn the_pipeline_is_built_without_any_connector() {
    let graph = Graph::read();
    for package in ["change", "normalizer", "ledger", "delivery", "pipeline"] {
        let needs = graph.all_needs(package);
        let connectors: Vec<&&str> = needs.iter().filter(|name| name.ends_with("-connector")).collect();
        assert!(connectors.is_empty(), "{package} is built with {connectors:?}");
        for driver in ["tokio-postgres", "postgres-protocol", "mysql_common", "mysql_async", "tiberius"] {
            assert!(!needs.contains(driver), "{package} is built with {driver}");
        }
    }
}

/// Libraries that belong to one owner of the product, and who else may use them: what stands beside the product.
#[test]
fn a_driver_reaches_no_further_than_its_owner() {
    const BESIDE: &[&str] = &["testbed", "standin", "tests", "demo", "benchmark"];
    let graph = Graph::read();
    for (library, owners) in [
        ("tokio-postgres", &["postgres-connector"][..]),
        ("postgres-protocol", &["postgres-connector"]),
        ("tokio-postgres-rustls", &["postgres-connector"]),
        ("mysql_common", &["mysql-connector"]),
        ("tiberius", &["sqlserver-connector"]),
        // The product has a wire of its own.
        ("mysql_async", &[]),
        ("rusqlite", &["ledger"]),
        // The command line asks its daemon, and reads addresses.
        ("reqwest", &["delivery", "alerts", "bitacora"]),
        ("lettre", &["alerts"]),
        ("axum", &["tablero", "bitacora"]),
        ("clap", &["bitacora"]),
        ("toml", &["bitacora"]),
    ] {
        let strangers: Vec<&str> = graph
            .users(library)
            .into_iter()
            .filter(|user| !owners.contains(user) && !BESIDE.contains(user))
            .collect();
        assert!(strangers.is_empty(), "{library} belongs to {owners:?}, and {strangers:?} use it as well");
    }
}

/// What a change means must not depend on files, sockets, clocks or a runtime.
#[test]
fn the_vocabulary_and_the_meaning_of_changes_are_pure() {
    let graph = Graph::read();
    for package in ["normalizer"] {
        let needs = graph.all_needs(package);
        for library in ["tokio", "reqwest", "rusqlite", "axum", "hyper"] {
            assert!(!needs.contains(library), "{package} is built with {library}");
        }
    }
}
