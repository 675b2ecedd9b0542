//! The WebSocket protocol (RFC 6455, RFC 8441) without sockets, clock or tasks.
//!
//! - [`Handshake`] checks what a client asks, over HTTP/1.1 or HTTP/2, and knows what answers it.
//! - [`Reader`] makes messages of bytes, however these are cut. It never allocates what a frame only announces.
//! - [`write_frame`] and its relatives append frames to a buffer; those of a server have no mask, so one may be sent to
//!   many clients.
//! - [`Follower`] finds the ends of frames in bytes that are passed on unread.
//!
//! ```
//! use tidegate_ws::{Event, Limits, Opcode, Reader, Side, write_frame, write_masked_frame};
//!
//! let mut sent = Vec::new();
//! write_masked_frame(Opcode::Text, b"hello", [1, 2, 3, 4], &mut sent);
//!
//! let mut reader = Reader::new(Side::Server, Limits::default());
//! let mut bytes = &sent[..];
//! assert_eq!(reader.next(&mut bytes)?, Some(Event::Text("hello")));
//! assert_eq!(reader.next(&mut bytes)?, None);
//!
//! let mut answer = Vec::new();
//! write_frame(Opcode::Text, b"hi", &mut answer);
//! assert_eq!(answer, [0x81, 2, b'h', b'i']);
//! # Ok::<(), tidegate_ws::Fault>(())
//! ```
#![forbid(unsafe_code)]

mod handshake;

mod reader;

mod frame;

mod mask;

mod utf8;

mod close;

mod follow;

mod fault;

pub use close::{CloseFrame, code, is_valid_code, write_close};
pub use fault::Fault;
pub use follow::Follower;
pub use frame::{MAX_CONTROL, Opcode, write_frame, write_masked_frame};
pub use handshake::{Handshake, HandshakeError, KEY_BYTES, agrees, asks};
pub use reader::{Event, Limits, Reader, Side};
