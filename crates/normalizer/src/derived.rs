//! Fields that are made of several columns: templates, and maps of joined values.

use change::{Text, Value};

use crate::field::{Cells, ValueMap};
use crate::rejection::Complaint;

/// What stands between the values of several columns in a map's key.
pub(crate) const JOINER: char = '|';

/// What takes its meaning from [`JOINER`], and from itself, inside a value.
const ESCAPE: char = '\\';

/// Puts `part` behind what was joined so far, so that no two lists of values read the same.
fn join(joined: &mut String, part: &str) {
    for letter in part.chars() {
        if matches!(letter, JOINER | ESCAPE) {
            joined.push(ESCAPE);
        }
        joined.push(letter);
    }
}

/// Reads the key of a map over `columns` columns, and writes it as [`join`] does.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn joined_key(key: &str, columns: usize) -> Result<String, String> {
    let mut joined = String::with_capacity(key.len());
    let mut parts = 1;
    let mut letters = key.chars();
    while let Some(letter) = letters.next() {
        match letter {
            JOINER => {
                parts += 1;
                joined.push(JOINER);
            }
            ESCAPE => match letters.next() {
                Some(next @ (JOINER | ESCAPE)) => joined.extend([ESCAPE, next]),
                _ => {
                    return Err(format!(
                        "the map's key \"{key}\" has a \"\\\" that stands neither before \"|\" nor before \"\\\""
                    ));
                }
            },
            other => joined.push(other),
        }
    }
    if parts != columns {
        return Err(format!("the map's key \"{key}\" joins {}, expected {columns}", values(parts)));
    }
    Ok(joined)
}

fn values(count: usize) -> String {
    if count == 1 { "1 value".into() } else { format!("{count} values") }
}

/// What the values of one column, or of several together, stand for.
#[derive(Debug, Clone)]
pub(crate) struct Lookup<T> {
    pub(crate) indexes: Box<[usize]>,
    pub(crate) map: ValueMap<T>,
    /// What every value stands for that is not listed.
    pub(crate) other: Option<T>,
}

impl<T: Clone> Lookup<T> {
    pub(crate) fn read(&self, cells: &Cells<'_>) -> Result<&T, Complaint> {
        let (found, other) = match &*self.indexes {
            [index] => {
                return cells.read(*index, |cell| {
                    let found = self.map.meaning(cell).or(self.other.as_ref());
                    found.ok_or_else(|| Complaint::not_in_map(cell))
                });
            }
            several => (joined_cells(cells, several)?, self.other.as_ref()),
        };
        let meaning = found.as_deref().and_then(|joined| self.map.listed(joined)).or(other);
        meaning.ok_or_else(|| {
            let complaint = match &found {
                Some(joined) => Complaint::joined_not_in_map(joined),
                None => Complaint::joined_unfit(),
            };
            complaint.in_columns(cells, &self.indexes)
        })
    }
}

/// The values of several cells as a key of the map; `None` where one of them is of a kind that no key can name.
/// NULL is joined as an empty text, but where all are NULL there is no value at all.
fn joined_cells(cells: &Cells<'_>, indexes: &[usize]) -> Result<Option<String>, Complaint> {
    let mut joined = String::new();
    let (mut is_named, mut is_null) = (true, true);
    for (place, index) in indexes.iter().enumerate() {
        if place > 0 {
            joined.push(JOINER);
        }
        let cell = cells.logged(*index)?;
        is_null &= cell.is_null();
        match cell {
            Value::Null => {}
            Value::Text(text) => join(&mut joined, text),
            Value::Int(integer) => joined.push_str(&integer.to_string()),
            Value::Bool(truth) => joined.push_str(if *truth { "true" } else { "false" }),
            _ => is_named = false,
        }
    }
    if is_null {
        return Err(Complaint::all_null().in_columns(cells, indexes));
    }
    Ok(is_named.then_some(joined))
}

/// A text with places for columns.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    /// A column, and the text before it.
    parts: Vec<(String, usize)>,
    tail: String,
}

impl Template {
    /// Reads `{column}` places; `{{` and `}}` stand for the braces themselves. `index` tells a column's place.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(text: &str, mut index: impl FnMut(&str) -> usize) -> Result<Self, String> {
        let (mut parts, mut literal) = (Vec::new(), String::new());
        let mut letters = text.chars().peekable();
        while let Some(letter) = letters.next() {
            match letter {
                '{' | '}' if letters.next_if_eq(&letter).is_some() => literal.push(letter),
                '{' => {
                    let mut column = String::new();
                    loop {
                        match letters.next() {
                            Some('}') => break,
                            Some(letter) => column.push(letter),
                            None => {
                                return Err(format!(
                                    "the template \"{text}\" has a \"{{\" that is not closed"
                                ));
                            }
                        }
                    }
                    if column.is_empty() {
                        return Err(format!("the template \"{text}\" has a place without a column"));
                    }
                    parts.push((std::mem::take(&mut literal), index(&column)));
                }
                '}' => return Err(format!("the template \"{text}\" has a \"}}\" that closes nothing")),
                other => literal.push(other),
            }
        }
        if parts.is_empty() {
            return Err(format!("the template \"{text}\" names no column"));
        }
        Ok(Self { parts, tail: literal })
    }

    /// The columns, in the order in which they stand.
    pub(crate) fn indexes(&self) -> impl Iterator<Item = usize> {
        self.parts.iter().map(|(_, index)| *index)
    }

    /// The text for a row. No place may stay empty: two requests could read the same.
    pub(crate) fn fill(&self, cells: &Cells<'_>) -> Result<Text, Complaint> {
        let mut text = Text::default();
        for (before, index) in &self.parts {
            text.push_str(before);
            cells.read(*index, |cell| {
                match cell {
                    Value::Text(value) if value.trim_ascii().is_empty() => return Err(Complaint::empty()),
                    Value::Text(value) => text.push_str(value),
                    Value::Int(integer) => text.push_str(&integer.to_string()),
                    Value::Bool(truth) => text.push_str(if *truth { "true" } else { "false" }),
                    _ => return Err(Complaint::not_an_id(cell)),
                }
                Ok(())
            })?;
        }
        text.push_str(&self.tail);
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use change::Row;
    use proptest::prelude::*;

    use super::*;

    const COLUMNS: [&str; 2] = ["estado", "sub_estado"];

    fn read<T>(row: &[Value], read: impl FnOnce(&Cells<'_>) -> Result<T, Complaint>) -> Result<T, String> {
        let columns = COLUMNS.map(str::to_owned);
        let row = Row::new(row.to_vec());
        read(&Cells { columns: &columns, row: &row, before: None })
            .map_err(|complaint| complaint.about("status_id").reject(None).reason)
    }

    fn pair(entries: &[(&str, u8)], other: Option<u8>) -> Lookup<u8> {
        let entries = entries.iter().map(|(key, id)| (joined_key(key, 2).unwrap().into(), *id));
        Lookup { indexes: Box::new([0, 1]), map: ValueMap::new(entries), other }
    }

    fn text(value: &str) -> Value {
        Value::text(value)
    }

    #[test]
    fn two_columns_are_looked_up_together() {
        let lookup = pair(&[("A|1", 1), ("A|", 2), ("|1", 3), (r"A\|1|\\", 4), ("true|-7", 5)], None);
        for (row, expected) in [
            ([text("A"), text("1")], 1),
            ([text("A"), Value::Int(1)], 1),
            ([text("A"), Value::Null], 2),
            ([text("A"), text("")], 2),
            ([Value::Null, text("1")], 3),
            ([text("A|1"), text("\\")], 4),
            ([Value::Bool(true), Value::Int(-7)], 5),
        ] {
            assert_eq!(read(&row, |cells| lookup.read(cells).copied()), Ok(expected), "{row:?}");
        }
    }

    #[test]
    fn a_pair_that_cannot_be_looked_up_says_why() {
        let lookup = pair(&[("A|1", 1), ("|", 2)], None);
        for (row, reason) in [
            (
                [text("A"), text("2")],
                "columns \"estado\", \"sub_estado\" of status_id hold \"A|2\" together, which is not in the map",
            ),
            (
                [Value::Null, Value::Null],
                "columns \"estado\", \"sub_estado\" of status_id are all NULL, expected a value",
            ),
            (
                [text("A"), Value::Unchanged],
                "column \"sub_estado\" of status_id was left out of the log, because the change did not touch it",
            ),
            (
                [Value::Date(1), text("1")],
                "columns \"estado\", \"sub_estado\" of status_id hold a value that no key of the map can name",
            ),
        ] {
            assert_eq!(read(&row, |cells| lookup.read(cells).copied()), Err(reason.to_owned()), "{row:?}");
        }
        let told = read(&[text("A")], |cells| lookup.read(cells).copied()).unwrap_err();
        assert!(told.contains("does not carry it"), "{told}");
    }

    #[test]
    fn what_is_not_listed_may_stand_for_something_and_null_never_does() {
        let lookup = pair(&[("A|1", 1)], Some(21));
        for (row, expected) in [
            ([text("A"), text("1")], Some(1)),
            ([text("B"), text("1")], Some(21)),
            ([text("A"), Value::Null], Some(21)),
            ([Value::Date(1), text("1")], Some(21)),
            ([Value::Null, Value::Null], None),
            ([text("A"), Value::Unchanged], None),
            ([text("A"), Value::Unusable("infinity".into())], None),
        ] {
            assert_eq!(read(&row, |cells| lookup.read(cells).copied()).ok(), expected, "{row:?}");
        }
        let alone = Lookup { indexes: Box::new([0]), map: ValueMap::new([("A".into(), 1)]), other: Some(21) };
        for (cell, expected) in
            [(text("A"), Some(1)), (text("B"), Some(21)), (text(""), Some(21)), (Value::Null, None)]
        {
            assert_eq!(read(&[cell], |cells| alone.read(cells).copied()).ok(), expected);
        }
    }

    #[test]
    fn a_key_must_join_one_value_for_each_column() {
        assert_eq!(joined_key("A|1", 2), Ok("A|1".into()));
        assert_eq!(joined_key(r"A\|1", 2).unwrap_err(), r#"the map's key "A\|1" joins 1 value, expected 2"#);
        assert_eq!(joined_key("A|1|", 2).unwrap_err(), r#"the map's key "A|1|" joins 3 values, expected 2"#);
        for torn in [r"A\", r"A\n|1"] {
            assert!(joined_key(torn, 2).unwrap_err().contains("neither before"), "{torn}");
        }
    }

    fn template(text: &str) -> Result<Template, String> {
        Template::parse(text, |column| COLUMNS.iter().position(|known| *known == column).unwrap_or(9))
    }

    #[test]
    fn a_template_is_filled_with_the_rows_values() {
        let filled = |pattern: &str, row: &[Value]| {
            let template = template(pattern).unwrap();
            read(row, |cells| template.fill(cells)).map(String::from)
        };
        let row = [Value::Int(2024), text("000 17")];
        assert_eq!(filled("{estado}-{sub_estado}", &row), Ok("2024-000 17".into()));
        assert_eq!(filled("{{{sub_estado}}}/{estado}{estado}.", &row), Ok("{000 17}/20242024.".into()));
        assert_eq!(filled("N{estado}", &[Value::Bool(true)]), Ok("Ntrue".into()));
        for (cell, reason) in [
            (Value::Null, "is NULL"),
            (text("  "), "is empty"),
            (Value::Unchanged, "left out"),
            (Value::Date(3), "expected an integer or a text"),
        ] {
            let told = filled("{estado}-{sub_estado}", &[text("1"), cell]).unwrap_err();
            assert!(told.starts_with("column \"sub_estado\"") && told.contains(reason), "{told}");
        }
        assert_eq!(template("{sub_estado}{estado}").unwrap().indexes().collect::<Vec<_>>(), [1, 0]);
    }

    #[test]
    fn a_template_that_cannot_be_read_says_why() {
        for (pattern, what) in [
            ("", "names no column"),
            ("fijo {{estado}}", "names no column"),
            ("{estado", "not closed"),
            ("{estado}}", "closes nothing"),
            ("{}", "without a column"),
        ] {
            let told = template(pattern).unwrap_err();
            assert!(told.contains(what) && told.contains(&format!("\"{pattern}\"")), "{told}");
        }
    }

    proptest! {
        #[test]
        fn different_values_never_join_to_the_same_key(
            one in prop::collection::vec("[a|\\\\]{0,3}", 2),
            other in prop::collection::vec("[a|\\\\]{0,3}", 2),
        ) {
            let key = |texts: &[String]| {
                let row: Vec<Value> = texts.iter().map(|text| Value::text(text.as_str())).collect();
                read(&row, |cells| joined_cells(cells, &[0, 1])).unwrap().unwrap()
            };
            prop_assert_eq!(key(&one) == key(&other), one == other);
            // What is joined can be written as a key of the map.
            prop_assert_eq!(joined_key(&key(&one), 2), Ok(key(&one)));
        }
    }
}
