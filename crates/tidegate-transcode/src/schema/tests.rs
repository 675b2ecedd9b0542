use std::path::PathBuf;

use prost::Message as _;

use super::*;
use crate::plan::{Cardinality, Kind, Wkt};

fn testdata() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/proto")
}

fn shop() -> Schema {
    Schema::from_protos(&["shop.proto"], &[testdata()]).unwrap()
}

#[test]
fn methods_carry_their_rules_and_promises() {
    let schema = shop();
    let get = schema.find_method("shop.v1.Orders/GetOrder").unwrap();
    assert_eq!(schema.find_method("/shop.v1.Orders/GetOrder").unwrap().full_name(), get.full_name());
    assert_eq!(get.idempotency(), Idempotency::NoSideEffects);
    let rules: Vec<_> = get.http_rules().iter().map(|rule| (rule.method.as_str(), rule.path.as_str())).collect();
    assert_eq!(rules, [("GET", "/v1/orders/{id}"), ("FETCH", "/v1/{name=shelves/*}/order")]);
    assert_eq!(get.http_rules()[1].response_body, "buyer");
    let watch = schema.find_method("Orders/Watch").unwrap();
    assert!(watch.is_client_streaming() && watch.is_server_streaming() && watch.http_rules().is_empty());
    assert_eq!(schema.message(watch.output()).full_name(), "shop.v1.OrderList");
    assert_eq!(schema.find_method("Watch").unwrap_err(), MethodLookup::Unknown);
    assert_eq!(schema.find_method("rders/Watch").unwrap_err(), MethodLookup::Unknown);
}

#[test]
fn fields_are_found_by_number_and_by_both_names() {
    let schema = shop();
    let id = schema.find_message("shop.v1.Order").unwrap();
    let order = schema.message(id);
    let created = order.find_number(9).unwrap();
    assert_eq!(schema.find_field(id, "createdAt"), Some(created));
    assert_eq!(schema.find_field(id, "created_at"), Some(created));
    assert_eq!(schema.find_field(id, "CreatedAt"), None);
    assert_eq!(order.find_number(0), None);
    assert_eq!(order.find_number(13), None);
    assert_eq!(order.find_number(1 << 28), None);
    let field = order.field(created).unwrap();
    assert_eq!((field.kind(), field.wkt(), field.tag()), (Kind::Message, Wkt::Timestamp, &[0x4a][..]));
    assert_eq!(order.field(4).unwrap().cardinality(), Cardinality::Map);
    assert!(order.field(5).unwrap().is_packed());
}

#[test]
fn builtin_types_are_always_there() {
    let schema = shop();
    for name in ["google.rpc.BadRequest", "google.rpc.Status", "google.protobuf.Any", "google.api.HttpBody"] {
        assert!(schema.find_message(name).is_some(), "{name}");
    }
    assert!(schema.methods().iter().all(|method| method.full_name().starts_with("shop.v1.")));
}

#[test]
fn the_digest_ignores_order_and_positions_and_sees_everything_else() {
    let set = compile_protos(&["shop.proto"], &[testdata()]).unwrap();
    let files = raw::FileSet::decode(set.as_slice()).unwrap().file;
    let digest = Schema::from_descriptor_set(&set).unwrap().digest();
    let mut reversed = files.clone();
    reversed.reverse();
    assert_eq!(Schema::from_file_descriptors(&reversed).unwrap().digest(), digest);
    // Positions are field 9: an empty one more changes the bytes, not the meaning.
    let mut with_positions = files.clone();
    with_positions.last_mut().unwrap().extend([0x4a, 0x00]);
    assert_eq!(Schema::from_file_descriptors(&with_positions).unwrap().digest(), digest);
    // An empty options message is a difference.
    let mut changed = files;
    changed.last_mut().unwrap().extend([0x42, 0x00]);
    assert_ne!(Schema::from_file_descriptors(&changed).unwrap().digest(), digest);
}

#[test]
fn a_set_without_its_well_known_imports_still_compiles() {
    let set = compile_protos(&["shop.proto"], &[testdata()]).unwrap();
    let own: Vec<_> = raw::FileSet::decode(set.as_slice())
        .unwrap()
        .file
        .into_iter()
        .filter(|bytes| raw::File::decode(bytes.as_slice()).unwrap().name() == "shop.proto")
        .collect();
    assert_eq!(own.len(), 1);
    assert_eq!(Schema::from_file_descriptors(&own).unwrap().methods().len(), 3);
    // The same file twice is what reflection sends; two files of one name are a mistake.
    assert!(Schema::from_file_descriptors([&own[0], &own[0]]).is_ok());
    let mut other = own[0].clone();
    other.extend([0x42, 0x00]);
    assert!(matches!(
        Schema::from_file_descriptors([&own[0], &other]),
        Err(SchemaError::DuplicateFile { file }) if file == "shop.proto"
    ));
}

fn file_with(message: raw::MessageType, edition: Option<i32>) -> Vec<u8> {
    let syntax = if edition.is_some() { "editions" } else { "proto3" };
    raw::File {
        name: Some("t.proto".to_owned()),
        syntax: Some(syntax.to_owned()),
        edition,
        message_type: vec![message],
        ..Default::default()
    }
    .encode_to_vec()
}

fn field(name: &str, number: i32, r#type: i32) -> raw::Field {
    raw::Field {
        name: Some(name.to_owned()),
        number: Some(number),
        label: Some(1),
        r#type: Some(r#type),
        ..Default::default()
    }
}

fn message(fields: Vec<raw::Field>) -> raw::MessageType {
    raw::MessageType { name: Some("M".to_owned()), field: fields, ..Default::default() }
}

#[test]
fn broken_descriptors_are_refused() {
    let twice = message(vec![field("a", 1, 9), field("b", 1, 9)]);
    assert!(matches!(Schema::from_file_descriptors([file_with(twice, None)]), Err(SchemaError::Invalid { .. })));
    let dangling = message(vec![raw::Field { type_name: Some(".Gone".to_owned()), ..field("a", 1, 11) }]);
    assert!(matches!(Schema::from_file_descriptors([file_with(dangling, None)]), Err(SchemaError::Invalid { .. })));
    assert!(matches!(Schema::from_descriptor_set(b"\xff"), Err(SchemaError::Undecodable { .. })));
    let future = file_with(message(vec![]), Some(9999));
    assert!(matches!(
        Schema::from_file_descriptors([future]),
        Err(SchemaError::UnknownEdition { file, .. }) if file == "t.proto"
    ));
}

#[test]
fn edition_files_follow_their_features() {
    let delimited = raw::FieldOptions {
        packed: None,
        features: Some(raw::FeatureSet { message_encoding: Some(2), ..Default::default() }),
    };
    let implicit = raw::FieldOptions {
        packed: None,
        features: Some(raw::FeatureSet { field_presence: Some(2), ..Default::default() }),
    };
    let group =
        raw::Field { type_name: Some(".M".to_owned()), options: Some(delimited.encode_to_vec()), ..field("g", 1, 11) };
    let plain = raw::Field { options: Some(implicit.encode_to_vec()), ..field("p", 3, 5) };
    let list = raw::Field { label: Some(3), ..field("r", 4, 5) };
    let file = file_with(message(vec![group, field("e", 2, 5), plain, list]), Some(1000));
    let schema = Schema::from_file_descriptors([file]).unwrap();
    let plan = schema.message(schema.find_message("M").unwrap());
    assert_eq!(plan.field(0).unwrap().kind(), Kind::Group);
    assert!(plan.field(1).unwrap().has_presence());
    assert!(!plan.field(2).unwrap().has_presence());
    assert!(plan.field(3).unwrap().is_packed());
}

#[test]
fn problems_in_a_proto_file_have_a_position() {
    let error = Schema::from_protos(&["absent.proto"], &[testdata()]).unwrap_err();
    assert!(matches!(error, SchemaError::Proto { .. }), "{error:?}");
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("bad.proto"), "syntax = \"proto3\";\nmessage {").unwrap();
    std::fs::write(directory.path().join("new.proto"), "// c\nedition = \"2023\";\nmessage M {}").unwrap();
    let bad = Schema::from_protos(&["bad.proto"], &[directory.path()]).unwrap_err();
    assert!(bad.to_string().starts_with("bad.proto:2:9"), "{bad}");
    let new = Schema::from_protos(&["new.proto"], &[directory.path()]).unwrap_err();
    assert!(matches!(new, SchemaError::EditionSource { file } if file == "new.proto"));
}

const NOTED: &str = r#"syntax = "proto3";
package noted;
import "google/api/field_behavior.proto";

// The service.
service Notes {
  // Asks.
  //
  // More of it. (-- internal --)
  rpc Ask(Question) returns (Question) { option deprecated = true; }
}

// Detached, of nobody.

// A question.
message Question {
  option deprecated = true;
  /* In a block. */
  string text = 1 [(google.api.field_behavior) = REQUIRED];
  string id = 2 [(google.api.field_behavior) = OUTPUT_ONLY, deprecated = true]; // Behind it.
  string secret = 3 [(google.api.field_behavior) = INPUT_ONLY, (google.api.field_behavior) = REQUIRED];
  string plain = 4;
  optional string maybe = 5;
  oneof answer { string yes = 6; string no = 7; }
  // Nested.
  message Inner {
    enum Mood {
      MOOD_UNSPECIFIED = 0;
      // Good.
      GOOD = 1 [deprecated = true];
    }
    Mood mood = 1;
  }
  Inner inner = 8;
}
"#;

#[test]
fn comments_deprecations_and_behaviors_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("noted.proto"), NOTED).unwrap();
    let set = compile_protos(&["noted.proto"], &[folder.path()]).unwrap();
    let schema = Schema::from_descriptor_set(&set).unwrap();
    let id = schema.find_message("noted.Question").unwrap();
    let note = |name: &str| {
        let field = schema.message(id).field(schema.find_field(id, name).unwrap()).unwrap();
        schema.note_of_field(id, field).clone()
    };
    let comment = |text: &str| Note { comment: text.to_owned(), ..Note::default() };
    assert_eq!(schema.note_of_service("noted.Notes"), &comment("The service."));
    let method = schema.find_method("Notes/Ask").unwrap();
    assert_eq!(schema.note_of_method(method), &Note { deprecated: true, ..comment("Asks.\n\nMore of it.") });
    assert_eq!(schema.note_of_message(id), &Note { deprecated: true, ..comment("A question.") });
    assert_eq!(note("text"), Note { required: true, ..comment("In a block.") });
    assert_eq!(note("id"), Note { output_only: true, deprecated: true, ..comment("Behind it.") });
    assert_eq!(note("secret"), Note { required: true, input_only: true, ..Note::default() });
    assert_eq!(note("plain"), Note::default());
    assert_eq!((schema.oneof_name(id, 0), schema.oneof_name(id, 1)), (Some("answer"), None));
    let inner = schema.find_message("noted.Question.Inner").unwrap();
    assert_eq!(schema.note_of_message(inner), &comment("Nested."));
    let mood = schema.message(inner).field(0).unwrap().enumeration().unwrap();
    let values: Vec<_> = schema.enum_values(mood).map(|(name, number, note)| (name, number, note.clone())).collect();
    let good = Note { deprecated: true, ..comment("Good.") };
    assert_eq!(values, [("MOOD_UNSPECIFIED", 0, Note::default()), ("GOOD", 1, good)]);

    // Without positions, as reflection sends files, only the comments are gone.
    let files = raw::FileSet::decode(set.as_slice()).unwrap().file;
    let bare = files.iter().map(|file| build::without_positions(file));
    let schema = Schema::from_file_descriptors(bare).unwrap();
    let method = schema.find_method("Notes/Ask").unwrap();
    assert_eq!(schema.note_of_method(method), &Note { deprecated: true, ..Note::default() });
}
