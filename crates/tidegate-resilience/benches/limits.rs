//! What a request pays for its rate limits: by their number, by the number of known keys, and when both cores want the
//! same bucket.
//!
//! Times are for reading beside each other, one run at a time; nothing here is a test.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use divan::Bencher;
use tidegate_resilience::{Bucket, Buckets, Claim, KeyHash, Nanos, Place, Quota, admit};

fn main() {
    divan::main();
}

const SECOND: u64 = 1_000_000_000;

/// So wide that nobody is refused.
const WIDE: (u64, u64) = (1_000_000, 1 << 40);

/// Requests one after the other, and who sends them.
struct Load {
    now: AtomicU64,
    seeds: [RandomState; 2],
    clients: u64,
}

impl Load {
    fn new(clients: u64) -> Self {
        Self { now: AtomicU64::new(SECOND), seeds: [RandomState::new(), RandomState::new()], clients }
    }

    /// The hash of an address, as the gateway makes it: two keyed hashes of nine bytes.
    fn next(&self) -> (KeyHash, Nanos) {
        let now = self.now.fetch_add(10_000, Relaxed);
        let client = (now / 10_000).wrapping_mul(0x9e37_79b9_7f4a_7c15) % self.clients;
        (self.key(client), Nanos::new(now))
    }

    fn key(&self, client: u64) -> KeyHash {
        KeyHash::new(self.seeds.each_ref().map(|seed| {
            let mut hasher = seed.build_hasher();
            hasher.write(&[4, 4, 0, 0, 0]);
            hasher.write(&client.to_le_bytes());
            hasher.finish()
        }))
    }

    fn known(&self, quota: Quota) -> Buckets {
        let table = Buckets::new(1_000_000);
        for client in 0..self.clients {
            let now = Nanos::new(SECOND);
            let _taken = table.with(self.key(client), now, |bucket| bucket.take(quota, 1, now));
        }
        table
    }
}

fn quota() -> Quota {
    Quota::new(WIDE.0, SECOND, WIDE.1)
}

/// The floor: what the bench and the hash cost.
#[divan::bench(args = [1000, 100_000])]
fn a_hash_alone(bencher: Bencher<'_, '_>, clients: u64) {
    let load = Load::new(clients);
    bencher.bench(|| black_box(load.next()));
}

#[divan::bench]
fn one_for_all(bencher: Bencher<'_, '_>) {
    let (load, bucket, table) = (Load::new(1), Bucket::default(), Buckets::new(1));
    bencher.bench(|| {
        let now = Nanos::new(load.now.fetch_add(10_000, Relaxed));
        black_box(admit(&table, &mut [Claim::new(Place::Fixed(&bucket), quota())], now))
    });
}

#[divan::bench(args = [1000, 100_000, 900_000])]
fn one_by_address(bencher: Bencher<'_, '_>, clients: u64) {
    let load = Load::new(clients);
    let table = load.known(quota());
    bencher.bench(|| {
        let (key, now) = load.next();
        black_box(admit(&table, &mut [Claim::new(Place::Keyed(key), quota())], now))
    });
}

/// One for all, and two by keys of their own.
#[divan::bench(args = [1000, 100_000])]
fn three(bencher: Bencher<'_, '_>, clients: u64) {
    let load = Load::new(clients);
    let (table, bucket) = (load.known(quota()), Bucket::default());
    bencher.bench(|| {
        let ((one, now), (two, _)) = (load.next(), load.next());
        let claims = [Place::Fixed(&bucket), Place::Keyed(one), Place::Keyed(two)];
        black_box(admit(&table, &mut claims.map(|place| Claim::new(place, quota())), now))
    });
}

/// Two cores at one bucket, without pause: the worst there is.
#[divan::bench(threads = 2)]
fn one_for_all_two_threads(bencher: Bencher<'_, '_>) {
    let (bucket, table) = (Bucket::default(), Buckets::new(1));
    bencher.bench(|| black_box(admit(&table, &mut [Claim::new(Place::Fixed(&bucket), quota())], Nanos::new(SECOND))));
}

/// The same by a key that both have.
#[divan::bench(threads = 2)]
fn one_by_address_two_threads(bencher: Bencher<'_, '_>) {
    let load = Load::new(1);
    let (table, key) = (load.known(quota()), load.key(0));
    bencher.bench(|| black_box(admit(&table, &mut [Claim::new(Place::Keyed(key), quota())], Nanos::new(SECOND))));
}

/// A client that keeps knocking.
#[divan::bench]
fn refused(bencher: Bencher<'_, '_>) {
    let load = Load::new(1000);
    let narrow = Quota::new(1, 86_400 * SECOND, 1);
    let table = load.known(narrow);
    bencher.bench(|| {
        let (key, now) = load.next();
        black_box(admit(&table, &mut [Claim::new(Place::Keyed(key), narrow)], now))
    });
}

/// Nobody comes twice: each makes a bucket, and others are forgotten for it.
#[divan::bench]
fn always_another(bencher: Bencher<'_, '_>) {
    let load = Load::new(u64::MAX);
    let (table, narrow) = (Buckets::new(1_000_000), Quota::new(1, 86_400 * SECOND, 1));
    bencher.bench(|| {
        let (key, now) = load.next();
        black_box(admit(&table, &mut [Claim::new(Place::Keyed(key), narrow)], now))
    });
}
