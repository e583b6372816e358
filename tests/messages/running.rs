//! What meets a daemon or a command at work.

use std::net::TcpListener;

use super::{Scene, told, told_in};
use crate::support::backend::Session;
use crate::support::config::replace;
use crate::support::wait::{LATER, SOON};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_ledger_says_who_holds_it() {
    let scene = Scene::new().await;
    let daemon = scene.product.run().await;
    let outcome = scene.product.command(&["run"]).await;
    let text = told_in(&scene, &outcome).replace(&daemon.pid().to_string(), "PID");
    insta::assert_snapshot!(without_moments(&text));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_taken_port_says_which_key_to_change() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let scene = Scene::with(|config| config.status = format!("listen = \"{address}\"\n")).await;
    let outcome = scene.product.command(&["run"]).await;
    insta::assert_snapshot!(told(&outcome, &[(&address, "ADDRESS")]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_slot_says_who_uses_it() {
    let mut scene = Scene::new().await;
    let daemon = scene.product.run().await;
    // Another installation with another ledger, but the same slot.
    scene.reconfigure(|config| config.ledger = "dir = \"other\"\n".into());
    let second = scene.product.start().await;
    let status = second
        .until("the busy slot is told", LATER, |status| status["source"]["last_error"].is_string())
        .await;
    let text = status["source"]["last_error"].as_str().unwrap().replace(&scene.backend.slot(), "SLOT");
    insta::assert_snapshot!(without_numbers(&text));
    scene.open("S-1", "RECIBIDA").await;
    daemon.captured(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_that_is_not_there_says_what_makes_one() {
    let scene = Scene::new().await;
    for (name, command) in [
        ("no_ledger_status", &["status"][..]),
        ("no_ledger_explain", &["explain", "S-1"]),
        ("no_ledger_quarantine", &["quarantine", "list"]),
    ] {
        let outcome = scene.product.command(command).await;
        insta::assert_snapshot!(name, told_in(&scene, &outcome));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_halted_flush_says_what_the_institution_must_do() {
    let scene = Scene::new().await;
    let daemon = scene.product.run().await;
    scene.open("S-1", "RECIBIDA").await;
    daemon.delta(1).await;
    for (name, fault) in [
        ("halted_401", "401"),
        ("halted_404", "404"),
        ("halted_redirect", "redirect"),
        ("halted_x_road", "x-road-access-denied"),
    ] {
        scene.dashboard.fail(fault);
        let outcome = scene.product.command(&["flush"]).await;
        insta::assert_snapshot!(name, told_in(&scene, &outcome));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_that_gave_up_says_what_was_tried() {
    let scene = Scene::with(|config| {
        replace(&mut config.delivery, "give_up_after = \"60s\"", "give_up_after = \"1s\"");
    })
    .await;
    let daemon = scene.product.run().await;
    scene.open("S-1", "RECIBIDA").await;
    daemon.delta(1).await;
    scene.dashboard.fail("503");
    let outcome = scene.product.command(&["flush"]).await;
    insta::assert_snapshot!(without_numbers(&told_in(&scene, &outcome)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quarantine_tells_reasons_and_remedies() {
    let scene = Scene::new().await;
    let daemon = scene.product.run().await;
    scene.open("S-1", "ARCHIVADA").await;
    scene.sql.run("UPDATE solicitudes SET servicio = 'NUEVO'").await;
    scene.open("S-2", "RECIBIDA").await;
    daemon.delta(1).await;
    scene.dashboard.fail("poison:S-2");
    scene.product.command(&["flush"]).await;
    daemon.until("all is in quarantine", SOON, |status| status["quarantine"]["records"] == 1).await;
    let outcome = scene.product.command(&["quarantine", "list"]).await;
    insta::assert_snapshot!(without_moments(&told_in(&scene, &outcome)));
}

/// Digits out: `2026-03-02T08:00:00Z` becomes `MOMENT`.
fn without_moments(text: &str) -> String {
    text.split_inclusive([' ', '\n', ','])
        .map(|word| {
            let is_moment = word.len() > 19 && word.get(10..11) == Some("T") && word.starts_with("20");
            let end = word.find([' ', '\n', ',']).map_or("", |at| word.get(at..).unwrap_or_default());
            if is_moment { format!("MOMENT{end}") } else { word.to_owned() }
        })
        .collect()
}

/// Every run of digits becomes `#`.
fn without_numbers(text: &str) -> String {
    let mut plain = String::new();
    for character in text.chars() {
        match character {
            '0'..='9' if plain.ends_with('#') => {}
            '0'..='9' => plain.push('#'),
            other => plain.push(other),
        }
    }
    plain
}
