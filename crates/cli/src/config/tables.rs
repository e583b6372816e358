//! `[source] table` with `[mapping]`, or `[[source.tables]]`: which tables are read, and what their rows mean.

use change::Condition;
use chrono::NaiveDate;
use chrono_tz::Tz;
use normalizer::{JoinConfig, Rows, TableConfig, Tables};

use super::item::Item;
use super::mapping;
use super::reader::Section;

const ROWS_NAMES: [(&str, Rows); 2] = [("requests", Rows::Requests), ("history", Rows::History)];

/// What may stand beside the name of a table.
const BESIDE: [&str; 3] = ["where", "rows", "join"];

/// Reads the tables, each with its mapping; `floor` and `zone` come from the sections `[backfill]` and `[schedule]`.
pub(super) fn read<'r, 't>(
    root: &Section<'r, 't>,
    source: &Section<'r, 't>,
    floor: NaiveDate,
    zone: Tz,
) -> Option<Vec<TableConfig>> {
    let several = source.optional("tables");
    let one = if several.is_none() { source.required("table") } else { source.optional("table") };
    let given = Given::read(source);
    let tables = match (one, several) {
        (one, None) => {
            let mapping = root.required_section("mapping");
            vec![Read::new(one.and_then(|item| item.text()), given, mapping, (floor, zone))]
        }
        (None, Some(item)) => {
            refuse_beside(root, source);
            let members = item.list()?;
            if members.is_empty() {
                return item.problem("names no table", Some("write [[source.tables]] for each table".into()));
            }
            members
                .iter()
                .filter_map(|item| item.section())
                .map(|section| {
                    let table = section.required("table").and_then(|item| item.text());
                    let given = Given::read(&section);
                    Read::new(table, given, section.required_section("mapping"), (floor, zone))
                })
                .collect()
        }
        (Some(_), Some(item)) => {
            root.section("mapping");
            return item.problem(
                "there is `table` too, which stands for the only table",
                Some(
                    "leave `table` out, and move it with its [mapping] into a [[source.tables]] of its own"
                        .into(),
                ),
            );
        }
    };
    check(tables, zone)
}

/// With several tables, nothing that is said of one stands outside it.
fn refuse_beside(root: &Section<'_, '_>, source: &Section<'_, '_>) {
    let hint = "move it into the [[source.tables]] that it is about";
    for name in BESIDE {
        if source.has(name) {
            source.problem::<()>(name, "does not say which of the tables it is about", hint);
        }
    }
    if root.section("mapping").is_present() {
        root.problem::<()>("mapping", "does not say which of the tables it is about", hint);
    }
}

/// What is wrong only with all tables together.
fn check(tables: Vec<Read<'_, '_>>, zone: Tz) -> Option<Vec<TableConfig>> {
    let mut configs = Vec::with_capacity(tables.len());
    for table in &tables {
        configs.push(table.config.clone()?);
    }
    for wrong in Tables::new(configs.clone(), zone).err().unwrap_or_default() {
        let Some(table) = tables.get(wrong.table) else { continue };
        let join = wrong.join.and_then(|join| table.joins.get(join));
        join.unwrap_or(&table.mapping).problem::<()>(
            wrong.error.field,
            wrong.error.message,
            wrong.error.hint,
        );
    }
    Some(configs)
}

/// What stands beside the name of a table.
struct Given<'r, 't> {
    condition: Option<Option<Condition>>,
    rows: Option<Rows>,
    joins: Option<Vec<(Section<'r, 't>, JoinConfig)>>,
}

impl<'r, 't> Given<'r, 't> {
    fn read(section: &Section<'r, 't>) -> Self {
        Self {
            condition: section.maybe("where", condition),
            rows: section.or("rows", Rows::Requests, |item| item.choice(&ROWS_NAMES)),
            joins: section.or("join", Vec::new(), joins),
        }
    }
}

/// A table as far as it could be read, and where a mistake in it is noted.
struct Read<'r, 't> {
    mapping: Section<'r, 't>,
    joins: Vec<Section<'r, 't>>,
    config: Option<TableConfig>,
}

impl<'r, 't> Read<'r, 't> {
    fn new(
        table: Option<String>,
        given: Given<'r, 't>,
        section: Section<'r, 't>,
        (floor, zone): (NaiveDate, Tz),
    ) -> Self {
        let Given { condition, rows, joins } = given;
        let which = (condition.clone().flatten(), rows.unwrap_or(Rows::Requests));
        let mapping = mapping::read(&section, which, floor, zone);
        let all_read = condition.is_some() && rows.is_some() && joins.is_some();
        let (sections, joins) = joins.unwrap_or_default().into_iter().unzip();
        let config = table.zip(mapping).filter(|_| all_read).map(|(table, mapping)| TableConfig {
            table,
            mapping,
            joins,
        });
        Self { mapping: section, joins: sections, config }
    }
}

fn condition(item: &Item<'_, '_>) -> Option<Condition> {
    match normalizer::parse_condition(&item.text()?) {
        Ok(condition) => Some(condition),
        Err(error) => item.problem(error.to_string(), Some(error.hint)),
    }
}

fn joins<'r, 't>(item: &Item<'r, 't>) -> Option<Vec<(Section<'r, 't>, JoinConfig)>> {
    let members: Vec<_> = item.list()?.iter().map(join).collect();
    members.into_iter().collect()
}

fn join<'r, 't>(item: &Item<'r, 't>) -> Option<(Section<'r, 't>, JoinConfig)> {
    let section = item.section()?;
    let table = section.required("table").and_then(|item| item.text());
    let on = section.required("on").and_then(|item| on(&item));
    let columns = section.or("columns", Vec::new(), |item| {
        let columns: Vec<_> = item.list()?.iter().map(Item::text).collect();
        columns.into_iter().collect()
    });
    let join = JoinConfig { table: table?, on: on?, columns: columns? };
    Some((section, join))
}

/// The columns of the row, and those of the parent that they hold.
fn on(item: &Item<'_, '_>) -> Option<Vec<(String, String)>> {
    let pairs: Vec<_> =
        item.pairs()?.into_iter().map(|(child, parent)| Some((child, parent.text()?))).collect();
    let pairs: Vec<(String, String)> = pairs.into_iter().collect::<Option<_>>()?;
    if pairs.is_empty() {
        let hint = "write the row's column and the parent's, such as on = { solicitud_id = \"id\" }";
        return item.problem("names no column", Some(hint.into()));
    }
    Some(pairs)
}
