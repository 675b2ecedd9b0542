//! Is an answer right? JSON values are compared once per spelling, bytes ever after.

use serde_json::Value;

/// Spellings remembered per answer. A gateway needs one; one that prints maps in random order needs a few.
const SPELLINGS_MAX: usize = 32;

/// The answer that an exchange must have, and the spellings of it that were seen.
#[derive(Debug)]
pub struct Expected {
    status: u16,
    value: Value,
    spellings: Vec<Vec<u8>>,
}

impl Expected {
    /// Expects `status` and a body that is `value` in any spelling.
    #[must_use]
    pub fn new(status: u16, value: Value) -> Self {
        Self { status, value, spellings: Vec::new() }
    }

    /// Whether this is the right answer. Costs a comparison of bytes for a spelling that was seen before, a parse
    /// otherwise.
    pub fn accepts(&mut self, status: u16, body: &[u8]) -> bool {
        if status != self.status {
            return false;
        }
        if self.spellings.iter().any(|seen| seen == body) {
            return true;
        }
        let right = serde_json::from_slice::<Value>(body).is_ok_and(|value| same(&value, &self.value));
        if right && self.spellings.len() < SPELLINGS_MAX {
            self.spellings.push(body.to_vec());
        }
        right
    }
}

/// Equality of JSON values where `1`, `1.0` and `1e0` are one number and the order of keys does not matter.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || (a.as_f64() == b.as_f64() && (a.is_f64() || b.is_f64())),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        (a, b) => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(expected: &str, body: &str, right: bool) {
        let mut answer = Expected::new(200, serde_json::from_str(expected).unwrap());
        for _ in 0..2 {
            assert_eq!(answer.accepts(200, body.as_bytes()), right, "{body}");
            assert!(!answer.accepts(500, body.as_bytes()), "{body} with a wrong status");
        }
    }

    #[test]
    fn any_spelling_of_the_value_is_right() {
        check(r#"{"a":250,"b":[1,"x"]}"#, r#"{ "b" : [1.0, "\u0078"], "a": 2.5e2 }"#, true);
    }

    #[test]
    fn any_other_value_is_wrong() {
        for body in
            [r#"{"a":1}"#, r#"{"a":"250"}"#, r#"{"a":250,"b":null}"#, r#"{"a":250}x"#, "", "[250]", r#"{"a":250.5}"#]
        {
            check(r#"{"a":250}"#, body, false);
        }
    }

    #[test]
    fn big_integers_are_not_compared_as_floats() {
        check("9007199254740993", "9007199254740992", false);
        check("9007199254740993", "9007199254740993", true);
    }

    #[test]
    fn the_memory_for_spellings_is_bounded() {
        let mut answer = Expected::new(200, Value::from(1));
        for spaces in 0..100 {
            assert!(answer.accepts(200, format!("{}1", " ".repeat(spaces)).as_bytes()));
        }
        assert_eq!(answer.spellings.len(), SPELLINGS_MAX);
    }
}
