//! A random walk of one price, in decimals and whole numbers, so that a seed gives the same prices on every machine.

use rust_decimal::Decimal;

/// One part per million is the unit of steps.
const PPM: i64 = 1_000_000;
/// Uniform numbers that are added to one normal-looking one; their sum has a standard deviation of two.
const UNIFORMS: usize = 12;
/// Resolution of one uniform number, which lies in -1 to 1.
const GRAIN: i64 = 1_000;
/// Decimal places of a volume.
const VOLUME_SCALE: u32 = 4;
/// Largest volume, in units of its last place: 10.0000.
const VOLUME_MAX: i64 = 100_000;

/// The walk of one symbol.
#[derive(Debug)]
pub(super) struct Walk {
    price: Decimal,
    /// Smallest price, one unit of the last place.
    floor: Decimal,
    /// Largest price, a thousand times the start, where the walk is reflected.
    ceiling: Decimal,
    scale: u32,
    volatility_ppm: u32,
    random: fastrand::Rng,
}

impl Walk {
    /// Starts at `start`, which is positive; prices have its decimal places, at least two. `volatility_ppm` is the
    /// standard deviation of a step, in millionths of the price, at most 100,000.
    pub(super) fn new(symbol: &str, start: Decimal, volatility_ppm: u32, seed: u64) -> Self {
        let scale = start.scale().clamp(2, 8);
        Self {
            price: start,
            floor: Decimal::new(1, scale),
            ceiling: start.saturating_mul(Decimal::from(1000)),
            scale,
            volatility_ppm,
            random: fastrand::Rng::with_seed(seed ^ fnv1a(symbol.as_bytes())),
        }
    }

    /// The next price and the volume that was traded at it.
    pub(super) fn step(&mut self) -> (Decimal, Decimal) {
        let sum: i64 = (0..UNIFORMS).map(|_| self.random.i64(-GRAIN..=GRAIN)).sum();
        let step_ppm = i64::from(self.volatility_ppm) * sum / (2 * GRAIN);
        // At most 6 × 100,000 ppm down, so the factor stays positive.
        let factor = Decimal::new(PPM + step_ppm, 6);
        let next = self.price.saturating_mul(factor).round_dp(self.scale);
        self.price = next.clamp(self.floor, self.ceiling);
        // Printed with all its places, as exchanges do.
        self.price.rescale(self.scale);
        (self.price, Decimal::new(self.random.i64(1..=VOLUME_MAX), VOLUME_SCALE))
    }
}

/// Spreads a name over 64 bits, so that each symbol walks its own way under one seed.
///
/// Source: the FNV-1a hash, 64 bits, by Fowler, Noll and Vo.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prices(symbol: &str, start: &str, volatility_ppm: u32, seed: u64, count: usize) -> Vec<Decimal> {
        let mut walk = Walk::new(symbol, start.parse().unwrap(), volatility_ppm, seed);
        (0..count).map(|_| walk.step().0).collect()
    }

    #[test]
    fn a_seed_gives_the_same_prices_and_another_gives_others() {
        let first = prices("BTCUSDT", "64000.00", 200, 7, 50);
        assert_eq!(first, prices("BTCUSDT", "64000.00", 200, 7, 50));
        assert_ne!(first, prices("BTCUSDT", "64000.00", 200, 8, 50));
        assert_ne!(first, prices("ETHUSDT", "64000.00", 200, 7, 50));
    }

    #[test]
    fn steps_have_the_asked_size() {
        let prices = prices("A", "1000000.0000", 200, 1, 2_000);
        let squares: f64 = prices
            .windows(2)
            .map(|pair| {
                let change = (pair[1] - pair[0]) / pair[0] * Decimal::from(PPM);
                f64::try_from(change * change).unwrap()
            })
            .sum();
        let deviation_ppm = (squares / 1_999.0).sqrt();
        assert!((180.0..220.0).contains(&deviation_ppm), "{deviation_ppm}");
    }

    #[test]
    fn prices_keep_their_places_and_stay_positive() {
        for start in ["0.01", "0.00012", "1000000000", "5.5"] {
            let scale = start.parse::<Decimal>().unwrap().scale().max(2);
            for price in prices("A", start, 100_000, 3, 2_000) {
                assert!(price > Decimal::ZERO && price.scale() == scale, "{start}: {price}");
            }
        }
    }

    #[test]
    fn without_volatility_the_price_stands_still() {
        assert_eq!(prices("A", "5.50", 0, 3, 3), prices("A", "5.50", 0, 4, 3));
    }
}
