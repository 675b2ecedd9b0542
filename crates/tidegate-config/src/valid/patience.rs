//! What a listener takes from its clients, and how long it waits for them.

use std::time::Duration;

/// Bounds of a listener. The default is what holds without a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListenerLimits {
    /// Of request heads.
    pub head: HeadLimits,
    /// Patience.
    pub timeouts: Timeouts,
    /// Of HTTP/2 connections.
    pub http2: Http2Limits,
    /// Connections at once; `None`: as descriptors allow.
    pub max_connections: Option<u32>,
    /// Connections at once from one IPv4 address or one /64 of IPv6; `None`: no limit.
    pub max_connections_per_ip: Option<u32>,
}

impl Default for ListenerLimits {
    fn default() -> Self {
        Self {
            head: HeadLimits::default(),
            timeouts: Timeouts::default(),
            http2: Http2Limits::default(),
            max_connections: Some(250_000),
            max_connections_per_ip: None,
        }
    }
}

/// Bounds of a request's head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeadLimits {
    /// Request line and fields, in bytes. From 1 KiB to 60 KiB.
    pub head: u32,
    /// Number of fields. From 10 to 1,000.
    pub fields: u32,
    /// The request target, in bytes. From 64 B to 32 KiB, and no more than `head`.
    pub uri: u32,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self { head: 32 * 1024, fields: 100, uri: 8 * 1024 }
    }
}

/// Patience with clients. None is zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timeouts {
    /// TLS handshake.
    pub handshake: Duration,
    /// A head in total.
    pub head: Duration,
    /// Between two pieces of a body.
    pub body_idle: Duration,
    /// Waiting for a whole body before the rate holds.
    pub body_grace: Duration,
    /// Bytes per second of waiting; `None`: no rate.
    pub body_rate: Option<u32>,
    /// For the client to take any byte.
    pub write: Duration,
    /// Without a request.
    pub idle: Duration,
    /// Age of a connection; `None`: no limit.
    pub age: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(10),
            body_idle: Duration::from_secs(15),
            body_grace: Duration::from_secs(5),
            body_rate: Some(1024),
            write: Duration::from_secs(30),
            idle: Duration::from_secs(60),
            age: Some(Duration::from_secs(3600)),
        }
    }
}

/// Bounds of an HTTP/2 connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Http2Limits {
    /// Requests at once. From 1 to 10,000.
    pub max_streams: u32,
    /// Bytes. From 16 KiB to 16 MiB, and no more than `connection_window`.
    pub stream_window: u32,
    /// Bytes. From 64 KiB to 256 MiB.
    pub connection_window: u32,
    /// Bytes, 32 for each field on top. From 1 KiB to 256 KiB.
    pub header_list: u32,
    /// Frames per second other than those of requests and bodies. From 100 to 1,000,000.
    pub max_frames: u32,
    /// After which a silent client is asked for a sign of life.
    pub ping_interval: Duration,
    /// For the answer to that.
    pub ping_timeout: Duration,
}

impl Default for Http2Limits {
    fn default() -> Self {
        Self {
            max_streams: 100,
            stream_window: 64 * 1024,
            connection_window: 1024 * 1024,
            header_list: 32 * 1024,
            max_frames: 10_000,
            ping_interval: Duration::from_secs(30),
            ping_timeout: Duration::from_secs(10),
        }
    }
}
