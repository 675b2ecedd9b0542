//! Buckets by key: a bounded table that all cores share.
//!
//! A known key costs a shared lock of its shard, a look-up and one atomic; nothing is allocated. The table is kept small
//! by forgetting: a bucket that is full again says nothing, so it goes first, and always before a shard grows. Only if
//! every bucket of a shard lacks something and the shard has no room left, those that are nearest to full are forgotten,
//! which gives their owners at most what they were still waiting for.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher};
use std::time::Duration;

use parking_lot::RwLock;

use super::bucket::Bucket;
use crate::nanos::Nanos;

/// Shards: enough that two cores seldom meet in one, few enough that empty ones weigh nothing.
const SHARDS: usize = 256;

/// How often the full buckets of a shard are forgotten although there is room.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// Who a bucket belongs to: 128 bits of a keyed hash, so that nobody can choose where a key falls, or meet another's
/// bucket, without the hash's seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyHash([u64; 2]);

impl KeyHash {
    /// Of `key`, by two hashes with seeds of their own.
    pub fn of(seeds: &[impl BuildHasher; 2], key: &impl Hash) -> Self {
        Self(seeds.each_ref().map(|seed| seed.hash_one(key)))
    }

    /// From two finished hashes.
    #[must_use]
    pub const fn new(halves: [u64; 2]) -> Self {
        Self(halves)
    }
}

impl Hash for KeyHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [_, second] = self.0;
        state.write_u64(second);
    }
}

/// The second half of a key is a good hash already; the first chooses the shard.
#[derive(Debug, Default)]
struct Taken(u64);

impl Hasher for Taken {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

type Map = HashMap<KeyHash, Bucket, BuildHasherDefault<Taken>>;

/// See the module. About 50 bytes for each key at worst.
#[derive(Debug)]
pub struct Buckets {
    shards: Box<[RwLock<Shard>]>,
    /// Keys of one shard.
    max: usize,
}

#[derive(Debug, Default)]
struct Shard {
    map: Map,
    swept: Nanos,
}

impl Buckets {
    /// An empty table for `max_keys` keys. Chance fills some shards sooner than others, so each has room for an eighth more
    /// than its share: `max_keys` keys are all remembered, and never more than nine eighths of them.
    #[must_use]
    pub fn new(max_keys: usize) -> Self {
        let shards = (0..SHARDS).map(|_| RwLock::default()).collect();
        let share = max_keys / SHARDS;
        Self { shards, max: share.saturating_add(share / 8).max(1) }
    }

    /// Does something with the bucket of `key`, which is made if there is none. `now` tells which others are full.
    pub fn with<T>(&self, key: KeyHash, now: Nanos, mut what: impl FnMut(&Bucket) -> T) -> T {
        let shard = self.shard(key);
        if let Some(bucket) = shard.read().map.get(&key) {
            return what(bucket);
        }
        let mut shard = shard.write();
        shard.make_room(now, self.max);
        what(shard.map.entry(key).or_default())
    }

    /// Does something with the bucket of `key` if there is one.
    pub fn find<T>(&self, key: KeyHash, what: impl FnOnce(&Bucket) -> T) -> Option<T> {
        self.shard(key).read().map.get(&key).map(what)
    }

    /// Keys that are known. Locks each shard once.
    #[must_use]
    pub fn count(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().map.len()).sum()
    }

    fn shard(&self, key: KeyHash) -> &RwLock<Shard> {
        let [first, _] = key.0;
        let index = usize::try_from(first % SHARDS as u64).unwrap_or(0);
        #[expect(clippy::indexing_slicing, reason = "the index was reduced by the number of shards")]
        &self.shards[index]
    }
}

impl Shard {
    /// Makes sure that one more key can be added without going beyond `max`.
    fn make_room(&mut self, now: Nanos, max: usize) {
        let is_late = now.since(self.swept) >= SWEEP_EVERY;
        if !is_late && self.map.len() < self.map.capacity().min(max) {
            return;
        }
        self.swept = now;
        self.map.retain(|_, bucket| !bucket.is_full(now));
        // Not one alone: looking for the next is as much work again.
        let most = max - max.div_ceil(8);
        if self.map.len() > most {
            self.forget_nearest_to_full(self.map.len() - most);
        }
        let (keys, capacity) = (self.map.len(), self.map.capacity());
        if keys < capacity / 4 {
            self.map.shrink_to(keys.saturating_mul(2));
        } else if keys > capacity / 2 {
            self.map.reserve(keys.min(max - keys).max(1));
        }
    }

    fn forget_nearest_to_full(&mut self, count: usize) {
        let mut moments: Vec<u64> = self.map.values().map(Bucket::full_at).collect();
        let Some(last) = count.checked_sub(1).filter(|last| *last < moments.len()) else { return };
        let (_, limit, _) = moments.select_nth_unstable(last);
        let (limit, mut left) = (*limit, count);
        self.map.retain(|_, bucket| {
            let goes = left > 0 && bucket.full_at() <= limit;
            left -= usize::from(goes);
            !goes
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::Quota;

    const SECOND: u64 = 1_000_000_000;

    fn key(number: u64) -> KeyHash {
        let seeds = [foldless(1), foldless(2)];
        KeyHash::of(&seeds, &number)
    }

    /// A hash that spreads well enough for a test, without a random seed.
    fn foldless(seed: u64) -> impl BuildHasher + Copy {
        #[derive(Clone, Copy)]
        struct Seed(u64);
        struct Mix(u64);
        impl BuildHasher for Seed {
            type Hasher = Mix;
            fn build_hasher(&self) -> Mix {
                Mix(self.0)
            }
        }
        impl Hasher for Mix {
            fn finish(&self) -> u64 {
                let mut x = self.0;
                x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                x ^ (x >> 31)
            }
            fn write(&mut self, bytes: &[u8]) {
                for byte in bytes {
                    self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3).rotate_left(5);
                }
            }
        }
        Seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    #[test]
    fn keys_have_buckets_of_their_own() {
        let table = Buckets::new(1000);
        let quota = Quota::new(1, SECOND, 1);
        let take = |number| table.with(key(number), Nanos::ZERO, |bucket| bucket.take(quota, 1, Nanos::ZERO));
        assert!(take(1).is_ok() && take(2).is_ok() && take(1).is_err() && take(2).is_err());
        assert_eq!(table.count(), 2);
        assert!(table.find(key(3), |_| ()).is_none());
    }

    #[test]
    fn the_bound_holds_and_full_buckets_are_forgotten_first() {
        let table = Buckets::new(SHARDS * 64);
        let slow = Quota::new(1, 1000 * SECOND, 2);
        let quick = Quota::new(1, SECOND, 2);
        let take = |number, quota, now| table.with(key(number), now, |bucket| bucket.take(quota, 1, now).is_ok());
        for number in 0..1000 {
            assert!(take(number, slow, Nanos::ZERO));
        }
        // These are full again a second later, when more come than there is room for.
        for number in 10_000..20_000 {
            assert!(take(number, quick, Nanos::ZERO));
        }
        let later = Nanos::new(2 * SECOND);
        for number in 20_000..29_000 {
            assert!(take(number, quick, later));
            assert!(table.count() <= SHARDS * 72);
        }
        let known = (0..1000).filter(|number| table.find(key(*number), |_| ()).is_some()).count();
        assert_eq!(known, 1000, "who lacks something is not forgotten while others are full");
    }

    #[test]
    fn without_full_buckets_those_nearest_to_full_go() {
        let table = Buckets::new(SHARDS * 16);
        for number in 0..100_000_u64 {
            // Later ones owe more.
            let quota = Quota::new(1, (number + 1) * SECOND, 1);
            assert!(table.with(key(number), Nanos::ZERO, |bucket| bucket.take(quota, 1, Nanos::ZERO)).is_ok());
            if number % 1000 == 0 {
                assert!(table.count() <= SHARDS * 18);
            }
        }
        let known = |range: std::ops::Range<u64>| range.filter(|n| table.find(key(*n), |_| ()).is_some()).count();
        assert_eq!(known(0..50_000), 0);
        assert!(known(98_000..100_000) > 1800, "{}", known(98_000..100_000));
    }

    #[test]
    fn what_is_full_goes_after_a_minute_without_need() {
        let table = Buckets::new(1_000_000);
        let quota = Quota::new(1, SECOND, 1);
        let take = |number, now| table.with(key(number), now, |bucket| bucket.take(quota, 1, now).is_ok());
        (0..50_000).for_each(|number| assert!(take(number, Nanos::ZERO)));
        assert_eq!(table.count(), 50_000);
        let later = Nanos::new(61 * SECOND);
        (100_000..105_000).for_each(|number| assert!(take(number, later)));
        assert_eq!(table.count(), 5_000);
        let room: usize = table.shards.iter().map(|shard| shard.read().map.capacity()).sum();
        assert!(room < 30_000, "{room}");
    }
}
