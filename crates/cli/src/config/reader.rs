//! Walks a TOML document and notes every mistake with its line and key, instead of stopping at the first.
//!
//! Reading a value returns `None` after noting what is wrong, so a caller reads all of its values first and
//! puts them together with `?` afterwards. The keys that a section was asked for are its known keys: a key
//! that nobody asked for is reported when the walk is over, with the nearest known one.

use std::cell::RefCell;

use toml::de::DeTable;

use super::item::Item;
use super::nearest::did_you_mean;
use super::problem::Problem;
use super::substitution::Surroundings;

/// Whether secrets are needed by the command that reads the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrets {
    /// A secret that cannot be resolved is a mistake.
    Needed,
    /// Secrets are left empty: commands that only read the ledger must work in a shell that lacks the
    /// service's environment.
    Spared,
}

/// What a walk over one document knows and has found.
pub(super) struct Reader<'a> {
    pub(super) surroundings: Surroundings<'a>,
    pub(super) secrets: Secrets,
    text: &'a str,
    problems: RefCell<Vec<Problem>>,
    known: RefCell<Vec<(String, &'static str)>>,
    present: RefCell<Vec<Present>>,
}

/// A key that the document holds.
struct Present {
    section: String,
    name: String,
    line: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str, surroundings: Surroundings<'a>, secrets: Secrets) -> Self {
        Self {
            surroundings,
            secrets,
            text,
            problems: RefCell::default(),
            known: RefCell::default(),
            present: RefCell::default(),
        }
    }

    /// The line, from 1, of a byte of the text.
    pub(super) fn line(&self, at: usize) -> usize {
        self.text.bytes().take(at).filter(|&byte| byte == b'\n').count() + 1
    }

    pub(super) fn last_line(&self) -> usize {
        self.text.lines().count().max(1)
    }

    pub(super) fn note(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    /// Every mistake, unknown keys included, by line.
    pub(super) fn finish(self) -> Vec<Problem> {
        let known = self.known.into_inner();
        let mut problems = self.problems.into_inner();
        for present in self.present.into_inner() {
            let here = known.iter().filter(|(section, _)| *section == present.section);
            if here.clone().any(|(_, name)| *name == present.name) {
                continue;
            }
            problems.push(unknown(&present, here.map(|(_, name)| *name), &known));
        }
        problems.sort_by(|left, right| (left.line, &left.key).cmp(&(right.line, &right.key)));
        problems
    }
}

fn unknown<'a>(
    present: &Present,
    here: impl Iterator<Item = &'a str> + Clone,
    known: &[(String, &'static str)],
) -> Problem {
    let choices = || {
        let mut names: Vec<_> = here.clone().collect();
        names.sort_unstable();
        let choices = format!("known here: {}", names.join(", "));
        match known.iter().find(|(_, name)| *name == present.name) {
            Some((section, name)) => format!("\"{name}\" belongs into [{section}]; {choices}"),
            None => choices,
        }
    };
    let noun = if present.section.is_empty() { "unknown section" } else { "unknown key" };
    Problem {
        line: present.line,
        key: join(&present.section, &present.name),
        message: noun.into(),
        hint: did_you_mean(&present.name, here.clone()).or_else(|| Some(choices())),
    }
}

pub(super) fn join(section: &str, name: &str) -> String {
    if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") }
}

/// One table of the document, with a fixed set of keys; or none, where the document leaves it out.
pub(super) struct Section<'r, 't> {
    reader: &'r Reader<'r>,
    path: String,
    line: usize,
    entries: Option<&'t DeTable<'t>>,
}

impl<'r, 't> Section<'r, 't> {
    pub(super) fn new(reader: &'r Reader<'r>, path: String, line: usize, entries: &'t DeTable<'t>) -> Self {
        for (key, _) in entries {
            reader.present.borrow_mut().push(Present {
                section: path.clone(),
                name: key.get_ref().to_string(),
                line: reader.line(key.span().start),
            });
        }
        Self { reader, path, line, entries: Some(entries) }
    }

    /// Whether the document has this section.
    pub(super) fn is_present(&self) -> bool {
        self.entries.is_some()
    }

    /// Whether the document has this key here.
    pub(super) fn has(&self, name: &str) -> bool {
        self.entries.is_some_and(|entries| entries.contains_key(name))
    }

    /// Notes a mistake of one of its keys, even of one that it lacks, or of the section as a whole (`""`).
    pub(super) fn problem<T>(
        &self,
        name: &str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Option<T> {
        let there = self.entries.and_then(|entries| entries.get_key_value(name));
        let key = if name.is_empty() { self.path.clone() } else { join(&self.path, name) };
        self.reader.note(Problem {
            line: there.map_or(self.line, |(key, _)| self.reader.line(key.span().start)),
            key,
            message: message.into(),
            hint: Some(hint.into()),
        });
        None
    }

    /// The value of a key that may be left out.
    pub(super) fn optional(&self, name: &'static str) -> Option<Item<'r, 't>> {
        self.reader.known.borrow_mut().push((self.path.clone(), name));
        let (key, value) = self.entries?.get_key_value(name)?;
        Some(Item {
            reader: self.reader,
            key: join(&self.path, name),
            line: self.reader.line(key.span().start),
            value,
        })
    }

    /// The value of a key that must be there. A section that is missing as a whole is reported once, by
    /// whoever asked for it.
    pub(super) fn required(&self, name: &'static str) -> Option<Item<'r, 't>> {
        let item = self.optional(name);
        if item.is_none() && self.is_present() {
            return self.problem(name, "missing key", format!("add `{name} = …` to [{}]", self.path));
        }
        item
    }

    /// What `read` makes of a key, or `default` where the key is left out.
    pub(super) fn or<T>(
        &self,
        name: &'static str,
        default: T,
        read: impl FnOnce(&Item<'r, 't>) -> Option<T>,
    ) -> Option<T> {
        self.optional(name).map_or(Some(default), |item| read(&item))
    }

    /// What `read` makes of a key, or nothing where the key is left out: `Some(None)` then.
    pub(super) fn maybe<T>(
        &self,
        name: &'static str,
        read: impl FnOnce(&Item<'r, 't>) -> Option<T>,
    ) -> Option<Option<T>> {
        self.optional(name).map_or(Some(None), |item| read(&item).map(Some))
    }

    /// A section inside this one; an empty one where it is left out.
    pub(super) fn section(&self, name: &'static str) -> Section<'r, 't> {
        let missing = Section {
            reader: self.reader,
            path: join(&self.path, name),
            line: self.reader.last_line(),
            entries: None,
        };
        match self.optional(name) {
            Some(item) => item.section().unwrap_or(missing),
            None => missing,
        }
    }

    /// A section inside this one that must be there.
    pub(super) fn required_section(&self, name: &'static str) -> Section<'r, 't> {
        let section = self.section(name);
        if !self.has(name) {
            section.problem::<()>("", "missing section", format!("add [{}] and its keys", section.path));
        }
        section
    }
}
