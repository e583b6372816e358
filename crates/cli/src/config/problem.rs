//! What is wrong with a configuration, every mistake at once.

use std::fmt;
use std::path::{Path, PathBuf};

/// One mistake in a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The line of the file, from 1.
    pub line: usize,
    /// The key, with its sections: `source.port`. Empty where the text is not TOML.
    pub key: String,
    /// What is wrong, in lower case without a full stop.
    pub message: String,
    /// What to write instead, where it is known.
    pub hint: Option<String>,
}

/// Why a configuration cannot be used.
#[derive(Debug)]
pub enum ConfigError {
    /// The file could not be read at all.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file was read and holds mistakes, sorted by line.
    Invalid {
        /// The file.
        path: PathBuf,
        /// Every mistake.
        problems: Vec<Problem>,
    },
}

impl ConfigError {
    /// What the operator should do.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Unreadable { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                "write one with `bitacora init --engine postgres`, or name yours with -c FILE".into()
            }
            Self::Unreadable { .. } => "make the file readable for the user that runs bitacora".into(),
            Self::Invalid { .. } => {
                "mend the lines above; `bitacora init` writes an annotated example of every key".into()
            }
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, source } if source.kind() == std::io::ErrorKind::NotFound => {
                write!(formatter, "there is no configuration file {}", path.display())
            }
            Self::Unreadable { path, source } => {
                write!(formatter, "the configuration file {} cannot be read: {source}", path.display())
            }
            Self::Invalid { path, problems } => display_problems(formatter, path, problems),
        }
    }
}

fn display_problems(formatter: &mut fmt::Formatter<'_>, path: &Path, problems: &[Problem]) -> fmt::Result {
    let count = problems.len();
    let noun = if count == 1 { "mistake" } else { "mistakes" };
    write!(formatter, "the configuration {} has {count} {noun}", path.display())?;
    for problem in problems {
        write!(formatter, "\n  {}:{}: ", path.display(), problem.line)?;
        if !problem.key.is_empty() {
            write!(formatter, "{}: ", problem.key)?;
        }
        formatter.write_str(&problem.message)?;
        if let Some(hint) = &problem.hint {
            write!(formatter, "\n    hint: {hint}")?;
        }
    }
    Ok(())
}

impl std::error::Error for ConfigError {}
