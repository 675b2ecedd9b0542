//! The protocol `plain`: one JSON object in each text message. Pure.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::reject::{Reason, Reject};

/// Deepest nesting of a message.
const MAX_DEPTH: usize = 32;

/// Longest `id` that is a text, in bytes.
const MAX_ID: usize = 64;

/// Longest name of a channel, in bytes.
const MAX_CHANNEL: usize = 255;

/// Most channels of one message.
const MAX_CHANNELS: usize = 128;

/// What a client calls its message, as it wrote it: an integer or a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Id(Box<str>);

impl Id {
    /// The JSON of it.
    #[must_use]
    pub fn json(&self) -> &str {
        &self.0
    }
}

/// What a client says.
#[derive(Clone, Debug, PartialEq)]
pub struct Command<'a> {
    /// Comes back in the answer.
    pub id: Option<Id>,
    /// What it wants.
    pub kind: Kind<'a>,
}

/// What a client wants.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind<'a> {
    /// An object without `type`.
    Request,
    /// A sign of life.
    Ping,
    /// `subscribe`, `unsubscribe` or `publish`.
    Channels(Vec<Cow<'a, str>>),
    /// Nothing that is known.
    Unknown,
}

/// An object without `type`.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Comes back in the answers.
    pub id: Option<&'a Id>,
    /// The object as it came.
    pub text: &'a str,
}

/// Why a message says nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Bad {
    /// What it called itself, as far as that could be read.
    pub id: Option<Id>,
    /// What is wrong.
    pub why: &'static str,
}

impl Bad {
    /// As a refusal.
    #[must_use]
    pub fn reject(&self) -> Reject {
        Reject::new(Reason::BadRequest).detail(self.why)
    }
}

/// Reads a message. Members without a meaning are passed over.
///
/// # Errors
/// It is no object, is nested too deeply, or one of its members is not what it must be.
pub fn read(text: &str) -> Result<Command<'_>, Bad> {
    if is_too_deep(text) {
        return Err(Bad { id: None, why: "the message is nested too deeply" });
    }
    let mut json = serde_json::Deserializer::from_str(text);
    let members = json.deserialize_map(Members::default()).and_then(|members| json.end().map(|()| members));
    let Ok(members) = members else { return Err(Bad { id: None, why: "the message is not a JSON object" }) };
    let id = match members.id.map(id).transpose() {
        Ok(id) => id,
        Err(why) => return Err(Bad { id: None, why }),
    };
    match kind(members.word, members.channel, members.channels) {
        Ok(kind) => Ok(Command { id, kind }),
        Err(why) => Err(Bad { id, why }),
    }
}

fn kind<'a>(
    word: Option<&'a RawValue>,
    channel: Option<&'a RawValue>,
    channels: Option<&'a RawValue>,
) -> Result<Kind<'a>, &'static str> {
    let Some(word) = word else { return Ok(Kind::Request) };
    let Some(word) = text(word) else { return Err("\"type\" is not a text") };
    Ok(match &*word {
        "ping" => Kind::Ping,
        "subscribe" | "unsubscribe" | "publish" => Kind::Channels(names(channel, channels)?),
        _ => Kind::Unknown,
    })
}

fn names<'a>(one: Option<&'a RawValue>, many: Option<&'a RawValue>) -> Result<Vec<Cow<'a, str>>, &'static str> {
    const BAD: &str = "a channel is 1 to 255 visible ASCII characters";
    let names = match (one, many) {
        (Some(one), None) => vec![text(one).ok_or(BAD)?],
        (None, Some(many)) => serde_json::from_str(many.get()).map_err(|_| BAD)?,
        _ => return Err("\"channel\" or \"channels\" is needed, and not both"),
    };
    if names.is_empty() || names.len() > MAX_CHANNELS {
        return Err("1 to 128 channels at once");
    }
    let is_name = |name: &Cow<'_, str>| {
        (1..=MAX_CHANNEL).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
    };
    if names.iter().all(is_name) { Ok(names) } else { Err(BAD) }
}

fn text(json: &RawValue) -> Option<Cow<'_, str>> {
    let plain = json.get().strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    match plain {
        Some(plain) if !plain.contains('\\') => Some(Cow::Borrowed(plain)),
        _ => serde_json::from_str::<String>(json.get()).ok().map(Cow::Owned),
    }
}

fn id(json: &RawValue) -> Result<Id, &'static str> {
    const BAD: &str = "\"id\" is an integer or a text of at most 64 bytes";
    let written = json.get();
    let is_id = match text(json) {
        Some(text) => text.len() <= MAX_ID,
        None => {
            let digits = written.strip_prefix('-').unwrap_or(written);
            digits.len() <= 19 && digits.bytes().all(|byte| byte.is_ascii_digit())
        }
    };
    if is_id { Ok(Id(written.into())) } else { Err(BAD) }
}

/// The members that have a meaning here.
#[derive(Default)]
struct Members<'a> {
    id: Option<&'a RawValue>,
    word: Option<&'a RawValue>,
    channel: Option<&'a RawValue>,
    channels: Option<&'a RawValue>,
}

impl<'a> Visitor<'a> for Members<'a> {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(mut self, mut map: A) -> Result<Self, A::Error> {
        while let Some(name) = map.next_key::<Cow<'a, str>>()? {
            let place = match &*name {
                "id" => &mut self.id,
                "type" => &mut self.word,
                "channel" => &mut self.channel,
                "channels" => &mut self.channels,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            if place.replace(map.next_value()?).is_some() {
                return Err(serde::de::Error::custom("a member stands twice"));
            }
        }
        Ok(self)
    }
}

/// Counts brackets outside of texts; whether these are balanced is for the parser.
fn is_too_deep(text: &str) -> bool {
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return true;
                }
            }
            b'}' | b']' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// Writes the beginning of a message, up to its own members.
fn begin(word: &str, id: Option<&Id>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(word.as_bytes());
    out.push(b'"');
    if let Some(id) = id {
        out.extend_from_slice(b",\"id\":");
        out.extend_from_slice(id.json().as_bytes());
    }
}

/// Writes what a request was answered with; `json` writes that.
///
/// # Errors
/// Those of `json`.
pub fn write_data<E>(
    id: Option<&Id>,
    out: &mut Vec<u8>,
    json: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    begin("data", id, out);
    out.extend_from_slice(b",\"data\":");
    json(out)?;
    out.push(b'}');
    Ok(())
}

/// Writes that a request has no more answers.
pub fn write_end(id: Option<&Id>, out: &mut Vec<u8>) {
    begin("end", id, out);
    out.push(b'}');
}

/// Writes the answer to a `ping`.
pub fn write_pong(id: Option<&Id>, unix_ms: u64, out: &mut Vec<u8>) {
    begin("pong", id, out);
    out.extend_from_slice(b",\"time\":");
    out.extend_from_slice(itoa::Buffer::new().format(unix_ms).as_bytes());
    out.push(b'}');
}

/// Writes that the gateway is about to close the connection, and when to come back.
pub fn write_closing(reason: Reason, reconnect_after_ms: u64, out: &mut Vec<u8>) {
    begin("closing", None, out);
    out.extend_from_slice(b",\"reason\":\"");
    out.extend_from_slice(reason.word().as_bytes());
    out.extend_from_slice(b"\",\"reconnect_after_ms\":");
    out.extend_from_slice(itoa::Buffer::new().format(reconnect_after_ms).as_bytes());
    out.push(b'}');
}

/// Writes a refusal, or what became of a request. `status` is that of an HTTP answer.
pub fn write_error(id: Option<&Id>, channel: Option<&str>, reject: &Reject, status: u16, out: &mut Vec<u8>) {
    begin("error", id, out);
    if let Some(channel) = channel {
        out.extend_from_slice(b",\"channel\":");
        write_text(channel, out);
    }
    out.extend_from_slice(b",\"reason\":\"");
    out.extend_from_slice(reject.reason.word().as_bytes());
    out.extend_from_slice(b"\",\"status\":");
    out.extend_from_slice(itoa::Buffer::new().format(status).as_bytes());
    out.extend_from_slice(b",\"message\":");
    write_text(reject.message(), out);
    if reject.backend.is_some() {
        out.extend_from_slice(b",\"code\":\"");
        out.extend_from_slice(reject.code().name().as_bytes());
        out.push(b'"');
    }
    out.push(b'}');
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    // Writing to memory does not fail, and a text has a JSON form.
    let _written = serde_json::to_writer(out, text);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn said(text: &str) -> (Option<String>, Kind<'_>) {
        let command = read(text).unwrap();
        (command.id.map(|id| id.json().to_owned()), command.kind)
    }

    #[test]
    fn commands_are_told_by_their_type() {
        assert_eq!(said(r#"{"symbols":["BTC"],"source_id":"yahoo"}"#), (None, Kind::Request));
        assert_eq!(said(r#"{"id":7,"type":"ping"}"#), (Some("7".to_owned()), Kind::Ping));
        assert_eq!(said(r#"{"type":"p\u0069ng","id":"a\"b"}"#), (Some(r#""a\"b""#.to_owned()), Kind::Ping));
        let channels = |names: &[&'static str]| Kind::Channels(names.iter().map(|name| Cow::Borrowed(*name)).collect());
        assert_eq!(said(r#"{"type":"subscribe","channel":"md:BTC","id":-1}"#).1, channels(&["md:BTC"]));
        assert_eq!(said(r#"{"type":"unsubscribe","channels":["a","b"]}"#).1, channels(&["a", "b"]));
        assert_eq!(said(r#"{"type":"publish","channel":"a","data":{"x":[1,2]}}"#).1, channels(&["a"]));
        assert_eq!(said(r#"{"type":"rpc","more":{}}"#).1, Kind::Unknown);
    }

    #[test]
    fn what_is_no_message_is_told_and_repeats_nothing() {
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(32), "]".repeat(32));
        let just = format!("{{\"a\":{}1{}}}", "[".repeat(31), "]".repeat(31));
        assert_eq!(said(&just).1, Kind::Request);
        assert_eq!(said(r#"{"a":"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["}"#).1, Kind::Request);
        let many = format!(r#"{{"type":"subscribe","channels":[{}"a"]}}"#, "\"a\",".repeat(128));
        let long = format!(r#"{{"type":"subscribe","channel":"{}"}}"#, "a".repeat(256));
        let long_id = format!(r#"{{"id":"{}"}}"#, "a".repeat(65));
        for text in [
            "",
            "1",
            "[]",
            "null",
            "{",
            r#"{"a":1}x"#,
            r#"{"id":1,"id":2}"#,
            r#"{"id":1.5}"#,
            r#"{"id":null}"#,
            r#"{"id":[]}"#,
            r#"{"id":99999999999999999999}"#,
            r#"{"type":1}"#,
            r#"{"type":null}"#,
            r#"{"type":"subscribe"}"#,
            r#"{"type":"subscribe","channel":""}"#,
            r#"{"type":"subscribe","channel":"a b"}"#,
            r#"{"type":"subscribe","channel":"a","channels":["a"]}"#,
            r#"{"type":"subscribe","channels":[]}"#,
            r#"{"type":"subscribe","channels":[1]}"#,
            &deep,
            &many,
            &long,
            &long_id,
        ] {
            assert!(read(text).is_err(), "{text}");
        }
        let bad = read(r#"{"id":5,"type":"subscribe"}"#).unwrap_err();
        assert_eq!(bad.id.map(|id| id.json().to_owned()), Some("5".to_owned()));
    }

    #[test]
    fn messages_are_written_as_they_are_documented() {
        let id = read(r#"{"id":"x9"}"#).unwrap().id;
        let id = id.as_ref();
        let data = |out: &mut Vec<u8>| {
            write_data::<()>(id, out, |out| {
                out.extend_from_slice(b"{\"p\":1}");
                Ok(())
            })
            .unwrap();
        };
        assert_eq!(written(data), r#"{"type":"data","id":"x9","data":{"p":1}}"#);
        assert_eq!(written(|out| write_end(None, out)), r#"{"type":"end"}"#);
        assert_eq!(written(|out| write_pong(id, 17, out)), r#"{"type":"pong","id":"x9","time":17}"#);
        let closing = r#"{"type":"closing","reason":"draining","reconnect_after_ms":4200}"#;
        assert_eq!(written(|out| write_closing(Reason::Draining, 4200, out)), closing);
        let reject = Reject::new(Reason::Forbidden);
        let error =
            r#"{"type":"error","id":"x9","channel":"a\"","reason":"forbidden","status":403,"message":"not allowed"}"#;
        assert_eq!(written(|out| write_error(id, Some("a\""), &reject, 403, out)), error);
    }
}
