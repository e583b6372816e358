//! Alerts as a JSON POST.

use std::time::Duration;

use reqwest::{Client, Url, redirect};

use crate::herald::{AlertError, ChannelFault};
use crate::message::Message;
use crate::tls;

/// The way to one address.
#[derive(Debug)]
pub(crate) struct Webhook {
    http: Client,
    url: Url,
}

impl Webhook {
    pub(crate) fn new(url: &str, timeout: Duration) -> Result<Self, AlertError> {
        let refused = |error: Box<dyn std::error::Error + Send + Sync>| AlertError::Webhook(error);
        // The parser's error does not quote the address, which may hold a key.
        let url = Url::parse(url).map_err(|error| refused(error.into()))?;
        let http = Client::builder()
            .tls_backend_preconfigured(tls::client_config().map_err(|error| refused(error.into()))?)
            .user_agent(concat!("bitacora/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .timeout(timeout)
            .build()
            .map_err(|error| refused(error.without_url().into()))?;
        Ok(Self { http, url })
    }

    /// Sends `message`; whoever answers 2xx has taken it.
    pub(crate) async fn send(&self, message: &Message) -> Result<(), ChannelFault> {
        let sending = self.http.post(self.url.clone()).json(&message.json).send();
        let answer = sending.await.map_err(|error| ChannelFault::from_error(&error.without_url()))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        Err(ChannelFault::new(format!("the webhook answered {status}, expected 2xx")))
    }
}
