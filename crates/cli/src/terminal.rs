//! What people see: lines on stdout and stderr, tables, and numbers as they read them.

use std::io::{ErrorKind, Write};
use std::time::Duration;

use crate::exit::Failure;

/// Prints `text` and a line break to stdout: the result of a command.
///
/// A reader that has gone away (`bitacora status | head -1`) is no failure.
///
/// # Errors
/// When stdout cannot be written for any other reason, such as a full disk.
pub(crate) fn say(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.write_all(b"\n"));
    match written.and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::new("write the result to stdout").caused_by(&error))
        }
        _ => Ok(()),
    }
}

/// Prints `text` and a line break to stderr.
pub(crate) fn complain(text: &str) {
    // When stderr is gone there is nobody left to tell.
    drop(writeln!(std::io::stderr().lock(), "{text}"));
}

/// A count with its thousands apart: `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count with its noun, in the plural where it must be: `1 record`, `2 records`.
pub(crate) fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", count(number))
}

/// So many batches, in words.
pub(crate) fn batches(number: u64) -> String {
    if number == 1 { "1 batch".into() } else { format!("{} batches", count(number)) }
}

/// A length of time in its two largest units: `2 h 5 min`, `3 d`, `0.4 s`.
pub(crate) fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds < 10 {
        return format!("{:.1} s", duration.as_secs_f64());
    }
    let mut text = String::new();
    let mut rest = seconds;
    let mut shown = 0;
    for (unit, length) in [("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)] {
        let whole = rest / length;
        rest %= length;
        if whole > 0 {
            let gap = if shown > 0 { " " } else { "" };
            text.push_str(&format!("{gap}{whole} {unit}"));
        }
        // The second unit follows the first one directly, or not at all: `1 d 3 s` would suggest precision.
        if whole > 0 || shown > 0 {
            shown += 1;
        }
        if shown == 2 {
            break;
        }
    }
    text
}

/// Rows of text in aligned columns.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    right: Vec<bool>,
}

impl Table {
    /// An empty table; a heading that ends in `>` makes its column flush right, for numbers.
    pub(crate) fn new(headings: &[&str]) -> Self {
        let right = headings.iter().map(|heading| heading.ends_with('>')).collect();
        let headings = headings.iter().map(|heading| heading.trim_end_matches('>').to_owned()).collect();
        Self { rows: vec![headings], right }
    }

    /// Adds a row; cells past the last heading are kept too.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| printable(&cell)).collect());
    }

    /// The whole table, without a line break at its end.
    pub(crate) fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
        };
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        let lines = self.rows.iter().map(|row| {
            let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
                if self.right.get(column) == Some(&true) {
                    format!("{cell:>width$}")
                } else {
                    format!("{cell:<width$}")
                }
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// `text` as SQL comments of readable width.
pub(crate) fn comment(text: &str) -> String {
    const WIDTH: usize = 110;
    let mut comment = String::new();
    for paragraph in text.lines() {
        let mut line = String::from("--");
        for word in paragraph.split_whitespace() {
            if line.len() + word.len() >= WIDTH && line.len() > 2 {
                comment.push_str(&line);
                comment.push('\n');
                line = String::from("--");
            }
            line.push(' ');
            line.push_str(word);
        }
        comment.push_str(&line);
        comment.push('\n');
    }
    comment
}

/// `text` without what could move the cursor or break the line: values come from somebody's database.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_their_thousands_apart() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(number), text);
        }
        assert_eq!(counted(1, "record"), "1 record");
        assert_eq!(counted(2500, "record"), "2,500 records");
    }

    #[test]
    fn lengths_of_time_show_their_two_largest_units() {
        for (seconds, text) in [
            (0.0, "0.0 s"),
            (0.42, "0.4 s"),
            (9.96, "10.0 s"),
            (59.0, "59 s"),
            (60.0, "1 min"),
            (3_661.0, "1 h 1 min"),
            (7_500.0, "2 h 5 min"),
            (86_403.0, "1 d"),
            (93_784.0, "1 d 2 h"),
        ] {
            assert_eq!(span(Duration::from_secs_f64(seconds)), text, "{seconds}");
        }
    }

    #[test]
    fn tables_align_text_left_and_numbers_right() {
        let mut table = Table::new(&["month", "records>", "note"]);
        table.row(["2020-01".into(), count(1200), "año".into()]);
        table.row(["2020-02".into(), count(7), "two\nlines\u{1b}[2J".into()]);
        insta::assert_snapshot!(table.render(), @r"
        month    records  note
        2020-01    1,200  año
        2020-02        7  two�lines�[2J
        ");
    }
}
