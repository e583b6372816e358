//! An institution as there are many: its services, its own statuses, its zone.

use chrono::{NaiveDate, NaiveDateTime, TimeDelta};

/// The zone that the table's times are meant in.
pub(crate) const ZONE: &str = "America/Santo_Domingo";

/// The zone has been four hours behind UTC all year round since 2000-12-03; the proof computes with this number
/// instead of the product's own conversion, so that the two cannot share a mistake.
const BEHIND_UTC: TimeDelta = TimeDelta::hours(4);

/// A service of the institution.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Service {
    /// The institution's own code.
    pub(crate) code: &'static str,
    /// What citizens call it.
    pub(crate) name: &'static str,
    /// The dashboard's id of it.
    pub(crate) id: &'static str,
}

/// A status of the institution.
#[derive(Debug)]
pub(crate) struct State {
    /// The institution's own code.
    pub(crate) code: &'static str,
    /// What it means there.
    pub(crate) text: &'static str,
    /// The dashboard's id of it. Two of the institution's statuses may be one to the dashboard.
    pub(crate) id: u8,
    /// The codes of the statuses that may follow.
    next: &'static [&'static str],
}

/// Every service.
pub(crate) static SERVICES: [Service; 6] = [
    Service { code: "LIC-CON", name: "Licencia de construcción", id: "101" },
    Service { code: "PER-AMB", name: "Permiso ambiental", id: "102" },
    Service { code: "REG-SAN", name: "Registro sanitario", id: "103" },
    Service { code: "USO-SUE", name: "Certificado de uso de suelo", id: "104" },
    Service { code: "NO-OBJ", name: "Certificación de no objeción", id: "105" },
    Service { code: "CAR-CIU", name: "Carta de ciudadanía", id: "106" },
];

/// Every status. The first is where a request begins.
pub(crate) static STATES: [State; 13] = [
    State { code: "RECIBIDA", text: "Documentos recibidos", id: 9, next: &["REV_TECNICA", "DEVUELTA"] },
    State { code: "REV_TECNICA", text: "En revisión técnica", id: 2, next: &["REV_LEGAL", "DEVUELTA"] },
    State {
        code: "REV_LEGAL",
        text: "En revisión legal",
        id: 2,
        next: &["PAGO_PEND", "DEVUELTA", "RECHAZADA"],
    },
    State { code: "PAGO_PEND", text: "Pendiente de pago", id: 5, next: &["EN_FIRMA", "DESISTIDA"] },
    State { code: "EN_FIRMA", text: "En firma del director", id: 4, next: &["APROBADA", "RECHAZADA"] },
    State { code: "APROBADA", text: "Aprobada", id: 3, next: &["LISTA"] },
    State { code: "LISTA", text: "Lista para entrega", id: 13, next: &["ENTREGADA"] },
    State { code: "ENTREGADA", text: "Entregada al ciudadano", id: 14, next: &["RECLAMO"] },
    State { code: "DEVUELTA", text: "Devuelta para corrección", id: 6, next: &["RECIBIDA", "DESISTIDA"] },
    State { code: "RECHAZADA", text: "Rechazada", id: 8, next: &["RECLAMO"] },
    State { code: "DESISTIDA", text: "Desistida por el solicitante", id: 10, next: &["RECIBIDA"] },
    State { code: "RECLAMO", text: "Reclamación abierta", id: 17, next: &["RECLAMO_CERR"] },
    State { code: "RECLAMO_CERR", text: "Reclamación cerrada", id: 19, next: &["REV_TECNICA", "RECLAMO"] },
];

impl State {
    /// The statuses that may follow.
    pub(crate) fn followers(&self) -> impl Iterator<Item = &'static State> {
        STATES.iter().filter(|state| self.next.contains(&state.code))
    }
}

/// The first moment from which the dashboard wants requests, in the institution's zone.
pub(crate) fn floor() -> NaiveDateTime {
    NaiveDate::from_ymd_opt(2020, 1, 1).map_or(NaiveDateTime::MIN, NaiveDate::into)
}

/// Now, as a clock on the institution's wall shows it, to the microsecond.
pub(crate) fn local_now() -> NaiveDateTime {
    let now = chrono::Utc::now().timestamp_micros();
    chrono::DateTime::from_timestamp_micros(now).unwrap_or_default().naive_utc() - BEHIND_UTC
}

/// The moment of a local time, in microseconds since the Unix epoch.
pub(crate) fn moment(local: NaiveDateTime) -> i64 {
    (local + BEHIND_UTC).and_utc().timestamp_micros()
}

/// The statements that fill the two small tables.
pub(crate) fn catalogue_sql() -> String {
    let services = SERVICES.iter().map(|service| ("servicios", service.code, service.name));
    let states = STATES.iter().map(|state| ("estados", state.code, state.text));
    let row = |(table, code, text)| format!("INSERT INTO {table} VALUES ('{code}', '{text}');\n");
    services.chain(states).map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_leads_on_to_others_that_exist() {
        for state in &STATES {
            assert_eq!(state.followers().count(), state.next.len(), "{}", state.code);
            assert!(!state.next.is_empty(), "{}", state.code);
        }
    }

    #[test]
    fn midnight_there_is_four_in_the_morning_utc() {
        assert_eq!(moment(floor()), 1_577_851_200_000_000);
    }
}
