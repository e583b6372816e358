//! All tables that one connector reads: which are mapped, which are parents, and what of each is captured.

use std::collections::BTreeMap;

use chrono_tz::Tz;

use crate::join::{Join, JoinConfig, Mapped, Mirror, Origin};
use crate::mapping::{Mapping, MappingConfig, MappingError};

/// A table and its mapping, as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableConfig {
    /// The table, as the configuration names it.
    pub table: String,
    /// How its rows become records.
    pub mapping: MappingConfig,
    /// What its rows are joined to.
    pub joins: Vec<JoinConfig>,
}

/// Something wrong in the configuration of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableError {
    /// The table's place in the configuration.
    pub table: usize,
    /// The place of the join that is at fault, if one is; else the mapping is.
    pub join: Option<usize>,
    /// What is wrong.
    pub error: MappingError,
}

/// All tables that a connector reads, parents before those whose rows they join.
///
/// A table's place is its number. A table that is mapped and is also another's parent is read once.
#[derive(Debug, Clone)]
pub struct Tables {
    tables: Vec<Table>,
    mirrors: Vec<Mirror>,
    zone: Tz,
}

/// One table.
#[derive(Debug, Clone)]
pub struct Table {
    /// The table, as the configuration names it.
    pub name: String,
    /// What of its rows is captured, each column once.
    pub columns: Vec<String>,
    /// How its rows become records; `None` for a table that is only a parent.
    pub mapped: Option<Mapped>,
    /// Which of [`Tables::mirrors`] its rows are kept in, as parents of others.
    pub mirrors: Vec<usize>,
}

impl Table {
    /// Whether changes and copied rows must carry their keys.
    #[must_use]
    pub fn needs_keys(&self) -> bool {
        !self.mirrors.is_empty() || self.mapped.as_ref().is_some_and(|mapped| mapped.mapping.needs_keys())
    }

    /// Whether its rows mean something only together with those of other tables.
    #[must_use]
    pub fn is_joined(&self) -> bool {
        self.mapped.as_ref().is_some_and(|mapped| !mapped.joins.is_empty())
    }

    fn place(&mut self, column: &str) -> usize {
        self.columns.iter().position(|known| known == column).unwrap_or_else(|| {
            self.columns.push(column.to_owned());
            self.columns.len() - 1
        })
    }
}

impl Tables {
    /// Checks the tables' configurations and puts them in the order in which they are read. Months are those of `zone`.
    ///
    /// # Errors
    /// All that is wrong with them, never only the first.
    pub fn new(configs: Vec<TableConfig>, zone: Tz) -> Result<Self, Vec<TableError>> {
        let (order, mut errors) = order(&configs);
        let names: Vec<&str> = configs.iter().map(|config| config.table.as_str()).collect();
        for (place, name) in names.iter().enumerate() {
            if names.iter().take(place).any(|known| known == name) {
                let message = format!("table \"{name}\" is configured twice");
                errors.push(complaint((place, None), "table", message, "give each table one mapping"));
            }
        }
        let empty = |name: String| Table { name, columns: Vec::new(), mapped: None, mirrors: Vec::new() };
        let tables = order.into_iter().map(empty).collect();
        let mut build = Self { tables, mirrors: Vec::new(), zone };
        let mut checked = Vec::with_capacity(configs.len());
        for (place, config) in configs.into_iter().enumerate() {
            match Checked::new(place, config) {
                Ok(config) => checked.push(config),
                Err(wrong) => errors.extend(wrong),
            }
        }
        // A table that stands for itself carries its mapping's columns first, and what its children need after them.
        checked.iter().for_each(|config| build.place_own(config));
        checked.into_iter().for_each(|config| build.put(config));
        if errors.is_empty() { Ok(build) } else { Err(errors) }
    }

    /// One table that stands for itself.
    #[must_use]
    pub fn single(name: impl Into<String>, mapping: Mapping, zone: Tz) -> Self {
        let columns = mapping.columns().to_vec();
        let cells = (0..columns.len()).map(Origin::Own).collect();
        let mapped = Some(Mapped { mapping, joins: Vec::new(), cells });
        Self {
            tables: vec![Table { name: name.into(), columns, mapped, mirrors: Vec::new() }],
            mirrors: Vec::new(),
            zone,
        }
    }

    /// The tables, in the order of their numbers.
    #[must_use]
    pub fn tables(&self) -> &[Table] {
        &self.tables
    }

    /// The table with this number.
    #[must_use]
    pub fn table(&self, number: u16) -> Option<&Table> {
        self.tables.get(usize::from(number))
    }

    /// The tables that are mapped, with their numbers.
    pub fn mapped(&self) -> impl Iterator<Item = (u16, &Table, &Mapped)> {
        (0..).zip(&self.tables).filter_map(|(number, table)| Some((number, table, table.mapped.as_ref()?)))
    }

    /// What must be known of parents.
    #[must_use]
    pub fn mirrors(&self) -> &[Mirror] {
        &self.mirrors
    }

    /// The zone whose months a backfill is cut by.
    #[must_use]
    pub fn zone(&self) -> Tz {
        self.zone
    }

    /// Whether the same of the same tables is read, in the same order, whatever is made of it.
    #[must_use]
    pub fn reads_as(&self, other: &Self) -> bool {
        let same = |one: &Table, other: &Table| {
            let rows = |table: &Table| {
                let mapping = table.mapped.as_ref().map(|mapped| &mapped.mapping);
                mapping.map(|mapping| (mapping.condition().cloned(), mapping.rows()))
            };
            one.name == other.name && one.columns == other.columns && rows(one) == rows(other)
        };
        self.tables.len() == other.tables.len()
            && self.mirrors == other.mirrors
            && self.tables.iter().zip(&other.tables).all(|(one, other)| same(one, other))
    }

    fn number(&self, name: &str) -> usize {
        self.tables.iter().position(|table| table.name == name).unwrap_or_default()
    }

    fn place_own(&mut self, config: &Checked) {
        let number = self.number(&config.name);
        let Some(table) = self.tables.get_mut(number) else { return };
        for (column, parent) in config.mapping.columns().iter().zip(&config.parents) {
            if parent.is_none() {
                table.place(column);
            }
        }
    }

    /// Puts a table and what it needs of its parents in place.
    fn put(&mut self, config: Checked) {
        let Checked { name, mapping, joins: configs, parents } = config;
        let mut mirrors = Vec::with_capacity(configs.len());
        for (place, join) in configs.iter().enumerate() {
            let of_join = parents.iter().flatten().filter(|(used, _)| *used == place);
            let used: Vec<&str> = of_join.map(|(_, column)| column.as_str()).collect();
            mirrors.push(self.mirror(join, &used));
        }
        let number = self.number(&name);
        let Some(table) = self.tables.get_mut(number) else { return };
        let mut cells = Vec::with_capacity(parents.len());
        for (column, parent) in mapping.columns().iter().zip(&parents) {
            cells.push(match parent {
                None => Origin::Own(table.place(column)),
                Some((join, column)) => {
                    let mirror = mirrors.get(*join).and_then(|mirror| self.mirrors.get(*mirror));
                    let cell =
                        mirror.and_then(|mirror| mirror.columns.iter().position(|known| known == column));
                    Origin::Parent(*join, cell.unwrap_or_default())
                }
            });
        }
        let join = |(mirror, join): (usize, &JoinConfig)| Join {
            mirror,
            key: join.on.iter().map(|(child, _)| table.place(child)).collect(),
            reason: reason(&name, join),
        };
        let joins = mirrors.into_iter().zip(&configs).map(join).collect();
        table.mapped = Some(Mapped { mapping, joins, cells });
    }

    /// The mirror for a join that takes these columns: one for all joins by the same key.
    fn mirror(&mut self, join: &JoinConfig, used: &[&str]) -> usize {
        let number = self.number(&join.table);
        let key_columns: Vec<String> = join.on.iter().map(|(_, parent)| parent.clone()).collect();
        let is_same =
            |mirror: &Mirror| usize::from(mirror.table) == number && mirror.key_columns == key_columns;
        let found = self.mirrors.iter().position(is_same).unwrap_or_else(|| {
            let table = u16::try_from(number).unwrap_or(u16::MAX);
            let (columns, cells) = (Vec::new(), Vec::new());
            self.mirrors.push(Mirror { table, key_columns, columns, key: Vec::new(), cells });
            self.mirrors.len() - 1
        });
        let (Some(mirror), Some(table)) = (self.mirrors.get_mut(found), self.tables.get_mut(number)) else {
            return found;
        };
        if !table.mirrors.contains(&found) {
            table.mirrors.push(found);
            mirror.key = mirror.key_columns.iter().map(|column| table.place(column)).collect();
        }
        for column in used {
            if !mirror.columns.iter().any(|known| known == column) {
                mirror.columns.push((*column).to_owned());
                mirror.cells.push(table.place(column));
            }
        }
        found
    }
}

/// A table's configuration that has nothing wrong in it by itself.
struct Checked {
    name: String,
    mapping: Mapping,
    joins: Vec<JoinConfig>,
    /// Of each mapped column, the join and the parent's column that it is taken from, if it is.
    parents: Vec<Option<(usize, String)>>,
}

impl Checked {
    fn new(place: usize, config: TableConfig) -> Result<Self, Vec<TableError>> {
        let TableConfig { table, mapping, joins } = config;
        let wrong = |error| TableError { table: place, join: None, error };
        let mapping =
            Mapping::new(mapping).map_err(|errors| errors.into_iter().map(wrong).collect::<Vec<_>>())?;
        let mut errors = Vec::new();
        let mut parents = Vec::with_capacity(mapping.columns().len());
        for name in mapping.columns() {
            match meant(&joins, name) {
                Ok(meant) => parents.push(meant.map(|(join, column)| (join, column.to_owned()))),
                Err(message) => {
                    let hint = format!("write the table before it, such as \"{table}.{name}\"");
                    errors.push(complaint((place, None), mapping.field_named(name), message, hint));
                }
            }
        }
        for (join, parent) in joins.iter().enumerate() {
            if !parents.iter().flatten().any(|(used, _)| *used == join) {
                let message = format!("the mapping names no column of table \"{}\"", parent.table);
                let hint = "list in `columns` what the mapping takes from it, or leave the join out";
                errors.push(complaint((place, Some(join)), "columns", message, hint));
            }
        }
        if errors.is_empty() { Ok(Self { name: table, mapping, joins, parents }) } else { Err(errors) }
    }
}

/// The join, by its place, and the column of it that the mapping means by `name`.
fn meant<'a>(joins: &'a [JoinConfig], name: &'a str) -> Result<Option<(usize, &'a str)>, String> {
    let mut found = joins.iter().enumerate().filter_map(|(place, join)| Some((place, join.column(name)?)));
    match (found.next(), found.next()) {
        (Some(_), Some(_)) => Err(format!("column \"{name}\" is joined from more than one table")),
        (first, _) => Ok(first),
    }
}

fn reason(table: &str, join: &JoinConfig) -> String {
    let names = |side: fn(&(String, String)) -> &String| {
        let quoted: Vec<String> = join.on.iter().map(|pair| format!("\"{}\"", side(pair))).collect();
        quoted.join(", ")
    };
    format!(
        "no row of table \"{}\" has in {} what the row of table \"{table}\" holds in {}",
        join.table,
        names(|(_, parent)| parent),
        names(|(child, _)| child)
    )
}

fn complaint(
    (table, join): (usize, Option<usize>),
    field: &'static str,
    message: impl Into<String>,
    hint: impl Into<String>,
) -> TableError {
    TableError { table, join, error: MappingError { field, message: message.into(), hint: hint.into() } }
}

/// All tables, each once, parents first and else as they are configured.
fn order(configs: &[TableConfig]) -> (Vec<String>, Vec<TableError>) {
    let mut errors = Vec::new();
    let by_name: BTreeMap<&str, usize> =
        configs.iter().enumerate().rev().map(|(place, config)| (config.table.as_str(), place)).collect();
    let mut ordered: Vec<String> = Vec::new();
    let mut waiting: Vec<usize> = (0..configs.len()).collect();
    let mut push = |name: &str| {
        if !ordered.iter().any(|known| known == name) {
            ordered.push(name.to_owned());
        }
    };
    while !waiting.is_empty() {
        let is_ready = |place: &usize, waiting: &[usize]| {
            let Some(config) = configs.get(*place) else { return true };
            config
                .joins
                .iter()
                .all(|join| by_name.get(join.table.as_str()).is_none_or(|it| !waiting.contains(it)))
        };
        let ready = waiting.iter().position(|place| is_ready(place, &waiting));
        let place = waiting.remove(ready.unwrap_or_default());
        let Some(config) = configs.get(place) else { continue };
        if ready.is_none() {
            let message =
                format!("table \"{}\" is joined to itself, directly or by way of others", config.table);
            errors.push(complaint((place, Some(0)), "table", message, "leave one of the joins out"));
        }
        config.joins.iter().for_each(|join| push(&join.table));
        push(&config.table);
    }
    (ordered, errors)
}

#[cfg(test)]
mod tests {
    use change::{Row, Value};

    use super::*;
    use crate::sample;
    use crate::{Field, NormalizedRow, Rows, TimeField, complete_stored, normalize_stored, store_joined};

    fn join(table: &str, on: (&str, &str), columns: &[&str]) -> JoinConfig {
        JoinConfig {
            table: table.into(),
            on: vec![(on.0.into(), on.1.into())],
            columns: columns.iter().map(|column| (*column).into()).collect(),
        }
    }

    /// The sample's mapping of a history whose service, number and opening stand in its parent.
    fn history() -> TableConfig {
        let mapping = MappingConfig {
            opening_date: TimeField::Column { column: "solicitudes.fecha".into(), time_zone: Some(Tz::UTC) },
            last_modified_date: TimeField::CommitTime,
            ..sample::config()
        };
        let joins = vec![join("solicitudes", ("solicitud_id", "id"), &["servicio", "numero"])];
        TableConfig { table: "historial".into(), mapping, joins }
    }

    fn names(tables: &Tables) -> Vec<&str> {
        tables.tables().iter().map(|table| table.name.as_str()).collect()
    }

    #[test]
    fn a_row_is_read_with_its_parents_columns() {
        let tables = Tables::new(vec![history()], Tz::UTC).unwrap();
        assert_eq!(names(&tables), ["solicitudes", "historial"]);
        let [parent, child] = tables.tables() else { panic!("two tables") };
        assert_eq!(
            (&*parent.columns, parent.mapped.is_none()),
            (&["id", "servicio", "numero", "fecha"].map(String::from)[..], true)
        );
        assert_eq!(child.columns, ["estado", "solicitud_id"]);
        let (mirror, mapped) = (&tables.mirrors()[0], child.mapped.as_ref().unwrap());
        let parent_row =
            Row::new(vec![Value::Int(7), Value::text("LIC"), Value::text("A-1"), Value::text("2025-01-01")]);
        let row = Row::new(vec![Value::text("RECIBIDA"), Value::text("7")]);
        assert_eq!(mirror.key_of(&parent_row), mapped.joins[0].key_of(&row));
        let cells = mirror.cells_of(&parent_row);
        let joined = mapped.joined(&row, &[Some(&cells)]);
        let NormalizedRow::Record(record) = crate::normalize_row(&mapped.mapping, &joined, 5) else {
            panic!("the row is whole: {joined:?}");
        };
        assert_eq!((&*record.service_id, &*record.request_id, record.status_id), ("101", "A-1", 9));
    }

    #[test]
    fn rows_are_told_apart_where_each_request_has_one_of_its_own() {
        let told = |config: TableConfig| {
            let tables = Tables::new(vec![config], Tz::UTC).unwrap();
            let (_, _, mapped) = tables.mapped().next().unwrap();
            mapped.request_columns()
        };
        let plain = || TableConfig { table: "solicitudes".into(), mapping: sample::config(), joins: vec![] };
        assert_eq!(told(plain()), ["servicio", "numero"]);
        let mapping = MappingConfig { service_id: Field::Value("101".into()), ..sample::config() };
        assert_eq!(told(TableConfig { mapping, ..plain() }), ["numero"]);
        let mapping = MappingConfig { rows: Rows::History, ..sample::config() };
        assert!(told(TableConfig { mapping, ..plain() }).is_empty());
        assert!(told(history()).is_empty());
    }

    #[test]
    fn a_row_that_was_stored_without_its_parent_is_completed_later() {
        let tables = Tables::new(vec![history()], Tz::UTC).unwrap();
        let child = tables.table(1).unwrap();
        let row = Row::new(vec![Value::text("APROBADA"), Value::Int(7)]);
        let alone = store_joined(child, &row, &[None], None);
        let complete = |parent: Option<Row>| {
            let done = complete_stored(child, &alone, &mut |_, key| -> Result<Option<Row>, ()> {
                assert_eq!(key, "7");
                Ok(parent.clone())
            });
            done.unwrap()
        };
        let rejection = complete(None).unwrap_err();
        assert_eq!(
            (rejection.code, &*rejection.reason),
            (
                "missing_parent",
                "no row of table \"solicitudes\" has in \"id\" what the row of table \"historial\" holds in \"solicitud_id\""
            )
        );
        let cells = Row::new(vec![Value::text("LIC"), Value::text("A-1"), Value::text("2025-01-01")]);
        let whole = complete(Some(cells.clone())).unwrap();
        assert_eq!(whole, store_joined(child, &row, &[Some(&cells)], None));
        let mapping = &child.mapped.as_ref().unwrap().mapping;
        assert!(matches!(normalize_stored(mapping, &whole, 5), NormalizedRow::Record(_)));
        let again = complete_stored(child, &whole, &mut |_, _| -> Result<Option<Row>, ()> { Err(()) });
        assert_eq!(again, Ok(Ok(whole)));
    }

    #[test]
    fn a_table_that_is_mapped_and_is_a_parent_too_is_read_once_and_first() {
        let mapped = TableConfig { table: "solicitudes".into(), mapping: sample::config(), joins: vec![] };
        let other = TableConfig { table: "licencias".into(), mapping: sample::config(), joins: vec![] };
        let tables = Tables::new(vec![history(), other, mapped], Tz::UTC).unwrap();
        assert_eq!(names(&tables), ["licencias", "solicitudes", "historial"]);
        let parent = tables.table(1).unwrap();
        let own = parent.mapped.as_ref().unwrap().mapping.columns();
        assert_eq!(&parent.columns[..own.len()], own);
        assert!(parent.columns.contains(&"id".to_owned()) && parent.needs_keys());
        assert_eq!(tables.mapped().map(|(number, ..)| number).collect::<Vec<_>>(), [0, 1, 2]);
    }

    #[test]
    fn what_cannot_be_joined_is_told() {
        let told = |config: Vec<TableConfig>| -> Vec<String> {
            let errors = Tables::new(config, Tz::UTC).unwrap_err();
            errors.into_iter().map(|error| format!("{:?} {}", error.join, error.error.message)).collect()
        };
        let circle = TableConfig {
            table: "solicitudes".into(),
            mapping: sample::config(),
            joins: vec![join("historial", ("id", "solicitud_id"), &["servicio"])],
        };
        let itself = "is joined to itself, directly or by way of others";
        assert_eq!(told(vec![history(), circle]), [format!("Some(0) table \"historial\" {itself}")]);
        assert_eq!(told(vec![history(), history()]), ["None table \"historial\" is configured twice"]);
        let mut twice = history();
        twice.joins.push(join("personas", ("persona_id", "id"), &["numero"]));
        assert_eq!(
            told(vec![twice]),
            [
                "None column \"numero\" is joined from more than one table",
                "Some(1) the mapping names no column of table \"personas\""
            ]
        );
        let mut empty = history();
        empty.mapping.request_id = Field::Value("7".into());
        assert_eq!(told(vec![empty]).len(), 1);
    }
}
