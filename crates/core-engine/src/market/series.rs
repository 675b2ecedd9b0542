//! The bars of one symbol from one source that may still change.
//!
//! ```text
//!             joins, dirty                    a newer bar begins, or its time is over
//!   running ───────────────► told as Open  ─────────────────────────────────────────► told as Closed
//!                                                       joins late, dirty │  ▲
//!                                                                         └──┴─ told as Corrected
//!   and once nothing can join any more: it leaves (the history and the store have it)
//! ```
//!
//! Time is that of the ticks, not of the clock: between ticks it is assumed to go on as the clock does, so that the
//! last bar of a silent symbol is closed as well, and a day that is replayed closes its bars as it did then.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use rust_decimal::Decimal;

use super::bars::{BarCounts, BarLimits, BarState, Delivered, Event, Taken};
use super::calendar::Calendar;
use super::interval::{Bucket, Interval, second_of};
use super::ohlcv::{Moment, Ohlcv, Sums, Trade};

/// Days that a source may deliver again.
const DAYS_AGAIN: i64 = 3;
/// Bars of one interval that are taken back from the store; enough to roll two hours of minutes and two days of hours
/// up again.
pub(super) const RESTORED_MAX: usize = 180;

/// The bars of one symbol from one source.
#[derive(Default, Debug)]
pub(super) struct Series {
    calendar: Calendar,
    /// The time of the newest tick and what the clock said then.
    newest: Option<(Timestamp, Timestamp)>,
    /// The source was connected again: should its time go back now, then it begins anew.
    restarted: bool,
    /// The finest interval whose bars the source delivers itself; from the first of them on, ticks make none.
    delivered: Option<Interval>,
    levels: [Level; 4],
}

/// The bars of one interval, sorted.
#[derive(Default, Debug)]
struct Level {
    recent: VecDeque<Running>,
    /// The end of the last bar that left.
    left: Option<i64>,
}

#[derive(Debug)]
struct Running {
    bucket: Bucket,
    /// When nothing more is expected.
    close: i64,
    bar: Ohlcv,
    /// Delivered by the source, not rolled up.
    own: bool,
    /// Changed since it was told.
    dirty: bool,
    told_closed: bool,
}

/// Where a tick goes in one level.
#[derive(Clone, Copy)]
enum Place {
    Joins { index: usize, sums: Sums },
    Begins { index: usize, bucket: Bucket },
}

/// Where events and counts go.
pub(super) struct Told<'a> {
    pub(super) counts: &'a mut BarCounts,
    pub(super) events: &'a mut dyn FnMut(Event),
}

impl Series {
    pub(super) fn calendar(&self) -> &Calendar {
        &self.calendar
    }

    pub(super) fn calendar_mut(&mut self) -> &mut Calendar {
        &mut self.calendar
    }

    /// Changes the calendar. A day that does not begin as the new zone's do is told a last time and forgotten.
    pub(super) fn set_calendar(&mut self, calendar: Calendar, told: &mut Told<'_>) {
        self.calendar = calendar;
        let [.., days] = &mut self.levels;
        let fits = |running: &mut Running| match self.calendar.bucket(Interval::Day, running.bucket.start) {
            Some(bucket) if bucket.start == running.bucket.start => {
                running.bucket = bucket;
                running.close = self.calendar.close_of(Interval::Day, bucket);
                true
            }
            _ => false,
        };
        if !days.recent.iter_mut().all(fits) {
            days.clear(Interval::Day, told);
        }
    }

    /// The source was connected again, or begins its file again.
    pub(super) fn restart(&mut self) {
        self.restarted = true;
    }

    /// Takes back a bar that was stored; oldest first. One that is older than what is there is passed over. Of bars
    /// that were made of ticks, only those are held that a late tick may still join.
    pub(super) fn restore(&mut self, interval: Interval, start: i64, bar: &Ohlcv, limits: &BarLimits) {
        let fits = self.calendar.bucket(interval, start).filter(|bucket| bucket.start == start);
        let bucket = match (fits, interval) {
            (Some(bucket), _) => bucket,
            // The zone is not known yet; once it is, the day gets its end.
            (None, Interval::Day) => Bucket { start, end: start.saturating_add(86_400) },
            (None, _) => return,
        };
        let close = self.calendar.close_of(interval, bucket);
        let Some(level) = self.levels.get_mut(interval.index()) else { return };
        if let Some(last) = level.recent.back_mut() {
            if start <= last.bucket.start {
                return;
            }
            last.bucket.end = last.bucket.end.min(start);
        }
        let horizon = bar.first.at.checked_sub(limits.allowance).map_or(i64::MIN, second_of);
        let leaves = |first: &mut Running| bar.count > 0 && first.bucket.end <= horizon;
        while level.recent.len() >= RESTORED_MAX || level.recent.front_mut().is_some_and(leaves) {
            level.left = level.recent.pop_front().map(|first| first.bucket.end);
        }
        if let Some(before) = level.recent.back_mut() {
            before.told_closed = true;
        }
        level.recent.push_back(Running { bucket, close, bar: *bar, own: false, dirty: false, told_closed: false });
        let newest = self.newest.map_or(bar.last.at, |(newest, _)| newest.max(bar.last.at));
        self.newest = Some((newest, newest));
        self.restarted = true;
        if bar.count == 0 {
            self.delivered = Some(self.delivered.map_or(interval, |finest| finest.min(interval)));
        }
    }

    /// Lets a tick join the bars that it belongs to.
    pub(super) fn trade(&mut self, trade: &Trade, now: Timestamp, limits: &BarLimits, told: &mut Told<'_>) -> Taken {
        let at = trade.moment.at;
        if self.delivered.is_some() {
            return Taken::Covered;
        }
        if is_after(at, now, limits.skew) {
            return Taken::Future;
        }
        let Some(bar) = Ohlcv::of(trade) else { return Taken::Overflow };
        if self.newest.is_some_and(|(newest, _)| is_after(newest, at, limits.allowance)) {
            if !self.restarted {
                return Taken::Late;
            }
            self.begin_anew(told);
        }
        let second = second_of(at);
        // First all places, then all changes: a tick joins every bar or none.
        let [seconds, minutes, hours, days] = &self.levels;
        let place = |level: &Level, interval| level.place(second, interval, &bar, &self.calendar);
        let places = [
            place(seconds, Interval::Second),
            place(minutes, Interval::Minute),
            place(hours, Interval::Hour),
            place(days, Interval::Day),
        ];
        if places.iter().any(Option::is_none) {
            return Taken::Overflow;
        }
        let late = self.newest.is_some_and(|(newest, _)| at < newest);
        let newest = self.newest.map_or(at, |(newest, _)| newest.max(at));
        self.newest = Some((newest, now));
        self.restarted = false;
        let horizon = newest.checked_sub(limits.allowance).map_or(i64::MIN, second_of);
        for ((interval, level), place) in
            Interval::ALL.into_iter().zip(&mut self.levels).zip(places.into_iter().flatten())
        {
            match place {
                Place::Joins { index, sums } => level.join(index, &bar, sums, interval, told),
                Place::Begins { index, bucket } => {
                    level.begin(index, bucket, bar, false, interval, &self.calendar, told);
                    level.leave(horizon, interval, told);
                }
            }
        }
        if late { Taken::Merged } else { Taken::Newest }
    }

    /// Takes a bar that the source made itself, in place of the one it delivered before, and rolls it up.
    pub(super) fn deliver(
        &mut self,
        interval: Interval,
        delivered: &Delivered,
        now: Timestamp,
        limits: &BarLimits,
        told: &mut Told<'_>,
    ) -> Taken {
        let second = second_of(delivered.at);
        let Some(bucket) = self.calendar.bucket(interval, second) else { return Taken::Overflow };
        let (Ok(start), Ok(end)) = (Timestamp::from_second(bucket.start), Timestamp::from_second(bucket.end)) else {
            return Taken::Overflow;
        };
        if is_after(start, now, limits.skew) {
            return Taken::Future;
        }
        let Some(bar) = delivered.bar(start) else { return Taken::Overflow };
        if self.delivered.is_none() {
            self.begin_anew(told);
        }
        let horizon = self.horizon(interval);
        if bucket.start < horizon {
            if !self.restarted {
                return Taken::Late;
            }
            self.begin_anew(told);
        }
        self.restarted = false;
        self.delivered = Some(self.delivered.map_or(interval, |finest| finest.min(interval)));
        let late = self.level(interval).is_some_and(|level| level.last_start() > Some(bucket.start));
        let newest = self.newest.map_or(end.min(now), |(newest, _)| newest.max(end.min(now)));
        self.newest = Some((newest, now));
        let outcome = self.put(interval, bucket, bar, true, told);
        self.roll_up(interval, bucket, told);
        for interval in Interval::ALL {
            let horizon = self.horizon(interval);
            if let Some(level) = self.levels.get_mut(interval.index()) {
                level.leave(horizon, interval, told);
                level.tell(second_of(newest), interval, false, told);
            }
        }
        match outcome {
            Taken::Newest if late => Taken::Merged,
            other => other,
        }
    }

    /// Tells what changed, and closes bars whose time is over.
    pub(super) fn advance(&mut self, now: Timestamp, told: &mut Told<'_>) {
        let Some((newest, seen)) = self.newest else { return };
        let passed = now.duration_since(seen).max(SignedDuration::ZERO);
        let Ok(reached) = newest.checked_add(passed) else { return };
        for (interval, level) in Interval::ALL.into_iter().zip(&mut self.levels) {
            // A bar of one second is told when it is over: telling it before is hardly earlier.
            level.tell(second_of(reached), interval, interval != Interval::Second, told);
        }
    }

    /// Bars that may still change, of all intervals.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.levels.iter().map(|level| level.recent.len()).sum()
    }

    fn level(&self, interval: Interval) -> Option<&Level> {
        self.levels.get(interval.index())
    }

    fn begin_anew(&mut self, told: &mut Told<'_>) {
        for (interval, level) in Interval::ALL.into_iter().zip(&mut self.levels) {
            level.clear(interval, told);
        }
        self.newest = None;
    }

    /// The first second of which bars of this interval may be delivered: the last two bars of the next wider interval
    /// can be rolled up again, because all their parts are still there.
    fn horizon(&self, interval: Interval) -> i64 {
        let Some(last) = self.level(interval).and_then(Level::last_start) else { return i64::MIN };
        let wider = Interval::ALL.get(interval.index().saturating_add(1));
        let before = |start: i64, wider| {
            let newest = self.calendar.bucket(wider, start)?;
            Some(self.calendar.bucket(wider, newest.start.saturating_sub(1))?.start)
        };
        match wider {
            Some(wider) => before(last, *wider).unwrap_or(i64::MIN),
            None => last.saturating_sub(DAYS_AGAIN.saturating_mul(86_400)),
        }
    }

    fn put(&mut self, interval: Interval, bucket: Bucket, bar: Ohlcv, own: bool, told: &mut Told<'_>) -> Taken {
        let Some(level) = self.levels.get_mut(interval.index()) else { return Taken::Overflow };
        let index = match level.find(bucket.start) {
            Ok(index) => index,
            Err(index) => {
                level.begin(index, bucket, bar, own, interval, &self.calendar, told);
                return Taken::Newest;
            }
        };
        match level.recent.get_mut(index) {
            // What the source says of the bar itself counts more than what its parts add up to.
            Some(running) if running.own && !own => Taken::Unchanged,
            Some(running) if running.bar == bar => {
                running.own = own;
                Taken::Unchanged
            }
            Some(running) => {
                (running.bar, running.own, running.dirty) = (bar, own, true);
                Taken::Newest
            }
            None => Taken::Unchanged,
        }
    }

    /// Makes the wider bars around a bucket anew from their parts.
    fn roll_up(&mut self, from: Interval, bucket: Bucket, told: &mut Told<'_>) {
        for pair in Interval::ALL.windows(2) {
            let [part, wider] = *pair else { continue };
            if part < from {
                continue;
            }
            let Some(around) = self.calendar.bucket(wider, bucket.start) else { return };
            let Some(bar) = self.level(part).and_then(|level| level.sum(around)) else {
                told.counts.refused_overflow = told.counts.refused_overflow.saturating_add(1);
                return;
            };
            self.put(wider, around, bar, false, told);
        }
    }
}

impl Level {
    fn last_start(&self) -> Option<i64> {
        self.recent.back().map(|last| last.bucket.start)
    }

    /// The bar that a second lies in, or where it would be. From the back, where almost every tick belongs.
    fn find(&self, second: i64) -> Result<usize, usize> {
        for (index, running) in self.recent.iter().enumerate().rev() {
            if running.bucket.contains(second) {
                return Ok(index);
            }
            if running.bucket.end <= second {
                return Err(index.saturating_add(1));
            }
        }
        Err(0)
    }

    /// `None` if the sums would overflow, or the bucket lies at the end of time.
    fn place(&self, second: i64, interval: Interval, bar: &Ohlcv, calendar: &Calendar) -> Option<Place> {
        match self.find(second) {
            Ok(index) => Some(Place::Joins { index, sums: self.recent.get(index)?.bar.sums_with(bar)? }),
            Err(index) => Some(Place::Begins { index, bucket: calendar.bucket(interval, second)? }),
        }
    }

    fn join(&mut self, index: usize, bar: &Ohlcv, sums: Sums, interval: Interval, told: &mut Told<'_>) {
        let is_last = index.saturating_add(1) >= self.recent.len();
        let Some(running) = self.recent.get_mut(index) else { return };
        running.bar.join(bar, sums);
        running.dirty = true;
        if !is_last {
            running.tell(interval, true, told);
        }
    }

    /// Puts a new bar in its place: the bar before is over, and what lies between them is missing.
    #[expect(clippy::too_many_arguments, reason = "the parts of one bar, known to two callers")]
    fn begin(
        &mut self,
        index: usize,
        bucket: Bucket,
        bar: Ohlcv,
        own: bool,
        interval: Interval,
        calendar: &Calendar,
        told: &mut Told<'_>,
    ) {
        let before = match index.checked_sub(1) {
            Some(before) => self.recent.get(before).map(|before| before.bucket.end),
            None => self.left,
        };
        let after = self.recent.get(index).map(|after| after.bucket.start);
        let between = |from: Option<i64>, to: Option<i64>| match (from, to) {
            (Some(from), Some(to)) => calendar.between(interval, from, to),
            _ => 0,
        };
        let missing_before = between(before, Some(bucket.start));
        let missing = missing_before + between(Some(bucket.end), after) - between(before, after);
        if let Some(sum) = told.counts.missing.get_mut(interval.index()) {
            *sum = sum.saturating_add(missing).max(0);
        }
        if let (None, Some(from), 1..) = (after, before, missing_before) {
            told.counts.gaps = told.counts.gaps.saturating_add(1);
            (told.events)(Event::Gap { interval, from, to: bucket.start, missing: missing_before });
        }
        let close = calendar.close_of(interval, bucket);
        self.recent.insert(index, Running { bucket, close, bar, own, dirty: true, told_closed: false });
        let over = if after.is_some() { Some(index) } else { index.checked_sub(1) };
        if let Some(over) = over.and_then(|over| self.recent.get_mut(over)) {
            over.tell(interval, true, told);
        }
    }

    /// Lets the bars go that ended before the horizon, but never the last one.
    fn leave(&mut self, horizon: i64, interval: Interval, told: &mut Told<'_>) {
        while self.recent.len() > 1 && self.recent.front().is_some_and(|first| first.bucket.end <= horizon) {
            if let Some(mut first) = self.recent.pop_front() {
                first.tell(interval, true, told);
                self.left = Some(first.bucket.end);
            }
        }
    }

    /// Tells the bars that were over at a second, and if asked for, those that still run.
    fn tell(&mut self, second: i64, interval: Interval, running_too: bool, told: &mut Told<'_>) {
        for running in &mut self.recent {
            let over = running.close <= second;
            if over || running_too {
                running.tell(interval, over, told);
            }
        }
    }

    fn clear(&mut self, interval: Interval, told: &mut Told<'_>) {
        self.recent.iter_mut().filter(|running| running.dirty).for_each(|running| running.tell(interval, false, told));
        *self = Self::default();
    }

    /// All bars inside of a bucket as one.
    fn sum(&self, around: Bucket) -> Option<Ohlcv> {
        let mut inside = self.recent.iter().filter(|part| around.contains(part.bucket.start)).map(|part| &part.bar);
        let first = *inside.next()?;
        inside.try_fold(first, |mut sum, part| {
            let sums = sum.sums_with(part)?;
            sum.join(part, sums);
            Some(sum)
        })
    }
}

impl Running {
    /// Tells the bar if it changed or is over for the first time.
    fn tell(&mut self, interval: Interval, over: bool, told: &mut Told<'_>) {
        let state = match (over || self.told_closed, self.told_closed) {
            (true, true) if self.dirty => BarState::Corrected,
            (true, false) => BarState::Closed,
            (false, _) if self.dirty => BarState::Open,
            _ => return,
        };
        match state {
            BarState::Open => {}
            BarState::Closed => told.counts.closed = told.counts.closed.saturating_add(1),
            BarState::Corrected => told.counts.corrected = told.counts.corrected.saturating_add(1),
        }
        self.told_closed |= over;
        self.dirty = false;
        (told.events)(Event::Bar { interval, bucket: self.bucket, bar: self.bar, state });
    }
}

impl Delivered {
    /// The bar, as if its typical price had been paid for all of its volume.
    fn bar(&self, start: Timestamp) -> Option<Ohlcv> {
        let typical = self.high.checked_add(self.low)?.checked_add(self.close)?.checked_div(Decimal::from(3))?;
        let moment = Moment { at: start, sequence: 0 };
        Some(Ohlcv {
            open: self.open,
            high: self.high.max(self.open).max(self.close),
            low: self.low.min(self.open).min(self.close),
            close: self.close,
            volume: self.volume,
            turnover: typical.checked_mul(self.volume)?,
            count: 0,
            first: moment,
            last: moment,
        })
    }
}

/// Whether a time lies more than a span after another.
fn is_after(later: Timestamp, earlier: Timestamp, span: SignedDuration) -> bool {
    later > earlier && later.duration_since(earlier) > span
}
