//! The part of `tidegate check --online` that asks the outside world: names, ports, endpoints, descriptors, keys of
//! tokens, Redis.
//!
//! Everything is asked in parallel, within bounds, on this thread; nothing is served and no method but reflection is
//! called.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use tidegate_config::valid::{self, Endpoint, HostPort, Service, Target};
use tidegate_config::{Code, Diagnostic, Place, Valid};
use tokio::runtime::Builder;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use crate::app::workbench::Workbench;
use crate::dial::{TlsClient, TlsError, connect, connect_unix, server_name};
use crate::ids::WorkerId;
use crate::jwks;
use crate::redis::Redis;
use crate::snapshot::registry::{Running, SchemaOrigin};
use crate::tasks;
use crate::upstream::reflection::{FileSet, fetch};
use crate::upstream::{Resolver, keep_resolved};

/// For all questions together.
const DEADLINE: Duration = Duration::from_secs(10);

/// Questions that are open at once: a gateway with a thousand endpoints need not open a thousand sockets to be checked.
const PARALLEL: usize = 32;

/// What a question came to.
enum Told {
    /// An endpoint of the service with this index was connected to, or not.
    Endpoint(usize, Result<(), Diagnostic>),
    /// The service with this index told its descriptors, or not.
    Descriptors(usize, Result<FileSet, Diagnostic>),
    /// Keys of tokens were fetched, or not.
    Keys(Result<usize, Diagnostic>),
    /// Redis answered, or not.
    Redis(Result<(), Diagnostic>),
}

/// All problems that can only be seen from here. Afterwards `bench` knows the descriptors that were told.
///
/// # Errors
/// The system refuses a runtime.
pub(super) fn problems(bench: &mut Workbench) -> io::Result<Vec<Diagnostic>> {
    let mut found = ports(&bench.draft.live.valid);
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let told = runtime.block_on(ask(bench));
    let valid = Arc::clone(&bench.draft.live.valid);
    let mut reached = vec![0_usize; valid.services.len()];
    for told in &told {
        if let Told::Endpoint(service, Ok(())) = told
            && let Some(count) = reached.get_mut(*service)
        {
            *count = count.saturating_add(1);
        }
    }
    for told in told {
        match told {
            Told::Endpoint(_, Ok(())) | Told::Keys(Ok(_)) | Told::Redis(Ok(())) => {}
            Told::Endpoint(_, Err(problem)) | Told::Keys(Err(problem)) | Told::Redis(Err(problem)) => {
                found.push(problem)
            }
            Told::Descriptors(service, Ok(files)) => {
                if let Err(problems) = bench.learn(service, &files) {
                    found.extend(problems.problems().iter().cloned());
                }
            }
            // Nobody was there to tell them, which was said already.
            Told::Descriptors(service, Err(_)) if reached.get(service) == Some(&0) => {}
            Told::Descriptors(_, Err(problem)) => found.push(problem),
        }
    }
    Ok(found)
}

/// Addresses that the gateway could not listen on.
fn ports(valid: &Valid) -> Vec<Diagnostic> {
    let listeners = valid.listeners.iter().map(|listener| (listener.address, &listener.place));
    let admin = valid.admin.as_ref().map(|admin| (admin.address, &admin.place));
    listeners.chain(admin).filter_map(|(address, place)| port(address, place)).collect()
}

fn port(address: SocketAddr, place: &Place) -> Option<Diagnostic> {
    // A plain socket shares its port with nobody, so it finds whoever is there.
    let error = TcpListener::bind(address).err()?;
    let problem = if error.kind() == io::ErrorKind::AddrInUse {
        let problem = Diagnostic::error(Code::PortInUse, format!("{address} is taken by another process"));
        problem.help("if that is this gateway, which runs already, all is well")
    } else {
        Diagnostic::error(Code::CannotListen, format!("cannot listen on {address}: {}", error.kind()))
    };
    Some(problem.at(place))
}

async fn ask(bench: &Workbench) -> Vec<Told> {
    let live = &bench.draft.live;
    let worker = WorkerId::new(0);
    drop(tasks::spawn("wheel", Arc::clone(bench.process.wheels.get(worker)).run()));
    let resolver = Arc::new(Resolver::new());
    let permits = Arc::new(Semaphore::new(PARALLEL));
    let (tell, mut told) = mpsc::channel(PARALLEL);
    for (index, (service, running)) in live.valid.services.iter().zip(&live.services).enumerate() {
        for endpoint in &service.endpoints {
            let question = reach(service.clone(), endpoint.clone(), Arc::clone(&resolver));
            spawn(&permits, &tell, unreached(endpoint, "not within 10 s"), question, move |done| {
                Told::Endpoint(index, done)
            });
        }
        if let SchemaOrigin::Reflection(wanted) = &running.origin
            && !wanted.is_empty()
        {
            let question = descriptors(service.clone(), running.clone(), wanted.clone(), Arc::clone(&resolver));
            let late = untold(service, "not within 10 s");
            spawn(&permits, &tell, late, question, move |done| Told::Descriptors(index, done));
        }
    }
    for provider in &live.providers {
        if let Some(keys) = provider.remote_keys().cloned() {
            let (resolver, place) = (Arc::clone(&resolver), provider.place.clone());
            let failed = move |why: &str| {
                let text = format!("the keys of {:?} cannot be fetched: {why}", keys.provider);
                Diagnostic::error(Code::Jwks, text).at(&place)
            };
            let (late, keys) = (failed("not within 10 s"), provider.remote_keys().cloned());
            let question = async move {
                let Some(keys) = keys else { return Ok(0) };
                jwks::probe(&keys, &resolver).await.map_err(|why| failed(&why))
            };
            spawn(&permits, &tell, late, question, Told::Keys);
        }
    }
    if let Some(settings) = &live.valid.redis {
        let late = no_redis(settings, "not within 10 s");
        spawn(&permits, &tell, late, redis(settings.clone()), Told::Redis);
    }
    drop(tell);
    let mut all = Vec::new();
    while let Some(one) = told.recv().await {
        all.push(one);
    }
    all
}

/// Asks one question as soon as there is room, and tells what it came to; `late` if that is nothing in time.
fn spawn<T: Send + 'static>(
    permits: &Arc<Semaphore>,
    tell: &mpsc::Sender<Told>,
    late: Diagnostic,
    question: impl Future<Output = Result<T, Diagnostic>> + Send + 'static,
    wrap: impl FnOnce(Result<T, Diagnostic>) -> Told + Send + 'static,
) {
    let (permits, tell) = (Arc::clone(permits), tell.clone());
    let asking = async move {
        let asked = async {
            let _permit = permits.acquire_owned().await;
            question.await
        };
        let done = timeout(DEADLINE, asked).await.unwrap_or(Err(late));
        // Whoever asks waits for all answers.
        let _heard = tell.send(wrap(done)).await;
    };
    drop(tasks::spawn("check", asking));
}

/// Resolves the name of an endpoint and connects to it, with TLS if it has that.
async fn reach(service: Service, endpoint: Endpoint, resolver: Arc<Resolver>) -> Result<(), Diagnostic> {
    let within = service.connect_timeout;
    let (at, addresses) = match &endpoint.target {
        Target::Unix(path) => {
            let connected = connect_unix(path, within).await;
            return connected.map(drop).map_err(|error| unreached(&endpoint, &error.to_string()));
        }
        Target::Host(at) => (at, resolver.addresses(&at.host).await),
        Target::Dns { name, server } => (name, resolver.look_up_at(*server, &name.host).await),
    };
    if addresses.is_empty() {
        let text = format!("the name {:?} has no address", at.host);
        return Err(Diagnostic::error(Code::Dns, text)
            .at(&endpoint.place)
            .help("is it known to the resolver of this machine?"));
    }
    let tls = if endpoint.tls {
        Some(tls(&service, at).map_err(|error| unreached(&endpoint, &error.to_string()))?)
    } else {
        None
    };
    let tls = tls.as_ref().map(|(client, name)| (client, name));
    let addresses: Vec<SocketAddr> = addresses.into_iter().map(|ip| SocketAddr::new(ip, at.port)).collect();
    let connected = connect(&addresses, tls, within).await;
    connected.map(drop).map_err(|error| unreached(&endpoint, &error.to_string()))
}

fn tls(service: &Service, at: &HostPort) -> Result<(TlsClient, rustls_pki_types::ServerName<'static>), TlsError> {
    let settings = service.tls.as_ref();
    let identity = settings.and_then(|tls| tls.client.as_ref()).map(|(chain, key)| (chain.as_path(), key.as_path()));
    let client = TlsClient::load(settings.and_then(|tls| tls.ca.as_deref()), identity)?;
    let name = settings.and_then(|tls| tls.server_name.as_deref()).unwrap_or(&at.host);
    Ok((client, server_name(name)?))
}

/// Asks a backend for its descriptors.
async fn descriptors(
    service: Service,
    running: Running,
    wanted: Vec<String>,
    resolver: Arc<Resolver>,
) -> Result<FileSet, Diagnostic> {
    drop(tasks::spawn("resolve", keep_resolved(Arc::downgrade(&running.cluster), resolver)));
    let told = fetch(&running.cluster, WorkerId::new(0), &wanted).await;
    told.map_err(|error| untold(&service, &error.to_string()))
}

/// Connects to Redis, logs in and has it answer.
async fn redis(settings: valid::Redis) -> Result<(), Diagnostic> {
    let client = Redis::new(&settings, 1).map_err(|error| no_redis(&settings, &error))?;
    client.ping().await.map_err(|error| no_redis(&settings, &error.to_string()))
}

fn no_redis(settings: &valid::Redis, why: &str) -> Diagnostic {
    let text = format!("no answer from Redis at {}:{}: {why}", settings.host, settings.port);
    Diagnostic::error(Code::Redis, text).at(&settings.place)
}

fn unreached(endpoint: &Endpoint, why: &str) -> Diagnostic {
    let text = format!("cannot connect to {}: {why}", endpoint.text);
    Diagnostic::error(Code::ConnectFailed, text).at(&endpoint.place)
}

fn untold(service: &Service, why: &str) -> Diagnostic {
    let text = format!("no descriptors from {:?} by reflection: {why}", service.name);
    Diagnostic::error(Code::Descriptors, text).at(&service.descriptors_place)
}
