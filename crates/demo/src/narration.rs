//! The story's lines on the terminal.

use std::io::Write;
use std::time::{Duration, Instant};

/// How many characters of a line are shown where lines are cut.
const WIDTH: usize = 90;

/// Tells the story step by step, each with what happens and how long it took.
pub(crate) struct Narrator {
    steps: u32,
    step: u32,
    began: Instant,
    started: Instant,
}

impl Narrator {
    /// A story of so many steps.
    pub(crate) fn new(steps: u32) -> Narrator {
        Narrator { steps, step: 0, began: Instant::now(), started: Instant::now() }
    }

    /// Begins the next step.
    pub(crate) fn step(&mut self, title: &str) {
        self.step += 1;
        self.began = Instant::now();
        line(&format!("\n[{}/{}] {title}", self.step, self.steps));
    }

    /// A line of what happens.
    pub(crate) fn say(&self, text: &str) {
        line(&format!("      {text}"));
    }

    /// Something done: the line ends with the time since the step began.
    pub(crate) fn done(&self, text: &str) {
        line(&format!("      {text} ({})", seconds(self.began.elapsed())));
    }

    /// What another program or a file says, set apart.
    pub(crate) fn quote(&self, text: &str) {
        for quoted in text.trim_end().split('\n') {
            line(format!("      | {quoted}").trim_end());
        }
    }

    /// The same, with long lines cut: the whole is elsewhere.
    pub(crate) fn quote_shortened(&self, text: &str) {
        for quoted in text.trim_end().lines() {
            let short: String = quoted.chars().take(WIDTH).collect();
            let more = if short.len() < quoted.len() { " …" } else { "" };
            self.quote(&format!("{short}{more}"));
        }
    }

    /// How long the whole story took.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

/// Writes a line. A reader who has gone away, as `head` does, is no reason to stop.
pub(crate) fn line(text: &str) {
    let mut out = std::io::stdout().lock();
    drop(writeln!(out, "{text}").and_then(|()| out.flush()));
}

/// `12.3 s`.
pub(crate) fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

/// `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_groups_of_three() {
        let written = [0, 999, 1_000, 1_234_567].map(count);
        assert_eq!(written, ["0", "999", "1,000", "1,234,567"]);
    }
}
