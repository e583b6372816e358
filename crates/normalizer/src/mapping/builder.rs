//! Checking a mapping's configuration, field by field, and finding everything that is wrong with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use change::Text;
use chrono::NaiveDate;
use chrono_tz::Tz;

use super::{LAST_MODIFIED_DATE, MappingError, ON_DELETE, OPENING_DATE, OnDelete, STATUS_ID};
use crate::derived::{Lookup, Template, joined_key};
use crate::field::{Field, IdSource, StatusSource, TimeField, TimeSource, ValueMap, is_status};
use crate::time::{self, Written};
use crate::zone::Zone;

/// How values of several columns are written in a map.
const JOINED_HINT: &str = "join one value for each of the columns by \"|\", in their order; NULL is an empty text, \
                           and a \"|\" or \"\\\" inside a value has a \"\\\" before it";

/// The values of columns, and what they stand for, as configured.
struct Values {
    columns: Vec<String>,
    map: BTreeMap<String, String>,
    other: Option<String>,
}

/// A mapping under construction, with everything found wrong so far.
pub(super) struct Builder {
    pub(super) columns: Vec<String>,
    zones: Vec<(Tz, Arc<Zone>)>,
    /// The zone of the configuration's own days and times.
    zone: Arc<Zone>,
    pub(super) errors: Vec<MappingError>,
}

impl Builder {
    pub(super) fn new(tz: Tz) -> Self {
        let zone = Arc::new(Zone::new(tz));
        Self { columns: Vec::new(), zones: vec![(tz, Arc::clone(&zone))], zone, errors: Vec::new() }
    }

    pub(super) fn complain(
        &mut self,
        field: &'static str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.errors.push(MappingError { field, message: message.into(), hint: hint.into() });
    }

    /// The place of the column among those that are needed, each once.
    pub(super) fn column(&mut self, field: &'static str, column: String) -> usize {
        if column.is_empty() {
            self.complain(field, "the column's name is empty", "name a column of the table");
        }
        if let Some(index) = self.columns.iter().position(|known| *known == column) {
            return index;
        }
        self.columns.push(column);
        self.columns.len() - 1
    }

    /// The columns, and the map's entries with their meanings.
    fn lookup<T: Clone>(
        &mut self,
        field: &'static str,
        values: Values,
        meaning: impl Fn(&mut Self, &str, &dyn Fn() -> String) -> Option<T>,
    ) -> Lookup<T> {
        if values.map.is_empty() {
            self.complain(
                field,
                "the map is empty, so no row could be sent",
                "list values, or leave out `map`",
            );
        }
        let count = values.columns.len();
        let indexes = values.columns.into_iter().map(|column| self.column(field, column)).collect();
        let mut entries: Vec<(Box<str>, T)> = Vec::with_capacity(values.map.len());
        for (value, means) in values.map {
            let key = if count > 1 { joined_key(&value, count) } else { Ok(value.clone()) };
            match key {
                Ok(key) => {
                    let what = || format!("the map turns \"{value}\" into \"{means}\"");
                    entries.extend(meaning(self, &means, &what).map(|meaning| (key.into(), meaning)));
                }
                Err(message) => self.complain(field, message, JOINED_HINT),
            }
        }
        let other =
            values.other.and_then(|means| meaning(self, &means, &|| format!("`other` is \"{means}\"")));
        Lookup { indexes, map: ValueMap::new(entries), other }
    }

    pub(super) fn id(&mut self, field: &'static str, config: Field) -> IdSource {
        match config {
            Field::Value(value) => {
                if value.trim_ascii().is_empty() {
                    self.complain(field, "the constant is empty, expected an id", "write the id");
                }
                IdSource::Constant(value.into())
            }
            Field::Column { column, map: None } => IdSource::Column(self.column(field, column)),
            Field::Column { column, map: Some(map) } => {
                self.mapped_id(field, Values { columns: vec![column], map, other: None })
            }
            Field::Mapped { columns, map, other } => self.mapped_id(field, Values { columns, map, other }),
            Field::Template(text) => self.template(field, &text),
        }
    }

    fn mapped_id(&mut self, field: &'static str, values: Values) -> IdSource {
        IdSource::Mapped(self.lookup(field, values, |build, means, what| {
            if means.trim_ascii().is_empty() {
                let message = format!("{}, which is an empty id", what());
                build.complain(field, message, "write the id that the value stands for");
                return None;
            }
            Some(Text::from(means))
        }))
    }

    fn template(&mut self, field: &'static str, text: &str) -> IdSource {
        match Template::parse(text, |column| self.column(field, column.to_owned())) {
            Ok(template) => IdSource::Template(template),
            Err(message) => {
                let hint = "write each column's name in braces, such as \"{anio}-{numero}\"; \
                            a brace itself is written twice";
                self.complain(field, message, hint);
                IdSource::Constant(Text::default())
            }
        }
    }

    pub(super) fn status(&mut self, config: Field) -> StatusSource {
        match config {
            Field::Value(value) => StatusSource::Constant(
                self.status_id(&value, &|| format!("the constant is \"{value}\"")).unwrap_or_default(),
            ),
            Field::Column { column, map: None } => StatusSource::Column(self.column(STATUS_ID, column)),
            Field::Column { column, map: Some(map) } => {
                self.mapped_status(Values { columns: vec![column], map, other: None })
            }
            Field::Mapped { columns, map, other } => self.mapped_status(Values { columns, map, other }),
            Field::Template(text) => {
                let message = format!("the template \"{text}\" makes a text, expected a status id");
                self.complain(STATUS_ID, message, "name `column`, or `columns`, with a `map`");
                StatusSource::Constant(0)
            }
        }
    }

    fn mapped_status(&mut self, values: Values) -> StatusSource {
        StatusSource::Mapped(
            self.lookup(STATUS_ID, values, |build, means, what| build.status_id(means, what)),
        )
    }

    fn status_id(&mut self, text: &str, what: &dyn Fn() -> String) -> Option<u8> {
        let id = text.trim_ascii().parse().ok().filter(|id| is_status(*id));
        if id.is_none() {
            let message = format!("{}, expected a status id from 1 to 21", what());
            self.complain(STATUS_ID, message, "take the id from the dashboard's catalogue of 21 statuses");
        }
        id
    }

    pub(super) fn time(&mut self, field: &'static str, config: TimeField) -> TimeSource {
        match config {
            TimeField::CommitTime => TimeSource::CommitTime,
            TimeField::Value(text) => TimeSource::Constant(self.constant_time(field, &text)),
            TimeField::Column { column, time_zone } => {
                let index = self.column(field, column);
                TimeSource::Column { index, zone: time_zone.map(|tz| self.shared_zone(tz)) }
            }
        }
    }

    fn constant_time(&mut self, field: &'static str, text: &str) -> i64 {
        let at = match time::parse(text) {
            Some(Written::Instant(at)) => Some(at),
            Some(Written::Local(local)) => self.zone.instant(local),
            None => None,
        };
        at.and_then(|at| time::writable(at).ok()).unwrap_or_else(|| {
            let message = format!("the constant is \"{text}\", expected a time");
            self.complain(field, message, "write it like 2025-06-13T08:00:00Z or 2025-06-13");
            0
        })
    }

    fn shared_zone(&mut self, tz: Tz) -> Arc<Zone> {
        if let Some((_, zone)) = self.zones.iter().find(|(known, _)| *known == tz) {
            return Arc::clone(zone);
        }
        let zone = Arc::new(Zone::new(tz));
        self.zones.push((tz, Arc::clone(&zone)));
        zone
    }

    pub(super) fn floor(&self, day: NaiveDate) -> i64 {
        // Every day that a NaiveDate can hold fits into 64 bits of microseconds with room for an offset.
        self.zone.instant(time::midnight(day)).unwrap_or(i64::MAX)
    }

    pub(super) fn check_opening(&mut self, opening: &TimeSource, floor_at: i64, floor: NaiveDate) {
        let broken = self.errors.iter().any(|error| error.field == OPENING_DATE);
        if !broken && matches!(opening, TimeSource::Constant(at) if *at < floor_at) {
            let message = format!("the constant lies before {floor}, so nothing would ever be sent");
            self.complain(OPENING_DATE, message, "write a later day, or name a column");
        }
    }

    pub(super) fn check_history(&mut self, modified: &TimeField, on_delete: OnDelete) {
        if !matches!(modified, TimeField::Column { .. }) {
            self.complain(
                LAST_MODIFIED_DATE,
                "each row of a history happened at a moment of its own, and a copy of the table must tell it",
                "name the column that holds when the request passed to the status",
            );
        }
        if let OnDelete::Report(_) = on_delete {
            self.complain(
                ON_DELETE,
                "a deleted row of a history is no status change of its request",
                "write on_delete = \"ignore\", or leave it out",
            );
        }
    }

    pub(super) fn check_on_delete(&mut self, on_delete: OnDelete) {
        if let OnDelete::Report(id) = on_delete
            && !is_status(id)
        {
            let message = format!("the status id is {id}, expected 1 to 21");
            self.complain(ON_DELETE, message, "write \"ignore\", or the id of the status to report");
        }
    }
}
