//! Amounts of bytes as people write them: `20GiB`, `512MiB`, `100kB`.

const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

/// What an amount looks like, for messages.
pub(crate) const EXAMPLES: &str = "write a number and a unit, such as \"20GiB\", \"512MiB\" or \"100kB\"";

/// Reads an amount of bytes; `None` when the text is anything else.
pub(crate) fn parse(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let unit = unit.trim_start();
    let (_, bytes) = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
    number.parse::<u64>().ok()?.checked_mul(*bytes)
}

/// Writes an amount of bytes in the largest binary unit that keeps it readable: `1.4 GiB`.
pub(crate) fn display(bytes: u64) -> String {
    let unit = UNITS.iter().take(4).find(|(_, size)| bytes >= *size);
    match unit {
        Some((name, size)) => format!("{:.1} {name}", bytes as f64 / *size as f64),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_with_either_kind_of_unit() {
        for (text, bytes) in [
            ("20GiB", Some(21_474_836_480)),
            ("512 MiB", Some(536_870_912)),
            ("100kB", Some(100_000)),
            ("1024B", Some(1024)),
            ("10gib", Some(10_737_418_240)),
            ("20", None),
            ("GiB", None),
            ("-1GiB", None),
            ("1.5GiB", None),
            ("99999999TiB", None),
            ("", None),
        ] {
            assert_eq!(parse(text), bytes, "{text}");
        }
    }

    #[test]
    fn amounts_are_shown_with_one_digit() {
        assert_eq!(display(999), "999 B");
        assert_eq!(display(1536), "1.5 KiB");
        assert_eq!(display(21_474_836_480), "20.0 GiB");
    }
}
