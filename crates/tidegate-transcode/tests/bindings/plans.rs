//! Bindings that fit the schema, and those that do not.

use crate::*;

fn compile(rpc: &str, template: &str, body: &str, response_body: Option<&str>) -> Result<MethodPlan, (Place, String)> {
    let template = Template::parse(template).unwrap();
    let response_body = response_body.map(str::to_owned);
    let binding = Binding { rpc, template: &template, body: Body::parse(body), response_body };
    MethodPlan::compile(&schema(), &binding, &CallOptions::default()).map_err(|error| (error.place, error.to_string()))
}

#[test]
fn faults_name_their_place() {
    let variable = |column| Place::Variable { column };
    let cases = [
        ("Bindings/Nope", "/x", "", None, Place::Rpc, "no method \"Bindings/Nope\" in the descriptors"),
        ("Bindings/Call", "/x/{nope}", "", None, variable(5), "message bindings.v1.All has no field \"nope\""),
        (
            "Bindings/Call",
            "/{a_bool}/{inner.x}",
            "",
            None,
            variable(12),
            "message bindings.v1.Inner has no field \"x\"",
        ),
        ("Bindings/Call", "/{ints}", "", None, variable(3), "\"ints\" is a list, which a path variable cannot fill"),
        ("Bindings/Call", "/{labels}", "", None, variable(3), "\"labels\" is a map, which a path variable cannot fill"),
        (
            "Bindings/Call",
            "/{inner}",
            "",
            None,
            variable(3),
            "\"inner\" is a message (bindings.v1.Inner), which a path variable cannot fill",
        ),
        (
            "Bindings/Call",
            "/{a_struct}",
            "",
            None,
            variable(3),
            "\"a_struct\" is a message (google.protobuf.Struct), which a path variable cannot fill",
        ),
        (
            "Bindings/Call",
            "/{a_bool.x}",
            "",
            None,
            variable(3),
            "\"a_bool\" is not a message, so the path cannot go on behind it",
        ),
        (
            "Bindings/Call",
            "/{inners.id}",
            "",
            None,
            variable(3),
            "\"inners\" is a list, and the path cannot go through it",
        ),
        (
            "Bindings/Call",
            "/{labels.key}",
            "",
            None,
            variable(3),
            "\"labels\" is a map, and the path cannot go through it",
        ),
        (
            "Bindings/Call",
            "/{a_bool}/{aBool}",
            "",
            None,
            variable(12),
            "\"aBool\" is bound by another variable already",
        ),
        (
            "Bindings/Call",
            "/{chosen_int}/{chosen_inner.id}",
            "",
            None,
            variable(16),
            "\"chosen_inner.id\" and \"chosen_int\" are members of one oneof",
        ),
        ("Bindings/Call", "/x", "nope", None, Place::Body, "message bindings.v1.All has no field \"nope\""),
        (
            "Bindings/Call",
            "/x",
            "inners.id",
            None,
            Place::Body,
            "\"inners\" is a list, and the path cannot go through it",
        ),
        (
            "Bindings/Call",
            "/{a_string}",
            "a_string",
            None,
            Place::Body,
            "\"a_string\" is bound by the path, so it cannot be the body",
        ),
        ("Bindings/Call", "/x", "", Some("nope"), Place::ResponseBody, "message bindings.v1.All has no field \"nope\""),
        (
            "Bindings/Call",
            "/x",
            "",
            Some("inner.id"),
            Place::ResponseBody,
            "response_body \"inner.id\" must be a field at the top of the message",
        ),
    ];
    for (rpc, template, body, response_body, place, text) in cases {
        let error = compile(rpc, template, body, response_body).expect_err(text);
        assert_eq!(error, (place, text.to_owned()));
    }
    let kind =
        PlanErrorKind::AmbiguousMethod { rpc: "S/M".to_owned(), candidates: vec!["a.S/M".into(), "b.S/M".into()] };
    assert_eq!(kind.to_string(), "\"S/M\" fits several methods: a.S/M, b.S/M");
}

#[test]
fn a_plan_knows_its_method() {
    let plan = compile("Bindings/Find", "/x/{inner.id}", "inner", Some("ints")).unwrap();
    assert_eq!(plan.rpc_path(), "/bindings.v1.Bindings/Find");
    assert!(plan.method().is_server_streaming() && !plan.method().is_client_streaming());
    assert_eq!(plan.idempotency(), tidegate_transcode::schema::Idempotency::Idempotent);
    assert!(plan.takes_body() && !plan.takes_raw_body());
    let raw = compile("Bindings/Upload", "/x", "content", Some("content")).unwrap();
    assert!(raw.takes_raw_body());
    assert_eq!(raw.answer_kind(), tidegate_transcode::AnswerKind::HttpBody);
}
