//! Follows the HTTP/2 frames of a client as their nine-byte headers pass. Pure; changes nothing.
//!
//! The h2 crate answers PING, SETTINGS, PRIORITY and WINDOW_UPDATE for ever. How many of them a client may send,
//! [`Burst`] and [`Chatter`] say; the owner of the connection tells who sends more to calm down. Requests and data are no
//! part of either count: a busy proxy sends tens of thousands of requests over one connection, each with a frame or two
//! beside it, and both are bounded elsewhere (streams, windows, h2's budget for small DATA frames).

use std::time::Instant;

use crate::telemetry::metrics::Flood;

use super::clock::Place;
use super::flood::{Burst, Chatter};

const PREFACE_LEN: usize = 24;
const HEADER_LEN: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// What answers to SETTINGS and to PING are as long as.
const SETTINGS_ACK_BYTES: u64 = 9;
const PING_ACK_BYTES: u64 = 17;

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
    burst: Burst,
    chatter: Chatter,
}

impl FrameMeter {
    /// `most`: frames in a second.
    pub(super) fn new(now: Instant, most: u32) -> Self {
        let header = [0; HEADER_LEN];
        let (burst, chatter) = (Burst::new(now, most), Chatter::new(now, most));
        Self { skip: PREFACE_LEN, header, header_len: 0, begun: false, in_headers: false, burst, chatter }
    }

    /// Reads the next bytes. `now` is asked for seldom.
    ///
    /// # Errors
    /// This client sends too many frames.
    pub(super) fn follow(&mut self, mut bytes: &[u8], now: impl Fn() -> Instant) -> Result<(), Flood> {
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            let wanted = HEADER_LEN.saturating_sub(self.header_len);
            let taken = wanted.min(bytes.len());
            let (head, rest) = bytes.split_at_checked(taken).unwrap_or_default();
            if head.is_empty() {
                return Ok(());
            }
            if let Some(place) = self.header.get_mut(self.header_len..self.header_len.saturating_add(taken)) {
                place.copy_from_slice(head);
            }
            self.header_len = self.header_len.saturating_add(taken);
            bytes = rest;
            if self.header_len == HEADER_LEN {
                self.frame(&now)?;
            }
        }
    }

    /// So many bytes have been written to the client.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.burst.sent(bytes as u64);
        self.chatter.sent(bytes as u64);
    }

    /// A header block that is not complete has the deadline of a head, and so have the preface and the SETTINGS that
    /// every client must send first.
    pub(super) fn place(&self) -> Place {
        if self.in_headers || !self.begun { Place::Head } else { Place::Between }
    }

    fn frame(&mut self, now: &impl Fn() -> Instant) -> Result<(), Flood> {
        let [a, b, c, kind, flags, ..] = self.header;
        self.skip = usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap_or(usize::MAX);
        self.header_len = 0;
        self.begun = true;
        if kind == HEADERS || kind == CONTINUATION {
            self.in_headers = flags & END_HEADERS == 0;
        }
        let asks = flags & ACK == 0;
        match kind {
            HEADERS => {
                self.burst.head();
                self.chatter.head();
                return Ok(());
            }
            DATA if self.skip > 0 => {
                self.chatter.piece();
                return Ok(());
            }
            PING if asks => self.chatter.owes(PING_ACK_BYTES),
            SETTINGS if asks => self.chatter.owes(SETTINGS_ACK_BYTES),
            _ => {}
        }
        if !self.burst.frame(now) {
            return Err(Flood::Frames);
        }
        if self.chatter.frame(now) { Ok(()) } else { Err(Flood::Control) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::flood::MAX_FRAMES_PER_WINDOW;
    use super::*;

    const PRIORITY: u8 = 2;
    const RST_STREAM: u8 = 3;
    const WINDOW_UPDATE: u8 = 8;
    const UNKNOWN: u8 = 0x42;
    const MILLISECOND: Duration = Duration::from_millis(1);

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let [_, a, b, c] = u32::try_from(payload).unwrap().to_be_bytes();
        let mut bytes = vec![a, b, c, kind, flags, 0, 0, 0, 1];
        bytes.resize(HEADER_LEN + payload, 0xff);
        bytes
    }

    fn ping() -> Vec<u8> {
        frame(PING, 0, 8)
    }

    fn window_update() -> Vec<u8> {
        frame(WINDOW_UPDATE, 0, 4)
    }

    /// A meter behind its preface.
    fn meter(start: Instant) -> FrameMeter {
        let mut meter = FrameMeter::new(start, MAX_FRAMES_PER_WINDOW);
        assert_eq!(meter.follow(&[b'P'; PREFACE_LEN], || start), Ok(()));
        meter
    }

    /// What comes of `times` times `bytes`, one every `pause`, each before `sent` bytes to the client.
    fn repeat(times: u32, bytes: &[u8], pause: Duration, sent: usize) -> Result<(), Flood> {
        let start = Instant::now();
        let mut meter = meter(start);
        (1..=times).try_for_each(|number| {
            meter.sent(sent);
            meter.follow(bytes, || start + pause * number)
        })
    }

    #[test]
    fn frames_are_counted_however_the_bytes_are_cut() {
        let start = Instant::now();
        let mut bytes = vec![b'P'; PREFACE_LEN];
        for _ in 0..500 {
            // The body makes room for one of them.
            bytes.extend([frame(DATA, 0, 300), ping(), frame(PRIORITY, 0, 5), frame(UNKNOWN, 0, 0)].concat());
        }
        bytes.extend(ping().repeat(999));
        for cut in [1, 2, 8, 9, 10, 33, bytes.len()] {
            let mut meter = FrameMeter::new(start, MAX_FRAMES_PER_WINDOW);
            assert!(bytes.chunks(cut).all(|piece| meter.follow(piece, || start).is_ok()), "cut {cut}");
            // Of 2,499 frames 500 are explained.
            let judged = ping().chunks(cut).try_for_each(|piece| meter.follow(piece, || start));
            assert_eq!(judged, Err(Flood::Control), "cut {cut}");
        }
    }

    #[test]
    fn an_open_header_block_is_a_head() {
        let start = Instant::now();
        let mut meter = FrameMeter::new(start, MAX_FRAMES_PER_WINDOW);
        assert_eq!(meter.follow(&[b'P'; PREFACE_LEN], || start), Ok(()));
        assert_eq!(meter.place(), Place::Head, "SETTINGS are owed");
        assert_eq!(meter.follow(&frame(4, 0, 0), || start), Ok(()));
        assert_eq!(meter.place(), Place::Between);
        assert_eq!(meter.follow(&frame(HEADERS, 0, 5), || start), Ok(()));
        assert_eq!(meter.place(), Place::Head);
        assert_eq!(meter.follow(&frame(CONTINUATION, END_HEADERS, 5), || start), Ok(()));
        assert_eq!(meter.place(), Place::Between);
    }

    #[test]
    fn only_too_many_frames_in_too_short_a_time_are_a_flood() {
        // Each is explained by what it is sent.
        let update = window_update();
        for (seconds, judged) in [(0, Err(Flood::Frames)), (1, Ok(()))] {
            let start = Instant::now();
            let mut meter = meter(start);
            meter.sent(30_000);
            let later = start + Duration::from_secs(seconds);
            let all = (0..MAX_FRAMES_PER_WINDOW + 10).try_for_each(|_| meter.follow(&update, || later));
            assert_eq!(all, judged, "{seconds} s");
        }
    }

    #[test]
    fn requests_and_what_belongs_to_them_are_no_flood() {
        let request = [
            frame(HEADERS, END_HEADERS, 20),
            frame(DATA, 1, 5),
            window_update(),
            window_update(),
            frame(RST_STREAM, 0, 4),
        ];
        assert_eq!(repeat(100_000, &request.concat(), Duration::ZERO, 0), Ok(()));
        assert!(repeat(500_000, &frame(DATA, 0, 0), Duration::ZERO, 0).is_err());
    }

    #[test]
    fn a_slow_flood_is_one_too() {
        for kind in [PING, SETTINGS, PRIORITY, WINDOW_UPDATE, UNKNOWN] {
            let slow = |times| repeat(times, &frame(kind, 0, 8), 5 * MILLISECOND, 0);
            assert_eq!((slow(1_999), slow(2_000)), (Ok(()), Err(Flood::Control)), "type {kind}: 10 s");
        }
        assert_eq!(repeat(9_000, &ping(), 20 * MILLISECOND, 17), Err(Flood::Control), "answers to it do not help");
        assert_eq!(repeat(9_000, &ping(), 20 * MILLISECOND, 0), Err(Flood::Control), "nor does reading none");
    }

    #[test]
    fn keep_alive_is_no_flood() {
        assert_eq!(repeat(17_280, &ping(), 5_000 * MILLISECOND, 17), Ok(()), "every 5 s for a day");
        assert_eq!(repeat(20_000, &ping(), 31 * MILLISECOND, 17), Ok(()), "32 in a second");
    }

    /// A gibibyte as fast as 100 MB/s.
    #[test]
    fn a_long_download_is_no_flood() {
        let updates = window_update().repeat(2);
        let whole = HEADER_LEN + 16_384;
        assert_eq!(repeat(65_536, &updates, MILLISECOND / 6, whole), Ok(()));
        assert_eq!(repeat(65_536, &updates, MILLISECOND / 6, 0), Err(Flood::Control), "without the download");
    }

    /// As gRPC clients do that measure the way, with the smallest pieces that there are, for more than a minute.
    #[test]
    fn a_client_that_says_three_things_to_each_piece_of_a_stream_is_no_flood() {
        let pieces = [ping(), window_update(), window_update()].concat();
        let sent = HEADER_LEN + 1 + 17;
        assert_eq!(repeat(200_000, &pieces, MILLISECOND, sent), Ok(()));
    }

    #[test]
    fn what_was_sent_long_ago_explains_nothing() {
        let start = Instant::now();
        let mut meter = meter(start);
        meter.sent(1 << 30);
        let judged =
            (0..1_000_000_u32).try_for_each(|number| meter.follow(&ping(), || start + MILLISECOND * number / 5));
        assert_eq!(judged, Err(Flood::Control));
    }

    #[test]
    fn a_listener_that_takes_more_in_a_second_takes_more_in_a_minute() {
        let start = Instant::now();
        let judged = |most: u32, frames: u32| {
            let mut meter = FrameMeter::new(start, most);
            let _preface = meter.follow(&[b'P'; PREFACE_LEN], || start);
            (1..=frames).try_for_each(|number| meter.follow(&ping(), || start + 3 * MILLISECOND * number))
        };
        assert_eq!(judged(1_000, 1_999), Ok(()), "never less than without the key");
        assert_eq!(judged(50_000, 9_999), Ok(()));
        assert_eq!(judged(50_000, 10_000), Err(Flood::Control));
    }
}
