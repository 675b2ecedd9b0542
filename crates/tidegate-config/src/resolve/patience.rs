//! What a listener takes from its clients: bounds, times, connections.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::{File, Resolver, place_of};
use crate::decode::{Bytes, Count, Field, Time};
use crate::diag::Code;
use crate::raw::{RawHeadLimits, RawHttp2, RawListener, RawTimeouts};
use crate::units;
use crate::valid::{HeadLimits, Http2Limits, ListenerLimits, Timeouts};

const KIB: u32 = 1024;
const MIB: u32 = 1024 * KIB;

/// The parser's own buffer ends at 64 KiB, and must not be the one that refuses.
const HEAD: RangeInclusive<u32> = KIB..=60 * KIB;
const URI: RangeInclusive<u32> = 64..=32 * KIB;
const FIELDS: RangeInclusive<u32> = 10..=1_000;
const STREAMS: RangeInclusive<u32> = 1..=10_000;
const STREAM_WINDOW: RangeInclusive<u32> = 16 * KIB..=16 * MIB;
/// HTTP/2 cannot announce a smaller one.
const CONNECTION_WINDOW: RangeInclusive<u32> = 64 * KIB..=256 * MIB;
const HEADER_LIST: RangeInclusive<u32> = KIB..=256 * KIB;
const FRAMES: RangeInclusive<u32> = 100..=1_000_000;
const CONNECTIONS: RangeInclusive<u32> = 1..=10_000_000;
const RATE: RangeInclusive<u32> = 1..=MIB;

/// Below it clients on a slow network would fail, above it a client is not slow but gone.
const PATIENCE: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(86_400);
const AGE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(30 * 86_400);

impl Resolver<'_> {
    /// Every problem is reported; `None` if there was one.
    pub(super) fn listener_limits(&mut self, raw: &RawListener) -> Option<ListenerLimits> {
        let built_in = ListenerLimits::default();
        let head = self.head_limits(raw.limits.value());
        let timeouts = self.timeouts(raw.timeouts.value(), raw.http2.value());
        let http2 = self.http2_limits(raw.http2.value());
        let max_connections = self.count_or_none(&raw.max_connections, built_in.max_connections);
        let per_ip = self.count_or_none(&raw.max_connections_per_ip, built_in.max_connections_per_ip);
        if raw.limits.is_invalid() || raw.timeouts.is_invalid() || raw.http2.is_invalid() {
            return None;
        }
        let (ping_interval, ping_timeout, timeouts) = timeouts?;
        let (head, http2) = (head?, Http2Limits { ping_interval, ping_timeout, ..http2? });
        let (max_connections, max_connections_per_ip) = (max_connections?, per_ip?);
        Some(ListenerLimits { head, timeouts, http2, max_connections, max_connections_per_ip })
    }

    fn head_limits(&mut self, raw: Option<&RawHeadLimits>) -> Option<HeadLimits> {
        let built_in = HeadLimits::default();
        let Some(raw) = raw else { return Some(built_in) };
        let head = self.size(&raw.head, built_in.head, HEAD);
        let fields = self.number(&raw.fields, built_in.fields, FIELDS);
        let uri = self.size(&raw.uri, built_in.uri, URI);
        let mut limits = HeadLimits { head: head?, fields: fields?, uri: uri? };
        if raw.uri.is_missing() {
            limits.uri = limits.uri.min(limits.head);
        }
        if limits.uri > limits.head
            && let Some(place) = place_of(&raw.uri)
        {
            let message = "a URI may be longer than the head that it stands in";
            self.error_with(Code::Conflict, place, message, "\"uri\" is at most \"head\"");
            return None;
        }
        Some(limits)
    }

    /// The interval of pings, the patience with their answers, and all others.
    fn timeouts(
        &mut self,
        raw: Option<&RawTimeouts>,
        http2: Option<&RawHttp2>,
    ) -> Option<(Duration, Duration, Timeouts)> {
        let (times, pings) = (Timeouts::default(), Http2Limits::default());
        let raw = raw.cloned().unwrap_or_default();
        let http2 = http2.cloned().unwrap_or_default();
        let mut patience = |field: &Field<Time>, default| self.time_within(field, default, &PATIENCE);
        let handshake = patience(&raw.handshake, times.handshake);
        let head = patience(&raw.head, times.head);
        let body_idle = patience(&raw.body_idle, times.body_idle);
        let body_grace = patience(&raw.body_grace, times.body_grace);
        let write = patience(&raw.write, times.write);
        let idle = patience(&raw.idle, times.idle);
        let ping_interval = patience(&http2.ping_interval, pings.ping_interval);
        let ping_timeout = patience(&http2.ping_timeout, pings.ping_timeout);
        let body_rate = match &raw.body_rate {
            Field::Null(_) => Some(None),
            field => self.size(field, times.body_rate.unwrap_or(KIB), RATE).map(Some),
        };
        let age = match &raw.age {
            Field::Null(_) => Some(None),
            field => self.time_within(field, times.age.unwrap_or_default(), &AGE).map(Some),
        };
        let timeouts = Timeouts {
            handshake: handshake?,
            head: head?,
            body_idle: body_idle?,
            body_grace: body_grace?,
            body_rate: body_rate?,
            write: write?,
            idle: idle?,
            age: age?,
        };
        Some((ping_interval?, ping_timeout?, timeouts))
    }

    /// Without the times, which are read with the others.
    fn http2_limits(&mut self, raw: Option<&RawHttp2>) -> Option<Http2Limits> {
        let built_in = Http2Limits::default();
        let Some(raw) = raw else { return Some(built_in) };
        let max_streams = self.number(&raw.max_streams, built_in.max_streams, STREAMS);
        let stream_window = self.size(&raw.stream_window, built_in.stream_window, STREAM_WINDOW);
        let connection_window = self.size(&raw.connection_window, built_in.connection_window, CONNECTION_WINDOW);
        let header_list = self.size(&raw.header_list, built_in.header_list, HEADER_LIST);
        let max_frames = self.number(&raw.max_frames, built_in.max_frames, FRAMES);
        let (stream_window, connection_window) = (stream_window?, connection_window?);
        if stream_window > connection_window
            && let Some(place) = place_of(&raw.stream_window).or(place_of(&raw.connection_window))
        {
            let message = "one body may have more on its way than all bodies together";
            self.error_with(Code::Conflict, place, message, "\"stream_window\" is at most \"connection_window\"");
            return None;
        }
        let (max_streams, header_list, max_frames) = (max_streams?, header_list?, max_frames?);
        Some(Http2Limits { max_streams, stream_window, connection_window, header_list, max_frames, ..built_in })
    }

    /// Nobody may say who a client is unless somebody may.
    pub(super) fn check_proxy_protocol(&mut self, files: &[File], main: &File) {
        let proxies = main.raw.client_ip.value().map(|client| &client.trusted_proxies);
        if proxies.is_some_and(|proxies| proxies.is_invalid() || proxies.value().is_some_and(|list| !list.is_empty())) {
            return;
        }
        for item in files.iter().filter_map(|file| file.raw.listeners.value()).flatten() {
            if let Some(asked) = item.value.proxy_protocol.set().filter(|asked| asked.value) {
                let message = "\"proxy_protocol\" needs proxies that may tell who a client is";
                let help = "name them in client_ip: { trusted_proxies: [\"10.0.0.0/8\"] }";
                self.error_with(Code::MissingKey, &asked.place, message, help);
            }
        }
    }

    fn count_or_none(&mut self, field: &Field<Count>, default: Option<u32>) -> Option<Option<u32>> {
        match field {
            Field::Null(_) => Some(None),
            Field::Absent => Some(default),
            Field::Set(_) | Field::Invalid => self.number(field, 1, CONNECTIONS).map(Some),
        }
    }

    fn number(&mut self, field: &Field<Count>, default: u32, range: RangeInclusive<u32>) -> Option<u32> {
        self.within(field, default, *range.start(), *range.end())
    }

    /// A size within bounds.
    fn size(&mut self, field: &Field<Bytes>, default: u32, range: RangeInclusive<u32>) -> Option<u32> {
        let Some(item) = field.set() else { return (!field.is_invalid()).then_some(default) };
        let size = u32::try_from(item.value.0).ok().filter(|size| range.contains(size));
        if size.is_none() {
            let [least, most] = [range.start(), range.end()].map(|bound| units::bytes_text(u64::from(*bound)));
            self.error(Code::InvalidValue, &item.place, format!("this size is from {least} to {most}"));
        }
        size
    }

    /// A duration within bounds.
    pub(super) fn time_within(
        &mut self,
        field: &Field<Time>,
        default: Duration,
        range: &RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let Some(item) = field.set() else { return (!field.is_invalid()).then_some(default) };
        if !range.contains(&item.value.0) {
            let [least, most] = [range.start(), range.end()].map(|bound| units::duration_text(*bound));
            self.error(Code::InvalidValue, &item.place, format!("this duration is from {least} to {most}"));
            return None;
        }
        Some(item.value.0)
    }
}
