//! The days of an exchange: its time zone, and the sessions that its source tells.
//!
//! A day is a calendar day of the zone, so it has 23 or 25 hours when clocks change. Sessions are known only if the
//! source tells them; then time outside of them is not missing, and a half day ends when its session does. Nothing is
//! assumed about weekends and holidays: crypto exchanges have none.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::interval::{Bucket, Interval, second_of};

/// Sessions that are remembered of one symbol; more than a year of them. The oldest go first.
pub(crate) const SESSIONS_MAX: usize = 400;

/// When an exchange is open.
#[derive(Clone, Debug)]
pub(crate) struct Calendar {
    zone: TimeZone,
    /// Sorted, one per day at most.
    sessions: Vec<Bucket>,
}

impl Default for Calendar {
    /// Days of UTC, always open.
    fn default() -> Self {
        Self::new(TimeZone::UTC)
    }
}

impl Calendar {
    /// Days of a zone; always open until a session is told.
    pub(crate) fn new(zone: TimeZone) -> Self {
        Self { zone, sessions: Vec::new() }
    }

    /// The zone of its days.
    pub(crate) fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// Learns the session of one day, in place of what was told of that day before. A session that ends before it
    /// begins says nothing.
    pub(crate) fn tell_session(&mut self, open: Timestamp, close: Timestamp) {
        let session = Bucket { start: second_of(open), end: second_of(close) };
        let Some(day) = self.day(session.start) else { return };
        if session.end <= session.start {
            return;
        }
        self.sessions.retain(|other| !day.contains(other.start));
        let at = self.sessions.partition_point(|other| other.start < session.start);
        self.sessions.insert(at, session);
        if self.sessions.len() > SESSIONS_MAX {
            self.sessions.remove(0);
        }
    }

    /// The bucket that a second lies in. `None` at the very ends of time.
    pub(crate) fn bucket(&self, interval: Interval, second: i64) -> Option<Bucket> {
        match interval.width() {
            Some(width) => Some(Bucket::of(second, width)),
            None => self.day(second),
        }
    }

    /// When nothing more is expected in a bucket: its end, or for a day, the end of its session if that is known.
    pub(crate) fn close_of(&self, interval: Interval, bucket: Bucket) -> i64 {
        if interval != Interval::Day {
            return bucket.end;
        }
        let session = self.sessions.iter().rev().find(|session| bucket.contains(session.start));
        session.map_or(bucket.end, |session| session.end.min(bucket.end))
    }

    /// How many intervals lie between two buckets, the first of which ends at `from` and the second of which begins at
    /// `to`. With sessions, only what lies inside of them counts.
    pub(crate) fn between(&self, interval: Interval, from: i64, to: i64) -> i64 {
        if to <= from {
            return 0;
        }
        match (interval.width(), self.sessions.is_empty()) {
            (Some(width), true) => to.saturating_sub(from) / width,
            (Some(width), false) => self.sessions.iter().map(|session| overlap(*session, from, to, width)).sum(),
            (None, true) => self.days_between(from, to),
            (None, false) => {
                self.sessions.iter().filter(|session| from <= session.start && session.start < to).count() as i64
            }
        }
    }

    fn day(&self, second: i64) -> Option<Bucket> {
        let date = Timestamp::from_second(second).ok()?.to_zoned(self.zone.clone()).date();
        // Where clocks skip midnight, the day begins with the first second that exists.
        let start = date.to_zoned(self.zone.clone()).ok()?.timestamp();
        let end = date.tomorrow().ok()?.to_zoned(self.zone.clone()).ok()?.timestamp();
        Some(Bucket { start: second_of(start), end: second_of(end) })
    }

    fn days_between(&self, from: i64, to: i64) -> i64 {
        let date = |second| Some(Timestamp::from_second(second).ok()?.to_zoned(self.zone.clone()).date());
        let days = || Some(i64::from(date(from)?.until(date(to)?).ok()?.get_days()));
        days().unwrap_or_default().max(0)
    }
}

/// How many buckets of a session lie between two others.
fn overlap(session: Bucket, from: i64, to: i64, width: i64) -> i64 {
    let first = Bucket::of(session.start, width).start.max(from);
    let last = Bucket::of(session.end.saturating_sub(1), width).end.min(to);
    (last.saturating_sub(first) / width).max(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn calendar(zone: &str) -> Calendar {
        Calendar::new(TimeZone::get(zone).unwrap())
    }

    fn shown(bucket: Bucket) -> String {
        let start = Timestamp::from_second(bucket.start).unwrap();
        format!("{start} {}h", (bucket.end - bucket.start) / 3_600)
    }

    #[test]
    fn a_day_has_as_many_hours_as_its_clocks() {
        for (zone, time, expected) in [
            ("UTC", "2026-03-08T23:59:59Z", "2026-03-08T00:00:00Z 24h"),
            ("America/New_York", "2026-03-07T12:00:00Z", "2026-03-07T05:00:00Z 24h"),
            ("America/New_York", "2026-03-08T12:00:00Z", "2026-03-08T05:00:00Z 23h"),
            ("America/New_York", "2026-11-01T12:00:00Z", "2026-11-01T04:00:00Z 25h"),
            ("Europe/London", "2026-03-29T00:30:00Z", "2026-03-29T00:00:00Z 23h"),
            ("Asia/Kolkata", "2026-06-01T18:29:59Z", "2026-05-31T18:30:00Z 24h"),
            // Clocks went from 24:00 to 01:00, so the day began an hour late.
            ("America/Sao_Paulo", "2018-11-04T12:00:00Z", "2018-11-04T03:00:00Z 23h"),
        ] {
            let bucket = calendar(zone).bucket(Interval::Day, second_of(at(time))).unwrap();
            assert_eq!(shown(bucket), expected, "{zone} {time}");
        }
    }

    #[test]
    fn without_sessions_every_interval_counts() {
        let calendar = calendar("America/New_York");
        let day = |text| calendar.bucket(Interval::Day, second_of(at(text))).unwrap();
        let (friday, monday) = (day("2026-03-06T18:00:00Z"), day("2026-03-09T18:00:00Z"));
        assert_eq!(calendar.between(Interval::Day, friday.end, monday.start), 2);
        assert_eq!(calendar.between(Interval::Hour, friday.end, monday.start), 47);
        assert_eq!(calendar.between(Interval::Day, monday.end, friday.start), 0);
        assert_eq!(calendar.close_of(Interval::Day, friday), friday.end);
    }

    #[test]
    fn with_sessions_only_time_inside_of_them_counts() {
        let mut calendar = calendar("America/New_York");
        // Thanksgiving of 2026: closed on Thursday, a half day on Friday.
        calendar.tell_session(at("2026-11-25T14:30:00Z"), at("2026-11-25T21:00:00Z"));
        calendar.tell_session(at("2026-11-27T14:30:00Z"), at("2026-11-27T21:00:00Z"));
        calendar.tell_session(at("2026-11-27T14:30:00Z"), at("2026-11-27T18:00:00Z"));
        calendar.tell_session(at("2026-11-30T14:30:00Z"), at("2026-11-30T21:00:00Z"));
        let second = |text| second_of(at(text));
        let day = |text| calendar.bucket(Interval::Day, second(text)).unwrap();
        let (wednesday, friday) = (day("2026-11-25T18:00:00Z"), day("2026-11-27T18:00:00Z"));
        assert_eq!(calendar.between(Interval::Day, wednesday.end, friday.start), 0);
        assert_eq!(calendar.between(Interval::Day, wednesday.end, day("2026-11-30T18:00:00Z").start), 1);
        assert_eq!(calendar.close_of(Interval::Day, friday), second("2026-11-27T18:00:00Z"));
        // From the last minute of Wednesday to that of Monday's first hour: the half day has 210 minutes.
        let (from, to) = (second("2026-11-25T21:00:00Z"), second("2026-11-30T14:40:00Z"));
        assert_eq!(calendar.between(Interval::Minute, from, to), 210 + 10);
    }

    #[test]
    fn sessions_are_bounded_and_absurd_ones_are_passed_over() {
        let mut calendar = Calendar::default();
        calendar.tell_session(Timestamp::MAX, Timestamp::MIN);
        assert!(calendar.sessions.is_empty());
        for day in 0..500 {
            let open = Timestamp::from_second(day * 86_400 + 3_600).unwrap();
            calendar.tell_session(open, Timestamp::from_second(day * 86_400 + 7_200).unwrap());
        }
        assert_eq!(calendar.sessions.len(), SESSIONS_MAX);
        assert_eq!(calendar.sessions[0].start, 100 * 86_400 + 3_600);
        assert!(calendar.bucket(Interval::Day, i64::MAX).is_none());
        assert!(calendar.bucket(Interval::Second, i64::MAX).is_some());
    }
}
