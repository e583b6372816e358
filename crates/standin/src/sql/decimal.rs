//! Exact numbers: an `i128` without its decimal point, and a scale.

use super::error::SqlError;

/// Ten to the power of `exponent`; the largest power that fits when it is too high.
pub(crate) fn power(exponent: u8) -> i128 {
    10i128.pow(u32::from(exponent.min(38)))
}

/// `number` with `to` digits after the point instead of `from`; rounds half away from zero.
pub(crate) fn rescale(number: i128, from: u8, to: u8) -> Option<i128> {
    if to >= from {
        return number.checked_mul(power(to - from));
    }
    let divisor = power(from - to);
    let (quotient, rest) = (number / divisor, number % divisor);
    if rest.abs() * 2 >= divisor { Some(quotient + number.signum()) } else { Some(quotient) }
}

/// `number` without the digits after the point.
pub(crate) fn truncated(number: i128, scale: u8) -> i128 {
    number / power(scale)
}

/// Checks that `number` has at most `precision` digits.
///
/// # Errors
/// 8115
pub(crate) fn fit(number: i128, precision: u8) -> Result<i128, SqlError> {
    if number.unsigned_abs() < power(precision).unsigned_abs() {
        Ok(number)
    } else {
        Err(SqlError::overflow("numeric"))
    }
}

/// Reads a number such as `-12.50`; answers the digits and how many stand after the point.
pub(crate) fn parse(text: &str) -> Option<(i128, u8)> {
    let text = text.trim();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{whole}{fraction}");
    if all.is_empty()
        || !all.bytes().all(|byte| byte.is_ascii_digit())
        || all.trim_start_matches('0').len() > 38
    {
        return None;
    }
    let number: i128 = all.parse().ok()?;
    Some((if negative { -number } else { number }, u8::try_from(fraction.len()).ok()?))
}

/// The number as text, with all digits of its scale.
pub(crate) fn format(number: i128, scale: u8) -> String {
    let sign = if number < 0 { "-" } else { "" };
    let divisor = power(scale).unsigned_abs();
    let (whole, fraction) = (number.unsigned_abs() / divisor, number.unsigned_abs() % divisor);
    if scale == 0 {
        return format!("{sign}{whole}");
    }
    format!("{sign}{whole}.{fraction:0width$}", width = usize::from(scale))
}

/// The nearest float.
#[expect(clippy::cast_precision_loss, reason = "a float never has more")]
pub(crate) fn to_float(number: i128, scale: u8) -> f64 {
    number as f64 / power(scale) as f64
}

/// The exact number nearest to `float`.
///
/// # Errors
/// 8115 when it has too many digits.
pub(crate) fn from_float(float: f64, precision: u8, scale: u8) -> Result<i128, SqlError> {
    let text = format!("{float:.*}", usize::from(scale));
    let (number, found) = parse(&text).ok_or_else(|| SqlError::overflow("numeric"))?;
    let number = rescale(number, found, scale).ok_or_else(|| SqlError::overflow("numeric"))?;
    fit(number, precision)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_written_and_rounded() {
        assert_eq!(parse("-12.50"), Some((-1250, 2)));
        assert_eq!(parse("1e5"), None);
        assert_eq!(format(-1205, 2), "-12.05");
        assert_eq!(format(7, 3), "0.007");
        assert_eq!(rescale(1250, 3, 2), Some(125));
        assert_eq!(rescale(1255, 3, 2), Some(126));
        assert_eq!(rescale(-1255, 3, 2), Some(-126));
        assert_eq!(from_float(2.5, 5, 1).unwrap(), 25);
        assert!(fit(100_000, 5).is_err());
    }
}
