//! Path and query without a body.

use crate::*;

const CALL: &str = "bindings.v1.Bindings/Call";

#[test]
fn every_kind_of_field_can_be_given() {
    let plan = plan(CALL, "/x", "");
    let cases = [
        ("a_double=1.5", json!({"aDouble": 1.5})),
        ("aDouble=-2e3", json!({"aDouble": -2000.0})),
        ("a_double=NaN", json!({"aDouble": "NaN"})),
        ("a_double=-Infinity", json!({"aDouble": "-Infinity"})),
        ("a_float=0.5", json!({"aFloat": 0.5})),
        ("a_float=Infinity", json!({"aFloat": "Infinity"})),
        ("an_int32=-7", json!({"anInt32": -7})),
        ("an_int32=1e3", json!({"anInt32": 1000})),
        ("an_int64=-9223372036854775808", json!({"anInt64": "-9223372036854775808"})),
        ("a_uint32=4294967295", json!({"aUint32": 4_294_967_295u32})),
        ("a_uint64=18446744073709551615", json!({"aUint64": "18446744073709551615"})),
        ("a_sint32=-2147483648", json!({"aSint32": -2_147_483_648i64})),
        ("a_sint64=-1", json!({"aSint64": "-1"})),
        ("a_fixed32=1", json!({"aFixed32": 1})),
        ("a_fixed64=2.0", json!({"aFixed64": "2"})),
        ("a_sfixed32=-3", json!({"aSfixed32": -3})),
        ("a_sfixed64=-4", json!({"aSfixed64": "-4"})),
        ("a_bool=true", json!({"aBool": true})),
        ("a_bool=false", json!({})),
        ("a_string=a+b%20%C3%A9", json!({"aString": "a b \u{e9}"})),
        ("a_string=", json!({})),
        ("some_bytes=-_-_", json!({"someBytes": "+/+/"})),
        ("some_bytes=YQ", json!({"someBytes": "YQ=="})),
        ("a_color=BLUE", json!({"aColor": "BLUE"})),
        ("a_color=-3", json!({"aColor": "BELOW"})),
        ("a_color=99", json!({"aColor": 99})),
        ("maybe=0", json!({"maybe": 0})),
        ("a_timestamp=2026-11-20T10:00:00.5%2B01:00", json!({"aTimestamp": "2026-11-20T09:00:00.500Z"})),
        ("a_duration=-3.5s", json!({"aDuration": "-3.500s"})),
        ("a_mask=a_b.c,dE", json!({"aMask": "aB.c,dE"})),
        ("a_mask=", json!({"aMask": ""})),
        ("wrapped_int64=0", json!({"wrappedInt64": "0"})),
        ("wrapped_uint32=5", json!({"wrappedUint32": 5})),
        ("wrapped_double=1.5", json!({"wrappedDouble": 1.5})),
        ("wrapped_float=1.5", json!({"wrappedFloat": 1.5})),
        ("wrapped_bool=false", json!({"wrappedBool": false})),
        ("wrapped_string=x%26y", json!({"wrappedString": "x&y"})),
        ("wrapped_bytes=YQ%3D%3D", json!({"wrappedBytes": "YQ=="})),
        ("ints=1&ints=-2&ints=0", json!({"ints": [1, -2, 0]})),
        ("strings=a&strings=&strings=b", json!({"strings": ["a", "", "b"]})),
        ("colors=RED&colors=7&colors=0", json!({"colors": ["RED", "BLUE", "COLOR_UNSPECIFIED"]})),
        ("wrapped_ints=1&wrappedInts=0", json!({"wrappedInts": ["1", "0"]})),
        ("timestamps=1970-01-01T00:00:00Z", json!({"timestamps": ["1970-01-01T00:00:00Z"]})),
        ("doubles=1&doubles=2.5", json!({"doubles": [1.0, 2.5]})),
        ("blobs=YQ&blobs=", json!({"blobs": ["YQ==", ""]})),
        ("inner.id=a&inner.count=2", json!({"inner": {"id": "a", "count": 2}})),
        (
            "inner.child.child.id=x&inner.tags=1&inner.tags=2&inner.id=y",
            json!({"inner": {"id": "y", "child": {"child": {"id": "x"}}, "tags": ["1", "2"]}}),
        ),
        ("inner.count=0", json!({"inner": {}})),
        ("chosen_int=0", json!({"chosenInt": 0})),
        ("chosen_inner.id=a&chosenInner.count=1", json!({"chosenInner": {"id": "a", "count": 1}})),
        ("%61_string=decoded%2Bkey", json!({"aString": "decoded+key"})),
        ("", json!({})),
        ("&&a_bool=true&", json!({"aBool": true})),
    ];
    for (text, expected) in cases {
        check(&plan, query(text), expected);
    }
}

#[test]
fn json_text_fills_the_types_that_are_json() {
    let plan = plan(CALL, "/x", "");
    check(&plan, query("a_struct=%7B%22a%22:[1,null]%7D"), json!({"aStruct": {"a": [1.0, null]}}));
    check(&plan, query("a_value=%22text%22"), json!({"aValue": "text"}));
    check(&plan, query("a_value=1"), json!({"aValue": 1.0}));
    check(&plan, query("a_list_value=[true]"), json!({"aListValue": [true]}));
    for (key, text) in [("a_struct", "[]"), ("a_list_value", "{}"), ("a_value", "x"), ("a_value", "null")] {
        refused(&plan, query(&format!("{key}={text}")), Stage::Query, Fault::BadValue, &[key]);
    }
}

#[test]
fn values_that_do_not_fit_are_refused_by_name() {
    let plan = plan(CALL, "/x", "");
    let cases = [
        "an_int32=2147483648",
        "an_int32=1.5",
        "an_int32=",
        "an_int32=x",
        "an_int32=01",
        "an_int32=0x1",
        "an_int32=+1",
        "an_int64=9223372036854775808",
        "a_uint32=-1",
        "a_uint64=18446744073709551616",
        "a_sint32=1e10",
        "a_double=1e400",
        "a_double=inf",
        "a_double=nan",
        "a_double=.5",
        "a_double=1.",
        "a_float=1e39",
        "a_double=",
        "a_bool=1",
        "a_bool=TRUE",
        "a_bool=",
        "a_color=GREEN",
        "a_color=red",
        "a_color=1.5",
        "a_color=",
        "some_bytes=*",
        "some_bytes=A",
        "a_timestamp=yesterday",
        "a_timestamp=",
        "a_duration=3",
        "a_duration=1h",
        "a_mask=%22a%22",
        "a_mask=a%20b",
        "wrapped_int64=x",
        "wrapped_bool=null",
        "a_timestamp=null",
        "ints=1.5",
        "colors=NONE",
    ];
    for text in cases {
        let key = text.split('=').next().unwrap();
        refused(&plan, query(text), Stage::Query, Fault::BadValue, &[key]);
    }
}

#[test]
fn keys_that_cannot_be_given_are_refused_by_name() {
    let plan = plan(CALL, "/x", "");
    for key in [
        "labels",
        "labels.a",
        "inner",
        "inners",
        "inners.id",
        "a_string.x",
        "an_any",
        "other.tags.x",
        "a_color.y",
        "wrapped_ints.value",
    ] {
        refused(&plan, query(&format!("{key}=1")), Stage::Query, Fault::NotAParameter, &[key]);
    }
    for key in ["unknown", "inner.unknown", "inner.", ".inner", "inner..id", "AString", "labels[a]", " a_string"] {
        refused(&plan, query(&format!("{key}=1")), Stage::Query, Fault::UnknownParameter, &[key]);
    }
    refused(&plan, query("=1"), Stage::Query, Fault::UnknownParameter, &[""]);
    let long = "x".repeat(100);
    refused(&plan, query(&long), Stage::Query, Fault::UnknownParameter, &[&long[..64]]);
}

#[test]
fn a_path_of_a_hundred_names_is_the_longest() {
    let plan = plan(CALL, "/x", "");
    let key = |names: usize| format!("inner.{}count=1", "child.".repeat(names - 2));
    assert!(encode(&plan, query(&key(100))).is_ok());
    let long = key(101);
    refused(&plan, query(&long), Stage::Query, Fault::UnknownParameter, &[&long[..64]]);
}

#[test]
fn what_excludes_each_other_is_refused() {
    let plan = plan(CALL, "/x", "");
    let cases = [
        ("a_string=1&a_string=1", Fault::GivenTwice, "aString"),
        ("a_string=1&aString=2", Fault::GivenTwice, "aString"),
        ("inner.id=1&other.id=2&inner.id=3", Fault::GivenTwice, "inner.id"),
        ("a_timestamp=1970-01-01T00:00:00Z&a_timestamp.seconds=5", Fault::GivenTwice, "aTimestamp.seconds"),
        ("chosen_string=a&chosen_int=1", Fault::OneofGivenTwice, "chosenInt"),
        ("chosen_inner.id=a&chosen_int=1", Fault::OneofGivenTwice, "chosenInner.id"),
    ];
    for (text, fault, field) in cases {
        refused(&plan, query(text), Stage::Query, fault, &[field]);
    }
}

#[test]
fn at_most_ten_faults_are_listed() {
    let plan = plan(CALL, "/x", "");
    let text: String = (0..20).map(|i| format!("k{i}=1&")).collect();
    let error = encode(&plan, query(&text)).unwrap_err();
    assert_eq!(error.violations.len(), 10);
    refused(&plan, query("an_int32=x&nope=1"), Stage::Query, Fault::BadValue, &["an_int32", "nope"]);
}

#[test]
fn broken_text_is_refused() {
    let plan = plan(CALL, "/x", "");
    refused(&plan, query("a_string=%zz"), Stage::Query, Fault::BadEscape, &[]);
    refused(&plan, query("a_string=%ff"), Stage::Query, Fault::NotUtf8, &[]);
    refused(&plan, query(&"ints=1&".repeat(1001)), Stage::Query, Fault::TooManyParameters, &[]);
    assert!(encode(&plan, query(&"ints=1&".repeat(1000))).is_ok());
}

#[test]
fn unknown_keys_can_be_ignored_or_reported() {
    let mut options = CallOptions::default();
    options.query.unknown = UnknownFields::Ignore;
    check(&plan_with(CALL, "/x", "", &options), query("nope=1&a_bool=true"), json!({"aBool": true}));
    refused(&plan_with(CALL, "/x", "", &options), query("labels=1"), Stage::Query, Fault::NotAParameter, &["labels"]);
    options.query.unknown = UnknownFields::Report;
    let plan = plan_with(CALL, "/x", "", &options);
    let mut out = Vec::new();
    let ignored = query("nope=1&inner.x=2&a_bool=true").parts(|parts| plan.encode_unary(parts, &mut out)).unwrap();
    assert_eq!((ignored.paths.as_str(), ignored.count), ("nope,inner.x", 2));
}

#[test]
fn some_keys_are_passed_over() {
    let mut options = CallOptions::default();
    options.query.passed_over = vec!["token".to_owned()];
    let plan = plan_with(CALL, "/x", "", &options);
    check(&plan, query("token=secret&t%6fken=2&a_bool=true"), json!({"aBool": true}));
}

#[test]
fn the_path_wins_over_the_query() {
    let plan = plan(CALL, "/x/{inner.id}/{an_int32}", "");
    let sent = |text| Sent { captures: &["a", "5"], query: Some(text), ..Sent::default() };
    check(&plan, sent(""), json!({"inner": {"id": "a"}, "anInt32": 5}));
    check(&plan, sent("inner.count=2"), json!({"inner": {"id": "a", "count": 2}, "anInt32": 5}));
    check(&plan, sent("inner.id=b&anInt32=6&an_int32=7"), json!({"inner": {"id": "a"}, "anInt32": 5}));
    let bad = Sent { captures: &["a", "x"], ..Sent::default() };
    refused(&plan, bad, Stage::Path, Fault::BadValue, &["an_int32"]);
    let oneof = crate::plan(CALL, "/x/{chosen_int}", "");
    let sent = Sent { captures: &["5"], query: Some("chosen_string=a"), ..Sent::default() };
    refused(&oneof, sent, Stage::Query, Fault::OneofGivenTwice, &["chosenString"]);
}

#[test]
fn variables_can_be_of_every_text_type() {
    let cases = [
        ("a_timestamp", "2026-11-20T10:00:00Z", json!({"aTimestamp": "2026-11-20T10:00:00Z"})),
        ("a_duration", "1.5s", json!({"aDuration": "1.500s"})),
        ("a_mask", "a,b", json!({"aMask": "a,b"})),
        ("wrapped_string", "x/y", json!({"wrappedString": "x/y"})),
        ("a_color", "RED", json!({"aColor": "RED"})),
        ("some_bytes", "YQ", json!({"someBytes": "YQ=="})),
        ("a_string", "a+b", json!({"aString": "a+b"})),
        ("inner.child.child.child.id", "deep", json!({"inner": {"child": {"child": {"child": {"id": "deep"}}}}})),
    ];
    for (variable, text, expected) in cases {
        let plan = plan(CALL, &format!("/x/{{{variable}}}"), "");
        check(&plan, Sent { captures: &[text], ..Sent::default() }, expected);
    }
}

#[test]
fn lists_of_numbers_are_packed_and_fields_come_in_order() {
    let plan = plan(CALL, "/x", "");
    let frames = encode(&plan, query("ints=1&ints=300&a_bool=true&an_int32=1&inner.count=1&inner.id=a")).unwrap();
    let expected = [
        0x18, 0x01, // an_int32
        0x68, 0x01, // a_bool
        0xc2, 0x02, 0x03, 0x01, 0xac, 0x02, // ints
        0x92, 0x03, 0x05, 0x0a, 0x01, b'a', 0x10, 0x01, // inner
    ];
    assert_eq!(frames[..5], [0, 0, 0, 0, 18]);
    assert_eq!(frames[5..], expected);
}
