//! The story, step by step.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use tablero::{Tablero, TableroConfig};

use crate::clerk::Tally;
use crate::configuration::{self, Places};
use crate::connector::{Connector, Daemon};
use crate::database::{LogPlace, Server, Session, moment_text};
use crate::failure::Failure;
use crate::history;
use crate::institution::catalogue_sql;
use crate::narration::{Narrator, count, line, seconds};
use crate::options::DemoOptions;
use crate::proof::Proof;
use crate::truth::Request;
use crate::workload::{CONNECTIONS, Workload};

/// How many steps the story has.
const STEPS: u32 = 11;

/// For how long the connector stays dead.
const DEAD: Duration = Duration::from_secs(2);

/// The scene: what everybody in the story shares.
struct Scene<'a> {
    options: &'a DemoOptions,
    narrator: Narrator,
    rng: StdRng,
    server: Server,
    session: Session,
    dashboard: Tablero,
    folder: &'a Path,
    connector: &'a Connector,
    page: SocketAddr,
}

/// Tells the whole story; says whether all arrived exactly.
///
/// # Errors
/// When the story cannot be told to its end.
pub(crate) async fn tell(options: &DemoOptions, folder: &Path) -> Result<bool, Failure> {
    let connector = Connector::new(folder)?;
    let mut scene = prepare(options, folder, &connector).await?;
    let requests = load_history(&mut scene).await?;
    configure(&mut scene).await?;
    let mut daemon = begin(&mut scene).await?;
    let ends = Instant::now() + Duration::from_secs(options.seconds);
    let workload = Workload::start(&scene.server, requests, &mut scene.rng).await?;
    deliver_history(&mut scene).await?;
    daemon = crash(&mut scene, daemon, (&workload, ends)).await?;
    let (requests, tally) = end_of_day(&mut scene, &mut daemon, workload, ends).await?;
    explain(&mut scene, &requests).await?;
    let is_exact = prove(&mut scene, &requests, tally).await?;
    if options.keep {
        keep(&scene).await?;
    }
    daemon.stop().await?;
    scene.narrator.say("The connector was asked to stop, and stopped.");
    line(&format!("\nThe whole demonstration took {}.", seconds(scene.narrator.elapsed())));
    Ok(is_exact)
}

/// A database server and a dashboard.
async fn prepare<'a>(
    options: &'a DemoOptions,
    folder: &'a Path,
    connector: &'a Connector,
) -> Result<Scene<'a>, Failure> {
    let mut narrator = Narrator::new(STEPS);
    narrator.step("A database server and a dashboard");
    narrator.say("The server is taken from this machine, or fetched once if there is none.");
    let server = Server::start(options.engine()).await?;
    let session = server.connect().await?;
    let (host, port) = server.address();
    narrator.done(&format!("{} listens on {host}:{port}", server.title()));
    let dashboard =
        Tablero::start(TableroConfig::default()).await.map_err(Failure::of("start the dashboard"))?;
    narrator.done(&format!("The dashboard's simulator takes POSTs at {}", dashboard.url()));
    let rng = StdRng::seed_from_u64(options.seed);
    let page = free_address()?;
    Ok(Scene { options, narrator, rng, server, session, dashboard, folder, connector, page })
}

/// The institution's table and what is in it.
async fn load_history(scene: &mut Scene<'_>) -> Result<Vec<Request>, Failure> {
    scene.narrator.step("An institution with years of requests");
    scene.session.run(scene.server.schema()).await?;
    scene.session.run(&catalogue_sql()).await?;
    let requests = history::make(scene.options.request_count(), &mut scene.rng);
    history::load(&mut scene.session, &requests, &mut scene.rng).await?;
    scene.session.analyze().await?;
    let old = requests.iter().filter(|request| request.is_before_floor()).count();
    let narrator = &scene.narrator;
    let (_, table) = scene.server.engine_and_table();
    narrator.say(&format!(
        "Table {table}: Spanish names, the institution's own codes, local times without a zone."
    ));
    narrator.done(&format!(
        "{} requests opened since 2020 up to today, and {} older ones that must never be sent",
        number(requests.len() - old),
        number(old)
    ));
    narrator.say(&format!("Everything here is made up, from the seed {}.", scene.options.seed));
    Ok(requests)
}

/// The configuration, the rights, and the check.
async fn configure(scene: &mut Scene<'_>) -> Result<(), Failure> {
    let Scene { narrator, server, connector, .. } = scene;
    narrator.step("The configuration");
    let password: String = (0..20).map(|_| char::from(scene.rng.random_range(b'a'..=b'z'))).collect();
    write(&scene.folder.join("password"), &password)?;
    let dashboard = scene.dashboard.url();
    let places = Places { server, dashboard: &dashboard, page: scene.page, folder: scene.folder };
    write(connector.config(), &configuration::text(&places))?;
    narrator.say(&format!("Written to {}. Its heart:", connector.config().display()));
    narrator.quote_shortened(&configuration::mapping());

    narrator.step("bitacora setup: what the database's administrator has to run");
    let script = connector.run(&["setup"]).await?;
    let script_path = scene.folder.join("setup.sql");
    // Where the script has a place for the password, the administrator writes it there.
    write(&script_path, &script.replace("<password>", &password))?;
    server.run_script(&script_path).await?;
    narrator.done(&format!(
        "A script of its own for this table; the administrator ran {}",
        script_path.display()
    ));

    narrator.step("bitacora check: is everything in place?");
    let findings = connector.run(&["check"]).await?;
    narrator.quote(&findings);
    narrator.done("It is");
    Ok(())
}

/// The daemon's first start.
async fn begin<'a>(scene: &mut Scene<'a>) -> Result<Daemon<'a>, Failure> {
    let narrator = &mut scene.narrator;
    narrator.step("bitacora run: the daemon starts");
    let mut daemon = scene.connector.start_daemon()?;
    let status = daemon.wait("the table was copied", has_copied).await?;
    let rows = status.pointer("/backfill/rows").and_then(Value::as_u64).unwrap_or_default();
    narrator.done(&format!(
        "{} rows copied into the ledger as of one moment; it reads the log from there on",
        count(rows)
    ));
    narrator.say(&format!("Its status page: http://{}/", scene.page));
    Ok(daemon)
}

/// The backfill, while the institution works on.
async fn deliver_history(scene: &mut Scene<'_>) -> Result<(), Failure> {
    let narrator = &mut scene.narrator;
    narrator.step("bitacora backfill: the history is delivered while the institution goes on working");
    narrator.say(&format!(
        "{CONNECTIONS} connections now open, change and correct requests; some of it is rolled back."
    ));
    let report = scene.connector.run(&["backfill"]).await?;
    narrator.quote(&report);
    let summary = scene.dashboard.summary();
    narrator.done(&format!(
        "The dashboard has {} records in {} POSTs",
        number(summary.records),
        number(summary.attempts)
    ));
    let report = scene.connector.run(&["flush"]).await?;
    narrator.say("bitacora flush: what has changed meanwhile");
    narrator.quote(&report);
    Ok(())
}

/// kill -9 in the middle of the work.
async fn crash<'a>(
    scene: &mut Scene<'a>,
    daemon: Daemon<'a>,
    (workload, ends): (&Workload, Instant),
) -> Result<Daemon<'a>, Failure> {
    let left = ends.saturating_duration_since(Instant::now());
    tokio::time::sleep(left / 2).await;
    let narrator = &mut scene.narrator;
    narrator.step("kill -9: the connector dies in the middle of it");
    let before = workload.transactions();
    daemon.kill().await?;
    tokio::time::sleep(DEAD).await;
    let missed = workload.transactions() - before;
    narrator.say(&format!(
        "Dead for {}, while the institution ended {} transactions.",
        seconds(DEAD),
        count(missed)
    ));
    let started = Instant::now();
    let mut daemon = scene.connector.start_daemon()?;
    daemon.wait("it was streaming again", is_streaming).await?;
    narrator.done(&format!("Started again; it was streaming {} later", seconds(started.elapsed())));
    Ok(daemon)
}

/// The work ends, the connector catches up, and the rest is flushed to a dashboard that has a bad moment.
async fn end_of_day(
    scene: &mut Scene<'_>,
    daemon: &mut Daemon<'_>,
    workload: Workload,
    ends: Instant,
) -> Result<(Vec<Request>, Tally), Failure> {
    tokio::time::sleep(ends.saturating_duration_since(Instant::now())).await;
    let narrator = &mut scene.narrator;
    narrator.step("bitacora flush: the end of the day");
    let (requests, tally) = workload.stop().await?;
    narrator.say(&format!(
        "The institution stops: {} transactions committed, {} rolled back.",
        count(tally.committed),
        count(tally.rolled_back)
    ));
    let end = scene.session.log_end().await?;
    daemon.wait("it had read the log to its end", |status| has_reached(status, end)).await?;
    narrator.done("The connector has read the log to its end");
    let fault = "503:2".parse().map_err(Failure::of("tell the dashboard how to fail"))?;
    scene.dashboard.set_fault(fault);
    narrator.say("The dashboard answers the next two POSTs with 503.");
    let report = scene.connector.run(&["flush"]).await?;
    narrator.quote(&report);
    narrator.done("Everything is acknowledged");
    Ok((requests, tally))
}

/// One request's life.
async fn explain(scene: &mut Scene<'_>, requests: &[Request]) -> Result<(), Failure> {
    let lively = requests.iter().filter(|request| request.is_history && (3..7).contains(&request.due.len()));
    let Some(request) = lively.max_by_key(|request| request.due.len()) else { return Ok(()) };
    scene.narrator.step("bitacora explain: the life of one request");
    let life = scene.connector.run(&["explain", &request.number]).await?;
    scene.narrator.quote(&life);
    Ok(())
}

/// What was committed beside what arrived.
async fn prove(scene: &mut Scene<'_>, requests: &[Request], tally: Tally) -> Result<bool, Failure> {
    scene.narrator.step("The proof");
    compare_with_table(&mut scene.session, requests).await?;
    let narrator = &scene.narrator;
    narrator
        .say("Those who changed the database wrote down what they had committed; it agrees with the table.");
    narrator.say("What must not be sent, and how often it happened while the institution worked:");
    for (what, times) in [
        ("transactions rolled back", tally.rolled_back),
        ("changes undone by a savepoint", tally.savepoints_rolled_back),
        ("edits of other columns", tally.edits),
        ("the same status saved again", tally.repeats),
        ("changes of requests from before 2020", tally.before_2020),
    ] {
        narrator.say(&format!("  {what:<38}{:>12}", count(times)));
    }
    let proof = Proof::compare(requests, &scene.dashboard.records());
    line("");
    for row in proof.table().lines() {
        narrator.say(&format!("  {row}"));
    }
    line("");
    for example in &proof.examples {
        narrator.say(&format!("for example: {example}"));
    }
    narrator.done(if proof.is_exact() {
        "Exact: all that was committed arrived once, in order, and nothing else"
    } else {
        "NOT exact"
    });
    Ok(proof.is_exact())
}

/// Is what was written down what the table holds? Else the proof would prove nothing.
async fn compare_with_table(session: &mut Session, requests: &[Request]) -> Result<(), Failure> {
    let rows = session.requests().await?;
    let mut written: Vec<&Request> = requests.iter().collect();
    written.sort_by(|one, other| one.number.cmp(&other.number));
    let agrees = |(row, request): (&Vec<String>, &&Request)| {
        let (number, state) = (request.number.clone(), request.state.code.to_owned());
        *row == [number, state, moment_text(request.opened), moment_text(request.modified)]
    };
    if rows.len() == written.len() && rows.iter().zip(&written).all(agrees) {
        return Ok(());
    }
    let first = rows.iter().zip(&written).find(|&pair| !agrees(pair));
    let first = first.map_or_else(
        || format!("{} rows, {} written down", rows.len(), written.len()),
        |(_, request)| request.number.clone(),
    );
    Err(Failure::new(format!("the demonstration's own notes differ from the table: {first}")))
}

/// Everything stays up for a visitor.
async fn keep(scene: &Scene<'_>) -> Result<(), Failure> {
    let config = scene.connector.config().display();
    line("\nEverything keeps running until Ctrl-C:");
    line(&format!("  status page     http://{}/", scene.page));
    line(&format!("  dashboard       http://{}/_tablero/summary", scene.dashboard.addr()));
    line(&format!("  database        {}", scene.server.url()));
    line(&format!("  configuration   {config}"));
    line(&format!("  any command     cargo run --release -- status --config {config}"));
    tokio::signal::ctrl_c().await.map_err(Failure::of("wait for Ctrl-C"))?;
    line("");
    Ok(())
}

fn is_streaming(status: &Value) -> bool {
    status.pointer("/source/state").and_then(Value::as_str) == Some("streaming")
}

fn has_copied(status: &Value) -> bool {
    is_streaming(status) && status.pointer("/backfill/rows").and_then(Value::as_u64) > Some(0)
}

fn has_reached(status: &Value, end: LogPlace) -> bool {
    let position = status.pointer("/source/position").and_then(Value::as_str).and_then(LogPlace::read);
    position >= Some(end)
}

fn free_address() -> Result<SocketAddr, Failure> {
    let address = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    address.map_err(Failure::of("find a free port for the status page"))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(Failure::of("write a file of the demonstration"))
}

fn number(count_of: usize) -> String {
    count(u64::try_from(count_of).unwrap_or(u64::MAX))
}
