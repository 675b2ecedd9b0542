//! Counts the HTTP/2 frames of a client as their nine-byte headers pass. Pure; changes nothing.
//!
//! The h2 crate answers PING, SETTINGS, PRIORITY and WINDOW_UPDATE for ever. A client that sends more of these in a
//! second than any honest one is told to calm down by the owner of the connection. Requests and data are no part of
//! the count: a busy proxy sends tens of thousands of requests over one connection, each with a frame or two beside
//! it, and both are bounded elsewhere (streams, windows, h2's budget for small DATA frames).

use std::time::{Duration, Instant};

use super::clock::Place;

/// Frames, other than those of requests and data, that a connection may send in [`WINDOW`], unless the listener says
/// otherwise.
pub(crate) const MAX_FRAMES_PER_WINDOW: u32 = 10_000;

/// Such frames that each request adds to what is permitted: window updates, a reset.
const FRAMES_PER_REQUEST: u32 = 4;

/// See [`MAX_FRAMES_PER_WINDOW`].
const WINDOW: Duration = Duration::from_secs(1);

const PREFACE_LEN: usize = 24;
const HEADER_LEN: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// Follows the frames of one connection, from the preface on.
#[derive(Debug)]
pub(super) struct FrameMeter {
    /// Bytes to pass over: preface or payload.
    skip: usize,
    header: [u8; HEADER_LEN],
    header_len: usize,
    /// The first frame has begun, which is SETTINGS.
    begun: bool,
    /// A header block has begun and not ended.
    in_headers: bool,
    frames: u32,
    permitted: u32,
    /// What is permitted without a request.
    most: u32,
    /// When the count was zero; the clock is read once in at least `most` frames.
    since: Instant,
}

impl FrameMeter {
    /// `most`: frames in a second.
    pub(super) fn new(now: Instant, most: u32) -> Self {
        let header = [0; HEADER_LEN];
        Self {
            skip: PREFACE_LEN,
            header,
            header_len: 0,
            begun: false,
            in_headers: false,
            frames: 0,
            permitted: most,
            most,
            since: now,
        }
    }

    /// Reads the next bytes. `now` is asked for seldom. `false`: this client sends too many frames.
    #[must_use]
    pub(super) fn follow(&mut self, mut bytes: &[u8], now: impl Fn() -> Instant) -> bool {
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            let wanted = HEADER_LEN.saturating_sub(self.header_len);
            let taken = wanted.min(bytes.len());
            let (head, rest) = bytes.split_at_checked(taken).unwrap_or_default();
            if head.is_empty() {
                return true;
            }
            if let Some(place) = self.header.get_mut(self.header_len..self.header_len.saturating_add(taken)) {
                place.copy_from_slice(head);
            }
            self.header_len = self.header_len.saturating_add(taken);
            bytes = rest;
            if self.header_len == HEADER_LEN && !self.frame(&now) {
                return false;
            }
        }
    }

    /// A header block that is not complete has the deadline of a head, and so have the preface and the SETTINGS that
    /// every client must send first.
    pub(super) fn place(&self) -> Place {
        if self.in_headers || !self.begun { Place::Head } else { Place::Between }
    }

    fn frame(&mut self, now: &impl Fn() -> Instant) -> bool {
        let [a, b, c, kind, flags, ..] = self.header;
        self.skip = usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap_or(usize::MAX);
        self.header_len = 0;
        self.begun = true;
        if kind == HEADERS || kind == CONTINUATION {
            self.in_headers = flags & END_HEADERS == 0;
        }
        match kind {
            HEADERS => {
                self.permitted = self.permitted.saturating_add(FRAMES_PER_REQUEST);
                return true;
            }
            DATA if self.skip > 0 => return true,
            _ => self.frames = self.frames.saturating_add(1),
        }
        if self.frames < self.permitted {
            return true;
        }
        let now = now();
        let calm = now.saturating_duration_since(self.since) >= WINDOW;
        self.frames = 0;
        self.permitted = self.most;
        self.since = now;
        calm
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let [_, a, b, c] = u32::try_from(payload).unwrap().to_be_bytes();
        let mut bytes = vec![a, b, c, kind, flags, 0, 0, 0, 1];
        bytes.resize(HEADER_LEN + payload, 0xff);
        bytes
    }

    #[test]
    fn frames_are_counted_however_the_bytes_are_cut() {
        let start = Instant::now();
        let mut bytes = vec![b'P'; PREFACE_LEN];
        for _ in 0..50 {
            bytes.extend(frame(0, 0, 300));
            bytes.extend(frame(6, 0, 8));
        }
        for cut in [1, 2, 8, 9, 10, 33, bytes.len()] {
            let mut meter = FrameMeter::new(start, MAX_FRAMES_PER_WINDOW);
            assert!(bytes.chunks(cut).all(|piece| meter.follow(piece, || start)));
            assert_eq!(meter.frames, 50, "cut {cut}");
        }
    }

    #[test]
    fn an_open_header_block_is_a_head() {
        let start = Instant::now();
        let mut meter = FrameMeter::new(start, MAX_FRAMES_PER_WINDOW);
        assert!(meter.follow(&[b'P'; PREFACE_LEN], || start));
        assert_eq!(meter.place(), Place::Head, "SETTINGS are owed");
        assert!(meter.follow(&frame(4, 0, 0), || start));
        assert_eq!(meter.place(), Place::Between);
        assert!(meter.follow(&frame(HEADERS, 0, 5), || start));
        assert_eq!(meter.place(), Place::Head);
        assert!(meter.follow(&frame(CONTINUATION, END_HEADERS, 5), || start));
        assert_eq!(meter.place(), Place::Between);
    }

    #[test]
    fn only_too_many_frames_in_too_short_a_time_are_a_flood() {
        let ping = frame(6, 0, 8);
        for (seconds, calm) in [(0, false), (1, true)] {
            let start = Instant::now();
            let mut meter = FrameMeter::new(start, MAX_FRAMES_PER_WINDOW);
            assert!(meter.follow(&[b'P'; PREFACE_LEN], || start));
            let later = start + Duration::from_secs(seconds);
            let all = (0..MAX_FRAMES_PER_WINDOW).all(|_| meter.follow(&ping, || later));
            assert_eq!(all, calm, "{seconds} s");
        }
    }

    #[test]
    fn requests_and_what_belongs_to_them_are_no_flood() {
        let start = Instant::now();
        let mut meter = FrameMeter::new(start, MAX_FRAMES_PER_WINDOW);
        assert!(meter.follow(&[b'P'; PREFACE_LEN], || start));
        let request =
            [frame(HEADERS, END_HEADERS, 20), frame(DATA, 1, 5), frame(8, 0, 4), frame(8, 0, 4), frame(3, 0, 4)]
                .concat();
        assert!((0..100_000).all(|_| meter.follow(&request, || start)));
        let empty = frame(DATA, 0, 0);
        assert!(!(0..500_000).all(|_| meter.follow(&empty, || start)));
    }
}
