//! Reading and printing by example. `check` tests go both ways: the body is read, the wire bytes are compared with those
//! of prost-reflect, and the printed form with the body.

use std::sync::{Arc, LazyLock};

use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage};

use super::*;
use crate::plan::MsgId;
use crate::schema::{Schema, compile_protos};

pub(crate) struct World {
    pub(crate) schema: Schema,
    pub(crate) pool: DescriptorPool,
}

pub(crate) static WORLD: LazyLock<Arc<World>> = LazyLock::new(|| {
    let testdata = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/proto");
    let set = compile_protos(&["kinds.proto", "legacy.proto", "shop.proto"], &[testdata]).unwrap();
    let pool = DescriptorPool::decode(set.as_slice()).unwrap();
    Arc::new(World { schema: Schema::from_descriptor_set(&set).unwrap(), pool })
});

fn id(name: &str) -> MsgId {
    WORLD.schema.find_message(name).unwrap()
}

const ALL: &str = "kinds.v1.All";
const OLD: &str = "legacy.v1.Old";
const STRICT: ReadOptions = ReadOptions { unknown_fields: UnknownFields::Reject };
const PLAIN: WriteOptions =
    WriteOptions { proto_names: false, enum_numbers: false, int64_numbers: false, emit_defaults: false };

fn read(name: &str, json: &str) -> Result<Vec<u8>, Box<ReadError>> {
    let mut out = Vec::new();
    parse_message(&WORLD.schema, id(name), json.as_bytes(), &STRICT, None, &mut out)?;
    Ok(out)
}

fn write_with(name: &str, wire: &[u8], options: &WriteOptions) -> Result<String, WriteError> {
    let mut out = Vec::new();
    print_message(&WORLD.schema, id(name), wire, options, &mut out)?;
    Ok(String::from_utf8(out).unwrap())
}

fn write(name: &str, wire: &[u8]) -> Result<String, WriteError> {
    write_with(name, wire, &PLAIN)
}

/// Reads `json`, demands that prost-reflect understands the same, and that printing gives `printed`.
fn check_prints(name: &str, json: &str, printed: &str) {
    let wire = read(name, json).unwrap_or_else(|error| panic!("{json}: {error}"));
    let descriptor = WORLD.pool.get_message_by_name(name).unwrap();
    let ours = DynamicMessage::decode(descriptor.clone(), wire.as_slice()).unwrap();
    let theirs = DynamicMessage::deserialize(descriptor, &mut serde_json::Deserializer::from_str(json)).unwrap();
    // By value for maps, which encode in any order; by bytes for NaN, which is not equal to itself.
    assert!(ours == theirs || ours.encode_to_vec() == theirs.encode_to_vec(), "{json}: {ours} {theirs}");
    assert_eq!(write(name, &wire).unwrap(), printed, "{json}");
}

fn check(name: &str, json: &str) {
    check_prints(name, json, json);
}

#[test]
fn every_kind_of_value_goes_both_ways() {
    let cases = [
        "{}",
        r#"{"aDouble":1.5,"aFloat":-0.25,"anInt64":"-9223372036854775808","aUint64":"18446744073709551615"}"#,
        r#"{"anInt32":-2147483648,"aFixed64":"7","aFixed32":4294967295,"aBool":true,"aString":"héllo"}"#,
        r#"{"aBytes":"AP8=","aUint32":4294967295,"aSfixed32":-1,"aSfixed64":"-1","aSint32":-5,"aSint64":"-6"}"#,
        r#"{"aColor":"RED","child":{"aColor":"NEGATIVE","child":{}}}"#,
        r#"{"aDouble":"NaN","aFloat":"-Infinity"}"#,
        r#"{"aDouble":-0.0}"#,
        r#"{"maybeInt32":0,"maybeString":""}"#,
        r#"{"doubles":[0,1e+300],"floats":[0.1],"int64s":["0","1"],"uint64s":["2"],"int32s":[0,-1,300]}"#,
        r#"{"fixed64s":["1"],"fixed32s":[1],"bools":[true,false],"strings":["","a"],"bytess":["","AA=="]}"#,
        r#"{"uint32s":[1],"sfixed32s":[-1],"sfixed64s":["-1"],"sint32s":[-1],"sint64s":["-1"],"colors":["RED",9]}"#,
        r#"{"children":[{},{"anInt32":1}],"unpacked":[1,2]}"#,
        r#"{"stringsByString":{"":"","a":"b"},"byInt32":{"-1":"5"},"byInt64":{"0":0.5},"byUint32":{"1":"AA=="}}"#,
        r#"{"byUint64":{"18446744073709551615":"GREEN"},"bySint32":{"-3":false},"bySint64":{"-4":{"aBool":true}}}"#,
        r#"{"byFixed32":{"1":0},"byFixed64":{"2":3},"bySfixed32":{"-1":"x"},"bySfixed64":{"-2":"y"}}"#,
        r#"{"byBool":{"false":"1970-01-01T00:00:00Z","true":"2026-11-20T10:00:00.500Z"}}"#,
        r#"{"choiceInt32":0}"#,
        r#"{"choiceString":""}"#,
        r#"{"choiceChild":{}}"#,
        r#"{"choiceNull":null}"#,
        r#"{"timestamp":"2026-11-20T10:00:00Z","duration":"-3.500s","mask":"a,b.cD"}"#,
        r#"{"structure":{"a":null,"b":[true,1,"x",{}],"c":{"d":[]}},"value":null,"list":[1,[2]]}"#,
        r#"{"value":{"a":[]},"values":[null,1,"x"]}"#,
        r#"{"any":{"@type":"type.googleapis.com/kinds.v1.All","anInt32":7,"child":{}},"empty":{}}"#,
        r#"{"any":{"@type":"x.y/google.protobuf.Duration","value":"1s"}}"#,
        r#"{"any":{"@type":"x/google.protobuf.Any","value":{"@type":"x/google.protobuf.Int64Value","value":"3"}}}"#,
        r#"{"wrappedBool":false,"wrappedInt32":0,"wrappedInt64":"0","wrappedUint32":1,"wrappedUint64":"2"}"#,
        r#"{"wrappedFloat":0.5,"wrappedDouble":0,"wrappedString":"","wrappedBytes":"","wrappedStrings":["","a"]}"#,
        r#"{"MixedCaseName":1,"other \"name\"":2}"#,
    ];
    for json in cases {
        // prost-reflect prints and reads -0.0 and whole doubles in its own way; only bytes are compared.
        check_prints(ALL, json, &json.replace("-0.0", "-0"));
    }
}

#[test]
fn proto2_has_presence_groups_and_extensions() {
    check(OLD, r#"{"id":0,"name":"","size":"LARGE","numbers":[1,2],"sizes":["SMALL"]}"#);
    check(OLD, r#"{"part":{"weight":0,"inner":{"id":1}},"piece":[{"label":"a"},{}],"sizesByName":{"x":"SMALL"}}"#);
    check(OLD, r#"{"[legacy.v1.extra]":5,"[legacy.v1.tags]":["a"]}"#);
    // Numbers that a closed enum does not have are unknown fields.
    assert_eq!(write(OLD, b"\x18\x07\x28\x07\x28\x01\x42\x05\x0a\x01x\x10\x07").unwrap(), r#"{"sizes":["SMALL"]}"#);
    assert_eq!(write(OLD, b"\x28\x07").unwrap(), "{}");
}

#[test]
fn both_spellings_and_other_notations_are_read() {
    let cases = [
        (r#"{"an_int32":1,"a_string":"x"}"#, r#"{"anInt32":1,"aString":"x"}"#),
        (r#" { "anInt32" : 1 , "child" : { } } "#, r#"{"anInt32":1,"child":{}}"#),
        (r#"{"anInt32":1.0,"anInt64":1e5,"aUint64":"7","int32s":["1",2]}"#, ""),
        (r#"{"\u0061nInt32":5}"#, r#"{"anInt32":5}"#),
        (r#"{"aString":"\ud83d\ude00\n"}"#, r#"{"aString":"😀\n"}"#),
        (r#"{"aBytes":"_-8"}"#, r#"{"aBytes":"/+8="}"#),
        (
            r#"{"anInt32":null,"int32s":null,"child":null,"choiceInt32":null,"choiceString":"a"}"#,
            r#"{"choiceString":"a"}"#,
        ),
        (r#"{"aColor":1,"colors":[0]}"#, r#"{"aColor":"RED","colors":["COLOR_UNSPECIFIED"]}"#),
        (r#"{"anInt32":0,"aString":"","aBool":false,"aDouble":0,"int32s":[],"byInt32":{}}"#, "{}"),
        (r#"{"nullValue":null,"duration":"3.5s","timestamp":"2000-01-01T01:00:00+01:00"}"#, ""),
        (r#"{"aDouble":"1.5","aFloat":"Infinity"}"#, r#"{"aDouble":1.5,"aFloat":"Infinity"}"#),
    ];
    let expected_blank = [
        r#"{"anInt64":"100000","aUint64":"7","anInt32":1,"int32s":[1,2]}"#,
        r#"{"timestamp":"2000-01-01T00:00:00Z","duration":"3.500s"}"#,
    ];
    let mut blanks = expected_blank.iter();
    for (json, printed) in cases {
        let wire = read(ALL, json).unwrap_or_else(|error| panic!("{json}: {error}"));
        if printed.is_empty() {
            // Fields came in another order than their numbers, and are printed in order all the same.
            let again = read(ALL, blanks.next().unwrap()).unwrap();
            assert_eq!(write(ALL, &wire).unwrap(), write(ALL, &again).unwrap(), "{json}");
        } else {
            assert_eq!(write(ALL, &wire).unwrap(), printed, "{json}");
        }
    }
}

#[test]
fn a_late_type_of_an_any_is_found() {
    let json =
        r#"{"any":{"child":{"any":{"value":"1s","@type":"x/google.protobuf.Duration"}},"@type":"x/kinds.v1.All"}}"#;
    let early =
        r#"{"any":{"@type":"x/kinds.v1.All","child":{"any":{"@type":"x/google.protobuf.Duration","value":"1s"}}}}"#;
    assert_eq!(read(ALL, json).unwrap(), read(ALL, early).unwrap());
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    use ReadErrorKind as Kind;
    let cases: &[(&str, Kind, &str)] = &[
        ("", Kind::UnexpectedEnd, ""),
        ("{", Kind::UnexpectedEnd, ""),
        ("[]", Kind::Expected(Expected::Object), ""),
        ("null", Kind::Expected(Expected::Object), ""),
        ("{} {}", Kind::TrailingText, ""),
        ("\u{feff}{}", Kind::Syntax, ""),
        ("{'a':1}", Kind::Syntax, ""),
        (r#"{"anInt32":1,}"#, Kind::Syntax, ""),
        (r#"{"anInt32":1 "aBool":true}"#, Kind::Syntax, ""),
        (r#"{"anInt32":01}"#, Kind::Syntax, "anInt32"),
        (r#"{"anInt32":1,"anInt32":1}"#, Kind::Duplicate, "anInt32"),
        (r#"{"anInt32":1,"an_int32":1}"#, Kind::Duplicate, "anInt32"),
        (r#"{"anInt32":null,"anInt32":1}"#, Kind::Duplicate, "anInt32"),
        (r#"{"choiceInt32":1,"choiceString":""}"#, Kind::OneofConflict, "choiceString"),
        (r#"{"child":{"nope":1}}"#, Kind::UnknownField, "child.nope"),
        (
            r#"{"children":[{},{"child":{"anInt32":"x"}}]}"#,
            Kind::Expected(Expected::Int32),
            "children[1].child.anInt32",
        ),
        (r#"{"anInt32":1.5}"#, Kind::Expected(Expected::Int32), "anInt32"),
        (r#"{"anInt32":2147483648}"#, Kind::OutOfRange(Expected::Int32), "anInt32"),
        (r#"{"anInt32":" 1"}"#, Kind::Expected(Expected::Int32), "anInt32"),
        (r#"{"anInt32":true}"#, Kind::Expected(Expected::Int32), "anInt32"),
        (r#"{"aUint64":-1}"#, Kind::OutOfRange(Expected::Uint64), "aUint64"),
        (r#"{"anInt64":1e400}"#, Kind::OutOfRange(Expected::Int64), "anInt64"),
        (r#"{"aDouble":1e400}"#, Kind::OutOfRange(Expected::Double), "aDouble"),
        (r#"{"aFloat":1e39}"#, Kind::OutOfRange(Expected::Float), "aFloat"),
        (r#"{"aDouble":NaN}"#, Kind::Syntax, "aDouble"),
        (r#"{"aDouble":"nan"}"#, Kind::Expected(Expected::Double), "aDouble"),
        (r#"{"aBool":"true"}"#, Kind::Expected(Expected::Bool), "aBool"),
        (r#"{"aBool":True}"#, Kind::Syntax, "aBool"),
        (r#"{"aString":1}"#, Kind::Expected(Expected::String), "aString"),
        (r#"{"aString":"\ud800"}"#, Kind::InvalidEscape, "aString"),
        (r#"{"aBytes":"*"}"#, Kind::Expected(Expected::Base64), "aBytes"),
        (r#"{"aColor":"red"}"#, Kind::UnknownEnumValue, "aColor"),
        (r#"{"aColor":1.5}"#, Kind::Expected(Expected::Enum), "aColor"),
        (r#"{"int32s":1}"#, Kind::Expected(Expected::Array), "int32s"),
        (r#"{"int32s":[1,null]}"#, Kind::UnexpectedNull, "int32s[1]"),
        (r#"{"int32s":[1,]}"#, Kind::Syntax, "int32s[1]"),
        (r#"{"byInt32":[]}"#, Kind::Expected(Expected::Object), "byInt32"),
        (r#"{"byInt32":{"1":null}}"#, Kind::UnexpectedNull, "byInt32"),
        (r#"{"byInt32":{"a":"1"}}"#, Kind::Expected(Expected::Int32), "byInt32"),
        (r#"{"byInt32":{"1":"1","1":"2"}}"#, Kind::Duplicate, "byInt32"),
        (r#"{"byInt32":{"1":"1","1.0":"2"}}"#, Kind::Duplicate, "byInt32"),
        (r#"{"byBool":{"True":null}}"#, Kind::Expected(Expected::Bool), "byBool"),
        (r#"{"structure":{"a":1,"a":1}}"#, Kind::Duplicate, "structure"),
        (r#"{"structure":{"a":1e999}}"#, Kind::OutOfRange(Expected::Number), "structure"),
        (r#"{"timestamp":"yesterday"}"#, Kind::Expected(Expected::Timestamp), "timestamp"),
        (r#"{"duration":"1"}"#, Kind::Expected(Expected::Duration), "duration"),
        (r#"{"mask":"foo_bar"}"#, Kind::Expected(Expected::FieldMask), "mask"),
        (r#"{"any":{"anInt32":1}}"#, Kind::AnyTypeMissing, "any"),
        (r#"{"any":{"@type":"noslash"}}"#, Kind::AnyTypeMissing, "any"),
        (r#"{"any":{"@type":"x/unknown.Type"}}"#, Kind::AnyTypeUnknown, "any"),
        (r#"{"any":{"@type":"x/google.protobuf.Duration"}}"#, Kind::AnyValueMissing, "any"),
        (r#"{"any":{"@type":"x/kinds.v1.All","@type":"x/kinds.v1.All"}}"#, Kind::Duplicate, "any"),
        (r#"{"any":{"@type":"x/kinds.v1.All","nope":1}}"#, Kind::UnknownField, "any.nope"),
    ];
    for (json, kind, path) in cases {
        let error = read(ALL, json).expect_err(json);
        assert_eq!((error.kind, error.path.as_str()), (*kind, *path), "{json}");
    }
    let mut out = b"before".to_vec();
    let bad = b"{\"aString\":\"\xff\"}";
    let error = parse_message(&WORLD.schema, id(ALL), bad, &STRICT, None, &mut out).unwrap_err();
    assert_eq!((error.kind, error.offset), (Kind::InvalidUtf8, 12));
    assert_eq!(out, b"before", "a refused body leaves the output as it was");
}

#[test]
fn unknown_keys_are_refused_ignored_or_reported() {
    let json = r#"{"anInt32":1,"nope":{"a":[1,{}]},"child":{"no":1,"aColor":"BLUE"},"colors":["BLUE"],"int32s":[1]}"#;
    let read_with = |unknown_fields| {
        let mut out = Vec::new();
        let options = ReadOptions { unknown_fields };
        let ignored = parse_message(&WORLD.schema, id(ALL), json.as_bytes(), &options, None, &mut out)?;
        Ok::<_, Box<ReadError>>((out, ignored))
    };
    assert_eq!(read_with(UnknownFields::Reject).unwrap_err().path, "nope");
    let (wire, ignored) = read_with(UnknownFields::Ignore).unwrap();
    assert_eq!(write(ALL, &wire).unwrap(), r#"{"anInt32":1,"child":{},"int32s":[1]}"#);
    assert_eq!(ignored, Ignored::default());
    let (_, ignored) = read_with(UnknownFields::Report).unwrap();
    assert_eq!((ignored.paths.as_str(), ignored.count), ("nope,child.no,child.aColor,colors", 4));
}

#[test]
fn reported_paths_are_bounded_and_printable() {
    let mut ignored = Ignored::default();
    ignored.add("a\nb,é");
    for _ in 0..1000 {
        ignored.add("0123456789");
    }
    assert!(ignored.paths.starts_with("a?b??,0123456789,") && ignored.paths.len() <= 512);
    assert_eq!(ignored.count, 1001);
}

#[test]
fn bound_values_join_the_body() {
    let order = id("shop.v1.Order");
    let schema = &WORLD.schema;
    let field = |message, name: &str| schema.find_field(message, name).unwrap();
    let buyer = field(order, "buyer");
    let buyer_id = field(id("shop.v1.Buyer"), "id");
    let mut injection = Injection::new();
    injection.insert(&[field(order, "id")], b"\x0a\x017").unwrap();
    injection.insert(&[buyer, buyer_id], b"\x0a\x01b").unwrap();
    let read = |json: &str| {
        let mut out = Vec::new();
        parse_message(schema, order, json.as_bytes(), &STRICT, Some(injection.root()), &mut out)?;
        Ok::<_, Box<ReadError>>(write("shop.v1.Order", &out).unwrap())
    };
    let both = r#"{"id":"7","buyer":{"id":"b"}}"#;
    for json in ["{}", both, r#"{"id":"7"}"#, r#"{"id":null,"buyer":null}"#, r#"{"buyer":{}}"#] {
        assert_eq!(read(json).as_deref(), Ok(both), "{json}");
    }
    assert_eq!(
        read(r#"{"buyer":{"email":"e"},"note":"n"}"#).unwrap(),
        r#"{"id":"7","buyer":{"id":"b","email":"e"},"note":"n"}"#
    );
    for (json, path) in [(r#"{"id":"8"}"#, "id"), (r#"{"id":""}"#, "id"), (r#"{"buyer":{"id":"c"}}"#, "buyer.id")] {
        let error = read(json).unwrap_err();
        assert_eq!((error.kind, error.path.as_str()), (ReadErrorKind::BindingCollision, path), "{json}");
    }
}

#[test]
fn a_bound_member_of_a_oneof_excludes_the_others() {
    let mut injection = Injection::new();
    injection.insert(&[WORLD.schema.find_field(id(ALL), "choiceInt32").unwrap()], b"\xb8\x04\x05").unwrap();
    let read = |json: &str| {
        let mut out = Vec::new();
        parse_message(&WORLD.schema, id(ALL), json.as_bytes(), &STRICT, Some(injection.root()), &mut out)?;
        Ok::<_, Box<ReadError>>(write(ALL, &out).unwrap())
    };
    assert_eq!(read("{}").unwrap(), r#"{"choiceInt32":5}"#);
    for json in [r#"{"choiceString":"a"}"#, r#"{"choiceString":"a","choiceInt32":null}"#] {
        assert_eq!(read(json).unwrap_err().kind, ReadErrorKind::OneofConflict, "{json}");
    }
}

#[test]
fn fields_of_any_kind_can_be_the_body() {
    let cases = [
        ("aString", r#""hello""#, r#"{"aString":"hello"}"#),
        ("int32s", "[1,2]", r#"{"int32s":[1,2]}"#),
        ("child", r#"{"anInt32":1}"#, r#"{"child":{"anInt32":1}}"#),
        ("stringsByString", r#"{"a":"b"}"#, r#"{"stringsByString":{"a":"b"}}"#),
        ("timestamp", r#""1970-01-01T00:00:00Z""#, r#"{"timestamp":"1970-01-01T00:00:00Z"}"#),
        ("value", "null", r#"{"value":null}"#),
        ("child", "null", "{}"),
        ("aString", "null", "{}"),
    ];
    for (name, json, printed) in cases {
        let mut out = Vec::new();
        let field = WORLD.schema.find_field(id(ALL), name).unwrap();
        parse_field(&WORLD.schema, id(ALL), field, json.as_bytes(), &STRICT, None, &mut out).unwrap();
        assert_eq!(write(ALL, &out).unwrap(), printed, "{name}");
        let mut value = Vec::new();
        print_field(&WORLD.schema, id(ALL), field, &out, &PLAIN, &mut value).unwrap();
        let expected = match (json, name) {
            ("null", "child") => "{}",
            ("null", "aString") => r#""""#,
            _ => json,
        };
        assert_eq!(String::from_utf8(value).unwrap(), expected, "{name}");
    }
    let field = WORLD.schema.find_field(id(ALL), "child").unwrap();
    let error = parse_field(&WORLD.schema, id(ALL), field, br#"{"x":1}"#, &STRICT, None, &mut Vec::new()).unwrap_err();
    assert_eq!(error.path, "child.x");
}

#[test]
fn an_unset_field_prints_its_empty_form() {
    let cases = [
        ("int32s", "[]"),
        ("children", "[]"),
        ("byInt32", "{}"),
        ("anInt32", "0"),
        ("anInt64", "\"0\""),
        ("aString", "\"\""),
        ("aBytes", "\"\""),
        ("aBool", "false"),
        ("aColor", "\"COLOR_UNSPECIFIED\""),
        ("child", "{}"),
        ("structure", "{}"),
        ("list", "[]"),
        ("timestamp", "null"),
        ("wrappedInt32", "null"),
        ("choiceInt32", "0"),
    ];
    for (name, expected) in cases {
        let field = WORLD.schema.find_field(id(ALL), name).unwrap();
        let mut out = Vec::new();
        // Another member of the oneof is set.
        print_field(&WORLD.schema, id(ALL), field, b"\xb8\x04\x05\xc2\x04\x01a", &PLAIN, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), expected, "{name}");
    }
}

#[test]
fn print_options_change_what_they_say() {
    let wire = read(ALL, r#"{"anInt64":"5","aColor":"RED","byInt32":{"1":"2"},"colors":["GREEN"]}"#).unwrap();
    let options = WriteOptions { proto_names: true, enum_numbers: true, int64_numbers: true, emit_defaults: false };
    assert_eq!(
        write_with(ALL, &wire, &options).unwrap(),
        r#"{"an_int64":5,"a_color":1,"colors":[2],"by_int32":{"1":2}}"#
    );
    let options = WriteOptions { emit_defaults: true, ..PLAIN };
    let price = read("shop.v1.Price", r#"{"units":"5"}"#).unwrap();
    assert_eq!(
        write_with("shop.v1.Price", &price, &options).unwrap(),
        r#"{"currency":"CURRENCY_UNSPECIFIED","units":"5","nanos":0}"#
    );
    assert_eq!(write_with("shop.v1.OrderList", b"", &options).unwrap(), r#"{"orders":[],"nextPageToken":""}"#);
    assert_eq!(
        write_with("shop.v1.Order", b"\x1a\x00", &options).unwrap(),
        r#"{"id":"","number":"0","buyer":{"id":"","email":"","age":0},"labels":{},"itemIds":[],"paid":false,"weight":0,"note":"","token":"","shownIn":"CURRENCY_UNSPECIFIED"}"#
    );
    // Explicit presence means no default.
    assert_eq!(
        write_with(OLD, b"", &options).unwrap(),
        r#"{"numbers":[],"sizes":[],"piece":[],"sizesByName":{},"[legacy.v1.tags]":[]}"#
    );
}

#[test]
fn unusual_orders_print_as_the_usual_one() {
    let cases: &[(&[u8], &str)] = &[
        // A field that comes again: the last one wins.
        (b"\x28\x01\x28\x02", r#"{"anInt32":2}"#),
        // Back to a lower number.
        (b"\x48\x00\x4a\x01a\x28\x02", r#"{"anInt32":2,"aString":"a"}"#),
        // A message in two pieces is merged.
        (b"\x8a\x01\x02\x28\x01\x8a\x01\x03\x4a\x01a", r#"{"child":{"anInt32":1,"aString":"a"}}"#),
        (b"\x8a\x01\x02\x28\x01\x28\x07\x8a\x01\x02\x28\x02", r#"{"anInt32":7,"child":{"anInt32":2}}"#),
        // A list in several runs, packed and not.
        (b"\x9a\x02\x02\x01\x02\x98\x02\x03\x28\x01\x9a\x02\x01\x04", r#"{"anInt32":1,"int32s":[1,2,3,4]}"#),
        // Two members of a oneof: the last one counts, and an earlier run of it does not.
        (b"\xb8\x04\x01\xc2\x04\x01a", r#"{"choiceString":"a"}"#),
        (b"\xca\x04\x02\x28\x01\xb8\x04\x01\xca\x04\x00", r#"{"choiceChild":{}}"#),
        // A map key twice.
        (b"\x9a\x03\x06\x0a\x01a\x12\x01b\x9a\x03\x06\x0a\x01a\x12\x01c", r#"{"stringsByString":{"a":"c"}}"#),
        // A map entry with its parts twice, backwards, or missing.
        (b"\x9a\x03\x09\x12\x01x\x0a\x01a\x12\x01b", r#"{"stringsByString":{"a":"b"}}"#),
        (b"\x9a\x03\x00", r#"{"stringsByString":{"":""}}"#),
        (b"\xca\x03\x0a\x08\x02\x12\x02\x28\x01\x12\x02\x40\x01", r#"{"bySint64":{"1":{"anInt32":1,"aBool":true}}}"#),
        // Unknown fields and fields of another wire type.
        (b"\xf8\x3f\x01\x28\x05\x2d\x00\x00\x00\x00", r#"{"anInt32":5}"#),
        // An empty packed run is an empty list.
        (b"\x9a\x02\x00", "{}"),
        // A zero without presence that was sent all the same.
        (b"\x28\x00", "{}"),
        // An int32 in ten bytes.
        (b"\x28\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", r#"{"anInt32":-1}"#),
    ];
    for (wire, expected) in cases {
        assert_eq!(write(ALL, wire).as_deref(), Ok(*expected), "{wire:?}");
    }
}

#[test]
fn broken_messages_have_no_json_form() {
    use WriteError::{InvalidUtf8, Malformed, NotRepresentable};
    let cases: &[(&[u8], WriteError)] = &[
        (b"\x28", Malformed),
        (b"\x4a\x05a", Malformed),
        (b"\x00", Malformed),
        (b"\x2c", Malformed),
        (b"\x09\x00", Malformed),
        (b"\x4a\x01\xff", InvalidUtf8),
        (b"\x9a\x03\x06\x0a\x01\xff\x12\x01b", InvalidUtf8),
        (b"\x9a\x02\x01\xff", Malformed),
        // A timestamp in the year 10000.
        (b"\x8a\x05\x07\x08\x80\x83\xd1\xff\xaf\x07", NotRepresentable),
        // A duration with two signs.
        (b"\x92\x05\x0d\x08\x01\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", NotRepresentable),
        // A number in a value that is infinite.
        (b"\xaa\x05\x09\x11\x00\x00\x00\x00\x00\x00\xf0\x7f", NotRepresentable),
        (b"\x9a\x05\x05\x0a\x03a_B", NotRepresentable),
    ];
    for (wire, expected) in cases {
        let mut out = b"before".to_vec();
        let result = print_message(&WORLD.schema, id(ALL), wire, &PLAIN, &mut out);
        assert_eq!(result, Err(*expected), "{wire:?}");
        assert_eq!(out, b"before");
    }
}

#[test]
fn an_any_without_a_type_is_an_empty_object() {
    // prost-reflect refuses it; the conformance suite wants it.
    let wire = read(ALL, r#"{"any":{},"anys":[{}]}"#).unwrap();
    assert_eq!(wire, b"\xc2\x05\x00\xb2\x06\x00");
    assert_eq!(write(ALL, &wire).unwrap(), r#"{"any":{},"anys":[{}]}"#);
}

#[test]
fn an_any_of_an_unknown_type_survives() {
    let wire = b"\xc2\x05\x0a\x0a\x03x/y\x12\x03abc";
    assert_eq!(write(ALL, wire).unwrap(), r#"{"any":{"@type":"x/y","value":"YWJj"}}"#);
    assert_eq!(write(ALL, b"\xc2\x05\x05\x12\x03abc").unwrap(), r#"{"any":{"@type":"","value":"YWJj"}}"#);
    assert_eq!(write(ALL, b"\xaa\x05\x00").unwrap(), r#"{"value":null}"#);
}

fn nested(levels: usize, open: &str, close: &str) -> String {
    format!("{}{}", open.repeat(levels), close.repeat(levels))
}

#[test]
fn a_hundred_levels_pass_and_one_more_does_not() {
    // The message around the field is a level too.
    let messages = |levels: usize| format!("{}{{}}{}", "{\"child\":".repeat(levels - 1), "}".repeat(levels - 1));
    let lists = |levels: usize| format!("{{\"value\":{}}}", nested(levels - 1, "[", "]"));
    let structs =
        |levels: usize| format!("{{\"value\":{}{{}}{}}}", "{\"a\":".repeat(levels - 2), "}".repeat(levels - 2));
    let anys = |levels: usize| {
        let open = r#"{"@type":"x/google.protobuf.Any","value":"#;
        format!("{{\"any\":{}{{}}{}}}", open.repeat(levels - 2), "}".repeat(levels - 2))
    };
    for make in [&messages as &dyn Fn(usize) -> String, &lists, &structs, &anys] {
        let wire = read(ALL, &make(100)).unwrap();
        assert_eq!(write(ALL, &wire).unwrap(), make(100));
        assert_eq!(read(ALL, &make(101)).unwrap_err().kind, ReadErrorKind::TooDeep);
    }
    let mut wire = Vec::new();
    for _ in 0..100 {
        let mut outer = b"\x8a\x01".to_vec();
        crate::wire::put_varint(&mut outer, wire.len() as u64);
        outer.extend_from_slice(&wire);
        wire = outer;
    }
    assert_eq!(write(ALL, &wire), Err(WriteError::TooDeep));
}

#[test]
fn a_hundred_thousand_brackets_end_early() {
    let brackets = "[".repeat(100_000);
    for json in [brackets.clone(), format!("{{\"value\":{brackets}"), "{\"child\":".repeat(100_000)] {
        let error = read(ALL, &json).unwrap_err();
        assert!(error.offset < 2_000, "{error}");
    }
    let options = ReadOptions { unknown_fields: UnknownFields::Ignore };
    let json = format!("{{\"nope\":{brackets}");
    let error = parse_message(&WORLD.schema, id(ALL), json.as_bytes(), &options, None, &mut Vec::new()).unwrap_err();
    assert_eq!(error.kind, ReadErrorKind::TooDeep);
}

#[test]
fn a_long_key_is_cut_in_the_error() {
    let json = format!("{{\"{}\":1}}", "é".repeat(500_000));
    let error = read(ALL, &json).unwrap_err();
    assert_eq!((error.kind, error.path.len()), (ReadErrorKind::UnknownField, 64));
}

#[test]
fn nested_anys_with_late_types_stay_linear() {
    let levels = 90;
    let filler = "x".repeat(10_000);
    let mut json = format!(r#"{{"aString":"{filler}","@type":"x/kinds.v1.All"}}"#);
    for _ in 0..levels {
        json = format!(r#"{{"any":{json},"@type":"x/kinds.v1.All"}}"#);
    }
    let error = read(ALL, &format!("{{\"any\":{json}}}")).unwrap_err();
    assert_eq!(error.kind, ReadErrorKind::TooDeep);
}

#[test]
fn small_items_take_little_memory() {
    let count = 1_000_000;
    let json = format!("{{\"children\":[{}{{}}]}}", "{},".repeat(count - 1));
    let wire = read(ALL, &json).unwrap();
    assert_eq!(wire.len(), 3 * count);
    assert!(wire.capacity() <= 20 * json.len());
    assert_eq!(write(ALL, &wire).unwrap(), json);
}

#[test]
fn defaults_cannot_fill_the_memory() {
    // An empty order is two bytes here and 180 as JSON with its defaults.
    let list = |orders: usize| b"\x0a\x00".repeat(orders);
    let options = WriteOptions { emit_defaults: true, ..PLAIN };
    assert!(write_with("shop.v1.OrderList", &list(10_000), &options).is_ok());
    assert_eq!(write_with("shop.v1.OrderList", &list(100_000), &options), Err(WriteError::TooLarge));
    assert!(write_with("shop.v1.OrderList", &list(100_000), &PLAIN).is_ok());
}
