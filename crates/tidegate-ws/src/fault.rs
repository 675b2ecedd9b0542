//! What a peer can do wrong, and the close code that says so.

use crate::close::code;

/// The peer broke the protocol or a limit. The connection cannot go on: say so by [`Fault::close_code`] and close.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Fault {
    /// A bit is set that only an extension could give a meaning.
    #[error("a reserved bit is set")]
    ReservedBit,
    /// An opcode that nothing defines.
    #[error("a reserved opcode")]
    ReservedOpcode,
    /// A client must mask its frames.
    #[error("a frame of a client has no mask")]
    Unmasked,
    /// A server must not mask its frames.
    #[error("a frame of a server has a mask")]
    Masked,
    /// A length that would have fitted fewer bytes, or has its highest bit set.
    #[error("a length is not written as it must be")]
    BadLength,
    /// A control frame above 125 bytes.
    #[error("a control frame is too long")]
    LongControl,
    /// A control frame in fragments.
    #[error("a control frame in fragments")]
    FragmentedControl,
    /// A continuation without a message that it continues.
    #[error("a continuation of nothing")]
    LoneContinuation,
    /// A message begins before the one before it has ended.
    #[error("a message inside of another")]
    NestedMessage,
    /// A close frame with one byte, or with a code that must not be sent.
    #[error("a close frame is malformed")]
    BadClose,
    /// Text that is not UTF-8.
    #[error("text is not UTF-8")]
    NotUtf8,
    /// A message above the limit.
    #[error("a message is too large")]
    TooLarge,
    /// A message in more fragments than the limit.
    #[error("a message has too many fragments")]
    TooManyFragments,
}

impl Fault {
    /// The code of the close frame that tells the peer (RFC 6455, section 7.4.1).
    #[must_use]
    pub const fn close_code(self) -> u16 {
        match self {
            Self::ReservedBit
            | Self::ReservedOpcode
            | Self::Unmasked
            | Self::Masked
            | Self::BadLength
            | Self::LongControl
            | Self::FragmentedControl
            | Self::LoneContinuation
            | Self::NestedMessage
            | Self::BadClose => code::PROTOCOL_ERROR,
            Self::NotUtf8 => code::NOT_CONSISTENT,
            Self::TooLarge | Self::TooManyFragments => code::TOO_BIG,
        }
    }
}
