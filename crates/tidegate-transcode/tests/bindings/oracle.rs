//! The same values by path and query, by body, and by prost-reflect's own JSON reader give the same message.

use std::collections::BTreeMap;

use proptest::prelude::*;
use prost::Message as _;
use prost_reflect::ReflectMessage as _;

use crate::*;

const CALL: &str = "bindings.v1.Bindings/Call";

/// A field path in proto names, its text in a query, and its form in a JSON body.
type Leaf = (&'static str, String, Value);

fn number<T>(path: &'static str) -> BoxedStrategy<Leaf>
where
    T: Arbitrary<Strategy: 'static> + ToString + Clone,
    Value: From<T>,
{
    any::<T>().prop_map(move |value| (path, value.to_string(), Value::from(value))).boxed()
}

fn text(path: &'static str) -> BoxedStrategy<Leaf> {
    any::<String>().prop_map(move |value| (path, value.clone(), Value::from(value))).boxed()
}

fn one_of(path: &'static str, values: &'static [&'static str]) -> BoxedStrategy<Leaf> {
    prop::sample::select(values).prop_map(move |value| (path, value.to_owned(), Value::from(value))).boxed()
}

fn leaf() -> impl Strategy<Value = Leaf> {
    prop::strategy::Union::new(vec![
        number::<i32>("an_int32"),
        number::<i64>("an_int64"),
        number::<u32>("a_uint32"),
        number::<u64>("a_uint64"),
        number::<i32>("a_sint32"),
        number::<i64>("a_sint64"),
        number::<u32>("a_fixed32"),
        number::<i64>("a_sfixed64"),
        number::<i32>("maybe"),
        number::<bool>("a_bool"),
        number::<bool>("wrapped_bool"),
        number::<i64>("wrapped_int64"),
        number::<i32>("inner.count"),
        number::<i32>("inner.child.count"),
        number::<i32>("other.child.child.count"),
        prop::num::f64::NORMAL.prop_map(|value| ("a_double", format!("{value:e}"), Value::from(value))).boxed(),
        text("a_string"),
        text("wrapped_string"),
        text("inner.id"),
        text("inner.child.id"),
        text("other.id"),
        one_of("a_color", &["RED", "BLUE", "BELOW", "COLOR_UNSPECIFIED"]),
        one_of("a_timestamp", &["1970-01-01T00:00:00Z", "2026-11-20T10:00:00.000000001+05:30", "9999-12-31T23:59:59Z"]),
        one_of("a_duration", &["0s", "-1.5s", "315576000000s"]),
        one_of("a_mask", &["", "a", "aB.c,dEf"]),
        one_of("some_bytes", &["", "YQ==", "YQ", "-_8="]),
        one_of("chosen_string", &["", "x"]),
        number::<i32>("chosen_int"),
        text("chosen_inner.id"),
    ])
}

fn list(path: &'static str) -> impl Strategy<Value = (&'static str, Vec<(String, Value)>)> {
    let item = match path {
        "ints" => number::<i32>(path),
        "wrapped_ints" => number::<i64>(path),
        "colors" => one_of(path, &["RED", "BLUE"]),
        _ => text(path),
    };
    prop::collection::vec(item.prop_map(|(_, text, value)| (text, value)), 0..4).prop_map(move |items| (path, items))
}

/// Escapes all but letters and digits, and writes some spaces as `+`.
fn escape(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b' ' => "+".to_owned(),
            _ if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => char::from(byte).to_string(),
            _ => format!("%{byte:02x}"),
        })
        .collect()
}

fn insert(body: &mut Value, path: &str, value: Value) {
    let mut at = body;
    for name in path.split('.') {
        at = at.as_object_mut().unwrap().entry(name).or_insert_with(|| json!({}));
    }
    *at = value;
}

/// By way of the wire, which drops what is only set and empty.
fn oracle(body: &Value) -> DynamicMessage {
    let read = DynamicMessage::deserialize(descriptor("bindings.v1.All"), body.clone()).unwrap();
    DynamicMessage::decode(read.descriptor(), read.encode_to_vec().as_slice()).unwrap()
}

fn message(frame: &[u8]) -> DynamicMessage {
    DynamicMessage::decode(descriptor("bindings.v1.All"), &frame[5..]).unwrap()
}

fn json_of(message: &DynamicMessage) -> Value {
    serde_json::to_value(message).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(
        std::env::var("TIDEGATE_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(256),
    ))]

    #[test]
    fn query_and_body_agree(
        leaves in prop::collection::vec(leaf(), 0..8),
        lists in prop::collection::vec(prop::sample::select(vec!["ints", "wrapped_ints", "colors", "strings"]).prop_flat_map(list), 0..3),
        rotate in 0usize..8,
    ) {
        // One value per path; the same path again would be another test.
        let leaves: BTreeMap<_, _> = leaves.into_iter().map(|(path, text, value)| (path, (text, value))).collect();
        let lists: BTreeMap<_, _> = lists.into_iter().collect();
        let mut body = json!({});
        let mut pairs = Vec::new();
        for (path, (text, value)) in &leaves {
            insert(&mut body, path, value.clone());
            pairs.push(format!("{path}={}", escape(text)));
        }
        if !pairs.is_empty() {
            let by = rotate % pairs.len();
            pairs.rotate_left(by);
        }
        for (path, items) in &lists {
            insert(&mut body, path, items.iter().map(|(_, value)| value.clone()).collect());
            pairs.extend(items.iter().map(|(text, _)| format!("{path}={}", escape(text))));
        }
        let members = ["chosen_string", "chosen_int", "chosen_inner.id"];
        let fits = members.iter().filter(|member| leaves.contains_key(*member)).count() <= 1;

        let text = body.to_string();
        let by_query = encode(&plan(CALL, "/x", ""), query(&pairs.join("&")));
        let by_body = encode(&plan(CALL, "/x", "*"), crate::body(&text));
        if !fits {
            prop_assert_eq!(by_query.unwrap_err().fault, Fault::OneofGivenTwice);
            prop_assert_eq!(by_body.unwrap_err().fault, Fault::OneofGivenTwice);
            return Ok(());
        }
        let (by_query, by_body) = (by_query.unwrap(), by_body.unwrap());
        prop_assert_eq!(json_of(&message(&by_query)), json_of(&message(&by_body)));
        // Compared as messages; shown as JSON, because the debug form of a recursive type does not end.
        let oracle = oracle(&body);
        let equal = message(&by_query) == oracle;
        prop_assert!(equal, "{} is not {}", json_of(&message(&by_query)), json_of(&oracle));
        prop_assert_eq!(by_query.len(), by_body.len(), "both are minimal");
    }

    /// Whatever a query says, it is refused or becomes a message, and a path variable keeps its value.
    #[test]
    fn no_query_overrides_the_path(text in "([a-z_.]{0,12}|inner\\.id|inner\\.count|an_int32|innerId|inner)(=[ -~]{0,8})?(&(inner.id|inner\\.%69d|inner\\.child\\.id)=[a-z]{0,3}){0,3}") {
        let plan = plan(CALL, "/x/{inner.id}", "");
        let sent = Sent { captures: &["bound"], query: Some(&text), ..Sent::default() };
        if let Ok(frame) = encode(&plan, sent) {
            let value = json_of(&message(&frame));
            prop_assert_eq!(&value["inner"]["id"], "bound");
        }
    }
}
