//! JSON read strictly: bounded depth, no member twice at any level.
//!
//! `serde_json` alone takes the last of two members and allows 128 levels. RFC 7515 section 4 lets a reader choose
//! between refusing a member that comes twice and taking the last; two readers that choose differently are the attack.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Why a document is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Not JSON, not an object, a number out of range, or something behind the end.
    Syntax,
    /// A member twice in one object.
    Duplicate,
    /// More levels than allowed.
    TooDeep,
}

/// Reads one object with at most `depth` levels of objects and arrays, itself counted.
pub(crate) fn object(bytes: &[u8], depth: usize) -> Result<Map<String, Value>, Fault> {
    let fault = Cell::new(Fault::Syntax);
    match read(bytes, &fault, Tree { depth, fault: &fault })? {
        Value::Object(members) => Ok(members),
        _ => Err(Fault::Syntax),
    }
}

/// Reads one object and gives only the wanted members, in the order asked; the others are checked and dropped.
///
/// Builds no tree of them, because this is done for any client, before a signature has been checked.
pub(crate) fn members<const N: usize>(
    bytes: &[u8],
    depth: usize,
    wanted: [&str; N],
) -> Result<[Option<Value>; N], Fault> {
    let fault = Cell::new(Fault::Syntax);
    read(bytes, &fault, Members { depth, wanted, fault: &fault })
}

/// Runs a seed over the whole document. serde's errors are only text, so the seed says in the cell what was wrong.
fn read<'de, S: DeserializeSeed<'de>>(bytes: &'de [u8], fault: &Cell<Fault>, seed: S) -> Result<S::Value, Fault> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = seed.deserialize(&mut reader).map_err(|_| fault.get())?;
    reader.end().map_err(|_| Fault::Syntax)?;
    Ok(value)
}

/// Notes the fault for [`read`] and ends the reading.
fn fail<E: serde::de::Error>(cell: &Cell<Fault>, fault: Fault) -> E {
    cell.set(fault);
    E::custom("")
}

/// Builds a value.
#[derive(Clone, Copy)]
struct Tree<'f> {
    /// How many levels may still begin.
    depth: usize,
    fault: &'f Cell<Fault>,
}

impl Tree<'_> {
    fn inner<E: serde::de::Error>(self) -> Result<Self, E> {
        let depth = self.depth.checked_sub(1).ok_or_else(|| fail(self.fault, Fault::TooDeep))?;
        Ok(Self { depth, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
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
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom(""))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut elements = Vec::new();
        while let Some(element) = from.next_element_seed(inner)? {
            elements.push(element);
        }
        Ok(Value::Array(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut members = Map::new();
        while let Some(name) = from.next_key::<String>()? {
            let value = from.next_value_seed(inner)?;
            if members.insert(name, value).is_some() {
                return Err(fail(self.fault, Fault::Duplicate));
            }
        }
        Ok(Value::Object(members))
    }
}

/// Checks a value and drops it.
#[derive(Clone, Copy)]
struct Dropped<'f>(Tree<'f>);

impl<'de> DeserializeSeed<'de> for Dropped<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Dropped<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<(), A::Error> {
        let inner = Self(self.0.inner()?);
        while from.next_element_seed(inner)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, from: A) -> Result<(), A::Error> {
        Members { depth: self.0.depth, wanted: [], fault: self.0.fault }.visit_map(from).map(|[]| ())
    }
}

/// Takes the wanted members out of an object.
struct Members<'w, 'f, const N: usize> {
    depth: usize,
    wanted: [&'w str; N],
    fault: &'f Cell<Fault>,
}

impl<'de, const N: usize> DeserializeSeed<'de> for Members<'_, '_, N> {
    type Value = [Option<Value>; N];

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de, const N: usize> Visitor<'de> for Members<'_, '_, N> {
    type Value = [Option<Value>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
        let tree = Tree { depth: self.depth, fault: self.fault }.inner()?;
        let mut found = [const { None }; N];
        let mut names = Vec::with_capacity(8);
        while let Some(name) = from.next_key_seed(Name)? {
            let slot = self.wanted.iter().position(|wanted| *wanted == name).and_then(|i| found.get_mut(i));
            match slot {
                Some(slot) => *slot = Some(from.next_value_seed(tree)?),
                None => from.next_value_seed(Dropped(tree))?,
            }
            names.push(name);
        }
        // Sorted, not compared with each other: 8 KiB of short names would be a million comparisons.
        names.sort_unstable();
        if names.windows(2).any(|pair| matches!(pair, [one, next] if one == next)) {
            return Err(fail(self.fault, Fault::Duplicate));
        }
        Ok(found)
    }
}

/// A member's name, borrowed if it is written without escapes.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What both readers say of a document: they differ in what they keep only.
    fn fault(text: &str) -> Option<Fault> {
        let tree = object(text.as_bytes(), 8).err();
        assert_eq!(members(text.as_bytes(), 8, ["alg"]).err(), tree, "{text}");
        assert_eq!(members(text.as_bytes(), 8, []).err(), tree, "{text}");
        tree
    }

    #[test]
    fn a_member_twice_is_refused_at_every_level() {
        for text in [
            r#"{"alg":1,"alg":1}"#,
            r#"{"alg":1,"x":2,"\u0061lg":1}"#,
            r#"{"a":{"b":1,"b":2}}"#,
            r#"{"a":[{"b":[{"":1,"":2}]}]}"#,
        ] {
            assert_eq!(fault(text), Some(Fault::Duplicate), "{text}");
        }
        for text in [r#"{"a":1,"A":1}"#, r#"{"a":{"a":{"a":1}}}"#, r#"{"a":[{"b":1},{"b":1}]}"#] {
            assert_eq!(fault(text), None, "{text}");
        }
    }

    #[test]
    fn eight_levels_are_enough() {
        let nested = |levels: usize| format!("{}0{}", "{\"a\":".repeat(levels), "}".repeat(levels));
        assert_eq!(fault(&nested(8)), None);
        assert_eq!(fault(&nested(9)), Some(Fault::TooDeep));
        let array = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
        assert_eq!(fault(&array(7)), None);
        assert_eq!(fault(&array(8)), Some(Fault::TooDeep));
        assert_eq!(fault(&array(100_000)), Some(Fault::TooDeep));
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for text in [
            "",
            " ",
            "null",
            "true",
            "1",
            "\"a\"",
            "[]",
            "[{}]",
            "{",
            "{}}",
            "{} {}",
            "{a:1}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{'a':1}",
            "{1:1}",
            "{\"a\":NaN}",
            "{\"a\":1e400}",
            "{\"a\":01}",
            "{\"a\":\"\u{1}\"}",
            "{\"a\":\"\\ud800\"}",
            "\u{feff}{}",
            "{}\0",
            "{}//",
            "{\"a\":+1}",
            "{\"a\":.5}",
            "{\"a\":0x1}",
            "{\"a\":Infinity}",
        ] {
            assert_eq!(fault(text), Some(Fault::Syntax), "{text}");
        }
        assert_eq!(object(b"{\"a\":\"\xff\"}", 8), Err(Fault::Syntax));
        assert_eq!(members(b"{\"a\":\"\xff\"}", 8, ["a"]), Err(Fault::Syntax));
        assert_eq!(members(b"{\"b\":\"\xc0\xae\"}", 8, ["a"]), Err(Fault::Syntax));
    }

    #[test]
    fn values_are_as_serde_json_has_them() {
        let text = r#" { "a" : [ 1 , -2 , 3.5 , 1e3, 18446744073709551615 ] , "b" : { "c" : null , "d" : true } , "e" : "\u00e9\n" } "#;
        let tree = object(text.as_bytes(), 8).expect("good JSON");
        assert_eq!(Value::Object(tree), serde_json::from_str::<Value>(text).expect("good JSON"));
        let wanted = members(text.as_bytes(), 8, ["e", "none", "b"]).expect("good JSON");
        assert_eq!(wanted, [Some(json!("é\n")), None, Some(json!({"c": null, "d": true}))]);
    }
}
