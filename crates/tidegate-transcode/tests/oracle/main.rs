//! The codec against prost-reflect, on random messages of random schemas.
//!
//! `ORACLE_CASES` sets the number of cases per property (default 64); a nightly run uses a million. A failure prints its
//! seed, and `ORACLE_SEED` runs that one alone.
#![expect(clippy::expect_used, reason = "a test")]

mod generate;
mod mutate;
mod shuffle;

use std::sync::LazyLock;

use generate::{Dice, World};
use prost::Message as _;
use prost_reflect::{DynamicMessage, MessageDescriptor, ReflectMessage as _, SerializeOptions, Value};
use serde::de::DeserializeSeed as _;
use tidegate_transcode::json::{
    ReadError, ReadOptions, UnknownFields, WriteError, WriteOptions, parse_message, print_message,
};

/// The fixed schema with every kind of field, in proto3 and proto2.
static FIXED: LazyLock<World> = LazyLock::new(World::fixed);

fn read(world: &World, name: &str, json: &str) -> Result<Vec<u8>, Box<ReadError>> {
    let mut wire = Vec::new();
    let options = ReadOptions { unknown_fields: UnknownFields::Reject };
    parse_message(&world.schema, world.id(name), json.as_bytes(), &options, None, &mut wire)?;
    Ok(wire)
}

fn write(world: &World, name: &str, wire: &[u8], options: &WriteOptions) -> Result<String, WriteError> {
    let mut json = Vec::new();
    print_message(&world.schema, world.id(name), wire, options, &mut json)?;
    Ok(String::from_utf8(json).expect("JSON is text"))
}

fn oracle_reads(descriptor: &MessageDescriptor, json: &str) -> Result<DynamicMessage, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let message = descriptor.clone().deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(message)
}

fn oracle_writes(message: &DynamicMessage, options: &SerializeOptions) -> String {
    let mut json = Vec::new();
    message
        .serialize_with_options(&mut serde_json::Serializer::new(&mut json), options)
        .expect("random messages print");
    String::from_utf8(json).expect("JSON is text")
}

/// The first field in which two messages differ. (The `Debug` form of prost-reflect does not end for types that refer to
/// themselves, and its JSON may hide the difference.)
fn difference(a: &DynamicMessage, b: &DynamicMessage) -> Option<String> {
    for field in a.descriptor().fields() {
        let (x, y) = (a.get_field(&field), b.get_field(&field));
        if a.has_field(&field) != b.has_field(&field) {
            return Some(format!("{}: {} against {}", field.name(), a.has_field(&field), b.has_field(&field)));
        }
        if !a.has_field(&field) {
            continue;
        }
        let inside = match (&*x, &*y) {
            (Value::List(x), Value::List(y)) if x.len() == y.len() => {
                x.iter().zip(y).find_map(|(x, y)| value_difference(x, y))
            }
            (Value::Map(x), Value::Map(y)) if x.len() == y.len() => x.iter().find_map(|(key, x)| match y.get(key) {
                Some(y) => value_difference(x, y),
                None => Some(format!("no key {key:?}")),
            }),
            (Value::List(_), _) | (Value::Map(_), _) => Some("another length".to_owned()),
            (x, y) => value_difference(x, y),
        };
        if let Some(inside) = inside {
            return Some(format!("{}.{inside}", field.name()));
        }
    }
    // `==` would also tell an unset list from an empty one.
    let extensions =
        |message: &DynamicMessage| message.extensions().map(|(_, value)| value.clone()).collect::<Vec<_>>();
    let unknown = |message: &DynamicMessage| message.unknown_fields().count();
    let differs = extensions(a) != extensions(b) || unknown(a) != unknown(b);
    differs.then(|| "an extension or unknown field".to_owned())
}

fn value_difference(x: &Value, y: &Value) -> Option<String> {
    match (x, y) {
        (Value::Message(x), Value::Message(y)) => difference(x, y),
        (Value::F64(x), Value::F64(y)) if x.is_nan() && y.is_nan() => None,
        // serde_json reads a double that has many digits or a large exponent with an error in the last bit.
        (Value::F64(x), Value::F64(y)) if (x - y).abs() <= x.abs() * f64::EPSILON => None,
        (Value::F32(x), Value::F32(y)) if x.is_nan() && y.is_nan() => None,
        (x, y) => (x != y).then(|| format!("{x:?} against {y:?}")),
    }
}

/// Runs `property` with many seeds; each gets a message of the fixed schema or of a random one.
fn for_random_messages(property: impl Fn(&World, &DynamicMessage, &mut Dice)) {
    let cases = std::env::var("ORACLE_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(64u64);
    let only = std::env::var("ORACLE_SEED").ok().and_then(|text| text.parse().ok());
    for seed in only.map_or(0..cases, |seed: u64| seed..seed + 1) {
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut dice = Dice::new(seed);
            let random;
            let world = if seed % 3 == 0 {
                random = World::random(&mut dice);
                &random
            } else {
                &*FIXED
            };
            let message = world.message(&mut dice);
            property(world, &message, &mut dice);
        }));
        if let Err(panic) = caught {
            eprintln!("failed with ORACLE_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn json_becomes_the_bytes_of_the_same_message() {
    for_random_messages(|world, message, dice| {
        let options = SerializeOptions::new()
            .use_proto_field_name(dice.coin())
            .use_enum_numbers(dice.coin())
            .skip_default_fields(dice.coin())
            .stringify_64_bit_integers(dice.coin());
        let json = oracle_writes(message, &options);
        let descriptor = message.descriptor();
        let wire = read(world, descriptor.full_name(), &json).unwrap_or_else(|error| panic!("{error}\n{json}"));
        let ours = DynamicMessage::decode(descriptor, wire.as_slice()).expect("our bytes decode");
        assert_eq!(difference(&ours, message), None, "{json}");
    });
}

#[test]
fn bytes_become_json_of_the_same_message() {
    for_random_messages(|world, message, dice| {
        let options = WriteOptions {
            proto_names: dice.coin(),
            enum_numbers: dice.coin(),
            int64_numbers: dice.coin(),
            emit_defaults: dice.coin(),
        };
        let descriptor = message.descriptor();
        let wire = message.encode_to_vec();
        let json = write(world, descriptor.full_name(), &wire, &options).expect("random messages print");
        let theirs = oracle_reads(&descriptor, &json).unwrap_or_else(|error| panic!("{error}\n{json}"));
        assert_eq!(difference(&theirs, message), None, "{json}");
        // And our own reader agrees with our own writer.
        let again = read(world, descriptor.full_name(), &json).unwrap_or_else(|error| panic!("{error}\n{json}"));
        let printed = write(world, descriptor.full_name(), &again, &options).expect("prints again");
        assert_eq!(printed, json);
    });
}

#[test]
fn the_order_of_fields_on_the_wire_does_not_matter() {
    for_random_messages(|world, message, dice| {
        let descriptor = message.descriptor();
        let wire = message.encode_to_vec();
        let shuffled = shuffle::shuffle(&descriptor, &wire, dice);
        let options = WriteOptions { emit_defaults: dice.coin(), ..WriteOptions::default() };
        let name = descriptor.full_name();
        assert_eq!(write(world, name, &shuffled, &options), write(world, name, &wire, &options), "{shuffled:?}");
    });
}

#[test]
fn mutated_json_is_accepted_or_refused_alike() {
    for_random_messages(|world, message, dice| {
        let json = oracle_writes(message, &SerializeOptions::new());
        let descriptor = message.descriptor();
        for _ in 0..8 {
            let mutated = mutate::mutate(&json, dice);
            let ours = read(world, descriptor.full_name(), &mutated);
            let theirs = oracle_reads(&descriptor, &mutated);
            match (&ours, &theirs) {
                (Ok(wire), Ok(theirs)) => {
                    let ours = DynamicMessage::decode(message.descriptor(), wire.as_slice()).expect("our bytes decode");
                    let difference = difference(&ours, theirs);
                    assert!(difference.is_none(), "{difference:?}\n{mutated}");
                }
                (Err(_), Err(_)) => {}
                (Ok(_), Err(error)) => {
                    let text = error.to_string();
                    assert!(mutate::only_we_accept(&text), "only we accept: {text}\n{mutated}");
                }
                (Err(error), Ok(_)) => {
                    let around = mutate::around(&mutated, error.offset);
                    assert!(
                        mutate::only_they_accept(error, &mutated),
                        "only they accept: {error}: {around}\n{mutated}"
                    );
                }
            }
        }
    });
}

#[test]
fn random_bytes_never_panic() {
    for_random_messages(|world, message, dice| {
        let mut wire = message.encode_to_vec();
        for _ in 0..8 {
            mutate::damage(&mut wire, dice);
            let name = message.descriptor().full_name().to_owned();
            if let Ok(json) = write(world, &name, &wire, &WriteOptions::default()) {
                serde_json::from_str::<serde_json::Value>(&json).unwrap_or_else(|error| panic!("{error}\n{json}"));
            }
        }
    });
}
