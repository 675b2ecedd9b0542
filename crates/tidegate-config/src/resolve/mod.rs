//! From what was typed to what holds: names become indices, policies are merged, and keys are checked against each
//! other.
//!
//! Nothing here stops at a problem either. A part that is wrong is reported and left out; parts that refer to it by
//! name still find the name, so one mistake is one message.

mod access;
mod auth;
mod cors;
mod endpoints;
mod envelopes;
mod hedge;
mod limits;
mod listeners;
mod mirror;
mod names;
mod native;
mod observability;
mod operate;
mod path;
mod patience;
mod policy;
mod process;
mod realtime;
mod resilience;
mod respond;
mod rewrite;
mod router;
mod routes;
mod rpc;
mod services;
mod split;
mod validate;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::decode::{Field, Item, Text};
use crate::diag::{Code, Diagnostic, Diagnostics, Place};
use crate::raw::RawConfig;
use crate::valid::{Level, Origin, Setting, Valid};

use names::Names;

/// One file, decoded.
pub(crate) struct File {
    pub(crate) name: Arc<str>,
    /// Where relative paths in it begin.
    pub(crate) folder: PathBuf,
    pub(crate) raw: RawConfig,
}

/// Merges and checks all files; the first is the main file. The result is to be used only if `problems` has no errors.
pub(crate) fn resolve(files: &[File], problems: &mut Diagnostics) -> Option<Valid> {
    let main = files.first()?;
    let folders = files.iter().map(|file| (Arc::clone(&file.name), file.folder.as_path())).collect();
    let has_redis = !main.raw.redis.is_missing();
    let mut resolver = Resolver { folders, forwarded: Vec::new(), problems, has_redis };
    resolver.check_shape(files);
    let listeners = resolver.listeners(files, main);
    let (auth, known_providers) = resolver.auth(main);
    resolver.forwarded = auth.forward.iter().map(|forward| forward.name.replace('_', "-")).collect();
    let (envelopes, envelope_names) = resolver.envelopes(files);
    let defaults = main.raw.defaults.value();
    if let Some(defaults) = defaults {
        resolver.check_policy(defaults, &envelope_names);
        resolver.check_route_access(defaults, &known_providers);
    }
    let (services, known_services) = resolver.services(files, &envelope_names, &known_providers, defaults);
    let system_routes = resolver.system_routes(main);
    let scope = routes::Scope {
        defaults,
        files,
        providers: &known_providers,
        services: &known_services,
        envelopes: &envelopes,
        envelope_names: &envelope_names,
    };
    let mut routes = resolver.routes(&scope);
    let raw_realtime = main.raw.realtime.value().cloned().unwrap_or_default();
    let realtime = resolver.realtime(&raw_realtime);
    routes.extend(resolver.realtime_endpoints(&raw_realtime, &scope));
    resolver.check_router(&routes);
    resolver.check_open_routes(&routes, &known_providers);
    let levels = defaults.map(|defaults| (Level::Defaults, defaults)).into_iter().collect();
    let observability = resolver.observability(main);
    resolver.check_system_routes(&routes, &system_routes, observability.metrics.public_path.as_ref());
    let mut defaults = policy::merge_values(&policy::Levels(levels), &envelope_names);
    resolver.check_cors_credentials(&defaults);
    resolver.place_schema(&mut defaults);
    Some(Valid {
        files: files.iter().map(|file| Arc::clone(&file.name)).collect(),
        listeners,
        services,
        routes,
        defaults,
        envelopes,
        auth,
        client_ip: resolver.client_ip(main),
        merge_slashes: merge_slashes(main),
        redis: resolver.redis(main),
        drain: resolver.drain(main),
        runtime: resolver.runtime(main),
        overload: resolver.overload(main),
        realtime,
        observability,
        admin: resolver.admin(main),
        readiness: resolver.readiness(main, &known_services.names),
        health_detail: Resolver::health_detail(main),
        system_routes,
    })
}

/// What the checks share: where files are, and where problems go.
struct Resolver<'a> {
    folders: HashMap<Arc<str>, &'a Path>,
    /// Headers that tell backends who the client is, with `-` for `_`.
    forwarded: Vec<String>,
    problems: &'a mut Diagnostics,
    /// The file says where Redis is, rightly or not.
    has_redis: bool,
}

impl Resolver<'_> {
    /// Adds an error at `place`.
    fn error(&mut self, code: Code, place: &Place, message: impl Into<String>) {
        self.problems.push(Diagnostic::error(code, message).at(place));
    }

    /// Adds an error with advice at `place`.
    fn error_with(&mut self, code: Code, place: &Place, message: impl Into<String>, help: impl Into<String>) {
        self.problems.push(Diagnostic::error(code, message).at(place).help(help));
    }

    /// Adds a warning at `place`.
    fn warn(&mut self, code: Code, place: &Place, message: impl Into<String>, help: impl Into<String>) {
        self.problems.push(Diagnostic::warning(code, message).at(place).help(help));
    }

    /// The path of a file, relative to the file that names it.
    fn path(&self, item: &Item<Text>) -> PathBuf {
        let folder = self.folders.get(&item.place.file).copied().unwrap_or(Path::new(""));
        folder.join(&item.value.0)
    }

    /// Version, and what may stand in the main file only.
    fn check_shape(&mut self, files: &[File]) {
        if let Some(main) = files.first().filter(|main| main.raw.version.is_missing()) {
            let place =
                Place { file: Arc::clone(&main.name), line: 1, column: 1, end_column: 2, path: "version".into() };
            self.error_with(Code::MissingKey, &place, "\"version\" is missing", "begin with \"version: 1\"");
        }
        for file in files {
            if let Some(version) = file.raw.version.set()
                && version.value.0 != 1
            {
                self.error_with(Code::InvalidValue, &version.place, "this is not version 1", "write \"version: 1\"");
            }
        }
        for File { raw, .. } in files.iter().skip(1) {
            let main_only = [
                ("include", place_of(&raw.include)),
                ("auth", place_of(&raw.auth)),
                ("client_ip", place_of(&raw.client_ip)),
                ("merge_slashes", place_of(&raw.merge_slashes)),
                ("redis", place_of(&raw.redis)),
                ("drain", place_of(&raw.drain)),
                ("runtime", place_of(&raw.runtime)),
                ("realtime", place_of(&raw.realtime)),
                ("defaults", place_of(&raw.defaults)),
                ("observability", place_of(&raw.observability)),
                ("system_routes", place_of(&raw.system_routes)),
                ("admin", place_of(&raw.admin)),
                ("readiness", place_of(&raw.readiness)),
                ("health", place_of(&raw.health)),
                ("memory_limit", place_of(&raw.memory_limit)),
                ("overload", place_of(&raw.overload)),
            ];
            for (key, place) in main_only {
                if let Some(place) = place {
                    let message = format!("\"{key}\" in an included file");
                    self.error_with(Code::Conflict, place, message, "it may stand in the main file only");
                }
            }
        }
    }
}

fn merge_slashes(main: &File) -> Setting<bool> {
    match main.raw.merge_slashes.set() {
        None => Setting::built_in(false),
        Some(item) => {
            // It belongs to no level: nothing overrides it, as nothing overrides a route.
            let origin = Origin { level: Level::Route, place: Some(item.place.clone()) };
            Setting { value: item.value, origin }
        }
    }
}

fn place_of<T>(field: &Field<T>) -> Option<&Place> {
    field.set().map(|item| &item.place)
}

/// `file:line:column`, for messages about a second place.
fn name_of(place: &Place) -> String {
    format!("{}:{}:{}", place.file, place.line, place.column)
}
