//! `grpc-status-details-bin`: an encoded `google.rpc.Status` whose details become JSON.
//!
//! Details are extra: whatever is wrong with them, code and message of the call stand. A detail whose type no schema
//! knows is kept as its type and its bytes.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use prost::Message as _;

use super::Status;
use crate::json::{self, WriteOptions};
use crate::schema::Schema;

/// Longest value of the trailer that is read, in bytes of base64. What is longer is dropped as a whole.
pub const MAX_DETAILS_BYTES: usize = 8192;

/// Senders pad or do not pad, as gRPC allows.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// `google.rpc.Status`, as far as it is used.
#[derive(Clone, PartialEq, prost::Message)]
struct WireStatus {
    #[prost(string, tag = "2")]
    message: String,
    #[prost(bytes = "vec", repeated, tag = "3")]
    details: Vec<Vec<u8>>,
}

/// Adds the details in the raw value of `grpc-status-details-bin` to `status`, and takes its message if it has one.
/// Changes nothing if the value cannot be read.
pub(super) fn add(status: &mut Status, raw: &[u8], schema: &Schema) {
    if raw.len() > MAX_DETAILS_BYTES {
        return;
    }
    let Some(wire) = BASE64.decode(raw).ok().and_then(|bytes| WireStatus::decode(bytes.as_slice()).ok()) else {
        return;
    };
    // Servers that fill in both mean the same; where they differ, the whole status is the one that was meant.
    if !wire.message.is_empty() {
        status.message = super::message::harmless(&wire.message);
    }
    for any in &wire.details {
        print_any(status, any, schema);
        if status.retry_after.is_none() {
            status.retry_after = retry_delay(any);
        }
    }
}

/// Appends a detail; one that cannot be printed is left out.
fn print_any(status: &mut Status, any: &[u8], schema: &Schema) {
    let Some(message) = schema.find_message("google.protobuf.Any") else { return };
    let before = status.details.len();
    let printed = json::print_message(schema, message, any, &WriteOptions::default(), status.next_detail());
    if printed.is_err() {
        status.details.truncate(before);
    }
}

/// `google.rpc.RetryInfo.retry_delay`, unless it is negative.
fn retry_delay(any: &[u8]) -> Option<Duration> {
    #[derive(Clone, PartialEq, prost::Message)]
    struct RetryInfo {
        #[prost(message, optional, tag = "1")]
        retry_delay: Option<prost_types::Duration>,
    }
    let any = prost_types::Any::decode(any).ok()?;
    if any.type_url.rsplit('/').next() != Some("google.rpc.RetryInfo") {
        return None;
    }
    let delay = RetryInfo::decode(any.value.as_slice()).ok()?.retry_delay?;
    let seconds = u64::try_from(delay.seconds).ok()?;
    let nanos = u32::try_from(delay.nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?;
    Some(Duration::new(seconds, nanos))
}
