//! Log sequence numbers: ten bytes, in the order of the log.

/// Length of a log sequence number in bytes.
pub(crate) const WIDTH: usize = 10;

/// The log sequence number of the `number`th record: file, block of up to 16 records, and slot.
pub(crate) fn of(number: i64) -> [u8; WIDTH] {
    let number = u64::try_from(number).unwrap_or(0);
    let [.., f3, f2, f1, f0] = (37 + (number >> 24)).to_be_bytes();
    let [.., b3, b2, b1, b0] = (((number >> 4) & 0xF_FFFF) * 8 + 16).to_be_bytes();
    let [.., s1, s0] = ((number & 0xF) + 1).to_be_bytes();
    [f3, f2, f1, f0, b3, b2, b1, b0, s1, s0]
}

/// The next number, or the one before, as `sys.fn_cdc_increment_lsn` and `sys.fn_cdc_decrement_lsn` have it.
///
/// <https://learn.microsoft.com/en-us/sql/relational-databases/system-functions/sys-fn-cdc-increment-lsn-transact-sql>
pub(crate) fn step(lsn: &[u8], up: bool) -> Vec<u8> {
    let mut out = lsn.to_vec();
    out.resize(WIDTH, 0);
    for byte in out.iter_mut().rev() {
        let (next, over) = if up { byte.overflowing_add(1) } else { byte.overflowing_sub(1) };
        *byte = next;
        if !over {
            break;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_the_order_of_the_log() {
        let numbers: Vec<_> = [0, 1, 15, 16, 17, 1 << 24, (1 << 24) + 1, 1 << 40].map(of).to_vec();
        assert!(numbers.is_sorted());
        assert_eq!(step(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 255], true), [0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
        assert_eq!(step(&step(&of(77), true), false), of(77));
    }
}
