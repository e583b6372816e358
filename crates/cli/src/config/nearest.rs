//! The name that somebody probably meant.

use change::nearest::closest;

/// A hint that names the nearest candidate, or nothing.
pub(crate) fn did_you_mean<'a>(
    written: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    closest(written, candidates).map(|name| format!("did you mean \"{name}\"?"))
}
