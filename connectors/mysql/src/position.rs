//! Places in the binlog: by file and offset, and by the transactions that lie before.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use change::{Position, SourceError, SourceErrorKind};

use crate::gtid::GtidSet;

/// Stands before the place of the oldest prepared transaction.
const PREPARED: &str = "xa=";

/// A file of the log, and an offset in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// The file's name, as `SHOW BINARY LOGS` has it.
    pub(crate) file: Arc<str>,
    /// Bytes from the file's start.
    pub(crate) offset: u64,
}

impl Place {
    /// The number at the end of the file's name, by which files follow each other.
    pub(crate) fn sequence(&self) -> u64 {
        let (_, number) = self.file.rsplit_once('.').unwrap_or_default();
        number.parse().unwrap_or_default()
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some((self.sequence(), self.offset).cmp(&(other.sequence(), other.offset)))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.file, self.offset)
    }
}

impl FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (file, offset) = text.rsplit_once(':').ok_or(())?;
        let offset = offset.parse().map_err(|_| ())?;
        let numbered = file.rsplit_once('.').is_some_and(|(_, number)| number.parse::<u64>().is_ok());
        if numbered { Ok(Self { file: file.into(), offset }) } else { Err(()) }
    }
}

/// Everything before it has been read: `FILE:OFFSET`, a GTID set, or both.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct LogPosition {
    /// The place; only a position that an operator named may lack it.
    pub(crate) place: Option<Place>,
    /// The transactions, where the server numbers them.
    pub(crate) gtids: Option<GtidSet>,
    /// Where the oldest transaction of our table begins that is prepared and neither committed nor rolled back: its
    /// changes must be read again. It lies before the place.
    pub(crate) prepared: Option<Place>,
}

impl LogPosition {
    /// Reads what [`LogPosition::to_position`] wrote, or an operator.
    ///
    /// # Errors
    /// A configuration error when it is neither of the forms.
    pub(crate) fn of(position: &Position) -> Result<Self, SourceError> {
        position.as_str().parse().map_err(|()| {
            SourceError::new(
                SourceErrorKind::Configuration,
                format!("position is \"{position}\", expected FILE:OFFSET such as binlog.000042:157, a GTID set, or both"),
            )
            .with_hint("SHOW BINARY LOG STATUS (SHOW MASTER STATUS before MySQL 8.2 and on MariaDB) shows the log's end")
        })
    }

    /// As the product stores it.
    pub(crate) fn to_position(&self) -> Position {
        Position::new(self.to_string())
    }

    /// Whether everything before `fence` lies before this.
    ///
    /// # Errors
    /// When one has no place and not both have GTIDs.
    pub(crate) fn covers(&self, fence: &Self) -> Result<bool, SourceError> {
        match (&self.place, &fence.place, &self.gtids, &fence.gtids) {
            (Some(place), Some(fence), ..) => Ok(place >= fence),
            (_, _, Some(gtids), Some(fence)) => Ok(fence.is_within(gtids)),
            _ => Err(SourceError::new(
                SourceErrorKind::Configuration,
                format!("positions \"{self}\" and \"{fence}\" cannot be compared"),
            )),
        }
    }
}

impl FromStr for LogPosition {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut position = Self::default();
        let mut parts = text.split_whitespace();
        // A set may have been pasted with the line breaks that the server puts in.
        let mut gtids = String::new();
        for part in parts.by_ref() {
            if let Some(place) = part.strip_prefix(PREPARED) {
                position.prepared = Some(place.parse()?);
            } else if gtids.is_empty()
                && position.place.is_none()
                && part.parse::<GtidSet>().is_err()
                && let Ok(place) = part.parse::<Place>()
            {
                position.place = Some(place);
            } else {
                gtids.push_str(part);
            }
        }
        if !gtids.is_empty() {
            position.gtids = Some(gtids.parse().map_err(|_| ())?);
        }
        let named = position.place.is_some() || position.gtids.is_some();
        if named && (position.prepared.is_none() || position.place.is_some()) {
            Ok(position)
        } else {
            Err(())
        }
    }
}

impl fmt::Display for LogPosition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut gap = "";
        if let Some(place) = &self.place {
            write!(formatter, "{place}")?;
            gap = " ";
        }
        if let Some(gtids) = self.gtids.as_ref().filter(|gtids| !gtids.is_empty()) {
            write!(formatter, "{gap}{gtids}")?;
        }
        match &self.prepared {
            Some(place) => write!(formatter, " {PREPARED}{place}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SET: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:7";

    fn read(text: &str) -> Result<LogPosition, SourceError> {
        LogPosition::of(&Position::new(text))
    }

    #[test]
    fn both_halves_alone_and_together_read_as_they_are_written() {
        for text in [
            "binlog.000042:157".to_owned(),
            format!("binlog.000042:5000000000 {SET}"),
            format!("binlog.000042:157 {SET} xa=binlog.000041:4"),
            "bin.000001:4 0-1-7".to_owned(),
            "0-1-7,2-1-9".to_owned(),
            SET.to_owned(),
        ] {
            assert_eq!(read(&text).unwrap().to_string(), text);
        }
        assert_eq!(read(&format!(" bin.1:4\n{SET},\n{SET} ")).unwrap().to_string(), format!("bin.1:4 {SET}"));
    }

    #[test]
    fn what_is_no_position_is_refused_with_an_example() {
        for text in [
            "",
            "binlog",
            "binlog:4",
            "binlog.000042",
            "binlog.000042:-1",
            "0/16B3748",
            "a.1:4 b.2:4",
            "xa=a.1:4",
        ] {
            let error = read(text).unwrap_err();
            assert_eq!(error.kind(), SourceErrorKind::Configuration, "{text}");
            assert!(error.to_string().contains("binlog.000042:157"), "{error}");
        }
    }

    #[test]
    fn files_follow_each_other_by_number_and_offsets_have_no_32_bit_limit() {
        for (position, fence, covers) in [
            ("binlog.000009:4", "binlog.000010:4", false),
            ("binlog.999999:4", "binlog.1000000:4", false),
            ("binlog.000010:4294967297", "binlog.000010:4294967296", true),
            ("binlog.000010:157", "binlog.000010:157", true),
            ("0-1-7", "0-1-6", true),
        ] {
            let covered = read(position).unwrap().covers(&read(fence).unwrap()).unwrap();
            assert_eq!(covered, covers, "{position} {fence}");
        }
        assert!(read("0-1-7").unwrap().covers(&read("a.1:4").unwrap()).is_err());
    }
}
