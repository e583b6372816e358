//! How far a connection is protected, as the configuration spells it.

use std::fmt;
use std::str::FromStr;

/// How far the connection to the server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsMode {
    /// Not at all.
    Disable,
    /// Encrypted, to whomever answers.
    Require,
    /// Encrypted, to a server whose certificate a trusted authority signed.
    VerifyCa,
    /// Encrypted, to a server whose certificate also names the configured host.
    #[default]
    VerifyFull,
}

impl TlsMode {
    /// The configuration's spelling.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }
}

impl fmt::Display for TlsMode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for TlsMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Disable, Self::Require, Self::VerifyCa, Self::VerifyFull]
            .into_iter()
            .find(|mode| mode.as_str() == text)
            .ok_or_else(|| {
                format!(
                    "tls is \"{text}\", expected \"disable\", \"require\", \"verify-ca\" or \"verify-full\""
                )
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tls_mode_reads_as_it_is_written_and_nothing_else_does() {
        for mode in [TlsMode::Disable, TlsMode::Require, TlsMode::VerifyCa, TlsMode::VerifyFull] {
            assert_eq!(mode.as_str().parse::<TlsMode>(), Ok(mode));
        }
        assert!("prefer".parse::<TlsMode>().unwrap_err().contains("\"prefer\""));
    }
}
