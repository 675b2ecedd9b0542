//! Frames as data, so that illegal ones can be written as easily as legal ones.

use proptest::prelude::*;
use tidegate_ws::{Event, Fault, Limits, Reader, Side};

/// One frame of a client.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) first: u8,
    pub(crate) masked: bool,
    pub(crate) payload: Vec<u8>,
}

pub(crate) fn frame(first: u8, payload: impl AsRef<[u8]>) -> Frame {
    Frame { first, masked: true, payload: payload.as_ref().to_vec() }
}

impl Frame {
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        const MASK: [u8; 4] = [0xa5, 0x01, 0x7f, 0x33];
        out.push(self.first);
        let masked = if self.masked { 0x80 } else { 0 };
        match self.payload.len() {
            short @ 0..126 => out.push(masked | u8::try_from(short).expect("short")),
            medium @ 126..65_536 => {
                out.push(masked | 126);
                out.extend(u16::try_from(medium).expect("medium").to_be_bytes());
            }
            long => {
                out.push(masked | 127);
                out.extend((long as u64).to_be_bytes());
            }
        }
        if self.masked {
            out.extend(MASK);
            out.extend(self.payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        } else {
            out.extend(&self.payload);
        }
    }
}

pub(crate) fn bytes(frames: &[Frame]) -> Vec<u8> {
    let mut out = Vec::new();
    for frame in frames {
        frame.write(&mut out);
    }
    out
}

/// An event that outlives its reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
    Fault(Fault),
}

pub(crate) fn seen(event: Event<'_>) -> Seen {
    match event {
        Event::Text(text) => Seen::Text(text.to_owned()),
        Event::Binary(bytes) => Seen::Binary(bytes.to_vec()),
        Event::Ping(bytes) => Seen::Ping(bytes.to_vec()),
        Event::Pong(bytes) => Seen::Pong(bytes.to_vec()),
        Event::Close(close) => Seen::Close(close.map(|close| (close.code, close.reason.to_owned()))),
    }
}

pub(crate) fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limits: Limits) -> Vec<Seen> {
    let mut reader = Reader::new(Side::Server, limits);
    let mut all = Vec::new();
    for mut piece in pieces {
        loop {
            match reader.next(&mut piece) {
                Ok(Some(event)) => all.push(seen(event)),
                Ok(None) => break,
                Err(fault) => all.push(Seen::Fault(fault)),
            }
        }
        assert!(piece.is_empty(), "bytes were left");
        reader.rest();
    }
    all
}

/// Mostly what a client may send, in any order, and sometimes what it may not.
pub(crate) fn any_frame() -> impl Strategy<Value = Frame> {
    let text = "[a-zé☃🌊]{0,40}".prop_map(String::into_bytes).boxed();
    let bytes = prop::collection::vec(any::<u8>(), 0..200);
    let close = prop_oneof![Just(vec![]), Just(vec![3, 232]), Just(b"\x0f\xa0bye".to_vec()), Just(vec![1])];
    prop_oneof![
        8 => text.clone().prop_map(|payload| frame(0x81, payload)),
        4 => text.clone().prop_map(|payload| frame(0x01, payload)),
        4 => text.clone().prop_map(|payload| frame(0x00, payload)),
        4 => text.prop_map(|payload| frame(0x80, payload)),
        3 => bytes.clone().prop_map(|payload| frame(0x82, payload)),
        1 => bytes.clone().prop_map(|payload| frame(0x02, payload)),
        1 => bytes.clone().prop_map(|payload| frame(0x80, payload)),
        1 => bytes.clone().prop_map(|payload| frame(0x81, payload)),
        2 => prop::collection::vec(any::<u8>(), 0..=125).prop_map(|payload| frame(0x89, payload)),
        2 => prop::collection::vec(any::<u8>(), 0..=125).prop_map(|payload| frame(0x8a, payload)),
        1 => close.prop_map(|payload| frame(0x88, payload)),
        1 => (any::<u8>(), any::<bool>(), bytes).prop_map(|(first, masked, payload)| Frame { first, masked, payload }),
        1 => (200_usize..70_000).prop_map(|length| frame(0x82, vec![7; length])),
    ]
}
