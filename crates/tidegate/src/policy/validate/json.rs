//! JSON that is bounded before anything is built, and read in one way only.

use std::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Most values (elements, members, objects and arrays) of one body: it bounds what validating
/// one costs its worker.
pub(super) const MAX_VALUES: usize = 20_000;

/// Why bytes are not taken as JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Not JSON.
    Syntax,
    /// One key twice in one object: which of them counts depends on who reads.
    DuplicateKey,
    /// Nested deeper than allowed.
    TooDeep,
    /// More than [`MAX_VALUES`].
    TooMany,
}

impl Fault {
    pub(super) const fn is_syntax(self) -> bool {
        matches!(self, Self::Syntax)
    }

    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Syntax => "malformed JSON",
            Self::DuplicateKey => "an object of the body has a key twice",
            Self::TooDeep => "the body is nested too deeply",
            Self::TooMany => "the body has too many values",
        }
    }
}

/// Reads `bytes` as one JSON value.
pub(super) fn read(bytes: &[u8], max_depth: u32) -> Result<Value, Fault> {
    measure(bytes, max_depth)?;
    let mut duplicate = false;
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Node { duplicate: &mut duplicate }.deserialize(&mut reader);
    match value.and_then(|value| reader.end().map(|()| value)) {
        Ok(value) => Ok(value),
        Err(_) if duplicate => Err(Fault::DuplicateKey),
        Err(_) => Err(Fault::Syntax),
    }
}

/// Counts brackets and commas outside of texts. Bytes that are no JSON may be counted wrongly, but never as less than
/// the reader will build before it fails.
fn measure(bytes: &[u8], max_depth: u32) -> Result<(), Fault> {
    let (mut depth, mut values) = (0_u32, 1_usize);
    let mut rest = bytes.iter();
    while let Some(byte) = rest.next() {
        match byte {
            b'"' => {
                // Up to the quote that ends the text.
                while let Some(byte) = rest.next() {
                    match byte {
                        b'\\' => drop(rest.next()),
                        b'"' => break,
                        _ => {}
                    }
                }
            }
            b'{' | b'[' => {
                depth = depth.saturating_add(1);
                values = values.saturating_add(1);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' => values = values.saturating_add(1),
            _ => {}
        }
        if depth > max_depth {
            return Err(Fault::TooDeep);
        }
        if values > MAX_VALUES {
            return Err(Fault::TooMany);
        }
    }
    Ok(())
}

/// A value that has no key twice.
struct Node<'a> {
    duplicate: &'a mut bool,
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not finite"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Node { duplicate: &mut *self.duplicate })? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = members.next_key::<String>()? {
            let value = members.next_value_seed(Node { duplicate: &mut *self.duplicate })?;
            if map.insert(key, value).is_some() {
                *self.duplicate = true;
                return Err(A::Error::custom("a key twice"));
            }
        }
        Ok(Value::Object(map))
    }
}
