//! Row changes to ledger entries.

use std::sync::Arc;

use change::{Batch, Change, Incident, Operation, Page, Position, Row, RowKey, Transaction};
use chrono_tz::Tz;
use ledger::{
    Captured, CapturedRows, Declared, Entry, Ingest, RejectedRow, StagedPage, StagedRows, TableId, Unjoined,
};
use normalizer::{Mapping, NormalizedRow, Rejection, Rows, Table, Tables};

use crate::error::PipelineError;

/// Turns a piece of the log into what the ledger stores of it.
pub(crate) fn ingest(declared: &Declared, batch: Batch, captured_at: i64) -> Ingest {
    let mut ingest = Ingest {
        captured: CapturedRows::new(captured_at),
        rejected: Vec::new(),
        changes: batch.changes.len() as u64,
        position: batch.position,
    };
    let emptied = emptied_parents(declared, &batch.incidents);
    let mut emptied = emptied.into_iter().peekable();
    let mut moment = captured_at;
    for (place, change) in batch.changes.into_iter().enumerate() {
        while let Some((_, table, position)) = emptied.next_if(|(after, ..)| *after <= place) {
            ingest.captured.push(&emptied_parent(declared, table, (position, moment)));
        }
        moment = change.transaction.committed_at;
        let Some(table) = declared.tables().table(change.table) else { continue };
        let id = declared.id(change.table);
        if table.is_joined() || !table.mirrors.is_empty() {
            ingest.captured.push(&unjoined(declared, table, &change));
        }
        let Some(mapped) = table.mapped.as_ref().filter(|_| !table.is_joined()) else { continue };
        let mapping = &mapped.mapping;
        let entry = match Entry::of(normalizer::normalize(mapping, &change)) {
            Ok(None) => continue,
            Ok(Some(entry)) => entry,
            Err(rejection) => {
                let broken = rejection.request.clone();
                ingest.rejected.push(rejected_change((id, mapping), &change, rejection));
                match broken {
                    Some(request) => Entry::Broken(request),
                    None => continue,
                }
            }
        };
        ingest.captured.push(&captured(id, entry, change));
    }
    for (_, table, position) in emptied {
        ingest.captured.push(&emptied_parent(declared, table, (position, moment)));
    }
    ingest
}

/// Parents' tables that were emptied at once: after how many changes each, and where.
fn emptied_parents(declared: &Declared, incidents: &[Incident]) -> Vec<(usize, u16, Position)> {
    let is_parent =
        |table: u16| declared.tables().table(table).is_some_and(|table| !table.mirrors.is_empty());
    let emptied = incidents.iter().filter_map(|incident| match incident {
        Incident::Truncated { table, position, after } if is_parent(*table) => {
            Some((*after, *table, position.clone()))
        }
        _ => None,
    });
    emptied.collect()
}

fn emptied_parent(declared: &Declared, table: u16, (position, committed_at): (Position, i64)) -> Captured {
    Captured {
        table: declared.id(table),
        entry: Entry::Unjoined(Unjoined::emptied(declared.shape(table))),
        row_key: None,
        old_row_key: None,
        transaction: Arc::new(Transaction { position, committed_at }),
    }
}

/// A row that is joined when it is settled, or that others are joined to. The ledger learns of it whatever it says.
fn unjoined(declared: &Declared, table: &Table, change: &Change) -> Captured {
    let is_parent = !table.mirrors.is_empty();
    let former = change.before.as_ref().filter(|_| is_parent && change.operation == Operation::Update);
    let entry = Entry::Unjoined(Unjoined {
        shape: declared.shape(change.table),
        operation: Some(change.operation),
        row: normalizer::whole_row(change).map(std::borrow::Cow::into_owned),
        former: former.cloned(),
        is_child: table.is_joined(),
    });
    Captured {
        table: declared.id(change.table),
        entry,
        row_key: change.key.clone(),
        old_row_key: change.old_key.clone(),
        transaction: change.transaction.clone(),
    }
}

fn captured(table: TableId, entry: Entry, change: Change) -> Captured {
    let (row_key, old_row_key) = match entry {
        // The row that left was known by the key that it had.
        Entry::Departure { .. } => (change.old_key.or(change.key), None),
        _ => (change.key, change.old_key),
    };
    Captured { table, entry, row_key, old_row_key, transaction: change.transaction }
}

fn rejected_change(
    (table, mapping): (TableId, &Mapping),
    change: &Change,
    rejection: Rejection,
) -> RejectedRow {
    let transaction: &Arc<Transaction> = &change.transaction;
    RejectedRow {
        table,
        code: rejection.code,
        reason: rejection.reason,
        request: rejection.request,
        row_key: change.key.clone().filter(|_| mapping.rows() == Rows::History),
        row: normalizer::store_change(mapping, change),
        position: Some(transaction.position.clone()),
        at: transaction.committed_at,
    }
}

/// Turns a page of a snapshot into what the ledger stores of it; `moment` is when the copy was made.
pub(crate) fn stage(declared: &Declared, page: Page, moment: i64) -> StagedPage {
    let id = declared.id(page.table);
    let mut staged = StagedPage {
        table: id,
        scanned: page.rows.len() as u64,
        fence: page.fence,
        cursor: page.cursor,
        at: moment,
        ..StagedPage::default()
    };
    let Some(table) = declared.tables().table(page.table) else { return staged };
    if table.is_joined() || !table.mirrors.is_empty() {
        let shape = declared.shape(page.table);
        page.rows.iter().for_each(|(row, key)| staged.unjoined.push(shape, row, key.as_ref()));
    }
    let Some(mapped) = table.mapped.as_ref().filter(|_| !table.is_joined()) else { return staged };
    staged.rows = StagedRows::with_capacity(page.rows.len());
    for (row, key) in page.rows {
        take(&mut staged, (&mapped.mapping, declared.tables().zone()), &row, key);
    }
    staged
}

/// Adds a row as its mapping reads it.
pub(crate) fn take(staged: &mut StagedPage, (mapping, zone): (&Mapping, Tz), row: &Row, key: Option<RowKey>) {
    match normalizer::normalize_row(mapping, row, staged.at) {
        NormalizedRow::BeforeFloor | NormalizedRow::LeftOut => {}
        NormalizedRow::Record(change) => {
            let month = normalizer::month_of(change.opening_at, zone);
            staged.rows.push(&change, month, key.as_ref());
        }
        NormalizedRow::Rejected(rejection) => {
            let key = key.filter(|_| mapping.rows() == Rows::History);
            let rejected = rejected_row((staged.table, mapping), (row, key), rejection, staged.at);
            staged.rejected.push(rejected);
        }
    }
}

/// Whether a row of a history came without the key that tells it apart.
pub(crate) fn lacks_key(table: Option<&Table>, key: Option<&RowKey>) -> bool {
    let mapped = table.and_then(|table| table.mapped.as_ref());
    key.is_none() && mapped.is_some_and(|mapped| mapped.mapping.rows() == Rows::History)
}

/// Fails for a page of a history whose rows cannot be told apart.
pub(crate) fn require_keys(tables: &Tables, page: &Page) -> Result<(), PipelineError> {
    let table = tables.table(page.table);
    if page.rows.iter().any(|(_, key)| lacks_key(table, key.as_ref())) {
        return Err(PipelineError::no_key());
    }
    Ok(())
}

fn rejected_row(
    (table, mapping): (TableId, &Mapping),
    (row, row_key): (&Row, Option<RowKey>),
    rejection: Rejection,
    moment: i64,
) -> RejectedRow {
    RejectedRow {
        table,
        code: rejection.code,
        reason: rejection.reason,
        request: rejection.request,
        row_key,
        row: normalizer::store_row(mapping, row),
        position: None,
        at: moment,
    }
}

#[cfg(test)]
mod tests {
    use change::{Text, Value};
    use ledger::Ledger;
    use normalizer::{Field, JoinConfig, MappingConfig, OnDelete, TableConfig, TimeField};

    use super::*;

    fn tables() -> Tables {
        let column = |name: &str| Field::Column { column: name.into(), map: None };
        let mapping = MappingConfig {
            service_id: Field::Value("101".into()),
            request_id: column("numero"),
            opening_date: TimeField::Value("2024-05-01".into()),
            status_id: column("estado"),
            last_modified_date: TimeField::CommitTime,
            on_delete: OnDelete::Ignore,
            condition: None,
            rows: Rows::Requests,
            floor: chrono::NaiveDate::from_ymd_opt(2020, 1, 1).unwrap(),
            zone: Tz::UTC,
        };
        let join = JoinConfig {
            table: "padres".into(),
            on: vec![("padre_id".into(), "id".into())],
            columns: vec!["numero".into()],
        };
        Tables::new(vec![TableConfig { table: "hijas".into(), mapping, joins: vec![join] }], Tz::UTC).unwrap()
    }

    #[test]
    fn that_parents_went_at_once_is_told_where_it_happened_among_the_changes() {
        let dir = tempfile::tempdir().unwrap();
        let declared = Ledger::open(dir.path(), "test").unwrap().declare_tables(Arc::new(tables())).unwrap();
        let transaction = Arc::new(Transaction { position: Position::new("0/1"), committed_at: 7 });
        let parent = |id: i64| Change {
            table: 0,
            operation: Operation::Insert,
            before: None,
            after: Some(Row::new(vec![Value::Int(id), Value::Text(Text::from("A"))])),
            key: Some(RowKey::from_columns(["1"])),
            old_key: None,
            transaction: transaction.clone(),
        };
        let emptied = |table, after| Incident::Truncated { table, position: Position::new("0/1"), after };
        let batch = Batch {
            changes: vec![parent(1), parent(2)],
            // That of the children says nothing of parents.
            incidents: vec![emptied(0, 0), emptied(1, 1), emptied(0, 1), emptied(0, 2)],
            ..Batch::default()
        };
        let ingest = ingest(&declared, batch, 9);
        let gone = |at| emptied_parent(&declared, 0, (Position::new("0/1"), at));
        let came = |id| unjoined(&declared, declared.tables().table(0).unwrap(), &parent(id));
        let expected = [gone(9), came(1), gone(7), came(2), gone(7)];
        assert_eq!(ingest.captured, CapturedRows::pack(9, &expected));
        assert_eq!(ingest.changes, 2);
    }
}
