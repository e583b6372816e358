//! `[mapping]`: how a row of the table becomes a record.
//!
//! Only the shape is read here; what a field may hold is the normalizer's business, and its complaints are
//! noted with the field's line.

use std::collections::BTreeMap;

use change::Condition;
use chrono::NaiveDate;
use chrono_tz::Tz;
use normalizer::{Field, Mapping, MappingConfig, OnDelete, Rows, TimeField};
use toml::de::DeValue;

use super::item::Item;
use super::reader::Section;

/// The greatest id of the dashboard's status catalogue.
const STATUS_MAX: i64 = 21;

/// Reads the section; which rows count and what they are stand beside the table, `floor` and `zone` come from the
/// sections `[backfill]` and `[schedule]`.
pub(super) fn read(
    section: &Section<'_, '_>,
    (condition, rows): (Option<Condition>, Rows),
    floor: NaiveDate,
    zone: Tz,
) -> Option<MappingConfig> {
    let service_id = section.required("service_id").and_then(|item| field(&item));
    let request_id = section.required("request_id").and_then(|item| field(&item));
    let opening_date = section.required("opening_date").and_then(|item| time_field(&item));
    let status_id = section.required("status_id").and_then(|item| field(&item));
    let last_modified_date = section.required("last_modified_date").and_then(|item| time_field(&item));
    let on_delete = section.or("on_delete", OnDelete::Ignore, on_delete);
    // What could not be read is replaced by something harmless, so that the normalizer can say at once what
    // is wrong with the rest.
    let harmless = || "numero".to_owned();
    let complete = MappingConfig {
        service_id: service_id.clone().unwrap_or(Field::Column { column: harmless(), map: None }),
        request_id: request_id.clone().unwrap_or(Field::Column { column: harmless(), map: None }),
        opening_date: opening_date
            .clone()
            .unwrap_or(TimeField::Column { column: harmless(), time_zone: None }),
        status_id: status_id.clone().unwrap_or(Field::Column { column: harmless(), map: None }),
        last_modified_date: last_modified_date.clone().unwrap_or(TimeField::CommitTime),
        on_delete: on_delete.unwrap_or(OnDelete::Ignore),
        condition,
        rows,
        floor,
        zone,
    };
    let errors = Mapping::new(complete.clone()).err().unwrap_or_default();
    let is_right = errors.is_empty();
    for error in errors {
        section.problem::<()>(error.field, error.message, error.hint);
    }
    let all_read = is_right
        && service_id.and(request_id).and(status_id).is_some()
        && opening_date.and(last_modified_date).is_some()
        && on_delete.is_some();
    all_read.then_some(complete)
}

fn table_of_field<'r, 't>(item: &Item<'r, 't>) -> Option<Section<'r, 't>> {
    if let DeValue::Table(_) = item.value.get_ref() {
        return item.section();
    }
    item.problem(
        "expected a table that says where the field comes from",
        Some("write { column = \"…\" } for a column, or { value = \"…\" } for a constant".into()),
    )
}

fn field(item: &Item<'_, '_>) -> Option<Field> {
    let section = table_of_field(item)?;
    let origins = [
        section.optional("column").map(Origin::Column),
        section.optional("columns").map(Origin::Columns),
        section.optional("value").map(Origin::Value),
        section.optional("template").map(Origin::Template),
    ];
    let map = section.maybe("map", map);
    let other = section.maybe("other", constant);
    let mut origins = origins.into_iter().flatten();
    let (Some(origin), None) = (origins.next(), origins.next()) else {
        let is_there = ["column", "columns", "value", "template"].iter().any(|name| section.has(name));
        return one_origin(item, is_there, "`column`, `columns`, `value` or `template`");
    };
    let (map, other) = (map?, other?);
    if map.is_none() && other.is_some() {
        return section.problem(
            "other",
            "stands for values that `map` does not list, and there is no `map`",
            "add `map`, or leave out `other`",
        );
    }
    match (origin, map) {
        (Origin::Column(column), None) => Some(Field::Column { column: column.text()?, map: None }),
        (Origin::Column(column), map @ Some(_)) if other.is_none() => {
            Some(Field::Column { column: column.text()?, map })
        }
        (Origin::Column(column), Some(map)) => {
            Some(Field::Mapped { columns: vec![column.text()?], map, other })
        }
        (Origin::Columns(columns), Some(map)) => {
            Some(Field::Mapped { columns: names(&columns)?, map, other })
        }
        (Origin::Columns(columns), None) => columns.problem(
            "the values of several columns mean something only through `map`",
            Some("add a `map` of joined values, such as map = { \"APROBADA|PARCIAL\" = 4 }".into()),
        ),
        (Origin::Value(value), None) => Some(Field::Value(constant(&value)?)),
        (Origin::Template(template), None) => Some(Field::Template(template.text()?)),
        (Origin::Value(_), Some(_)) => {
            item.problem("a constant has no `map`", Some("leave out `map`".into()))
        }
        (Origin::Template(_), Some(_)) => item.problem(
            "a template has no `map`",
            Some("leave out `map`, or name `columns` instead of the template".into()),
        ),
    }
}

/// What a field is taken from.
enum Origin<'r, 't> {
    Column(Item<'r, 't>),
    Columns(Item<'r, 't>),
    Value(Item<'r, 't>),
    Template(Item<'r, 't>),
}

/// The names of two or more columns, each once.
fn names(item: &Item<'_, '_>) -> Option<Vec<String>> {
    let names: Vec<Option<String>> = item.list()?.iter().map(Item::text).collect();
    let names: Vec<String> = names.into_iter().collect::<Option<_>>()?;
    if names.len() < 2 {
        return item.problem(
            "expected two or more columns",
            Some("write `column` for a single one, and two or more names here".into()),
        );
    }
    let repeated =
        names.iter().enumerate().find(|(place, name)| names.iter().take(*place).any(|known| known == *name));
    match repeated {
        Some((_, name)) => {
            item.problem(format!("names \"{name}\" twice"), Some("name each column once".into()))
        }
        None => Some(names),
    }
}

fn time_field(item: &Item<'_, '_>) -> Option<TimeField> {
    let section = table_of_field(item)?;
    let column = section.optional("column");
    let value = section.optional("value");
    let time_zone = section.maybe("time_zone", Item::zone);
    let commit_time = section.or("commit_time", false, Item::boolean)?;
    match (column, value, commit_time) {
        (Some(column), None, false) => {
            Some(TimeField::Column { column: column.text()?, time_zone: time_zone? })
        }
        (None, Some(value), false) => Some(TimeField::Value(value.text()?)),
        (None, None, true) => Some(TimeField::CommitTime),
        (column, value, _) => {
            let many = column.is_some() || value.is_some();
            one_origin(item, many, "`column`, `value` or `commit_time = true`")
        }
    }
}

fn one_origin<T>(item: &Item<'_, '_>, many: bool, choices: &str) -> Option<T> {
    let message = if many { "has more than one origin" } else { "has no origin" };
    item.problem(message, Some(format!("write exactly one of {choices}")))
}

fn map(item: &Item<'_, '_>) -> Option<BTreeMap<String, String>> {
    let pairs = item.pairs()?;
    let values: Vec<_> =
        pairs.into_iter().map(|(name, value)| constant(&value).map(|value| (name, value))).collect();
    values.into_iter().collect()
}

/// A text, or an integer in its decimal form.
fn constant(item: &Item<'_, '_>) -> Option<String> {
    match item.value.get_ref() {
        DeValue::Integer(_) => item.integer((i64::MIN, i64::MAX)).map(|value| value.to_string()),
        DeValue::String(_) => item.text(),
        _ => item.wrong_type("a string or an integer"),
    }
}

fn on_delete(item: &Item<'_, '_>) -> Option<OnDelete> {
    if let DeValue::Integer(_) = item.value.get_ref() {
        let status = item.integer((1, STATUS_MAX))?;
        return u8::try_from(status).ok().map(OnDelete::Report);
    }
    match item.string()?.as_str() {
        "ignore" => Some(OnDelete::Ignore),
        other => item.problem(
            format!("\"{other}\" is neither \"ignore\" nor the id of a status"),
            Some(format!(
                "write \"ignore\", or a status id from 1 to {STATUS_MAX} without quotes, such as 10"
            )),
        ),
    }
}
