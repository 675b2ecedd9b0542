//! The codec alone, one thread: JSON to wire bytes and wire bytes to JSON, on the payloads of the published table of the
//! C++ library (grpc-httpjson-transcoding, `perf_benchmark/README.md`) and on the messages of our own benchmarks.
//!
//! Run with `cargo bench -p tidegate-transcode --bench codec`.
#![allow(clippy::expect_used, reason = "a broken fixture ends the benchmark")]

use std::sync::LazyLock;

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use tidegate_transcode::Schema;
use tidegate_transcode::json::{ReadOptions, WriteOptions, parse_message, print_message};
use tidegate_transcode::plan::MsgId;

fn main() {
    divan::main();
}

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    let protos = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/proto");
    Schema::from_protos(&["shop.proto"], &[protos]).expect("the fixture compiles")
});

/// A message type with a body of it.
struct Payload {
    message: MsgId,
    json: String,
}

fn payload(name: &str) -> Payload {
    let (message, json) = match name {
        "numbers_1024" => {
            ("Numbers", format!("{{\"values\":[{}]}}", list(1024, |i| (i * 7919 % 1_000_003).to_string())))
        }
        "string_1mib" => ("Text", format!("{{\"value\":\"{}\"}}", "abcdefgh".repeat(1 << 17))),
        "nested_31" => ("Nested", format!("{}{{\"value\":\"x\"}}{}", "{\"child\":".repeat(30), "}".repeat(30))),
        "five_fields" => {
            ("Ping", r#"{"name":"sensor-17","count":42,"urgent":true,"ratio":0.75,"currency":"EUR"}"#.to_owned())
        }
        "order" => ("Order", order(7)),
        "orders_50" => ("OrderList", format!("{{\"orders\":[{}],\"nextPageToken\":\"abc\"}}", list(50, order))),
        _ => unreachable!("no such payload"),
    };
    let message = SCHEMA.find_message(&format!("shop.v1.{message}")).expect("in the fixture");
    Payload { message, json }
}

fn list(count: usize, item: impl Fn(usize) -> String) -> String {
    (0..count).map(item).collect::<Vec<_>>().join(",")
}

/// Twelve fields with two sub-messages and a map, about 330 bytes.
fn order(i: usize) -> String {
    format!(
        concat!(
            r#"{{"id":"ord-{i:06}","number":"{n}","buyer":{{"id":"b-{i}","email":"buyer{i}@example.com","age":37}},"#,
            r#""total":{{"currency":"EUR","units":"129","nanos":990000000}},"labels":{{"channel":"web","tier":"gold"}},"#,
            r#""itemIds":[101,202,303],"paid":true,"weight":2.75,"createdAt":"2026-11-20T10:00:00Z","#,
            r#""note":"leave at the door","token":"c2VjcmV0","shownIn":"USD"}}"#
        ),
        i = i,
        n = 1_000_000_000 + i
    )
}

const PAYLOADS: [&str; 6] = ["numbers_1024", "string_1mib", "nested_31", "five_fields", "order", "orders_50"];

#[divan::bench(args = PAYLOADS)]
fn json_in(bencher: Bencher, name: &str) {
    let Payload { message, json } = payload(name);
    let options = ReadOptions::default();
    let mut out = Vec::new();
    bencher.counter(BytesCount::of_str(&json)).bench_local(|| {
        out.clear();
        parse_message(&SCHEMA, message, black_box(json.as_bytes()), &options, None, &mut out).expect("valid")
    });
}

#[divan::bench(args = PAYLOADS)]
fn json_out(bencher: Bencher, name: &str) {
    let Payload { message, json } = payload(name);
    let mut wire = Vec::new();
    parse_message(&SCHEMA, message, json.as_bytes(), &ReadOptions::default(), None, &mut wire).expect("valid");
    let options = WriteOptions::default();
    let mut out = Vec::new();
    bencher.counter(BytesCount::of_slice(&wire)).bench_local(|| {
        out.clear();
        print_message(&SCHEMA, message, black_box(&wire), &options, &mut out).expect("valid")
    });
    assert_eq!(String::from_utf8(out).expect("text"), json, "{name} must print as it was read");
}
