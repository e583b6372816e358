//! The wire: packets, log-in, requests and token streams of TDS 7.4.
//!
//! Written after [MS-TDS], Microsoft's published specification of the protocol; each module names its section.
//!
//! [MS-TDS]: https://learn.microsoft.com/en-us/openspecs/windows_protocols/ms-tds/b46a581a-39de-4745-b076-ec4dbb7d13ec

pub(crate) mod bytes;
pub(crate) mod login;
pub(crate) mod packet;
pub(crate) mod parameter;
pub(crate) mod prelogin;
pub(crate) mod request;
pub(crate) mod token;
pub(crate) mod typeinfo;
pub(crate) mod wire;

/// What a client sent that no server would understand.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProtocolError {
    /// Bytes that the specification does not allow here.
    #[error("malformed message: {0}")]
    Malformed(&'static str),
    /// The connection itself failed.
    #[error("connection lost")]
    Io(#[from] std::io::Error),
    /// The TLS library refused what came.
    #[error("TLS failed")]
    Tls(#[from] rustls::Error),
}
