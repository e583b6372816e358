//! The languages that operators read.

/// A language of alerts and of the status page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// Spanish, the operators' language: the default.
    Spanish,
    /// English.
    English,
}

impl Language {
    /// The one of two texts that is in this language.
    #[must_use]
    pub fn pick(self, spanish: &'static str, english: &'static str) -> &'static str {
        match self {
            Self::Spanish => spanish,
            Self::English => english,
        }
    }

    /// Its code, as HTML and mail name it.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.pick("es", "en")
    }
}
