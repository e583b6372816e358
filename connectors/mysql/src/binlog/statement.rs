//! What a logged statement means for our tables, as far as its first words tell.
//!
//! This is no parser: where it is in doubt whether a statement changed rows of one of them, it says yes.

use super::group::Xid;

/// Words that are read of a statement: enough for every list of tables that matters.
const WORDS_MAX: usize = 4096;

/// What a statement means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// A transaction begins.
    Begin,
    /// It is committed.
    Commit,
    /// It is rolled back.
    Rollback,
    /// It is rolled back in part.
    RollbackPart,
    /// An XA transaction begins.
    XaStart,
    /// An XA transaction that was prepared is committed.
    XaCommit(Xid),
    /// One that was prepared is rolled back.
    XaRollback(Xid),
    /// Nothing for the log's reader.
    Aside,
    /// Tables of ours, by their numbers, were emptied, by `TRUNCATE` or `DROP`.
    Emptied(Vec<u16>),
    /// Rows of a table of ours may have changed, and no row event tells how.
    Changed,
    /// Rows of other tables changed.
    ChangedOther,
    /// A definition changed: of tables of ours, or of something else.
    Defined {
        /// The numbers of our tables that the statement names.
        ours: Vec<u16>,
        /// Whether rows follow, and then a commit.
        opens: bool,
    },
}

/// The tables whose changes matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subjects {
    /// Database and name of each, at the place of its number.
    pub(crate) tables: Vec<(String, String)>,
    /// Whether case counts in names: `lower_case_table_names` is 0.
    pub(crate) case_counts: bool,
}

impl Subjects {
    /// The number of the table with these names.
    pub(crate) fn find(&self, database: &[u8], table: &[u8]) -> Option<u16> {
        self.those(|own, name| self.same(name, table) && self.same(own, database)).next()
    }

    /// The numbers of those whose database and name are as asked for.
    fn those(&self, is: impl Fn(&str, &str) -> bool) -> impl Iterator<Item = u16> {
        (0..)
            .zip(&self.tables)
            .filter(move |(_, (database, name))| is(database, name))
            .map(|(number, _)| number)
    }

    fn same(&self, own: &str, other: &[u8]) -> bool {
        own.as_bytes() == other
            || (!self.case_counts && own.to_lowercase() == String::from_utf8_lossy(other).to_lowercase())
    }

    /// Those that the words name: by their own name, alone in their database or behind their database's.
    fn named(&self, words: &[Word], session: &[u8]) -> Vec<u16> {
        let is_named = |own: &str, table: &str| {
            words.iter().enumerate().any(|(index, word)| {
                let before = index.checked_sub(2).and_then(|first| words.get(first..index));
                let database = match before {
                    Some([Word::Name(database), Word::Mark('.')]) => database.as_bytes(),
                    _ => session,
                };
                matches!(word, Word::Name(name) if self.same(table, name.as_bytes()))
                    && self.same(own, database)
            })
        };
        self.those(is_named).collect()
    }

    /// Those that are in the database that the words drop.
    fn dropped(&self, words: &[Word]) -> Vec<u16> {
        let Some(Word::Name(dropped)) = words.last() else { return Vec::new() };
        self.those(|own, _| self.same(own, dropped.as_bytes())).collect()
    }
}

/// A piece of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Word {
    Name(String),
    Literal(String),
    Mark(char),
}

/// What a statement in a session with this database means.
pub(crate) fn meaning(text: &str, session: &[u8], subjects: &Subjects) -> Meaning {
    // The few that nearly every transaction has.
    match text {
        "BEGIN" => return Meaning::Begin,
        "COMMIT" => return Meaning::Commit,
        _ => {}
    }
    let words = words(text);
    let word = |index: usize| match words.get(index) {
        Some(Word::Name(name)) => name.to_ascii_uppercase(),
        _ => String::new(),
    };
    let ours = || subjects.named(&words, session);
    let emptied = |tables: Vec<u16>| {
        if tables.is_empty() { defined(tables, text) } else { Meaning::Emptied(tables) }
    };
    match (word(0).as_str(), word(1).as_str()) {
        ("BEGIN", _) | ("START", "TRANSACTION") => Meaning::Begin,
        ("COMMIT", _) => Meaning::Commit,
        ("ROLLBACK", "TO") => Meaning::RollbackPart,
        ("ROLLBACK", "WORK") if word(2) == "TO" => Meaning::RollbackPart,
        ("ROLLBACK", _) => Meaning::Rollback,
        ("XA", "START" | "BEGIN") => Meaning::XaStart,
        ("XA", "COMMIT") => Meaning::XaCommit(xid(&words)),
        ("XA", "ROLLBACK") => Meaning::XaRollback(xid(&words)),
        ("XA" | "SAVEPOINT" | "RELEASE" | "SET", _) => Meaning::Aside,
        ("TRUNCATE", _) | ("DROP", "TABLE") => emptied(ours()),
        ("DROP", "DATABASE" | "SCHEMA") => emptied(subjects.dropped(&words)),
        (
            "INSERT" | "UPDATE" | "DELETE" | "REPLACE" | "LOAD" | "CALL" | "WITH" | "MERGE" | "SELECT" | "DO",
            _,
        ) => {
            if ours().is_empty() {
                Meaning::ChangedOther
            } else {
                Meaning::Changed
            }
        }
        _ => defined(ours(), text),
    }
}

fn defined(ours: Vec<u16>, text: &str) -> Meaning {
    Meaning::Defined { ours, opens: text.trim_end().ends_with("START TRANSACTION") }
}

/// The name behind `XA COMMIT`, such as `X'6162',X'63',1`.
fn xid(words: &[Word]) -> Xid {
    let mut name = String::new();
    for word in words.get(2..).unwrap_or_default() {
        match word {
            Word::Name(text) => name.push_str(&text.to_ascii_lowercase()),
            Word::Literal(text) => {
                name.push('\'');
                name.push_str(&text.to_ascii_lowercase());
                name.push('\'');
            }
            Word::Mark(mark) => name.push(*mark),
        }
    }
    Xid(name)
}

/// Cuts a statement into names, literals and marks, without comments. What stands in a comment that the server executes
/// counts.
fn words(text: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut rest = text.trim_start_matches('\u{feff}');
    while let Some(first) = rest.chars().next() {
        if words.len() >= WORDS_MAX {
            break;
        }
        rest = match first {
            '#' => after(rest, "\n"),
            '-' if rest.starts_with("-- ") || rest.starts_with("--\n") => after(rest, "\n"),
            '/' if rest.starts_with("/*!") || rest.starts_with("/*M!") => rest
                .trim_start_matches(['/', '*', 'M', '!'])
                .trim_start_matches(|digit: char| digit.is_ascii_digit()),
            '/' if rest.starts_with("/*") => after(rest, "*/"),
            '`' | '\'' | '"' => {
                let (content, after) = quoted(rest, first);
                // Double quotes hold a name or a text, as the session had it: a name is the safer reading.
                words.push(if first == '\'' { Word::Literal(content) } else { Word::Name(content) });
                after
            }
            first if is_name(first) => {
                let end = rest.find(|character| !is_name(character)).unwrap_or(rest.len());
                let (name, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
                words.push(Word::Name(name.to_owned()));
                after
            }
            first => {
                if !first.is_whitespace() {
                    words.push(Word::Mark(first));
                }
                rest.strip_prefix(first).unwrap_or_default()
            }
        };
    }
    words
}

fn is_name(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '$') || !character.is_ascii()
}

fn after<'a>(text: &'a str, end: &str) -> &'a str {
    text.split_once(end).map_or("", |(_, after)| after)
}

/// What stands between quotes, and what follows. A doubled quote stands for itself, and so does, in texts, what follows
/// a backslash.
fn quoted(text: &str, quote: char) -> (String, &str) {
    let mut content = String::new();
    let mut rest = text.strip_prefix(quote).unwrap_or_default().chars();
    while let Some(character) = rest.next() {
        if character == '\\' && quote != '`' {
            content.extend(rest.next());
        } else if character != quote {
            content.push(character);
        } else if let Some(after) = rest.as_str().strip_prefix(quote) {
            content.push(quote);
            rest = after.chars();
        } else {
            break;
        }
    }
    (content, rest.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn subjects() -> Subjects {
        let table = |database: &str, name: &str| (database.to_owned(), name.to_owned());
        let tables =
            vec![table("tramites", "solicitudes"), table("archivo", "pasos"), table("tramites", "pagos")];
        Subjects { tables, case_counts: true }
    }

    fn read(text: &str) -> Meaning {
        meaning(text, b"tramites", &subjects())
    }

    #[test]
    fn the_frame_of_a_transaction_is_told_from_what_is_in_it() {
        let xid = || Xid("x'6162',x'',1".to_owned());
        for (text, expected) in [
            ("BEGIN", Meaning::Begin),
            ("/* app */ begin", Meaning::Begin),
            ("COMMIT /* implicit, from Xid_log_event */", Meaning::Commit),
            ("ROLLBACK", Meaning::Rollback),
            ("ROLLBACK TO `a`", Meaning::RollbackPart),
            ("SAVEPOINT `a`", Meaning::Aside),
            ("XA START X'6162',X'',1", Meaning::XaStart),
            ("XA END X'6162',X'',1", Meaning::Aside),
            ("XA COMMIT X'6162',X'',1", Meaning::XaCommit(xid())),
            ("XA ROLLBACK X'6162',X'',1", Meaning::XaRollback(xid())),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn statements_that_change_rows_of_the_table_are_noticed_however_they_name_it() {
        for text in [
            "UPDATE solicitudes SET estado = 'x'",
            "update `tramites` . `solicitudes` set a=1",
            "INSERT INTO otra SELECT * FROM solicitudes",
            "DELETE s FROM otra o JOIN solicitudes s ON o.id = s.id",
            "WITH x AS (SELECT 1) UPDATE solicitudes SET a = 1",
            "/*!40000 REPLACE */ INTO solicitudes VALUES (1)",
            "LOAD DATA INFILE '/tmp/x' INTO TABLE solicitudes",
        ] {
            assert_eq!(read(text), Meaning::Changed, "{text}");
        }
        for text in [
            "UPDATE otra SET nota = 'solicitudes'",
            "UPDATE archivo.solicitudes SET a = 1",
            "INSERT INTO otra VALUES ('it''s \\' solicitudes') -- solicitudes",
            "DELETE FROM solicitudes_viejas /* solicitudes */",
        ] {
            assert_eq!(read(text), Meaning::ChangedOther, "{text}");
        }
    }

    #[test]
    fn emptying_the_table_is_told_from_emptying_another() {
        for text in
            ["TRUNCATE TABLE solicitudes", "truncate solicitudes", "DROP TABLE IF EXISTS `x`,`solicitudes`"]
        {
            assert_eq!(read(text), Meaning::Emptied(vec![0]), "{text}");
        }
        for (text, tables) in [
            ("TRUNCATE archivo.pasos", vec![1]),
            ("DROP TABLE pagos, `x`, archivo . pasos, solicitudes", vec![0, 1, 2]),
            ("DROP DATABASE `tramites`", vec![0, 2]),
        ] {
            assert_eq!(read(text), Meaning::Emptied(tables), "{text}");
        }
        for text in ["TRUNCATE otra", "TRUNCATE pasos", "DROP TABLE otra.solicitudes", "DROP DATABASE otra"] {
            assert_eq!(read(text), Meaning::Defined { ours: Vec::new(), opens: false }, "{text}");
        }
    }

    #[test]
    fn definitions_are_told_with_whether_they_touch_the_table() {
        let defined = |ours: &[u16], opens| Meaning::Defined { ours: ours.to_vec(), opens };
        assert_eq!(read("ALTER TABLE solicitudes ADD x int"), defined(&[0], false));
        assert_eq!(read("RENAME TABLE x TO y, tramites._gho TO tramites.pagos"), defined(&[2], false));
        assert_eq!(read("RENAME TABLE pagos TO viejos, archivo.pasos TO pagos"), defined(&[1, 2], false));
        assert_eq!(read("CREATE TABLE `copia` (`id` int) START TRANSACTION"), defined(&[], true));
        assert_eq!(read("GRANT SELECT ON *.* TO u"), defined(&[], false));
    }

    #[test]
    fn case_counts_only_where_the_server_says_so() {
        let lenient = Subjects { case_counts: false, ..subjects() };
        assert_eq!(meaning("UPDATE Solicitudes SET a=1", b"TRAMITES", &lenient), Meaning::Changed);
        assert_eq!(meaning("UPDATE Solicitudes SET a=1", b"tramites", &subjects()), Meaning::ChangedOther);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[-a-zA-Z`'\"/*#!. \\\\ñ\n;(),0-9]{0,60}") {
            read(&text);
        }
    }
}
