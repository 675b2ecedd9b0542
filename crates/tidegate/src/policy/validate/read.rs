//! Reading a body that is passed on once it has been looked at.

use bytes::Bytes;

use crate::body::RequestBody;
use crate::exchange::Exchange;
use crate::policy::whole::{Waiting, read_whole};
use crate::reject::Reject;
use crate::time::Deadline;

/// All bytes of `body`, at most `limit`. Bytes that are passed on are counted by whoever sends them; of a body that is
/// refused here, they are counted here.
///
/// # Errors
/// As [`read_whole`].
pub(super) async fn whole(
    exchange: &Exchange,
    mut body: RequestBody,
    limit: u64,
    deadline: Option<Deadline>,
) -> Result<Bytes, Reject> {
    let _waiting = Waiting::begin(exchange);
    let mut heard = 0;
    let read = read_whole(&mut body, limit, deadline, |bytes| heard += bytes).await;
    if read.is_err() {
        exchange.facts.received(heard);
    }
    read
}
