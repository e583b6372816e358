//! Compressed parts of MariaDB's events
//! (<https://mariadb.com/docs/server/ha-and-performance/standard-replication/compressing-events-to-reduce-size-of-the-binary-log>).

use std::io::Read;

use flate2::read::ZlibDecoder;

use super::DecodeError;
use crate::wire::fields::Fields;

/// What an event may be long at most once it is inflated: the largest `max_allowed_packet`.
const INFLATED_BYTES_MAX: u64 = 1 << 30;

/// Inflates what stands behind a byte that tells the algorithm and the width of the length that follows it.
///
/// # Errors
/// When it is not of the length that it claims, or cannot be inflated.
pub(crate) fn inflate(bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let mut fields = Fields(bytes);
    let head = fields.u8()?;
    let (algorithm, width) = (head >> 4 & 7, usize::from(head & 7));
    if head & 0x80 == 0 || algorithm != 0 {
        return Err(DecodeError::UnknownCompression(u64::from(head)));
    }
    let length = fields.bytes(width)?.iter().fold(0_u64, |length, byte| length << 8 | u64::from(*byte));
    if length > INFLATED_BYTES_MAX {
        return Err(DecodeError::Inflate(format!("it claims {length} bytes")));
    }
    // Grows as the bytes come: a claimed length alone allocates nothing.
    let mut inflated = Vec::new();
    ZlibDecoder::new(fields.0)
        .take(length.saturating_add(1))
        .read_to_end(&mut inflated)
        .map_err(|error| DecodeError::Inflate(error.to_string()))?;
    if inflated.len() as u64 != length {
        return Err(DecodeError::Inflate(format!("it has {} bytes, expected {length}", inflated.len())));
    }
    Ok(inflated)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn deflate(bytes: &[u8], claimed: u32) -> Vec<u8> {
        let mut deflated = vec![0x84];
        deflated.extend_from_slice(&claimed.to_be_bytes());
        let mut encoder = flate2::write::ZlibEncoder::new(deflated, flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn what_was_deflated_comes_back() {
        let bytes = vec![7; 100_000];
        assert_eq!(inflate(&deflate(&bytes, 100_000)).unwrap(), bytes);
    }

    #[test]
    fn a_wrong_length_or_a_torn_stream_is_an_error() {
        let bytes = vec![7; 1000];
        for claimed in [0, 999, 1001, u32::MAX] {
            assert!(inflate(&deflate(&bytes, claimed)).is_err(), "{claimed}");
        }
        let whole = deflate(&bytes, 1000);
        for cut in 0..whole.len() - 4 {
            assert!(inflate(&whole[..cut]).is_err(), "cut at {cut}");
        }
        assert_eq!(inflate(&[0x90]), Err(DecodeError::UnknownCompression(0x90)));
    }
}
