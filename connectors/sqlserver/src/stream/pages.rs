//! A window of one change table, read page by page.
//!
//! Each page is a statement of its own that ends soon, so that nothing stays locked and no clean-up is held up while the
//! product stores what it got. A transaction may be of any size: a page that ends within one goes on after its last
//! row, in the order of the table's own index, so that no row is looked at twice on the server.

use tiberius::ColumnData;

use change::{Row, SourceError, SourceErrorKind, Value};

use super::assembly::Captured;
use crate::client::Param;
use crate::instance::{CELLS_IN_FRONT, Layout};
use crate::lsn::Lsn;
use crate::value::row_key;

/// By `__$command_id`, not by `__$seqval`, which should not be used to order changes
/// (<https://learn.microsoft.com/en-us/sql/relational-databases/system-tables/cdc-capture-instance-ct-transact-sql>).
const ORDER: &str = "ORDER BY __$start_lsn, __$command_id, __$seqval, __$operation";

/// Where a change table has no such column, there is nothing better, and its index is in this order.
const OLD_ORDER: &str = "ORDER BY __$start_lsn, __$seqval, __$operation";

/// Where a row stands. The order of the fields is the order of the rows, of one change table and across all of them: a
/// transaction's commands are numbered whatever tables they change. A NULL comes first, here as in the server's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    lsn: Lsn,
    /// NULL in rows that were captured before the server kept it.
    command: Option<i64>,
    seqval: Lsn,
    operation: i64,
}

/// Which part comes next. Each is one range of the index; together they are what follows the last row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    SameCommand,
    SameTransaction,
    LaterTransactions,
    Nothing,
}

/// The pages of a window: all transactions after one commit, up to and including another.
#[derive(Debug)]
pub(super) struct Pages {
    from: Lsn,
    to: Lsn,
    last: Option<Place>,
    part: Part,
    /// Whether rows are ordered by the number of their command.
    commands: bool,
}

impl Pages {
    pub(super) fn new((from, to): (Lsn, Lsn), commands: bool) -> Self {
        Self { from, to, last: None, part: Part::LaterTransactions, commands }
    }

    fn order(&self) -> &'static str {
        if self.commands { ORDER } else { OLD_ORDER }
    }

    /// Whether the last page was read.
    pub(super) fn is_over(&self) -> bool {
        self.part == Part::Nothing
    }

    /// The statement for the next page of so many rows at the most, and its parameters; `None` after the last.
    pub(super) fn next(&self, layout: &Layout, rows: u32) -> Option<(String, Vec<Param>)> {
        let mut params = vec![Param::from(i64::from(rows))];
        let condition = match (self.part, &self.last) {
            (Part::Nothing, _) => return None,
            (Part::SameCommand, Some(last)) => self.same_command(last, &mut params),
            (Part::SameTransaction, Some(last)) => Self::same_transaction(last, &mut params),
            _ => {
                params.extend([
                    Param::from(self.last.map_or(self.from, |last| last.lsn)),
                    Param::from(self.to),
                ]);
                "__$start_lsn > CAST(@P2 AS binary(10)) AND __$start_lsn <= CAST(@P3 AS binary(10))"
            }
        };
        let sql = format!(
            "SELECT TOP (@P1) {} FROM {} WHERE {condition} {}",
            layout.select,
            layout.instance.change_table,
            self.order()
        );
        Some((sql, params))
    }

    fn same_command(&self, last: &Place, params: &mut Vec<Param>) -> &'static str {
        params.extend([Param::from(last.lsn), Param::from(last.seqval), Param::from(last.operation)]);
        match last.command {
            _ if !self.commands => {
                "__$start_lsn = CAST(@P2 AS binary(10)) AND __$seqval >= CAST(@P3 AS binary(10)) \
                 AND (__$seqval > CAST(@P3 AS binary(10)) OR __$operation > @P4)"
            }
            Some(command) => {
                params.push(Param::from(command));
                "__$start_lsn = CAST(@P2 AS binary(10)) AND __$command_id = @P5 \
                 AND __$seqval >= CAST(@P3 AS binary(10)) \
                 AND (__$seqval > CAST(@P3 AS binary(10)) OR __$operation > @P4)"
            }
            None => {
                "__$start_lsn = CAST(@P2 AS binary(10)) AND __$command_id IS NULL \
                 AND __$seqval >= CAST(@P3 AS binary(10)) \
                 AND (__$seqval > CAST(@P3 AS binary(10)) OR __$operation > @P4)"
            }
        }
    }

    fn same_transaction(last: &Place, params: &mut Vec<Param>) -> &'static str {
        params.push(Param::from(last.lsn));
        match last.command {
            Some(command) => {
                params.push(Param::from(command));
                "__$start_lsn = CAST(@P2 AS binary(10)) AND __$command_id > @P3"
            }
            // NULL comes first.
            None => "__$start_lsn = CAST(@P2 AS binary(10)) AND __$command_id IS NOT NULL",
        }
    }

    /// Where a row stands in the order of these pages.
    pub(super) fn placed(&self, place: Place) -> Place {
        Place { command: place.command.filter(|_| self.commands), ..place }
    }

    /// Tells what the page had: whether there may be more of the same, and where its last row stands.
    pub(super) fn turned(&mut self, full: bool, last: Option<Place>) {
        self.last = last.or(self.last);
        self.part = match self.part {
            _ if full => Part::SameCommand,
            Part::SameCommand if self.commands => Part::SameTransaction,
            Part::SameCommand | Part::SameTransaction => Part::LaterTransactions,
            Part::LaterTransactions | Part::Nothing => Part::Nothing,
        };
    }
}

/// Reads a row of a page of the table with this number.
///
/// # Errors
/// A protocol error when it is not as it was asked for.
pub(super) fn read(
    row: &tiberius::Row,
    (table, layout): (u16, &Layout),
) -> Result<(Place, Captured), SourceError> {
    let cell = |at: usize| row.get_column_data(at).ok();
    let lsn = |at: usize| match cell(at) {
        Some(ColumnData::Binary(Some(bytes))) => Lsn::from_bytes(bytes),
        _ => None,
    };
    let number = |at: usize| match cell(at) {
        Some(ColumnData::I32(number)) => Some(number.map(i64::from)),
        Some(ColumnData::I64(number)) => Some(*number),
        _ => None,
    };
    let fault = || {
        let context = "read the change table: a row does not begin with the numbers of its change";
        SourceError::new(SourceErrorKind::Protocol, context)
    };
    let operation = number(3).flatten().filter(|operation| (1..=4).contains(operation)).ok_or_else(fault)?;
    let place = Place {
        lsn: lsn(0).ok_or_else(fault)?,
        command: number(1).ok_or_else(fault)?,
        seqval: lsn(2).ok_or_else(fault)?,
        operation,
    };
    let mask = match cell(4) {
        Some(ColumnData::Binary(Some(mask))) => mask.to_vec(),
        _ => Vec::new(),
    };
    let mut bytes = 0;
    let mut values = Vec::with_capacity(layout.kinds.len() + layout.key_kinds.len());
    for (kind, at) in layout.kinds.iter().chain(&layout.key_kinds).zip(CELLS_IN_FRONT..) {
        let Some(cell) = cell(at) else {
            let context = "read the change table: a row has fewer cells than were asked for";
            return Err(SourceError::new(SourceErrorKind::Protocol, context));
        };
        let value = kind.read(cell);
        bytes += size_of::<Value>() + if let Value::Text(text) = &value { text.len() } else { 0 };
        values.push(value);
    }
    let key = values.split_off(layout.kinds.len().min(values.len()));
    let captured = Captured {
        table,
        lsn: place.lsn,
        seqval: place.seqval,
        operation,
        mask,
        row: Row::new(values),
        key: (!key.is_empty()).then(|| row_key(&key)),
        bytes,
    };
    Ok((place, captured))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::Instance;

    fn layout() -> Layout {
        Layout {
            instance: Instance {
                name: "uno".to_owned(),
                object_id: 1,
                change_table: "[cdc].[uno_CT]".to_owned(),
                low: None,
            },
            select: "*".to_owned(),
            kinds: Vec::new(),
            key_kinds: Vec::new(),
            large: Vec::new(),
            commands: true,
        }
    }

    #[test]
    fn rows_of_all_change_tables_have_one_order_and_no_command_comes_before_the_first() {
        let lsn = |number: u8| Lsn::from_bytes(&[0, 0, 0, 0, 0, 0, 0, 0, 0, number]).unwrap();
        let place = |commit: u8, command, seqval: u8, operation| Place {
            lsn: lsn(commit),
            command,
            seqval: lsn(seqval),
            operation,
        };
        let order = [
            place(1, None, 9, 1),
            place(1, Some(1), 8, 2),
            place(1, Some(2), 6, 3),
            place(1, Some(2), 6, 4),
            place(1, Some(2), 7, 1),
            place(2, Some(1), 1, 1),
        ];
        assert!(order.is_sorted());
    }

    #[test]
    fn what_follows_a_full_page_is_its_command_then_its_transaction_then_the_rest() {
        let lsn = |number: u8| Lsn::from_bytes(&[0, 0, 0, 0, 0, 0, 0, 0, 0, number]).unwrap();
        let mut pages = Pages::new((lsn(1), lsn(9)), true);
        let place = Place { lsn: lsn(5), command: Some(3), seqval: lsn(4), operation: 2 };
        let condition = |pages: &Pages| pages.next(&layout(), 10).map(|(sql, params)| (sql, params.len()));
        let (sql, params) = condition(&pages).unwrap();
        assert!(sql.contains("__$start_lsn > ") && params == 3, "{sql}");
        pages.turned(true, Some(place));
        let (sql, params) = condition(&pages).unwrap();
        assert!(sql.contains("__$command_id = @P5") && params == 5, "{sql}");
        pages.turned(true, Some(place));
        assert!(condition(&pages).unwrap().0.contains("__$command_id = @P5"));
        pages.turned(false, None);
        let (sql, params) = condition(&pages).unwrap();
        assert!(sql.contains("__$command_id > @P3") && params == 3, "{sql}");
        pages.turned(false, Some(Place { command: None, ..place }));
        let (sql, _) = condition(&pages).unwrap();
        assert!(sql.contains("__$start_lsn > "), "{sql}");
        pages.turned(false, Some(place));
        assert!(condition(&pages).is_none() && pages.is_over());
    }

    #[test]
    fn a_table_without_numbers_of_commands_is_read_by_its_sequence() {
        let lsn = |number: u8| Lsn::from_bytes(&[0, 0, 0, 0, 0, 0, 0, 0, 0, number]).unwrap();
        let mut pages = Pages::new((lsn(1), lsn(9)), false);
        let place = Place { lsn: lsn(5), command: Some(3), seqval: lsn(4), operation: 2 };
        assert_eq!(pages.placed(place), Place { command: None, ..place });
        let sql = |pages: &Pages| pages.next(&layout(), 10).map(|(sql, _)| sql).unwrap();
        pages.turned(true, Some(pages.placed(place)));
        let same = sql(&pages);
        assert!(same.contains("__$seqval > ") && same.ends_with(OLD_ORDER), "{same}");
        pages.turned(false, Some(pages.placed(place)));
        let later = sql(&pages);
        assert!(later.contains("__$start_lsn > ") && !same.contains("command"), "{later}");
    }
}
