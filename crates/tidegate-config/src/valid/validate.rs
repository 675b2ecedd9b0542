//! What a request must be before its route is run.

use std::path::PathBuf;

use super::origin::Setting;

/// The `validate` block.
#[derive(Clone, PartialEq, Debug)]
pub struct Validate {
    /// Content types of a body, in lower case; one that ends in `/*` is for all of a kind. `None`: any.
    pub content_types: Setting<Option<Vec<String>>>,
    /// Headers that must be there and not empty, in lower case.
    pub required_headers: Setting<Vec<String>>,
    /// File with the JSON Schema of the body; `None`: bodies are not looked into.
    pub schema: Setting<Option<PathBuf>>,
    /// Deepest nesting of a body that is checked against a schema: 1 to 100, which is the default.
    pub max_json_depth: Setting<u32>,
}
