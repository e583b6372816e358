//! One value of the document, and what it can be read as.

use std::path::PathBuf;
use std::time::Duration;

use change::nearest::closest;
use toml::Spanned;
use toml::de::DeValue;

use super::nearest::did_you_mean;
use super::problem::Problem;
use super::reader::{Reader, Secrets, Section, join};
use super::secret::Secret;
use super::{duration, size};

/// One value of the document.
pub(super) struct Item<'r, 't> {
    pub(super) reader: &'r Reader<'r>,
    pub(super) key: String,
    pub(super) line: usize,
    pub(super) value: &'t Spanned<DeValue<'t>>,
}

impl<'r, 't> Item<'r, 't> {
    /// Notes a mistake and reads as nothing.
    pub(super) fn problem<T>(&self, message: impl Into<String>, hint: Option<String>) -> Option<T> {
        self.reader.note(Problem { line: self.line, key: self.key.clone(), message: message.into(), hint });
        None
    }

    /// Notes that the value is of another kind than `expected`.
    pub(super) fn wrong_type<T>(&self, expected: &str) -> Option<T> {
        let found = match self.value.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a number with a point",
            DeValue::Boolean(_) => "a truth value",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        let quotes = match (expected, self.value.get_ref()) {
            ("a string", DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_)) => {
                Some("write it in quotes".into())
            }
            ("an integer" | "a number" | "true or false", DeValue::String(_)) => {
                Some("write it without quotes".into())
            }
            ("a list", _) => Some("write it in brackets: [ … ]".into()),
            _ => None,
        };
        self.problem(format!("expected {expected}, found {found}"), quotes)
    }

    /// A string with its references replaced; it may be empty.
    pub(super) fn string(&self) -> Option<String> {
        let DeValue::String(text) = self.value.get_ref() else {
            return self.wrong_type("a string");
        };
        match self.reader.surroundings.resolve(text) {
            Ok(text) => Some(text),
            Err(unresolved) => {
                for error in unresolved {
                    self.problem::<()>(error.message, Some(error.hint));
                }
                None
            }
        }
    }

    /// A string that says something.
    pub(super) fn text(&self) -> Option<String> {
        let text = self.string()?;
        if text.trim().is_empty() {
            return self.problem("must not be empty", None);
        }
        Some(text)
    }

    /// A string that must not be shown.
    pub(super) fn secret(&self) -> Option<Secret> {
        let DeValue::String(_) = self.value.get_ref() else {
            return self.wrong_type("a string");
        };
        match self.reader.secrets {
            Secrets::Needed => self.string().map(Secret::new),
            Secrets::Spared => Some(Secret::new("")),
        }
    }

    /// An integer within `limits`, both included.
    pub(super) fn integer(&self, limits: (i64, i64)) -> Option<i64> {
        let DeValue::Integer(integer) = self.value.get_ref() else {
            return self.wrong_type("an integer");
        };
        let (least, most) = limits;
        match i64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(value) if (least..=most).contains(&value) => Some(value),
            _ => self.problem(
                format!("{} is out of range", integer.as_str()),
                Some(format!("use {least} to {most}")),
            ),
        }
    }

    /// A number within `limits`, both included; an integer will do.
    pub(super) fn number(&self, limits: (f64, f64)) -> Option<f64> {
        let text = match self.value.get_ref() {
            DeValue::Integer(integer) => integer.as_str(),
            DeValue::Float(float) => float.as_str(),
            _ => return self.wrong_type("a number"),
        };
        let (least, most) = limits;
        match text.parse::<f64>() {
            Ok(value) if (least..=most).contains(&value) => Some(value),
            _ => self.problem(format!("{text} is out of range"), Some(format!("use {least} to {most}"))),
        }
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self) -> Option<bool> {
        match self.value.get_ref() {
            DeValue::Boolean(value) => Some(*value),
            _ => self.wrong_type("true or false"),
        }
    }

    /// One of several words.
    pub(super) fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Option<T> {
        let text = self.string()?;
        if let Some((_, value)) = choices.iter().find(|(name, _)| *name == text) {
            return Some(*value);
        }
        let names: Vec<_> = choices.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        self.problem(
            format!("\"{text}\" is not one of {}", names.join(", ")),
            did_you_mean(&text, choices.iter().map(|(name, _)| *name)),
        )
    }

    /// A length of time within `limits`, both included.
    pub(super) fn duration(&self, limits: (Duration, Duration)) -> Option<Duration> {
        let DeValue::String(_) = self.value.get_ref() else {
            return self.problem("expected a length of time in quotes", Some(duration::EXAMPLES.into()));
        };
        let text = self.string()?;
        let Some(value) = duration::parse(&text) else {
            return self
                .problem(format!("\"{text}\" is not a length of time"), Some(duration::EXAMPLES.into()));
        };
        let (least, most) = limits;
        if value < least || value > most {
            return self.problem(
                format!("\"{text}\" is out of range"),
                Some(format!("use {} to {}", duration::display(least), duration::display(most))),
            );
        }
        Some(value)
    }

    /// An amount of bytes within `limits`, both included: text with a unit, or an integer.
    pub(super) fn size(&self, limits: (u64, u64)) -> Option<u64> {
        let (text, value) = match self.value.get_ref() {
            DeValue::Integer(integer) => {
                let text = integer.as_str().to_owned();
                let value = u64::from_str_radix(&text, integer.radix()).ok();
                (text, value)
            }
            DeValue::String(_) => {
                let text = self.string()?;
                let value = size::parse(&text);
                (text, value)
            }
            _ => return self.wrong_type("an amount of bytes"),
        };
        let (least, most) = limits;
        match value {
            None => {
                self.problem(format!("\"{text}\" is not an amount of bytes"), Some(size::EXAMPLES.into()))
            }
            Some(value) if value < least || value > most => self.problem(
                format!("{text} is out of range"),
                Some(format!("use {} to {}", size::display(least), size::display(most))),
            ),
            value => value,
        }
    }

    /// A path; a relative one starts at the configuration file's folder.
    pub(super) fn path(&self) -> Option<PathBuf> {
        Some(self.reader.surroundings.folder.join(self.text()?))
    }

    /// A time zone by its IANA name.
    pub(super) fn zone(&self) -> Option<chrono_tz::Tz> {
        let name = self.text()?;
        name.parse().ok().or_else(|| {
            let meant = nearest_zone(&name).unwrap_or("America/Santo_Domingo");
            self.problem(
                format!("\"{name}\" is not a time zone of the IANA list"),
                Some(format!("write a name such as \"{meant}\"")),
            )
        })
    }

    /// The members of a list.
    pub(super) fn list(&self) -> Option<Vec<Item<'r, 't>>> {
        let DeValue::Array(members) = self.value.get_ref() else {
            return self.wrong_type("a list");
        };
        let member = |(index, value): (usize, &'t Spanned<DeValue<'t>>)| Item {
            reader: self.reader,
            key: format!("{}[{index}]", self.key),
            line: self.reader.line(value.span().start),
            value,
        };
        Some(members.iter().enumerate().map(member).collect())
    }

    /// A table with a fixed set of keys.
    pub(super) fn section(&self) -> Option<Section<'r, 't>> {
        let DeValue::Table(entries) = self.value.get_ref() else {
            return self.wrong_type("a table");
        };
        Some(Section::new(self.reader, self.key.clone(), self.line, entries))
    }

    /// The keys and values of a table whose keys are the operator's own.
    pub(super) fn pairs(&self) -> Option<Vec<(String, Item<'r, 't>)>> {
        let DeValue::Table(entries) = self.value.get_ref() else {
            return self.wrong_type("a table");
        };
        let pair = |(key, value): (&'t Spanned<_>, &'t Spanned<DeValue<'t>>)| {
            let name: String = std::borrow::Cow::<str>::to_string(key.get_ref());
            let item = Item {
                reader: self.reader,
                key: join(&self.key, &name),
                line: self.reader.line(key.span().start),
                value,
            };
            (name, item)
        };
        Some(entries.iter().map(pair).collect())
    }
}

/// The zone whose name, or whose city alone, is closest to `written`.
fn nearest_zone(written: &str) -> Option<&'static str> {
    let names = || chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name());
    let city = |name: &'static str| name.rsplit('/').next().unwrap_or(name);
    closest(written, names()).or_else(|| {
        let meant = closest(written, names().map(city))?;
        names().find(|name| city(name) == meant)
    })
}
