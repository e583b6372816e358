//! The simulator's options.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

/// `bitacora tablero`.
#[derive(Debug, Clone, Args)]
pub struct TableroArgs {
    /// Where to listen
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9188")]
    pub listen: SocketAddr,
    /// How to fail: a kind, for the next POSTs only as in 503:3, or now and then as in 500%20
    #[arg(long, value_name = "KIND", default_value = "none")]
    pub fault: String,
    /// Demand this api-key header of every POST
    #[arg(long, value_name = "KEY")]
    pub api_key: Option<String>,
    /// List this service at GET /services, and refuse records of services that are not listed; may be repeated
    #[arg(long, value_name = "ID")]
    pub service: Vec<String>,
    /// Answer each POST so many milliseconds after it came, as a dashboard that is far away or works for it
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub answer_after: u64,
    /// Speak TLS with this certificate (PEM), as a security server does
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Let in only callers whose certificate one of these authorities (PEM) has issued
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_client_ca: Option<PathBuf>,
}
