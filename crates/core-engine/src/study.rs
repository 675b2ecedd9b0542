//! Indicators as clients ask for them: their names, their periods, and their values over some bars.

use jiff::Timestamp;
use rust_decimal::Decimal;

use crate::error::EngineError;
use crate::market::history::HeldBar;
use crate::market::indicators::{self, Bands, IndicatorError, PERIOD_MAX, WIDTH_MAX};
use crate::market::intake::{closes, plain};

/// Indicators of one request.
const STUDIES_MAX: usize = 20;
/// Decimal places that are told.
const PLACES: u32 = 10;

/// A value, and the upper and lower band if it has any.
type Reading = (Decimal, Option<(Decimal, Decimal)>);

/// Which indicator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Sma,
    Ema,
    Rsi,
    Vwap,
    Bollinger,
}

const KINDS: [(Kind, &str, usize); 5] = [
    (Kind::Sma, "sma", 20),
    (Kind::Ema, "ema", 20),
    (Kind::Rsi, "rsi", 14),
    (Kind::Vwap, "vwap", 20),
    (Kind::Bollinger, "bollinger", 20),
];

/// One indicator with its parameters.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Study {
    kind: Kind,
    name: &'static str,
    period: usize,
    /// Of bands, in standard deviations.
    width: Decimal,
}

/// The values of one indicator.
#[derive(Debug)]
pub(crate) struct Studied {
    /// With its period.
    pub(crate) name: String,
    /// Oldest first.
    pub(crate) points: Vec<Point>,
}

/// A value at the start of a bar.
#[derive(Debug)]
pub(crate) struct Point {
    pub(crate) start: i64,
    pub(crate) value: Decimal,
    /// Upper and lower.
    pub(crate) bands: Option<(Decimal, Decimal)>,
}

/// Reads `sma`, `sma:50` or `bollinger:20:2.5`, several of them; none means one of each.
///
/// # Errors
/// `InvalidField`.
pub(crate) fn parse(specs: &[String]) -> Result<Vec<Study>, EngineError> {
    if specs.len() > STUDIES_MAX {
        return Err(EngineError::field("indicators", format!("must be at most {STUDIES_MAX}")));
    }
    if specs.is_empty() {
        return Ok(KINDS.iter().map(|(kind, name, period)| study(*kind, name, *period)).collect());
    }
    specs
        .iter()
        .enumerate()
        .map(|(at, spec)| one(spec).map_err(|problem| EngineError::field(&format!("indicators[{at}]"), problem)))
        .collect()
}

fn study(kind: Kind, name: &'static str, period: usize) -> Study {
    Study { kind, name, period, width: Decimal::TWO }
}

fn one(spec: &str) -> Result<Study, String> {
    let mut parts = spec.split(':');
    let name = parts.next().unwrap_or_default();
    let Some((kind, name, period)) = KINDS.iter().find(|(_, known, _)| *known == name) else {
        return Err(format!("must be one of {}", KINDS.map(|(_, name, _)| name).join(", ")));
    };
    let mut study = study(*kind, name, *period);
    if let Some(period) = parts.next() {
        let parsed = period.parse().ok().filter(|period| (1..=PERIOD_MAX).contains(period));
        study.period = parsed.ok_or_else(|| format!("must have a period of 1 to {PERIOD_MAX}"))?;
    }
    if let Some(width) = parts.next() {
        let parsed = width.parse().ok().filter(|width| *width > Decimal::ZERO && *width <= WIDTH_MAX);
        study.width = parsed
            .filter(|_| *kind == Kind::Bollinger)
            .ok_or_else(|| format!("must have a width of 0 to {WIDTH_MAX}, and only bollinger has one"))?;
    }
    match parts.next() {
        None => Ok(study),
        Some(_) => Err("must be a name, a period and perhaps a width".to_owned()),
    }
}

impl Study {
    /// Its newest `limit` values over bars that come oldest first.
    ///
    /// # Errors
    /// If numbers become larger than a decimal holds.
    pub(crate) fn over(&self, bars: &[HeldBar], limit: usize) -> Result<Studied, IndicatorError> {
        let prices = closes(bars);
        let single =
            |line: Vec<Option<Decimal>>| line.into_iter().map(|value| value.map(|value| (value, None))).collect();
        let line: Vec<Option<Reading>> = match self.kind {
            Kind::Sma => single(indicators::sma(&prices, self.period)?),
            Kind::Ema => single(indicators::ema(&prices, self.period)?),
            Kind::Rsi => single(indicators::rsi(&prices, self.period)?),
            Kind::Vwap => single(indicators::vwap(&plain(bars), self.period)?),
            Kind::Bollinger => indicators::bollinger(&prices, self.period, self.width)?
                .into_iter()
                .map(|bands| bands.map(|Bands { upper, middle, lower }| (middle, Some((upper, lower)))))
                .collect(),
        };
        let shown = |value: Decimal| value.round_dp(PLACES).normalize();
        let mut points: Vec<Point> = bars
            .iter()
            .zip(line)
            .rev()
            .filter_map(|(held, value)| {
                let (value, bands) = value?;
                let bands = bands.map(|(upper, lower)| (shown(upper), shown(lower)));
                Some(Point { start: held.start, value: shown(value), bands })
            })
            .take(limit)
            .collect();
        points.reverse();
        Ok(Studied { name: format!("{}:{}", self.name, self.period), points })
    }
}

/// When a bar starts.
pub(crate) fn start_of(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs_have_a_name_and_perhaps_numbers() {
        let read = |spec: &str| one(spec).map(|study| (study.period, study.width.to_string()));
        assert_eq!(read("sma"), Ok((20, "2".to_owned())));
        assert_eq!(read("rsi:7"), Ok((7, "2".to_owned())));
        assert_eq!(read("bollinger:10:2.5"), Ok((10, "2.5".to_owned())));
        for bad in ["", "macd", "sma:0", "sma:501", "sma:x", "sma:5:2", "bollinger:5:0", "bollinger:5:99", "sma:5:2:1"]
        {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert_eq!(parse(&[]).unwrap().len(), 5);
    }

    #[test]
    fn the_newest_values_come_oldest_first() {
        use crate::market::ohlcv::samples::bar;
        let bars: Vec<HeldBar> =
            (1..=5).map(|minute| HeldBar { start: minute * 60, bar: bar(minute * 60, &minute.to_string()) }).collect();
        let studied = one("sma:2").unwrap().over(&bars, 2).unwrap();
        let shown: Vec<_> = studied.points.iter().map(|point| format!("{} {}", point.start, point.value)).collect();
        assert_eq!((studied.name.as_str(), shown), ("sma:2", vec!["240 3.5".to_owned(), "300 4.5".to_owned()]));
        let bands = one("bollinger:2").unwrap().over(&bars, 1).unwrap();
        assert_eq!(
            bands.points[0].bands.map(|(upper, lower)| (upper.to_string(), lower.to_string())),
            Some(("5.5".to_owned(), "3.5".to_owned()))
        );
    }
}
