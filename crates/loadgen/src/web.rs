//! Backends that speak HTTP/1.1: one plays a scenario back, one keeps a book of the requests that reached it.
//!
//! The book is what a test of faults balances at its end. A line is written, by one system call on a file opened for
//! appending, before the request is answered; so it outlives a process that is killed in the middle of an answer.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use bytes::{Buf as _, Bytes, BytesMut};
use memchr::memmem;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::scenario::Scenario;

/// Field that carries the id of a request, a decimal number.
pub const ID: &str = "x-ledger-id";

/// A client with a larger head is none of ours.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// The longest time that a connection waits before it is closed by [`Manner::closes_idle`].
const CLOSES_WITHIN_US: u64 = 4_000;
/// One in so many answers is followed by such a close.
const CLOSES_ONE_IN: u64 = 16;

/// How a backend answers.
#[derive(Debug, Default)]
pub struct Manner {
    /// Answers by method and target; what is not there is answered with 404. Empty: every request is answered with
    /// [`body_of`] its id.
    answers: HashMap<String, Bytes>,
    /// Where each request is noted as `METHOD id`.
    pub book: Option<File>,
    /// Before an answer.
    pub delay: Duration,
    /// Answers everything with 503.
    pub fails: bool,
    /// Closes some connections at a random moment shortly after an answer, whether a request is on its way or not.
    pub closes_idle: bool,
    /// State of the random numbers.
    random: AtomicU64,
}

impl Manner {
    /// Answers each request of `scenario` with its answer.
    #[must_use]
    pub fn plays(scenario: &Scenario) -> Self {
        let answer =
            |value: &serde_json::Value, status| answer(status, "application/json", value.to_string().as_bytes());
        let answers = scenario.exchanges.iter().map(|exchange| {
            let key = format!("{} {}", exchange.http.method, exchange.http.path);
            (key, answer(&exchange.answer, exchange.status))
        });
        Self { answers: answers.collect(), ..Self::default() }
    }

    fn answer(&self, request: &Request<'_>) -> Bytes {
        if self.fails {
            return answer(503, "text/plain", b"not now");
        }
        if self.answers.is_empty() {
            return answer(200, "text/plain", &body_of(request.id.unwrap_or(0)));
        }
        let known = self.answers.get(request.key);
        known.cloned().unwrap_or_else(|| answer(404, "text/plain", b"not in the scenario"))
    }

    /// Notes a request.
    fn note(&self, request: &Request<'_>) -> std::io::Result<()> {
        let Some(mut book) = self.book.as_ref() else { return Ok(()) };
        let method = request.key.split(' ').next().unwrap_or_default();
        book.write_all(format!("{method} {}\n", request.id.unwrap_or(0)).as_bytes())
    }

    /// How long the connection waits for its end, if it has to end.
    fn closes_after(&self) -> Option<Duration> {
        if !self.closes_idle {
            return None;
        }
        let random = mix(self.random.fetch_add(1, Ordering::Relaxed));
        random.is_multiple_of(CLOSES_ONE_IN).then(|| Duration::from_micros((random >> 8) % CLOSES_WITHIN_US))
    }
}

/// A number that looks random.
///
/// Source: the finalizer of SplitMix64.
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The body of the answer to the request `id`: its id, text whose length and letters depend on it, and a sum. Nobody can
/// take part of it, or that of another request, for the whole.
#[must_use]
pub fn body_of(id: u64) -> Vec<u8> {
    let random = mix(id);
    let length = 16 + usize::try_from(random % 600).unwrap_or(0);
    let mut body = format!("{id} ").into_bytes();
    body.extend(
        (0_u8..26).cycle().skip(usize::try_from(random % 26).unwrap_or(0)).take(length).map(|step| b'a' + step),
    );
    let sum = body.iter().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(*byte)));
    body.extend_from_slice(format!(" {sum:08x}\n").as_bytes());
    body
}

fn answer(status: u16, kind: &str, body: &[u8]) -> Bytes {
    let mut answer = format!(
        "HTTP/1.1 {status} Answer\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nserver: loadgen\r\n\r\n",
        body.len()
    )
    .into_bytes();
    answer.extend_from_slice(body);
    answer.into()
}

/// Accepts connections until the future is dropped.
///
/// # Errors
/// The listener fails. Errors of one connection end that connection only.
pub async fn serve(listener: TcpListener, manner: Arc<Manner>) -> anyhow::Result<()> {
    loop {
        let (stream, _) = listener.accept().await.context("accept failed")?;
        stream.set_nodelay(true)?;
        let manner = Arc::clone(&manner);
        tokio::spawn(async move {
            // A peer that goes away in the middle is how every run ends.
            let _gone = serve_connection(stream, &manner).await;
        });
    }
}

async fn serve_connection(mut stream: TcpStream, manner: &Manner) -> anyhow::Result<()> {
    let mut buffer = BytesMut::with_capacity(16 * 1024);
    loop {
        let request = loop {
            if let Some(request) = parse(&buffer)? {
                break request;
            }
            anyhow::ensure!(buffer.len() < HEAD_BYTES_MAX, "the request is too large");
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        };
        manner.note(&request)?;
        if !manner.delay.is_zero() {
            tokio::time::sleep(manner.delay).await;
        }
        let request = parse(&buffer)?.context("it was there")?;
        let (answer, length) = (manner.answer(&request), request.length);
        stream.write_all(&answer).await?;
        buffer.advance(length);
        if let Some(wait) = manner.closes_after() {
            tokio::time::sleep(wait).await;
            // As a server does whose time for idle connections is over: a request on its way meets a closed door, and
            // none that has come is dropped.
            let came = stream.try_read_buf(&mut buffer);
            match came {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
                other => anyhow::ensure!(other? > 0, "the client has gone"),
            }
        }
    }
}

/// A request that is there as a whole.
struct Request<'a> {
    /// Method and target.
    key: &'a str,
    id: Option<u64>,
    /// Bytes of the buffer.
    length: usize,
}

/// The request at the front of `buffer`; `None` while it is incomplete.
fn parse(buffer: &[u8]) -> anyhow::Result<Option<Request<'_>>> {
    let Some(head) = memmem::find(buffer, b"\r\n\r\n") else { return Ok(None) };
    let text = std::str::from_utf8(&buffer[..head])?;
    let mut lines = text.split("\r\n");
    let key = lines.next().and_then(|line| line.strip_suffix(" HTTP/1.1")).context("not a request of HTTP/1.1")?;
    let (mut id, mut body) = (None, 0);
    for line in lines {
        let (name, value) = line.split_once(':').context("not a field")?;
        if name.eq_ignore_ascii_case(ID) {
            id = Some(value.trim().parse()?);
        } else if name.eq_ignore_ascii_case("content-length") {
            body = value.trim().parse()?;
        } else {
            anyhow::ensure!(!name.eq_ignore_ascii_case("transfer-encoding"), "no chunks here");
        }
    }
    let length = head + 4 + body;
    Ok((buffer.len() >= length).then_some(Request { key, id, length }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_complete_with_its_last_byte() {
        let text = b"POST /a HTTP/1.1\r\nhost: h\r\nX-Ledger-Id: 7\r\nContent-Length: 3\r\n\r\nabcGET";
        for length in 0..text.len() - 3 {
            assert!(parse(&text[..length]).unwrap().is_none(), "{length}");
        }
        let request = parse(text).unwrap().unwrap();
        assert_eq!((request.key, request.id, request.length), ("POST /a", Some(7), text.len() - 3));
    }

    #[test]
    fn no_body_is_another_ones_beginning() {
        let bodies: Vec<_> = (0..500).map(body_of).collect();
        for (id, body) in bodies.iter().enumerate() {
            let alike = bodies.iter().filter(|other| other.starts_with(body));
            assert_eq!(alike.count(), 1, "{id}");
        }
    }
}
