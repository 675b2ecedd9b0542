//! A testee for the public protobuf conformance runner: requests on stdin, answers on stdout, until stdin ends.
//!
//! Everything with JSON on either side goes through this crate's codec. From binary to binary there is nothing in the
//! gateway to test, because it never re-encodes a message; those requests are answered with prost-reflect, so that the
//! runner's tests of the test messages themselves make sense. Text format is skipped.
//!
//! How to run it, and what came out, is in `docs/conformance.md`.
#![allow(clippy::expect_used, reason = "a broken pipe or fixture ends the testee")]

use std::io::{self, Read, Write};

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage};
use tidegate_transcode::json::{ReadOptions, UnknownFields, WriteError, WriteOptions, parse_message, print_message};
use tidegate_transcode::schema::{Schema, lower_editions};

const TEST_MESSAGES: &[u8] = include_bytes!("../testdata/conformance/test_messages.binpb");

/// What is used of `conformance.ConformanceRequest`; JSON is taken as bytes, because it may be broken on purpose.
#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(bytes = "vec", optional, tag = "1")]
    protobuf_payload: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "2")]
    json_payload: Option<Vec<u8>>,
    #[prost(int32, tag = "3")]
    requested_output_format: i32,
    #[prost(string, tag = "4")]
    message_type: String,
    #[prost(int32, tag = "5")]
    test_category: i32,
}

/// What is used of `conformance.ConformanceResponse`.
#[derive(Clone, PartialEq, Message)]
struct Response {
    #[prost(string, optional, tag = "1")]
    parse_error: Option<String>,
    #[prost(string, optional, tag = "6")]
    serialize_error: Option<String>,
    #[prost(bytes = "vec", optional, tag = "3")]
    protobuf_payload: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "4")]
    json_payload: Option<Vec<u8>>,
    #[prost(string, optional, tag = "5")]
    skipped: Option<String>,
}

const PROTOBUF: i32 = 1;
const JSON: i32 = 2;
const JSON_IGNORE_UNKNOWN: i32 = 3;

fn main() -> io::Result<()> {
    let schema = Schema::from_descriptor_set(TEST_MESSAGES).expect("the fixture is a valid descriptor set");
    let lowered = lower_editions(TEST_MESSAGES).expect("the fixture is a valid descriptor set");
    let pool = DescriptorPool::decode(lowered.as_slice()).expect("the fixture is a valid descriptor set");
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    let mut len = [0; 4];
    while input.read_exact(&mut len).is_ok() {
        let mut bytes = vec![0; usize::try_from(u32::from_le_bytes(len)).expect("fits")];
        input.read_exact(&mut bytes)?;
        let request = Request::decode(bytes.as_slice()).map_err(io::Error::other)?;
        let answer = answer(&schema, &pool, &request).encode_to_vec();
        output.write_all(&u32::try_from(answer.len()).expect("fits").to_le_bytes())?;
        output.write_all(&answer)?;
        output.flush()?;
    }
    Ok(())
}

fn answer(schema: &Schema, pool: &DescriptorPool, request: &Request) -> Response {
    if request.message_type == "conformance.FailureSet" {
        return Response { protobuf_payload: Some(Vec::new()), ..Default::default() };
    }
    let Some(message) = schema.find_message(&request.message_type) else {
        return skip("unknown message type");
    };
    let unknown_fields =
        if request.test_category == JSON_IGNORE_UNKNOWN { UnknownFields::Ignore } else { UnknownFields::Reject };
    let wire = match (&request.json_payload, &request.protobuf_payload) {
        (Some(json), _) => {
            let mut wire = Vec::new();
            let options = ReadOptions { unknown_fields };
            if let Err(error) = parse_message(schema, message, json, &options, None, &mut wire) {
                return parse_error(error.to_string());
            }
            wire
        }
        (None, Some(wire)) => wire.clone(),
        (None, None) => return skip("text format"),
    };
    match request.requested_output_format {
        PROTOBUF if request.json_payload.is_some() => Response { protobuf_payload: Some(wire), ..Default::default() },
        PROTOBUF => echo(pool, &request.message_type, &wire),
        JSON => {
            let mut json = Vec::new();
            match print_message(schema, message, &wire, &WriteOptions::default(), &mut json) {
                Ok(()) => Response { json_payload: Some(json), ..Default::default() },
                Err(error @ WriteError::NotRepresentable) => {
                    Response { serialize_error: Some(error.to_string()), ..Default::default() }
                }
                Err(error) => parse_error(error.to_string()),
            }
        }
        _ => skip("output format"),
    }
}

/// Binary to binary, by prost-reflect.
fn echo(pool: &DescriptorPool, message_type: &str, wire: &[u8]) -> Response {
    let Some(descriptor) = pool.get_message_by_name(message_type) else { return skip("unknown message type") };
    match DynamicMessage::decode(descriptor, wire) {
        Ok(message) => Response { protobuf_payload: Some(message.encode_to_vec()), ..Default::default() },
        Err(error) => parse_error(error.to_string()),
    }
}

fn parse_error(text: String) -> Response {
    Response { parse_error: Some(text), ..Default::default() }
}

fn skip(why: &str) -> Response {
    Response { skipped: Some(why.to_owned()), ..Default::default() }
}
