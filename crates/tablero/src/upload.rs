//! Reading a body that may be too large.

use std::fmt::Write;

use axum::body::{Body, BodyDataStream};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use sha2::{Digest, Sha256};

/// How much of a body beyond the limit is read before the connection is given up.
const EXCESS_BYTES_MAX: usize = 256 * 1024 * 1024;

/// A body as it came.
pub(crate) struct Upload {
    /// The bytes; `None` when there were more than the limit, or when the sender broke off.
    pub(crate) bytes: Option<Bytes>,
    /// How many bytes came.
    pub(crate) length: usize,
    /// SHA-256 of all that came, in hexadecimal.
    pub(crate) sha256: String,
    /// Whether the sender broke off.
    pub(crate) is_broken: bool,
}

/// Reads a body and keeps at most `limit` bytes of it.
///
/// What exceeds the limit is read all the same: a server that answers 413 and closes while its client is still
/// writing resets the connection, and the client may never see the answer.
pub(crate) async fn read(body: Body, limit: usize) -> Upload {
    let mut stream: BodyDataStream = body.into_data_stream();
    let mut kept = BytesMut::new();
    let mut hash = Sha256::new();
    let mut length = 0_usize;
    let mut is_broken = false;
    while let Some(chunk) = stream.next().await {
        let Ok(chunk) = chunk else {
            is_broken = true;
            break;
        };
        hash.update(&chunk);
        length = length.saturating_add(chunk.len());
        if length <= limit {
            kept.extend_from_slice(&chunk);
        } else {
            kept.clear();
        }
        if length > limit.saturating_add(EXCESS_BYTES_MAX) {
            break;
        }
    }
    let is_whole = !is_broken && length <= limit;
    Upload {
        bytes: is_whole.then(|| kept.freeze()),
        length,
        sha256: hexadecimal(&hash.finalize()),
        is_broken,
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a String cannot fail.
        if write!(text, "{byte:02x}").is_err() {
            text.clear();
        }
        text
    })
}
