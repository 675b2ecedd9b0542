//! Properties of the codec, over the message types of the protobuf conformance suite, which have every kind of field.
//!
//! The oracle is prost-reflect: what our reader writes, it must be able to read.

use std::sync::LazyLock;

use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use tidegate_transcode::Schema;
use tidegate_transcode::json::{ReadOptions, UnknownFields, WriteOptions, parse_message, print_message};
use tidegate_transcode::plan::MsgId;
use tidegate_transcode::schema::lower_editions;

const SET: &[u8] = include_bytes!("../../crates/tidegate-transcode/testdata/conformance/test_messages.binpb");

/// Proto3 without presence, proto2 with groups and extensions, and an edition with delimited messages.
const TYPES: [&str; 3] = [
    "protobuf_test_messages.proto3.TestAllTypesProto3",
    "protobuf_test_messages.proto2.TestAllTypesProto2",
    "protobuf_test_messages.editions.TestAllTypesEdition2023",
];

/// More output than this for a byte of input would be a way to fill the memory: the longest key of the types is 33
/// bytes, and the shortest field 2.
const LARGEST_GROWTH: usize = 64;

struct Types {
    schema: Schema,
    messages: Vec<(MsgId, MessageDescriptor)>,
}

static ALL: LazyLock<Types> = LazyLock::new(|| {
    let schema = Schema::from_descriptor_set(SET).expect("the set is part of the repository");
    // The oracle knows no editions.
    let lowered = lower_editions(SET).expect("the set is part of the repository");
    let pool = DescriptorPool::decode(lowered.as_slice()).expect("the set is part of the repository");
    let find = |name: &str| {
        let ours = schema.find_message(name).expect("the type is in the set");
        (ours, pool.get_message_by_name(name).expect("the type is in the set"))
    };
    let messages = TYPES.iter().map(|name| find(name)).collect();
    Types { schema, messages }
});

/// Input: JSON. It is refused, or becomes bytes that the oracle reads and that survive a way there and back.
pub fn json_to_wire(input: &[u8]) {
    for (message, descriptor) in &ALL.messages {
        for unknown_fields in [UnknownFields::Reject, UnknownFields::Report] {
            let Some(wire) = read(*message, input, unknown_fields) else { continue };
            assert!(wire.len() <= LARGEST_GROWTH * input.len() + 64, "{} bytes from {}", wire.len(), input.len());
            // A level of a `Value` is three levels of messages, and the oracle gives up at a hundred of those.
            if depth(input) < 30 {
                let decoded = DynamicMessage::decode(descriptor.clone(), wire.as_slice());
                assert!(decoded.is_ok(), "{:?}", decoded.err());
            }
            there_and_back(*message, &wire);
        }
    }
}

/// Input: protobuf bytes. They are refused, or become JSON that our reader takes back to the same JSON.
pub fn wire_to_json(input: &[u8]) {
    for (message, _) in &ALL.messages {
        for defaults in [false, true] {
            let options = WriteOptions { emit_defaults: defaults, ..WriteOptions::default() };
            let mut json = Vec::new();
            if print_message(&ALL.schema, *message, input, &options, &mut json).is_err() {
                continue;
            }
            let text = std::str::from_utf8(&json).expect("JSON is UTF-8");
            assert!(!text.contains(['\n', '\r']), "one line: {text}");
            assert!(
                defaults || json.len() <= LARGEST_GROWTH * input.len() + 64,
                "{} bytes from {}",
                json.len(),
                input.len()
            );
        }
        there_and_back(*message, input);
    }
}

/// How deep brackets nest; those in strings count as well.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0usize, 0);
    for byte in json {
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

fn read(message: MsgId, json: &[u8], unknown_fields: UnknownFields) -> Option<Vec<u8>> {
    let mut wire = Vec::new();
    let options = ReadOptions { unknown_fields };
    parse_message(&ALL.schema, message, json, &options, None, &mut wire).is_ok().then_some(wire)
}

fn there_and_back(message: MsgId, wire: &[u8]) {
    let Some(first) = print(message, wire) else { return };
    // The type of an `Any` may be unknown, and then its bytes are printed but cannot be read.
    if first.windows(7).any(|window| window == b"\"@type\"") {
        return;
    }
    let again = read(message, &first, UnknownFields::Reject);
    let again = again.unwrap_or_else(|| panic!("refused its own output: {}", String::from_utf8_lossy(&first)));
    let second = print(message, &again).expect("what was read can be printed");
    assert_eq!(String::from_utf8_lossy(&first), String::from_utf8_lossy(&second));
}

fn print(message: MsgId, wire: &[u8]) -> Option<Vec<u8>> {
    let mut json = Vec::new();
    print_message(&ALL.schema, message, wire, &WriteOptions::default(), &mut json).is_ok().then_some(json)
}
