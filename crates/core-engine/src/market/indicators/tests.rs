use proptest::prelude::*;

use super::*;
use crate::market::ohlcv::samples::{bar, trade};

fn decimals(text: &str) -> Vec<Decimal> {
    text.split_whitespace().map(|number| number.parse().unwrap()).collect()
}

/// The values that there are, rounded for the eye, after as many that are not there.
fn shown(line: &[Option<Decimal>], places: u32) -> (usize, String) {
    let missing = line.iter().take_while(|value| value.is_none()).count();
    let values: Vec<_> = line[missing..].iter().map(|value| format!("{}", value.unwrap().round_dp(places))).collect();
    (missing, values.join(" "))
}

/// The published values lie within one unit of their last place.
fn check(line: &[Option<Decimal>], missing: usize, published: &str) {
    let values: Vec<_> = line.iter().skip(missing).map(|value| value.unwrap()).collect();
    let published = decimals(published);
    assert!(line.iter().take(missing).all(Option::is_none));
    assert_eq!(values.len(), published.len());
    for (value, published) in values.iter().zip(&published) {
        assert!((value - published).abs() <= Decimal::new(1, published.scale()), "{value} is not {published}");
    }
}

/// Closes of ChartSchool's table "10-day SMA and EMA" (Moving Averages).
const AVERAGES: &str = "22.2734 22.1940 22.0847 22.1741 22.1840 22.1344 22.2337 22.4323 22.2436 22.2933 22.1542 \
                        22.3926 22.3816 22.6109 23.3558 24.0519 23.7530 23.8324 23.9516 23.6338 23.8225 23.8722 \
                        23.6537 23.1870 23.0976 23.3260 22.6805 23.0976 22.4025 22.1725";

#[test]
fn sma_is_that_of_chart_school() {
    // "Daily closing prices: 11, 12, 13, 14, 15, 16, 17", 5 days.
    assert_eq!(shown(&sma(&decimals("11 12 13 14 15 16 17"), 5).unwrap(), 2), (4, "13 14 15".to_owned()));
    let published = "22.22 22.21 22.23 22.26 22.31 22.42 22.61 22.77 22.91 23.08 23.21 23.38 23.53 23.65 23.71 23.69 \
                     23.61 23.51 23.43 23.28 23.13";
    check(&sma(&decimals(AVERAGES), 10).unwrap(), 9, published);
}

#[test]
fn ema_is_that_of_chart_school() {
    let published = "22.22 22.21 22.24 22.27 22.33 22.52 22.80 22.97 23.13 23.28 23.34 23.43 23.51 23.54 23.47 23.40 \
                     23.39 23.26 23.23 23.08 22.92";
    check(&ema(&decimals(AVERAGES), 10).unwrap(), 9, published);
}

#[test]
fn rsi_is_that_of_chart_school() {
    // The table of the article on the RSI, 14 days of QQQQ.
    let closes = "44.3389 44.0902 44.1497 43.6124 44.3278 44.8264 45.0955 45.4245 45.8433 46.0826 45.8931 46.0328 \
                  45.6140 46.2820 46.2820 46.0028 46.0328 46.4116 46.2222 45.6439 46.2122 46.2521 45.7137 46.4515 \
                  45.7835 45.3548 44.0288 44.1783 44.2181 44.5672 43.4205 42.6628 43.1314";
    let published = "70.53 66.32 66.55 69.41 66.36 57.97 62.93 63.26 56.06 62.38 54.71 50.42 39.99 41.46 41.87 45.46 \
                     37.30 33.08 37.77";
    check(&rsi(&decimals(closes), 14).unwrap(), 14, published);
}

#[test]
fn bollinger_bands_are_those_of_chart_school() {
    // The table of the article on Bollinger bands, 20 days and two deviations.
    let closes = "86.16 89.09 88.78 90.32 89.07 91.15 89.44 89.18 86.93 87.68 86.96 89.43 89.32 88.72 87.45 87.26 \
                  89.50 87.90 89.13 90.70 92.90 92.98 91.80 92.66 92.68 92.30 92.77 92.54 92.95 93.20 91.07 89.83 \
                  89.74 90.40 90.74 88.02 88.09 88.84 90.78 90.54 91.39 90.65";
    let bands = bollinger(&decimals(closes), 20, Decimal::TWO).unwrap();
    let line = |of: fn(&Bands) -> Decimal| bands.iter().map(|bands| bands.as_ref().map(of)).collect::<Vec<_>>();
    check(
        &line(|bands| bands.middle),
        19,
        "88.71 89.05 89.24 89.39 89.51 89.69 89.75 89.91 90.08 90.38 90.66 90.86 90.88 90.91 90.99 91.15 91.19 91.12 \
         91.17 91.25 91.24 91.17 91.05",
    );
    check(
        &line(|bands| bands.upper),
        19,
        "91.29 91.95 92.61 92.93 93.31 93.73 93.90 94.27 94.57 94.79 95.04 94.91 94.90 94.90 94.86 94.67 94.56 94.68 \
         94.58 94.53 94.53 94.37 94.15",
    );
    check(
        &line(|bands| bands.lower),
        19,
        "86.12 86.14 85.87 85.85 85.70 85.65 85.59 85.56 85.60 85.98 86.27 86.82 86.87 86.91 87.12 87.63 87.83 87.56 \
         87.76 87.97 87.95 87.96 87.95",
    );
}

#[test]
fn vwap_weighs_prices_by_what_was_traded() {
    let bars = [trade(0, 1, 1_000, 10), trade(1, 2, 2_000, 30), trade(2, 3, 9_900, 0), trade(3, 4, 500, 0)];
    let bars: Vec<_> = bars.iter().map(|trade| Ohlcv::of(trade).unwrap()).collect();
    // (10 × 1 + 20 × 3) / 4, then 20 × 3 / 3, then nothing that was traded.
    let line = vwap(&bars, 2).unwrap();
    assert_eq!(line, [None, Some(Decimal::new(175, 1)), Some(Decimal::from(20)), None]);
}

#[test]
fn parameters_are_checked() {
    let prices = decimals("1 2 3");
    for period in [0, 501, usize::MAX] {
        assert_eq!(sma(&prices, period), Err(IndicatorError::Period));
        assert_eq!(ema(&prices, period), Err(IndicatorError::Period));
        assert_eq!(rsi(&prices, period), Err(IndicatorError::Period));
        assert_eq!(vwap(&[bar(0, "1")], period), Err(IndicatorError::Period));
        assert_eq!(bollinger(&prices, period, Decimal::TWO), Err(IndicatorError::Period));
    }
    for width in ["0", "-1", "10.1"] {
        assert_eq!(bollinger(&prices, 2, width.parse().unwrap()), Err(IndicatorError::Width));
    }
}

#[test]
fn too_few_prices_have_no_indicator_and_none_have_none() {
    for prices in [decimals(""), decimals("1"), decimals("1 2")] {
        let nothing = vec![None; prices.len()];
        assert_eq!(sma(&prices, 3).unwrap(), nothing);
        assert_eq!(ema(&prices, 3).unwrap(), nothing);
        assert_eq!(rsi(&prices, 2).unwrap(), nothing);
        assert_eq!(bollinger(&prices, 3, Decimal::ONE).unwrap(), vec![None; prices.len()]);
    }
}

#[test]
fn prices_beyond_reason_are_refused_and_not_a_panic() {
    let prices = [Decimal::MAX, Decimal::MIN, Decimal::MAX];
    assert_eq!(sma(&[Decimal::MAX; 3], 2), Err(IndicatorError::Overflow));
    assert_eq!(ema(&prices, 1), Err(IndicatorError::Overflow));
    assert_eq!(rsi(&prices, 1), Err(IndicatorError::Overflow));
    assert_eq!(bollinger(&prices, 2, Decimal::ONE), Err(IndicatorError::Overflow));
}

#[test]
fn a_root_has_all_its_digits() {
    for (square, expected) in [
        ("2", "1.4142135623730950488016887242"),
        ("0", "0"),
        ("0.0000000000000000000000000001", "0.00000000000001"),
        ("79228162514264337593543950335", "281474976710656.00000000000000"),
    ] {
        let root = sqrt(square.parse().unwrap()).unwrap();
        let expected: Decimal = expected.parse().unwrap();
        assert!((root - expected).abs() <= expected * Decimal::new(1, 27) + Decimal::new(1, 27), "{square}: {root}");
    }
}

#[test]
fn rsi_has_its_ends_and_its_middle() {
    for (prices, expected) in [("1 2 3 4 5", "100"), ("5 4 3 2 1", "0"), ("3 3 3 3 3", "50.0")] {
        let line = rsi(&decimals(prices), 3).unwrap();
        assert_eq!(shown(&line, 2), (3, format!("{expected} {expected}")), "{prices}");
    }
}

fn prices() -> impl Strategy<Value = Vec<Decimal>> {
    proptest::collection::vec((1_i64..10_000_000).prop_map(|cents| Decimal::new(cents, 2)), 1..80)
}

fn floats(prices: &[Decimal]) -> Vec<f64> {
    prices.iter().map(|price| f64::try_from(*price).unwrap()).collect()
}

fn close_to(value: Option<Decimal>, expected: Option<f64>) -> bool {
    match (value, expected) {
        (None, None) => true,
        (Some(value), Some(expected)) => {
            (f64::try_from(value).unwrap() - expected).abs() <= 1e-6 * expected.abs().max(1.0)
        }
        _ => false,
    }
}

proptest! {
    /// Each value anew from its whole past, by the definition, in floating point.
    #[test]
    fn indicators_are_those_of_their_definitions(prices in prices(), period in 1_usize..20) {
        let plain = floats(&prices);
        let count = period as f64;
        let (sma, ema, rsi) =
            (sma(&prices, period).unwrap(), ema(&prices, period).unwrap(), rsi(&prices, period).unwrap());
        let bands = bollinger(&prices, period, Decimal::TWO).unwrap();
        for at in 0..prices.len() {
            let enough = at + 1 >= period;
            let window = &plain[(at + 1).saturating_sub(period)..=at];
            let mean = window.iter().sum::<f64>() / count;
            prop_assert!(close_to(sma[at], enough.then_some(mean)));

            let deviation = (window.iter().map(|price| (price - mean).powi(2)).sum::<f64>() / count).sqrt();
            prop_assert!(close_to(bands[at].map(|bands| bands.upper), enough.then_some(mean + 2.0 * deviation)));
            prop_assert!(close_to(bands[at].map(|bands| bands.lower), enough.then_some(mean - 2.0 * deviation)));

            let naive = enough.then(|| {
                let seed = plain[..period].iter().sum::<f64>() / count;
                plain[period..=at].iter().fold(seed, |ema, price| {
                    price * 2.0 / (count + 1.0) + ema * (1.0 - 2.0 / (count + 1.0))
                })
            });
            if at + 1 > period || enough {
                prop_assert!(close_to(ema[at], naive));
            }

            let naive = (at >= period).then(|| {
                let changes: Vec<_> = plain[..=at].windows(2).map(|pair| pair[1] - pair[0]).collect();
                let average = |part: fn(f64) -> f64| {
                    let seed = changes[..period].iter().map(|change| part(*change)).sum::<f64>() / count;
                    changes[period..].iter().fold(seed, |average, change| {
                        (average * (count - 1.0) + part(*change)) / count
                    })
                };
                let (gain, loss) = (average(|change| change.max(0.0)), average(|change| (-change).max(0.0)));
                if gain + loss == 0.0 { 50.0 } else { 100.0 - 100.0 / (1.0 + gain / loss) }
            });
            prop_assert!(close_to(rsi[at], naive));
            prop_assert!(rsi[at].is_none_or(|rsi| (Decimal::ZERO..=Decimal::ONE_HUNDRED).contains(&rsi)));
        }
    }

    #[test]
    fn vwap_lies_between_the_lowest_and_the_highest_price(
        trades in proptest::collection::vec((1_i64..100_000, 0_i64..1_000), 1..60),
        period in 1_usize..10,
    ) {
        let bars: Vec<_> = (0..).zip(&trades).map(|(at, (price, volume))| {
            Ohlcv::of(&trade(at, 0, *price, *volume)).unwrap()
        }).collect();
        for (at, value) in vwap(&bars, period).unwrap().into_iter().enumerate() {
            let window = &bars[(at + 1).saturating_sub(period)..=at];
            let volume: Decimal = window.iter().map(|bar| bar.volume).sum();
            let paid: Decimal = window.iter().map(|bar| bar.close * bar.volume).sum();
            let expected = (at + 1 >= period && !volume.is_zero()).then(|| paid / volume);
            prop_assert_eq!(value, expected);
        }
    }
}
