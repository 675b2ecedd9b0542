//! What a backend does with a call, step by step.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use tokio::sync::Semaphore;

use super::record::Record;
use super::reflect::Reflected;

/// Steps in order. A script that does not end the call waits for the gateway to reset it.
#[derive(Clone, Debug, Default)]
pub struct Script {
    head: Vec<(&'static str, String)>,
    steps: Vec<Step>,
}

#[derive(Clone, Debug)]
enum Step {
    /// Sends the head now; otherwise it goes with the first bytes.
    Head,
    Data(Bytes),
    Trailers(Vec<(&'static str, String)>),
    TrailersOnly(Vec<(&'static str, String)>),
    Http {
        status: u16,
        content_type: &'static str,
        body: &'static str,
    },
    EndWithoutTrailers,
    Reset(Reason),
    CutConnection,
    AwaitMessages(usize),
    Hold,
    Pause(Duration),
    Every(Duration, Bytes),
    Reflect(Arc<Reflected>),
}

/// How a script has ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ending {
    Done,
    CutConnection,
}

/// A message in its gRPC frame, not compressed.
#[must_use]
pub(super) fn framed(message: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(message.len() + 5);
    out.put_u8(0);
    out.put_u32(u32::try_from(message.len()).expect("messages of tests are small"));
    out.put_slice(message);
    out.freeze()
}

impl Script {
    /// No step: silence until the gateway resets the call.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One message and OK.
    #[must_use]
    pub fn ok(message: impl AsRef<[u8]>) -> Self {
        Self::new().message(message).status(0, "")
    }

    /// A status and nothing else, in the head.
    #[must_use]
    pub fn fails(code: u16, message: &str) -> Self {
        Self::new().trailers_only(code, message)
    }

    /// Adds initial metadata.
    #[must_use]
    pub fn metadata(mut self, name: &'static str, value: &str) -> Self {
        self.head.push((name, value.to_owned()));
        self
    }

    /// Sends the head by itself.
    #[must_use]
    pub fn head(self) -> Self {
        self.then(Step::Head)
    }

    /// Sends a message.
    #[must_use]
    pub fn message(self, message: impl AsRef<[u8]>) -> Self {
        self.then(Step::Data(framed(message.as_ref())))
    }

    /// Sends messages.
    #[must_use]
    pub fn messages<M: AsRef<[u8]>>(self, messages: impl IntoIterator<Item = M>) -> Self {
        messages.into_iter().fold(self, Self::message)
    }

    /// Sends bytes without a frame.
    #[must_use]
    pub fn bytes(self, bytes: impl Into<Bytes>) -> Self {
        self.then(Step::Data(bytes.into()))
    }

    /// Ends with a status in the trailers; `message` goes out as it is, so it must be percent-encoded already.
    #[must_use]
    pub fn status(self, code: u16, message: &str) -> Self {
        self.then(Step::Trailers(status(code, message)))
    }

    /// The same with one more trailer.
    #[must_use]
    pub fn status_with(self, code: u16, message: &str, name: &'static str, value: &str) -> Self {
        let mut trailers = status(code, message);
        trailers.push((name, value.to_owned()));
        self.then(Step::Trailers(trailers))
    }

    /// Ends with trailers of any kind.
    #[must_use]
    pub fn trailers(self, trailers: &[(&'static str, &str)]) -> Self {
        self.then(Step::Trailers(trailers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()))
    }

    /// Ends with a status in the head.
    #[must_use]
    pub fn trailers_only(self, code: u16, message: &str) -> Self {
        self.then(Step::TrailersOnly(status(code, message)))
    }

    /// Answers as a server that does not speak gRPC.
    #[must_use]
    pub fn http(self, status: u16, content_type: &'static str, body: &'static str) -> Self {
        self.then(Step::Http { status, content_type, body })
    }

    /// Ends the stream without trailers.
    #[must_use]
    pub fn end_without_trailers(self) -> Self {
        self.then(Step::EndWithoutTrailers)
    }

    /// Resets the stream.
    #[must_use]
    pub fn reset(self, reason: Reason) -> Self {
        self.then(Step::Reset(reason))
    }

    /// Closes the connection.
    #[must_use]
    pub fn cut_connection(self) -> Self {
        self.then(Step::CutConnection)
    }

    /// Waits for messages of the gateway.
    #[must_use]
    pub fn await_messages(self, count: usize) -> Self {
        self.then(Step::AwaitMessages(count))
    }

    /// Waits until the gateway has ended its side.
    #[must_use]
    pub fn await_end(self) -> Self {
        self.then(Step::AwaitMessages(usize::MAX))
    }

    /// Waits for [`Peer::release`](super::Peer::release).
    #[must_use]
    pub fn hold(self) -> Self {
        self.then(Step::Hold)
    }

    /// Waits, for backends that are slow.
    #[must_use]
    pub fn pause(self, duration: Duration) -> Self {
        self.then(Step::Pause(duration))
    }

    /// Sends a message, and again after each `pause`, until the gateway resets the call.
    #[must_use]
    pub fn every(self, pause: Duration, message: impl AsRef<[u8]>) -> Self {
        self.then(Step::Every(pause, framed(message.as_ref())))
    }

    /// Answers the questions of server reflection, from an encoded `FileDescriptorSet`. For `ServerReflectionInfo`.
    ///
    /// # Panics
    /// If the bytes are no set.
    #[must_use]
    pub fn reflects(set: &[u8]) -> Self {
        Self::new().then(Step::Reflect(Arc::new(Reflected::new(set)))).status(0, "")
    }

    fn then(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }
}

fn status(code: u16, message: &str) -> Vec<(&'static str, String)> {
    let mut trailers = vec![("grpc-status", code.to_string())];
    if !message.is_empty() {
        trailers.push(("grpc-message", message.to_owned()));
    }
    trailers
}

fn map(fields: &[(&'static str, String)]) -> HeaderMap {
    let field = |(name, value): &(&'static str, String)| {
        (HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).expect("a header value"))
    };
    let mut map = HeaderMap::new();
    for (name, value) in fields.iter().map(field) {
        map.append(name, value);
    }
    map
}

/// One call's stream, before and after its head was sent.
struct Stream<'a> {
    respond: &'a mut SendResponse<Bytes>,
    head: Option<HeaderMap>,
    body: Option<SendStream<Bytes>>,
}

/// The gateway is gone, or has reset the stream.
struct Gone;

impl Stream<'_> {
    fn body(&mut self) -> Result<&mut SendStream<Bytes>, Gone> {
        if let Some(fields) = self.head.take() {
            let mut head = Response::new(());
            head.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
            head.headers_mut().extend(fields);
            self.body = Some(self.respond.send_response(head, false).map_err(|_| Gone)?);
        }
        self.body.as_mut().ok_or(Gone)
    }

    /// Sends as much at a time as the gateway wants.
    async fn send(&mut self, mut bytes: Bytes, record: &Record) -> Result<(), Gone> {
        let body = self.body()?;
        while !bytes.is_empty() {
            body.reserve_capacity(bytes.len());
            let capacity = match poll_fn(|cx| body.poll_capacity(cx)).await {
                Some(Ok(capacity)) => capacity,
                Some(Err(_)) | None => return Err(Gone),
            };
            let part = bytes.split_to(capacity.min(bytes.len()));
            record.sent(part.len());
            body.send_data(part, false).map_err(|_| Gone)?;
        }
        Ok(())
    }

    /// Answers questions until the gateway has none left.
    async fn reflect(&mut self, reflected: &Reflected, record: &Record) -> Result<(), Gone> {
        let mut index = 0;
        while let Some(question) = record.message(index).await {
            self.send(framed(&reflected.answer(&question)), record).await?;
            index += 1;
        }
        Ok(())
    }

    fn whole(&mut self, head: Response<()>, body: &'static str) -> Result<(), Gone> {
        self.head = None;
        let mut stream = self.respond.send_response(head, body.is_empty()).map_err(|_| Gone)?;
        if !body.is_empty() {
            stream.send_data(Bytes::from_static(body.as_bytes()), true).map_err(|_| Gone)?;
        }
        Ok(())
    }

    /// Waits for the gateway's reset.
    async fn reset(&mut self) -> Option<Reason> {
        let reason = match &mut self.body {
            Some(body) => poll_fn(|cx| body.poll_reset(cx)).await,
            None => poll_fn(|cx| self.respond.poll_reset(cx)).await,
        };
        reason.ok()
    }

    /// Sends `bytes` again and again. `Some` is the gateway's reset, `None` that it has gone.
    async fn repeat(&mut self, pause: Duration, bytes: &Bytes, record: &Record) -> Option<Option<Reason>> {
        while self.send(bytes.clone(), record).await.is_ok() {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                reason = self.reset() => return Some(reason),
            }
        }
        None
    }
}

/// Runs a script to its end, or to the gateway's reset.
pub(super) async fn run(
    script: &Script,
    respond: &mut SendResponse<Bytes>,
    record: &Record,
    gate: &Semaphore,
) -> Ending {
    let mut stream = Stream { respond, head: Some(map(&script.head)), body: None };
    for step in &script.steps {
        let done = match step {
            Step::Head => stream.body().map(|_| ()),
            Step::Data(bytes) => stream.send(bytes.clone(), record).await,
            Step::Trailers(fields) => {
                let sent = stream.body().and_then(|body| body.send_trailers(map(fields)).map_err(|_| Gone));
                if sent.is_ok() {
                    return Ending::Done;
                }
                sent
            }
            Step::TrailersOnly(fields) => {
                let mut head = Response::new(());
                head.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
                head.headers_mut().extend(stream.head.take().unwrap_or_default());
                head.headers_mut().extend(map(fields));
                let _gone = stream.whole(head, "");
                return Ending::Done;
            }
            Step::Http { status, content_type, body } => {
                let head = Response::builder().status(*status).header("content-type", *content_type);
                let _gone = stream.whole(head.body(()).expect("a head"), body);
                return Ending::Done;
            }
            Step::EndWithoutTrailers => {
                let sent = stream.body().and_then(|body| body.send_data(Bytes::new(), true).map_err(|_| Gone));
                if sent.is_ok() {
                    return Ending::Done;
                }
                sent
            }
            Step::Reset(reason) => {
                match &mut stream.body {
                    Some(body) => body.send_reset(*reason),
                    None => stream.respond.send_reset(*reason),
                }
                return Ending::Done;
            }
            Step::CutConnection => return Ending::CutConnection,
            Step::AwaitMessages(count) => {
                record.has(*count).await;
                Ok(())
            }
            Step::Hold => tokio::select! {
                permit = gate.acquire() => {
                    permit.expect("the gate stays").forget();
                    Ok(())
                }
                reason = stream.reset() => {
                    note(record, reason);
                    return Ending::Done;
                }
            },
            Step::Every(pause, bytes) => match stream.repeat(*pause, bytes, record).await {
                Some(reason) => {
                    note(record, reason);
                    return Ending::Done;
                }
                None => Err(Gone),
            },
            Step::Reflect(reflected) => stream.reflect(reflected, record).await,
            Step::Pause(duration) => {
                tokio::time::sleep(*duration).await;
                Ok(())
            }
        };
        if done.is_err() {
            break;
        }
    }
    note(record, stream.reset().await);
    Ending::Done
}

fn note(record: &Record, reason: Option<Reason>) {
    match reason {
        Some(reason) => record.reset(reason),
        None => record.lost(),
    }
}
