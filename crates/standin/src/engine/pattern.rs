//! Patterns of LIKE.
//!
//! <https://learn.microsoft.com/en-us/sql/t-sql/language-elements/like-transact-sql>

/// Does the whole of `subject` match?
pub(super) fn matches(subject: &[char], pattern: &[char], escape: Option<char>) -> bool {
    let Some((&first, rest)) = pattern.split_first() else { return subject.is_empty() };
    let next = subject.split_first();
    if Some(first) == escape
        && let Some((literal, rest)) = rest.split_first()
    {
        return next.is_some_and(|(found, left)| found == literal && matches(left, rest, escape));
    }
    match first {
        '%' => (0..=subject.len()).any(|at| matches(subject.get(at..).unwrap_or_default(), rest, escape)),
        '_' => next.is_some_and(|(_, left)| matches(left, rest, escape)),
        '[' => {
            let Some(end) = rest.iter().position(|&letter| letter == ']') else { return false };
            let set = rest.get(..end).unwrap_or_default();
            let (negated, set) = match set.split_first() {
                Some(('^', set)) => (true, set),
                _ => (false, set),
            };
            let after = rest.get(end + 1..).unwrap_or_default();
            next.is_some_and(|(&found, left)| in_set(found, set) != negated && matches(left, after, escape))
        }
        literal => next.is_some_and(|(&found, left)| found == literal && matches(left, rest, escape)),
    }
}

fn in_set(letter: char, set: &[char]) -> bool {
    match set {
        [from, '-', to, rest @ ..] => (*from..=*to).contains(&letter) || in_set(letter, rest),
        [one, rest @ ..] => *one == letter || in_set(letter, rest),
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_the_documentation_says() {
        let check = |subject: &str, pattern: &str, escape| {
            let letters = |text: &str| text.chars().collect::<Vec<_>>();
            matches(&letters(subject), &letters(pattern), escape)
        };
        assert!(check("chocolate", "%late", None) && check("abc", "a_c", None));
        assert!(check("cat", "[bc]at", None) && check("5x", "[0-9]x", None));
        assert!(!check("cat", "[^bc]at", None) && check("10%", "10!%", Some('!')));
        assert!(!check("10x", "10!%", Some('!')));
    }
}
