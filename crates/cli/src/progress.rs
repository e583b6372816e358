//! How far a long piece of work has come: a bar on a terminal, a line now and then elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::terminal::{complain, count, span};

/// Where nobody watches, a line is printed this often: a log of a night's work stays readable.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// The progress of one piece of work, shown on stderr.
pub(crate) struct Progress {
    what: &'static str,
    noun: &'static str,
    began: Instant,
    shown: Shown,
}

enum Shown {
    Bar(ProgressBar),
    Lines { last: Option<Instant> },
}

impl Progress {
    /// Begins to show `what`, counted in `noun`s: `Progress::start("backfill", "records")`.
    pub(crate) fn start(what: &'static str, noun: &'static str) -> Self {
        let shown =
            if std::io::stderr().is_terminal() { Shown::Bar(bar(what)) } else { Shown::Lines { last: None } };
        Self { what, noun, began: Instant::now(), shown }
    }

    /// Shows that `done` of `total` is done; `note` says where the work is, such as a month.
    pub(crate) fn update(&mut self, done: u64, total: Option<u64>, note: &str) {
        let now = Instant::now();
        match &mut self.shown {
            Shown::Bar(bar) => {
                match total {
                    Some(total) => bar.set_length(total.max(done)),
                    None => bar.unset_length(),
                }
                bar.set_position(done);
                bar.set_message(note.to_owned());
            }
            Shown::Lines { last } => {
                if last.is_none_or(|last| now.duration_since(last) >= LINE_INTERVAL) {
                    *last = Some(now);
                    complain(&line(
                        (self.what, self.noun),
                        (done, total),
                        now.duration_since(self.began),
                        note,
                    ));
                }
            }
        }
    }

    /// Takes the bar away; the caller says how it ended.
    pub(crate) fn finish(self) {
        if let Shown::Bar(bar) = self.shown {
            bar.finish_and_clear();
        }
    }
}

fn bar(what: &'static str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let template = "{prefix} {bar:30} {human_pos}/{human_len} {per_sec:.dim} {eta_precise} {msg}";
    // A template that could not be read would leave the library's own, which shows the same numbers.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_prefix(what);
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}

/// One plain line: `backfill: 12,000 of 48,000 records (25 %), 2020-07, 5,000 records/s, 7.2 s left`.
fn line(names: (&str, &str), (done, total): (u64, Option<u64>), elapsed: Duration, note: &str) -> String {
    let (what, noun) = names;
    let mut text = format!("{what}: {}", count(done));
    if let Some(total) = total.filter(|total| *total > 0) {
        text.push_str(&format!(" of {} {noun} ({} %)", count(total), done.saturating_mul(100) / total));
    } else {
        text.push_str(&format!(" {noun}"));
    }
    if !note.is_empty() {
        text.push_str(&format!(", {note}"));
    }
    let seconds = elapsed.as_secs_f64();
    if done > 0 && seconds > 1.0 {
        let rate = done as f64 / seconds;
        text.push_str(&format!(", {rate:.0} {noun}/s"));
        if let Some(left) = total.and_then(|total| total.checked_sub(done)) {
            let left = Duration::try_from_secs_f64(left as f64 / rate).unwrap_or_default();
            text.push_str(&format!(", {} left", span(left)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_line_says_how_far_how_fast_and_how_long_still() {
        let names = ("backfill", "records");
        let after = Duration::from_secs(10);
        assert_eq!(
            line(names, (12_000, Some(48_000)), after, "2020-07"),
            "backfill: 12,000 of 48,000 records (25 %), 2020-07, 1200 records/s, 30 s left"
        );
        assert_eq!(line(names, (12_000, None), after, ""), "backfill: 12,000 records, 1200 records/s");
        assert_eq!(line(names, (0, Some(0)), Duration::ZERO, ""), "backfill: 0 records");
    }
}
