//! `[delivery]`: where the records go, and how patiently.

use std::time::Duration;

use chrono_tz::Tz;
use delivery::{Precision, RetryPolicy};
use pipeline::{GroupBy, Window};
use reqwest::Url;
use reqwest::header::{HeaderName, HeaderValue};

use super::certificate::{self, CertificateFile};
use super::item::Item;
use super::reader::{Secrets, Section};
use super::schedule::accepted;
use super::secret::Secret;
use super::x_road;

/// `[delivery]`.
#[derive(Debug, Clone)]
pub struct DeliverySection {
    /// The address that takes the records.
    pub url: Url,
    /// Who calls, in X-Road's words.
    pub x_road_client: Option<String>,
    /// The only hours in which anything is sent.
    pub window: Option<Window>,
    /// POSTs side by side at most.
    pub concurrency: u32,
    /// POSTs a minute at most.
    pub requests_per_minute: Option<u32>,
    /// Further headers, in the order of their names.
    pub headers: Vec<(HeaderName, Secret)>,
    /// Records in one POST at most.
    pub batch_size: u32,
    /// Bytes in one POST at most.
    pub max_body: u64,
    /// How records are grouped into POSTs.
    pub group_by: GroupBy,
    /// How long one POST may take, answer included.
    pub timeout: Duration,
    /// How failed attempts are repeated.
    pub retry: RetryPolicy,
    /// How fine the fractions of seconds are.
    pub timestamps: Precision,
    /// The private authority that signed the endpoint's certificate.
    pub tls_ca: Option<CertificateFile>,
    /// The certificate that this connector shows, and its key.
    pub tls_client: Option<(CertificateFile, Secret)>,
    /// Whether the endpoint's certificate is accepted unseen.
    pub tls_insecure: bool,
}

/// The dashboard's own limit.
const BATCH_SIZE_MAX: i64 = 1000;

/// Each POST under way keeps two bodies in memory, and the dashboard is shared by all institutions.
const CONCURRENCY_MAX: i64 = 16;

/// More than a thousand POSTs a second is no limit at all.
const REQUESTS_PER_MINUTE_MAX: i64 = 60_000;

/// A NestJS server refuses bodies over 102,400 bytes unless told otherwise.
const MAX_BODY_DEFAULT: u64 = 100_000;

/// X-Road refuses what is larger.
const MAX_BODY_LIMITS: (u64, u64) = (1_024, 10 << 20);

/// X-Road itself may take 60 s; a shorter wait makes deliveries of unknown outcome.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(90);

/// Headers that the product writes itself.
const OWN_HEADERS: [&str; 6] =
    ["content-type", "content-length", "host", "transfer-encoding", "connection", "accept-encoding"];

const GROUPS: [(&str, GroupBy); 2] = [("none", GroupBy::None), ("service", GroupBy::Service)];

const PRECISIONS: [(&str, Precision); 3] =
    [("micros", Precision::Micros), ("millis", Precision::Millis), ("seconds", Precision::Seconds)];

/// Reads the section; `zone` comes from the section `[schedule]`.
pub(super) fn read(section: &Section<'_, '_>, zone: Tz) -> Option<DeliverySection> {
    let address = address(section);
    let headers = section.or("headers", Vec::new(), headers);
    let batch_size =
        section.or("batch_size", 1000, |item| item.integer((1, BATCH_SIZE_MAX))?.try_into().ok());
    let max_body = section.or("max_body", MAX_BODY_DEFAULT, |item| item.size(MAX_BODY_LIMITS));
    let group_by = section.or("group_by", GroupBy::None, |item| item.choice(&GROUPS));
    let window = section.maybe("window", |item| accepted(item, Window::parse(&item.string()?, zone)));
    let concurrency =
        section.or("concurrency", 1, |item| item.integer((1, CONCURRENCY_MAX))?.try_into().ok());
    let requests_per_minute = section
        .maybe("requests_per_minute", |item| item.integer((1, REQUESTS_PER_MINUTE_MAX))?.try_into().ok());
    let limits = (Duration::from_millis(100), Duration::from_secs(3600));
    let timeout = section.or("timeout", TIMEOUT_DEFAULT, |item| item.duration(limits));
    let retry = retry(&section.section("retry"));
    let timestamps = section.or("timestamps", Precision::Micros, |item| item.choice(&PRECISIONS));
    let tls_ca = section.maybe("tls_ca", certificate::read);
    let tls_client = tls_client(section);
    let tls_insecure = section.or("tls_insecure", false, Item::boolean);
    let (url, x_road_client) = address?;
    Some(DeliverySection {
        url,
        x_road_client,
        window: window?,
        concurrency: concurrency?,
        requests_per_minute: requests_per_minute?,
        headers: headers?,
        batch_size: batch_size?,
        max_body: max_body?,
        group_by: group_by?,
        timeout: timeout?,
        retry: retry?,
        timestamps: timestamps?,
        tls_ca: tls_ca?,
        tls_client: tls_client?,
        tls_insecure: tls_insecure?,
    })
}

/// The address and who calls: the one written out, or both made of the parts in `[delivery.x_road]`.
fn address(section: &Section<'_, '_>) -> Option<(Url, Option<String>)> {
    let parts = section.section("x_road");
    let written = section.optional("url");
    let client = section.maybe("x_road_client", x_road::client);
    if !parts.is_present() {
        return match written {
            Some(item) => Some((url(&item)?, client?)),
            None if !section.is_present() => None,
            None => section.problem(
                "url",
                "missing key",
                "add `url = …` to [delivery], or a section [delivery.x_road] with the parts of the address",
            ),
        };
    }
    let made = x_road::read(&parts);
    for (name, hint) in [
        ("url", "leave out one of them: the section makes the address of its parts"),
        ("x_road_client", "write it as `client` into [delivery.x_road]"),
    ] {
        if section.has(name) {
            return section.problem(name, "excludes the section [delivery.x_road]", hint);
        }
    }
    made.map(|made| (made.url, Some(made.client)))
}

/// The connector's own certificate with its key: both or none.
fn tls_client(section: &Section<'_, '_>) -> Option<Option<(CertificateFile, Secret)>> {
    let certificate = section.maybe("tls_client_cert", certificate::read);
    let key = section.maybe("tls_client_key", certificate::read_key);
    match (certificate?, key?) {
        (Some(certificate), Some(key)) => Some(Some((certificate, key))),
        (None, None) => Some(None),
        (Some(_), None) => {
            section.problem("tls_client_cert", "lacks its key", "name the key's file in tls_client_key")
        }
        (None, Some(_)) => section.problem(
            "tls_client_key",
            "lacks its certificate",
            "name the certificate's file in tls_client_cert",
        ),
    }
}

fn url(item: &Item<'_, '_>) -> Option<Url> {
    let text = item.text()?;
    let example =
        Some("write the whole address, such as \"https://security-server/r1/…/api/load\"".to_owned());
    let url = match Url::parse(&text) {
        Ok(url) => url,
        Err(error) => return item.problem(format!("not an address: {error}"), example),
    };
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return item.problem("expected an http or https address of a server", example);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return item.problem(
            "an address must not carry a user or a password",
            Some("write them as [delivery] headers = { authorization = \"Basic ${…}\" }".into()),
        );
    }
    Some(url)
}

fn headers(item: &Item<'_, '_>) -> Option<Vec<(HeaderName, Secret)>> {
    let headers: Vec<_> = item.pairs()?.iter().map(|(name, value)| header(name, value)).collect();
    headers.into_iter().collect()
}

fn header(name: &str, item: &Item<'_, '_>) -> Option<(HeaderName, Secret)> {
    let value = item.secret();
    let Ok(name) = HeaderName::try_from(name) else {
        return item.problem(
            format!("\"{name}\" cannot be the name of a header"),
            Some("use letters, digits and `-`, such as api-key".into()),
        );
    };
    if OWN_HEADERS.contains(&name.as_str()) {
        return item.problem("bitacora writes this header itself", Some("leave it out".into()));
    }
    if name.as_str() == "x-road-client" {
        return item.problem("has a key of its own", Some("write [delivery] x_road_client = \"…\"".into()));
    }
    let value = value?;
    if item.reader.secrets == Secrets::Needed && value.expose().trim().is_empty() {
        return item.problem("must not be empty", Some("leave the header out where it is not needed".into()));
    }
    if HeaderValue::from_str(value.expose()).is_err() {
        return item.problem(
            "the value cannot be sent in a header: it holds a line break or another control character",
            Some("check the variable or file that it comes from".into()),
        );
    }
    Some((name, value))
}

fn retry(section: &Section<'_, '_>) -> Option<RetryPolicy> {
    let pause = (Duration::from_millis(10), Duration::from_secs(86_400));
    let patience = (Duration::from_secs(1), Duration::from_secs(7 * 86_400));
    let first = section.or("first", Duration::from_secs(2), |item| item.duration(pause));
    let factor = section.or("factor", 2.0, |item| item.number((1.0, 100.0)));
    let cap = section.or("cap", Duration::from_secs(300), |item| item.duration(pause));
    let give_up_after =
        section.or("give_up_after", Duration::from_secs(6 * 3600), |item| item.duration(patience));
    let retry = RetryPolicy { first: first?, factor: factor?, cap: cap?, give_up_after: give_up_after? };
    if retry.cap < retry.first {
        return section.problem(
            "cap",
            "is shorter than `first`",
            "no pause can be longer than `cap`: raise it, or lower `first`",
        );
    }
    Some(retry)
}
