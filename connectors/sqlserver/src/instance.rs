//! Capture instances: which of the table's changes the server keeps, in which table, and from where on.
//!
//! A table has two at the most, so that another set of columns can be captured before the old one is given up
//! (<https://learn.microsoft.com/en-us/sql/relational-databases/track-changes/about-change-data-capture-sql-server#capture-instance>).
//! Both carry every change from their own low end on. So the stream may pass from one to the other wherever both
//! reach, and nothing is skipped or repeated: it does so as soon as the newer one covers what comes next.

use change::{SourceError, SourceErrorKind, TableScope};

use crate::catalog::{Column, Table, columns};
use crate::client::{Client, Param};
use crate::config::SqlServerConfig;
use crate::identity::lost;
use crate::lsn::Lsn;
use crate::name::{quote_ident, quote_literal};
use crate::setup::{enable_table, free_name};
use crate::value::Kind;

/// Columns that stand before the captured ones in every change table
/// (<https://learn.microsoft.com/en-us/sql/relational-databases/system-tables/cdc-capture-instance-ct-transact-sql>).
const LEADING_COLUMNS: i64 = 5;
/// The column that numbers the commands of a transaction; it stands behind the captured ones.
const COMMAND: &str = "__$command_id";

/// A capture instance, as the server lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Instance {
    /// Its name.
    pub(crate) name: String,
    /// The number of its change table.
    pub(crate) object_id: i64,
    /// Its change table, as SQL takes it.
    pub(crate) change_table: String,
    /// The low end: changes from here on are kept, itself included. `None` until the capture has seen the instance.
    pub(crate) low: Option<Lsn>,
}

impl Instance {
    /// Whether everything after `from` is kept.
    pub(crate) fn covers(&self, from: Lsn) -> bool {
        self.low.is_some_and(|low| low <= from.next())
    }
}

/// The table's capture instances, the oldest first.
///
/// The low end is read where it is kept: `sys.fn_cdc_get_min_lsn` answers the same, and 0x0 both for an instance that
/// does not exist and for a reader who may not see it, which are told apart here: by a missing row, and by the
/// server's refusal
/// (<https://learn.microsoft.com/en-us/sql/relational-databases/system-tables/cdc-change-tables-transact-sql>).
///
/// # Errors
/// A configuration error when the database captures nothing, a permission error without SELECT on the schema `cdc`.
pub(crate) async fn list(client: &mut Client, table: &Table) -> Result<Vec<Instance>, SourceError> {
    let sql = "SELECT i.capture_instance, i.object_id, s.name, t.name, i.start_lsn \
               FROM cdc.change_tables AS i LEFT JOIN sys.tables AS t ON t.object_id = i.object_id \
               LEFT JOIN sys.schemas AS s ON s.schema_id = t.schema_id \
               WHERE i.source_object_id = @P1 ORDER BY i.create_date, i.object_id";
    let asked = client.rows("list the table's capture instances", sql, &[Param::from(table.object_id)]).await;
    let rows = asked.map_err(|error| match error.kind() {
        SourceErrorKind::Schema => SourceError::new(
            SourceErrorKind::Configuration,
            "change data capture is not enabled in the database",
        )
        .with_hint("EXEC sys.sp_cdc_enable_db: `bitacora setup` prints all that it takes")
        .caused_by(error),
        _ => error,
    })?;
    rows.iter()
        .map(|row| {
            let name = row.text(0)?;
            let change_table = match (row.optional_text(2)?, row.optional_text(3)?) {
                (Some(schema), Some(table)) => format!("{}.{}", quote_ident(schema), quote_ident(table)),
                _ => format!("[cdc].{}", quote_ident(&format!("{name}_CT"))),
            };
            Ok(Instance { name, object_id: row.number(1)?, change_table, low: row.optional_lsn(4)? })
        })
        .collect()
}

/// The role that guards an instance's functions; `None` where everybody may call them.
///
/// # Errors
/// When the server cannot be asked.
pub(crate) async fn guard(client: &mut Client, instance: &Instance) -> Result<Option<String>, SourceError> {
    let sql = "SELECT role_name FROM cdc.change_tables WHERE object_id = @P1";
    let params = [Param::from(instance.object_id)];
    let rows = client.rows("ask who guards the capture instance", sql, &params).await?;
    Ok(rows.first().map(|row| row.optional_text(0)).transpose()?.flatten().map(str::to_owned))
}

/// Where a column's bit is in the mask of a change, which has the lowest columns in its last byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MaskBit {
    byte_from_end: usize,
    bit: u8,
}

impl MaskBit {
    pub(crate) fn of(column_id: i64) -> Option<Self> {
        let ordinal = usize::try_from(column_id - LEADING_COLUMNS - 1).ok()?;
        Some(Self { byte_from_end: ordinal / 8, bit: 1 << (ordinal % 8) })
    }

    /// Whether the change touched the column.
    pub(crate) fn is_set(self, mask: &[u8]) -> bool {
        mask.iter().rev().nth(self.byte_from_end).is_some_and(|byte| byte & self.bit != 0)
    }
}

/// What is read of a change table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    /// The instance.
    pub(crate) instance: Instance,
    /// The expressions to select: what tells the change, its mask, the mapped columns, and those of the key.
    pub(crate) select: String,
    /// How the mapped cells are read.
    pub(crate) kinds: Vec<Kind>,
    /// How the key's cells are read; none where no keys are wanted, or not all of its columns are captured.
    pub(crate) key_kinds: Vec<Kind>,
    /// Of each mapped column that may be left out of what a row was before: where the mask says so.
    pub(crate) large: Vec<(usize, MaskBit)>,
    /// Whether the change table numbers the commands of a transaction. One that was made before the updates of 2017, and not
    /// altered by them, does not
    /// (<https://learn.microsoft.com/en-us/sql/relational-databases/system-tables/cdc-capture-instance-ct-transact-sql>).
    pub(crate) commands: bool,
}

/// The cells of every row in front of the mapped ones.
pub(crate) const CELLS_IN_FRONT: usize = 5;

/// Why an instance cannot serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lacking {
    /// The instance's name.
    pub(crate) instance: String,
    /// The mapped columns that it does not have, or not as something that a record can carry.
    pub(crate) columns: Vec<String>,
}

impl Layout {
    /// Works out what to read of the instance.
    ///
    /// # Errors
    /// When the catalogue cannot be read. `Ok(Err(_))` when the instance lacks mapped columns.
    pub(crate) async fn look_up(
        client: &mut Client,
        table: &Table,
        keys: bool,
        instance: &Instance,
    ) -> Result<Result<Self, Lacking>, SourceError> {
        let captured = columns(client, instance.object_id).await?;
        Ok(Self::new(table, keys, instance, &captured))
    }

    fn new(table: &Table, keys: bool, instance: &Instance, captured: &[Column]) -> Result<Self, Lacking> {
        let find = |wanted: &Column| captured.iter().find(|column| column.name == wanted.name);
        let mut expressions = Vec::new();
        let (mut kinds, mut large, mut absent) = (Vec::new(), Vec::new(), Vec::new());
        for (place, wanted) in table.mapped_columns().enumerate() {
            match find(wanted).map(|column| (column, column.kind())) {
                Some((column, Ok(kind))) => {
                    expressions.push(column.expression());
                    kinds.push(kind);
                    large.extend(
                        column
                            .is_large()
                            .then(|| MaskBit::of(column.column_id))
                            .flatten()
                            .map(|bit| (place, bit)),
                    );
                }
                _ => absent.push(wanted.name.clone()),
            }
        }
        if !absent.is_empty() {
            return Err(Lacking { instance: instance.name.clone(), columns: absent });
        }
        let key: Option<Vec<(String, Kind)>> = table
            .key_columns()
            .map(|wanted| find(wanted).and_then(|column| Some((column.expression(), column.kind().ok()?))))
            .collect();
        let (key_expressions, key_kinds): (Vec<String>, Vec<Kind>) =
            key.filter(|_| keys).unwrap_or_default().into_iter().unzip();
        let mask = if large.is_empty() { "NULL" } else { "__$update_mask" };
        let commands = captured.iter().any(|column| column.name == COMMAND);
        let command = if commands { COMMAND } else { "CAST(NULL AS int)" };
        let front = format!("__$start_lsn, {command}, __$seqval, __$operation, {mask}");
        let select: Vec<String> = std::iter::once(front).chain(expressions).chain(key_expressions).collect();
        let instance = instance.clone();
        Ok(Self { instance, select: select.join(", "), kinds, key_kinds, large, commands })
    }
}

/// The instances in the order in which they are wanted: the configured one, then the newest.
pub(crate) fn by_preference<'a>(instances: &'a [Instance], config: &SqlServerConfig) -> Vec<&'a Instance> {
    let configured = config.capture_instance.as_deref();
    let mut wanted: Vec<&Instance> = instances.iter().rev().collect();
    wanted.sort_by_key(|instance| Some(instance.name.as_str()) != configured);
    wanted
}

/// The layout of the instance to read what follows `from` in.
///
/// # Errors
/// A configuration error when the table is not captured, a schema error when no instance has the mapped columns, and
/// [`SourceErrorKind::LostLog`] when none that has them reaches back to `from`.
pub(crate) async fn choose(
    client: &mut Client,
    config: &SqlServerConfig,
    (table, scope): (&Table, &TableScope),
    from: Lsn,
) -> Result<Layout, SourceError> {
    let instances = list(client, table).await?;
    if instances.is_empty() {
        return Err(not_captured(table));
    }
    let mut lacking = Vec::new();
    let mut short = Vec::new();
    for instance in by_preference(&instances, config) {
        match Layout::look_up(client, table, scope.keys, instance).await? {
            Ok(layout) if instance.covers(from) => return Ok(layout),
            Ok(_) => short.push(instance),
            Err(what) => lacking.push(what),
        }
    }
    Err(match short.first() {
        None => lacks_columns(table, &lacking),
        Some(_) if short.iter().all(|instance| instance.low.is_none()) => not_seen_yet(table),
        Some(instance) => too_late(instance, from),
    })
}

/// The error for a table of which nothing is captured.
pub(crate) fn not_captured(table: &Table) -> SourceError {
    SourceError::new(
        SourceErrorKind::Configuration,
        format!("table {} has no capture instance", table.quoted()),
    )
    .with_hint(
        "EXEC sys.sp_cdc_enable_table: `bitacora setup` prints it with the columns that the mapping needs",
    )
}

fn not_seen_yet(table: &Table) -> SourceError {
    let context = format!("the capture job has not seen the capture instance of {} yet", table.quoted());
    SourceError::new(SourceErrorKind::Busy, context).with_hint(
        "it does within seconds where SQL Server Agent and the capture job run: `bitacora check` tells",
    )
}

/// The error for changes that are no longer kept.
pub(crate) fn too_late(instance: &Instance, from: Lsn) -> SourceError {
    let low = instance.low.unwrap_or_default();
    lost(format!(
        "capture instance \"{}\" keeps changes from {low} on, and what follows {from} is needed: it was cleaned up",
        instance.name
    ))
}

fn lacks_columns(table: &Table, lacking: &[Lacking]) -> SourceError {
    let faults: Vec<String> = lacking
        .iter()
        .map(|one| format!("capture instance \"{}\" lacks {}", one.instance, one.columns.join(", ")))
        .collect();
    let taken: Vec<&str> = lacking.iter().map(|one| one.instance.as_str()).collect();
    let make = enable_table(table, Some(&free_name(table, &taken)));
    let hint = match lacking {
        // The newest is wanted first.
        [_, oldest, ..] => format!(
            "a table has two instances at the most: EXEC sys.sp_cdc_disable_table {}, {}, {}; then {make}",
            quote_literal(&table.schema),
            quote_literal(&table.name),
            quote_literal(&oldest.instance)
        ),
        _ => make,
    };
    SourceError::new(SourceErrorKind::Schema, faults.join("; ")).with_hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::tests::table;
    use crate::config::tests::config;

    fn instance(name: &str, object_id: i64, low: Option<&str>) -> Instance {
        let low = low.map(|low| low.parse().unwrap());
        Instance { name: name.to_owned(), object_id, change_table: format!("[cdc].[{name}_CT]"), low }
    }

    #[test]
    fn an_instance_covers_what_follows_its_low_end_and_the_place_just_before() {
        let from: Lsn = "0x00000027000007580005".parse().unwrap();
        for (low, covers) in [
            (Some("0x00000027000007580004"), true),
            (Some("0x00000027000007580006"), true),
            (Some("0x00000027000007580007"), false),
            (None, false),
        ] {
            assert_eq!(instance("a", 1, low).covers(from), covers, "{low:?}");
        }
    }

    #[test]
    fn the_configured_instance_is_wanted_first_and_then_the_newest() {
        let both = [instance("uno", 1, None), instance("dos", 2, None)];
        let names = |config: &SqlServerConfig| -> Vec<String> {
            by_preference(&both, config).into_iter().map(|one| one.name.clone()).collect()
        };
        assert_eq!(names(&config()), ["dos", "uno"]);
        let chosen = SqlServerConfig { capture_instance: Some("uno".to_owned()), ..config() };
        assert_eq!(names(&chosen), ["uno", "dos"]);
    }

    #[test]
    fn the_lowest_columns_are_in_the_last_byte_of_a_mask() {
        let bit = |column_id: i64| MaskBit::of(column_id).unwrap();
        assert!(bit(6).is_set(&[0x00, 0x01]) && !bit(6).is_set(&[0x01, 0x00]));
        assert!(bit(14).is_set(&[0x01, 0x00]) && !bit(14).is_set(&[0x01]));
        assert!(bit(13).is_set(&[0x80]));
        assert_eq!(MaskBit::of(5), None);
    }

    #[test]
    fn an_instance_without_a_mapped_column_says_which_and_how_to_mend_it() {
        let table = table(&[("id", "int"), ("estado", "tinyint"), ("nota", "nvarchar")]);
        let captured: Vec<Column> = table.columns.iter().take(2).cloned().collect();
        let lacking = Layout::new(&table, true, &instance("uno", 1, None), &captured).unwrap_err();
        assert_eq!(lacking.columns, ["nota"]);
        let error = lacks_columns(&table, &[lacking]);
        assert_eq!(error.kind(), SourceErrorKind::Schema);
        let hint = error.hint().unwrap();
        assert!(hint.contains("@captured_column_list = N'[id], [estado], [nota]'"), "{hint}");
    }
}
