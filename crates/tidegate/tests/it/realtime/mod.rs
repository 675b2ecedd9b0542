//! WebSockets that end at the gateway: the protocol, what is refused and when, and how a session ends.

mod ends;
mod handshake;
mod market;
mod requests;

use std::net::SocketAddr;

use serde_json::Value;
use tidegate_testkit::websocket::futures_util::{SinkExt as _, StreamExt as _};
use tidegate_testkit::websocket::{self, Message, WebSocketStream};
use tidegate_testkit::{Gateway, shop, soon};
use tokio::io::{AsyncRead, AsyncWrite};

/// In front of the shop: `/ws` watches topics, `/ws/order` asks for orders, `/ws/bare` can be asked for nothing. `more`
/// stands under `realtime`, `rest` at the top.
fn config(backend: SocketAddr, more: &str, rest: &str) -> String {
    let endpoint = |path: &str, request: &str| {
        format!("    - {{ path: {path}, protocol: plain, request: {{ service: shop, {request} }} }}\n")
    };
    let endpoints = endpoint("/ws", "match: topic, grpc: shop.v1.OrderService/WatchOrders, defaults: { limit: 7 }")
        + &endpoint("/ws/order", "grpc: OrderService/GetOrder")
        + "    - { path: /ws/bare, protocol: plain }\n";
    shop::config(backend, &format!("realtime:\n  endpoints:\n{endpoints}{more}\n{rest}"))
}

/// The text of the next message.
async fn text<Io: AsyncRead + AsyncWrite + Unpin>(socket: &mut WebSocketStream<Io>) -> String {
    match soon(socket.next()).await {
        Some(Ok(Message::Text(text))) => text.to_string(),
        other => panic!("{other:?}"),
    }
}

async fn json<Io: AsyncRead + AsyncWrite + Unpin>(socket: &mut WebSocketStream<Io>) -> Value {
    serde_json::from_str(&text(socket).await).unwrap()
}

async fn say<Io: AsyncRead + AsyncWrite + Unpin>(socket: &mut WebSocketStream<Io>, text: impl Into<String>) {
    soon(socket.send(Message::text(text.into()))).await.unwrap();
}

/// The code and the text of the close frame that comes next, after any messages.
async fn closed<Io: AsyncRead + AsyncWrite + Unpin>(socket: &mut WebSocketStream<Io>) -> (u16, String) {
    loop {
        match soon(socket.next()).await {
            Some(Ok(Message::Close(Some(frame)))) => return (frame.code.into(), frame.reason.to_string()),
            Some(Ok(Message::Text(_) | Message::Ping(_) | Message::Pong(_))) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// A socket over each version of HTTP. The second one's connection must be kept.
async fn both(
    gateway: &Gateway,
    path: &str,
) -> (WebSocketStream<tokio::net::TcpStream>, WebSocketStream<tokio::io::DuplexStream>, tidegate_testkit::client::Http2)
{
    let mut connection = gateway.http2().await;
    let second = websocket::http2(&mut connection, path).await;
    (websocket::http1(gateway.address(), path).await, second, connection)
}
