//! Handshakes that are none, as refusals.

use http::StatusCode;
use http::request::Parts;
use tidegate_ws::{Handshake, HandshakeError, KEY_BYTES};

use crate::reject::{Reason, Reject};

/// Checks the handshake, and takes out of the headers what each connection has of its own. `random` makes a key for a
/// client that brings none.
///
/// # Errors
/// The refusal: 426 where the client has to speak another protocol, otherwise 400.
pub fn take(parts: &mut Parts, random: impl FnOnce() -> [u8; KEY_BYTES]) -> Result<Handshake, Reject> {
    Handshake::take(parts, random).map_err(refused)
}

/// The refusal of what is no handshake.
#[must_use]
pub fn refused(error: HandshakeError) -> Reject {
    let reject = Reject::new(Reason::BadRequest).detail(error.to_string());
    if error.wants_upgrade() { reject.status(StatusCode::UPGRADE_REQUIRED) } else { reject }
}
