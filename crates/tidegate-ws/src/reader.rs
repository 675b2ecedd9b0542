//! From bytes to messages.
//!
//! ```text
//!            ┌──────────── a head ───────────┐
//!   bytes ──►│ Head: what comes, how long?   ├──► Payload: unmasked as it is copied, text checked ──► an event
//!            └──────────────▲────────────────┘                    │ the frame is not the last of its message
//!                           └─────────────────────────────────────┘
//! ```
//! Invariants:
//! - The result does not depend on how the bytes are cut.
//! - Memory grows by what has come, never by what a head announces; a head that announces too much ends the connection
//!   before its payload comes.
//! - After a close frame, or a fault, bytes are swallowed and nothing more is said.

use crate::close::{self, CloseFrame};
use crate::fault::Fault;
use crate::frame::{Head, HeadReader, MAX_CONTROL, Opcode};
use crate::mask;
use crate::utf8::Checked;

/// Room for messages that is kept between them; most are shorter.
const KEPT: usize = 4 * 1024;

/// Whose bytes these are not: what the reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Reads frames of a client, which have masks.
    Server,
    /// Reads frames of a server, which have none.
    Client,
}

/// How much a peer may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a message, over all its fragments.
    pub message: usize,
    /// Frames of a message.
    pub fragments: u32,
}

impl Default for Limits {
    /// 64 KiB in at most 1,024 fragments.
    fn default() -> Self {
        Self { message: 64 * 1024, fragments: 1024 }
    }
}

/// Something that has come as a whole. Borrowed until the next one is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A message in text.
    Text(&'a str),
    /// A message in bytes.
    Binary(&'a [u8]),
    /// To be answered by a pong with the same payload.
    Ping(&'a [u8]),
    /// A sign of life.
    Pong(&'a [u8]),
    /// The peer says nothing more; `None`: it does not say why.
    Close(Option<CloseFrame<'a>>),
}

/// See the module.
#[derive(Debug)]
pub struct Reader {
    side: Side,
    limits: Limits,
    head: HeadReader,
    /// The frame whose payload comes.
    frame: Option<Frame>,
    /// The message whose fragments come.
    kind: Option<Kind>,
    fragments: u32,
    /// Payloads of data frames of the present message, or of the one that was handed out last.
    message: Vec<u8>,
    handed_out: bool,
    checked: Checked,
    control: [u8; MAX_CONTROL],
    control_length: usize,
    ended: bool,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    head: Head,
    /// Bytes of the payload that have come.
    taken: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Binary,
}

/// What is complete.
enum Whole {
    Message(Kind),
    Control(Opcode),
}

impl Reader {
    /// A reader of what comes after a handshake. Allocates nothing yet.
    #[must_use]
    pub const fn new(side: Side, limits: Limits) -> Self {
        Self {
            side,
            limits,
            head: HeadReader::new(),
            frame: None,
            kind: None,
            fragments: 0,
            message: Vec::new(),
            handed_out: false,
            checked: Checked::new(),
            control: [0; MAX_CONTROL],
            control_length: 0,
            ended: false,
        }
    }

    /// The next event from the front of `input`; `None`: all of `input` was taken and more is needed.
    ///
    /// # Errors
    /// What the peer did wrong. Later calls swallow their input.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<Event<'_>>, Fault> {
        if self.ended {
            *input = &[];
            return Ok(None);
        }
        let whole = match self.advance(input) {
            Ok(None) => return Ok(None),
            Ok(Some(whole)) => whole,
            Err(fault) => return Err(self.end(fault)),
        };
        match whole {
            Whole::Message(kind) => self.hand_out(kind).map(Some),
            Whole::Control(opcode) => self.control(opcode).map(Some),
        }
    }

    /// Whether a message has begun and not ended. Frames may pass meanwhile, but no other message.
    #[must_use]
    pub const fn is_inside_message(&self) -> bool {
        let inside_frame = match &self.frame {
            Some(frame) => !frame.head.opcode.is_control(),
            None => false,
        };
        self.kind.is_some() || inside_frame
    }

    /// Whether nothing of a frame has come that has not come as a whole.
    #[must_use]
    pub const fn is_between_frames(&self) -> bool {
        self.frame.is_none() && self.head.is_empty()
    }

    /// Nothing more is there for now: gives memory back that only a large message needed.
    pub fn rest(&mut self) {
        if self.handed_out {
            self.begin_message();
        }
        if self.message.is_empty() && self.message.capacity() > KEPT {
            self.message = Vec::new();
        }
    }

    /// Takes bytes until something is whole.
    fn advance(&mut self, input: &mut &[u8]) -> Result<Option<Whole>, Fault> {
        loop {
            let mut frame = match self.frame.take() {
                Some(frame) => frame,
                None => {
                    let Some(head) = self.head.read(input)? else { return Ok(None) };
                    self.admit(head)?;
                    Frame { head, taken: 0 }
                }
            };
            self.take_payload(&mut frame, input)?;
            if frame.taken < frame.head.length {
                self.frame = Some(frame);
                return Ok(None);
            }
            if frame.head.opcode.is_control() {
                return Ok(Some(Whole::Control(frame.head.opcode)));
            }
            if frame.head.is_final
                && let Some(kind) = self.kind.take()
            {
                return Ok(Some(Whole::Message(kind)));
            }
        }
    }

    /// Whether a frame with this head may come now.
    fn admit(&mut self, head: Head) -> Result<(), Fault> {
        match (self.side, head.mask) {
            (Side::Server, None) => return Err(Fault::Unmasked),
            (Side::Client, Some(_)) => return Err(Fault::Masked),
            (Side::Server, Some(_)) | (Side::Client, None) => {}
        }
        match (head.opcode, self.kind) {
            (Opcode::Text | Opcode::Binary, Some(_)) => return Err(Fault::NestedMessage),
            (Opcode::Continuation, None) => return Err(Fault::LoneContinuation),
            (Opcode::Text, None) => self.begin(Kind::Text),
            (Opcode::Binary, None) => self.begin(Kind::Binary),
            (Opcode::Continuation, Some(_)) => {}
            (Opcode::Close | Opcode::Ping | Opcode::Pong, _) => {
                self.control_length = 0;
                return Ok(());
            }
        }
        self.fragments += 1;
        if self.fragments > self.limits.fragments {
            return Err(Fault::TooManyFragments);
        }
        let room = self.limits.message.saturating_sub(self.message.len()) as u64;
        if head.length > room { Err(Fault::TooLarge) } else { Ok(()) }
    }

    fn begin(&mut self, kind: Kind) {
        self.begin_message();
        self.kind = Some(kind);
        self.fragments = 0;
        self.checked = Checked::new();
    }

    fn begin_message(&mut self) {
        self.message.clear();
        self.handed_out = false;
    }

    /// Takes what is there of a frame's payload.
    fn take_payload(&mut self, frame: &mut Frame, input: &mut &[u8]) -> Result<(), Fault> {
        let left = usize::try_from(frame.head.length.saturating_sub(frame.taken)).unwrap_or(usize::MAX);
        let Some((payload, rest)) = input.split_at_checked(left.min(input.len())) else { return Ok(()) };
        *input = rest;
        // Only its remainder counts: the mask has four bytes.
        let offset = usize::try_from(frame.taken % 4).unwrap_or(0);
        frame.taken = frame.taken.saturating_add(payload.len() as u64);
        let mask = frame.head.mask.unwrap_or_default();
        if frame.head.opcode.is_control() {
            let end = self.control_length.saturating_add(payload.len());
            if let Some(place) = self.control.get_mut(self.control_length..end) {
                place.copy_from_slice(payload);
                mask::apply(mask, offset, place);
                self.control_length = end;
            }
            return Ok(());
        }
        let start = self.message.len();
        self.message.extend_from_slice(payload);
        mask::apply(mask, offset, self.message.get_mut(start..).unwrap_or_default());
        let is_whole = frame.head.is_final && frame.taken == frame.head.length;
        // A whole text is checked when it is handed out.
        if self.kind == Some(Kind::Text) && !is_whole {
            self.checked.grown(&self.message).map_err(|_| Fault::NotUtf8)?;
        }
        Ok(())
    }

    fn hand_out(&mut self, kind: Kind) -> Result<Event<'_>, Fault> {
        self.handed_out = true;
        if kind == Kind::Binary {
            return Ok(Event::Binary(&self.message));
        }
        match std::str::from_utf8(&self.message) {
            Ok(text) => Ok(Event::Text(text)),
            Err(_) => {
                self.ended = true;
                Err(Fault::NotUtf8)
            }
        }
    }

    fn control(&mut self, opcode: Opcode) -> Result<Event<'_>, Fault> {
        let payload = self.control.get(..self.control_length).unwrap_or_default();
        match opcode {
            Opcode::Ping => Ok(Event::Ping(payload)),
            Opcode::Pong => Ok(Event::Pong(payload)),
            Opcode::Close | Opcode::Continuation | Opcode::Text | Opcode::Binary => {
                self.ended = true;
                close::read(payload).map(Event::Close)
            }
        }
    }

    fn end(&mut self, fault: Fault) -> Fault {
        self.ended = true;
        fault
    }
}
