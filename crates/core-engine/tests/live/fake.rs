//! Servers that speak what the real ones speak, and can misbehave as they do.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    /// With its query.
    pub target: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
}

impl Seen {
    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The path alone.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap()
    }
}

/// What is answered.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Status, headers and body, with a length that is true.
    Answer(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// These bytes, and then the end of the connection.
    Raw(Vec<u8>),
    /// Nothing, for ever.
    Hang,
    /// These bytes, and then nothing, for ever.
    Stall(Vec<u8>),
    /// The head of a success, and then bytes without an end.
    Flood,
}

/// A success of this type.
pub fn ok(content_type: &str, body: impl Into<Vec<u8>>) -> Reply {
    Reply::Answer(200, vec![("content-type", content_type.to_owned())], body.into())
}

/// A success in JSON.
pub fn json(value: &serde_json::Value) -> Reply {
    ok("application/json", value.to_string())
}

type Handler = Box<dyn Fn(&Seen) -> Reply + Send>;

/// An HTTP server on a free port of 127.0.0.1, until it is dropped.
pub struct Web {
    pub address: SocketAddr,
    handler: Arc<Mutex<Handler>>,
    seen: Arc<Mutex<Vec<Seen>>>,
    _serving: JoinSet<()>,
}

impl Web {
    pub async fn start(handler: impl Fn(&Seen) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let handler: Arc<Mutex<Handler>> = Arc::new(Mutex::new(Box::new(handler)));
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let mut serving = JoinSet::new();
        let (handling, noting) = (Arc::clone(&handler), Arc::clone(&seen));
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                connections.spawn(connection(socket, Arc::clone(&handling), Arc::clone(&noting)));
            }
        });
        Self { address, handler, seen, _serving: serving }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers otherwise from now on.
    pub fn now(&self, handler: impl Fn(&Seen) -> Reply + Send + 'static) {
        *self.handler.lock() = Box::new(handler);
    }

    /// Requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }
}

async fn connection(mut socket: TcpStream, handler: Arc<Mutex<Handler>>, noted: Arc<Mutex<Vec<Seen>>>) {
    let mut buffer = Vec::new();
    loop {
        while !buffer.windows(4).any(|four| four == b"\r\n\r\n") {
            let mut piece = [0; 1024];
            match socket.read(&mut piece).await {
                Ok(0) | Err(_) => return,
                Ok(read) => buffer.extend_from_slice(&piece[..read]),
            }
        }
        let head = String::from_utf8(std::mem::take(&mut buffer)).unwrap();
        let mut lines = head.split("\r\n");
        let target = lines.next().unwrap().split(' ').nth(1).unwrap().to_owned();
        let headers = lines.filter_map(|line| line.split_once(": "));
        let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
        let seen = Seen { target, headers };
        noted.lock().push(seen.clone());
        let reply = (handler.lock())(&seen);
        match reply {
            Reply::Answer(status, headers, body) => {
                let mut head = format!("HTTP/1.1 {status} Status\r\ncontent-length: {}\r\n", body.len());
                headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
                let answer = [head.as_bytes(), b"\r\n", &body].concat();
                if socket.write_all(&answer).await.is_err() {
                    return;
                }
            }
            Reply::Raw(bytes) => {
                let _ = socket.write_all(&bytes).await;
                return;
            }
            Reply::Hang => std::future::pending().await,
            Reply::Stall(bytes) => {
                let _ = socket.write_all(&bytes).await;
                std::future::pending::<()>().await;
            }
            Reply::Flood => {
                let _ = socket.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
                while socket.write_all(b"400\r\n").await.is_ok() {
                    if socket.write_all(&[b'x'; 1024]).await.is_err() || socket.write_all(b"\r\n").await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

/// A WebSocket server on a free port of 127.0.0.1, until it is dropped. What is sent before somebody is connected
/// waits for the first.
pub struct Exchange {
    pub address: SocketAddr,
    out: broadcast::Sender<Out>,
    early: Arc<Mutex<VecDeque<Out>>>,
    heard: Arc<Mutex<Vec<String>>>,
    _serving: JoinSet<()>,
}

#[derive(Clone, Debug)]
enum Out {
    Text(String),
    Cut,
}

impl Exchange {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (out, _) = broadcast::channel(100_000);
        let heard = Arc::<Mutex<Vec<String>>>::default();
        let early = Arc::<Mutex<VecDeque<Out>>>::default();
        let mut serving = JoinSet::new();
        let (sender, noting, waiting) = (out.clone(), Arc::clone(&heard), Arc::clone(&early));
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                // Before the handshake, so that nothing that is sent after it is missed.
                let mut out = {
                    let mut waiting = waiting.lock();
                    let receiver = sender.subscribe();
                    waiting.drain(..).for_each(|early| drop(sender.send(early)));
                    receiver
                };
                let noting = Arc::clone(&noting);
                connections.spawn(async move {
                    let Ok(mut socket) = tokio_tungstenite::accept_async(socket).await else { return };
                    loop {
                        tokio::select! {
                            message = socket.next() => match message {
                                Some(Ok(Message::Text(text))) => noting.lock().push(text.to_string()),
                                Some(Ok(_)) => {}
                                _ => return,
                            },
                            message = out.recv() => match message {
                                Ok(Out::Text(text)) => {
                                    if socket.send(Message::text(text)).await.is_err() {
                                        return;
                                    }
                                }
                                Ok(Out::Cut) | Err(_) => return,
                            },
                        }
                    }
                });
            }
        });
        Self { address, out, early, heard, _serving: serving }
    }

    pub fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    pub fn send(&self, text: impl Into<String>) {
        self.put(Out::Text(text.into()));
    }

    /// Ends all connections, without a word.
    pub fn cut(&self) {
        self.put(Out::Cut);
    }

    fn put(&self, out: Out) {
        let mut early = self.early.lock();
        if let Err(unheard) = self.out.send(out) {
            early.push_back(unheard.0);
        }
    }

    /// What clients said so far.
    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().clone()
    }
}
