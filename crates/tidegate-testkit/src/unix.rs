//! Backends behind sockets in the file system.

use std::net::SocketAddr;
use std::path::Path;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpStream, UnixListener};
use tokio::task::JoinHandle;

/// A socket at a path whose connections end at a backend on TCP. It ends when it is dropped.
pub struct UnixDoor(JoinHandle<()>);

impl UnixDoor {
    /// Listens at `path` for `backend`.
    ///
    /// # Panics
    /// If there cannot be a socket at `path`.
    #[must_use]
    pub fn open(path: &Path, backend: SocketAddr) -> Self {
        let listener = UnixListener::bind(path).expect("the path is free");
        Self(tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                tokio::spawn(async move {
                    if let Ok(mut backend) = TcpStream::connect(backend).await {
                        let _ended = copy_bidirectional(&mut client, &mut backend).await;
                    }
                });
            }
        }))
    }
}

impl Drop for UnixDoor {
    fn drop(&mut self) {
        self.0.abort();
    }
}
