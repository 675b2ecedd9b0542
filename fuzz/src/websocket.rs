//! Properties of the reader of WebSocket frames.

use tidegate_ws::{CloseFrame, Event, Fault, Follower, Limits, Opcode, Reader, Side, is_valid_code, write_frame};

const LIMITS: Limits = Limits { message: 300, fragments: 5 };

/// Input: what a peer sends. However it is cut the same comes of it, nothing is above its limit, nothing is said after
/// the end, and what was understood can be written and read again.
pub fn websocket(input: &[u8]) {
    for side in [Side::Server, Side::Client] {
        let whole = read(side, [input]);
        for size in [1, 2, 3, 7, 64] {
            assert_eq!(read(side, input.chunks(size)), whole, "in pieces of {size}");
        }
        for seen in &whole {
            if let Seen::Message(opcode, payload) = seen {
                assert!(payload.len() <= LIMITS.message, "{} bytes", payload.len());
                let mut out = Vec::new();
                write_frame(*opcode, payload, &mut out);
                assert_eq!(read(Side::Client, [&out[..]]), std::slice::from_ref(seen));
                let mut follower = Follower::default();
                follower.follow(&out);
                assert!(follower.is_between_frames());
            }
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Message(Opcode, Vec<u8>),
    Close(Option<u16>),
    Fault(Fault),
}

fn read<'a>(side: Side, pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Seen> {
    let mut reader = Reader::new(side, LIMITS);
    let mut all = Vec::new();
    let mut ended = false;
    for mut piece in pieces {
        loop {
            let event = reader.next(&mut piece);
            assert!(!ended || event == Ok(None), "something after the end");
            let seen = match event {
                Ok(None) => break,
                Ok(Some(Event::Text(text))) => Seen::Message(Opcode::Text, text.as_bytes().to_vec()),
                Ok(Some(Event::Binary(bytes))) => Seen::Message(Opcode::Binary, bytes.to_vec()),
                Ok(Some(Event::Ping(bytes))) => Seen::Message(Opcode::Ping, bytes.to_vec()),
                Ok(Some(Event::Pong(bytes))) => Seen::Message(Opcode::Pong, bytes.to_vec()),
                Ok(Some(Event::Close(close))) => Seen::Close(close.map(|CloseFrame { code, .. }| code)),
                Err(fault) => Seen::Fault(fault),
            };
            if let Seen::Close(Some(code)) = &seen {
                assert!(is_valid_code(*code));
            }
            ended = matches!(seen, Seen::Close(_) | Seen::Fault(_));
            all.push(seen);
        }
        assert!(piece.is_empty(), "bytes were left");
    }
    all
}
