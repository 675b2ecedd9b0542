//! Lines as they are written.

use std::net::Ipv4Addr;

use proptest::prelude::*;
use tidegate_config::valid::AccessOutput;

use super::*;

fn written(line: &AccessLine<'_>) -> String {
    let mut out = Vec::new();
    line.write(&mut out);
    String::from_utf8(out).unwrap()
}

/// 2026-11-20T10:00:00.123Z
const AT: u64 = 1_795_168_800_123;

pub(in super::super) fn full() -> AccessLine<'static> {
    AccessLine {
        unix_ms: AT,
        request_id: Some("01HZY3"),
        trace_id: Some(&[
            0x4b, 0xf9, 0x2f, 0x35, 0x77, 0xb3, 0x4d, 0xa6, 0xa3, 0xce, 0x92, 0x9d, 0x0e, 0x0e, 0x47, 0x36,
        ]),
        listener: Some("public"),
        client_ip: Some(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9))),
        method: Some(b"GET"),
        host: Some(b"api.example.com"),
        path: Some(b"/v1/orders/7"),
        http_version: Some("2"),
        route: Some("get-order"),
        service: Some("order-service"),
        endpoint: Some("10.0.0.7:50051"),
        rpc_method: Some("shop.v1.OrderService/GetOrder"),
        status: Some(200),
        grpc_status: Some("OK"),
        reason: None,
        bytes_in: Some(0),
        bytes_out: Some(812),
        duration: Some(Duration::from_nanos(1_412_999)),
        overhead: Some(Duration::from_micros(61)),
        upstream: Some(Duration::from_micros(1_351)),
        attempts: Some(1),
        cache: Some("miss"),
        rate_limit_policy: Some("per-user"),
        auth_provider: Some("main"),
        subject: Some(b"u1"),
        close_code: Some(1001),
        messages_in: Some(3),
        messages_out: Some(40),
        user_agent: Some(b"curl/8.5"),
    }
}

#[test]
fn the_line_has_the_fields_of_the_documentation_in_their_order() {
    let expected = concat!(
        r#"{"ts":"2026-11-20T10:00:00.123Z","request_id":"01HZY3","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","#,
        r#""listener":"public","client_ip":"203.0.113.9","method":"GET","host":"api.example.com","path":"/v1/orders/7","#,
        r#""http_version":"2","route":"get-order","service":"order-service","endpoint":"10.0.0.7:50051","#,
        r#""rpc_method":"shop.v1.OrderService/GetOrder","status":200,"grpc_status":"OK","bytes_in":0,"bytes_out":812,"#,
        r#""duration_ms":1.412,"overhead_ms":0.061,"upstream_ms":1.351,"attempts":1,"cache":"miss","#,
        r#""rate_limit_policy":"per-user","auth_provider":"main","subject":"u1","close_code":1001,"messages_in":3,"messages_out":40,"user_agent":"curl/8.5"}"#,
        "\n"
    );
    assert_eq!(written(&full()), expected);
}

#[test]
fn fields_without_a_value_are_left_out() {
    assert_eq!(written(&AccessLine::default()), "{\"ts\":\"1970-01-01T00:00:00.000Z\"}\n");
    let refused = AccessLine {
        unix_ms: AT,
        method: Some(b"GET"),
        status: Some(404),
        reason: Some("route_not_found"),
        duration: Some(Duration::from_secs(3)),
        ..AccessLine::default()
    };
    let expected = r#"{"ts":"2026-11-20T10:00:00.123Z","method":"GET","status":404,"reason":"route_not_found","duration_ms":3000.000}"#;
    assert_eq!(written(&refused), format!("{expected}\n"));
}

#[test]
fn addresses_are_written_as_people_know_them() {
    for (given, expected) in [
        ("127.0.0.1", "127.0.0.1"),
        ("255.100.10.0", "255.100.10.0"),
        ("2001:db8::1", "2001:db8::1"),
        ("::ffff:10.0.0.7", "10.0.0.7"),
        ("::1", "::1"),
    ] {
        let line = AccessLine { client_ip: Some(given.parse().unwrap()), ..AccessLine::default() };
        assert!(written(&line).contains(&format!("\"client_ip\":\"{expected}\"")), "{}", written(&line));
    }
}

#[test]
fn what_may_be_a_secret_in_host_or_path_is_left_out() {
    for (host, path) in [("user:secret@a.test", "/a?token=secret"), ("secret@a.test", "/a#secret"), ("a.test", "/a")] {
        let line = AccessLine { host: Some(host.as_bytes()), path: Some(path.as_bytes()), ..AccessLine::default() };
        assert!(written(&line).ends_with(",\"host\":\"a.test\",\"path\":\"/a\"}\n"), "{}", written(&line));
    }
}

#[test]
fn a_line_cannot_be_forged() {
    let forged = b"/a\"}\n{\"ts\":\"2026\",\"status\":200,\"x\":\"\x1b[2J\xc2\x9b";
    let line = written(&AccessLine { path: Some(forged), user_agent: Some(forged), ..AccessLine::default() });
    assert_eq!(line.matches('\n').count(), 1);
    assert!(!line.trim_end().chars().any(char::is_control), "{line:?}");
    let read: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(read.as_object().unwrap().len(), 3);
    assert_eq!(read["user_agent"].as_str().unwrap().as_bytes(), forged);
}

#[test]
fn failures_and_slow_requests_are_always_kept_and_successes_by_their_share() {
    const SLOW: Duration = Duration::from_millis(251);
    const QUICK: Duration = Duration::from_millis(250);
    let settings =
        |sample_ok| AccessLog { output: AccessOutput::Stdout, sample_ok, slower_than: Duration::from_millis(250) };
    let line = |status, grpc_status, reason, duration| AccessLine {
        status: Some(status),
        grpc_status,
        reason,
        duration: Some(duration),
        ..AccessLine::default()
    };
    for (line, always) in [
        (line(200, None, None, QUICK), false),
        (line(200, Some("OK"), None, QUICK), false),
        (line(399, None, None, QUICK), false),
        (line(400, None, None, QUICK), true),
        (line(503, None, None, QUICK), true),
        (line(200, None, Some("client_closed"), QUICK), true),
        (line(200, Some("UNAVAILABLE"), None, QUICK), true),
        (line(200, None, None, SLOW), true),
        (AccessLine { status: None, ..line(200, None, None, QUICK) }, true),
    ] {
        for random in [0, 1, u32::MAX / 2, u32::MAX] {
            assert_eq!(line.is_kept(&settings(0.0), random), always, "{line:?}");
            assert!(line.is_kept(&settings(1.0), random), "{line:?}");
            assert_eq!(line.is_kept(&settings(0.25), random), always || random < 1 << 30, "{line:?}");
        }
    }
}

fn bytes() -> impl Strategy<Value = Option<Vec<u8>>> {
    let any = prop::collection::vec(any::<u8>(), 0..64);
    let nasty = "[\\x00-\\x20\"\\\\{}\u{7f}-\u{9f}\u{2028}\u{202e}a-z?@]{0,64}".prop_map(String::into_bytes);
    prop::option::of((prop_oneof![any, nasty], 1usize..200).prop_map(|(bytes, times)| bytes.repeat(times)))
}

proptest! {
    #[test]
    fn any_bytes_give_one_line_of_json_without_controls(
        texts in prop::collection::vec(bytes(), 5),
        (route, request_id) in (prop::option::of(".{0,100}"), prop::option::of(".{0,100}")),
        (unix_ms, status) in any::<(u64, Option<u16>)>(),
        duration in any::<Option<Duration>>(),
    ) {
        let text = |index: usize| texts[index].as_deref();
        let line = AccessLine {
            unix_ms,
            request_id: request_id.as_deref(),
            route: route.as_deref(),
            method: text(0),
            host: text(1),
            path: text(2),
            subject: text(3),
            user_agent: text(4),
            status,
            duration,
            ..AccessLine::default()
        };
        let written = written(&line);
        let Some(object) = written.strip_suffix('\n') else { panic!("not a line: {written:?}") };
        let obeyed = |character: char| character.is_control() || ['\u{2028}', '\u{2029}', '\u{202e}'].contains(&character);
        prop_assert_eq!(object.chars().find(|character| obeyed(*character)), None);
        let read: serde_json::Map<String, serde_json::Value> = serde_json::from_str(object).unwrap();
        for (key, value) in &read {
            prop_assert!(value.as_str().is_none_or(|text| text.len() <= escape::MAX_TEXT_BYTES), "{}", key);
        }
        let given = texts.iter().flatten().count()
            + [route.is_some(), request_id.is_some(), status.is_some(), duration.is_some(), true].iter().filter(|is| **is).count();
        prop_assert_eq!(read.len(), given);
    }
}
