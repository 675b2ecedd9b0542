//! The widths of bars, and the buckets that time falls into.

use jiff::Timestamp;

/// How wide a bar is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Interval {
    /// Of UTC.
    Second,
    /// Of UTC.
    Minute,
    /// Of UTC.
    Hour,
    /// A calendar day in the zone of the exchange: 23, 24 or 25 hours.
    Day,
}

/// From `start` to before `end`, in whole seconds since 1970.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Bucket {
    pub(crate) start: i64,
    pub(crate) end: i64,
}

impl Interval {
    /// From the finest to the widest.
    pub(crate) const ALL: [Self; 4] = [Self::Second, Self::Minute, Self::Hour, Self::Day];

    /// As clients write it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Second => "1s",
            Self::Minute => "1m",
            Self::Hour => "1h",
            Self::Day => "1d",
        }
    }

    /// The interval of a name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|interval| interval.as_str() == name)
    }

    /// Its number in files; never changes.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Second => 0,
            Self::Minute => 1,
            Self::Hour => 2,
            Self::Day => 3,
        }
    }

    /// The interval of a number in a file.
    pub(crate) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|interval| interval.code() == code)
    }

    /// Its place in [`Self::ALL`].
    pub(crate) fn index(self) -> usize {
        usize::from(self.code())
    }

    /// Seconds of one bar; `None` for a day, which has no fixed width.
    pub(crate) fn width(self) -> Option<i64> {
        match self {
            Self::Second => Some(1),
            Self::Minute => Some(60),
            Self::Hour => Some(3_600),
            Self::Day => None,
        }
    }
}

impl Bucket {
    /// The bucket of a fixed width that a second lies in; counted from 1970, so that it is the same for everybody.
    pub(crate) fn of(second: i64, width: i64) -> Self {
        let start = second.saturating_sub(second.rem_euclid(width));
        Self { start, end: start.saturating_add(width) }
    }

    /// Whether a second lies inside.
    pub(crate) fn contains(self, second: i64) -> bool {
        self.start <= second && second < self.end
    }
}

/// The second that a time lies in; before 1970, too, the earlier one.
pub(crate) fn second_of(at: Timestamp) -> i64 {
    if at.subsec_nanosecond() < 0 { at.as_second().saturating_sub(1) } else { at.as_second() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_has_a_name_and_a_number_that_lead_back_to_it() {
        for interval in Interval::ALL {
            assert_eq!(Interval::parse(interval.as_str()), Some(interval));
            assert_eq!(Interval::from_code(interval.code()), Some(interval));
            assert_eq!(Interval::ALL[interval.index()], interval);
        }
        assert_eq!((Interval::parse("5m"), Interval::from_code(4)), (None, None));
    }

    #[test]
    fn time_before_1970_falls_into_the_bucket_that_begins_before_it() {
        for (at, second) in
            [("1970-01-01T00:00:00.9Z", 0), ("1969-12-31T23:59:59.5Z", -1), ("1969-12-31T23:59:59Z", -1)]
        {
            assert_eq!(second_of(at.parse().unwrap()), second, "{at}");
        }
        assert_eq!(Bucket::of(-1, 60), Bucket { start: -60, end: 0 });
        assert_eq!(Bucket::of(119, 60), Bucket { start: 60, end: 120 });
    }
}
