//! Which existing names the operator may have meant.

/// At most three of `candidates` that are close to `wanted`, the closest first.
///
/// Names that differ in case only are closest: that is the commonest mistake where names are taken
/// literally.
#[must_use]
pub fn nearest<'a>(wanted: &str, candidates: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let folded: Vec<char> = wanted.to_lowercase().chars().collect();
    let limit = folded.len() / 3 + 1;
    let mut close: Vec<(usize, &str)> = candidates
        .into_iter()
        .filter_map(|candidate| {
            let other: Vec<char> = candidate.to_lowercase().chars().collect();
            let distance = edits(&folded, &other);
            (distance <= limit).then_some((distance, candidate))
        })
        .collect();
    close.sort_unstable();
    close.into_iter().take(3).map(|(_, name)| name.to_owned()).collect()
}

/// How a message offers `names`, or nothing where there are none.
#[must_use]
pub fn suggestion(names: &[String]) -> Option<String> {
    let quoted: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    (!quoted.is_empty()).then(|| format!("did you mean {}?", quoted.join(" or ")))
}

/// How many single characters must be put in, taken out or replaced to turn `left` into `right`.
fn edits(left: &[char], right: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, from) in left.iter().enumerate() {
        let mut next = Vec::with_capacity(row.len());
        let mut before = index + 1;
        next.push(before);
        for (pair, to) in row.windows(2).zip(right) {
            if let [diagonal, above] = *pair {
                before = (diagonal + usize::from(from != to)).min(above + 1).min(before + 1);
                next.push(before);
            }
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
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
    fn names_far_away_are_not_offered() {
        assert!(nearest("estado", ["fecha_apertura", "numero"]).is_empty());
        assert_eq!(suggestion(&[]), None);
    }

    #[test]
    fn the_distance_counts_single_characters() {
        let count = |left: &str, right: &str| {
            edits(&left.chars().collect::<Vec<_>>(), &right.chars().collect::<Vec<_>>())
        };
        assert_eq!(count("kitten", "sitting"), 3);
        assert_eq!(count("", "abc"), 3);
        assert_eq!(count("año", "ano"), 1);
    }
}
