//! `bitacora tablero`: the simulator of the dashboard.

use std::path::PathBuf;
use std::time::Duration;

use tablero::{Fault, Tablero, TableroConfig, TlsIdentity};

use crate::args::TableroArgs;
use crate::config::nearest::did_you_mean;
use crate::exit::{Exit, Failure};
use crate::terminal;

use super::Context;

/// Serves until the process is told to stop.
pub(crate) async fn tablero(context: &Context, args: TableroArgs) -> Result<Exit, Failure> {
    let fault = fault(&args.fault)?;
    let told = fault.to_string();
    let tls = tls(&args)?;
    let config = TableroConfig {
        listen: args.listen,
        fault,
        api_key: args.api_key,
        tls,
        services: args.service,
        answer_after: Duration::from_millis(args.answer_after),
        ..TableroConfig::default()
    };
    let mut tablero = Tablero::start(config).await.map_err(|error| {
        Failure::from_error(&error)
            .with_hint("stop the program that has the address, or choose another --listen; a certificate needs its own key")
    })?;
    terminal::say(&welcome(&tablero, &told))?;
    context.stop.cancelled().await;
    let summary = tablero.summary();
    terminal::say(&format!("Stopped after {}.", terminal::counted(summary.records as u64, "record")))?;
    tablero.stop().await;
    Ok(Exit::Done)
}

/// The certificate that was named, read.
fn tls(args: &TableroArgs) -> Result<Option<TlsIdentity>, Failure> {
    let (Some(certificate), Some(key)) = (&args.tls_cert, &args.tls_key) else { return Ok(None) };
    let read = |path: &PathBuf| {
        std::fs::read(path)
            .map_err(|error| Failure::usage(format!("the file {} cannot be read: {error}", path.display())))
    };
    let clients_pem = args.tls_client_ca.as_ref().map(read).transpose()?;
    Ok(Some(TlsIdentity { certificate_pem: read(certificate)?, key_pem: read(key)?, clients_pem }))
}

fn fault(text: &str) -> Result<Fault, Failure> {
    text.parse().map_err(|error: tablero::FaultError| {
        let kinds: Vec<_> = Fault::all().collect();
        let hint = did_you_mean(text, kinds.iter().copied())
            .unwrap_or_else(|| "a kind may be followed by a count, 503:3, or a share, 500%20".into());
        Failure::usage(error.to_string()).with_hint(hint)
    })
}

fn welcome(tablero: &Tablero, fault: &str) -> String {
    let base = tablero.base();
    format!(
        "The simulator of the dashboard listens on {base}; its fault is \"{fault}\". Ctrl-C stops it.

  [delivery] url = \"{}\"

  curl {base}/_tablero/summary     what it has received, in numbers
  curl {base}/_tablero/records     every record, one JSON object per line
  curl -X POST {base}/_tablero/fault -H 'content-type: application/json' -d '{{\"fault\":\"503:3\"}}'
                                   fail from now on; \"none\" behaves again
  curl -X DELETE {base}/_tablero/records",
        tablero.url(),
    )
}
