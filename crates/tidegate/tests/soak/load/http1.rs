//! A client of HTTP/1.1.

use std::io::ErrorKind;
use std::sync::atomic::Ordering;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{ANSWER, Outcome, Shared, Turn, Turns};

/// Asks until the end; over one connection as long as that lasts, or over a new one each time.
pub(super) async fn lane(mut turns: Turns, keeps: bool) {
    let mut kept = None;
    while let Some(turn) = turns.next().await {
        let outcome = match tokio::time::timeout(ANSWER, ask(&turns.shared, &turn, &mut kept)).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(why)) => Outcome::Failed(why),
            Err(_) => Outcome::Failed(format!("no answer within {ANSWER:?}")),
        };
        if !keeps || matches!(outcome, Outcome::Failed(_)) {
            kept = None;
        }
        if !turns.shared.count(&turn, outcome) {
            return;
        }
    }
}

async fn ask(shared: &Shared, turn: &Turn, kept: &mut Option<TcpStream>) -> Result<Outcome, String> {
    if let Some(stream) = kept.as_ref()
        && was_closed(stream)?
    {
        shared.tally.lock().replaced += 1;
        *kept = None;
    }
    if kept.is_none() {
        match TcpStream::connect(shared.address).await {
            Ok(stream) => *kept = Some(stream),
            Err(error) if shared.is_ending() && error.kind() == ErrorKind::ConnectionRefused => {
                return Ok(Outcome::TurnedAway);
            }
            Err(error) => return Err(format!("cannot connect: {error}")),
        }
    }
    let Some(stream) = kept.as_mut() else { return Err("no connection".to_owned()) };
    // Fails only on a dead socket, and then so does the write.
    let _ = stream.set_nodelay(true);
    let mark = shared.mark.load(Ordering::SeqCst);
    let request = format!("GET {} HTTP/1.1\r\nhost: soak.test\r\n\r\n", turn.ask.target);
    stream.write_all(request.as_bytes()).await.map_err(|error| format!("cannot send: {error}"))?;
    let mut buffer = Vec::with_capacity(1024);
    loop {
        let read = stream.read_buf(&mut buffer).await;
        let read = read.map_err(|error| format!("cannot receive: {error} after {} bytes", buffer.len()))?;
        if read == 0 {
            return Err(format!("the connection ended after {} bytes of the answer", buffer.len()));
        }
        let parsed = loadgen::http1::parse(&buffer).map_err(|why| format!("{why:?}"))?;
        let Some(answer) = parsed else { continue };
        (turn.ask.judge)(mark, answer.status, &answer.body)?;
        if answer.len != buffer.len() {
            return Err("bytes behind the answer".to_owned());
        }
        if answer.closes {
            shared.tally.lock().replaced += 1;
            *kept = None;
        }
        return Ok(Outcome::Answered);
    }
}

/// Whether the gateway has closed a connection on which nothing is under way.
fn was_closed(stream: &TcpStream) -> Result<bool, String> {
    let mut byte = [0];
    match stream.try_read(&mut byte) {
        Ok(0) => Ok(true),
        Ok(_) => Err("the gateway speaks without being asked".to_owned()),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(format!("an idle connection has failed: {error}")),
    }
}
