//! Instants as feeds and interfaces write them.

use jiff::Timestamp;
use jiff::civil;
use jiff::fmt::rfc2822::DateTimeParser;
use jiff::tz::Offset;

/// Longer texts are no dates.
const DATE_MAX_BYTES: usize = 64;
/// Earlier than the first page of the web, or later than anybody plans: a date that is certainly wrong.
const YEARS: std::ops::RangeInclusive<i16> = 1990..=2200;

/// A weekday that does not match its date is a common mistake, and the date the better witness.
const RFC_822: DateTimeParser = DateTimeParser::new().relaxed_weekday(true);

/// Named zones that RFC 822 does not have but feeds do, with their offsets in hours and minutes. Abbreviations with two
/// meanings have the one that is usual in English news.
const ZONES: [(&str, &str); 16] = [
    ("UTC", "+0000"),
    ("WET", "+0000"),
    ("BST", "+0100"),
    ("CET", "+0100"),
    ("WEST", "+0100"),
    ("CEST", "+0200"),
    ("EET", "+0200"),
    ("EEST", "+0300"),
    ("MSK", "+0300"),
    ("IST", "+0530"),
    ("HKT", "+0800"),
    ("SGT", "+0800"),
    ("JST", "+0900"),
    ("KST", "+0900"),
    ("AEST", "+1000"),
    ("AEDT", "+1100"),
];

/// Reads RFC 822 and 2822, with years of two digits and named zones, and ISO 8601 as RFC 3339 and W3C-DTF have it,
/// also with a space for the `T`, without seconds or without a time. A time without a zone is UTC. `None` for anything
/// else, and for years that cannot be meant.
pub(super) fn instant(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if text.is_empty() || text.len() > DATE_MAX_BYTES || !text.is_ascii() {
        return None;
    }
    let found = if text.starts_with(|first: char| first.is_ascii_digit()) && text.get(4..5) == Some("-") {
        iso_8601(text)
    } else {
        rfc_822(text)
    };
    found.filter(|instant| YEARS.contains(&Offset::UTC.to_datetime(*instant).year()))
}

fn iso_8601(text: &str) -> Option<Timestamp> {
    let compact = text.strip_suffix(" UTC").or_else(|| text.strip_suffix(" GMT")).unwrap_or(text);
    if let Ok(instant) = compact.parse::<Timestamp>() {
        return Some(instant);
    }
    // W3C-DTF allows `YYYY-MM`, which no parser of dates takes.
    let whole = if compact.len() == 7 { format!("{compact}-01") } else { compact.to_owned() };
    utc(whole.parse::<civil::DateTime>().ok()?)
}

fn utc(time: civil::DateTime) -> Option<Timestamp> {
    Offset::UTC.to_timestamp(time).ok()
}

/// A zone that nobody knows is UTC, as RFC 2822 (section 4.3) has it.
fn rfc_822(text: &str) -> Option<Timestamp> {
    let named = |zone: &str| ZONES.iter().find(|(name, _)| name.eq_ignore_ascii_case(zone)).map(|(_, offset)| *offset);
    let last = text.rsplit(' ').next().unwrap_or_default();
    if let (None, Ok(instant)) = (named(last), RFC_822.parse_timestamp(text)) {
        return Some(instant);
    }
    // Names of days and months in full, `Sept`, zones of the world, and none at all.
    let mut words = text.split([' ', '\t', ',']).filter(|word| !word.is_empty()).peekable();
    words.next_if(|word| word.starts_with(|first: char| first.is_ascii_alphabetic()));
    let (day, month, year, time) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let month = month.get(..3)?;
    let zone = words.next().unwrap_or("UTC");
    let zone = named(zone).map_or_else(|| zone.replace(':', ""), str::to_owned);
    RFC_822.parse_timestamp(format!("{day} {month} {year} {time} {zone}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_the_wild_are_read() {
        for (text, expected) in [
            ("Sat, 28 Nov 2026 09:30:00 GMT", Some("2026-11-28T09:30:00Z")),
            ("Fri, 28 Nov 2026 09:30:00 GMT", Some("2026-11-28T09:30:00Z")),
            ("28 Nov 2026 09:30 +0100", Some("2026-11-28T08:30:00Z")),
            ("Sat, 28 Nov 26 04:30:00 EST", Some("2026-11-28T09:30:00Z")),
            ("Sat, 28 Nov 2026 02:30:00 PDT", Some("2026-11-28T09:30:00Z")),
            ("Saturday, 28 November 2026 10:30:00 CET", Some("2026-11-28T09:30:00Z")),
            ("Mon, 7 Sept 2026 10:30:00 +02:00", Some("2026-09-07T08:30:00Z")),
            ("Sat, 28 Nov 2026 09:30:00", Some("2026-11-28T09:30:00Z")),
            ("Sat, 28 Nov 2026 09:30:00 UTC", Some("2026-11-28T09:30:00Z")),
            ("Sat,  28  Nov 2026 18:30:00 JST", Some("2026-11-28T09:30:00Z")),
            ("2026-11-28T09:30:00Z", Some("2026-11-28T09:30:00Z")),
            ("2026-11-28T10:30:00.250+01:00", Some("2026-11-28T09:30:00.25Z")),
            ("2026-11-28T09:30:00", Some("2026-11-28T09:30:00Z")),
            ("2026-11-28 09:30", Some("2026-11-28T09:30:00Z")),
            ("2026-11-28 09:30:00 UTC", Some("2026-11-28T09:30:00Z")),
            ("2026-11-28T09:30Z", Some("2026-11-28T09:30:00Z")),
            ("2026-11-28", Some("2026-11-28T00:00:00Z")),
            ("2026-11", Some("2026-11-01T00:00:00Z")),
            (" \n2026-11-28\t", Some("2026-11-28T00:00:00Z")),
            ("", None),
            ("yesterday", None),
            ("Sat, 32 Nov 2026 09:30:00 GMT", None),
            ("2026-13-01", None),
            ("0001-01-01T00:00:00Z", None),
            ("9999-12-31T23:59:59Z", None),
            ("1764322200", None),
            ("Sat, 28 Nov 2026 09:30:00 XYZ", Some("2026-11-28T09:30:00Z")),
            ("Samstag, 28. März 2026", None),
            (", , , ,", None),
        ] {
            assert_eq!(instant(text).map(|instant| instant.to_string()).as_deref(), expected, "{text:?}");
        }
    }
}
