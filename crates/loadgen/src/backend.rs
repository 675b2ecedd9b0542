//! A gRPC backend that plays back a scenario: it knows the message that each exchange must bring, and answers with
//! bytes made at start.
//!
//! A request is checked against every message of the scenario. Bytes seen before cost one look-up; new bytes are
//! decoded with `prost-reflect`, which shares no code with any gateway under test. What does not match is answered
//! with `INVALID_ARGUMENT`, so a wrong transcoding shows up as a failed answer at the client.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use anyhow::Context as _;
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderValue, Request, Response};
use parking_lot::Mutex;
use prost::Message as _;
use prost_reflect::{DynamicMessage, MessageDescriptor};
use tokio::net::{TcpListener, TcpStream};

use crate::scenario::Scenario;
use crate::{frame, schema};

/// Windows so large that flow control never shapes a figure.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 1 << 24;
/// More streams than any load here has connections.
const STREAMS_MAX: u32 = 16_384;
/// Request bytes remembered; an encoder that never repeats itself is decoded each time instead.
const SPELLINGS_MAX: usize = 4096;

/// One scenario, ready to be played back.
#[derive(Debug)]
pub struct Replay {
    path: String,
    input: MessageDescriptor,
    exchanges: Vec<(DynamicMessage, Arc<[Bytes]>)>,
    known: Mutex<HashMap<Vec<u8>, Arc<[Bytes]>>>,
}

impl Replay {
    /// Prepares the messages of `scenario` with the types of an encoded descriptor set.
    ///
    /// # Errors
    /// The RPC is unknown, or a value in the scenario does not fit its message type.
    pub fn new(scenario: &Scenario, descriptor_set: &[u8]) -> anyhow::Result<Self> {
        let method = schema::find_method(descriptor_set, &scenario.rpc)?;
        let exchanges = scenario.exchanges.iter().map(|exchange| {
            let request = schema::message(&method.input(), &exchange.request)?;
            let frames: anyhow::Result<Vec<Bytes>> = exchange
                .responses
                .iter()
                .map(|json| Ok(frame::wrap(&schema::message(&method.output(), json)?.encode_to_vec())))
                .collect();
            Ok((request, frames?.into()))
        });
        Ok(Self {
            path: format!("/{}", scenario.rpc),
            input: method.input(),
            exchanges: exchanges.collect::<anyhow::Result<_>>()?,
            known: Mutex::new(HashMap::new()),
        })
    }

    /// The frames that answer the request `body` (one gRPC frame), or why there are none.
    fn answer(&self, body: &[u8]) -> Result<Arc<[Bytes]>, &'static str> {
        if let Some(frames) = self.known.lock().get(body) {
            return Ok(Arc::clone(frames));
        }
        let message = frame::only_message(body).ok_or("the body is not one uncompressed gRPC frame")?;
        let message =
            DynamicMessage::decode(self.input.clone(), message).map_err(|_| "the message cannot be decoded")?;
        let frames = self.exchanges.iter().find(|(expected, _)| *expected == message);
        let frames =
            frames.map(|(_, frames)| Arc::clone(frames)).ok_or("no exchange of the scenario has this message")?;
        let mut known = self.known.lock();
        if known.len() < SPELLINGS_MAX {
            known.insert(body.to_vec(), Arc::clone(&frames));
        }
        Ok(frames)
    }
}

/// Accepts connections until the future is dropped.
///
/// # Errors
/// The listener fails. Errors of one connection end that connection only.
pub async fn serve(listener: TcpListener, replay: Arc<Replay>) -> anyhow::Result<()> {
    loop {
        let (stream, _) = listener.accept().await.context("accept failed")?;
        stream.set_nodelay(true)?;
        let replay = Arc::clone(&replay);
        tokio::spawn(async move {
            // A peer that goes away in the middle is how every run ends; the load generator reports what matters.
            let _ = serve_connection(stream, replay).await;
        });
    }
}

async fn serve_connection(stream: TcpStream, replay: Arc<Replay>) -> Result<(), h2::Error> {
    let mut connection = h2::server::Builder::new()
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(STREAMS_MAX)
        .handshake::<_, Bytes>(stream)
        .await?;
    while let Some(accepted) = connection.accept().await {
        let (request, respond) = accepted?;
        let exchange = Call { replay: Arc::clone(&replay), body: Vec::new(), request, respond: Some(respond) };
        exchange.start().await;
    }
    Ok(())
}

/// One RPC in progress.
struct Call {
    replay: Arc<Replay>,
    body: Vec<u8>,
    request: Request<RecvStream>,
    respond: Option<SendResponse<Bytes>>,
}

impl Call {
    /// Answers at once when the whole request is already there, as it nearly always is; else in a task of its own.
    /// Answers given at once leave in the same write as their neighbours.
    async fn start(mut self) {
        let done = poll_fn(|cx| Poll::Ready(self.poll(cx))).await;
        if done.is_pending() {
            tokio::spawn(async move { poll_fn(|cx| self.poll(cx)).await });
        }
    }

    fn poll(&mut self, cx: &mut std::task::Context<'_>) -> Poll<()> {
        let stream = self.request.body_mut();
        while !stream.is_end_stream() {
            let Poll::Ready(chunk) = stream.poll_data(cx) else {
                return Poll::Pending;
            };
            let Some(Ok(chunk)) = chunk else { break };
            self.body.extend_from_slice(&chunk);
            // Fails only when the stream is gone, which sending the answer will show as well.
            let _ = stream.flow_control().release_capacity(chunk.len());
        }
        if let Some(respond) = self.respond.take() {
            // The client has reset the stream: nobody is left to be told.
            let _ = self.finish(respond);
        }
        Poll::Ready(())
    }

    fn finish(&self, mut respond: SendResponse<Bytes>) -> Result<(), h2::Error> {
        let answer = match self.fault() {
            None => self.replay.answer(&self.body),
            Some(fault) => Err(fault),
        };
        let mut head = Response::new(());
        head.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
        let frames = match answer {
            Ok(frames) => frames,
            Err(why) => {
                head.headers_mut().insert("grpc-status", HeaderValue::from_static("3"));
                head.headers_mut().insert("grpc-message", HeaderValue::from_static(why));
                respond.send_response(head, true)?;
                return Ok(());
            }
        };
        let mut stream = respond.send_response(head, false)?;
        for frame in frames.iter() {
            stream.send_data(frame.clone(), false)?;
        }
        let mut trailers = HeaderMap::with_capacity(1);
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        stream.send_trailers(trailers)
    }

    /// What is wrong with the head of the request, if anything.
    fn fault(&self) -> Option<&'static str> {
        let headers = self.request.headers();
        let starts = |name, value: &[u8]| headers.get(name).is_some_and(|found| found.as_bytes().starts_with(value));
        if self.request.uri().path() != self.replay.path {
            return Some("not the path of the scenario's RPC");
        }
        if !starts("content-type", b"application/grpc") {
            return Some("content-type is not application/grpc");
        }
        (!starts("te", b"trailers")).then_some("te is not trailers")
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(respond) = &mut self.respond {
            respond.send_reset(Reason::CANCEL);
        }
    }
}
