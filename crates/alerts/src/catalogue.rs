//! What is said of each kind of alert, in both languages.

use crate::language::Language;

/// What is said of one kind of alert, in one language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Words {
    /// A few words, for a subject or a heading.
    pub title: &'static str,
    /// What happened.
    pub what: &'static str,
    /// What it means for the data.
    pub data: &'static str,
    /// What to do.
    pub todo: &'static str,
}

/// What shows that an alert is over, beyond its being raised no more: after a restart nothing is raised at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OverWhen {
    /// Whoever raises it looks for it from the start.
    Absent,
    /// Changes are captured.
    Streaming,
    /// The latest flush was acknowledged.
    Delivered,
    /// Never: it tells of an event, once.
    Event,
}

/// One kind of alert.
pub(crate) struct Entry {
    pub(crate) code: &'static str,
    pub(crate) over_when: OverWhen,
    /// Whether the technical detail may leave this machine. The endpoint's own words may quote a record.
    pub(crate) tells_detail: bool,
    spanish: Words,
    english: Words,
}

impl Entry {
    pub(crate) fn words(&self, language: Language) -> &Words {
        match language {
            Language::Spanish => &self.spanish,
            Language::English => &self.english,
        }
    }
}

/// What is said of the alert `code`; an alert that nobody has described is told in general words.
#[must_use]
pub fn words(code: &str, language: Language) -> &'static Words {
    entry(code).words(language)
}

/// Whether the technical detail of the alert `code` may be shown to people who may not see single requests: the
/// endpoint's own words may quote a record.
#[must_use]
pub fn tells_detail(code: &str) -> bool {
    entry(code).tells_detail
}

/// Every alert that has words of its own.
pub fn codes() -> impl Iterator<Item = &'static str> {
    ENTRIES.iter().map(|entry| entry.code)
}

pub(crate) fn entry(code: &str) -> &'static Entry {
    ENTRIES.iter().find(|entry| entry.code == code).unwrap_or(&OTHER)
}

const OTHER: Entry = Entry {
    code: "other",
    over_when: OverWhen::Absent,
    tells_detail: true,
    spanish: Words {
        title: "El conector pide atención",
        what: "El conector encontró algo que requiere atención.",
        data: "Lo capturado está guardado en el libro del conector.",
        todo: "Ejecute `bitacora status` y lea el aviso completo.",
    },
    english: Words {
        title: "The connector asks for attention",
        what: "The connector met something that needs attention.",
        data: "What was captured is kept in the connector's ledger.",
        todo: "Run `bitacora status` and read the whole alert.",
    },
};

const ENTRIES: &[Entry] = &[
    Entry {
        code: "delivery_failing",
        over_when: OverWhen::Delivered,
        tells_detail: false,
        spanish: Words {
            title: "El envío al tablero falla",
            what: "Varios intentos seguidos de envío al tablero han fallado.",
            data: "No se ha perdido nada: los cambios esperan en el libro del conector y se envían en orden cuando el tablero responda.",
            todo: "Ejecute `bitacora status` para ver el motivo y `bitacora check` para probar la conexión. Si el motivo es del tablero o del servidor de seguridad X-Road, avise a quien lo opera.",
        },
        english: Words {
            title: "Delivery to the dashboard fails",
            what: "Several delivery attempts in a row have failed.",
            data: "Nothing is lost: the changes wait in the connector's ledger and leave in order once the dashboard answers.",
            todo: "Run `bitacora status` to see why and `bitacora check` to try the connection. If the cause lies with the dashboard or the X-Road security server, tell those who run it.",
        },
    },
    Entry {
        code: "delivery_halted",
        over_when: OverWhen::Delivered,
        tells_detail: false,
        spanish: Words {
            title: "El envío al tablero está detenido",
            what: "El tablero rechaza los envíos por una causa que reintentar no arregla, como una clave, una dirección o un permiso.",
            data: "No se ha perdido nada: los cambios esperan en el libro del conector.",
            todo: "Ejecute `bitacora status` para ver el motivo, corrija la sección [delivery] o pida el permiso, y luego ejecute `bitacora flush`.",
        },
        english: Words {
            title: "Delivery to the dashboard is halted",
            what: "The dashboard refuses deliveries for a cause that trying again does not mend, such as a key, an address or a right.",
            data: "Nothing is lost: the changes wait in the connector's ledger.",
            todo: "Run `bitacora status` to see why, mend the section [delivery] or ask for the right, then run `bitacora flush`.",
        },
    },
    Entry {
        code: "flush",
        over_when: OverWhen::Delivered,
        tells_detail: true,
        spanish: Words {
            title: "Un envío no pudo ejecutarse",
            what: "El envío programado terminó con un error del libro del conector.",
            data: "Lo capturado sigue en el libro; nada de este envío se da por confirmado sin respuesta del tablero.",
            todo: "Revise el disco y los permisos de la carpeta `[ledger] dir`, y luego ejecute `bitacora flush`.",
        },
        english: Words {
            title: "A flush could not run",
            what: "The scheduled flush ended with an error of the connector's ledger.",
            data: "What was captured is still in the ledger; nothing of this flush counts as acknowledged without the dashboard's answer.",
            todo: "Look at the disk and the rights of the folder `[ledger] dir`, then run `bitacora flush`.",
        },
    },
    Entry {
        code: "not_acknowledged",
        over_when: OverWhen::Delivered,
        tells_detail: true,
        spanish: Words {
            title: "El tablero no ha confirmado el envío de la noche",
            what: "Llegó la hora límite y ningún envío desde la hora límite anterior fue confirmado por el tablero.",
            data: "Los cambios están en el libro del conector; el tablero muestra datos de un día anterior.",
            todo: "Ejecute `bitacora status`; si no hay otra causa a la vista, ejecute `bitacora flush` y observe el resultado.",
        },
        english: Words {
            title: "The dashboard has not acknowledged the night's flush",
            what: "The deadline has come, and no flush since the deadline before was acknowledged by the dashboard.",
            data: "The changes are in the connector's ledger; the dashboard shows an earlier day's data.",
            todo: "Run `bitacora status`; if it shows no other cause, run `bitacora flush` and watch how it ends.",
        },
    },
    Entry {
        code: "quarantine",
        over_when: OverWhen::Absent,
        tells_detail: true,
        spanish: Words {
            title: "Hay elementos en cuarentena",
            what: "Hay filas que no se pudieron traducir o registros que el tablero rechaza.",
            data: "Se conservan con su motivo y no llegan al tablero hasta que se corrija la causa; todo lo demás sigue su curso.",
            todo: "Ejecute `bitacora quarantine list`, corrija la configuración o el dato, y luego `bitacora quarantine retry`.",
        },
        english: Words {
            title: "Something is in quarantine",
            what: "There are rows that could not be mapped, or records that the dashboard refuses.",
            data: "They are kept with their reason and do not reach the dashboard until the cause is mended; everything else goes on.",
            todo: "Run `bitacora quarantine list`, mend the configuration or the data, then run `bitacora quarantine retry`.",
        },
    },
    Entry {
        code: "lost_log",
        over_when: OverWhen::Streaming,
        tells_detail: true,
        spanish: Words {
            title: "Se perdió parte del registro de la base de datos",
            what: "El servidor borró su registro de cambios más allá de la posición del conector.",
            data: "El conector compara la tabla con lo que conoce y envía lo que difiere; no se puede saber por qué estados intermedios pasó cada solicitud entre tanto.",
            todo: "Espere al fin de la comparación. Pida al administrador de la base de datos que conserve el registro por más tiempo: `bitacora check` dice qué ajuste.",
        },
        english: Words {
            title: "Part of the database's log was lost",
            what: "The server removed its log beyond the connector's position.",
            data: "The connector compares the table with what it knows and sends what differs; through which statuses a request passed meanwhile cannot be known.",
            todo: "Wait for the comparison to end. Ask the database's administrator to keep the log for longer: `bitacora check` says by which setting.",
        },
    },
    Entry {
        code: "capture_silent",
        over_when: OverWhen::Streaming,
        tells_detail: true,
        spanish: Words {
            title: "La captura del motor no está activa",
            what: "La base de datos responde, pero su propio proceso de captura no está en marcha.",
            data: "No se ha perdido nada todavía: los cambios siguen en el registro de la base de datos y se capturan cuando el proceso vuelva.",
            todo: "Pida al administrador que inicie el trabajo de captura del motor (en SQL Server, el Agente y el trabajo de captura CDC).",
        },
        english: Words {
            title: "The engine's capture is not running",
            what: "The database answers, but its own capture process is not running.",
            data: "Nothing is lost so far: the changes stay in the database's log and are captured once the process is back.",
            todo: "Ask the administrator to start the engine's capture job (on SQL Server the Agent and the CDC capture job).",
        },
    },
    Entry {
        code: "capture_stopped",
        over_when: OverWhen::Streaming,
        tells_detail: true,
        spanish: Words {
            title: "La captura está detenida",
            what: "El conector no puede leer el registro de la base de datos hasta que alguien corrija la causa.",
            data: "La base de datos conserva su registro mientras tanto, tanto tiempo como lo permita su configuración.",
            todo: "Ejecute `bitacora check`: dice qué falta y la orden exacta que lo arregla.",
        },
        english: Words {
            title: "Capture is stopped",
            what: "The connector cannot read the database's log until somebody mends the cause.",
            data: "The database keeps its log meanwhile, for as long as its settings allow.",
            todo: "Run `bitacora check`: it says what is missing and the exact command that mends it.",
        },
    },
    Entry {
        code: "behind",
        over_when: OverWhen::Streaming,
        tells_detail: true,
        spanish: Words {
            title: "La captura va muy atrasada",
            what: "La posición del conector está más lejos del fin del registro de lo que permite `[alerts] behind_after`.",
            data: "No se ha perdido nada: los cambios están en el registro de la base de datos y llegan más tarde.",
            todo: "Vea con `bitacora status` si la conexión está caída o si hay una carga grande; si no baja, revise la red y el disco.",
        },
        english: Words {
            title: "Capture is far behind",
            what: "The connector's position is farther from the log's end than `[alerts] behind_after` allows.",
            data: "Nothing is lost: the changes are in the database's log and come later.",
            todo: "See with `bitacora status` whether the connection is down or a large load is under way; if it does not shrink, look at the network and the disk.",
        },
    },
    Entry {
        code: "retention_half",
        over_when: OverWhen::Streaming,
        tells_detail: true,
        spanish: Words {
            title: "Se consumió la mitad del margen de retención",
            what: "El conector lleva tanto tiempo atrasado como tiempo queda hasta que el servidor borre el registro.",
            data: "Todavía no se ha perdido nada. Si el margen se agota, se perderían los estados intermedios de las solicitudes.",
            todo: "Restablezca la captura cuanto antes, o pida al administrador que conserve el registro por más tiempo.",
        },
        english: Words {
            title: "Half of the retention margin is used up",
            what: "The connector has been behind for as long as there is left until the server removes the log.",
            data: "Nothing is lost so far. If the margin ends, statuses that requests passed through would be lost.",
            todo: "Bring capture back as soon as possible, or ask the administrator to keep the log for longer.",
        },
    },
    Entry {
        code: "disk_budget",
        over_when: OverWhen::Absent,
        tells_detail: true,
        spanish: Words {
            title: "El libro del conector llegó a su límite de disco",
            what: "El libro ocupa más de lo permitido o queda poco espacio en su disco, y la captura se detuvo.",
            data: "No se ha perdido nada: la base de datos conserva su registro hasta que haya espacio.",
            todo: "Libere espacio, ejecute `bitacora flush` o suba `[ledger] max_size`; la captura continúa sola.",
        },
        english: Words {
            title: "The connector's ledger has reached its disk limit",
            what: "The ledger takes more than it may, or its disk is short of space, and capture was stopped.",
            data: "Nothing is lost: the database keeps its log until there is room.",
            todo: "Free space, run `bitacora flush`, or raise `[ledger] max_size`; capture goes on by itself.",
        },
    },
    Entry {
        code: "ledger_full",
        over_when: OverWhen::Streaming,
        tells_detail: true,
        spanish: Words {
            title: "El disco del libro está lleno",
            what: "El libro del conector no puede escribir porque su disco está lleno.",
            data: "No se ha perdido nada: la base de datos conserva su registro hasta que haya espacio.",
            todo: "Libere espacio en el disco de `[ledger] dir`; la captura continúa sola.",
        },
        english: Words {
            title: "The ledger's disk is full",
            what: "The connector's ledger cannot write, because its disk is full.",
            data: "Nothing is lost: the database keeps its log until there is room.",
            todo: "Free space on the disk of `[ledger] dir`; capture goes on by itself.",
        },
    },
    Entry {
        code: "ledger",
        over_when: OverWhen::Absent,
        tells_detail: true,
        spanish: Words {
            title: "El libro del conector falla",
            what: "El conector no pudo leer o escribir en su libro.",
            data: "Nada se confirma a la base de datos sin estar escrito: lo que falte se lee de nuevo.",
            todo: "Revise el disco y los permisos de `[ledger] dir`.",
        },
        english: Words {
            title: "The connector's ledger fails",
            what: "The connector could not read or write its ledger.",
            data: "Nothing is confirmed to the database before it is written: what is missing is read again.",
            todo: "Look at the disk and the rights of `[ledger] dir`.",
        },
    },
    Entry {
        code: "truncated",
        over_when: OverWhen::Event,
        tells_detail: true,
        spanish: Words {
            title: "La tabla fue vaciada",
            what: "Alguien vació la tabla de la base de datos (TRUNCATE).",
            data: "No se envía nada por las filas que desaparecieron; lo capturado antes se conserva.",
            todo: "Si las solicitudes realmente dejaron de existir, avise al equipo del tablero.",
        },
        english: Words {
            title: "The table was truncated",
            what: "Somebody truncated the database's table.",
            data: "Nothing is sent for the rows that went away; what was captured before stays.",
            todo: "If the requests are really gone, tell the dashboard's team.",
        },
    },
    Entry {
        code: "alert_channel",
        over_when: OverWhen::Absent,
        tells_detail: true,
        spanish: Words {
            title: "Un canal de avisos falla",
            what: "Los avisos por uno de los canales configurados no llegan.",
            data: "Los datos no se ven afectados; pero nadie se enterará por ese canal de lo que ocurra.",
            todo: "Corrija la sección [alerts] y pruebe con `bitacora check --alerts`.",
        },
        english: Words {
            title: "An alert channel fails",
            what: "Alerts do not arrive by one of the configured channels.",
            data: "The data is not affected; but nobody will hear by that channel of what happens.",
            todo: "Mend the section [alerts] and try it with `bitacora check --alerts`.",
        },
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_alert_says_what_happened_what_it_means_and_what_to_do_in_both_languages() {
        for entry in ENTRIES.iter().chain([&OTHER]) {
            let (spanish, english) = (entry.words(Language::Spanish), entry.words(Language::English));
            for words in [spanish, english] {
                for sentence in [words.what, words.data, words.todo] {
                    assert!(sentence.ends_with('.'), "{}: {sentence}", entry.code);
                }
                assert!(!words.title.ends_with('.') && words.title.len() < 70, "{}", entry.code);
            }
            assert_ne!(spanish.title, english.title, "{}", entry.code);
        }
    }

    #[test]
    fn no_alert_is_described_twice() {
        let mut seen: Vec<_> = codes().collect();
        seen.sort_unstable();
        let all = seen.len();
        seen.dedup();
        assert_eq!(seen.len(), all);
    }
}
