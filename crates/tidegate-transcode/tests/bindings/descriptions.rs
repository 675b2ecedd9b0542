//! What is said about a binding is what it does.

use tidegate_transcode::json::WriteOptions;
use tidegate_transcode::plan::{Kind, Wkt};
use tidegate_transcode::{AnswerDescription, BodyDescription, MAX_QUERY_PARAMETERS, Parameter};

use crate::*;

fn names<'a>(parameters: &'a [Parameter<'_>]) -> Vec<&'a str> {
    parameters.iter().map(|parameter| parameter.name.as_str()).collect()
}

/// A text that the field takes.
fn example(parameter: &Parameter<'_>) -> &'static str {
    let kind = match parameter.field.wkt() {
        Wkt::None => parameter.field.kind(),
        Wkt::Timestamp => return "2026-01-02T03:04:05Z",
        Wkt::Duration => return "3.5s",
        Wkt::FieldMask => return "a.b",
        Wkt::Struct => return "{}",
        Wkt::ListValue => return "[]",
        Wkt::Value => return "1",
        Wkt::Wrapper if parameter.name.to_lowercase().ends_with("bool") => return "true",
        Wkt::Wrapper => return "1111",
        Wkt::Any => panic!("a message is no parameter"),
    };
    match kind {
        Kind::Bool => "true",
        Kind::Enum => "RED",
        Kind::Message | Kind::Group => panic!("a message is no parameter"),
        _ => "1111",
    }
}

#[test]
fn every_query_parameter_is_taken() {
    let options = |proto_names| CallOptions {
        write: WriteOptions { proto_names, ..WriteOptions::default() },
        ..CallOptions::default()
    };
    for proto_names in [false, true] {
        let plan = plan_with("Bindings/Find", "/x/{inner.id}", "", &options(proto_names));
        let described = plan.describe();
        assert_eq!(names(&described.variables), ["inner.id"]);
        for parameter in &described.query {
            let text = format!("{}={}", parameter.name, example(parameter));
            let sent = Sent { captures: &["a"], query: Some(&text), ..Sent::default() };
            assert!(encode(&plan, sent).is_ok(), "{text}: {:?}", encode(&plan, sent));
        }
        let found = names(&described.query);
        let (own, other) = if proto_names { ("a_double", "aDouble") } else { ("aDouble", "a_double") };
        assert!(found.contains(&own) && !found.contains(&other), "{found:?}");
        // A oneof through its message, a list of scalars; no map, no list of messages, nothing that the path has given.
        for (name, expected) in
            [("inner.tags", true), ("inner.count", true), ("labels", false), ("inners", false), ("inner.id", false)]
        {
            assert_eq!(found.contains(&name), expected, "{name}");
        }
        assert!(described.query_is_cut, "a message inside itself has no end");
    }
}

#[test]
fn what_the_body_has_is_no_parameter() {
    let plan = plan("Bindings/Call", "/x/{inner.child.id}/{other.id}", "inner");
    let described = plan.describe();
    assert!(names(&described.query).iter().all(|name| !name.starts_with("inner.")), "{:?}", names(&described.query));
    let BodyDescription::Field { field, bound, .. } = described.body else { panic!("{:?}", described.body) };
    assert_eq!(plan.schema().json_name(field), "inner");
    // `child`, then `id`, by their positions; what the path gives outside of the body is no concern of it.
    assert_eq!(bound, [vec![2, 0]]);
    assert!(matches!(described.answer, AnswerDescription::Message(_)));

    let whole = crate::plan("Bindings/Call", "/x/{a_string}", "*");
    let described = whole.describe();
    assert!(described.query.is_empty() && !described.query_is_cut);
    assert!(matches!(described.body, BodyDescription::Message { bound, .. } if bound.len() == 1));
    // A oneof whose other member is the body, or in the path, cannot be given.
    let plan = crate::plan("Bindings/Call", "/x", "chosen_inner");
    assert!(!names(&plan.describe().query).contains(&"chosenString"));
    let plan = crate::plan("Bindings/Call", "/x/{chosen_int}", "");
    assert!(!names(&plan.describe().query).contains(&"chosenString"));
}

#[test]
fn bytes_are_said_to_be_bytes() {
    let plan = plan("Bindings/Store", "/x/{name}", "content");
    let described = plan.describe();
    assert!(matches!(described.body, BodyDescription::Raw));
    assert_eq!(names(&described.query), ["folder.name", "folder.cover.contentType", "folder.cover.data"]);
    assert!(matches!(crate::plan("Bindings/Raw", "/x", "").describe().answer, AnswerDescription::Raw));
}

#[test]
fn names_that_are_passed_over_are_not_listed() {
    let mut options = CallOptions::default();
    options.query.passed_over = vec!["name".to_owned()];
    let plan = plan_with("Bindings/Store", "/x", "", &options);
    assert!(!names(&plan.describe().query).contains(&"name"));
}

/// A request of messages only, each of which has all the others, and one with too many fields: the walk ends early.
#[test]
fn large_requests_are_cut() {
    let folder = tempfile::tempdir().unwrap();
    let mut source = "syntax = \"proto3\"; package wide;\n".to_owned();
    source += "service Wide { rpc Ask(M0) returns (M0); rpc Many(Flat) returns (M0); }\n";
    let fields = |names: std::ops::Range<usize>, of: &dyn Fn(usize) -> String| -> String {
        names.map(|number| format!("{} f{number} = {};", of(number), number + 1)).collect()
    };
    for number in 0..20 {
        source += &format!("message M{number} {{ {} }}\n", fields(0..20, &|other| format!("M{other}")));
    }
    source += &format!("message Flat {{ M0 first = 1000; {} }}\n", fields(0..300, &|_| "string".to_owned()));
    std::fs::write(folder.path().join("wide.proto"), source).unwrap();
    let schema = Arc::new(Schema::from_protos(&["wide.proto"], &[folder.path()]).unwrap());
    let template = Template::parse("/x").unwrap();
    for (rpc, count) in [("Wide/Ask", 0), ("Wide/Many", MAX_QUERY_PARAMETERS)] {
        let binding = Binding { rpc, template: &template, body: Body::None, response_body: None };
        let plan = MethodPlan::compile(&schema, &binding, &CallOptions::default()).unwrap();
        let described = plan.describe();
        assert_eq!((described.query.len(), described.query_is_cut), (count, true), "{rpc}");
    }
}
