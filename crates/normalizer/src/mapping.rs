//! The mapping of a table's columns to the fields of a record, checked once and ready for use.

use change::Condition;
use chrono::NaiveDate;
use chrono_tz::Tz;

use crate::field::{Field, IdSource, StatusSource, TimeField, TimeSource};
use crate::filter::Filter;

mod builder;

use builder::Builder;

pub(crate) const SERVICE_ID: &str = "service_id";
pub(crate) const REQUEST_ID: &str = "request_id";
pub(crate) const OPENING_DATE: &str = "opening_date";
pub(crate) const STATUS_ID: &str = "status_id";
pub(crate) const LAST_MODIFIED_DATE: &str = "last_modified_date";
pub(crate) const WHERE: &str = "where";
const ON_DELETE: &str = "on_delete";

/// What to say when a row is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDelete {
    /// Nothing.
    Ignore,
    /// That its request passed to this status.
    Report(u8),
}

/// What each row of the table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// A request, in the status that it has now.
    Requests,
    /// A status change, which stays as it was written.
    History,
}

/// The mapping as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappingConfig {
    /// The id of the service.
    pub service_id: Field,
    /// The institution's own id of the request.
    pub request_id: Field,
    /// When the request was opened.
    pub opening_date: TimeField,
    /// The status; the values of its map are ids from 1 to 21.
    pub status_id: Field,
    /// When the request passed to its status.
    pub last_modified_date: TimeField,
    /// What to say when a row is deleted, or leaves the condition.
    pub on_delete: OnDelete,
    /// Which rows count; all of them without one.
    pub condition: Option<Condition>,
    /// What each row is.
    pub rows: Rows,
    /// Nothing that was opened before this day, in `zone`, is ever sent.
    pub floor: NaiveDate,
    /// The zone of days and times in the configuration itself; those in the table have their own.
    pub zone: Tz,
}

/// Something wrong in a mapping's configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct MappingError {
    /// The field, as the configuration spells it.
    pub field: &'static str,
    /// What is wrong: actual and expected.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

/// A mapping that has been checked.
#[derive(Debug, Clone)]
pub struct Mapping {
    columns: Vec<String>,
    opening_column: Option<usize>,
    condition: Option<Condition>,
    rows: Rows,
    pub(crate) service: IdSource,
    pub(crate) request: IdSource,
    pub(crate) opening: TimeSource,
    pub(crate) status: StatusSource,
    pub(crate) modified: TimeSource,
    pub(crate) on_delete: OnDelete,
    pub(crate) filter: Option<Filter>,
    /// The midnight with which the floor's day begins, in microseconds since the epoch, UTC.
    pub(crate) floor_at: i64,
}

impl Mapping {
    /// Checks a configuration and makes it ready for use, which takes some milliseconds for each zone.
    ///
    /// # Errors
    /// All that is wrong with it, never only the first.
    pub fn new(config: MappingConfig) -> Result<Self, Vec<MappingError>> {
        let mut build = Builder::new(config.zone);
        let service = build.id(SERVICE_ID, config.service_id);
        if let Field::Value(_) = config.request_id {
            build.complain(
                REQUEST_ID,
                "a constant would make every row the same request",
                "name the column that holds the institution's own id of the request",
            );
        }
        let request = build.id(REQUEST_ID, config.request_id);
        if config.opening_date == TimeField::CommitTime {
            build.complain(
                OPENING_DATE,
                "the commit time differs from change to change, and a request is opened once",
                "name the column that holds the day or the time at which the request was opened",
            );
        }
        let opening = build.time(OPENING_DATE, config.opening_date);
        let status = build.status(config.status_id);
        if config.rows == Rows::History {
            build.check_history(&config.last_modified_date, config.on_delete);
        }
        let modified = build.time(LAST_MODIFIED_DATE, config.last_modified_date);
        let floor_at = build.floor(config.floor);
        build.check_opening(&opening, floor_at, config.floor);
        build.check_on_delete(config.on_delete);
        let condition = config.condition;
        let filter = condition
            .clone()
            .map(|condition| Filter::new(condition, &mut |column| build.column(WHERE, column)));
        if !build.errors.is_empty() {
            return Err(build.errors);
        }
        let opening_column = match &opening {
            TimeSource::Column { index, .. } => Some(*index),
            TimeSource::Constant(_) | TimeSource::CommitTime => None,
        };
        let on_delete = config.on_delete;
        let columns = build.columns;
        Ok(Self {
            columns,
            opening_column,
            condition,
            rows: config.rows,
            service,
            request,
            opening,
            status,
            modified,
            on_delete,
            filter,
            floor_at,
        })
    }

    /// Every column that is needed, once, in the order in which rows must carry them.
    #[must_use]
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The column that tells when a request was opened, unless that is a constant.
    #[must_use]
    pub fn opening_column(&self) -> Option<&str> {
        self.columns.get(self.opening_column?).map(String::as_str)
    }

    /// Which rows count; all of them without one.
    #[must_use]
    pub fn condition(&self) -> Option<&Condition> {
        self.condition.as_ref()
    }

    /// What each row of the table is.
    #[must_use]
    pub fn rows(&self) -> Rows {
        self.rows
    }

    /// The status that a deleted row's request passes to, where deletions are reported.
    #[must_use]
    pub fn deletion_status(&self) -> Option<u8> {
        match self.on_delete {
            OnDelete::Ignore => None,
            OnDelete::Report(status_id) => Some(status_id),
        }
    }

    /// Whether changes and copied rows must carry their keys: to report deletes, and to tell the rows of a history
    /// apart.
    #[must_use]
    pub fn needs_keys(&self) -> bool {
        matches!(self.on_delete, OnDelete::Report(_)) || self.rows == Rows::History
    }

    /// The first field that is taken from the column with this name.
    pub(crate) fn field_named(&self, column: &str) -> &'static str {
        let index = self.columns.iter().position(|known| known == column);
        index.map_or(WHERE, |index| self.field_of(index))
    }

    /// Whether service or request are taken from the column at `index`.
    pub(crate) fn is_of_request(&self, index: usize) -> bool {
        self.service.is_from(index) || self.request.is_from(index)
    }

    /// Whether the status is taken from the column at `index`.
    pub(crate) fn is_of_status(&self, index: usize) -> bool {
        self.status.is_from(index)
    }

    /// The first field that is taken from the column at `index`.
    pub(crate) fn field_of(&self, index: usize) -> &'static str {
        let fields = [
            (SERVICE_ID, self.service.is_from(index)),
            (REQUEST_ID, self.request.is_from(index)),
            (OPENING_DATE, self.opening_column == Some(index)),
            (STATUS_ID, self.status.is_from(index)),
            (LAST_MODIFIED_DATE, self.modified.is_from(index)),
        ];
        fields.into_iter().find(|(_, is_from)| *is_from).map_or(WHERE, |(field, _)| field)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::sample::{self, config};

    fn column(name: &str) -> Field {
        Field::Column { column: name.into(), map: None }
    }

    fn mapped(name: &str, entries: &[(&str, &str)]) -> Field {
        let map = entries.iter().map(|(value, means)| ((*value).into(), (*means).into())).collect();
        Field::Column { column: name.into(), map: Some(map) }
    }

    /// The fields that are complained about, in order.
    fn complaints(config: MappingConfig) -> Vec<(&'static str, String)> {
        let errors = Mapping::new(config).err().unwrap_or_default();
        errors.into_iter().map(|error| (error.field, error.message)).collect()
    }

    #[test]
    fn each_needed_column_is_listed_once() {
        assert_eq!(
            sample::mapping().columns(),
            ["servicio", "numero", "apertura", "estado", "modificada"].map(str::to_owned)
        );
        let shared = MappingConfig {
            service_id: Field::Value("101".into()),
            opening_date: TimeField::Column { column: "fecha".into(), time_zone: None },
            last_modified_date: TimeField::Column { column: "fecha".into(), time_zone: None },
            status_id: column("estado"),
            ..config()
        };
        let shared = Mapping::new(shared).unwrap();
        assert_eq!(shared.columns(), ["numero", "fecha", "estado"].map(str::to_owned));
        assert_eq!(shared.opening_column(), Some("fecha"));
    }

    #[test]
    fn a_constant_opening_has_no_column() {
        let opening_date = TimeField::Value("2024-01-01".into());
        let mapping = Mapping::new(MappingConfig { opening_date, ..config() }).unwrap();
        assert_eq!(mapping.opening_column(), None);
        assert!(matches!(mapping.opening, TimeSource::Constant(1_704_081_600_000_000)), "midnight at -04:00");
    }

    #[test]
    fn all_errors_are_found_at_once() {
        let broken = MappingConfig {
            service_id: Field::Value(" ".into()),
            request_id: Field::Value("1".into()),
            opening_date: TimeField::CommitTime,
            status_id: mapped("", &[("A", "0"), ("B", "22"), ("C", "tres"), ("D", "3")]),
            last_modified_date: TimeField::Value("ayer".into()),
            on_delete: OnDelete::Report(99),
            ..config()
        };
        let fields: Vec<&str> = complaints(broken).into_iter().map(|(field, _)| field).collect();
        assert_eq!(
            fields,
            [
                "service_id",
                "request_id",
                "opening_date",
                "status_id",
                "status_id",
                "status_id",
                "status_id",
                "last_modified_date",
                "on_delete"
            ]
        );
    }

    #[test]
    fn columns_of_templates_and_joined_maps_are_needed_once_and_belong_to_their_fields() {
        let derived = MappingConfig {
            service_id: Field::Mapped {
                columns: vec!["area".into(), "estado".into()],
                map: BTreeMap::from([("A|B".into(), "101".into())]),
                other: None,
            },
            request_id: Field::Template("{anio}-{numero}/{area}".into()),
            ..config()
        };
        let mapping = Mapping::new(derived).unwrap();
        assert_eq!(mapping.columns(), ["area", "estado", "anio", "numero", "apertura", "modificada"]);
        let fields: Vec<&str> = (0..6).map(|index| mapping.field_of(index)).collect();
        assert_eq!(
            fields,
            ["service_id", "service_id", "request_id", "request_id", "opening_date", "last_modified_date"]
        );
    }

    #[test]
    fn an_error_names_what_was_found_and_what_was_expected() {
        let found = |config| complaints(config).pop().unwrap().1;
        #[rustfmt::skip] // A table reads better with one case a line.
        let cases = [
            (MappingConfig { status_id: mapped("estado", &[("A", "22")]), ..config() }, "the map turns \"A\" into \"22\", expected a status id from 1 to 21"),
            (MappingConfig { status_id: Field::Value("Recibido".into()), ..config() }, "the constant is \"Recibido\", expected a status id from 1 to 21"),
            (MappingConfig { status_id: mapped("estado", &[]), ..config() }, "the map is empty, so no row could be sent"),
            (MappingConfig { service_id: mapped("servicio", &[("A", "")]), ..config() }, "the map turns \"A\" into \"\", which is an empty id"),
            (MappingConfig { service_id: column(""), ..config() }, "the column's name is empty"),
            (MappingConfig { opening_date: TimeField::Value("13/06/2025".into()), ..config() }, "the constant is \"13/06/2025\", expected a time"),
            (MappingConfig { opening_date: TimeField::Value("2019-12-31".into()), ..config() }, "the constant lies before 2020-01-01, so nothing would ever be sent"),
            (MappingConfig { on_delete: OnDelete::Report(0), ..config() }, "the status id is 0, expected 1 to 21"),
        ];
        for (config, message) in cases {
            assert_eq!(found(config), message);
        }
    }

    #[test]
    fn a_history_needs_its_own_moments_and_reports_no_deletes() {
        let history = MappingConfig {
            rows: Rows::History,
            last_modified_date: TimeField::CommitTime,
            on_delete: OnDelete::Report(10),
            ..config()
        };
        let fields: Vec<&str> = complaints(history).into_iter().map(|(field, _)| field).collect();
        assert_eq!(fields, [LAST_MODIFIED_DATE, ON_DELETE]);
    }

    #[test]
    fn an_error_reads_with_its_field() {
        let errors = Mapping::new(MappingConfig { on_delete: OnDelete::Report(0), ..config() }).unwrap_err();
        assert_eq!(errors[0].to_string(), "on_delete: the status id is 0, expected 1 to 21");
        assert!(!errors[0].hint.is_empty());
    }
}
