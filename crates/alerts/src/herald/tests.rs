//! The channels against servers of this process.

mod receivers;

use chrono::TimeDelta;

use super::*;
use receivers::{HttpReceiver, MailReceiver, Security};

const WELL: Evidence = Evidence { streaming: true, delivered: true };

fn manner() -> Manner {
    Manner {
        language: Language::Spanish,
        zone: chrono_tz::America::Santo_Domingo,
        source: "tramites public.solicitudes".into(),
        repeat_every: Duration::from_secs(12 * 3600),
    }
}

fn quarantine(since: DateTime<Utc>) -> Standing {
    Standing { code: "quarantine".into(), since, detail: "2 rows".into() }
}

fn mail(smtp: String, tls_ca: Option<Vec<u8>>) -> Channel {
    let to = vec!["turno@example.org".into(), "Jefa de Área <jefa@example.org>".into()];
    Channel::Email(Mail { smtp, from: "bitacora@example.org".into(), to, tls_ca })
}

#[tokio::test]
async fn every_channel_hears_of_an_alert_and_of_its_end() {
    let (web, post) = (HttpReceiver::start(&[200]).await, MailReceiver::start(Security::None).await);
    let channels = [Channel::Webhook(web.url("key-17")), mail(post.url("smtp", ""), None)];
    let mut herald = Herald::new(manner(), &channels, None).unwrap();
    let begun = Utc::now();
    herald.round(begun, &[quarantine(begun)], WELL).await;
    herald.round(begun + TimeDelta::seconds(5), &[quarantine(begun)], WELL).await;
    herald.round(begun + TimeDelta::seconds(10), &[], WELL).await;
    herald.round(begun + TimeDelta::seconds(80), &[], WELL).await;

    let kinds: Vec<_> = web.bodies().iter().map(|body| body["kind"].clone()).collect();
    assert_eq!(kinds, ["raised", "cleared"]);
    assert_eq!(web.bodies()[0]["code"], "quarantine");
    let mails = post.mails();
    assert_eq!(mails.len(), 2, "{mails:?}");
    for expected in ["Auto-Submitted: auto-generated", "Content-Language: es", "turno@example.org"] {
        assert!(mails[0].contains(expected), "{expected} is not in {}", mails[0]);
    }
    assert_eq!(post.recipients(), ["turno@example.org", "jefa@example.org"].repeat(2));
    assert!(herald.channels().all(|state| state.delivered_at.is_some() && state.error.is_none()));
}

#[tokio::test]
async fn a_channel_that_fails_says_so_and_is_tried_again_later() {
    let web = HttpReceiver::start(&[500, 200]).await;
    let mut herald = Herald::new(manner(), &[Channel::Webhook(web.url("key-17"))], None).unwrap();
    let begun = Utc::now();
    let standing = [quarantine(begun)];
    herald.round(begun, &standing, WELL).await;
    let state = herald.channels().next().unwrap().clone();
    assert_eq!(state.failing_since, Some(begun));
    assert_eq!(state.error.as_deref(), Some("the webhook answered 500 Internal Server Error, expected 2xx"));
    herald.round(begun + TimeDelta::seconds(29), &standing, WELL).await;
    assert_eq!(web.bodies().len(), 1);
    herald.round(begun + TimeDelta::seconds(30), &standing, WELL).await;
    assert_eq!(web.bodies().len(), 2);
    assert_eq!(herald.channels().next().unwrap().error, None);
}

#[tokio::test]
async fn what_was_told_is_not_told_again_after_a_restart() {
    let web = HttpReceiver::start(&[200]).await;
    let channels = [Channel::Webhook(web.url("key-17"))];
    let begun = Utc::now();
    let mut herald = Herald::new(manner(), &channels, None).unwrap();
    herald.round(begun, &[quarantine(begun)], WELL).await;
    let mut herald = Herald::new(manner(), &channels, Some(&herald.memory())).unwrap();
    herald.round(begun + TimeDelta::hours(1), &[quarantine(begun + TimeDelta::hours(1))], WELL).await;
    assert_eq!(web.bodies().len(), 1);
    herald.round(begun + TimeDelta::hours(12), &[quarantine(begun)], WELL).await;
    assert_eq!(web.bodies()[1]["kind"], "repeated");
    // A memory that cannot be read costs a repeat, no alert.
    let mut herald = Herald::new(manner(), &channels, Some("{")).unwrap();
    herald.round(begun + TimeDelta::hours(13), &[quarantine(begun)], WELL).await;
    assert_eq!(web.bodies()[2]["kind"], "raised");
}

#[tokio::test]
async fn mail_is_encrypted_and_the_password_leaves_only_then() {
    for (security, scheme) in [(Security::StartTls, "smtp"), (Security::Tls, "smtps")] {
        let post = MailReceiver::start(security).await;
        let channel = mail(post.url(scheme, "me%40example:p%25w@"), Some(post.authority()));
        let mut herald = Herald::new(manner(), &[channel], None).unwrap();
        let results = herald.trial(Utc::now()).await;
        assert_eq!(results, [("email", Ok(()))]);
        assert_eq!(post.log_ins(), [("me@example".to_owned(), "p%w".to_owned())]);
        // Nobody vouches for the server: nothing is sent.
        let channel = mail(post.url(scheme, "me:pw@"), None);
        let results = Herald::new(manner(), &[channel], None).unwrap().trial(Utc::now()).await;
        let fault = results[0].1.clone().unwrap_err().to_string();
        assert!(fault.contains("certificate"), "{fault}");
        assert_eq!(post.mails().len(), 1);
    }
    // A server that offers no encryption, where it is demanded, gets neither password nor mail.
    let post = MailReceiver::start(Security::None).await;
    let channel = mail(format!("{}/?tls=required", post.url("smtp", "me:pw@")), None);
    let results = Herald::new(manner(), &[channel], None).unwrap().trial(Utc::now()).await;
    assert!(results[0].1.is_err());
    assert_eq!((post.mails().len(), post.log_ins().len()), (0, 0));
}

#[tokio::test]
async fn no_fault_quotes_the_address() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let channels = [
        Channel::Webhook(format!("http://{nobody}/key-17")),
        mail(format!("smtp://me:key-17@{nobody}"), None),
    ];
    let mut herald = Herald::new(manner(), &channels, None).unwrap();
    for (name, result) in herald.trial(Utc::now()).await {
        let fault = result.unwrap_err().to_string();
        assert!(!fault.contains("key-17"), "{name}: {fault}");
    }
    for channel in [Channel::Webhook("no address key-17".into()), mail("smtp:key-17".into(), None)] {
        let error = Herald::new(manner(), &[channel], None).err().unwrap();
        assert!(!format!("{error:?} {error}").contains("key-17"), "{error:?}");
    }
}

#[test]
fn a_channel_that_goes_on_failing_is_tried_more_and_more_rarely() {
    let pauses: Vec<u64> = [0, 1, 2, 5, 40].map(|failures| pause(failures).as_secs()).to_vec();
    assert_eq!(pauses, [30, 60, 120, 900, 900]);
}
