//! What tungstenite reads and writes is what we write and read.

use std::io::{Cursor, Read, Write};

use proptest::prelude::*;
use tidegate_ws::{Limits, Opcode, write_close, write_frame};
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tungstenite::{Message, WebSocket};

use crate::frames::{Frame, Seen, any_frame, bytes, read};

/// Bytes to read, and what was written meanwhile.
struct Wire {
    input: Cursor<Vec<u8>>,
    output: Vec<u8>,
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.input.read(buffer)
    }
}

impl Write for Wire {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        self.output.extend(buffer);
        Ok(buffer.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn socket(input: Vec<u8>, role: Role) -> WebSocket<Wire> {
    let config = WebSocketConfig::default()
        .read_buffer_size(4096)
        .max_message_size(Some(64 * 1024))
        .max_frame_size(Some(64 * 1024));
    WebSocket::from_raw_socket(Wire { input: Cursor::new(input), output: Vec::new() }, role, Some(config))
}

/// What tungstenite makes of the bytes of a client; `false`: it found a fault.
fn other(input: Vec<u8>, role: Role) -> (Vec<Seen>, bool) {
    let mut socket = socket(input, role);
    let mut all = Vec::new();
    loop {
        let message = match socket.read() {
            Ok(message) => message,
            // The bytes end, and no close frame has come: for us no fault.
            Err(tungstenite::Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake)) => {
                return (all, true);
            }
            Err(_) => return (all, false),
        };
        all.push(match message {
            Message::Text(text) => Seen::Text(text.to_string()),
            Message::Binary(bytes) => Seen::Binary(bytes.to_vec()),
            Message::Ping(bytes) => Seen::Ping(bytes.to_vec()),
            Message::Pong(bytes) => Seen::Pong(bytes.to_vec()),
            Message::Close(close) => {
                all.push(Seen::Close(close.map(|close| (close.code.into(), close.reason.to_string()))));
                return (all, true);
            }
            Message::Frame(_) => unreachable!("only when writing"),
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_read_the_same(frames in prop::collection::vec(any_frame(), 1..8)) {
        // It takes frames without mask where they are not allowed to a client only if it is told so; close codes it
        // judges by a table of its own.
        prop_assume!(frames.iter().all(|frame| frame.first & 0x0f != 8 || frame.payload.len() != 2));
        let bytes = bytes(&frames);
        let mut ours = read([&bytes[..]], Limits::default());
        let (theirs, well) = other(bytes, Role::Server);
        let fault = ours.pop_if(|last| matches!(last, Seen::Fault(_)));
        prop_assert_eq!(&ours, &theirs, "{:?}", fault);
        prop_assert_eq!(fault.is_none(), well, "{:?}", fault);
    }

    #[test]
    fn it_reads_what_we_write(texts in prop::collection::vec("[a-zé🌊]{0,300}", 1..5), code in 3000_u16..5000) {
        let mut sent = Vec::new();
        for text in &texts {
            write_frame(Opcode::Text, text.as_bytes(), &mut sent);
            write_frame(Opcode::Ping, b"alive?", &mut sent);
        }
        write_close(code, "gone", &mut sent);
        let (theirs, well) = other(sent, Role::Client);
        let mut expected = Vec::new();
        for text in texts {
            expected.extend([Seen::Text(text), Seen::Ping(b"alive?".to_vec())]);
        }
        expected.push(Seen::Close(Some((code, "gone".to_owned()))));
        prop_assert!(well);
        prop_assert_eq!(theirs, expected);
    }

    #[test]
    fn we_read_what_it_writes(texts in prop::collection::vec("[a-zé🌊]{0,300}", 1..5), code in 3000_u16..5000) {
        let mut client = socket(Vec::new(), Role::Client);
        for text in &texts {
            client.send(Message::text(text.as_str())).expect("written");
            client.send(Message::Ping(b"alive?".to_vec().into())).expect("written");
        }
        client.close(Some(CloseFrame { code: code.into(), reason: "gone".into() })).expect("written");
        client.flush().expect("written");
        let mut expected = Vec::new();
        for text in texts {
            expected.extend([Seen::Text(text), Seen::Ping(b"alive?".to_vec())]);
        }
        expected.push(Seen::Close(Some((code, "gone".to_owned()))));
        prop_assert_eq!(read([&client.get_ref().output[..]], Limits::default()), expected);
    }
}

#[test]
fn a_frame_without_a_mask_is_refused_by_both() {
    let bytes = bytes(&[Frame { first: 0x81, masked: false, payload: b"x".to_vec() }]);
    assert!(matches!(read([&bytes[..]], Limits::default())[..], [Seen::Fault(_)]));
    assert_eq!(other(bytes, Role::Server), (vec![], false));
}
