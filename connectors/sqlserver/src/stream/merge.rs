//! A window of several change tables, read in the order of the log.
//!
//! The server numbers what a transaction did whatever tables it changed, so that the rows of all change tables have one
//! order ([`Place`](super::pages::Place)). A connection gives one answer at a time: so some rows of each change table
//! are read ahead, and the first of all is taken next. The last table that has any left is read straight through,
//! as a table that is alone always is.

use std::collections::VecDeque;

use change::{Batch, SourceError};
use tokio::sync::mpsc;

use super::End;
use super::assembly::{Assembly, Captured};
use super::followed::Followed;
use super::pages::{Pages, Place, read};
use super::window::Window;
use crate::client::Client;
use crate::instance::Layout;
use crate::lsn::Lsn;

/// Rows in a page; of several tables that are read ahead, in all their pages.
const PAGE_ROWS: u32 = 8192;
/// A table's share of them is no less.
const PAGE_ROWS_MIN: u32 = 256;
/// Bytes of rows that are read ahead.
const AHEAD_BYTES: usize = 8 << 20;
/// A table's share of them is no less.
const AHEAD_BYTES_MIN: usize = 256 << 10;

/// Bytes of changes in a batch.
const BATCH_BYTES: usize = 1 << 20;
/// Changes in a batch.
const BATCH_CHANGES: usize = 8192;

/// The way to the product.
pub(super) struct Handover {
    pub(super) batches: mpsc::Sender<Result<Batch, SourceError>>,
    pub(super) assembly: Assembly,
}

impl Handover {
    pub(super) async fn send(&self, batch: Batch) -> Result<(), End> {
        self.batches.send(Ok(batch)).await.map_err(|_| End::Unwanted)
    }

    /// Takes the next row of the window; a batch that is full is handed over, without a position.
    async fn push(&mut self, captured: Captured, layout: &Layout, window: &Window) -> Result<(), End> {
        self.assembly.push(captured, &layout.large, |lsn| window.committed_at(lsn));
        if self.assembly.bytes() >= BATCH_BYTES || self.assembly.ready() >= BATCH_CHANGES {
            let batch = self.assembly.take(None, false);
            self.send(batch).await?;
        }
        Ok(())
    }
}

/// One change table of the window.
struct Lane<'a> {
    followed: &'a Followed,
    pages: Pages,
    /// What was read and is not its turn yet.
    ahead: VecDeque<(Place, Captured)>,
    /// Rows in its next page.
    rows: u32,
}

impl Lane<'_> {
    /// Whether there may be rows, and none is known.
    fn is_hungry(&self) -> bool {
        self.ahead.is_empty() && !self.pages.is_over()
    }

    /// Whether nothing of it is left.
    fn is_over(&self) -> bool {
        self.ahead.is_empty() && self.pages.is_over()
    }

    fn next_place(&self) -> Option<Place> {
        self.ahead.front().map(|(place, _)| *place)
    }
}

/// A window being read.
pub(super) struct Merge<'a> {
    client: &'a mut Client,
    handover: &'a mut Handover,
    window: &'a Window,
    lanes: Vec<Lane<'a>>,
    /// The greatest share of a table in what is read ahead: rows, and bytes.
    share: (u32, usize),
}

impl<'a> Merge<'a> {
    /// Begins to read what follows `from` of all tables.
    pub(super) fn new(
        client: &'a mut Client,
        handover: &'a mut Handover,
        followed: &'a [Followed],
        (from, window): (Lsn, &'a Window),
    ) -> Self {
        let tables = followed.len().max(1);
        let rows = PAGE_ROWS / u32::try_from(tables).unwrap_or(u32::MAX);
        let share = (rows.max(PAGE_ROWS_MIN), (AHEAD_BYTES / tables).max(AHEAD_BYTES_MIN));
        // Tables are merged by what all of them have.
        let commands = followed.iter().all(|one| one.layout.commands);
        let lane = |followed| Lane {
            followed,
            pages: Pages::new((from, window.to), commands),
            ahead: VecDeque::new(),
            rows: share.0,
        };
        let lanes = followed.iter().map(lane).collect();
        Self { client, handover, window, lanes, share }
    }

    /// Hands over all rows but those that wait for a batch to be full.
    ///
    /// # Errors
    /// When a change table cannot be read, or nobody wants the stream any more.
    pub(super) async fn run(mut self) -> Result<(), End> {
        loop {
            while let Some(at) = self.lanes.iter().position(Lane::is_hungry) {
                let alone = self.lanes.iter().filter(|lane| !lane.is_over()).count() == 1;
                let Some(lane) = self.lanes.get_mut(at) else { break };
                let turned = if alone {
                    read_through(self.client, lane, self.handover, self.window).await
                } else {
                    read_ahead(self.client, lane, self.share).await.map_err(End::Failed)
                };
                match turned {
                    Err(End::Failed(error)) => {
                        return Err(lane.followed.explain(self.client, error).await?.into());
                    }
                    turned => turned?,
                }
            }
            let waiting = self.lanes.iter_mut().filter(|lane| !lane.ahead.is_empty());
            let Some(first) = waiting.min_by_key(|lane| lane.next_place()) else { return Ok(()) };
            if let Some((_, captured)) = first.ahead.pop_front() {
                self.handover.push(captured, &first.followed.layout, self.window).await?;
            }
        }
    }
}

/// Reads a page of the only table that has rows left.
async fn read_through(
    client: &mut Client,
    lane: &mut Lane<'_>,
    handover: &mut Handover,
    window: &Window,
) -> Result<(), End> {
    let layout = &lane.followed.layout;
    let Some((sql, params)) = lane.pages.next(layout, PAGE_ROWS) else { return Ok(()) };
    let mut rows = client.read("read the change table", &sql, &params).await?;
    let (mut count, mut last) = (0, None);
    while let Some(row) = rows.next().await? {
        let (place, captured) = read(&row, (lane.followed.number, layout))?;
        (count, last) = (count + 1, Some(lane.pages.placed(place)));
        handover.push(captured, layout, window).await?;
    }
    lane.pages.turned(count >= PAGE_ROWS, last);
    Ok(())
}

/// Reads a page of a table to wait for its turn.
async fn read_ahead(
    client: &mut Client,
    lane: &mut Lane<'_>,
    (rows_max, bytes_max): (u32, usize),
) -> Result<(), SourceError> {
    let layout = &lane.followed.layout;
    let Some((sql, params)) = lane.pages.next(layout, lane.rows) else { return Ok(()) };
    let mut rows = client.read("read the change table ahead", &sql, &params).await?;
    let (mut count, mut bytes, mut last) = (0, 0, None);
    while let Some(row) = rows.next().await? {
        if bytes >= bytes_max {
            continue;
        }
        let (place, captured) = read(&row, (lane.followed.number, layout))?;
        let place = lane.pages.placed(place);
        (count, last) = (count + 1, Some(place));
        bytes += captured.bytes;
        lane.ahead.push_back((place, captured));
    }
    let cut = bytes >= bytes_max;
    lane.pages.turned(cut || count >= lane.rows, last);
    // The rest of a page that was cut was sent in vain: the next one asks for fewer rows.
    lane.rows = if cut { count.max(1) } else { lane.rows.saturating_mul(2).min(rows_max) };
    Ok(())
}
