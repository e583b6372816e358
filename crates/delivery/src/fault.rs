//! What went wrong with one exchange, apart from what to do about it.

use std::fmt;

/// How long a fault's message may be, in characters: a page of HTML in a log helps nobody.
const MESSAGE_CHARACTERS_MAX: usize = 300;

/// How much may follow it: a chain of certificates takes that much.
const ADDITION_CHARACTERS_MAX: usize = 900;

/// What went wrong with one exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// A stable word for programs: `timeout`, `x_road_access_denied`, `redirect`, ...
    pub code: &'static str,
    /// What happened, a lower-case fragment of at most 300 characters, and after a semicolon what else is to be said of
    /// it. It may quote the endpoint's own words, never a record.
    pub message: String,
    /// What the institution should do, whole sentences; `None` where waiting is all there is to do.
    pub hint: Option<String>,
}

impl Fault {
    /// Makes a fault; a longer `message` is cut.
    #[must_use]
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: cut(message.into(), MESSAGE_CHARACTERS_MAX), hint: None }
    }

    /// The same fault with more to be said of what happened; it stands even where the endpoint's words were cut.
    #[must_use]
    pub(crate) fn followed_by(mut self, more: &str) -> Self {
        self.message.push_str("; ");
        self.message.push_str(&cut(more.to_owned(), ADDITION_CHARACTERS_MAX));
        self
    }

    /// The same fault with what the institution should do.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

/// Cuts `message` and makes one line of it: an endpoint must not write lines of its own into a log.
fn cut(message: String, characters_max: usize) -> String {
    let is_clean = !message.chars().any(char::is_control);
    if is_clean && message.chars().count() <= characters_max {
        return message;
    }
    let one_line = message.chars().map(|character| if character.is_control() { ' ' } else { character });
    let mut kept: String = one_line.clone().take(characters_max).collect();
    if one_line.count() > characters_max {
        kept.pop();
        kept.push('…');
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_stays_short_and_on_one_line() {
        assert_eq!(Fault::new("x", "two\r\nlines").message, "two  lines");
        let long = Fault::new("x", "á".repeat(1000)).message;
        assert_eq!(long.chars().count(), MESSAGE_CHARACTERS_MAX);
        assert!(long.ends_with('…'));
        assert_eq!(Fault::new("x", "á".repeat(300)).message, "á".repeat(300));
    }
}
