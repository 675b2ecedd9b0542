//! Where the schema of a service comes from: files, or what is known of a backend that is asked by reflection.
//!
//! Files are read again only if they have changed. What reflection has told survives for as long as it is asked of the
//! same backend; of another one it is kept as the last good until that has answered.

use std::path::PathBuf;
use std::sync::Arc;

use tidegate_config::valid::{Action, Descriptors, RpcSelector, Service};
use tidegate_config::{Code, Diagnostic, Valid};
use tidegate_transcode::Schema;

use super::inputs::{Digest, Recorder};
use super::registry::{Running, SchemaOrigin};

/// What is known of a service, in the fields of [`Running`].
pub struct Known {
    pub(super) origin: SchemaOrigin,
    pub(super) schema: Option<Arc<Schema>>,
    pub(super) stale: bool,
}

/// The schema of the service with this index, as far as it can be had without the network. `before` is the service of
/// the same name that ran until now, and `same` says that it keeps its connections. Reads files, so it blocks.
///
/// # Errors
/// Files that cannot be used.
pub fn know(
    valid: &Valid,
    index: usize,
    recorder: &Recorder,
    before: Option<&Running>,
    same: bool,
) -> Result<Known, Diagnostic> {
    let Some(service) = valid.services.get(index) else {
        return Ok(Known { origin: SchemaOrigin::Reflection(Vec::new()), schema: None, stale: false });
    };
    if service.descriptors == Descriptors::None {
        return Ok(Known { origin: SchemaOrigin::None, schema: None, stale: false });
    }
    if service.descriptors == Descriptors::Reflection {
        return Ok(asked(wanted(valid, index), before, same));
    }
    let setting = format!("{:?}", service.descriptors);
    if let Some(known) = before.and_then(|before| unchanged(&setting, before, recorder)) {
        return Ok(known);
    }
    match load(service, recorder) {
        Ok((schema, files)) => {
            let origin = SchemaOrigin::Files(setting, files);
            Ok(Known { origin, schema: Some(Arc::new(schema)), stale: false })
        }
        Err(message) => Err(Diagnostic::error(Code::Descriptors, message).at(&service.descriptors_place)),
    }
}

fn asked(wanted: Vec<String>, before: Option<&Running>, same: bool) -> Known {
    let Some(before) = before else {
        return Known { origin: SchemaOrigin::Reflection(wanted), schema: None, stale: false };
    };
    match &before.origin {
        // Asking for more than is wanted does no harm, and asking anew would.
        SchemaOrigin::Reflection(asked) if same && wanted.iter().all(|one| asked.contains(one)) => {
            Known { origin: before.origin.clone(), schema: before.schema.clone(), stale: before.stale }
        }
        _ => {
            let stale = before.schema.is_some();
            Known { origin: SchemaOrigin::Reflection(wanted), schema: before.schema.clone(), stale }
        }
    }
}

/// How often `.proto` files that change at that moment are compiled before they are given up.
const MAX_COMPILATIONS: usize = 3;

/// The schema from before, if the setting and all files are the same.
fn unchanged(setting: &str, before: &Running, recorder: &Recorder) -> Option<Known> {
    let SchemaOrigin::Files(then, files) = &before.origin else { return None };
    let same = then == setting && files.iter().all(|(path, digest)| recorder.digest(path) == *digest);
    same.then(|| Known { origin: before.origin.clone(), schema: before.schema.clone(), stale: false })
}

type Files = Vec<(PathBuf, Option<Digest>)>;

fn load(service: &Service, recorder: &Recorder) -> Result<(Schema, Files), String> {
    match &service.descriptors {
        Descriptors::None | Descriptors::Reflection => Err("there are no files of descriptors".to_owned()),
        Descriptors::Set(path) => {
            let bytes = recorder.file(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
            let schema = Schema::from_descriptor_set(&bytes).map_err(|error| error.to_string())?;
            Ok((schema, vec![(path.clone(), Some(Digest::of(&[&bytes])))]))
        }
        Descriptors::Protos { files, include } => {
            let compile = || Schema::from_protos_with_paths(files, include).map_err(|error| error.to_string());
            let (_, mut read) = compile()?;
            // Which files are read is only known afterwards, and one may change meanwhile. So they are compiled again
            // between two digests, which are to be the same; if they never are, the next look sees a change.
            for _ in 0..MAX_COMPILATIONS {
                let digests = |read: &[PathBuf]| -> Files {
                    let paths = files.iter().chain(read.iter().filter(|path| !files.contains(path)));
                    paths.map(|path| (path.clone(), recorder.digest(path))).collect()
                };
                let before = digests(&read);
                let (schema, again) = compile()?;
                if again == read && digests(&again) == before {
                    return Ok((schema, before));
                }
                read = again;
            }
            Err("the files change while they are read".to_owned())
        }
    }
}

/// The gRPC services that routes name, as reflection wants to be asked for them; sorted.
fn wanted(valid: &Valid, service: usize) -> Vec<String> {
    let mut wanted: Vec<String> = valid
        .routes
        .iter()
        .filter_map(|route| match &route.action {
            Action::Grpc(grpc) if grpc.service == service => Some(match &grpc.rpc {
                RpcSelector::Method(rpc) => rpc.rsplit_once('/').map_or(rpc.clone(), |(name, _)| name.to_owned()),
                RpcSelector::Service(name) => name.clone(),
                RpcSelector::Package(package) => format!("{package}.*"),
            }),
            Action::Realtime(realtime) => {
                let rpc = &realtime.request.as_ref().filter(|request| request.service == service)?.rpc;
                Some(rpc.rsplit_once('/').map_or(rpc.clone(), |(name, _)| name.to_owned()))
            }
            Action::Grpc(_) | Action::Native(_) | Action::Proxy(_) | Action::Respond(_) => None,
        })
        .collect();
    wanted.sort();
    wanted.dedup();
    wanted
}
