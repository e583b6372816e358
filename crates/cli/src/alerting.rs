//! From what stands to those who must know: the channels of `[alerts]`.

use std::time::Duration;

use alerts::{AlertError, Channel, Evidence, Herald, Mail, Manner, Standing};
use change::Finding;
use chrono::Utc;
use ledger::{FlushKind, FlushResult, LedgerError, Queries};
use pipeline::{PipelineError, Requests, SourceState};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::exit::Failure;

/// What channels were told, as the ledger keeps it.
const NOTE_TOLD: &str = "alerts_told";

/// Alerts are looked at this often: soon enough for people, and no message goes out for what lasts a moment less.
const ROUND_EVERY: Duration = Duration::from_secs(5);

const CHANNEL_FAILS: &str = "alert_channel";

/// What earlier processes told, from the ledger.
pub(crate) fn memory(ledger: &Queries) -> Result<Option<String>, LedgerError> {
    ledger.note(NOTE_TOLD)
}

/// The channels of `config`; `None` where there are none.
pub(crate) fn herald(config: &Config, memory: Option<&str>) -> Result<Option<Herald>, AlertError> {
    let alerts = &config.alerts;
    let webhook = alerts.webhook.as_ref().map(|url| Channel::Webhook(url.expose().to_owned()));
    let email = alerts.email.as_ref().map(|email| {
        Channel::Email(Mail {
            smtp: email.smtp.expose().to_owned(),
            from: email.from.clone(),
            to: email.to.clone(),
            tls_ca: email.tls_ca.as_ref().map(|file| file.pem.clone()),
        })
    });
    let channels: Vec<Channel> = webhook.into_iter().chain(email).collect();
    if channels.is_empty() {
        return Ok(None);
    }
    let manner = Manner {
        language: alerts.language,
        zone: config.schedule.zone,
        source: config.label(),
        repeat_every: alerts.repeat_every,
    };
    Herald::new(manner, &channels, memory).map(Some)
}

impl From<AlertError> for Failure {
    fn from(error: AlertError) -> Self {
        Self::from_error(&error).for_the_data("nothing was read and nothing was sent")
    }
}

/// Tells of alerts until `stop`.
pub(crate) fn start(mut herald: Herald, requests: Requests, stop: CancellationToken) {
    tokio::spawn(async move {
        let mut stored = herald.memory();
        while !stop.is_cancelled() {
            tokio::select! {
                told = round(&mut herald, &requests, &mut stored) => {
                    if let Err(error) = told {
                        // The ledger's own alert says so too, where it can still be told.
                        tracing::error!("alerts are not told: {error}");
                    }
                }
                () = stop.cancelled() => return,
            }
            tokio::select! {
                () = tokio::time::sleep(ROUND_EVERY) => {}
                () = stop.cancelled() => return,
            }
        }
    });
}

async fn round(herald: &mut Herald, requests: &Requests, stored: &mut String) -> Result<(), PipelineError> {
    let last = requests.ledger().call(|ledger| ledger.last_flush(FlushKind::Delta)).await?;
    let view = requests.health().view();
    let standing: Vec<Standing> = view
        .alerts()
        .map(|alert| Standing { code: alert.code.clone(), since: alert.since, detail: alert.what.clone() })
        .collect();
    let evidence = Evidence {
        streaming: view.state == SourceState::Streaming,
        delivered: last.is_none_or(|flush| {
            matches!(flush.result, Some(FlushResult::Acknowledged | FlushResult::Partial))
        }),
    };
    herald.round(Utc::now(), &standing, evidence).await;
    show_channels(herald, requests);
    let memory = herald.memory();
    if memory != *stored {
        let kept = memory.clone();
        requests.ledger().call(move |ledger| ledger.set_note(NOTE_TOLD, &kept)).await?;
        *stored = memory;
    }
    Ok(())
}

/// A channel that fails is an alert of its own, for the page, the status and the other channel.
fn show_channels(herald: &Herald, requests: &Requests) {
    let failing: Vec<String> = herald
        .channels()
        .filter_map(|channel| Some(format!("{}: {}", channel.name, channel.error.as_deref()?)))
        .collect();
    if failing.is_empty() {
        return requests.health().clear(CHANNEL_FAILS);
    }
    let what = format!("alerts do not arrive, and are tried again: {}", failing.join("; "));
    let hint = "mend [alerts], then try it with `bitacora check --alerts`";
    requests.health().raise(CHANNEL_FAILS, what, Some(hint.into()));
}

/// Sends a test message by every channel of `config`.
pub(crate) async fn trial(config: &Config) -> Vec<Finding> {
    const CODE: &str = "alerts";
    const WHY: &str = "nobody will hear of a failed flush or a lost log, until somebody looks";
    let mut herald = match herald(config, None) {
        Ok(Some(herald)) => herald,
        Ok(None) => {
            let what = "[alerts] names neither webhook nor email";
            return vec![Finding::error(CODE, what, WHY).mended_by("webhook = \"https://…\"")];
        }
        Err(error) => {
            let cause =
                std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            return vec![Finding::error(CODE, format!("{error}{cause}"), WHY)];
        }
    };
    let finding = |(name, sent): (&str, Result<(), alerts::ChannelFault>)| match sent {
        Ok(()) => Finding::pass(
            CODE,
            format!("a test message was taken by [alerts] {name}: see whether it arrives"),
        ),
        Err(fault) => {
            Finding::error(CODE, format!("[alerts] {name} did not take a test message: {fault}"), WHY)
                .mended_by("mend the address in [alerts], then `bitacora check --alerts`")
        }
    };
    herald.trial(Utc::now()).await.into_iter().map(finding).collect()
}
