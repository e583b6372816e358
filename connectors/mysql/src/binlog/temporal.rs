//! Dates and times as the log packs them
//! (<https://dev.mysql.com/doc/dev/mysql-server/latest/field__types_8h.html>), told as the server's own text tells them.

use change::Value;

use super::DecodeError;
use crate::value_text::day_number;
use crate::wire::fields::Fields;

const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;

/// Bytes of a fraction of so many digits.
pub(crate) fn fraction_bytes(digits: u16) -> usize {
    usize::from(digits.min(6)).div_ceil(2)
}

/// A big-endian fraction, in microseconds.
fn fraction(fields: &mut Fields<'_>, digits: u16) -> Result<i64, DecodeError> {
    let bytes = fields.bytes(fraction_bytes(digits))?;
    let packed = bytes.iter().fold(0, |value, byte| value << 8 | i64::from(*byte));
    Ok(match bytes.len() {
        1 => packed * 10_000,
        2 => packed * 100,
        _ => packed,
    })
}

/// The digits of a fraction as the server prints them, with the point.
fn fraction_text(micros: i64, digits: u16) -> String {
    if digits == 0 {
        return String::new();
    }
    let all = format!(".{micros:06}");
    all.get(..=usize::from(digits.min(6))).unwrap_or(&all).to_owned()
}

/// `date`: day, month and year in three bytes.
pub(crate) fn date(fields: &mut Fields<'_>) -> Result<Value, DecodeError> {
    let packed = fields.uint(3)?;
    let part = |shift: u32, mask: u64| i64::try_from(packed >> shift & mask).unwrap_or_default();
    let (year, month, day) = (part(9, 0x7fff), part(5, 0xf), part(0, 0x1f));
    Ok(match day_number(year, month, day) {
        Some(day) => Value::Date(day),
        None => Value::Unusable(format!("{year:04}-{month:02}-{day:02}").into()),
    })
}

/// `datetime` since MySQL 5.6: five big-endian bytes and a fraction.
pub(crate) fn datetime(fields: &mut Fields<'_>, digits: u16) -> Result<Value, DecodeError> {
    let [a, b, c, d, e] = fields.array()?;
    let packed = i64::from_be_bytes([0, 0, 0, a, b, c, d, e]) - 0x80_0000_0000;
    let micros = fraction(fields, digits)?;
    let (days, clock) = (packed >> 17, packed & 0x1_ffff);
    let (year, month, day) = ((days >> 5) / 13, (days >> 5) % 13, days & 0x1f);
    let clock = [clock >> 12, clock >> 6 & 0x3f, clock & 0x3f];
    Ok(local([year, month, day], clock, micros, digits))
}

/// `datetime` before MySQL 5.6: the decimal digits `YYYYMMDDhhmmss` as a number.
pub(crate) fn old_datetime(fields: &mut Fields<'_>) -> Result<Value, DecodeError> {
    let packed = i64::try_from(fields.u64()?).map_err(|_| DecodeError::Truncated)?;
    let (days, clock) = (packed / 1_000_000, packed % 1_000_000);
    let date = [days / 10_000, days / 100 % 100, days % 100];
    Ok(local(date, [clock / 10_000, clock / 100 % 100, clock % 100], 0, 0))
}

fn local([year, month, day]: [i64; 3], [hour, minute, second]: [i64; 3], micros: i64, digits: u16) -> Value {
    let sound = (0..24).contains(&hour) && (0..60).contains(&minute) && (0..60).contains(&second);
    match day_number(year, month, day).filter(|_| sound && (0..MICROS_PER_SECOND).contains(&micros)) {
        Some(days) => Value::Local(
            i64::from(days) * MICROS_PER_DAY
                + (hour * 3600 + minute * 60 + second) * MICROS_PER_SECOND
                + micros,
        ),
        None => {
            let fraction = fraction_text(micros, digits);
            let text = format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}{fraction}");
            Value::Unusable(text.into())
        }
    }
}

/// `timestamp` since MySQL 5.6: big-endian seconds since the epoch and a fraction.
pub(crate) fn timestamp(fields: &mut Fields<'_>, digits: u16) -> Result<Value, DecodeError> {
    let seconds = u32::from_be_bytes(fields.array()?);
    let micros = fraction(fields, digits)?;
    Ok(instant(seconds, micros, digits))
}

/// `timestamp` before MySQL 5.6.
pub(crate) fn old_timestamp(fields: &mut Fields<'_>) -> Result<Value, DecodeError> {
    Ok(instant(fields.u32()?, 0, 0))
}

fn instant(seconds: u32, micros: i64, digits: u16) -> Value {
    // Second zero stands for the zero date.
    if seconds == 0 && micros == 0 {
        return Value::Unusable(format!("0000-00-00 00:00:00{}", fraction_text(0, digits)).into());
    }
    Value::Instant(i64::from(seconds) * MICROS_PER_SECOND + micros)
}

/// `time` since MySQL 5.6: three big-endian bytes and a fraction, as one number with an offset for the sign.
pub(crate) fn time(fields: &mut Fields<'_>, digits: u16) -> Result<Value, DecodeError> {
    let width = fraction_bytes(digits);
    let bits = u32::try_from(width * 8).unwrap_or_default();
    let packed = fields.bytes(3 + width)?.iter().fold(0, |value, byte| value << 8 | i64::from(*byte));
    let signed = packed - (0x80_0000 << bits);
    let size = signed.abs();
    let micros = (size & ((1 << bits) - 1)) * [1, 10_000, 100, 1].get(width).copied().unwrap_or(1);
    let clock = size >> bits;
    Ok(time_text(
        signed < 0,
        [clock >> 12 & 0x3ff, clock >> 6 & 0x3f, clock & 0x3f],
        &fraction_text(micros, digits),
    ))
}

/// `time` before MySQL 5.6: the decimal digits `hhmmss` as a number with sign in three bytes.
pub(crate) fn old_time(fields: &mut Fields<'_>) -> Result<Value, DecodeError> {
    let packed = i64::try_from(fields.uint(3)?).unwrap_or_default();
    let signed = if packed >= 0x80_0000 { packed - 0x100_0000 } else { packed };
    let size = signed.abs();
    Ok(time_text(signed < 0, [size / 10_000, size / 100 % 100, size % 100], ""))
}

fn time_text(negative: bool, [hour, minute, second]: [i64; 3], fraction: &str) -> Value {
    let sign = if negative { "-" } else { "" };
    Value::text(format!("{sign}{hour:02}:{minute:02}:{second:02}{fraction}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], by: impl Fn(&mut Fields<'_>) -> Result<Value, DecodeError>) -> Value {
        let mut fields = Fields(bytes);
        let value = by(&mut fields).unwrap();
        assert!(fields.0.is_empty());
        value
    }

    #[test]
    fn times_read_as_the_server_stored_them() {
        let packed = (2024_i64 * 13 + 2) << 22 | 29 << 17 | 23 << 12 | 59 << 6 | 59;
        let bytes = (packed + 0x80_0000_0000).to_be_bytes();
        let with_fraction = [&bytes[3..], &999_999_u32.to_be_bytes()[1..]].concat();
        assert_eq!(read(&with_fraction, |fields| datetime(fields, 6)), Value::Local(1_709_251_199_999_999));
        assert_eq!(
            read(&[0x80, 0, 0, 0, 0, 0], |fields| datetime(fields, 1)),
            Value::Unusable("0000-00-00 00:00:00.0".into())
        );
        assert_eq!(read(&[0, 0, 0, 1, 0x13, 0x88], |fields| timestamp(fields, 3)), Value::Instant(1_500_000));
        assert_eq!(
            read(&[0; 4], |fields| timestamp(fields, 0)),
            Value::Unusable("0000-00-00 00:00:00".into())
        );
        assert_eq!(read(&[0x21, 0, 0], date), Value::Unusable("0000-01-01".into()));
        assert_eq!(read(&[0x5d, 0xd0, 0x0f], date), Value::Date(day_number(2024, 2, 29).unwrap()));
    }

    #[test]
    fn times_of_day_have_a_sign_and_as_many_digits_as_the_column() {
        assert_eq!(read(&[0x80, 0x10, 0x83], |fields| time(fields, 0)), Value::text("01:02:03"));
        // One second and a half before zero.
        assert_eq!(read(&[0x7f, 0xff, 0xfe, 0xce], |fields| time(fields, 1)), Value::text("-00:00:01.5"));
        assert_eq!(read(&[0x7f, 0xff, 0xff], |fields| time(fields, 0)), Value::text("-00:00:01"));
        assert_eq!(read(&[0x01, 0x27, 0x00], old_time), Value::text("00:99:85"));
    }
}
