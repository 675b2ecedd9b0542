//! Where clients connect.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::diag::Place;

use super::ListenerLimits;

/// One listening address.
#[derive(Clone, PartialEq, Debug)]
pub struct Listener {
    /// Unique name; a metric label.
    pub name: String,
    /// Where the entry stands.
    pub place: Place,
    /// Address to bind. Port 0 asks the system for a free one.
    pub address: SocketAddr,
    /// Whether and how connections are encrypted.
    pub tls: Tls,
    /// Allowed protocols in order of preference (the order of ALPN under TLS). Not empty, no repetition; without the
    /// key `[http2, http1]`. On clear text `http2` means HTTP/2 with prior knowledge.
    pub protocols: Vec<Protocol>,
    /// Whether clients show certificates; `None`: they are not asked for any.
    pub clients: Option<ClientCertificates>,
    /// What it takes from clients.
    pub limits: ListenerLimits,
    /// Connections begin with a header of the PROXY protocol. Then there are trusted proxies.
    pub proxy_protocol: bool,
}

/// What is demanded of clients' certificates.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientCertificates {
    /// PEM file with the roots.
    pub ca: PathBuf,
    /// Whether there must be one.
    pub auth: ClientAuth,
}

/// Whether a client must show a certificate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientAuth {
    /// The handshake fails without one.
    Required,
    /// Routes may demand one.
    Optional,
}

/// Encryption of a listener.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Tls {
    /// Clear text.
    None,
    /// PEM files, already relative to the file that names them.
    Files {
        /// Certificate chain, leaf first.
        cert: PathBuf,
        /// Private key.
        key: PathBuf,
    },
    /// A development certificate that the gateway makes and keeps in its cache directory.
    Auto,
}

/// A protocol that clients may speak.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// HTTP/1.0 and HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}
