//! The task that scans the table and hands batches over.

use std::collections::HashMap;
use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use change::{
    Batch, Change, Checkpoint, Operation, Row, RowKey, Scope, SourceError, SourceErrorKind, TableScope,
    Transaction, Value,
};
use tiberius::ColumnData;
use tokio::sync::mpsc;

use super::{Modified, ScanTime, newest, only_table};
use crate::catalog::{self, Column, Table};
use crate::client::{Client, Param};
use crate::config::{Mode, SqlServerConfig};
use crate::identity::Identity;
use crate::snapshot::cursor::{self, KeyPart};
use crate::stream::SqlServerStream;
use crate::value::{self, Kind, row_key};

/// Rows in a statement.
const PAGE_ROWS: u32 = 8192;
/// Rows of which it is remembered that they were told; beyond, they are told again, which costs the product a comparison.
const REMEMBERED_MAX: usize = 200_000;
/// On a table without changes a batch says this often that the server answered.
const HEARD_EVERY: Duration = Duration::from_secs(15);

/// Opens the scans strictly after the checkpoint.
///
/// # Errors
/// When the server cannot be asked, or the table is not fit for scans.
pub(crate) async fn open(
    config: &SqlServerConfig,
    scope: &Scope,
    checkpoint: &Checkpoint,
) -> Result<SqlServerStream, SourceError> {
    let from = ScanTime::of(&checkpoint.position)?;
    let scope = only_table(scope)?;
    let mut client = Client::open(config).await?;
    let table = catalog::table(&mut client, scope).await?;
    let identity = Identity::ask(&mut client).await?;
    identity.expect_history_of(checkpoint)?;
    let (Some(modified), Mode::Poll { overlap, .. }) = (Modified::of(config, &table)?, &config.mode) else {
        return Err(SourceError::new(SourceErrorKind::Configuration, "mode is not \"poll\""));
    };
    let layout = Layout::new(&table, scope, &modified, &identity.collation)?;
    let overlap = i64::try_from(overlap.as_secs()).unwrap_or(i64::MAX);
    Ok(SqlServerStream::spawn(|batches| {
        let config = Arc::new(config.clone());
        let told = HashMap::new();
        Scanner { config, client, table, modified, layout, overlap, from, told, batches }.run()
    }))
}

/// What is read of a row.
struct Layout {
    select: String,
    kinds: Vec<Kind>,
    key_kinds: Vec<Kind>,
    /// The time and the key, by which a page goes on after the last row of the one before.
    parts: Vec<KeyPart>,
}

/// A row that was scanned.
struct Scanned {
    time: ScanTime,
    row: Row,
    key: Option<RowKey>,
    /// Where the next page would start.
    kept: Vec<String>,
}

impl Layout {
    /// # Errors
    /// A schema error for a table without a key, and for columns that no record can carry.
    fn new(
        table: &Table,
        scope: &TableScope,
        modified: &Modified,
        database: &str,
    ) -> Result<Self, SourceError> {
        let kinds = table.mapped_kinds()?;
        let key: Option<Vec<(&Column, Kind)>> =
            table.key_columns().map(|column| Some((column, column.kind().ok()?))).collect();
        let key = key.filter(|_| scope.keys).unwrap_or_default();
        let mut parts = vec![KeyPart::of(&modified.column, database).map_err(|what| {
            SourceError::new(SourceErrorKind::Schema, format!("modified_column cannot be scanned by: {what}"))
        })?];
        parts.extend(cursor::parts(table, database)?);
        let select: Vec<String> = std::iter::once(modified.text(&modified.name))
            .chain(table.mapped_columns().map(Column::expression))
            .chain(key.iter().map(|(column, _)| column.expression()))
            .chain(parts.iter().map(KeyPart::expression))
            .collect();
        Ok(Self {
            select: select.join(", "),
            kinds,
            key_kinds: key.into_iter().map(|(_, kind)| kind).collect(),
            parts,
        })
    }

    fn read(&self, row: &tiberius::Row) -> Option<Scanned> {
        let mut cells = row.cells().map(|(_, cell)| cell);
        let text = |cell: Option<&ColumnData<'_>>| match cell {
            Some(ColumnData::String(Some(text))) => Some(text.to_string()),
            _ => None,
        };
        let time = ScanTime::from_server(&text(cells.next())?);
        let mapped: Vec<Value> =
            self.kinds.iter().map(|kind| Some(kind.read(cells.next()?))).collect::<Option<_>>()?;
        let key: Vec<Value> =
            self.key_kinds.iter().map(|kind| Some(kind.read(cells.next()?))).collect::<Option<_>>()?;
        let kept: Vec<String> = self.parts.iter().map(|_| text(cells.next())).collect::<Option<_>>()?;
        Some(Scanned { time, row: Row::new(mapped), key: (!key.is_empty()).then(|| row_key(&key)), kept })
    }
}

/// Why the task ends.
enum End {
    Unwanted,
    Failed(SourceError),
}

impl From<SourceError> for End {
    fn from(error: SourceError) -> Self {
        Self::Failed(error)
    }
}

struct Scanner {
    config: Arc<SqlServerConfig>,
    client: Client,
    table: Table,
    modified: Modified,
    layout: Layout,
    /// Seconds by which a scan reaches back.
    overlap: i64,
    from: ScanTime,
    /// What was told of the rows that the next scan reaches again: their content's hash, and their time.
    told: HashMap<u64, ScanTime>,
    batches: mpsc::Sender<Result<Batch, SourceError>>,
}

impl Scanner {
    async fn run(mut self) {
        let Err(End::Failed(error)) = self.scan_on().await else { return };
        if self.batches.send(Err(error)).await.is_err() {
            tracing::debug!("the stream was not wanted any more when it failed");
        }
    }

    async fn scan_on(&mut self) -> Result<Infallible, End> {
        let mut heard_at: Option<Instant> = None;
        loop {
            let told = self.scan().await?;
            if told || heard_at.is_none_or(|at| at.elapsed() >= HEARD_EVERY) {
                heard_at = Some(Instant::now());
                let position = Some(self.from.to_position());
                self.send(Batch { position, caught_up: true, ..Batch::default() }).await?;
            }
            tokio::select! {
                () = self.batches.closed() => return Err(End::Unwanted),
                () = tokio::time::sleep(self.config.poll_interval) => {}
            }
        }
    }

    async fn send(&self, batch: Batch) -> Result<(), End> {
        self.batches.send(Ok(batch)).await.map_err(|_| End::Unwanted)
    }

    /// Scans from the last time to the newest one; whether anything was told, or the time went on.
    async fn scan(&mut self) -> Result<bool, End> {
        let newest = newest(&mut self.client, &self.table, &self.modified).await?;
        // Rows that went away may have taken the newest time with them.
        let to = newest.max(self.from.clone());
        let committed_at = self.now().await?;
        let transaction = Arc::new(Transaction { position: to.to_position(), committed_at });
        let mut kept: Option<Vec<String>> = None;
        let mut told_any = to > self.from;
        loop {
            let (rows, changes) = self.page(&to, &mut kept, &transaction).await?;
            if !changes.is_empty() {
                told_any = true;
                self.send(Batch { changes, ..Batch::default() }).await?;
            }
            if rows < PAGE_ROWS {
                break;
            }
        }
        self.forget(&to).await?;
        self.from = to;
        Ok(told_any)
    }

    /// One page of a scan. What is changed meanwhile has a later time than the scan reaches, or comes within the overlap
    /// of the next one.
    async fn page(
        &mut self,
        to: &ScanTime,
        kept: &mut Option<Vec<String>>,
        transaction: &Arc<Transaction>,
    ) -> Result<(u32, Vec<Change>), SourceError> {
        let (low, high) = (self.modified.value("@P2", "@P3"), self.modified.value("@P4", "0"));
        let mut params = vec![
            Param::from(i64::from(PAGE_ROWS)),
            Param::from(self.from.0.as_str()),
            Param::from(self.overlap),
            Param::from(to.0.as_str()),
        ];
        let later = match kept {
            Some(kept) => {
                let condition = cursor::after(&self.layout.parts, params.len() + 1);
                params.extend(kept.iter().map(|part| Param::from(part.as_str())));
                format!(" AND ({condition})")
            }
            None => String::new(),
        };
        let sql = format!(
            "SELECT TOP (@P1) {} FROM {} WHERE {name} >= {low} AND {name} <= {high}{later} ORDER BY {}",
            self.layout.select,
            self.table.quoted(),
            cursor::order(&self.layout.parts),
            name = self.modified.name,
        );
        let mut rows = self.client.read("scan the table", &sql, &params).await?;
        let (mut count, mut changes) = (0, Vec::new());
        while let Some(row) = rows.next().await? {
            count += 1;
            let Scanned { time, row, key, kept: place } = self.layout.read(&row).ok_or_else(|| {
                SourceError::new(
                    SourceErrorKind::Protocol,
                    "scan the table: a row is not as it was asked for",
                )
            })?;
            *kept = Some(place);
            let hash = hash(&time, &row, key.as_ref());
            if self.told.contains_key(&hash) {
                continue;
            }
            if self.told.len() < REMEMBERED_MAX {
                self.told.insert(hash, time);
            }
            let transaction = Arc::clone(transaction);
            let (before, after, old_key) = (None, Some(row), None);
            changes.push(Change {
                table: 0,
                operation: Operation::Update,
                before,
                after,
                key,
                old_key,
                transaction,
            });
        }
        Ok((count, changes))
    }

    /// Forgets what the next scan does not reach.
    async fn forget(&mut self, to: &ScanTime) -> Result<(), SourceError> {
        if self.told.is_empty() {
            return Ok(());
        }
        let low = "SELECT CONVERT(nvarchar(40), DATEADD(second, -@P2, CONVERT(datetime2(7), @P1, 121)), 121)";
        let params = [Param::from(to.0.as_str()), Param::from(self.overlap)];
        let rows = self.client.rows("ask how far the next scan reaches back", low, &params).await?;
        if let Some(row) = rows.first() {
            let low = ScanTime::from_server(&row.text(0)?);
            // A `datetime` is rounded: what lies just before may be reached.
            self.told.retain(|_, time| time.0.get(..19) >= low.0.get(..19));
        }
        Ok(())
    }

    /// The present moment by the server's clock: when a change that is seen now committed at the latest.
    async fn now(&mut self) -> Result<i64, SourceError> {
        let rows = self.client.rows("ask for the server's time", "SELECT SYSUTCDATETIME()", &[]).await?;
        match rows.first().map(|row| row.cell(0)) {
            Some(Some(ColumnData::DateTime2(Some(at)))) => Ok(value::datetime2(*at)),
            _ => Err(SourceError::new(
                SourceErrorKind::Protocol,
                "ask for the server's time: the answer is no time",
            )),
        }
    }
}

fn hash(time: &ScanTime, row: &Row, key: Option<&RowKey>) -> u64 {
    let mut hasher = DefaultHasher::new();
    time.0.hash(&mut hasher);
    format!("{:?}", row.cells()).hash(&mut hasher);
    key.map(RowKey::as_str).hash(&mut hasher);
    hasher.finish()
}
