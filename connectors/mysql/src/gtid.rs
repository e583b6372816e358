//! Global transaction identifiers of both products, and sets of them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::name::hex;
use crate::wire::fields::{Fields, Truncated};

/// Intervals in a set that an operator may hand us at most.
const INTERVALS_MAX: usize = 1 << 20;

/// Where a transaction of MySQL came from: a server, and since 8.3 a tag
/// (<https://dev.mysql.com/doc/refman/8.4/en/replication-gtids-concepts.html>).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Origin {
    /// The server's `server_uuid`.
    pub(crate) uuid: [u8; 16],
    /// The tag; empty for none.
    pub(crate) tag: Box<str>,
}

/// One transaction's identifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Gtid {
    /// `uuid[:tag]:number`.
    MySql {
        /// Where it came from.
        origin: Origin,
        /// Its number there.
        number: u64,
    },
    /// `domain-server-sequence`
    /// (<https://mariadb.com/docs/server/ha-and-performance/standard-replication/gtid>).
    MariaDb {
        /// The replication domain.
        domain: u32,
        /// The server's `server_id`.
        server: u32,
        /// Its number in the domain.
        sequence: u64,
    },
}

/// The first and one past the last number of a run.
type Interval = (u64, u64);

/// Transactions that are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum GtidSet {
    /// Runs of numbers per origin, which may have holes.
    MySql(BTreeMap<Origin, Vec<Interval>>),
    /// The last transaction of every domain; those before it are known too.
    MariaDb(BTreeMap<u32, (u32, u64)>),
}

/// A text that is no set of identifiers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a GTID set")]
pub(crate) struct NotGtids;

impl GtidSet {
    /// Whether it knows nothing.
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::MySql(origins) => origins.is_empty(),
            Self::MariaDb(domains) => domains.is_empty(),
        }
    }

    /// Adds one transaction; one of the other product is not.
    pub(crate) fn add(&mut self, gtid: &Gtid) {
        match (self, gtid) {
            (Self::MySql(origins), Gtid::MySql { origin, number }) => {
                let added = (*number, number.saturating_add(1));
                match origins.get_mut(origin) {
                    Some(intervals) => insert(intervals, added),
                    None => {
                        origins.insert(origin.clone(), vec![added]);
                    }
                }
            }
            (Self::MariaDb(domains), Gtid::MariaDb { domain, server, sequence }) => {
                domains.insert(*domain, (*server, *sequence));
            }
            _ => {}
        }
    }

    /// Whether everything in it is also in `other`.
    pub(crate) fn is_within(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::MySql(ours), Self::MySql(theirs)) => ours.iter().all(|(origin, intervals)| {
                let known = theirs.get(origin).map(Vec::as_slice).unwrap_or_default();
                intervals.iter().all(|(first, end)| known.iter().any(|(from, to)| from <= first && end <= to))
            }),
            (Self::MariaDb(ours), Self::MariaDb(theirs)) => ours.iter().all(|(domain, (_, sequence))| {
                theirs.get(domain).is_some_and(|(_, theirs)| sequence <= theirs)
            }),
            _ => self.is_empty(),
        }
    }

    /// Reads what [`GtidSet::encode`] writes, as a server writes it at a file's beginning.
    ///
    /// # Errors
    /// When the bytes are too few, or say what no set can.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Truncated> {
        let mut fields = Fields(bytes);
        let head = fields.u64()?;
        let (tagged, count) = match head >> 56 {
            0 => (false, head),
            1 => (true, head << 8 >> 16),
            _ => return Err(Truncated),
        };
        let mut origins = BTreeMap::new();
        for _ in 0..count {
            let uuid = fields.array()?;
            let length = if tagged { usize::from(fields.u8()? >> 1) } else { 0 };
            let tag = fields.text(length)?.into();
            let mut intervals = Vec::new();
            for _ in 0..fields.u64()? {
                let (first, end) = (fields.u64()?, fields.u64()?);
                if first == 0 || first >= end {
                    return Err(Truncated);
                }
                insert(&mut intervals, (first, end));
            }
            origins.insert(Origin { uuid, tag }, intervals);
        }
        Ok(Self::MySql(origins))
    }

    /// As `COM_BINLOG_DUMP_GTID` takes it. Sets with tags have a format of their own, which servers without tags do
    /// not know.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let Self::MySql(origins) = self else { return Vec::new() };
        let tagged = origins.keys().any(|origin| !origin.tag.is_empty());
        let count = origins.len() as u64;
        let head = if tagged { 1 << 56 | count << 8 } else { count };
        let mut bytes = head.to_le_bytes().to_vec();
        for (origin, intervals) in origins {
            bytes.extend_from_slice(&origin.uuid);
            if tagged {
                // A tag has 32 characters at most: its length fits the shortest form.
                bytes.push(u8::try_from(origin.tag.len() << 1).unwrap_or_default());
                bytes.extend_from_slice(origin.tag.as_bytes());
            }
            bytes.extend_from_slice(&(intervals.len() as u64).to_le_bytes());
            for (first, end) in intervals {
                bytes.extend_from_slice(&first.to_le_bytes());
                bytes.extend_from_slice(&end.to_le_bytes());
            }
        }
        bytes
    }
}

/// Adds an interval to ordered ones that do not touch each other. Nearly always it continues the last.
fn insert(intervals: &mut Vec<Interval>, (first, end): Interval) {
    if let Some(last) = intervals.last_mut()
        && first == last.1
    {
        last.1 = end;
        return;
    }
    let before = intervals.partition_point(|(_, to)| *to < first);
    let touching = intervals.get(before..).unwrap_or_default().iter().take_while(|(from, _)| *from <= end);
    let (merged, count) = touching.fold(((first, end), 0), |((first, end), count), (from, to)| {
        ((first.min(*from), end.max(*to)), count + 1)
    });
    intervals.splice(before..before + count, [merged]);
}

impl FromStr for GtidSet {
    type Err = NotGtids;

    fn from_str(text: &str) -> Result<Self, NotGtids> {
        let mut elements = text.split(',').map(str::trim);
        match elements.clone().next() {
            Some(first) if first.get(8..9) == Some("-") && first.len() > 36 => {
                mysql_set(elements).map(Self::MySql)
            }
            _ => elements
                .try_fold(BTreeMap::new(), |mut domains, element| {
                    let (domain, server, sequence) = mariadb_gtid(element)?;
                    match domains.insert(domain, (server, sequence)) {
                        None => Some(domains),
                        Some(_) => None,
                    }
                })
                .map(Self::MariaDb)
                .ok_or(NotGtids),
        }
    }
}

fn mysql_set<'a>(
    elements: impl Iterator<Item = &'a str>,
) -> Result<BTreeMap<Origin, Vec<Interval>>, NotGtids> {
    let mut origins: BTreeMap<Origin, Vec<Interval>> = BTreeMap::new();
    let mut count = 0;
    for element in elements {
        let mut parts = element.split(':').map(str::trim);
        let uuid = parts.next().and_then(parse_uuid).ok_or(NotGtids)?;
        let mut tag = "";
        for part in parts {
            if !part.starts_with(|first: char| first.is_ascii_digit()) {
                tag = Some(part).filter(|tag| is_tag(tag)).ok_or(NotGtids)?;
                continue;
            }
            count += 1;
            let interval = interval(part).filter(|_| count <= INTERVALS_MAX).ok_or(NotGtids)?;
            let origin = Origin { uuid, tag: tag.to_ascii_lowercase().into() };
            insert(origins.entry(origin).or_default(), interval);
        }
    }
    if origins.is_empty() { Err(NotGtids) } else { Ok(origins) }
}

fn is_tag(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && text.len() <= 32
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// `5` or `1-5`.
fn interval(text: &str) -> Option<Interval> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (u64, u64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (first > 0 && first <= last).then(|| last.checked_add(1).map(|end| (first, end)))?
}

fn mariadb_gtid(text: &str) -> Option<(u32, u32, u64)> {
    let mut parts = text.split('-');
    let gtid = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    parts.next().is_none().then_some(gtid)
}

/// `8-4-4-4-12` hexadecimal digits.
pub(crate) fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let mut uuid = [0; 16];
    let mut digits = text.bytes().filter(|byte| *byte != b'-');
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    for byte in &mut uuid {
        *byte = digit(digits.next()?)? << 4 | digit(digits.next()?)?;
    }
    (text.len() == 36 && digits.next().is_none()).then_some(uuid)
}

/// As the server writes it.
pub(crate) fn uuid_text(uuid: &[u8; 16]) -> String {
    let digits = hex(uuid);
    let part = |range: std::ops::Range<usize>| digits.get(range).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0..8), part(8..12), part(12..16), part(16..20), part(20..32))
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&uuid_text(&self.uuid))?;
        if self.tag.is_empty() { Ok(()) } else { write!(formatter, ":{}", self.tag) }
    }
}

impl fmt::Display for Gtid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MySql { origin, number } => write!(formatter, "{origin}:{number}"),
            Self::MariaDb { domain, server, sequence } => write!(formatter, "{domain}-{server}-{sequence}"),
        }
    }
}

impl fmt::Display for GtidSet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MySql(origins) => {
                for (index, (origin, intervals)) in origins.iter().enumerate() {
                    write!(formatter, "{}{origin}", if index > 0 { "," } else { "" })?;
                    for (first, end) in intervals {
                        let last = end.saturating_sub(1);
                        if *first == last {
                            write!(formatter, ":{first}")?;
                        } else {
                            write!(formatter, ":{first}-{last}")?;
                        }
                    }
                }
            }
            Self::MariaDb(domains) => {
                for (index, (domain, (server, sequence))) in domains.iter().enumerate() {
                    write!(formatter, "{}{domain}-{server}-{sequence}", if index > 0 { "," } else { "" })?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    const B: &str = "4e11fa47-71ca-11e1-9e33-c80aa9429562";

    fn set(text: &str) -> GtidSet {
        text.parse().unwrap()
    }

    #[test]
    fn sets_of_both_products_read_as_their_servers_write_them() {
        for text in [
            format!("{A}:1-5:7"),
            format!("{A}:1-5,{A}:nocturno:1-3:9,{B}:4"),
            "0-1-100".to_owned(),
            "0-1-100,7-2-18446744073709551615".to_owned(),
        ] {
            assert_eq!(set(&text).to_string(), text);
        }
        assert_eq!(
            set(&format!("{A}:1-5:Nocturno:1-3:_b:2")).to_string(),
            format!("{A}:1-5,{A}:_b:2,{A}:nocturno:1-3")
        );
        assert_eq!(set(&format!("{A}:3-5:1-2,\n{A}:7")).to_string(), format!("{A}:1-5:7"));
    }

    #[test]
    fn what_is_no_set_is_refused() {
        for text in ["", "0-1", "0-1-2-3", "a-b-c", "0-1-2,0-1-3", "binlog.000001:4", "3e11fa47", A] {
            assert_eq!(text.parse::<GtidSet>(), Err(NotGtids), "{text}");
        }
        for tail in [":0", ":5-4", ":1-", ":1:", ":18446744073709551615", ":a b:1", ":x"] {
            assert_eq!(format!("{A}{tail}").parse::<GtidSet>(), Err(NotGtids), "{tail}");
        }
    }

    #[test]
    fn a_set_is_within_another_when_no_transaction_is_missing_there() {
        for (ours, theirs, within) in [
            (format!("{A}:1-5"), format!("{A}:1-7"), true),
            (format!("{A}:1-5"), format!("{A}:1-3:5-9"), false),
            (format!("{A}:1-5"), format!("{B}:1-9"), false),
            (format!("{A}:x:1"), format!("{A}:1"), false),
            ("0-1-5".to_owned(), "0-2-6,1-1-1".to_owned(), true),
            ("0-1-5,2-1-1".to_owned(), "0-2-6,1-1-1".to_owned(), false),
            ("0-1-5".to_owned(), format!("{A}:1-7"), false),
        ] {
            assert_eq!(set(&ours).is_within(&set(&theirs)), within, "{ours} in {theirs}");
        }
    }

    #[test]
    fn a_set_goes_over_the_wire_with_tags_only_where_there_are_any() {
        let plain = set(&format!("{A}:1-5:7")).encode();
        assert_eq!(plain.len(), 8 + 16 + 8 + 2 * 16);
        assert_eq!(plain[..8], [1, 0, 0, 0, 0, 0, 0, 0]);
        let tagged = set(&format!("{A}:1-5,{A}:x:1")).encode();
        assert_eq!(tagged[..8], [0, 2, 0, 0, 0, 0, 0, 1]);
        assert_eq!(tagged[24], 0);
        assert_eq!(tagged.len(), 8 + 2 * (16 + 1 + 8 + 16) + 1);
    }

    #[test]
    fn a_set_comes_back_from_the_wire() {
        for text in [format!("{A}:1-5:7"), format!("{A}:1-5,{A}:x:1,{B}:4")] {
            let bytes = set(&text).encode();
            assert_eq!(GtidSet::decode(&bytes).unwrap().to_string(), text);
            for cut in 0..bytes.len() {
                assert!(GtidSet::decode(&bytes[..cut]).is_err(), "cut at {cut}");
            }
        }
    }

    proptest! {
        #[test]
        fn adding_in_any_order_gives_the_same_set(mut numbers in prop::collection::vec(1_u64..40, 1..60)) {
            let made = |numbers: &[u64]| {
                let mut made = GtidSet::MySql(BTreeMap::new());
                for number in numbers {
                    let origin = Origin { uuid: [7; 16], tag: "".into() };
                    made.add(&Gtid::MySql { origin, number: *number });
                }
                made
            };
            let shuffled = made(&numbers);
            prop_assert_eq!(&shuffled.to_string().parse::<GtidSet>().unwrap(), &shuffled);
            numbers.sort_unstable();
            prop_assert_eq!(made(&numbers), shuffled);
        }
    }
}
