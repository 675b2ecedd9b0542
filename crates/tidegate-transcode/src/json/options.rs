//! Choices where the JSON mapping leaves room.

/// How a request body is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// What happens to keys that no field has.
    pub unknown_fields: UnknownFields,
}

/// What happens to a JSON key that no field has, and to an enum name that no value has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownFields {
    /// The request is refused.
    #[default]
    Reject,
    /// The key and its value are skipped; the value must still be JSON. An unknown enum name leaves its field unset.
    Ignore,
    /// As `Ignore`, and the paths are collected in [`Ignored`].
    Report,
}

/// What was skipped under [`UnknownFields::Report`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ignored {
    /// Paths joined by commas, at most 512 bytes; a path that does not fit any more is left out whole. Characters that
    /// may not stand in an HTTP header are replaced by `?`.
    pub paths: String,
    /// How many keys were skipped, whether their paths fitted or not.
    pub count: u32,
}

/// Upper bound of [`Ignored::paths`] in bytes.
pub(crate) const MAX_IGNORED_BYTES: usize = 512;

impl Ignored {
    /// Adds one skipped path.
    pub fn add(&mut self, path: &str) {
        self.count = self.count.saturating_add(1);
        let separator = if self.paths.is_empty() { "" } else { "," };
        if self.paths.len() + separator.len() + path.len() > MAX_IGNORED_BYTES {
            return;
        }
        self.paths.push_str(separator);
        let printable = |c: char| {
            if c.is_ascii_graphic() && c != ',' { c } else { '?' }
        };
        self.paths.extend(path.chars().map(printable));
    }
}

/// How an answer is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct WriteOptions {
    /// Keys as written in the `.proto` file instead of lowerCamelCase.
    pub proto_names: bool,
    /// Enums as numbers instead of names.
    pub enum_numbers: bool,
    /// 64-bit integers as JSON numbers instead of strings.
    pub int64_numbers: bool,
    /// Prints every field without presence, set or not: zero values, `[]` and `{}`.
    pub emit_defaults: bool,
}

/// Messages, `Struct` objects and lists may nest this deep, both ways.
pub const MAX_DEPTH: u32 = 100;
