//! `${NAME}`, `${file:PATH}` and `${file:${NAME}/PATH}` inside the strings of a configuration.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Files for `${file:PATH}` hold a secret or a short text; anything larger is a mistake.
const FILE_BYTES_MAX: u64 = 65_536;

/// What went wrong with one substitution, and what to do about it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unresolved {
    pub(super) message: String,
    pub(super) hint: String,
}

/// Where the values come from.
pub(super) struct Surroundings<'a> {
    /// The folder of the configuration file: relative paths start here.
    pub(super) folder: &'a Path,
    /// Looks up an environment variable.
    pub(super) variable: &'a dyn Fn(&str) -> Option<OsString>,
}

impl Surroundings<'_> {
    /// `text` with every reference replaced; what a reference brings in is not looked at again.
    ///
    /// `$${` stands for `${` itself. Every reference that cannot be resolved is reported.
    pub(super) fn resolve(&self, text: &str) -> Result<String, Vec<Unresolved>> {
        let mut resolved = String::with_capacity(text.len());
        let mut unresolved = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            if let Some(before) = before.strip_suffix('$') {
                resolved.push_str(before);
                resolved.push_str("${");
                rest = after;
                continue;
            }
            resolved.push_str(before);
            let Some((reference, after)) = split_reference(after) else {
                unresolved.push(Unresolved {
                    message: "`${` is not closed by `}`".into(),
                    hint: "write `${NAME}`, or `$${` for the two characters themselves".into(),
                });
                rest = "";
                break;
            };
            match self.look_up(reference) {
                Ok(value) => resolved.push_str(&value),
                Err(error) => unresolved.push(error),
            }
            rest = after;
        }
        resolved.push_str(rest);
        if unresolved.is_empty() { Ok(resolved) } else { Err(unresolved) }
    }

    fn look_up(&self, reference: &str) -> Result<String, Unresolved> {
        if let Some(path) = reference.strip_prefix("file:") {
            return self.read_file(&self.resolve_path(path)?);
        }
        self.look_up_variable(reference)
    }

    fn look_up_variable(&self, reference: &str) -> Result<String, Unresolved> {
        if !is_variable_name(reference) {
            return Err(Unresolved {
                message: "what stands between `${` and `}` is not the name of an environment variable".into(),
                hint: "a name has letters, digits and `_`; a file is written `${file:PATH}`; `$${` stands \
                       for the two characters themselves"
                    .into(),
            });
        }
        let Some(value) = (self.variable)(reference) else {
            return Err(Unresolved {
                message: format!("the environment variable {reference} is not set"),
                hint: format!(
                    "export {reference} before starting bitacora, or write ${{file:PATH}} to take the \
                     value from a file"
                ),
            });
        };
        value.into_string().map_err(|_| Unresolved {
            message: format!("the environment variable {reference} does not hold UTF-8 text"),
            hint: format!("set {reference} to text in UTF-8"),
        })
    }

    /// `path` with the variable that it may begin with, as in `${file:${CREDENTIALS_DIRECTORY}/db_password}`: service
    /// managers tell where they have put secrets in such a variable.
    fn resolve_path(&self, path: &str) -> Result<String, Unresolved> {
        match path.strip_prefix("${").and_then(|inner| inner.split_once('}')) {
            Some((name, rest)) => Ok(self.look_up_variable(name)? + rest),
            None => Ok(path.to_owned()),
        }
    }

    fn read_file(&self, path: &str) -> Result<String, Unresolved> {
        let path = self.folder.join(path);
        let failed = |reason: String| Unresolved {
            message: format!("the file {} cannot be used: {reason}", path.display()),
            hint: "the path is relative to the configuration file's folder, and the user that runs \
                   bitacora must be able to read it"
                .into(),
        };
        let mut bytes = Vec::new();
        File::open(&path)
            .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
            .map_err(|error| failed(error.to_string()))?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(failed(format!("it is larger than {FILE_BYTES_MAX} bytes")));
        }
        let mut text = String::from_utf8(bytes).map_err(|_| failed("it is not UTF-8 text".into()))?;
        // Editors and `echo` end a file with a line break that is not part of the secret.
        if text.ends_with('\n') {
            text.pop();
            if text.ends_with('\r') {
                text.pop();
            }
        }
        Ok(text)
    }
}

/// What stands before the `}` that closes a reference, and what follows it.
fn split_reference(text: &str) -> Option<(&str, &str)> {
    let nested = text.strip_prefix("file:${").and_then(|inner| inner.find('}'));
    let closing = match nested {
        Some(inner) => {
            let after = "file:${".len() + inner + 1;
            after + text.get(after..)?.find('}')?
        }
        None => text.find('}')?,
    };
    Some((text.get(..closing)?, text.get(closing + 1..)?))
}

fn is_variable_name(name: &str) -> bool {
    let mut letters = name.bytes();
    letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(text: &str) -> Result<String, Vec<String>> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("key"), "s3cret\n").unwrap();
        std::fs::write(folder.path().join("lines"), "one\r\ntwo\r\n").unwrap();
        std::fs::write(folder.path().join("binary"), [0xff, 0xfe]).unwrap();
        let variable = |name: &str| match name {
            "NAME" => Some(OsString::from("value")),
            "NESTED" => Some(OsString::from("${NAME}")),
            "EMPTY" => Some(OsString::new()),
            "FOLDER" => Some(folder.path().into()),
            _ => None,
        };
        let surroundings = Surroundings { folder: folder.path(), variable: &variable };
        surroundings.resolve(text).map_err(|errors| {
            let folder = folder.path().display().to_string();
            errors.into_iter().map(|error| error.message.replace(&folder, "FOLDER")).collect()
        })
    }

    #[test]
    fn references_are_replaced_and_everything_else_is_kept() {
        for (text, expected) in [
            ("plain", "plain"),
            ("", ""),
            ("${NAME}", "value"),
            ("a ${NAME} b ${NAME}", "a value b value"),
            ("${NESTED}", "${NAME}"),
            ("${EMPTY}", ""),
            ("$${NAME}", "${NAME}"),
            ("$$${NAME}", "$${NAME}"),
            ("$NAME $ {", "$NAME $ {"),
            ("${file:key}", "s3cret"),
            ("${file:lines}", "one\r\ntwo"),
            ("<${file:${FOLDER}/key}>", "<s3cret>"),
        ] {
            assert_eq!(resolve(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn every_reference_that_cannot_be_resolved_is_reported() {
        for (text, expected) in [
            (
                "${MISSING} ${GONE}",
                &["the environment variable MISSING is not set", "the environment variable GONE is not set"]
                    [..],
            ),
            ("${NAME", &["`${` is not closed by `}`"]),
            ("${}", &["what stands between `${` and `}` is not the name of an environment variable"]),
            ("${9A}", &["what stands between `${` and `}` is not the name of an environment variable"]),
            (
                "${file:none}",
                &["the file FOLDER/none cannot be used: No such file or directory (os error 2)"],
            ),
            ("${file:${MISSING}/key}", &["the environment variable MISSING is not set"]),
            ("${file:${FOLDER}/key", &["`${` is not closed by `}`"]),
            ("${file:${FOLDER/key}", &["`${` is not closed by `}`"]),
            ("${file:binary}", &["the file FOLDER/binary cannot be used: it is not UTF-8 text"]),
        ] {
            assert_eq!(resolve(text).unwrap_err(), expected, "{text}");
        }
    }
}
