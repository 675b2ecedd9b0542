//! Backends.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::resilience::Resilience;
use crate::diag::Place;

/// One entry of `services`.
#[derive(Clone, PartialEq, Debug)]
pub struct Service {
    /// Unique name; a metric label.
    pub name: String,
    /// Where the entry stands.
    pub place: Place,
    /// What its endpoints speak.
    pub protocol: ServiceProtocol,
    /// An HTTP service is spoken to in HTTP/2 where that can be had. `false` for gRPC, which is never anything else.
    pub http2: bool,
    /// Addresses, in the order of the file. Not empty, no repetition, at least one with a weight above 0.
    pub endpoints: Vec<Endpoint>,
    /// Where the descriptors come from. Without the key: reflection for gRPC, none for HTTP.
    pub descriptors: Descriptors,
    /// Where `descriptors` stands, or the entry itself when the key is missing.
    pub descriptors_place: Place,
    /// Largest gRPC message that is received, in bytes. 10 MiB by default.
    pub max_message: u64,
    /// Deadline for a connection to be ready: TCP, TLS and the HTTP/2 preface. 2 s by default.
    pub connect_timeout: Duration,
    /// How many connections, and how they are kept alive.
    pub connections: Connections,
    /// How it is kept up while endpoints are not.
    pub resilience: Resilience,
    /// Settings for endpoints with TLS. Without the key, but with a `grpcs://` endpoint: all fields `None`, which means
    /// the system's roots and the host name of the endpoint.
    pub tls: Option<UpstreamTls>,
}

/// What a service speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ServiceProtocol {
    /// gRPC over HTTP/2.
    Grpc,
    /// HTTP/1.1.
    Http,
}

/// One address of a service, or a name whose addresses are many.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// As written, for metrics and logs.
    pub text: String,
    /// Where it stands.
    pub place: Place,
    /// Where it is.
    pub target: Target,
    /// Whether the connection is encrypted: `grpcs://`, `https://`, or any endpoint of a service with a `tls` block unless it says
    /// `grpc://`, `http://` or `unix:`.
    pub tls: bool,
    /// Its part of the requests, beside the weights of the others; 0: none. 1 by default.
    pub weight: u32,
}

/// As written, with the weight of one that has another than 1: `http://10.0.0.7 weight 3`.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        if self.weight == 1 { Ok(()) } else { write!(f, " weight {}", self.weight) }
    }
}

/// Where an endpoint is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// One endpoint, however many addresses its name has.
    Host(HostPort),
    /// As many endpoints as its name has addresses.
    Dns {
        /// The name, and the port of all of them.
        name: HostPort,
        /// The name server that is asked, instead of those of the system.
        server: Option<SocketAddr>,
    },
    /// A socket in the file system.
    Unix(PathBuf),
}

/// A host and its port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostPort {
    /// Host name, IPv4 or IPv6 address (without brackets). Not empty.
    pub host: String,
    /// Not 0.
    pub port: u16,
}

/// Where the descriptors of a service come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Descriptors {
    /// There are none: the service speaks HTTP.
    None,
    /// gRPC server reflection.
    Reflection,
    /// A serialised `FileDescriptorSet`, relative to the file that names it.
    Set(PathBuf),
    /// `.proto` files.
    Protos {
        /// The files, relative to the configuration file that names them. Not empty.
        files: Vec<PathBuf>,
        /// Where imports are looked for. Without `proto_paths`: the folders of the files.
        include: Vec<PathBuf>,
    },
}

/// Number and upkeep of connections, per endpoint and process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Connections {
    /// Kept open once in use; at least 1. 1 by default.
    pub min: u32,
    /// Never more than this many; at least `min`. 4 by default.
    pub max: u32,
    /// Least that stay and most of HTTP/1.1, as written. `None` if neither is: as many as there are requests at once.
    pub http1: Option<(u32, u32)>,
    /// HTTP/2 pings while calls are open. `None` with `keepalive: null`.
    pub keepalive: Option<Keepalive>,
}

/// HTTP/2 pings to the backend.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Keepalive {
    /// Time between pings. 10 s by default.
    pub interval: Duration,
    /// How long the answer may take. 3 s by default.
    pub timeout: Duration,
}

/// TLS towards a backend. Files are PEM, relative to the file that names them.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct UpstreamTls {
    /// Roots to trust instead of the system's.
    pub ca: Option<PathBuf>,
    /// Client certificate and its key; both or none.
    pub client: Option<(PathBuf, PathBuf)>,
    /// Name to ask for and to verify instead of the endpoint's host.
    pub server_name: Option<String>,
}
