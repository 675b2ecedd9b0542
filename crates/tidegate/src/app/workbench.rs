//! A configuration that is compiled and looked at, but never served: for the commands beside `run`.

use std::sync::Arc;

use tidegate_config::valid::Descriptors;
use tidegate_config::{Code, Diagnostic, Diagnostics, Valid};
use tidegate_transcode::Schema;

use super::parts::{build, process, state_dir};
use crate::snapshot::compile::{self, Inputs};
use crate::snapshot::draft::Draft;
use crate::snapshot::inputs::Recorder;
use crate::snapshot::registry::Process;
use crate::upstream::reflection::{DescriptorCache, FileSet};

/// A draft, and the parts of a process that it was built with.
#[derive(Debug)]
pub struct Workbench {
    /// What would be committed.
    pub draft: Draft,
    /// With one slot, for the only thread.
    pub process: Process,
}

impl Workbench {
    /// Compiles `valid`, which was read through `recorder`, as far as it goes without the network.
    ///
    /// # Errors
    /// All problems.
    pub fn new(valid: &Arc<Valid>, recorder: &Recorder) -> Result<Self, Diagnostics> {
        let (process, _orders) = process(valid, 1);
        let draft = build(valid, recorder, &process)?;
        Ok(Self { draft, process })
    }

    /// Compiles again with descriptors of the service with this index. If they do not fit, nothing has changed.
    ///
    /// # Errors
    /// What does not fit, at the places of the configuration.
    pub fn learn(&mut self, service: usize, files: &FileSet) -> Result<(), Diagnostics> {
        let Draft { snapshot, live, .. } = &mut self.draft;
        let Some(running) = live.services.get_mut(service) else { return Ok(()) };
        let schema = Schema::from_file_descriptors(files.files()).map_err(|error| {
            let mut problems = Diagnostics::default();
            let place = live.valid.services.get(service).map(|service| &service.descriptors_place);
            let problem = Diagnostic::error(Code::Descriptors, error.to_string());
            problems.push(place.map_or(problem.clone(), |place| problem.at(place)));
            problems
        })?;
        let before = running.schema.replace(Arc::new(schema));
        let compiled = compile::compile(&Inputs {
            valid: &live.valid,
            hash: &live.hash,
            services: &live.services,
            providers: &live.providers,
            bodies: &live.bodies,
            process: &self.process,
            generation: snapshot.generation,
        });
        match compiled {
            Ok(compiled) => *snapshot = compiled,
            Err(problems) => {
                if let Some(running) = live.services.get_mut(service) {
                    running.schema = before;
                }
                return Err(problems);
            }
        }
        Ok(())
    }

    /// Learns what earlier runs have kept of the services that answer reflection. Gives the names of those whose
    /// descriptors do not fit the routes any more.
    pub fn learn_kept(&mut self) -> Vec<String> {
        let Some(cache) = state_dir().map(DescriptorCache::new) else { return Vec::new() };
        let valid = Arc::clone(&self.draft.live.valid);
        let mut unfit = Vec::new();
        for (index, service) in valid.services.iter().enumerate() {
            if service.descriptors != Descriptors::Reflection {
                continue;
            }
            let kept = cache.load(&service.name);
            if kept.is_some_and(|files| self.learn(index, &files).is_err()) {
                unfit.push(service.name.clone());
            }
        }
        unfit
    }
}
