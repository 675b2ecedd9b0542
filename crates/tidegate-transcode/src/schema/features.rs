//! What `syntax`, `edition` and `features` mean for a field, resolved once so that nobody else asks for the syntax.
//!
//! An edition is a set of defaults which files, messages, enums, oneofs and fields may override on the way down. An
//! edition that is not known here is refused: reading it with the defaults of another one would be a silent mistake.
//!
//! Source: <https://protobuf.dev/editions/features/>.

use prost::Message;

use super::raw;

/// The features in force at one place of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Features {
    pub(crate) presence: Presence,
    pub(crate) closed_enums: bool,
    pub(crate) packed: bool,
    pub(crate) delimited: bool,
    /// Overrides count in edition files alone; elsewhere the field numbers could only be there by mistake.
    overridable: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    Explicit,
    Implicit,
    Required,
}

/// A `syntax` or `edition` that is not supported, as it should be named to the user.
#[derive(Debug)]
pub(crate) struct UnknownEdition(pub(crate) String);

const EDITION_2023: i32 = 1000;
const EDITION_2024: i32 = 1001;

impl Features {
    const PROTO2: Self =
        Self { presence: Presence::Explicit, closed_enums: true, packed: false, delimited: false, overridable: false };
    const PROTO3: Self = Self { presence: Presence::Implicit, closed_enums: false, packed: true, ..Self::PROTO2 };
    const EDITION: Self = Self { closed_enums: false, packed: true, overridable: true, ..Self::PROTO2 };

    /// The features at the top of `file`.
    pub(crate) fn of_file(file: &raw::File) -> Result<Self, UnknownEdition> {
        match (file.syntax.as_deref(), file.edition) {
            (None | Some("" | "proto2"), None) => Ok(Self::PROTO2),
            (Some("proto3"), None) => Ok(Self::PROTO3),
            // Both editions have the same defaults for the features that matter on the wire and in JSON.
            (_, Some(EDITION_2023 | EDITION_2024)) => {
                let options: raw::FileOptions = decode_options(file.options.as_deref());
                Ok(Self::EDITION.with(options.features))
            }
            (_, Some(number)) => Err(UnknownEdition(format!("edition number {number}"))),
            (Some(syntax), None) => Err(UnknownEdition(format!("syntax \"{syntax}\""))),
        }
    }

    /// The same with the overrides of one level further down.
    pub(crate) fn with(self, set: Option<raw::FeatureSet>) -> Self {
        let Some(set) = set.filter(|_| self.overridable) else {
            return self;
        };
        Self {
            presence: match set.field_presence {
                Some(1) => Presence::Explicit,
                Some(2) => Presence::Implicit,
                Some(3) => Presence::Required,
                _ => self.presence,
            },
            closed_enums: choose(set.enum_type, self.closed_enums, 2, 1),
            packed: choose(set.repeated_field_encoding, self.packed, 1, 2),
            delimited: choose(set.message_encoding, self.delimited, 2, 1),
            overridable: true,
        }
    }

    pub(crate) fn of_message(self, message: &raw::MessageType) -> Self {
        self.with(message_options(message).features)
    }

    pub(crate) fn of_enum(self, enumeration: &raw::EnumType) -> Self {
        let options: raw::EnumOptions = decode_options(enumeration.options.as_deref());
        self.with(options.features)
    }

    /// `oneof` is the oneof that holds the field, if there is one: its features come between message and field.
    pub(crate) fn of_field(self, field: &raw::Field, oneof: Option<&raw::Oneof>) -> Self {
        let oneof: raw::OneofOptions = decode_options(oneof.and_then(|o| o.options.as_deref()));
        let features = self.with(oneof.features).with(field_options(field).features);
        match field_options(field).packed {
            Some(packed) if !self.overridable => Self { packed, ..features },
            _ => features,
        }
    }
}

fn choose(value: Option<i32>, inherited: bool, yes: i32, no: i32) -> bool {
    match value {
        Some(value) if value == yes => true,
        Some(value) if value == no => false,
        _ => inherited,
    }
}

pub(crate) fn message_options(message: &raw::MessageType) -> raw::MessageOptions {
    decode_options(message.options.as_deref())
}

pub(crate) fn field_options(field: &raw::Field) -> raw::FieldOptions {
    decode_options(field.options.as_deref())
}

/// Options that do not decode count as absent here; the descriptor pool has refused such a file before.
pub(crate) fn decode_options<T: Message + Default>(bytes: Option<&[u8]>) -> T {
    bytes.and_then(|bytes| T::decode(bytes).ok()).unwrap_or_default()
}

/// Rewrites an edition file in the older syntax that is nearest, for tools that know no editions: proto3 if the file as a
/// whole has implicit presence, else proto2. Groups, required fields and packing survive; presence and open enums follow
/// the file and not the field. Files without edition come back unchanged.
pub(crate) fn lower(file: &raw::File) -> Result<raw::File, UnknownEdition> {
    let mut file = file.clone();
    if file.edition.is_none() {
        return Ok(file);
    }
    let features = Features::of_file(&file)?;
    let syntax = if features.presence == Presence::Implicit { "proto3" } else { "proto2" };
    file.syntax = Some(syntax.to_owned());
    file.edition = None;
    for message in &mut file.message_type {
        lower_message(features, message);
    }
    for extension in &mut file.extension {
        lower_field(features.of_field(extension, None), extension, false);
    }
    Ok(file)
}

fn lower_message(features: Features, message: &mut raw::MessageType) {
    let features = features.of_message(message);
    let is_map_entry = message_options(message).map_entry();
    let map_entries: Vec<String> = message
        .nested_type
        .iter()
        .filter(|nested| message_options(nested).map_entry())
        .map(|nested| format!(".{}", nested.name()))
        .collect();
    for field in &mut message.field {
        let oneof = field.oneof_index.and_then(|i| message.oneof_decl.get(usize::try_from(i).ok()?));
        let is_map = map_entries.iter().any(|entry| field.type_name().ends_with(entry.as_str()));
        lower_field(features.of_field(field, oneof), field, is_map || is_map_entry);
    }
    for extension in &mut message.extension {
        lower_field(features.of_field(extension, None), extension, false);
    }
    for nested in &mut message.nested_type {
        lower_message(features, nested);
    }
}

fn lower_field(features: Features, field: &mut raw::Field, never_group: bool) {
    if field.label() == raw::label::REPEATED {
        // Appended fields win over earlier ones, so this overrides whatever the options say.
        let packed = raw::FieldOptions { packed: Some(features.packed && is_packable(field)), features: None };
        field.options.get_or_insert_default().extend(packed.encode_to_vec());
    } else if features.presence == Presence::Required && field.oneof_index.is_none() {
        field.label = Some(raw::label::REQUIRED);
    }
    if field.r#type() == raw::field_type::MESSAGE && features.delimited && !never_group {
        field.r#type = Some(raw::field_type::GROUP);
    }
}

fn is_packable(field: &raw::Field) -> bool {
    // String, group, message, bytes.
    !matches!(field.r#type(), 9..=12)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_inherited_and_overridden() {
        let file = raw::File { edition: Some(EDITION_2023), ..Default::default() };
        let top = Features::of_file(&file).unwrap();
        assert_eq!((top.presence, top.packed, top.delimited), (Presence::Explicit, true, false));
        let inner = top.with(Some(raw::FeatureSet {
            field_presence: Some(2),
            message_encoding: Some(2),
            ..Default::default()
        }));
        assert_eq!((inner.presence, inner.packed, inner.delimited), (Presence::Implicit, true, true));
        assert_eq!(inner.with(None), inner);
    }

    #[test]
    fn unknown_editions_are_refused() {
        for (syntax, edition) in [(Some("editions"), Some(99_997)), (Some("proto4"), None), (None, Some(0))] {
            let file = raw::File { syntax: syntax.map(str::to_owned), edition, ..Default::default() };
            assert!(Features::of_file(&file).is_err(), "{syntax:?} {edition:?}");
        }
    }

    #[test]
    fn features_of_a_proto3_file_are_not_read() {
        let file = raw::File { syntax: Some("proto3".to_owned()), ..Default::default() };
        let top = Features::of_file(&file).unwrap();
        let set = raw::FeatureSet { enum_type: Some(2), ..Default::default() };
        assert_eq!(top.with(Some(set)), top);
    }
}
