//! Schemas that can be had without the network: descriptor sets, `.proto` files, and what is built in.

use std::sync::Arc;

use tidegate_config::valid::{Descriptors, Service};
use tidegate_config::{Code, Diagnostic, Diagnostics, Valid};
use tidegate_transcode::Schema;

/// Loads the schema of each service; `None` where reflection has to ask the backend. Reads files, so it blocks.
pub fn load(valid: &Valid, problems: &mut Diagnostics) -> Vec<Option<Arc<Schema>>> {
    valid.services.iter().map(|service| load_one(service, problems)).collect()
}

fn load_one(service: &Service, problems: &mut Diagnostics) -> Option<Arc<Schema>> {
    let loaded = match &service.descriptors {
        Descriptors::Reflection => return None,
        Descriptors::Set(path) => match std::fs::read(path) {
            Ok(bytes) => Schema::from_descriptor_set(&bytes).map_err(|error| error.to_string()),
            Err(error) => Err(format!("cannot read {}: {error}", path.display())),
        },
        Descriptors::Protos { files, include } => {
            Schema::from_protos(files, include).map_err(|error| error.to_string())
        }
    };
    match loaded {
        Ok(schema) => Some(Arc::new(schema)),
        Err(message) => {
            problems.push(Diagnostic::error(Code::Descriptors, message).at(&service.descriptors_place));
            None
        }
    }
}
