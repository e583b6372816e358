//! Which existing names the operator may have meant.

/// At most three of `candidates` that are close to `wanted`, the closest first; see [`closest`].
#[must_use]
pub fn nearest<'a>(wanted: &str, candidates: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    ranked(wanted, candidates).into_iter().take(3).map(str::to_owned).collect()
}

/// The candidate that is closest to `wanted`, if one is close enough to be what was meant.
///
/// Case, the commonest mistake where names are taken literally, does not count, nor the choice between `-`, `_` and a
/// blank; otherwise about a third of the letters may differ.
#[must_use]
pub fn closest<'a>(wanted: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    ranked(wanted, candidates).first().copied()
}

fn ranked<'a>(wanted: &str, candidates: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let wanted = plain(wanted);
    let limit = (wanted.len() / 3).max(1);
    let measured = candidates.into_iter().map(|candidate| (edits(&wanted, &plain(candidate)), candidate));
    let mut close: Vec<(usize, &str)> = measured.filter(|(edits, _)| *edits <= limit).collect();
    close.sort_unstable();
    close.into_iter().map(|(_, candidate)| candidate).collect()
}

/// How a message offers `names`, or nothing where there are none.
#[must_use]
pub fn suggestion(names: &[String]) -> Option<String> {
    let quoted: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    (!quoted.is_empty()).then(|| format!("did you mean {}?", quoted.join(" or ")))
}

fn plain(name: &str) -> Vec<char> {
    let same = |letter| if matches!(letter, '-' | ' ') { '_' } else { letter };
    name.chars().flat_map(char::to_lowercase).map(same).collect()
}

/// Insertions, deletions, replacements and swaps of neighbours that turn one name into the other.
fn edits(left: &[char], right: &[char]) -> usize {
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
    fn a_name_that_differs_in_case_only_comes_first() {
        let found = nearest("Solicitudes", ["solicitud", "solicitudes", "usuarios"]);
        assert_eq!(found, ["solicitudes", "solicitud"]);
    }

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
            assert_eq!(closest(written, keys), Some(meant), "{written}");
        }
    }

    #[test]
    fn names_far_away_are_not_offered() {
        assert!(nearest("estado", ["fecha_apertura", "numero"]).is_empty());
        assert_eq!(closest("colour", ["host", "port"]), None);
        assert_eq!(closest("", ["host"]), None);
        assert_eq!(suggestion(&[]), None);
    }

    #[test]
    fn the_distance_counts_single_characters_and_swaps_of_neighbours() {
        let count = |left: &str, right: &str| {
            edits(&left.chars().collect::<Vec<_>>(), &right.chars().collect::<Vec<_>>())
        };
        assert_eq!(count("kitten", "sitting"), 3);
        assert_eq!(count("prot", "port"), 1);
        assert_eq!(count("", "abc"), 3);
        assert_eq!(count("año", "ano"), 1);
    }
}
