use super::*;
use crate::status::Code;

/// What the caller does after `count` messages.
#[derive(Clone, Copy)]
enum Ending {
    Good,
    Bad,
}

fn run(format: StreamFormat, options: StreamOptions, count: usize, ending: Ending) -> (String, End) {
    let mut encoder = StreamEncoder::new(format, options);
    let mut out = Vec::new();
    for number in 1..=count {
        encoder.message(format!("{{\"a\":{number}}}").as_bytes(), &mut out);
    }
    let end = match ending {
        Ending::Good => encoder.finish(&mut out),
        Ending::Bad => encoder.error(&lost(), "upstream_reset", &mut out),
    };
    let length = out.len();
    let _ = encoder.finish(&mut out);
    let _ = encoder.error(&lost(), "upstream_reset", &mut out);
    assert_eq!(out.len(), length, "nothing is written after the end");
    (String::from_utf8(out).unwrap(), end)
}

fn lost() -> Status {
    Status::new(Code::Unavailable, "backend lost")
}

const ERROR: &str = r#"{"code":14,"message":"backend lost","reason":"upstream_reset"}"#;

#[test]
fn every_format_and_every_end() {
    use End::{BreakOff, Clean};
    use Ending::{Bad, Good};
    use StreamFormat::{Array, Ndjson, Sse};
    let wrapped = format!("{{\"error\":{ERROR}}}");
    let event = format!("event: error\ndata: {ERROR}\n\n");
    let cases = [
        (Array, 0, Good, "[]".to_owned(), Clean),
        (Array, 1, Good, "[{\"a\":1}]".to_owned(), Clean),
        (Array, 2, Good, "[{\"a\":1},{\"a\":2}]".to_owned(), Clean),
        (Array, 2, Bad, format!("[{{\"a\":1}},{{\"a\":2}},{wrapped}"), BreakOff),
        (Array, 0, Bad, format!("[{wrapped}"), BreakOff),
        (Ndjson, 0, Good, String::new(), Clean),
        (Ndjson, 2, Good, "{\"a\":1}\n{\"a\":2}\n".to_owned(), Clean),
        (Ndjson, 1, Bad, format!("{{\"a\":1}}\n{wrapped}\n"), Clean),
        (Sse, 0, Good, "event: end\ndata: {}\n\n".to_owned(), Clean),
        (Sse, 2, Good, "data: {\"a\":1}\n\ndata: {\"a\":2}\n\nevent: end\ndata: {}\n\n".to_owned(), Clean),
        (Sse, 1, Bad, format!("data: {{\"a\":1}}\n\n{event}"), Clean),
    ];
    for (format, count, ending, body, end) in cases {
        let got = run(format, StreamOptions::default(), count, ending);
        assert_eq!(got, (body, end), "{format:?} {count}");
    }
}

#[test]
fn the_options_change_what_they_say() {
    let options = StreamOptions { close_failed_array: true, ndjson_envelope: true, sse_end_event: false };
    let (array, end) = run(StreamFormat::Array, options, 1, Ending::Bad);
    assert_eq!((array, end), (format!("[{{\"a\":1}},{{\"error\":{ERROR}}}]"), End::Clean));
    let (lines, _) = run(StreamFormat::Ndjson, options, 1, Ending::Bad);
    assert_eq!(lines, format!("{{\"result\":{{\"a\":1}}}}\n{{\"error\":{ERROR}}}\n"));
    let (events, _) = run(StreamFormat::Sse, options, 1, Ending::Good);
    assert_eq!(events, "data: {\"a\":1}\n\n");
}

#[test]
fn a_message_that_cannot_be_printed_leaves_nothing() {
    let mut encoder = StreamEncoder::new(StreamFormat::Array, StreamOptions::default());
    let mut out = Vec::new();
    let printed = encoder.message_with(&mut out, |out| {
        out.extend_from_slice(b"{\"half");
        Err("broken")
    });
    assert_eq!(printed, Err("broken"));
    assert!(out.is_empty() && encoder.is_idle());
    encoder.message(b"{}", &mut out);
    assert_eq!(encoder.finish(&mut out), End::Clean);
    assert_eq!(out, b"[{}]");
}

#[test]
fn raw_data_is_concatenated_and_broken_off() {
    let mut encoder = StreamEncoder::raw();
    let mut out = Vec::new();
    encoder.message(b"\x00[", &mut out);
    encoder.message(b"]", &mut out);
    assert_eq!(encoder.error(&lost(), "upstream_reset", &mut out), End::BreakOff);
    assert_eq!(out, b"\x00[]");
}

#[test]
fn only_events_that_have_not_ended_ask_to_come_back_later() {
    let after = std::time::Duration::from_millis(2_500);
    let cases = [
        (StreamEncoder::new(StreamFormat::Sse, StreamOptions::default()), "retry: 2500\n\n"),
        (StreamEncoder::new(StreamFormat::Array, StreamOptions::default()), ""),
        (StreamEncoder::new(StreamFormat::Ndjson, StreamOptions::default()), ""),
        (StreamEncoder::raw(), ""),
    ];
    for (mut encoder, expected) in cases {
        let mut out = Vec::new();
        encoder.retry(after, &mut out);
        assert_eq!(out, expected.as_bytes());
        assert_eq!(encoder.finish(&mut Vec::new()), End::Clean);
        out.clear();
        encoder.retry(after, &mut out);
        assert_eq!(out, b"");
    }
}
