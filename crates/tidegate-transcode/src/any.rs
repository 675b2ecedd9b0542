//! `google.protobuf.Any`: the type is found by its URL in the schema, in both directions.

/// The full name in a type URL: what follows the last slash. `None` without a slash or without a name.
///
/// Source: the comments of `google/protobuf/any.proto`, which demand at least one slash.
pub(crate) fn type_name(url: &str) -> Option<&str> {
    let (_, name) = url.rsplit_once('/')?;
    (!name.is_empty()).then_some(name)
}
