//! An alert as a channel sends it: a subject, a text, and the same as JSON.

use chrono::{DateTime, SecondsFormat, Utc};
use chrono_tz::Tz;
use serde_json::{Value, json};

use crate::board::{Due, Occasion};
use crate::catalogue::entry;
use crate::language::Language;

/// Of a technical detail so many characters are told: it may quote a server's long answer.
const DETAIL_CHARACTERS_MAX: usize = 600;

/// What a channel sends.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Message {
    pub(crate) subject: String,
    pub(crate) text: String,
    pub(crate) json: Value,
}

/// What all messages of one connector have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Letterhead<'a> {
    pub(crate) language: Language,
    pub(crate) zone: Tz,
    /// Which connector this is: institutions may run several.
    pub(crate) source: &'a str,
}

impl Letterhead<'_> {
    /// The message that tells of `due`.
    pub(crate) fn message(&self, due: &Due, now: DateTime<Utc>) -> Message {
        let (entry, t) = (entry(&due.code), self.speak());
        let words = entry.words(self.language);
        let (kind, mark) = match due.occasion {
            Occasion::Raised => ("raised", t("AVISO", "ALERT")),
            Occasion::Repeated => ("repeated", t("SIGUE", "STILL")),
            Occasion::Cleared => ("cleared", t("RESUELTO", "OVER")),
        };
        let since = self.moment(due.since);
        let mut lines = vec![(t("Conector", "Connector"), self.source.to_owned())];
        if let Some(ended) = due.ended {
            let over = t("Ya pasó: ", "This is over: ");
            lines.push((t("Qué pasó", "What happened"), format!("{over}{}", words.what)));
            lines.push((t("Desde", "From"), since));
            lines.push((t("Hasta", "Until"), self.moment(ended)));
            lines.push((
                t("Qué hacer", "What to do"),
                t("Nada: el conector continúa solo.", "Nothing: the connector goes on by itself.").to_owned(),
            ));
        } else {
            lines.push((t("Qué pasó", "What happened"), words.what.to_owned()));
            lines.push((
                t("Qué significa para los datos", "What it means for the data"),
                words.data.to_owned(),
            ));
            lines.push((t("Qué hacer", "What to do"), words.todo.to_owned()));
            lines.push((t("Desde", "Since"), since));
        }
        let detail = Some(plain(&due.detail))
            .filter(|detail| entry.tells_detail && due.ended.is_none() && !detail.is_empty());
        if let Some(detail) = &detail {
            lines.push((t("Detalle técnico", "Technical detail"), detail.clone()));
        }
        let json = json!({
            "version": 1, "kind": kind, "code": due.code, "source": self.source,
            "language": self.language.code(), "title": words.title, "what": words.what, "data": words.data,
            "todo": words.todo, "detail": detail, "since": utc(due.since), "ended": due.ended.map(utc),
            "sent": utc(now),
        });
        self.put_together(&format!("{mark}: {}", words.title), &lines, json)
    }

    /// A message that only shows that messages arrive.
    pub(crate) fn trial(&self, now: DateTime<Utc>) -> Message {
        let t = self.speak();
        let title = t("PRUEBA: los avisos llegan", "TEST: alerts arrive");
        let what = t(
            "Esto es una prueba que alguien pidió con `bitacora check --alerts`.",
            "This is a test that somebody asked for with `bitacora check --alerts`.",
        );
        let todo = t("Nada.", "Nothing.");
        let lines = [
            (t("Conector", "Connector"), self.source.to_owned()),
            (t("Qué pasó", "What happened"), what.to_owned()),
            (t("Qué hacer", "What to do"), todo.to_owned()),
        ];
        let json = json!({
            "version": 1, "kind": "test", "code": null, "source": self.source,
            "language": self.language.code(), "title": title, "what": what, "data": null, "todo": todo,
            "detail": null, "since": null, "ended": null, "sent": utc(now),
        });
        self.put_together(title, &lines, json)
    }

    fn put_together(&self, title: &str, lines: &[(&str, String)], mut json: Value) -> Message {
        let subject = format!("[bitacora] {title} ({})", self.source);
        let lines: Vec<String> = lines.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        let text = lines.join("\n\n") + "\n";
        if let Some(members) = json.as_object_mut() {
            // The key under which chat programs look for what they show.
            members.insert("text".into(), format!("{subject}\n\n{text}").into());
        }
        Message { subject, text, json }
    }

    fn speak(&self) -> impl Fn(&'static str, &'static str) -> &'static str + use<> {
        let language = self.language;
        move |spanish, english| language.pick(spanish, english)
    }

    fn moment(&self, at: DateTime<Utc>) -> String {
        format!("{} ({})", at.with_timezone(&self.zone).format("%Y-%m-%d %H:%M"), self.zone)
    }
}

fn utc(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// One line that is not too long.
fn plain(detail: &str) -> String {
    let visible = detail.chars().map(|character| if character.is_control() { ' ' } else { character });
    let mut told: String = visible.take(DETAIL_CHARACTERS_MAX).collect();
    if detail.chars().nth(DETAIL_CHARACTERS_MAX).is_some() {
        told.push('…');
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(language: Language) -> Letterhead<'static> {
        Letterhead {
            language,
            zone: chrono_tz::America::Santo_Domingo,
            source: "tramites public.solicitudes",
        }
    }

    fn due(code: &str, occasion: Occasion) -> Due {
        let since = DateTime::from_timestamp(1_763_791_200, 0).unwrap();
        let ended = (occasion == Occasion::Cleared).then_some(since + chrono::TimeDelta::minutes(5));
        Due { occasion, code: code.into(), since, ended, detail: "record SOL-1 was refused".into() }
    }

    #[test]
    fn a_message_says_what_happened_what_it_means_and_what_to_do() {
        let message = head(Language::Spanish).message(&due("capture_stopped", Occasion::Raised), Utc::now());
        assert_eq!(
            message.subject,
            "[bitacora] AVISO: La captura está detenida (tramites public.solicitudes)"
        );
        for part in ["Qué pasó: ", "Qué significa para los datos: ", "Qué hacer: ", "Desde: 2025-11-22 02:00"]
        {
            assert!(message.text.contains(part), "{part} is not in {}", message.text);
        }
        assert_eq!(message.json["kind"], "raised");
        assert_eq!(message.json["since"], "2025-11-22T06:00:00Z");
        assert!(message.json["text"].as_str().unwrap().starts_with("[bitacora] AVISO"));
        let message =
            head(Language::English).message(&due("capture_stopped", Occasion::Repeated), Utc::now());
        assert!(message.subject.starts_with("[bitacora] STILL: Capture is stopped"), "{}", message.subject);
    }

    #[test]
    fn the_all_clear_says_from_when_until_when() {
        let message = head(Language::English).message(&due("behind", Occasion::Cleared), Utc::now());
        assert!(message.subject.starts_with("[bitacora] OVER: "), "{}", message.subject);
        assert!(message.text.contains("From: 2025-11-22 02:00"), "{}", message.text);
        assert!(message.text.contains("Until: 2025-11-22 02:05"), "{}", message.text);
        assert_eq!(message.json["ended"], "2025-11-22T06:05:00Z");
    }

    #[test]
    fn what_the_endpoint_said_stays_on_this_machine() {
        for code in ["delivery_failing", "delivery_halted"] {
            let message = head(Language::English).message(&due(code, Occasion::Raised), Utc::now());
            assert!(!message.json.to_string().contains("SOL-1"), "{code}");
            assert!(!message.text.contains("SOL-1"), "{code}");
        }
    }

    #[test]
    fn a_detail_is_one_line_of_bounded_length() {
        let told = plain(&"a\r\nBcc: everyone@example.org\n".repeat(100));
        assert!(!told.contains(char::is_control));
        assert_eq!(told.chars().count(), DETAIL_CHARACTERS_MAX + 1);
    }
}
