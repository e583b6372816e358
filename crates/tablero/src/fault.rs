//! How the simulator can be told to fail.

use std::fmt;
use std::str::FromStr;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// One way to fail.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum FaultKind {
    /// No fault: the contract, nothing else.
    #[default]
    None,
    /// 500 as NestJS answers an unhandled error.
    ServerError,
    /// 503.
    Unavailable,
    /// 429 with `Retry-After: 1`, as a throttled NestJS answers.
    TooManyRequests,
    /// 400 for whatever is sent.
    BadRequest,
    /// 413 for whatever is sent.
    TooLarge,
    /// 422 for whatever is sent, as FastAPI answers.
    Unprocessable,
    /// 502 with the web page of a proxy.
    BadGateway,
    /// 400 with the web page of a proxy that wants a certificate of the client.
    NoCertificate,
    /// 401.
    Unauthorized,
    /// 403 as a guard of NestJS answers.
    Forbidden,
    /// 404 as NestJS answers an address without a route.
    NotFound,
    /// 200 with a web page: a proxy's log-in form, say.
    Html,
    /// 200 without a body.
    Empty,
    /// 201 whose JSON says `"success":false`.
    SuccessFalse,
    /// The connection is reset before anything is stored.
    Reset,
    /// The batch is stored, then the connection is reset: a lost acknowledgement.
    ResetAfterStore,
    /// Nothing is stored and no answer ever comes.
    Hang,
    /// The batch is stored and no answer ever comes.
    HangAfterStore,
    /// The batch is stored and the acknowledgement dribbles in, byte by byte.
    Slow,
    /// Bytes that are not HTTP.
    Garbage,
    /// 307 to another address.
    Redirect,
    /// The batch is stored and the connection closes in the middle of the acknowledgement.
    Truncated,
    /// 400 whenever a batch contains this request id.
    Poison(String),
    /// X-Road does not allow the call (the spelling of its error codes before 7.8).
    XRoadAccessDenied,
    /// X-Road cannot reach the dashboard (the spelling since 7.8).
    XRoadNetworkError,
    /// X-Road has waited for the dashboard in vain (the spelling since 7.8).
    XRoadTimeout,
    /// X-Road answers with this error, in either spelling; nothing is stored.
    XRoad(XRoadCode),
    /// The batch is stored, and X-Road answers with this error all the same.
    XRoadAfterStore(XRoadCode),
    /// The batch is stored and the acknowledgement is 100 MB long.
    HugeAnswer,
}

/// An error of X-Road as its header `X-Road-Error` spells it, such as `Server.ServerProxy.AccessDenied`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XRoadCode(String);

impl XRoadCode {
    /// The code as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads what could be a code: letters, dots and underscores, with an origin in front.
    fn read(text: &str) -> Option<Self> {
        let is_code = |byte: u8| byte.is_ascii_alphabetic() || byte == b'.' || byte == b'_';
        (text.contains('.') && text.bytes().all(is_code)).then(|| Self(text.to_owned()))
    }
}

const POISON: &str = "poison:";

/// What stands before the code of any error of X-Road.
const X_ROAD: &str = "x-road=";
const X_ROAD_AFTER_STORE: &str = "x-road-after-store=";

/// Every kind that is only a word, with the word.
const WORDS: [(FaultKind, &str); 27] = [
    (FaultKind::None, "none"),
    (FaultKind::ServerError, "500"),
    (FaultKind::Unavailable, "503"),
    (FaultKind::TooManyRequests, "429"),
    (FaultKind::BadRequest, "400"),
    (FaultKind::TooLarge, "413"),
    (FaultKind::Unprocessable, "422"),
    (FaultKind::BadGateway, "502"),
    (FaultKind::NoCertificate, "no-certificate"),
    (FaultKind::Unauthorized, "401"),
    (FaultKind::Forbidden, "403"),
    (FaultKind::NotFound, "404"),
    (FaultKind::Html, "html"),
    (FaultKind::Empty, "empty"),
    (FaultKind::SuccessFalse, "success-false"),
    (FaultKind::Reset, "reset"),
    (FaultKind::ResetAfterStore, "reset-after-store"),
    (FaultKind::Hang, "hang"),
    (FaultKind::HangAfterStore, "hang-after-store"),
    (FaultKind::Slow, "slow"),
    (FaultKind::Garbage, "garbage"),
    (FaultKind::Redirect, "redirect"),
    (FaultKind::Truncated, "truncated"),
    (FaultKind::XRoadAccessDenied, "x-road-access-denied"),
    (FaultKind::XRoadNetworkError, "x-road-network-error"),
    (FaultKind::XRoadTimeout, "x-road-timeout"),
    (FaultKind::HugeAnswer, "huge-answer"),
];

impl FaultKind {
    /// Whether the batch is taken like any other, and only the answer fails.
    pub(crate) fn takes_the_batch(&self) -> bool {
        matches!(
            self,
            Self::None
                | Self::ResetAfterStore
                | Self::HangAfterStore
                | Self::Slow
                | Self::Truncated
                | Self::Poison(_)
                | Self::XRoadAfterStore(_)
                | Self::HugeAnswer
        )
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Poison(request_id) => return write!(formatter, "{POISON}{request_id}"),
            Self::XRoad(code) => return write!(formatter, "{X_ROAD}{}", code.as_str()),
            Self::XRoadAfterStore(code) => return write!(formatter, "{X_ROAD_AFTER_STORE}{}", code.as_str()),
            _ => {}
        }
        let word = WORDS.iter().find(|(kind, _)| kind == self).map_or("none", |(_, word)| word);
        formatter.write_str(word)
    }
}

/// A kind, and how often it strikes.
///
/// As text: the kind's word, then optionally `:3` for the next three POSTs only, then optionally `%20` for one
/// POST in five, chosen at random: `500`, `500:3`, `reset%20`, `503:10%50`. A POST that is spared does not count.
/// `x-road=Server.ServerProxy.AccessDenied` plays any error of X-Road. `poison:REQ-7` takes all that follows as the request id, and strikes always.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fault {
    /// How to fail.
    pub kind: FaultKind,
    /// For how many POSTs; `None` is for ever.
    pub times: Option<u32>,
    /// Of how many POSTs in a hundred, 1 to 100; `None` is every one.
    pub percent: Option<u8>,
}

impl Fault {
    /// A fault that strikes every POST.
    #[must_use]
    pub fn always(kind: FaultKind) -> Self {
        Self { kind, times: None, percent: None }
    }

    /// The words that name a kind, for help texts: all that `parse` takes, without suffixes.
    pub fn all() -> impl Iterator<Item = &'static str> {
        WORDS.iter().map(|(_, word)| *word).chain([
            "poison:REQUEST_ID",
            "x-road=CODE",
            "x-road-after-store=CODE",
        ])
    }
}

/// The text does not name a fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("fault is {actual:?}, expected one of {}, with :TIMES and %PERCENT where wanted", expected())]
pub struct FaultError {
    /// The text.
    pub actual: String,
}

fn expected() -> String {
    Fault::all().collect::<Vec<_>>().join(", ")
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refusal = || FaultError { actual: text.to_owned() };
        if let Some(request_id) = text.strip_prefix(POISON).filter(|id| !id.is_empty()) {
            return Ok(Self::always(FaultKind::Poison(request_id.to_owned())));
        }
        let (text_and_times, percent) = split_number(text, '%').map_err(|()| refusal())?;
        let (word, times) = split_number(text_and_times, ':').map_err(|()| refusal())?;
        let kind = kind(word).ok_or_else(refusal)?;
        let percent = match percent {
            None => None,
            Some(number @ 1..=100) => u8::try_from(number).ok(),
            Some(_) => return Err(refusal()),
        };
        Ok(Self { kind, times, percent })
    }
}

/// The kind that a word names.
fn kind(word: &str) -> Option<FaultKind> {
    if let Some(code) = word.strip_prefix(X_ROAD) {
        return XRoadCode::read(code).map(FaultKind::XRoad);
    }
    if let Some(code) = word.strip_prefix(X_ROAD_AFTER_STORE) {
        return XRoadCode::read(code).map(FaultKind::XRoadAfterStore);
    }
    WORDS.iter().find(|(_, known)| *known == word).map(|(kind, _)| kind.clone())
}

/// Cuts `text` at `mark` and reads the number behind it.
fn split_number(text: &str, mark: char) -> Result<(&str, Option<u32>), ()> {
    match text.split_once(mark) {
        None => Ok((text, None)),
        Some((before, number)) => Ok((before, Some(number.parse().map_err(|_| ())?))),
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.kind)?;
        if let Some(times) = self.times {
            write!(formatter, ":{times}")?;
        }
        if let Some(percent) = self.percent {
            write!(formatter, "%{percent}")?;
        }
        Ok(())
    }
}

/// Decides, POST by POST, whether the fault strikes.
#[derive(Debug)]
pub(crate) struct FaultSchedule {
    fault: Fault,
    random: StdRng,
}

impl FaultSchedule {
    /// The draws come from a fixed seed, so that a rehearsal can be repeated.
    const SEED: u64 = 2020;

    pub(crate) fn new(fault: Fault) -> Self {
        Self { fault, random: StdRng::seed_from_u64(Self::SEED) }
    }

    /// What is left of the fault.
    pub(crate) fn fault(&self) -> &Fault {
        &self.fault
    }

    /// What the next POST meets.
    pub(crate) fn next(&mut self) -> FaultKind {
        if let Some(percent) = self.fault.percent
            && self.random.random_range(0..100) >= percent
        {
            return FaultKind::None;
        }
        match &mut self.fault.times {
            Some(0) => self.fault = Fault::default(),
            Some(times) => *times -= 1,
            None => {}
        }
        let kind = self.fault.kind.clone();
        if self.fault.times == Some(0) {
            self.fault = Fault::default();
        }
        kind
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Fault {
        text.parse().unwrap()
    }

    #[test]
    fn every_word_is_read_back_from_what_it_prints() {
        let any =
            ["x-road=Server.ClientProxy.UnknownMember", "x-road-after-store=server.serverproxy.io_error"];
        let words = WORDS.iter().map(|(_, word)| *word).chain(any);
        for word in words {
            for suffix in ["", ":3", "%20", ":3%20"] {
                let text = format!("{word}{suffix}");
                assert_eq!(parse(&text).to_string(), text);
            }
        }
        assert_eq!(parse("poison:A:3%20").kind, FaultKind::Poison("A:3%20".to_owned()));
        assert_eq!(parse("poison:A:3%20").to_string(), "poison:A:3%20");
    }

    #[test]
    fn what_is_not_a_fault_names_the_known_ones() {
        for text in [
            "",
            "501",
            "poison:",
            "500:",
            "500:x",
            "500%0",
            "500%101",
            "500%20:3",
            "500:-1",
            "x-road=",
            "x-road=Server Proxy.X",
        ] {
            let message = text.parse::<Fault>().unwrap_err().to_string();
            assert!(
                message.starts_with(&format!("fault is {text:?}, expected one of none, 500,")),
                "{message}"
            );
        }
    }

    #[test]
    fn a_counted_fault_strikes_that_often_and_is_gone() {
        let mut schedule = FaultSchedule::new(parse("500:2"));
        let kinds: Vec<FaultKind> = (0..4).map(|_| schedule.next()).collect();
        assert_eq!(kinds, [FaultKind::ServerError, FaultKind::ServerError, FaultKind::None, FaultKind::None]);
        assert_eq!(schedule.fault(), &Fault::default());
        assert_eq!(FaultSchedule::new(parse("500:0")).next(), FaultKind::None);
    }

    #[test]
    fn a_percentage_strikes_about_that_often_and_the_same_each_time() {
        let strikes = |_| {
            let mut schedule = FaultSchedule::new(parse("500%20"));
            (0..10_000).map(|_| schedule.next() == FaultKind::ServerError).collect::<Vec<bool>>()
        };
        let (first, second) = (strikes(1), strikes(2));
        let count = first.iter().filter(|strikes| **strikes).count();
        assert!((1800..2200).contains(&count), "{count} of 10000");
        assert_eq!(first, second);
    }

    #[test]
    fn spared_posts_do_not_use_up_the_count() {
        let mut schedule = FaultSchedule::new(parse("503:5%50"));
        let count = (0..1000).filter(|_| schedule.next() == FaultKind::Unavailable).count();
        assert_eq!(count, 5);
    }
}
