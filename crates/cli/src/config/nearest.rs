//! The name that somebody probably meant.

/// The candidate that is closest to `written`, if one is close enough to be what was meant.
///
/// Case and the choice between `-`, `_` and a blank do not count; otherwise about a third of the letters may differ.
pub(crate) fn nearest<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let written = plain(written);
    let allowed = (written.len() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(&written, &plain(candidate)), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// A hint that names the nearest candidate, or nothing.
pub(crate) fn did_you_mean<'a>(
    written: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    nearest(written, candidates).map(|name| format!("did you mean \"{name}\"?"))
}

fn plain(name: &str) -> Vec<char> {
    let same = |letter| if matches!(letter, '-' | ' ') { '_' } else { letter };
    name.chars().flat_map(char::to_lowercase).map(same).collect()
}

/// Insertions, deletions, replacements and swaps of neighbours that turn one name into the other.
fn distance(left: &[char], right: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=right.len()).collect();
    let mut above_letter = None;
    for (row, &letter) in left.iter().enumerate() {
        let mut current = Vec::with_capacity(above.len());
        current.push(row + 1);
        let mut left_letter = None;
        for (column, &other) in right.iter().enumerate() {
            let cell = |line: &[usize], index: usize| line.get(index).copied().unwrap_or(usize::MAX / 2);
            let mut cost = (cell(&above, column) + usize::from(letter != other))
                .min(cell(&above, column + 1) + 1)
                .min(cell(&current, column) + 1);
            if column > 0 && left_letter == Some(letter) && above_letter == Some(other) {
                cost = cost.min(cell(&before, column - 1) + 1);
            }
            current.push(cost);
            left_letter = Some(other);
        }
        above_letter = Some(letter);
        before = std::mem::replace(&mut above, current);
    }
    above.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_finger_find_their_name() {
        let keys = ["host", "port", "database", "user", "password", "table", "tls", "tls_ca"];
        for (written, meant) in [
            ("prot", "port"),
            ("Host", "host"),
            ("databse", "database"),
            ("pasword", "password"),
            ("tls-ca", "tls_ca"),
            ("users", "user"),
        ] {
            assert_eq!(nearest(written, keys), Some(meant), "{written}");
        }
    }

    #[test]
    fn a_name_that_is_far_from_all_finds_none() {
        assert_eq!(nearest("colour", ["host", "port"]), None);
        assert_eq!(nearest("", ["host"]), None);
    }
}
