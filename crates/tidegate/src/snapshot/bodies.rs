//! The JSON Schemas that routes demand of bodies, read through the recorder so that a reload sees their changes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidegate_config::source::Source as _;
use tidegate_config::valid::Action;
use tidegate_config::{Code, Diagnostic, Diagnostics, Valid};

use super::inputs::Recorder;
use crate::policy::validate::Schema;

/// Compiled schemas by their files.
#[derive(Debug, Default)]
pub struct Bodies(BTreeMap<PathBuf, Arc<Schema>>);

impl Bodies {
    /// Reads and compiles each file once, whoever names it. What cannot be used is a problem and left out.
    #[must_use]
    pub fn read(valid: &Valid, recorder: &Recorder, problems: &mut Diagnostics) -> Self {
        let mut bodies = BTreeMap::new();
        for route in valid.routes.iter().filter(|route| matches!(route.action, Action::Proxy(_))) {
            let setting = &route.policy.validate.schema;
            let Some(path) = &setting.value else { continue };
            if bodies.contains_key(path) {
                continue;
            }
            let compiled = match recorder.read(path) {
                Ok(bytes) => Schema::compile(&bytes).map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            match compiled {
                Ok(schema) => {
                    bodies.insert(path.clone(), Arc::new(schema));
                }
                Err(why) => {
                    let text = format!("schema {}: {why}", path.display());
                    let place = setting.origin.place.as_ref().unwrap_or(&route.place);
                    problems.push(Diagnostic::error(Code::InvalidValue, text).at(place));
                }
            }
        }
        Self(bodies)
    }

    /// The schema in `path`.
    #[must_use]
    pub fn get(&self, path: &Path) -> Option<Arc<Schema>> {
        self.0.get(path).cloned()
    }
}
