//! The one place that reads the clock.

use jiff::Timestamp;

/// UTC now. Follows corrections of the system's clock, so it may go back.
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}
