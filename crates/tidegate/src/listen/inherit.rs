//! Listening sockets that this process is given instead of binding them: by the service manager, or by the process that
//! it replaces. Connections that wait in their queues are served, so nobody is refused while a process is exchanged.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use socket2::{SockRef, Type};

use super::Settings;
use super::accept::bound_unsent;

/// Sockets that a service manager may pass. Also keeps a number that was set by mistake from being believed.
const MAX_SOCKETS: usize = 250;

/// Why sockets that were passed cannot be used: exit code 69.
#[derive(Debug, thiserror::Error)]
pub enum InheritError {
    /// The environment does not say how many there are.
    #[error("LISTEN_FDS is not a number of sockets up to {MAX_SOCKETS}")]
    Environment,
    /// One of them is something else.
    #[error("inherited descriptor {name:?} is not a listening TCP socket")]
    NoListener {
        /// The name that came with it.
        name: String,
    },
    /// The system does not let it be used.
    #[error("inherited descriptor {name:?}: {source}")]
    System {
        /// The name that came with it.
        name: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The system has no more descriptors.
    #[error("inherited sockets: {0}")]
    Share(std::io::Error),
}

/// Sockets that listen already. Copies share them.
#[derive(Clone, Debug, Default)]
pub struct Inherited {
    sockets: Vec<Arc<Socket>>,
    /// Names no longer count.
    by_address: bool,
}

#[derive(Debug)]
struct Socket {
    /// The listener's name, or whatever the service manager calls it.
    name: String,
    /// What the listener's address was in the configuration of the process that bound it, if a gateway did.
    configured: Option<SocketAddr>,
    local: SocketAddr,
    socket: TcpListener,
}

impl Inherited {
    /// What the service manager has passed: names are those of listeners, sockets with other names are found by their
    /// address. To be called once in a process, before it opens anything.
    ///
    /// # Errors
    /// Something was passed that is not a listening TCP socket.
    ///
    /// Source: `sd_listen_fds(3)`.
    pub fn from_service_manager() -> Result<Self, InheritError> {
        let count = std::env::var("LISTEN_FDS").ok();
        let believable = |count: String| count.parse::<usize>().is_ok_and(|count| count <= MAX_SOCKETS);
        if !count.is_none_or(believable) {
            return Err(InheritError::Environment);
        }
        let passed = sd_listen_fds::get().map_err(|_| InheritError::Environment)?;
        let mut inherited = Self::default();
        for (name, descriptor) in passed {
            inherited.add(name.unwrap_or_default(), None, descriptor.into_std())?;
        }
        Ok(inherited)
    }

    /// Adds one that a process before this one has bound for the listener `name`.
    ///
    /// # Errors
    /// It is not a listening TCP socket.
    pub(super) fn add(
        &mut self,
        name: String,
        configured: Option<SocketAddr>,
        descriptor: OwnedFd,
    ) -> Result<(), InheritError> {
        match prepare(&descriptor) {
            Ok(Some(local)) => {
                let socket = TcpListener::from(descriptor);
                self.sockets.push(Arc::new(Socket { name, configured, local, socket }));
                Ok(())
            }
            Ok(None) => Err(InheritError::NoListener { name }),
            // What is not a socket at all has none of the options that were asked for.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NOTSOCK.raw_os_error()) => {
                Err(InheritError::NoListener { name })
            }
            Err(source) => Err(InheritError::System { name, source }),
        }
    }

    /// Adds those of `others`; what is here already comes first.
    pub fn append(&mut self, others: Self) {
        self.sockets.extend(others.sockets);
    }

    /// Takes out the socket that a gateway before this one has handed over as `name` at `configured`.
    #[must_use]
    pub fn take(&mut self, name: &str, configured: SocketAddr) -> Option<TcpListener> {
        let index = self.sockets.iter().position(|socket| socket.name == name && socket.configured == Some(configured));
        // The only copy, unless somebody has cloned the whole; a listener is bound then.
        Arc::into_inner(self.sockets.remove(index?)).map(|socket| socket.socket)
    }

    /// Those that a reload may still want. The service manager listens on its sockets for as long as the unit is there,
    /// so a listener that comes back to such an address could not bind it. Names do not count then: a listener that
    /// moves away shall move.
    #[must_use]
    pub(super) fn for_reloads(&self) -> Self {
        let of_the_manager = self.sockets.iter().filter(|socket| socket.configured.is_none());
        Self { sockets: of_the_manager.cloned().collect(), by_address: true }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.sockets.len()
    }

    /// Copies of the sockets of each of `settings`, in that order; none for a listener that has to be bound. A name
    /// goes before an address.
    ///
    /// # Errors
    /// The system has no more descriptors.
    pub(super) fn share_out(&self, settings: &[Settings]) -> std::io::Result<Vec<Vec<TcpListener>>> {
        let mut shares: Vec<Vec<TcpListener>> = settings.iter().map(|_| Vec::new()).collect();
        for socket in &self.sockets {
            let by_name = settings.iter().position(|settings| !self.by_address && socket.is_meant_for(settings));
            let by_address = || settings.iter().position(|settings| socket.is_at(settings.address));
            let Some(share) = by_name.or_else(by_address).and_then(|index| shares.get_mut(index)) else {
                let (name, address) = (&socket.name, socket.local);
                tracing::warn!(name, %address, "an inherited socket belongs to no listener; nobody accepts from it");
                continue;
            };
            share.push(socket.socket.try_clone()?);
        }
        Ok(shares)
    }
}

impl Socket {
    /// Whether it was passed for this listener: the service manager may have its own idea of the address (`[::]` for
    /// `0.0.0.0`), a process before us must have had the same one.
    fn is_meant_for(&self, settings: &Settings) -> bool {
        let same_address = self.configured.is_none_or(|configured| configured == settings.address);
        self.name == *settings.name && same_address
    }

    /// Whether a listener at `address` would bind this very socket.
    fn is_at(&self, address: SocketAddr) -> bool {
        let everywhere = address.ip().is_unspecified() && self.local.ip().is_unspecified();
        self.local.port() == address.port() && (everywhere || self.local.ip() == address.ip())
    }
}

/// Makes a descriptor fit for use; `None` if it is no listening TCP socket.
fn prepare(descriptor: &OwnedFd) -> std::io::Result<Option<SocketAddr>> {
    let socket = SockRef::from(descriptor);
    if socket.r#type()? != Type::STREAM || !socket.is_listener()? {
        return Ok(None);
    }
    let Some(local) = socket.local_addr()?.as_socket() else { return Ok(None) };
    socket.set_cloexec(true)?;
    socket.set_nonblocking(true)?;
    bound_unsent(&socket)?;
    Ok(Some(local))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_listen_is_refused() {
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let file = tempfile::tempfile().unwrap();
        let (pair, _) = std::os::unix::net::UnixStream::pair().unwrap();
        let unbound = socket2::Socket::new(socket2::Domain::IPV4, Type::STREAM, None).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connected = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let unix = std::os::unix::net::UnixListener::bind(directory.path().join("a")).unwrap();
        let cases: [(&str, OwnedFd); 6] = [
            ("udp", udp.into()),
            ("file", file.into()),
            ("pair", pair.into()),
            ("unbound", unbound.into()),
            ("connected", connected.into()),
            ("unix", unix.into()),
        ];
        for (what, descriptor) in cases {
            let error = Inherited::default().add(what.to_owned(), None, descriptor).unwrap_err();
            assert!(matches!(&error, InheritError::NoListener { name } if name == what), "{error}");
        }
        assert!(Inherited::default().add("listener".to_owned(), None, listener.into()).is_ok());
    }
}
