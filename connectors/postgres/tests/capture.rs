//! Reading a stream or a copy to some point, as the product would.

use std::future::Future;
use std::time::Duration;

use change::{
    Batch, Beginning, Begun, Change, ChangeStream, Checkpoint, Operation, Page, Position, Row, Snapshot,
    Source, TableScope, Value,
};
use postgres_connector::{PostgresConfig, PostgresSnapshot, PostgresSource, PostgresStream};

/// Longer than anything here may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for something to happen, and says what did not.
pub(crate) async fn soon<T>(what: &str, happening: impl Future<Output = T>) -> T {
    let happened = tokio::time::timeout(PATIENCE, happening).await;
    happened.unwrap_or_else(|_| panic!("{what} did not happen within {} s", PATIENCE.as_secs()))
}

/// Asks again until the answer is yes.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut ask: impl FnMut() -> F) {
    soon(what, async {
        while !ask().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

pub(crate) fn source(config: &PostgresConfig, scope: &TableScope) -> PostgresSource {
    PostgresSource::new(config.clone(), scope.clone())
}

pub(crate) async fn begin(source: &PostgresSource, beginning: Beginning) -> Begun<PostgresSnapshot> {
    soon("beginning", source.begin(&beginning)).await.unwrap()
}

/// A slot made now and a stream from there.
pub(crate) async fn start(source: &PostgresSource) -> (PostgresStream, Checkpoint) {
    let begun = begin(source, Beginning::Present).await;
    let stream = soon("opening the stream", source.stream(&begun.checkpoint)).await.unwrap();
    (stream, begun.checkpoint)
}

pub(crate) async fn next(stream: &mut PostgresStream) -> Batch {
    soon("the next batch", stream.next()).await.unwrap()
}

/// What was read, in order.
#[derive(Debug, Default)]
pub(crate) struct Read {
    pub(crate) changes: Vec<Change>,
    pub(crate) truncations: usize,
    pub(crate) position: Option<Position>,
}

impl Read {
    fn add(&mut self, batch: Batch) {
        self.changes.extend(batch.changes);
        self.truncations += batch.incidents.len();
        self.position = batch.position.or(self.position.take());
    }
}

/// Reads until so many changes have come and are committed.
pub(crate) async fn read_changes(stream: &mut PostgresStream, count: usize) -> Read {
    let mut read = Read::default();
    loop {
        let batch = next(stream).await;
        let closed = batch.position.is_some();
        read.add(batch);
        if closed && read.changes.len() >= count {
            assert_eq!(read.changes.len(), count);
            return read;
        }
    }
}

/// Reads until the stream has passed the fence.
pub(crate) async fn read_past(
    source: &PostgresSource,
    stream: &mut PostgresStream,
    fence: &Position,
) -> Read {
    let mut read = Read::default();
    loop {
        read.add(next(stream).await);
        if read.position.as_ref().is_some_and(|position| source.covers(position, fence).unwrap()) {
            return read;
        }
    }
}

pub(crate) async fn read_pages(snapshot: &mut PostgresSnapshot) -> Vec<Page> {
    let mut pages = Vec::new();
    while let Some(page) = soon("the next page", snapshot.next_page()).await.unwrap() {
        pages.push(page);
    }
    pages
}

pub(crate) async fn read_rows(snapshot: &mut PostgresSnapshot) -> Vec<Row> {
    let pages = read_pages(snapshot).await;
    pages.into_iter().flat_map(|page| page.rows).map(|(row, _)| row).collect()
}

/// Where the server's log ends.
pub(crate) async fn log_end(client: &tokio_postgres::Client) -> Position {
    let row = client.query_one("SELECT pg_current_wal_lsn()::text", &[]).await.unwrap();
    Position::new(row.get::<_, String>(0))
}

/// A row in short: its cells, as a reader of a failed test wants them.
pub(crate) fn text(row: &Row) -> String {
    let cells: Vec<String> = row
        .cells()
        .iter()
        .map(|cell| match cell {
            Value::Null => "null".to_owned(),
            Value::Unchanged => "unchanged".to_owned(),
            Value::Text(text) => text.to_string(),
            Value::Int(number) => number.to_string(),
            other => format!("{other:?}"),
        })
        .collect();
    cells.join("|")
}

/// A change in short.
pub(crate) fn brief(change: &Change) -> String {
    let operation = match change.operation {
        Operation::Insert => "insert",
        Operation::Update => "update",
        Operation::Delete => "delete",
    };
    let mut words = vec![operation.to_owned()];
    words.extend(change.before.as_ref().map(|row| format!("before {}", text(row))));
    words.extend(change.after.as_ref().map(|row| format!("after {}", text(row))));
    words.extend(change.key.as_ref().map(|key| format!("key {key}")));
    words.extend(change.old_key.as_ref().map(|key| format!("old key {key}")));
    words.join(" ")
}

pub(crate) fn briefs(read: &Read) -> Vec<String> {
    read.changes.iter().map(brief).collect()
}
