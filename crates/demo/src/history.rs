//! Six years of requests, made up.

use chrono::{Datelike, NaiveDateTime, TimeDelta, Timelike};
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use crate::database::{Session, literal, moment_text};
use crate::failure::Failure;
use crate::institution::{SERVICES, STATES, State, floor, local_now};
use crate::truth::Request;

/// Of so many requests since 2020 there is one from before, which must never be sent.
const ONE_BEFORE_IN: usize = 40;

/// Bytes of one statement: fewer than the thousand rows that SQL Server takes.
const CHUNK: usize = 128 * 1024;

const FIRST_NAMES: &[&str] = &[
    "Altagracia",
    "José Miguel",
    "Yahaira",
    "Ramón",
    "Mercedes",
    "Luis Ángel",
    "Carmen",
    "Wilkin",
    "Rosa",
    "Íñigo",
];
const LAST_NAMES: &[&str] =
    &["Peña", "Rodríguez", "de la Cruz", "Núñez", "Báez", "Jiménez", "Mejía", "Féliz", "Guzmán", "Reynoso"];
const PROVINCES: &[&str] =
    &["Distrito Nacional", "Santiago", "La Vega", "San Cristóbal", "Samaná", "Azua", "Elías Piña"];
const REMARKS: &[&str] = &[
    "Falta copia de la cédula",
    "Expediente completo; pasa a revisión",
    "Solicitante llamó por teléfono",
    "Pendiente de plano firmado por el ingeniero",
    "Inspección realizada, sin novedad",
];

/// What of a row is nobody's business but the institution's.
pub(crate) struct Extras {
    pub(crate) applicant: String,
    pub(crate) identity_card: String,
    pub(crate) province: &'static str,
    /// In centavos.
    pub(crate) amount: u32,
    pub(crate) remark: &'static str,
}

impl Extras {
    /// Some of each.
    pub(crate) fn make(rng: &mut StdRng) -> Extras {
        let digits: u64 = rng.random_range(0..100_000_000_000);
        Extras {
            applicant: format!(
                "{} {} {}",
                pick(rng, FIRST_NAMES),
                pick(rng, LAST_NAMES),
                pick(rng, LAST_NAMES)
            ),
            identity_card: format!(
                "{:03}-{:07}-{}",
                digits / 100_000_000,
                digits / 10 % 10_000_000,
                digits % 10
            ),
            province: pick(rng, PROVINCES),
            amount: rng.random_range(50_000..5_000_000),
            remark: pick(rng, REMARKS),
        }
    }

    /// The amount as the database reads it.
    fn amount_text(&self) -> String {
        format!("{}.{:02}", self.amount / 100, self.amount % 100)
    }
}

/// Makes `count` requests opened since 2020, and some from before, in the order of their opening.
pub(crate) fn make(count: usize, rng: &mut StdRng) -> Vec<Request> {
    let now = local_now();
    // Two years before the floor, and the two moments around it that a wrong time zone would mix up.
    let mut opened: Vec<NaiveDateTime> = vec![floor() - TimeDelta::microseconds(1), floor()];
    let before = floor() - TimeDelta::days(730);
    opened.extend((0..count / ONE_BEFORE_IN).map(|_| office_hour(before, floor(), rng)));
    opened.extend((1..count).map(|_| office_hour(floor(), now - TimeDelta::hours(2), rng)));
    opened.sort();
    let mut year = (0, 0);
    opened
        .into_iter()
        .map(|opened| {
            year = if year.0 == opened.year() { (year.0, year.1 + 1) } else { (opened.year(), 1) };
            let service = SERVICES.choose(rng).unwrap_or(&SERVICES[0]);
            let present = present_status(opened, now, rng);
            let mut request = Request::new(format!("SOL-{}-{:06}", year.0, year.1), service, opened, present);
            request.is_history = true;
            request
        })
        .collect()
}

/// Puts `requests` into the table.
///
/// # Errors
/// What the database says.
pub(crate) async fn load(
    session: &mut Session,
    requests: &[Request],
    rng: &mut StdRng,
) -> Result<(), Failure> {
    let mut rows = String::with_capacity(CHUNK + 1024);
    for request in requests {
        let separator = if rows.is_empty() { INSERT } else { "," };
        rows.push_str(separator);
        rows.push_str(&row(request, &Extras::make(rng)));
        if rows.len() >= CHUNK {
            session.run(&rows).await?;
            rows.clear();
        }
    }
    if rows.is_empty() { Ok(()) } else { session.run(&rows).await }
}

/// The beginning of a statement that puts rows into the table.
pub(crate) const INSERT: &str = "INSERT INTO solicitudes (numero, servicio, solicitante, cedula, provincia, monto, \
    estado, observaciones, fecha_apertura, fecha_modificacion) VALUES ";

/// One row of such a statement.
pub(crate) fn row(request: &Request, extras: &Extras) -> String {
    let Request { number, opened, modified, .. } = request;
    let texts = [number, request.service.code, &extras.applicant, &extras.identity_card, extras.province];
    let texts: Vec<String> = texts.into_iter().map(literal).collect();
    format!(
        "({}, {}, {}, {}, '{}', '{}')",
        texts.join(", "),
        extras.amount_text(),
        literal(request.state.code),
        literal(extras.remark),
        moment_text(*opened),
        moment_text(*modified)
    )
}

/// A moment between two others, on a working day between eight and four, to the second as forms record it.
fn office_hour(from: NaiveDateTime, to: NaiveDateTime, rng: &mut StdRng) -> NaiveDateTime {
    let seconds = (to - from).num_seconds();
    let any = from + TimeDelta::seconds(rng.random_range(0..seconds));
    let weekday = any.weekday().num_days_from_monday();
    let monday_to_friday = any - TimeDelta::days(i64::from(weekday.saturating_sub(4)));
    let hour = 8 + any.hour() % 8;
    monday_to_friday.with_hour(hour).filter(|moved| (from..to).contains(moved)).unwrap_or(any)
}

/// The status that a request opened then has today, and since when: what is old is mostly finished.
fn present_status(
    opened: NaiveDateTime,
    now: NaiveDateTime,
    rng: &mut StdRng,
) -> (&'static State, NaiveDateTime) {
    let age = now - opened;
    let is_finished = age > TimeDelta::days(120) && rng.random_bool(0.9);
    let finished = ["ENTREGADA", "ENTREGADA", "ENTREGADA", "RECHAZADA", "DESISTIDA"];
    let code = pick(rng, &finished);
    let state = STATES.iter().find(|state| is_finished && state.code == code);
    let state = state.or_else(|| STATES.choose(rng)).unwrap_or(&STATES[0]);
    let longest = if is_finished { TimeDelta::days(110) } else { age };
    let after = TimeDelta::microseconds(rng.random_range(0..longest.num_microseconds().unwrap_or(1).max(1)));
    (state, opened + after)
}

fn pick<'a>(rng: &mut StdRng, texts: &[&'a str]) -> &'a str {
    texts.choose(rng).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use chrono::NaiveDate;
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn the_history_reaches_back_beyond_2020_and_up_to_today() {
        let requests = make(4_000, &mut StdRng::seed_from_u64(7));
        let before = requests.iter().filter(|request| request.is_before_floor()).count();
        assert_eq!(before, 101, "one in forty, and one a microsecond before the year began");
        assert_eq!(requests.len() - before, 4_000);
        let newest = requests.last().unwrap().opened;
        assert!(local_now() - newest < TimeDelta::days(30), "{newest}");
        assert!(requests.iter().any(|request| request.opened == floor()));
        let day = NaiveDate::from_ymd_opt(2018, 1, 1).unwrap();
        assert!(requests.iter().all(|request| request.opened.date() >= day));
    }

    #[test]
    fn numbers_are_unique_and_nothing_was_modified_before_it_was_opened_or_after_now() {
        let requests = make(4_000, &mut StdRng::seed_from_u64(8));
        let mut numbers: Vec<_> = requests.iter().map(|request| &request.number).collect();
        numbers.sort();
        numbers.dedup();
        assert_eq!(numbers.len(), requests.len());
        let now = local_now();
        assert!(requests.iter().all(|request| request.opened <= request.modified && request.modified <= now));
    }
}
