//! Fixed answers.

use super::{Resolver, place_of};
use crate::decode::Item;
use crate::diag::Code;
use crate::raw::{RawRespond, RawRoute};
use crate::valid::{Literal, Respond, Tree};

impl Resolver<'_> {
    pub(super) fn respond(&mut self, raw: &RawRoute, item: &Item<RawRespond>) -> Option<Respond> {
        let others = [
            ("service", place_of(&raw.service)),
            ("grpc", place_of(&raw.grpc)),
            ("grpc_service", place_of(&raw.grpc_service)),
            ("grpc_method", place_of(&raw.grpc_method)),
            ("body", place_of(&raw.body)),
            ("response_body", place_of(&raw.response_body)),
        ];
        for (key, place) in others {
            if let Some(place) = place {
                self.error(Code::Conflict, place, format!("\"{key}\" on a route with \"respond\""));
            }
        }
        if raw.path.is_missing() {
            self.error(Code::MissingKey, &item.place, "a route with \"respond\" needs \"path\"");
        }
        let RawRespond { status, json, text } = &item.value;
        if status.is_invalid() || json.is_invalid() || text.is_invalid() {
            return None;
        }
        let code = status.value().map_or(200, |count| count.0);
        let code = u16::try_from(code).ok().filter(|code| (200..=599).contains(code));
        let Some(code) = code else {
            self.error(Code::InvalidValue, place_of(status)?, "an HTTP status is from 200 to 599");
            return None;
        };
        let (content_type, body) = match (json.set(), text.set()) {
            (Some(json), Some(_)) => {
                self.error_with(Code::Conflict, &json.place, "\"json\" and \"text\" together", "keep one of them");
                return None;
            }
            (Some(json), None) => {
                let mut body = Vec::new();
                print(&json.value.0, &mut body);
                (Some("application/json"), body)
            }
            (None, Some(text)) => (Some("text/plain; charset=utf-8"), text.value.0.clone().into_bytes()),
            (None, None) => (None, Vec::new()),
        };
        if let Some(place) = place_of(json).or(place_of(text))
            && matches!(code, 204 | 205 | 304)
        {
            self.error(Code::Conflict, place, format!("an answer with status {code} has no body"));
        }
        Some(Respond { status: code, content_type, body })
    }
}

/// Prints a tree without expressions, which is what `json` is read as.
pub(super) fn print(tree: &Tree, out: &mut Vec<u8>) {
    match tree {
        Tree::Literal(literal) => print_literal(literal, out),
        Tree::Expression(_) | Tree::Text(_) => out.extend_from_slice(b"null"),
        Tree::List(items) => {
            print_between(b'[', items, b']', out, print);
        }
        Tree::Map(fields) => {
            print_between(b'{', fields, b'}', out, |(key, value), out| {
                print_text(key, out);
                out.push(b':');
                print(value, out);
            });
        }
    }
}

fn print_between<T>(open: u8, items: &[T], close: u8, out: &mut Vec<u8>, each: impl Fn(&T, &mut Vec<u8>)) {
    out.push(open);
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        each(item, out);
    }
    out.push(close);
}

fn print_literal(literal: &Literal, out: &mut Vec<u8>) {
    match literal {
        Literal::Null => out.extend_from_slice(b"null"),
        Literal::Bool(true) => out.extend_from_slice(b"true"),
        Literal::Bool(false) => out.extend_from_slice(b"false"),
        Literal::Number(number) => out.extend_from_slice(number.as_bytes()),
        Literal::Text(text) => print_text(text, out),
    }
}

fn print_text(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(serde_json::Value::from(text).to_string().as_bytes());
}
