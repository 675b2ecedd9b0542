//! What is made of the random bits that callers pass in: numbers below a bound, jitter, and more bits.

use std::time::Duration;

use crate::nanos::nanoseconds;

/// Many draws from one word of random bits.
///
/// Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (SplitMix64).
#[derive(Debug)]
pub(crate) struct Bits(u64);

impl Bits {
    pub(crate) fn new(random: u64) -> Self {
        Self(random)
    }

    /// The next 64 bits.
    pub(crate) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// A number below `bound`; zero if the bound is.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        scale(self.draw(), bound)
    }
}

/// 2^64 divided by the golden ratio: steps of this size visit every word.
pub(crate) const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// A permutation of words that spreads every bit of its input over the whole output.
///
/// Source: Stafford's thirteenth variant of the finalizer of `MurmurHash3`, as in SplitMix64.
pub(crate) const fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// `random` mapped evenly onto the numbers below `bound`.
///
/// Some numbers are more likely by one part in 2^64 / `bound`, which is nothing here.
pub(crate) fn scale(random: u64, bound: u64) -> u64 {
    let product = (u128::from(random) * u128::from(bound)) >> 64;
    u64::try_from(product).unwrap_or(0)
}

/// `duration`, at most `percent` % longer or shorter.
pub(crate) fn jittered(duration: Duration, percent: u8, random: u64) -> Duration {
    let whole = nanoseconds(duration);
    let reach = whole / 100 * u64::from(percent.min(100));
    let offset = scale(random, reach.saturating_mul(2).saturating_add(1));
    Duration::from_nanos((whole - reach).saturating_add(offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_reaches_both_ends_and_no_further() {
        let second = Duration::from_secs(1);
        assert_eq!(jittered(second, 20, 0), Duration::from_millis(800));
        assert_eq!(jittered(second, 20, u64::MAX), Duration::from_millis(1200));
        assert_eq!(jittered(second, 20, u64::MAX / 2), Duration::from_secs(1));
        assert_eq!(jittered(second, 0, 7), second);
        assert_eq!(jittered(Duration::ZERO, 20, 7), Duration::ZERO);
        assert!(jittered(Duration::MAX, 255, u64::MAX) >= Duration::from_nanos(u64::MAX - 1));
    }

    #[test]
    fn draws_differ_and_stay_below_their_bound() {
        let mut bits = Bits::new(0);
        let mut seen = [0_u32; 5];
        for _ in 0..5000 {
            let drawn = usize::try_from(bits.below(5)).unwrap();
            seen[drawn] += 1;
        }
        assert!(seen.iter().all(|count| (800..1200).contains(count)), "{seen:?}");
        assert_eq!(bits.below(0), 0);
    }
}
