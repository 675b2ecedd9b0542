//! What comes with a call, and the types that all messages share.

use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use rust_decimal::Decimal;
use tonic::metadata::MetadataMap;

use crate::fault::Fault;
use crate::fields::is_name;
use crate::page::Window;

/// Length of a user id.
const USER_ID_MAX_LEN: usize = 64;

/// Who is calling.
///
/// # Errors
/// `Unauthenticated` if nobody says so; `Invalid` for something that is no id.
pub(super) fn caller(metadata: &MetadataMap) -> Result<String, Fault> {
    let mut values = metadata.get_all("x-user-id").iter();
    let id = match (values.next(), values.next()) {
        (None, _) => return Err(Fault::Unauthenticated("the caller is not known: there is no x-user-id")),
        (Some(id), None) => id.to_str().ok().filter(|id| is_name(id, USER_ID_MAX_LEN)),
        (Some(_), Some(_)) => None,
    };
    let problem = format!("must be one name of 1 to {USER_ID_MAX_LEN} letters, digits or any of -_.:@");
    id.map(str::to_owned).ok_or_else(|| Fault::field("x-user-id", problem))
}

/// Whether the caller has a role, as a list in `x-user-roles` says.
pub(super) fn has_role(metadata: &MetadataMap, role: &str) -> bool {
    let lists = metadata.get_all("x-user-roles").iter().filter_map(|list| list.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|known| known.trim() == role)
}

/// The page that is asked for.
///
/// # Errors
/// `Invalid`.
pub(super) fn window<K: FromStr>(size: i32, token: &str) -> Result<Window<K>, Fault> {
    Window::parse("page_size", &size.to_string(), "page_token", token)
}

/// An id of another form names nothing.
///
/// # Errors
/// `NotFound`, or `Invalid` if it is empty.
pub(super) fn id<K: FromStr>(what: &'static str, field: &str, text: &str) -> Result<K, Fault> {
    match text {
        "" => Err(Fault::field(field, "is required")),
        text => text.parse().map_err(|_| Fault::not_found(what, text)),
    }
}

/// An amount that may be missing, as text.
pub(super) fn amount(amount: Option<Decimal>) -> String {
    amount.map(|amount| amount.to_string()).unwrap_or_default()
}

/// The token for the next page, empty on the last one.
pub(super) fn token<K: ToString>(next: Option<K>) -> String {
    next.map(|next| next.to_string()).unwrap_or_default()
}

/// Our times are after 1970.
pub(super) fn timestamp(timestamp: Timestamp) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds: timestamp.as_second(), nanos: timestamp.subsec_nanosecond() })
}

pub(super) fn duration(duration: Duration) -> Option<prost_types::Duration> {
    prost_types::Duration::try_from(duration).ok()
}

/// All of our counts are bounded far below.
pub(super) fn count(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
