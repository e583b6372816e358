//! The common catalogue of the 21 statuses that the dashboard knows.

use std::fmt;

/// The largest id in the catalogue; the smallest is 1.
pub(crate) const STATUS_ID_MAX: u8 = 21;

/// How far a request in some status has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Category {
    /// Still being worked on.
    EnProceso,
    /// Finished as the applicant wished.
    Completado,
    /// Ended without result.
    Cancelado,
}

impl fmt::Display for Category {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::EnProceso => "En Proceso",
            Self::Completado => "Completado",
            Self::Cancelado => "Cancelado",
        })
    }
}

/// One status of the catalogue, in the dashboard's own language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// 1 to 21.
    pub id: u8,
    /// The name as the dashboard shows it.
    pub name: &'static str,
    /// What it tells about the request, one Spanish sentence without its full stop.
    pub meaning: &'static str,
    /// How far the request has come.
    pub category: Category,
}

/// The status with this id, or `None` outside 1 to 21.
#[must_use]
pub fn status(id: u8) -> Option<&'static Status> {
    CATALOGUE.get(usize::from(id).checked_sub(1)?)
}

/// All statuses by ascending id.
#[must_use]
pub fn all() -> &'static [Status] {
    &CATALOGUE
}

const fn entry(id: u8, name: &'static str, meaning: &'static str, category: Category) -> Status {
    Status { id, name, meaning, category }
}

use Category::{Cancelado, Completado, EnProceso};

#[rustfmt::skip] // A table reads better with one status a line.
static CATALOGUE: [Status; STATUS_ID_MAX as usize] = [
    entry(1, "Generado", "La solicitud fue creada en el sistema", EnProceso),
    entry(2, "En revisión", "La solicitud está siendo revisada", EnProceso),
    entry(3, "Aprobado", "La solicitud fue aprobada", EnProceso),
    entry(4, "En aprobación", "La solicitud está en proceso de aprobación", EnProceso),
    entry(5, "En espera de pago", "La solicitud espera el pago del solicitante", EnProceso),
    entry(6, "Devuelto", "La solicitud fue devuelta para su corrección", EnProceso),
    entry(7, "Completado", "La solicitud terminó", Completado),
    entry(8, "Rechazado", "La solicitud fue rechazada", Cancelado),
    entry(9, "Recibido", "Los documentos de la solicitud fueron recibidos", EnProceso),
    entry(10, "Cancelado", "La solicitud fue cancelada", Cancelado),
    entry(11, "Temporal", "La solicitud está en un estado temporal, a la espera de una acción", EnProceso),
    entry(12, "Atraso por el cliente", "La solicitud está atrasada por causa del solicitante", EnProceso),
    entry(13, "Disponible Para Entrega", "El resultado está listo para ser entregado", EnProceso),
    entry(14, "Entregado", "El resultado fue entregado al solicitante", Completado),
    entry(15, "En espera de acción requerida", "La solicitud espera una acción del solicitante", EnProceso),
    entry(16, "Pagado/No Actualizado", "El pago fue hecho y la solicitud aún no se ha actualizado", EnProceso),
    entry(17, "Queja/Reclamación Abierta", "Hay una queja o reclamación abierta", EnProceso),
    entry(18, "Queja/Reclamación en proceso", "La queja o reclamación está en proceso", EnProceso),
    entry(19, "Queja/Reclamación Cerrada", "La queja o reclamación fue cerrada", Completado),
    entry(20, "Queja/Reclamación Descartada", "La queja o reclamación fue descartada", Cancelado),
    entry(21, "En proceso", "La solicitud está en proceso, en general", EnProceso),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_stands_at_its_own_id() {
        for id in 1..=STATUS_ID_MAX {
            assert_eq!(status(id).unwrap().id, id);
        }
        assert_eq!(all().len(), usize::from(STATUS_ID_MAX));
    }

    #[test]
    fn ids_outside_the_catalogue_are_unknown() {
        for id in [0, 22, u8::MAX] {
            assert_eq!(status(id), None, "id {id}");
        }
    }

    #[test]
    fn categories_are_those_of_the_contract() {
        let of = |category| -> Vec<u8> {
            all().iter().filter(|status| status.category == category).map(|status| status.id).collect()
        };
        assert_eq!(of(Completado), [7, 14, 19]);
        assert_eq!(of(Cancelado), [8, 10, 20]);
        assert_eq!(of(EnProceso), [1, 2, 3, 4, 5, 6, 9, 11, 12, 13, 15, 16, 17, 18, 21]);
    }

    #[test]
    fn names_are_distinct_and_spelled_as_the_dashboard_does() {
        let mut names: Vec<&str> = all().iter().map(|status| status.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), usize::from(STATUS_ID_MAX));
        assert_eq!(status(15).unwrap().name, "En espera de acción requerida");
        assert_eq!(status(13).unwrap().category.to_string(), "En Proceso");
    }
}
