//! Lengths of time as people write them: `90s`, `5m`, `1h30m`, `7d`.

use std::time::Duration;

const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// What a length of time looks like, for messages.
pub(crate) const EXAMPLES: &str = "write a number and a unit, such as \"90s\", \"5m\", \"1h30m\" or \"7d\"";

/// Reads a length of time: numbers with the units `d`, `h`, `m`, `s`, `ms`, the larger unit first.
///
/// `None` when the text is anything else, or longer than 100 years.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    const MILLIS_MAX: u64 = 100 * 366 * 86_400_000;
    let mut rest = text.trim();
    let mut total = 0_u64;
    let mut units = UNITS.iter();
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at_checked(digits)?;
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, after) = after.split_at_checked(letters)?;
        let (_, millis) = units.find(|(name, _)| *name == unit)?;
        total = number.parse::<u64>().ok()?.checked_mul(*millis)?.checked_add(total)?;
        rest = after;
    }
    (!text.trim().is_empty() && total <= MILLIS_MAX).then(|| Duration::from_millis(total))
}

/// Writes a length of time the way [`parse`] reads it.
pub(crate) fn display(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, millis) in UNITS {
        let count = rest / millis;
        rest %= millis;
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
        }
    }
    if text.is_empty() { "0s".into() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_read_and_written_alike() {
        for (text, millis) in [
            ("2s", 2_000),
            ("90s", 90_000),
            ("5m", 300_000),
            ("6h", 21_600_000),
            ("1h30m", 5_400_000),
            ("7d", 604_800_000),
            ("250ms", 250),
            ("1d2h3m4s5ms", 93_784_005),
            ("0s", 0),
        ] {
            let duration = Duration::from_millis(millis);
            assert_eq!(parse(text), Some(duration), "{text}");
            assert_eq!(parse(&display(duration)), Some(duration), "{text}");
        }
        assert_eq!(display(Duration::from_secs(90)), "1m30s");
    }

    #[test]
    fn anything_else_is_no_length_of_time() {
        for text in [
            "",
            " ",
            "90",
            "s",
            "5 m",
            "1.5h",
            "-2s",
            "2s1h",
            "1h1h",
            "1w",
            "99999999999999999999s",
            "40000d",
            "٣s",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
