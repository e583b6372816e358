//! The errors that people read, word for word.
//!
//! Each says what happened, what it means for the data, and what to do. What differs from run to run (ports,
//! folders, process ids) stands in capitals instead.
//!
//! - `configuration`: mistakes in the file
//! - `database`: a server or table that will not do
//! - `running`: what meets a daemon or a command at work

mod configuration;
mod database;
mod running;

use crate::postgres::{Distribution, Postgres};
use crate::support::product::Outcome;

type Here = Postgres<Distribution>;
type Scene = crate::support::scene::Scene<Here>;

/// What a command printed, without log lines, with its exit status, and with `replaced` in place of what differs
/// from run to run.
fn told(outcome: &Outcome, replaced: &[(&str, &str)]) -> String {
    let mut text = format!("$ {}\n", outcome.command);
    text.push_str(&outcome.stdout);
    text.extend(outcome.stderr.lines().filter(|line| !is_logged(line)).map(|line| format!("{line}\n")));
    text.push_str(&format!("[exit status {}]", outcome.code.map_or("none".into(), |code| code.to_string())));
    for (from, to) in replaced {
        text = text.replace(from, to);
    }
    text
}

/// Log lines begin with the moment.
fn is_logged(line: &str) -> bool {
    line.get(..11).is_some_and(|start| start.starts_with("20") && start.ends_with('T'))
}

/// The same for a scene: its server, database, dashboard and folder are replaced.
fn told_in(scene: &Scene, outcome: &Outcome) -> String {
    let folder = scene.product.dir().display().to_string();
    let server = scene.backend.server().port().to_string();
    let dashboard = scene.dashboard.port().to_string();
    let slot = scene.backend.slot();
    told(
        outcome,
        &[
            (&folder, "FOLDER"),
            (&slot, "SLOT"),
            (scene.backend.database(), "DATABASE"),
            (&server, "PORT"),
            (&dashboard, "TABLERO"),
        ],
    )
}
