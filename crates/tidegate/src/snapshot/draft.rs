//! A configuration that is compiled and not published: everything that can fail has been done.
//!
//! Building one changes nothing that runs. Clusters and schemas of services that have not changed are taken over.

use std::sync::Arc;

use tidegate_config::valid::{Descriptors, Service, Tls};
use tidegate_config::{Code, Diagnostic, Diagnostics, Valid};

use super::Snapshot;
use super::auth;
use super::bodies::Bodies;
use super::compile::{self, Inputs as CompilerInputs};
use super::inputs::{Digest, Inputs, Recorder};
use super::registry::{Live, Process, Running};
use super::schemas;
use crate::upstream::Cluster;

/// What can be committed.
#[derive(Debug)]
pub struct Draft {
    /// What new requests will get.
    pub snapshot: Snapshot,
    /// What will run for it.
    pub live: Live,
    /// Everything that was read.
    pub inputs: Inputs,
}

/// What a draft is built with beside its configuration.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// What the process has beside its configurations.
    pub process: &'a Process,
    /// What runs until now.
    pub before: Option<&'a Live>,
    /// Of the new snapshot.
    pub generation: u64,
}

/// Compiles `valid`, which was read through `recorder`; the descriptors and certificates that it names are read
/// through it too. Blocks on files: for the control thread.
///
/// # Errors
/// All problems that only descriptors, certificates, templates and expressions can show.
pub fn build(valid: &Arc<Valid>, recorder: &Recorder, around: &Surroundings<'_>) -> Result<Draft, Diagnostics> {
    let mut problems = Diagnostics::default();
    let mut services = Vec::with_capacity(valid.services.len());
    for (index, service) in valid.services.iter().enumerate() {
        match running(valid, index, service, recorder, around) {
            Ok(service) => services.push(service),
            Err(found) => found.into_iter().for_each(|problem| problems.push(problem)),
        }
    }
    let providers = auth::providers(valid, recorder, around).unwrap_or_else(|found| {
        found.into_iter().for_each(|problem| problems.push(problem));
        Vec::new()
    });
    let bodies = Bodies::read(valid, recorder, &mut problems);
    for listener in &valid.listeners {
        if let Tls::Files { cert, key } = &listener.tls {
            recorder.digest(cert);
            recorder.digest(key);
        }
        if let Some(clients) = &listener.clients {
            recorder.digest(&clients.ca);
        }
    }
    if problems.has_errors() {
        return Err(problems);
    }
    let inputs = recorder.inputs();
    let hash = inputs.hash(recorder.main());
    let snapshot = compile::compile(&CompilerInputs {
        valid,
        hash: &hash,
        services: &services,
        providers: &providers,
        bodies: &bodies,
        process: around.process,
        generation: around.generation,
    })?;
    let live = Live { valid: Arc::clone(valid), hash, services, providers, bodies: Arc::new(bodies) };
    Ok(Draft { snapshot, live, inputs })
}

/// The service as it will run: with the connections from before if nothing that shapes them has changed.
fn running(
    valid: &Valid,
    index: usize,
    service: &Service,
    recorder: &Recorder,
    around: &Surroundings<'_>,
) -> Result<Running, Vec<Diagnostic>> {
    let before = around.before.and_then(|live| live.service(&service.name));
    let fingerprint = fingerprint(service, recorder);
    let kept = before.filter(|before| before.fingerprint == fingerprint);
    let cluster = match kept {
        Some(kept) => Ok(Arc::clone(&kept.cluster)),
        None => connect_anew(service, before, around),
    };
    let known = schemas::know(valid, index, recorder, before, kept.is_some());
    match (cluster, known) {
        (Ok(cluster), Ok(known)) => {
            let schemas::Known { origin, schema, stale } = known;
            // It belongs to whoever asks, who stays under the same conditions.
            let same = kept.filter(|kept| kept.origin == origin);
            let freshness = same.map(|kept| Arc::clone(&kept.freshness)).unwrap_or_default();
            Ok(Running { cluster, fingerprint, origin, schema, stale, freshness })
        }
        (cluster, known) => Err(cluster.err().into_iter().chain(known.err()).collect()),
    }
}

fn connect_anew(
    service: &Service,
    before: Option<&Running>,
    around: &Surroundings<'_>,
) -> Result<Arc<Cluster>, Diagnostic> {
    let Process { telemetry, wheels, .. } = around.process;
    let series = telemetry.metrics.service(&Arc::from(service.name.as_str()));
    let made = Cluster::new(service, Arc::clone(wheels), series);
    let cluster = made.map_err(|error| Diagnostic::error(Code::Tls, error.to_string()).at(&service.place))?;
    if let Some(before) = before {
        // Names that were resolved a moment ago need not be waited for.
        cluster.take_over(&before.cluster);
    }
    Ok(cluster)
}

/// Over all settings of the service but its descriptors and the weights of its endpoints, and over the content of its certificates. They are read
/// before they are used: should one change in between, the next look sees another digest than this.
fn fingerprint(service: &Service, recorder: &Recorder) -> Digest {
    let mut connections = Service { descriptors: Descriptors::Reflection, ..service.clone() };
    connections.endpoints.iter_mut().for_each(|endpoint| endpoint.weight = 1);
    // Without places: a service that moves to another line is the same.
    let mut parts = vec![format!("{connections:-?}").into_bytes()];
    if let Some(tls) = &service.tls {
        let client = tls.client.iter().flat_map(|(chain, key)| [chain, key]);
        for path in tls.ca.iter().chain(client) {
            parts.push(format!("{:?}", recorder.digest(path)).into_bytes());
        }
    }
    Digest::of(&parts.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::action::metrics::Page;
    use crate::heartbeat::Heartbeat;
    use crate::ids::PerWorker;
    use crate::telemetry::Telemetry;
    use crate::time::Wheel;

    /// A folder with a configuration, and the process that would build it.
    struct Bench {
        folder: tempfile::TempDir,
        process: Option<Process>,
    }

    impl Bench {
        fn new() -> Self {
            Self { folder: tempfile::tempdir().unwrap(), process: None }
        }

        fn write(&self, name: &str, text: &str) {
            std::fs::write(self.folder.path().join(name), text).unwrap();
        }

        fn services(&self, services: &str) {
            let head = "version: 1\nlisteners: [{ name: a, address: '127.0.0.1:0' }]\n";
            self.write("a.yaml", &format!("{head}services: {{ {services} }}\n"));
        }

        fn build(&mut self, before: Option<&Live>) -> Draft {
            let recorder = Recorder::new(&self.folder.path().join("a.yaml"), None);
            let valid = Arc::new(recorder.load().unwrap().valid);
            let process = self.process.get_or_insert_with(|| Process {
                health: Arc::default(),
                lifecycle: Arc::default(),
                heartbeat: Heartbeat::new(1),
                overload: Arc::default(),
                telemetry: Telemetry::new(1, &valid.observability),
                page: Page::new().0,
                wheels: Arc::new(PerWorker::new(1, |_| Wheel::new())),
                limiter: Arc::default(),
                hall: Arc::default(),
            });
            build(&valid, &recorder, &Surroundings { process, before, generation: 1 }).unwrap()
        }
    }

    fn certificate() -> String {
        rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap().cert.pem()
    }

    #[test]
    fn a_service_keeps_its_cluster_until_something_that_shapes_its_connections_changes() {
        let mut bench = Bench::new();
        let proto = "syntax = 'proto3'; message M {} service S { rpc R(M) returns (M); }";
        bench.write("a.proto", proto);
        bench.write("ca.crt", &certificate());
        let one = "one: { address: '127.0.0.1:9', descriptors: [a.proto], tls: { ca: ca.crt } }";
        let two = "two: { address: '127.0.0.1:9' }";
        bench.services(one);
        let mut before = bench.build(None).live;
        let mut check = |bench: &mut Bench, kept: bool, schema: bool, what: &str| {
            let live = bench.build(Some(&before)).live;
            let (then, now) = (before.service("one").unwrap(), live.service("one").unwrap());
            assert_eq!(Arc::ptr_eq(&then.cluster, &now.cluster), kept, "cluster: {what}");
            let schemas = (then.schema.as_ref().unwrap(), now.schema.as_ref().unwrap());
            assert_eq!(Arc::ptr_eq(schemas.0, schemas.1), schema, "schema: {what}");
            before = live;
        };
        check(&mut bench, true, true, "nothing has changed");
        bench.services(&format!("{two}, {one}"));
        check(&mut bench, true, true, "its place has changed");
        let weighed = one.replace("address: '127.0.0.1:9'", "endpoints: [{ address: '127.0.0.1:9', weight: 3 }]");
        bench.services(&weighed);
        check(&mut bench, true, true, "the weight of its endpoint has changed");
        bench.services(one);
        check(&mut bench, true, true, "the weight of its endpoint has changed again");
        bench.write("a.proto", &format!("{proto} message More {{}}"));
        check(&mut bench, true, false, "its descriptors have changed");
        bench.write("ca.crt", &certificate());
        check(&mut bench, false, true, "its roots have changed");
        bench.services(&one.replace("address", "connect_timeout: 7s, address"));
        check(&mut bench, false, true, "its timeout has changed");
        let gone = Arc::downgrade(&before.service("one").unwrap().cluster);
        bench.services(two);
        before = bench.build(Some(&before)).live;
        assert!(before.service("one").is_none());
        assert!(gone.upgrade().is_none(), "nobody holds what is gone");
    }

    #[test]
    fn the_same_files_have_the_same_hash_in_every_folder() {
        let hash = |timeout: &str, extra: &str| {
            let mut bench = Bench::new();
            bench.services(&format!(
                "one: {{ address: '127.0.0.1:9', connect_timeout: {timeout}, descriptors: [a.proto] }}"
            ));
            bench.write("a.proto", &format!("syntax = 'proto3';{extra}"));
            let draft = bench.build(None);
            assert_eq!(draft.live.hash, draft.snapshot.hash);
            assert!(draft.inputs.folders().contains(Path::new(bench.folder.path())));
            draft.live.hash
        };
        assert_eq!(hash("2s", ""), hash("2s", ""));
        assert_ne!(hash("2s", ""), hash("3s", ""));
        assert_ne!(hash("2s", ""), hash("2s", " "), "descriptors belong to the configuration");
    }
}
