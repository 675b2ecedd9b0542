//! WebSockets that end here: who may open one, what is read and written on it, and how it ends.
//!
//! ```text
//!   handshake ── door ──► session ◄── client: frames ── reader ──► message ── protocol ──► command
//!    (a request like any other)  │                                                           │
//!                                └──► outbox: frames ──► client      requests ◄──────────────┘
//! ```
//! A [`session::Session`] is the body of the 101 (200 over HTTP/2) and reads the body of the request, so it knows no
//! transport and has no task: it is polled when there is room for what it has to say. What its commands do is somebody
//! else's: [`requests::Requests`].

pub mod door;
pub mod inbound;
pub mod outbox;
pub mod protocol;
pub mod requests;
pub mod session;
