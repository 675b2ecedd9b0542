//! A client of HTTP/2.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use h2::Reason;
use h2::client::SendRequest;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::{ANSWER, Outcome, Shared, Turn, Turns};

/// How often a request is sent, if each time the gateway names it as not begun.
const ATTEMPTS: usize = 5;

/// The connection of a lane, and how many there were before it.
#[derive(Default)]
struct Slot {
    number: usize,
    send: Option<SendRequest<Bytes>>,
}

type Shelf = Arc<Mutex<Slot>>;

/// Asks until the end. Requests do not wait for each other.
pub(super) async fn lane(mut turns: Turns) {
    let shelf = Shelf::default();
    let mut requests = JoinSet::new();
    while let Some(turn) = turns.next().await {
        let (shared, shelf) = (Arc::clone(&turns.shared), Arc::clone(&shelf));
        requests.spawn(async move {
            let outcome = match tokio::time::timeout(ANSWER, ask(&shared, &turn, &shelf)).await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(why)) => Outcome::Failed(why),
                Err(_) => Outcome::Failed(format!("no answer within {ANSWER:?}")),
            };
            shared.count(&turn, outcome)
        });
        let mut goes_on = true;
        while let Some(ended) = requests.try_join_next() {
            goes_on &= ended.expect("a request does not panic");
        }
        if !goes_on {
            break;
        }
    }
    while let Some(ended) = requests.join_next().await {
        ended.expect("a request does not panic");
    }
}

async fn ask(shared: &Shared, turn: &Turn, shelf: &Shelf) -> Result<Outcome, String> {
    for _ in 0..ATTEMPTS {
        let (number, mut send) = match connection(shared, shelf).await {
            Ok(found) => found,
            Err(error) if shared.is_ending() && error.kind() == ErrorKind::ConnectionRefused => {
                return Ok(Outcome::TurnedAway);
            }
            Err(error) => return Err(format!("cannot connect: {error}")),
        };
        let mark = shared.mark.load(Ordering::SeqCst);
        // Nothing has been sent yet: the connection is one that the gateway has left.
        let ready = std::future::poll_fn(|cx| send.poll_ready(cx)).await;
        let request = http::Request::get(format!("http://soak.test{}", turn.ask.target)).body(()).expect("a request");
        let sent = ready.and_then(|()| send.send_request(request, true));
        let Ok((answer, _)) = sent else {
            forget(shared, shelf, number).await;
            continue;
        };
        match answer.await {
            Ok(answer) => {
                let status = answer.status().as_u16();
                let body = whole(answer.into_body()).await?;
                return (turn.ask.judge)(mark, status, &body).map(|()| Outcome::Answered);
            }
            Err(error) if was_not_begun(&error) => {
                shared.tally.lock().retry(format!("sent again: {error}"));
                forget(shared, shelf, number).await;
            }
            Err(error) => {
                forget(shared, shelf, number).await;
                return Err(format!("no answer: {error}"));
            }
        }
    }
    Err(format!("not taken {ATTEMPTS} times"))
}

async fn whole(mut stream: h2::RecvStream) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(piece) = stream.data().await {
        let piece = piece.map_err(|error| format!("an answer broke off: {error}"))?;
        let _gone = stream.flow_control().release_capacity(piece.len());
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

/// What RFC 9113, section 8.7, lets a client send again.
fn was_not_begun(error: &h2::Error) -> bool {
    let reason = error.reason();
    error.is_remote()
        && ((error.is_go_away() && reason == Some(Reason::NO_ERROR)) || reason == Some(Reason::REFUSED_STREAM))
}

async fn connection(shared: &Shared, shelf: &Shelf) -> std::io::Result<(usize, SendRequest<Bytes>)> {
    let mut slot = shelf.lock().await;
    if slot.send.is_none() {
        let stream = TcpStream::connect(shared.address).await?;
        // Fails only on a dead socket, and then so does the handshake.
        let _ = stream.set_nodelay(true);
        let (send, connection) = h2::client::handshake(stream).await.map_err(std::io::Error::other)?;
        tokio::spawn(async move {
            // How it ends is seen on its streams.
            let _ended = connection.await;
        });
        slot.number += 1;
        slot.send = Some(send);
    }
    let send = slot.send.clone().ok_or_else(|| std::io::Error::other("no connection"))?;
    Ok((slot.number, send))
}

/// The next request opens another connection; what runs on this one goes on.
async fn forget(shared: &Shared, shelf: &Shelf, number: usize) {
    let mut slot = shelf.lock().await;
    if slot.number == number && slot.send.take().is_some() {
        shared.tally.lock().replaced += 1;
    }
}
