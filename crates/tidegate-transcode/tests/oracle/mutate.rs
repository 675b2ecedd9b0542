//! Damaged inputs, and the written list of where the two readers differ.

use tidegate_transcode::json::{Expected, ReadError, ReadErrorKind};

use crate::generate::Dice;

/// One small change to a JSON text that stays UTF-8.
pub(crate) fn mutate(json: &str, dice: &mut Dice) -> String {
    let boundaries: Vec<usize> = json.char_indices().map(|(at, _)| at).chain([json.len()]).collect();
    let at = *dice.pick(&boundaries);
    let end = boundaries[(boundaries.partition_point(|b| *b <= at)).min(boundaries.len() - 1)];
    let (head, tail) = json.split_at(at);
    let rest = &json[end.max(at)..];
    match dice.below(4) {
        0 => format!("{head}{rest}"),
        1 => format!("{head}{}{tail}", dice.pick(&TOKENS)),
        2 => format!("{head}{}{rest}", dice.pick(&TOKENS)),
        _ => {
            // A value for another one: everything up to the next comma or bracket.
            let len = tail.find([',', '}', ']']).unwrap_or(tail.len());
            format!("{head}{}{}", dice.pick(&TOKENS), &tail[len..])
        }
    }
}

const TOKENS: [&str; 34] = [
    "null",
    "true",
    "0",
    "-1",
    "1.0",
    "1.5",
    "1e2",
    "1e400",
    "\"\"",
    "\"1\"",
    "\"NaN\"",
    "{}",
    "[]",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "\"",
    "\\",
    "\\u0041",
    "\\ud800",
    " ",
    "\n",
    "\u{0}",
    "\u{feff}",
    "99999999999999999999",
    "00",
    "-",
    "\"a\":1,",
    "é",
    "e",
    ".",
];

/// The text on either side of an offset, for failure messages.
pub(crate) fn around(json: &str, offset: usize) -> &str {
    let (from, to) = (offset.saturating_sub(30), (offset + 30).min(json.len()));
    json.get(json.floor_char_boundary(from)..json.floor_char_boundary(to)).unwrap_or_default()
}

/// Some bytes changed, added or removed.
pub(crate) fn damage(wire: &mut Vec<u8>, dice: &mut Dice) {
    let at = dice.below(wire.len() + 1);
    match dice.below(3) {
        0 => wire.insert(at, dice.next() as u8),
        1 if at < wire.len() => wire[at] = dice.next() as u8,
        _ => wire.truncate(at),
    }
}

/// What only our reader accepts, by the words of theirs:
/// - an integer in a string with a fraction or an exponent, `"1.0"`, which the conformance suite wants;
/// - base64 that mixes both alphabets;
/// - an enum number with a fraction of zero, `1.0`, as for every integer.
pub(crate) fn only_we_accept(their_error: &str) -> bool {
    their_error.starts_with("invalid digit found in string")
        || their_error.starts_with("invalid base64: Invalid symbol")
        || (their_error.starts_with("invalid type: floating point")
            && their_error.contains("expected a string or integer"))
}

/// What only their reader accepts:
/// - base64 with too little padding, which fits none of the two forms;
/// - a field mask with quotes or control characters, with an underscore, or with an empty path;
/// - a duration or a timestamp with more than nine digits of fraction;
/// - a field that is given twice, once as null;
/// - an integer in a string, or a map key, with leading zeros.
pub(crate) fn only_they_accept(error: &ReadError, json: &str) -> bool {
    let quoted = json.get(error.offset..).is_some_and(|rest| rest.starts_with('"'));
    match error.kind {
        ReadErrorKind::Expected(Expected::Base64 | Expected::FieldMask | Expected::Duration | Expected::Timestamp) => {
            true
        }
        ReadErrorKind::Expected(Expected::Int32 | Expected::Int64 | Expected::Uint32 | Expected::Uint64) => {
            quoted && json[error.offset + 1..].trim_start_matches('-').starts_with('0')
        }
        ReadErrorKind::Duplicate => json.contains("null"),
        _ => false,
    }
}
