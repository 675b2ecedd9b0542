//! Lines of CSV and NDJSON files as ticks or bars.
//!
//! A tick has `symbol`, `price`, `timestamp` and perhaps `volume`; a bar has `symbol`, `open`, `high`, `low`, `close`,
//! `timestamp` (its start) and perhaps `volume`. Other columns become additional data. In CSV the first line names the
//! columns, in any order; fields may be quoted, lines may not be broken. Numbers in NDJSON may be texts. A timestamp is
//! RFC 3339 with an offset, or milliseconds since 1970. Numbers never pass through floating point.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read};
use std::sync::Arc;

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde_json::value::RawValue;

use crate::tick::{Bar, Tick, is_symbol};

/// Longest line; a longer one means that the file is not what it says.
const LINE_MAX_BYTES: u64 = 64 * 1024;
/// Columns beyond the known ones that are kept of one record, and how long each may be.
const ADDITIONAL_MAX: usize = 16;
const ADDITIONAL_MAX_BYTES: usize = 256;
/// The range of a protobuf timestamp: years 1 to 9999.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// How a file is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Format {
    Csv,
    Ndjson,
}

impl Format {
    /// By the end of the file's name.
    pub(super) fn of(path: &str) -> Option<Self> {
        match path.rsplit_once('.')?.1 {
            "csv" => Some(Self::Csv),
            "ndjson" | "jsonl" => Some(Self::Ndjson),
            _ => None,
        }
    }
}

/// A line that is not a record, and why.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Malformed {
    /// From 1 on.
    pub(super) line: u64,
    pub(super) problem: String,
}

/// The records of one file, in order; blank lines are passed over. After an `io::Error` there is nothing more.
pub(super) struct Records<R> {
    reader: R,
    format: Format,
    columns: Option<Vec<String>>,
    line: u64,
    buffer: Vec<u8>,
    /// Additional data of records that bring none of their own.
    plain: Arc<BTreeMap<String, String>>,
}

impl<R: BufRead> Records<R> {
    pub(super) fn new(reader: R, format: Format) -> Self {
        let plain = Arc::new(BTreeMap::from([("origin".to_owned(), "replayed".to_owned())]));
        Self { reader, format, columns: None, line: 0, buffer: Vec::new(), plain }
    }

    /// Reads the next line into the buffer; false at the end.
    fn read_line(&mut self) -> io::Result<bool> {
        self.buffer.clear();
        let read = self.reader.by_ref().take(LINE_MAX_BYTES).read_until(b'\n', &mut self.buffer)?;
        if read as u64 == LINE_MAX_BYTES && !self.buffer.ends_with(b"\n") {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a line is longer than 64 KiB"));
        }
        self.line += 1;
        Ok(read > 0)
    }

    /// `None` for a line that is no record and need not be: blank, or the names of the columns.
    fn parse_line(&mut self) -> Result<Option<Tick>, String> {
        let text = std::str::from_utf8(&self.buffer).map_err(|_| "is not UTF-8".to_owned())?;
        let text = text.trim_end_matches(['\n', '\r']);
        if text.trim().is_empty() {
            return Ok(None);
        }
        let fields = match (self.format, &self.columns) {
            (Format::Ndjson, _) => json_fields(text)?,
            (Format::Csv, Some(columns)) => {
                let values = split_csv(text)?;
                if values.len() != columns.len() {
                    return Err(format!("has {} fields, the first line has {}", values.len(), columns.len()));
                }
                columns.iter().cloned().zip(values).collect()
            }
            (Format::Csv, None) => {
                let names = text.trim_start_matches('\u{feff}');
                self.columns = Some(split_csv(names)?.iter().map(|name| name.trim().to_ascii_lowercase()).collect());
                return Ok(None);
            }
        };
        tick(fields, &self.plain).map(Some)
    }
}

impl<R: BufRead> Iterator for Records<R> {
    type Item = io::Result<Result<Tick, Malformed>>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.read_line() {
                Err(error) => return Some(Err(error)),
                Ok(false) => return None,
                Ok(true) => {}
            }
            match self.parse_line() {
                Ok(None) => {}
                Ok(Some(tick)) => return Some(Ok(Ok(tick))),
                Err(problem) => return Some(Ok(Err(Malformed { line: self.line, problem }))),
            }
        }
    }
}

/// Splits one line at its commas. A quote inside of quotes is written twice.
///
/// Source: RFC 4180, without line breaks inside of fields.
fn split_csv(line: &str) -> Result<Vec<String>, String> {
    let mut fields = Vec::new();
    let mut field = String::new();
    let mut characters = line.chars().peekable();
    let mut quoted = false;
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.next_if_eq(&'"').is_some() => field.push('"'),
            '"' if quoted || field.is_empty() => quoted = !quoted,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            other => field.push(other),
        }
    }
    if quoted {
        return Err("has a quote that is not closed".to_owned());
    }
    fields.push(field);
    Ok(fields)
}

/// The members of an object as texts: strings decoded, other scalars as they are written, `null` left out.
fn json_fields(line: &str) -> Result<BTreeMap<String, String>, String> {
    let members: BTreeMap<String, &RawValue> =
        serde_json::from_str(line).map_err(|error| format!("is not a JSON object: {error}"))?;
    let mut fields = BTreeMap::new();
    for (name, raw) in members {
        let text = match raw.get() {
            "null" => continue,
            text if text.starts_with('"') => serde_json::from_str(text).map_err(|error| format!("{name}: {error}"))?,
            text if text.starts_with(['{', '[']) => return Err(format!("{name} is neither text nor number")),
            text => text.to_owned(),
        };
        fields.insert(name, text);
    }
    Ok(fields)
}

fn tick(mut fields: BTreeMap<String, String>, plain: &Arc<BTreeMap<String, String>>) -> Result<Tick, String> {
    let symbol = fields.remove("symbol").ok_or("has no symbol")?;
    if !is_symbol(&symbol) {
        return Err("has a symbol that is empty, too long or not plain".to_owned());
    }
    let mut number = |name: &str| match fields.remove(name).filter(|text| !text.trim().is_empty()) {
        None => Ok(None),
        Some(text) => decimal(text.trim()).map(Some).ok_or_else(|| format!("{name} is not a decimal number")),
    };
    let (price, close) = (number("price")?, number("close")?);
    let bar = match (number("open")?, number("high")?, number("low")?) {
        (Some(open), Some(high), Some(low)) => Some(Bar { open, high, low, interval: None }),
        (None, None, None) => None,
        _ => return Err("has some of open, high and low, but not all".to_owned()),
    };
    let price = close.or(price).ok_or("has neither price nor close")?;
    let volume = number("volume")?.unwrap_or_default();
    if volume.is_sign_negative() && !volume.is_zero() {
        return Err("volume is negative".to_owned());
    }
    if bar.is_some_and(|bar| bar.low > bar.open.min(price) || bar.high < bar.open.max(price)) {
        return Err("is a bar whose low or high lies inside of it".to_owned());
    }
    let timestamp = fields.remove("timestamp").ok_or("has no timestamp")?;
    let timestamp = instant(timestamp.trim()).ok_or("timestamp is neither RFC 3339 nor milliseconds since 1970")?;
    Ok(Tick { symbol: symbol.into(), price, volume, timestamp, bar, zone: None, additional: additional(fields, plain) })
}

fn additional(
    fields: BTreeMap<String, String>,
    plain: &Arc<BTreeMap<String, String>>,
) -> Arc<BTreeMap<String, String>> {
    let mut kept = fields
        .into_iter()
        .filter(|(name, text)| !text.is_empty() && name.len() + text.len() <= ADDITIONAL_MAX_BYTES)
        .take(ADDITIONAL_MAX)
        .peekable();
    if kept.peek().is_none() {
        return Arc::clone(plain);
    }
    // The origin comes last, so that a file cannot claim another one.
    Arc::new(kept.chain(plain.iter().map(|(name, text)| (name.clone(), text.clone()))).collect())
}

/// Exact, or nothing: a number with more digits than a decimal holds is refused, not rounded.
fn decimal(text: &str) -> Option<Decimal> {
    Decimal::from_str_exact(text).or_else(|_| Decimal::from_scientific(text)).ok()
}

fn instant(text: &str) -> Option<Timestamp> {
    let parsed = match text.parse() {
        Ok(milliseconds) => Timestamp::from_millisecond(milliseconds).ok(),
        Err(_) => text.parse::<Timestamp>().ok(),
    };
    parsed.filter(|timestamp| SECONDS.contains(&timestamp.as_second()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(format: Format, text: &str) -> Vec<String> {
        Records::new(text.as_bytes(), format)
            .map(|record| match record {
                Err(error) => format!("error: {error}"),
                Ok(Err(malformed)) => format!("{}: {}", malformed.line, malformed.problem),
                Ok(Ok(tick)) => {
                    let Tick { symbol, price, volume, timestamp, bar, additional, .. } = tick;
                    let bar = bar.map(|bar| format!(" bar {} {} {}", bar.open, bar.high, bar.low)).unwrap_or_default();
                    let extra: Vec<_> = additional.iter().map(|(name, text)| format!(" {name}={text}")).collect();
                    format!("{symbol} {price} x {volume} at {timestamp}{bar}{}", extra.concat())
                }
            })
            .collect()
    }

    #[test]
    fn csv_columns_come_in_any_order() {
        let text = "\u{feff}Timestamp,symbol,volume,price,venue\r\n\
                    2026-11-20T10:00:00+01:00,BTC,0.5,64000.10,\"A, \"\"B\"\"\"\r\n\
                    \r\n\
                    1763632800500,ETH,,3400,\r\n";
        assert_eq!(
            records(Format::Csv, text),
            [
                "BTC 64000.10 x 0.5 at 2026-11-20T09:00:00Z origin=replayed venue=A, \"B\"",
                "ETH 3400 x 0 at 2025-11-20T10:00:00.5Z origin=replayed",
            ]
        );
    }

    #[test]
    fn ndjson_numbers_stay_exact() {
        let text = r#"{"symbol":"BTC","price":64000.123456789012345678,"timestamp":"2026-11-20T10:00:00Z","volume":1e-3}
{"symbol":"BTC","open":"1","high":3,"low":1,"close":2.50,"timestamp":0,"origin":"real","live":true,"x":null}"#;
        assert_eq!(
            records(Format::Ndjson, text),
            [
                "BTC 64000.123456789012345678 x 0.001 at 2026-11-20T10:00:00Z origin=replayed",
                "BTC 2.50 x 0 at 1970-01-01T00:00:00Z bar 1 3 1 live=true origin=replayed",
            ]
        );
    }

    #[test]
    fn a_bad_line_is_told_and_the_next_one_is_read() {
        let text = "symbol,price,timestamp,volume,open,high,low\n\
                    BTC,1,0,,,,\n\
                    BTC,1\n\
                    B C,1,0,,,,\n\
                    BTC,one,0,,,,\n\
                    BTC,,0,,,,\n\
                    BTC,1,,,,,\n\
                    BTC,1,20 Nov,,,,\n\
                    BTC,1,-99999999999999,,,,\n\
                    BTC,1,0,-1,,,\n\
                    BTC,1,0,,1,,\n\
                    BTC,5,0,,1,4,1\n\
                    BTC,\"1,0,,,,\n\
                    ETH,2,0,,,,\n";
        assert_eq!(
            records(Format::Csv, text),
            [
                "BTC 1 x 0 at 1970-01-01T00:00:00Z origin=replayed",
                "3: has 2 fields, the first line has 7",
                "4: has a symbol that is empty, too long or not plain",
                "5: price is not a decimal number",
                "6: has neither price nor close",
                "7: timestamp is neither RFC 3339 nor milliseconds since 1970",
                "8: timestamp is neither RFC 3339 nor milliseconds since 1970",
                "9: timestamp is neither RFC 3339 nor milliseconds since 1970",
                "10: volume is negative",
                "11: has some of open, high and low, but not all",
                "12: is a bar whose low or high lies inside of it",
                "13: has a quote that is not closed",
                "ETH 2 x 0 at 1970-01-01T00:00:00Z origin=replayed",
            ]
        );
    }

    #[test]
    fn a_bad_object_is_told() {
        let text = "[1]\n{\"symbol\":\"A\",\"price\":{},\"timestamp\":0}\n{\"price\":1}\n";
        let records = records(Format::Ndjson, text);
        assert!(records[0].starts_with("1: is not a JSON object"), "{records:?}");
        assert_eq!(records[1..], ["2: price is neither text nor number", "3: has no symbol"]);
    }

    #[test]
    fn an_endless_line_ends_the_file() {
        let text = "x".repeat(100_000);
        let mut records = Records::new(text.as_bytes(), Format::Ndjson);
        assert!(records.next().unwrap().is_err());
    }

    #[test]
    fn the_name_of_a_file_tells_its_format() {
        for (path, expected) in [
            ("a.csv", Some(Format::Csv)),
            ("d/a.ndjson", Some(Format::Ndjson)),
            ("a.jsonl", Some(Format::Ndjson)),
            ("a.json", None),
            ("csv", None),
        ] {
            assert_eq!(Format::of(path), expected, "{path}");
        }
    }
}
