//! Whose certificate a connection to a database believes, told in words where it is refused.
//!
//! The connectors share this: what `tls = "verify-ca"` promises must not depend on the engine. Without I/O but the
//! file of authorities.
//!
//! # Layout
//! - `mode`: the four modes of the configuration
//! - `verifier`: the check of the server's certificate
//! - `endpoint`: a server as TLS sees it, and what a failed handshake means

mod endpoint;
mod mode;
mod verifier;

pub use endpoint::Endpoint;
pub use mode::TlsMode;
