//! What a session does for its client, as the session sees it.

use std::task::Context;

use super::outbox::Outbox;
use super::protocol::plain::{Id, Request};
use crate::reject::Reject;

/// Requests of one session: each begins with a message, and may have any number of answers.
pub trait Requests: Send {
    /// Begins what `request` asks for. Its answers come by [`Requests::poll`].
    ///
    /// # Errors
    /// Why that cannot be; nothing was written.
    fn begin(&mut self, request: &Request<'_>) -> Result<(), Reject>;

    /// Writes answers that have come, until `out` is full, and arranges to be woken for more.
    fn poll(&mut self, cx: &mut Context<'_>, out: &mut Outbox);

    /// Writes why a message was refused; `channel` if it was about one.
    fn refuse(&self, id: Option<&Id>, channel: Option<&str>, reject: &Reject, out: &mut Outbox);

    /// Whether answers to requests are all that is ever sent.
    fn is_alone(&self) -> bool;

    /// The session ends: so does everything that runs.
    fn end(&mut self);
}
