//! Indicators over prices and bars, in decimals.
//!
//! Each answers with one value per input, in the same order; `None` where it has not seen enough yet (the first ones
//! of a series). Sums are exact; quotients, averages that go on and roots are rounded to what a decimal holds, 28
//! digits. Nothing is rounded for the eye.
//!
//! Sources: the definitions of StockCharts' ChartSchool; for the RSI, J. Welles Wilder, New Concepts in Technical
//! Trading Systems, 1978. The tests use the worked examples of ChartSchool.

use rust_decimal::Decimal;

use super::ohlcv::Ohlcv;

/// The longest period.
pub(crate) const PERIOD_MAX: usize = 500;
/// The widest Bollinger bands, in standard deviations.
pub(crate) const WIDTH_MAX: Decimal = Decimal::from_parts(10, 0, 0, false, 0);

/// Why an indicator cannot be computed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum IndicatorError {
    /// Of the parameters.
    #[error("the period must be 1 to {PERIOD_MAX}")]
    Period,
    /// Of the parameters.
    #[error("the width must be more than 0 and at most {WIDTH_MAX}")]
    Width,
    /// Of the prices.
    #[error("the prices are too large to compute with")]
    Overflow,
}

/// One value per input.
pub(crate) type Line = Vec<Option<Decimal>>;

/// Bollinger bands at one price.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Bands {
    pub(crate) upper: Decimal,
    /// The simple moving average.
    pub(crate) middle: Decimal,
    pub(crate) lower: Decimal,
}

/// Simple moving average: the mean of the last `period` prices.
///
/// # Errors
/// `Period`, `Overflow`.
pub(crate) fn sma(prices: &[Decimal], period: usize) -> Result<Line, IndicatorError> {
    let count = check(period)?;
    let mut sum = Decimal::ZERO;
    let leaving = std::iter::repeat_n(None, period).chain(prices.iter().map(Some));
    (1..)
        .zip(prices.iter().zip(leaving))
        .map(|(seen, (price, left))| {
            sum = add(sum, *price)?;
            if let Some(left) = left {
                sum = sum.checked_sub(*left).ok_or(IndicatorError::Overflow)?;
            }
            if seen >= period { div(sum, count).map(Some) } else { Ok(None) }
        })
        .collect()
}

/// Exponential moving average: each price counts 2 / (`period` + 1), the average before it the rest. Begins with the
/// simple average of the first `period` prices.
///
/// # Errors
/// `Period`, `Overflow`.
pub(crate) fn ema(prices: &[Decimal], period: usize) -> Result<Line, IndicatorError> {
    let count = check(period)?;
    let weight = div(Decimal::TWO, count + Decimal::ONE)?;
    let mut seed = Some(Decimal::ZERO);
    let mut average = Decimal::ZERO;
    (1..)
        .zip(prices)
        .map(|(seen, price)| {
            let Some(sum) = &mut seed else {
                let change = price.checked_sub(average).and_then(|change| change.checked_mul(weight));
                average = add(average, change.ok_or(IndicatorError::Overflow)?)?;
                return Ok(Some(average));
            };
            *sum = add(*sum, *price)?;
            if seen < period {
                return Ok(None);
            }
            average = div(*sum, count)?;
            seed = None;
            Ok(Some(average))
        })
        .collect()
}

/// Relative strength index, 0 to 100, smoothed as Wilder did: the average gain and loss begin with the means of the
/// first `period` changes; then each change counts 1 / `period`. Prices that only rise give 100, prices that only
/// fall 0, prices that stand still 50 (the definition divides zero by zero there).
///
/// # Errors
/// `Period`, `Overflow`.
pub(crate) fn rsi(prices: &[Decimal], period: usize) -> Result<Line, IndicatorError> {
    let count = check(period)?;
    let (mut gain, mut loss) = (Decimal::ZERO, Decimal::ZERO);
    let mut line = Vec::with_capacity(prices.len());
    line.extend(prices.first().map(|_| None));
    for (changes, pair) in (1..).zip(prices.windows(2)) {
        let [before, price] = *pair else { continue };
        let change = price.checked_sub(before).ok_or(IndicatorError::Overflow)?;
        let (up, down) = (change.max(Decimal::ZERO), (-change).max(Decimal::ZERO));
        if changes < period {
            (gain, loss) = (add(gain, up)?, add(loss, down)?);
            line.push(None);
            continue;
        }
        // Of the first `period` changes, what was added up so far is the sum itself.
        let kept = if changes == period { Decimal::ONE } else { count - Decimal::ONE };
        let smooth = |average: Decimal, now| {
            let before = average.checked_mul(kept).ok_or(IndicatorError::Overflow)?;
            div(add(before, now)?, count)
        };
        (gain, loss) = (smooth(gain, up)?, smooth(loss, down)?);
        let both = add(gain, loss)?;
        let share = if both.is_zero() { Decimal::new(5, 1) } else { div(gain, both)? };
        line.push(Some(share.checked_mul(Decimal::ONE_HUNDRED).ok_or(IndicatorError::Overflow)?));
    }
    Ok(line)
}

/// Volume-weighted average price of the last `period` bars: what was paid over what was traded. `None`, too, where
/// nothing was traded.
///
/// # Errors
/// `Period`, `Overflow`.
pub(crate) fn vwap(bars: &[Ohlcv], period: usize) -> Result<Line, IndicatorError> {
    check(period)?;
    let (mut turnover, mut volume) = (Decimal::ZERO, Decimal::ZERO);
    let leaving = std::iter::repeat_n(None, period).chain(bars.iter().map(Some));
    (1..)
        .zip(bars.iter().zip(leaving))
        .map(|(seen, (bar, left))| {
            (turnover, volume) = (add(turnover, bar.turnover)?, add(volume, bar.volume)?);
            if let Some(left) = left {
                turnover = turnover.checked_sub(left.turnover).ok_or(IndicatorError::Overflow)?;
                volume = volume.checked_sub(left.volume).ok_or(IndicatorError::Overflow)?;
            }
            if seen < period || volume.is_zero() { Ok(None) } else { div(turnover, volume).map(Some) }
        })
        .collect()
}

/// Bollinger bands: the simple average, and `width` standard deviations of the last `period` prices above and below
/// it (of the whole population, as Bollinger defines them). Costs `period` steps for each price.
///
/// # Errors
/// `Period`, `Width`, `Overflow`.
pub(crate) fn bollinger(
    prices: &[Decimal],
    period: usize,
    width: Decimal,
) -> Result<Vec<Option<Bands>>, IndicatorError> {
    let count = check(period)?;
    if width <= Decimal::ZERO || width > WIDTH_MAX {
        return Err(IndicatorError::Width);
    }
    let windows = prices.windows(period);
    let warming = std::iter::repeat_n(Ok(None), prices.len().min(period - 1));
    let bands = windows.map(|window| {
        let sum = window.iter().try_fold(Decimal::ZERO, |sum, price| add(sum, *price))?;
        let middle = div(sum, count)?;
        let squares = window.iter().try_fold(Decimal::ZERO, |sum, price| {
            let distance = price.checked_sub(middle).ok_or(IndicatorError::Overflow)?;
            add(sum, distance.checked_mul(distance).ok_or(IndicatorError::Overflow)?)
        })?;
        let deviation = sqrt(div(squares, count)?)?;
        let distance = deviation.checked_mul(width).ok_or(IndicatorError::Overflow)?;
        let lower = middle.checked_sub(distance).ok_or(IndicatorError::Overflow)?;
        Ok(Some(Bands { upper: add(middle, distance)?, middle, lower }))
    });
    warming.chain(bands).collect()
}

/// The period as a number to divide by.
fn check(period: usize) -> Result<Decimal, IndicatorError> {
    if (1..=PERIOD_MAX).contains(&period) { Ok(Decimal::from(period)) } else { Err(IndicatorError::Period) }
}

fn add(left: Decimal, right: Decimal) -> Result<Decimal, IndicatorError> {
    left.checked_add(right).ok_or(IndicatorError::Overflow)
}

/// Newton's method from what floating point says, which has half of the digits already: a second step is one more
/// than needed. Steps are counted, not compared, because the last digit may go to and fro for ever.
fn sqrt(square: Decimal) -> Result<Decimal, IndicatorError> {
    let root = f64::try_from(square).ok().and_then(|square| Decimal::try_from(square.sqrt()).ok());
    let Some(mut root) = root.filter(|root| !root.is_zero()) else { return Ok(Decimal::ZERO) };
    for _ in 0..2 {
        root = div(add(root, div(square, root)?)?, Decimal::TWO)?;
    }
    Ok(root)
}

fn div(left: Decimal, right: Decimal) -> Result<Decimal, IndicatorError> {
    left.checked_div(right).ok_or(IndicatorError::Overflow)
}

#[cfg(test)]
mod tests;
