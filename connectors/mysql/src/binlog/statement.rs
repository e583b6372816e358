//! What a logged statement means for the table, as far as its first words tell.
//!
//! This is no parser: where it is in doubt whether a statement changed rows of the table, it says yes.

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
    /// The table was emptied, by `TRUNCATE` or `DROP`.
    Emptied,
    /// Rows of the table may have changed, and no row event tells how.
    Changed,
    /// Rows of other tables changed.
    ChangedOther,
    /// A definition changed: of the table, or of something else.
    Defined {
        /// Whether the statement names the table.
        ours: bool,
        /// Whether rows follow, and then a commit.
        opens: bool,
    },
}

/// The table whose changes matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subject {
    /// Its database.
    pub(crate) database: String,
    /// Its name.
    pub(crate) table: String,
    /// Whether case counts in names: `lower_case_table_names` is 0.
    pub(crate) case_counts: bool,
}

impl Subject {
    /// Whether these are its names.
    pub(crate) fn is(&self, database: &[u8], table: &[u8]) -> bool {
        self.same(&self.table, table) && self.same(&self.database, database)
    }

    fn same(&self, own: &str, other: &[u8]) -> bool {
        own.as_bytes() == other
            || (!self.case_counts && own.to_lowercase() == String::from_utf8_lossy(other).to_lowercase())
    }

    /// Whether the words name it: its own name, alone in its database or behind its database's.
    fn is_named(&self, words: &[Word], session: &[u8]) -> bool {
        words.iter().enumerate().any(|(index, word)| {
            let before = index.checked_sub(2).and_then(|first| words.get(first..index));
            let database = match before {
                Some([Word::Name(database), Word::Mark('.')]) => database.as_bytes(),
                _ => session,
            };
            matches!(word, Word::Name(name) if self.same(&self.table, name.as_bytes()))
                && self.same(&self.database, database)
        })
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
pub(crate) fn meaning(text: &str, session: &[u8], subject: &Subject) -> Meaning {
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
    let ours = || subject.is_named(&words, session);
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
        ("TRUNCATE", _) if ours() => Meaning::Emptied,
        ("DROP", "TABLE") if ours() => Meaning::Emptied,
        ("DROP", "DATABASE" | "SCHEMA") if drops_database(&words, subject) => Meaning::Emptied,
        (
            "INSERT" | "UPDATE" | "DELETE" | "REPLACE" | "LOAD" | "CALL" | "WITH" | "MERGE" | "SELECT" | "DO",
            _,
        ) => {
            if ours() {
                Meaning::Changed
            } else {
                Meaning::ChangedOther
            }
        }
        _ => Meaning::Defined { ours: ours(), opens: text.trim_end().ends_with("START TRANSACTION") },
    }
}

fn drops_database(words: &[Word], subject: &Subject) -> bool {
    matches!(words.last(), Some(Word::Name(name)) if subject.same(&subject.database, name.as_bytes()))
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

    fn subject() -> Subject {
        Subject { database: "tramites".to_owned(), table: "solicitudes".to_owned(), case_counts: true }
    }

    fn read(text: &str) -> Meaning {
        meaning(text, b"tramites", &subject())
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
        for text in [
            "TRUNCATE TABLE solicitudes",
            "truncate solicitudes",
            "DROP TABLE IF EXISTS `x`,`solicitudes`",
            "DROP DATABASE `tramites`",
        ] {
            assert_eq!(read(text), Meaning::Emptied, "{text}");
        }
        for text in ["TRUNCATE otra", "DROP TABLE otra.solicitudes", "DROP DATABASE otra"] {
            assert_eq!(read(text), Meaning::Defined { ours: false, opens: false }, "{text}");
        }
    }

    #[test]
    fn definitions_are_told_with_whether_they_touch_the_table() {
        let defined = |ours, opens| Meaning::Defined { ours, opens };
        assert_eq!(read("ALTER TABLE solicitudes ADD x int"), defined(true, false));
        assert_eq!(read("RENAME TABLE x TO y, tramites._gho TO tramites.solicitudes"), defined(true, false));
        assert_eq!(read("CREATE TABLE `copia` (`id` int) START TRANSACTION"), defined(false, true));
        assert_eq!(read("GRANT SELECT ON *.* TO u"), defined(false, false));
    }

    #[test]
    fn case_counts_only_where_the_server_says_so() {
        let lenient = Subject { case_counts: false, ..subject() };
        assert_eq!(meaning("UPDATE Solicitudes SET a=1", b"TRAMITES", &lenient), Meaning::Changed);
        assert_eq!(meaning("UPDATE Solicitudes SET a=1", b"tramites", &subject()), Meaning::ChangedOther);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[-a-zA-Z`'\"/*#!. \\\\ñ\n;(),0-9]{0,60}") {
            read(&text);
        }
    }
}
