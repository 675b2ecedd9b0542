//! Exchanging the program without refusing a connection: a new process takes the listening sockets over from the one
//! that runs, and the old one drains when the new one serves.
//!
//! Both sides hold the same sockets meanwhile, with one queue of connections each; whoever takes a connection from it
//! serves it. If the new process fails before it has said that it serves, the old one goes on as if nothing had
//! happened. What the two say to each other stands in [`frame`].

mod frame;
mod pass;

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::sockopt::socket_peercred;
use tokio::io::Interest;

use crate::time::{TICK, now};

use self::frame::{Frame, Label, MAX_DESCRIPTORS};
use self::pass::{Incoming, send};
use super::control::{Control, HandedOver};
use super::inherit::{InheritError, Inherited};

/// Patience with an answer that needs no work.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Patience with a successor that compiles its configuration, and then waits [`READY_TIMEOUT`] to be ready.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a new process may wait for readiness before it takes over anyway: the old one's sockets are shared from
/// its first moment, so waiting longer would help nobody.
const READY_TIMEOUT: Duration = Duration::from_secs(10);

/// Pause after an error that concerns all successors, such as too many open files.
const ERROR_PAUSE: Duration = Duration::from_millis(200);

/// Why sockets could not be taken over: exit code 69.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// The socket of the predecessor cannot be used.
    #[error("{}: {source}", path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody else listens there.
    #[error("{}: belongs to another user", path.display())]
    Stranger {
        /// The socket.
        path: PathBuf,
    },
    /// The predecessor says something that this version does not understand.
    #[error("{}: the running process hands over in another way", path.display())]
    Foreign {
        /// The socket.
        path: PathBuf,
    },
    /// It has handed over something else.
    #[error(transparent)]
    Inherit(#[from] InheritError),
}

/// The part of this process in exchanging the program: successor at its start, predecessor later.
#[derive(Debug, Default)]
pub struct Upgrade {
    path: Option<PathBuf>,
    predecessor: Option<Predecessor>,
}

impl Upgrade {
    /// Takes over from the process that listens on `path`, if there is one. What it hands over comes before what was
    /// `passed` by others. Blocks for a few seconds at most; to be called before anything is bound.
    ///
    /// # Errors
    /// There is a process, but no sockets are to be had from it.
    pub fn begin(path: Option<&Path>, passed: Inherited) -> Result<(Self, Inherited), HandoverError> {
        let mut upgrade = Self { path: path.map(Path::to_owned), predecessor: None };
        let mut inherited = Inherited::default();
        if let Some((received, predecessor)) = path.map(receive).transpose()?.flatten() {
            tracing::info!(sockets = received.count(), "taking over from the process that runs");
            inherited = received;
            upgrade.predecessor = Some(predecessor);
        }
        inherited.append(passed);
        Ok((upgrade, inherited))
    }

    /// Sends the predecessor away once all workers accept and the process `is_ready`, and then waits for a successor.
    /// Ready when this process has to drain at once. To be polled on the control thread.
    pub async fn run(self, control: &Control, is_ready: impl Fn() -> bool) -> Replaced {
        if let Some(predecessor) = self.predecessor {
            let latest = now() + READY_TIMEOUT;
            while now() < latest && !(control.is_accepting() && is_ready()) {
                tokio::time::sleep(TICK).await;
            }
            if !control.is_accepting() {
                tracing::error!("not all workers serve: the process that ran before goes on");
                return Replaced::ByPredecessor;
            }
            match predecessor.release().await {
                Released::Draining => tracing::info!("took over: the process that ran before drains"),
                Released::Gone => tracing::warn!("the process that ran before has ended by itself"),
                Released::Refused => {
                    tracing::error!("too late: the process that ran before goes on, or another has taken over");
                    return Replaced::ByPredecessor;
                }
            }
        }
        if let Some(path) = self.path {
            match serve_successors(&path, control).await {
                Ok(()) => {
                    tracing::info!("a successor serves");
                    return Replaced::BySuccessor;
                }
                Err(error) => tracing::error!(path = %path.display(), %error, "cannot listen for successors"),
            }
        }
        std::future::pending().await
    }
}

/// Why a process has to drain at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaced {
    /// Another one has taken over.
    BySuccessor,
    /// It was to take over and could not, so the one that ran before goes on.
    ByPredecessor,
}

/// The process that runs, and that will drain once it is released. Dropping this lets it go on.
#[derive(Debug)]
struct Predecessor {
    stream: UnixStream,
}

/// What has become of the predecessor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Released {
    /// It drains.
    Draining,
    /// It was not there any more.
    Gone,
    /// It has lost its patience, or has been released by another process: it goes on, or that one does.
    Refused,
}

/// Takes the sockets of the process that listens on `path` for successors. `None` if there is no such process. Blocks
/// for [`ANSWER_TIMEOUT`] at most for each answer; to be called before anything is bound.
///
/// # Errors
/// There is somebody, but no sockets are to be had.
fn receive(path: &Path) -> Result<Option<(Inherited, Predecessor)>, HandoverError> {
    let failed = |source| HandoverError::Socket { path: path.to_owned(), source };
    let stream = match UnixStream::connect(path) {
        Ok(stream) => stream,
        // A file that a process has left behind refuses.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(source) => return Err(failed(source)),
    };
    if !is_same_user(stream.as_fd()) {
        return Err(HandoverError::Stranger { path: path.to_owned() });
    }
    stream
        .set_read_timeout(Some(ANSWER_TIMEOUT))
        .and_then(|()| stream.set_write_timeout(Some(ANSWER_TIMEOUT)))
        .map_err(failed)?;
    send(&stream, &Frame::Hello.encode(), &[]).map_err(failed)?;
    let mut incoming = Incoming::default();
    let mut inherited = Inherited::default();
    loop {
        let Some((frame, descriptors)) = incoming.next().map_err(failed)? else {
            incoming.receive(&stream).map_err(failed)?;
            continue;
        };
        match frame {
            Frame::Sockets(labels) => {
                for (label, descriptor) in labels.into_iter().zip(descriptors) {
                    inherited.add(label.name, Some(label.configured), descriptor)?;
                }
            }
            Frame::End => return Ok(Some((inherited, Predecessor { stream }))),
            // It drains, and has closed them.
            Frame::Refused => return Ok(None),
            Frame::Hello | Frame::Done | Frame::Released => {
                return Err(HandoverError::Foreign { path: path.to_owned() });
            }
        }
    }
}

impl Predecessor {
    /// Says that this process serves: the predecessor drains from now on.
    async fn release(self) -> Released {
        let Ok(stream) = self.stream.set_nonblocking(true).and_then(|()| tokio::net::UnixStream::from_std(self.stream))
        else {
            return Released::Gone;
        };
        let mut peer = Peer { stream, incoming: Incoming::default() };
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, peer.ask(&Frame::Done)).await;
        match answer {
            Ok(Ok(Frame::Released)) => Released::Draining,
            Ok(Ok(_)) | Err(_) => Released::Refused,
            Ok(Err(_)) => Released::Gone,
        }
    }
}

/// Hands the sockets of `control` over to whoever of the same user connects to `path`. Ends when a successor serves,
/// and this process has to drain.
///
/// # Errors
/// `path` cannot be listened on.
async fn serve_successors(path: &Path, control: &Control) -> io::Result<()> {
    let listener = listen(path)?;
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::error!(%error, "cannot accept successors");
                tokio::time::sleep(ERROR_PAUSE).await;
                continue;
            }
        };
        // One after the other: two successors would both serve.
        match hand_over(stream, control).await {
            Ok(()) => return Ok(()),
            Err(error) => tracing::warn!(%error, "a successor did not take over: this process goes on"),
        }
    }
}

/// Replaces what is at `path`, which only this user may then connect to.
fn listen(path: &Path) -> io::Result<tokio::net::UnixListener> {
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(format!(".{}", std::process::id()));
    let temporary = path.with_file_name(name);
    let _absent = std::fs::remove_file(&temporary);
    let listener = tokio::net::UnixListener::bind(&temporary)?;
    std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&temporary, path)?;
    Ok(listener)
}

/// One conversation with a successor, up to the point where it serves.
async fn hand_over(stream: tokio::net::UnixStream, control: &Control) -> io::Result<()> {
    if !is_same_user(stream.as_fd()) {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let mut peer = Peer { stream, incoming: Incoming::default() };
    let hello = within(ANSWER_TIMEOUT, peer.next()).await?;
    if hello != Frame::Hello {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let sockets = control.sockets()?;
    if sockets.is_empty() {
        // This process drains: its addresses are free.
        within(ANSWER_TIMEOUT, peer.send(&Frame::Refused, &[])).await?;
        return Err(io::ErrorKind::NotConnected.into());
    }
    tracing::info!(sockets = sockets.len(), "handing sockets over to a successor");
    within(ANSWER_TIMEOUT, peer.send_sockets(&sockets)).await?;
    drop(sockets);
    match within(START_TIMEOUT, peer.next()).await {
        Ok(Frame::Done) => within(ANSWER_TIMEOUT, peer.send(&Frame::Released, &[])).await,
        Ok(_) => Err(io::ErrorKind::InvalidData.into()),
        Err(error) => {
            // It may have gone; if it is slow it must not go on beside this process.
            let _gone = within(ANSWER_TIMEOUT, peer.send(&Frame::Refused, &[])).await;
            Err(error)
        }
    }
}

/// The other process of a handover.
struct Peer {
    stream: tokio::net::UnixStream,
    incoming: Incoming,
}

impl Peer {
    async fn next(&mut self) -> io::Result<Frame> {
        loop {
            // Nobody has a reason to send us descriptors here: they are closed.
            if let Some((frame, _descriptors)) = self.incoming.next()? {
                return Ok(frame);
            }
            let (stream, incoming) = (&self.stream, &mut self.incoming);
            stream.async_io(Interest::READABLE, || incoming.receive(stream)).await?;
        }
    }

    async fn send(&self, frame: &Frame, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let bytes = frame.encode();
        let mut left = bytes.as_slice();
        let mut beside = descriptors;
        while !left.is_empty() {
            let sending = || send(&self.stream, left, beside);
            let sent = self.stream.async_io(Interest::WRITABLE, sending).await?;
            left = left.get(sent..).unwrap_or_default();
            beside = &[];
        }
        Ok(())
    }

    async fn send_sockets(&self, sockets: &[HandedOver]) -> io::Result<()> {
        for sockets in sockets.chunks(MAX_DESCRIPTORS) {
            let label = |socket: &HandedOver| Label { name: socket.name.to_string(), configured: socket.configured };
            let descriptors: Vec<_> = sockets.iter().map(|socket| socket.socket.as_fd()).collect();
            self.send(&Frame::Sockets(sockets.iter().map(label).collect()), &descriptors).await?;
        }
        self.send(&Frame::End, &[]).await
    }

    /// The answer to `frame`; also one that was sent before it, and with it the end of the conversation.
    async fn ask(&mut self, frame: &Frame) -> io::Result<Frame> {
        let sent = self.send(frame, &[]).await;
        match self.next().await {
            Ok(answer) => Ok(answer),
            Err(error) => Err(sent.err().unwrap_or(error)),
        }
    }
}

async fn within<T>(timeout: Duration, future: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(timeout, future).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

fn is_same_user(peer: BorrowedFd<'_>) -> bool {
    socket_peercred(peer).is_ok_and(|peer| peer.uid == rustix::process::geteuid())
}
