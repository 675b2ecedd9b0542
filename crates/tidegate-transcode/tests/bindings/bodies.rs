//! Bodies together with path and query.

use crate::*;

const CALL: &str = "bindings.v1.Bindings/Call";

#[test]
fn the_whole_message_can_be_the_body() {
    let plan = plan(CALL, "/x/{inner.id}/{an_int32}", "*");
    let sent = |body: &'static str| Sent { captures: &["a", "5"], body: body.as_bytes(), ..Sent::default() };
    let bound = json!({"inner": {"id": "a"}, "anInt32": 5});
    check(&plan, sent(""), bound.clone());
    check(&plan, sent("{}"), bound.clone());
    check(&plan, sent(r#"{"anInt32": 5, "inner": {"id": "a"}}"#), bound.clone());
    check(&plan, sent(r#"{"an_int32": "5"}"#), bound.clone());
    check(&plan, sent(r#"{"inner": null}"#), bound);
    check(
        &plan,
        sent(r#"{"aBool": true, "inner": {"count": 2}}"#),
        json!({"aBool": true, "inner": {"id": "a", "count": 2}, "anInt32": 5}),
    );
    refused(&plan, sent(r#"{"inner": {"id": "b"}}"#), Stage::Body, Fault::BodyContradictsPath, &["inner.id"]);
    refused(&plan, sent(r#"{"anInt32": 6}"#), Stage::Body, Fault::BodyContradictsPath, &["anInt32"]);
    refused(&plan, sent(r#"{"anInt32": 0}"#), Stage::Body, Fault::BodyContradictsPath, &["anInt32"]);
}

#[test]
fn a_zero_in_the_path_is_a_value() {
    let plan = plan(CALL, "/x/{an_int32}", "*");
    let sent = |body: &'static str| Sent { captures: &["0"], body: body.as_bytes(), ..Sent::default() };
    check(&plan, sent(r#"{"anInt32": 0}"#), json!({}));
    refused(&plan, sent(r#"{"anInt32": 6}"#), Stage::Body, Fault::BodyContradictsPath, &["anInt32"]);
}

#[test]
fn with_a_whole_body_no_query_key_is_known() {
    let whole = plan(CALL, "/x", "*");
    let sent = |text| Sent { query: Some(text), body: b"{}", ..Sent::default() };
    refused(&whole, sent("a_bool=true"), Stage::Query, Fault::UnknownParameter, &["a_bool"]);
    check(&whole, sent(""), json!({}));
    let mut options = CallOptions::default();
    options.query.unknown = UnknownFields::Ignore;
    check(&plan_with(CALL, "/x", "*", &options), sent("a_bool=true"), json!({}));
    refused(&plan_with(CALL, "/x", "*", &options), sent("a=%"), Stage::Query, Fault::BadEscape, &[]);
}

#[test]
fn a_field_of_any_kind_can_be_the_body() {
    let cases = [
        ("inner", r#"{"id":"a"}"#, json!({"inner": {"id": "a"}})),
        ("inner", "{}", json!({"inner": {}})),
        ("a_string", r#""hello""#, json!({"aString": "hello"})),
        ("an_int32", "7", json!({"anInt32": 7})),
        ("ints", "[1,2]", json!({"ints": [1, 2]})),
        ("ints", "[]", json!({})),
        ("inners", r#"[{"id":"a"},{}]"#, json!({"inners": [{"id": "a"}, {}]})),
        ("labels", r#"{"a":"b"}"#, json!({"labels": {"a": "b"}})),
        ("a_timestamp", r#""1970-01-01T00:00:01Z""#, json!({"aTimestamp": "1970-01-01T00:00:01Z"})),
        ("wrapped_int64", "5", json!({"wrappedInt64": "5"})),
        ("a_struct", r#"{"a":1}"#, json!({"aStruct": {"a": 1.0}})),
        ("inner.child", r#"{"count":1}"#, json!({"inner": {"child": {"count": 1}}})),
        ("inner.child.tags", r#"["a","b"]"#, json!({"inner": {"child": {"tags": ["a", "b"]}}})),
        ("chosen_inner", r#"{"id":"a"}"#, json!({"chosenInner": {"id": "a"}})),
    ];
    for (field, text, expected) in cases {
        check(&plan(CALL, "/x", field), body(text), expected);
        check(&plan(CALL, "/x", field), body(""), json!({}));
    }
}

#[test]
fn the_rest_of_a_message_comes_from_path_and_query() {
    let plan = plan(CALL, "/x/{inner.id}/{inner.child.count}/{a_string}", "inner.child");
    let sent = |text, body: &'static str| Sent {
        captures: &["a", "5", "s"],
        query: Some(text),
        body: body.as_bytes(),
        content_type: None,
    };
    check(
        &plan,
        sent("inner.tags=t&a_bool=true", r#"{"id":"b"}"#),
        json!({"inner": {"id": "a", "tags": ["t"], "child": {"id": "b", "count": 5}}, "aString": "s", "aBool": true}),
    );
    check(&plan, sent("", ""), json!({"inner": {"id": "a", "child": {"count": 5}}, "aString": "s"}));
    check(
        &plan,
        sent("inner.child.count=9", "{}"),
        json!({"inner": {"id": "a", "child": {"count": 5}}, "aString": "s"}),
    );
    let contradiction = sent("", r#"{"count":6}"#);
    refused(&plan, contradiction, Stage::Body, Fault::BodyContradictsPath, &["inner.child.count"]);
    for key in ["inner.child.id", "inner.child", "inner.child.child.id"] {
        let text = format!("{key}=1");
        let sent = Sent { query: Some(&text), ..sent("", "{}") };
        refused(&plan, sent, Stage::Query, Fault::NotAParameter, &[key]);
        let mut options = CallOptions::default();
        options.query.unknown = UnknownFields::Ignore;
        let lenient = plan_with(CALL, "/x/{inner.id}/{inner.child.count}/{a_string}", "inner.child", &options);
        refused(&lenient, sent, Stage::Query, Fault::NotAParameter, &[key]);
    }
    refused(&plan, sent("", r#"{"nope":1}"#), Stage::Body, Fault::UnknownField, &["inner.child.nope"]);
}

#[test]
fn a_oneof_counts_across_body_and_query() {
    let plan = plan(CALL, "/x", "chosen_inner");
    let sent = Sent { query: Some("chosen_int=1"), body: b"{}", ..Sent::default() };
    refused(&plan, sent, Stage::Query, Fault::OneofGivenTwice, &["chosenInt"]);
    check(&plan, query("chosen_int=1"), json!({"chosenInt": 1}));
}

#[test]
fn a_body_without_a_rule_is_refused_unless_it_says_nothing() {
    let plan = plan(CALL, "/x", "");
    for text in ["", "{}", " { \n} "] {
        check(&plan, body(text), json!({}));
    }
    for text in ["[]", "null", r#"{"aBool":true}"#, "{", "x"] {
        refused(&plan, body(text), Stage::Body, Fault::UnexpectedBody, &[]);
    }
}

#[test]
fn a_body_that_is_no_json_is_refused() {
    let plan = plan(CALL, "/x", "*");
    for text in [" ", "{", "{}}", "xyz", "{\"a\"}", "\u{feff}{}"] {
        refused(&plan, body(text), Stage::Body, Fault::InvalidJson, &[]);
    }
    let typed = |content_type| Sent { content_type: Some(content_type), ..body("{}") };
    check(&plan, typed("application/json; charset=utf-8"), json!({}));
    refused(&plan, typed("text/plain"), Stage::Body, Fault::ContentType, &[]);
    refused(&plan, typed("application/json; charset=latin1"), Stage::Body, Fault::Charset, &[]);
    check(&plan, Sent { content_type: Some("text/plain"), ..body("") }, json!({}));
}

#[test]
fn faults_of_the_body_name_the_field() {
    let plan = plan(CALL, "/x", "*");
    refused(&plan, body(r#"{"nope":1}"#), Stage::Body, Fault::UnknownField, &["nope"]);
    refused(&plan, body(r#"{"inner":{"count":"x"}}"#), Stage::Body, Fault::BadBody, &["inner.count"]);
    refused(&plan, body(r#"{"aBool":true,"a_bool":true}"#), Stage::Body, Fault::DuplicateField, &["aBool"]);
    let error = encode(&plan, body(r#"{"anInt64":"x"}"#)).unwrap_err();
    assert_eq!(error.violations[0].message, "expected int64");
}
