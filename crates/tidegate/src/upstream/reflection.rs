//! Descriptors from the backend itself: a client of gRPC server reflection, `v1` and then `v1alpha`.
//!
//! It runs on the control thread and never on the path of a request. It collects encoded files, and knows nothing of
//! what is in them but their names and imports: the transcoder compiles them.
//!
//! Bounds: 10 s and 16 MiB for each fetch; one file of a name; no circles. Only services that are wanted, and what
//! they import, are asked for.

mod cache;
mod files;
mod wire;

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::HeaderMap;
use http::uri::PathAndQuery;
use prost::Message;
use tidegate_transcode::Code;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

pub use self::cache::DescriptorCache;
use self::files::Collected;
pub use self::files::{FileSet, FilesDigest};
use super::{Call, CallDeadline, CallError, CallHead, CallSender, Caller, Cluster};
use crate::ids::WorkerId;
use crate::time::now;

/// For one fetch, with all its questions.
const FETCH_TIME: Duration = Duration::from_secs(10);

/// Between fetches when all is well, ± 20 %.
const REFRESH: Duration = Duration::from_secs(60);

/// After a failure: first and longest pause while nothing is known of the service. Bounds how late a backend that
/// came up is served.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_millis(800));

/// The longest pause after a failure while the last good files are there.
const RETRY_STALE: Duration = Duration::from_secs(15);

/// The versions, newest first.
const METHODS: [&str; 2] = [
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// Files that the transcoder has built in; a server need not have them.
const BUILT_IN: [&str; 3] = ["google/protobuf/", "google/api/", "google/rpc/"];

/// Why there are no descriptors.
#[derive(Debug, thiserror::Error)]
pub enum ReflectionError {
    /// The call failed; the backend may be down, or have no reflection.
    #[error("{0}")]
    Call(#[from] CallError),
    /// An answer or a file is not what it should be.
    #[error("broken answer: {0}")]
    Broken(#[from] prost::DecodeError),
    /// The server ended the conversation before it had answered.
    #[error("the server ended the conversation")]
    Ended,
    /// The server refused a question.
    #[error("the server does not tell about `{asked}` (code {code})")]
    Refused {
        /// The symbol or file.
        asked: String,
        /// gRPC code.
        code: i32,
    },
    /// None of the wanted services is there.
    #[error("the server has none of the services that routes name")]
    NoService,
    /// More than 16 MiB of files.
    #[error("more than 16 MiB of descriptors")]
    TooLarge,
    /// Two different files of this name.
    #[error("two different files are called `{0}`")]
    Duplicate(String),
    /// Files import each other; the one named is part of the circle, or imports it.
    #[error("`{0}` imports itself in a circle")]
    Circle(String),
    /// Not done within 10 s.
    #[error("not done within 10 s")]
    TimedOut,
}

/// What a fetch came to, for [`follow`].
#[derive(Debug)]
pub enum Refresh {
    /// Files that differ from the ones before, or the first ones.
    Changed(FileSet),
    /// The same files as before.
    Unchanged,
    /// Nothing new can be had; what was there before stays good.
    Failed(ReflectionError),
}

/// Fetches the files of the `wanted` services and of everything that they import.
///
/// A wanted service is a full name (`shop.v1.Orders`), a short one (`Orders`), or everything below a package
/// (`shop.v1.*`). Those that the server does not have are left out.
///
/// # Errors
/// See [`ReflectionError`].
pub async fn fetch(cluster: &Cluster, worker: WorkerId, wanted: &[String]) -> Result<FileSet, ReflectionError> {
    let fetching = async {
        let mut last = None;
        for method in METHODS {
            match fetch_with(cluster, worker, wanted, method).await {
                Err(ReflectionError::Call(error)) if is_unimplemented(&error) => last = Some(error),
                done => return done,
            }
        }
        Err(last.map_or(ReflectionError::Ended, ReflectionError::Call))
    };
    timeout(FETCH_TIME, fetching).await.unwrap_or(Err(ReflectionError::TimedOut))
}

/// Fetches at once and then every minute, or when `nudge` is notified, until the cluster is gone; tells `report` what
/// each fetch came to. `known` are the files that are in use already, from the disk.
///
/// While the backend fails it is asked again after pauses that grow: up to 0.8 s while nothing is known, else up to
/// 15 s.
pub async fn follow(
    cluster: Weak<Cluster>,
    worker: WorkerId,
    wanted: Vec<String>,
    known: Option<FilesDigest>,
    nudge: Arc<Notify>,
    mut report: impl FnMut(Refresh) + Send,
) {
    let mut known = known;
    let mut pause = RETRY.0;
    loop {
        let Some(current) = cluster.upgrade() else { return };
        let fetched = fetch(&current, worker, &wanted).await;
        drop(current);
        let wait = match fetched {
            Ok(set) => {
                pause = RETRY.0;
                if known == Some(set.digest()) {
                    report(Refresh::Unchanged);
                } else {
                    known = Some(set.digest());
                    report(Refresh::Changed(set));
                }
                REFRESH.mul_f64(0.8 + 0.4 * fastrand::f64())
            }
            Err(error) => {
                report(Refresh::Failed(error));
                let wait = pause;
                let longest = if known.is_some() { RETRY_STALE } else { RETRY.1 };
                pause = (pause * 2).min(longest);
                wait
            }
        };
        tokio::select! {
            () = sleep(wait) => {}
            () = nudge.notified() => {}
        }
    }
}

fn is_unimplemented(error: &CallError) -> bool {
    matches!(error, CallError::Status(failure) if failure.status.code == Code::Unimplemented)
}

async fn fetch_with(
    cluster: &Cluster,
    worker: WorkerId,
    wanted: &[String],
    method: &'static str,
) -> Result<FileSet, ReflectionError> {
    let mut talk = Conversation::begin(cluster, worker, method).await?;
    let list = wire::Request { list_services: Some("*".to_owned()), ..wire::Request::default() };
    let services = talk.ask(&list).await?.services.ok_or(ReflectionError::Ended)?.service;
    let mut collected = Collected::default();
    let mut found = false;
    for service in services.iter().filter(|service| is_wanted(wanted, &service.name)) {
        found = true;
        let question = wire::Request { file_containing_symbol: Some(service.name.clone()), ..wire::Request::default() };
        talk.collect(&question, &service.name, &mut collected).await?;
    }
    if !found {
        return Err(ReflectionError::NoService);
    }
    while let Some(name) = collected.next_missing() {
        let question = wire::Request { file_by_filename: Some(name.clone()), ..wire::Request::default() };
        match talk.collect(&question, &name, &mut collected).await {
            Ok(()) if collected.has(&name) => {}
            Ok(()) | Err(ReflectionError::Refused { .. }) if is_built_in(&name) => {}
            Ok(()) => {
                return Err(ReflectionError::Refused { asked: name, code: i32::from(Code::Unimplemented.number()) });
            }
            Err(error) => return Err(error),
        }
    }
    collected.finish()
}

fn is_wanted(wanted: &[String], service: &str) -> bool {
    wanted.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(package) => service.starts_with(package),
        None => {
            let short = service.strip_suffix(pattern.as_str());
            short.is_some_and(|package| package.is_empty() || package.ends_with('.'))
        }
    })
}

fn is_built_in(file: &str) -> bool {
    BUILT_IN.iter().any(|folder| file.starts_with(folder))
}

/// One reflection stream: question, answer, question, answer.
struct Conversation {
    call: Call,
    sender: CallSender,
}

impl Conversation {
    async fn begin(cluster: &Cluster, worker: WorkerId, method: &'static str) -> Result<Self, ReflectionError> {
        let head = CallHead::new(PathAndQuery::from_static(method), HeaderMap::new());
        let deadline = CallDeadline::Total(now() + FETCH_TIME);
        let mut call = cluster.call(Caller::Gateway(worker), head, Bytes::new(), false, deadline).await?;
        let sender = call.take_sender().ok_or(ReflectionError::Ended)?;
        Ok(Self { call, sender })
    }

    async fn ask(&mut self, question: &wire::Request) -> Result<wire::Response, ReflectionError> {
        // If the server takes no more, its answer says why.
        let _sent = self.sender.send(framed(question)).await;
        let answer = self.call.next_message().await?.ok_or(ReflectionError::Ended)?;
        Ok(wire::Response::decode(answer)?)
    }

    /// Asks for files, and adds them.
    async fn collect(
        &mut self,
        question: &wire::Request,
        asked: &str,
        into: &mut Collected,
    ) -> Result<(), ReflectionError> {
        let answer = self.ask(question).await?;
        if let Some(error) = answer.error {
            return Err(ReflectionError::Refused { asked: asked.to_owned(), code: error.code });
        }
        answer.files.ok_or(ReflectionError::Ended)?.encoded.into_iter().try_for_each(|file| into.add(file))
    }
}

fn framed(question: &wire::Request) -> Bytes {
    let length = question.encoded_len();
    let mut frame = BytesMut::with_capacity(length.saturating_add(5));
    frame.put_u8(0);
    // Questions are names: far below 4 GiB.
    frame.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    frame.put_slice(&question.encode_to_vec());
    frame.freeze()
}

#[cfg(test)]
mod tests;
