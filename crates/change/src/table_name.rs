//! A table's name as the configuration spells it.
//!
//! Its parts are taken literally, case included. A part that contains a dot is written in double quotes, and a double
//! quote inside them twice.

/// One part of a table's name as the configuration takes it.
#[must_use]
pub fn configured_part(name: &str) -> String {
    if name.contains('.') || name.starts_with('"') {
        format!("\"{}\"", name.replace('"', "\"\""))
    } else {
        name.to_owned()
    }
}

/// The parts of a table's name from the configuration, at least one.
///
/// # Errors
/// What is wrong with it: a quote that is not closed, or an empty part.
pub fn name_parts(text: &str) -> Result<Vec<String>, &'static str> {
    let mut parts = Vec::new();
    let mut rest = Some(text);
    while let Some(text) = rest {
        let (part, after) = first_part(text).ok_or("a double quote is not closed")?;
        if part.is_empty() {
            return Err("a part of the name is empty");
        }
        parts.push(part);
        rest = after;
    }
    Ok(parts)
}

/// The first part of `text` and what follows its dot; `None` where a quoted part does not end well.
fn first_part(text: &str) -> Option<(String, Option<&str>)> {
    let Some(quoted) = text.strip_prefix('"') else {
        return Some(match text.split_once('.') {
            Some((part, after)) => (part.to_owned(), Some(after)),
            None => (text.to_owned(), None),
        });
    };
    let mut part = String::new();
    let mut rest = quoted;
    loop {
        let (before, after) = rest.split_once('"')?;
        part.push_str(before);
        match after.strip_prefix('"') {
            Some(more) => {
                part.push('"');
                rest = more;
            }
            None if after.is_empty() => return Some((part, None)),
            None => return Some((part, Some(after.strip_prefix('.')?))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_that_stay_open_and_empty_parts_are_told() {
        assert_eq!(name_parts("\"abierta"), Err("a double quote is not closed"));
        assert_eq!(name_parts("a..b"), Err("a part of the name is empty"));
    }

    #[test]
    fn parts_are_read_as_they_are_written() {
        for parts in [&["a"][..], &["public", "Solicitudes"], &["a.b", "c\"d", "\"e"], &["ñ", "b.", "c"]] {
            let written: Vec<String> = parts.iter().map(|part| configured_part(part)).collect();
            assert_eq!(name_parts(&written.join(".")).unwrap(), parts);
        }
    }
}
