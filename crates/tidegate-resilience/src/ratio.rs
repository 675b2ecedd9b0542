//! Parts of a whole, compared without rounding.

/// A part of a whole in millionths, so that 29 of 100 reach 0.29 whatever binary fractions say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ratio(u32);

const WHOLE: u32 = 1_000_000;

impl Ratio {
    /// The nearest millionth of `ratio`, between 0 and 100 (a hundred times the whole); what is not a number is 0.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped; a cast turns NaN into 0")]
    pub fn new(ratio: f64) -> Self {
        Self((ratio.clamp(0.0, 100.0) * f64::from(WHOLE)).round() as u32)
    }

    /// `percent` hundredths, at most 100 times the whole.
    #[must_use]
    pub fn percent(percent: u32) -> Self {
        Self(percent.min(10_000) * (WHOLE / 100))
    }

    /// Whether `part` is at least this ratio of `whole`.
    #[must_use]
    pub fn is_reached(self, part: u64, whole: u64) -> bool {
        u128::from(part) * u128::from(WHOLE) >= u128::from(whole) * u128::from(self.0)
    }

    /// This part of `whole`, rounded down.
    #[must_use]
    pub fn of(self, whole: u64) -> u64 {
        let part = u128::from(whole) * u128::from(self.0) / u128::from(WHOLE);
        u64::try_from(part).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_exact_and_clamped() {
        assert!(Ratio::new(0.29).is_reached(29, 100) && !Ratio::new(0.29).is_reached(28, 100));
        assert_eq!((Ratio::new(0.2).of(9), Ratio::new(0.2).of(10), Ratio::new(1.5).of(3)), (1, 2, 4));
        assert_eq!((Ratio::new(f64::NAN), Ratio::new(-1.0), Ratio::new(1e9)), (Ratio(0), Ratio(0), Ratio(100 * WHOLE)));
        assert_eq!((Ratio::percent(50), Ratio::percent(u32::MAX)), (Ratio::new(0.5), Ratio::new(100.0)));
    }
}
