//! Client streaming: one body, many messages.

use proptest::prelude::*;

use crate::*;

const COLLECT: &str = "bindings.v1.Bindings/Collect";

/// Feeds `body` in pieces of the given sizes, used in turn, and gives the frames and the end.
fn feed(plan: &Arc<MethodPlan>, sent: Sent<'_>, sizes: &[usize]) -> (Vec<u8>, Result<(), RequestError>) {
    let mut out = Vec::new();
    let mut run = || {
        let mut upload = sent.parts(|parts| plan.upload(&RequestParts { body: b"", ..*parts }))?;
        let (mut rest, mut count) = (sent.body, 0);
        while !rest.is_empty() {
            let (piece, tail) = rest.split_at(rest.len().min(sizes[count % sizes.len()]));
            upload.push(piece, &mut out)?;
            (rest, count) = (tail, count + 1);
        }
        upload.finish(&mut out)
    };
    let result = run();
    (out, result)
}

fn check(plan: &Arc<MethodPlan>, sent: Sent<'_>, expected: &[Value]) {
    for sizes in [&[usize::MAX][..], &[1], &[3, 5, 2]] {
        let (frames, end) = feed(plan, sent, sizes);
        assert_eq!(end, Ok(()));
        assert_eq!(decode("bindings.v1.All", &frames), expected);
    }
}

#[test]
fn arrays_and_sequences_become_messages() {
    let plan = plan(COLLECT, "/x", "*");
    let two = [json!({"anInt32": 1}), json!({"aBool": true})];
    check(&plan, body(r#"[{"anInt32":1},{"aBool":true}]"#), &two);
    check(&plan, body(r#" [ {"anInt32":1} , {"aBool":true}, ] "#), &two);
    check(&plan, body("{\"anInt32\":1}\n{\"aBool\":true}\n"), &two);
    check(&plan, body(r#"{"anInt32":1}{"aBool":true}"#), &two);
    check(&plan, body(""), &[]);
    check(&plan, body("[]"), &[]);
}

#[test]
fn path_and_query_go_into_the_first_message_only() {
    let plan = plan(COLLECT, "/x/{an_int32}", "inner");
    let sent =
        Sent { captures: &["5"], query: Some("a_bool=true"), body: br#"[{"id":"a"},{"id":"b"}]"#, content_type: None };
    let first = json!({"anInt32": 5, "aBool": true, "inner": {"id": "a"}});
    check(&plan, sent, &[first, json!({"inner": {"id": "b"}})]);
    check(&plan, Sent { body: b"", ..sent }, &[json!({"anInt32": 5, "aBool": true})]);
    let plain = crate::plan(COLLECT, "/x", "inner.tags");
    check(&plain, body(r#"[["x"],["y"]]"#), &[json!({"inner": {"tags": ["x"]}}), json!({"inner": {"tags": ["y"]}})]);
}

#[test]
fn values_of_a_field_can_be_lists_and_scalars() {
    let plan = plan(COLLECT, "/x", "an_int32");
    check(&plan, body("1 2\n3"), &[json!({"anInt32": 1}), json!({"anInt32": 2}), json!({"anInt32": 3})]);
    let lists = crate::plan(COLLECT, "/x", "ints");
    check(&lists, body("[[1,2],[3]]"), &[json!({"ints": [1, 2]}), json!({"ints": [3]})]);
}

#[test]
fn messages_before_a_fault_were_sent() {
    let plan = plan(COLLECT, "/x", "*");
    let cases = [
        (r#"[{"anInt32":1},{"nope":2}]"#, Fault::UnknownField),
        (r#"[{"anInt32":1},{"#, Fault::BrokenSequence),
        (r#"[{"anInt32":1}}"#, Fault::BrokenSequence),
        (r#"{"anInt32":1},"#, Fault::BrokenSequence),
        (r#"{"anInt32":1} xyz "#, Fault::InvalidJson),
    ];
    for (text, fault) in cases {
        for sizes in [&[usize::MAX][..], &[1]] {
            let (frames, end) = feed(&plan, body(text), sizes);
            assert_eq!(end.map_err(|error| (error.stage, error.fault)), Err((Stage::Body, fault)), "{text}");
            assert_eq!(decode("bindings.v1.All", &frames), [json!({"anInt32": 1})], "{text}");
        }
    }
}

#[test]
fn each_message_is_bounded() {
    let options = CallOptions { max_body: 20, ..CallOptions::default() };
    let plan = plan_with(COLLECT, "/x", "*", &options);
    let long = r#"{"aString":"123456"}"#;
    assert_eq!(long.len(), 20);
    check(
        &plan,
        body(&long.repeat(3)),
        &[json!({"aString": "123456"}), json!({"aString": "123456"}), json!({"aString": "123456"})],
    );
    let (_, end) = feed(&plan, body(r#"{"aString":"1234567"}"#), &[7]);
    assert_eq!(end.map_err(|error| error.fault), Err(Fault::TooLarge));
}

#[test]
fn a_binding_without_a_body_takes_none() {
    let plan = plan(COLLECT, "/x", "");
    let sent = Sent { query: Some("a_bool=true"), body: b" { } ", ..Sent::default() };
    check(&plan, sent, &[json!({"aBool": true})]);
    check(&plan, body("{}"), &[]);
    let (_, end) = feed(&plan, body("[{}]"), &[1]);
    assert_eq!(end.map_err(|error| error.fault), Err(Fault::UnexpectedBody));
}

#[test]
fn ndjson_is_a_content_type_of_uploads() {
    let plan = plan(COLLECT, "/x", "*");
    check(&plan, Sent { content_type: Some("application/x-ndjson"), ..body("{}\n{}") }, &[json!({}), json!({})]);
    let (_, end) = feed(&plan, Sent { content_type: Some("text/plain"), ..body("{}") }, &[1]);
    assert_eq!(end.map_err(|error| error.fault), Err(Fault::ContentType));
}

#[test]
fn frames_of_a_websocket_are_messages() {
    let plan = plan(COLLECT, "/x/{an_int32}", "*");
    let sent = Sent { captures: &["5"], ..Sent::default() };
    let mut upload = sent.parts(|parts| plan.upload(parts)).unwrap();
    let mut out = Vec::new();
    upload.message(br#"{"aBool":true}"#, &mut out).unwrap();
    assert!(upload.message(b"nope", &mut out).is_err());
    upload.message(b"{}", &mut out).unwrap();
    assert_eq!(decode("bindings.v1.All", &out), [json!({"anInt32": 5, "aBool": true}), json!({})]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_split_gives_the_same_frames(
        values in prop::collection::vec(prop::sample::select(vec![
            "{}", "{\"aString\":\"\\\"]}\\\\\"}", "{\"inner\":{\"tags\":[\"[\",\"}\"]}}", "{\"ints\":[1,2,3]}", "{\"nope\":1}", "[", "7",
        ]), 0..8),
        array in any::<bool>(),
        sizes in prop::collection::vec(1usize..30, 1..6),
    ) {
        let body = if array { format!("[{}]", values.join(" ,\n")) } else { values.join("\n") };
        let plan = plan(COLLECT, "/x/{an_int32}", "*");
        let sent = Sent { captures: &["5"], body: body.as_bytes(), ..Sent::default() };
        let whole = feed(&plan, sent, &[usize::MAX]);
        prop_assert_eq!(&whole, &feed(&plan, sent, &[1]));
        prop_assert_eq!(&whole, &feed(&plan, sent, &sizes));
    }
}
