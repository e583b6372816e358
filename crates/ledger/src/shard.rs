//! Which requests a batch may hold, where several batches are under way at once.

/// A part of all requests. Every request belongs to exactly one shard of a division, so that batches of different
/// shards may leave side by side and each request's records still stay in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    index: u32,
    count: u32,
}

impl Shard {
    /// All requests.
    pub const ALL: Self = Self { index: 0, count: 1 };

    /// A division of all requests into `count` shards, one at least.
    pub fn divide(count: u32) -> impl Iterator<Item = Self> {
        let count = count.max(1);
        (0..count).map(move |index| Self { index, count })
    }

    /// Whether the request belongs to this shard.
    ///
    /// The division is stored nowhere: a batch that outlives a flush leaves before any new one is formed, so the
    /// next flush may divide otherwise.
    pub(crate) fn holds(self, service_id: &str, request_id: &str) -> bool {
        self.count == 1 || fnv1a(service_id, request_id) % u64::from(self.count) == u64::from(self.index)
    }

    /// How many rows are looked at to find `records` of this shard, when all shards are alike.
    pub(crate) fn window(self, records: u32) -> u32 {
        records.saturating_mul(self.count)
    }
}

/// Fowler, Noll and Vo's hash: short texts need no better one (<https://www.rfc-editor.org/rfc/rfc9923>).
fn fnv1a(service_id: &str, request_id: &str) -> u64 {
    // 0xff is no byte of UTF-8, so it stands between the two without doubt.
    let bytes = service_id.bytes().chain([0xff]).chain(request_id.bytes());
    let hash = bytes
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    // The low bits alone follow the last byte too closely.
    hash ^ (hash >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_belongs_to_one_shard_and_shards_are_alike() {
        for count in [1, 2, 3, 4, 7, 16] {
            let mut sizes = vec![0; count as usize];
            for number in 0..16_000 {
                let request = format!("SOL-{number:09}");
                let holders: Vec<Shard> =
                    Shard::divide(count).filter(|shard| shard.holds("LIC-1", &request)).collect();
                assert_eq!(holders.len(), 1, "{request} of {count}");
                sizes[holders[0].index as usize] += 1;
            }
            let fair = 16_000 / count as usize;
            assert!(sizes.iter().all(|size| (fair * 8 / 10..=fair * 12 / 10).contains(size)), "{sizes:?}");
        }
    }

    #[test]
    fn a_division_into_nothing_is_one_shard() {
        assert_eq!(Shard::divide(0).collect::<Vec<_>>(), [Shard::ALL]);
    }
}
