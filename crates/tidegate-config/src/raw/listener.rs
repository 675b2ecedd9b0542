//! `listeners`.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::decode::{Bytes, Count, Cx, Decode, Item, Name, Text, Time, closed_enum, raw_struct};
use crate::diag::{Code, Diagnostic};
use crate::node::{Node, Value};
use crate::schema::Book;
use crate::valid::{ClientAuth, Protocol};

raw_struct! {
    /// One listening address.
    RawListener {
        /// Unique name; shown in logs and metrics.
        name: Name = required,
        /// IP address and port, as in `127.0.0.1:8080` or `[::1]:8080`. Port 0 takes a free one.
        address: Text = required,
        /// Certificate files, or `auto` for a development certificate that is made at start. Without the key: clear
        /// text.
        tls: RawTls,
        /// Allowed protocols, in order of preference. In clear text `http2` means HTTP/2 with prior knowledge.
        protocols: Vec<Item<Protocol>> = "[http2, http1]",
        /// Bounds of a request's head. Beyond them 431, or 414 for the URI, and the connection is closed.
        limits: RawHeadLimits,
        /// Patience with clients.
        timeouts: RawTimeouts,
        /// Connections at once; one more is answered with 503 and closed. `null`: as many as there are descriptors for,
        /// of which the gateway keeps 5 % (256 at least) for itself in any case.
        max_connections: Count = "250000",
        /// Connections at once from one client: an IPv4 address, or a /64 of IPv6. One more is answered with 503 and
        /// closed. Addresses in `client_ip.trusted_proxies` do not count: they stand for many clients.
        max_connections_per_ip: Count,
        /// Bounds of an HTTP/2 connection.
        http2: RawHttp2,
        /// Connections begin with a header of the PROXY protocol, version 1 or 2, which tells the client's address. All
        /// of them must, and only addresses in `client_ip.trusted_proxies` may connect.
        proxy_protocol: bool = "false",
    }
    later { "hosts" }
}

raw_struct! {
    /// Bounds of a request's head.
    RawHeadLimits {
        /// Request line and fields together, as on the wire. From 1 KiB to 60 KiB.
        head: Bytes = "32KiB",
        /// Number of fields. From 10 to 1000.
        fields: Count = "100",
        /// The request target. From 64 B to 32 KiB, and no more than `head`.
        uri: Bytes = "8KiB",
    }
}

raw_struct! {
    /// Patience with clients. From 100 ms to 24 h each, but for `age`.
    RawTimeouts {
        /// A TLS handshake.
        handshake: Time = "10s",
        /// A complete head, a header of the PROXY protocol too: from accept for the first one, then from its first
        /// byte. In total, so that single bytes do not help. 408, or a close if nothing has come.
        head: Time = "10s",
        /// Between two pieces of a body. 408, or a reset.
        body_idle: Time = "15s",
        /// How long a client may be waited for over a whole body before `body_rate` holds.
        body_grace: Time = "5s",
        /// The slowest body that is taken, in bytes per second of waiting for it; `null`: `body_idle` alone holds.
        body_rate: Bytes = "1KiB",
        /// For a client to take any byte of what waits for it. The connection is reset.
        write: Time = "30s",
        /// Without a request. The connection is closed.
        idle: Time = "60s",
        /// Age at which a connection is closed after the request that is being answered, ± 10 %. At least 1 s; `null`:
        /// never.
        age: Time = "1h",
    }
}

raw_struct! {
    /// Bounds of an HTTP/2 connection.
    RawHttp2 {
        /// Requests at once. From 1 to 10000. More are refused with REFUSED_STREAM.
        max_streams: Count = "100",
        /// Bytes of one request's body that may be on their way. From 16 KiB to 16 MiB.
        stream_window: Bytes = "64KiB",
        /// Bytes of all bodies that may be on their way. From 64 KiB to 256 MiB.
        connection_window: Bytes = "1MiB",
        /// All fields of a head, decoded, each with 32 bytes on top. From 1 KiB to 256 KiB. 431.
        header_list: Bytes = "32KiB",
        /// Frames in a second, other than those of requests and bodies; each request and each 16 KiB of answers make room
        /// for 4. From 100 to 1000000. In a minute a fifth of it, at least 2000, beside what requests and answers explain.
        /// Beyond either GOAWAY with ENHANCE_YOUR_CALM.
        max_frames: Count = "10000",
        /// After which a client that sends nothing is asked for a sign of life. From 100 ms to 24 h.
        ping_interval: Time = "30s",
        /// For the answer to that. From 100 ms to 24 h.
        ping_timeout: Time = "10s",
    }
}

raw_struct! {
    /// Certificate of a listener.
    RawTlsFiles {
        /// PEM file with the certificate chain, leaf first.
        cert: Text = required,
        /// PEM file with the private key.
        key: Text = required,
        /// PEM file with the roots that certificates of clients are verified with. Without the key clients are asked for
        /// none.
        client_ca: Text,
        /// Whether a client without a certificate is refused in the handshake (`required`) or by the routes that demand
        /// one (`optional`). A certificate that `client_ca` has not signed is refused in any case.
        client_auth: ClientAuth = "required",
    }
    later { "certificates" "min_version" }
}

closed_enum! {
    ClientAuth {
        "required" => Self::Required,
        "optional" => Self::Optional,
    }
    Protocol {
        "http2" => Self::Http2,
        "http1" => Self::Http1,
    }
}

/// `auto`, or files.
#[derive(Clone, Debug)]
pub(crate) enum RawTls {
    Auto,
    Files(Box<RawTlsFiles>),
}

impl Decode for RawTls {
    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        match &node.value {
            Value::Map(_) => RawTlsFiles::decode(node, cx).map(|files| Self::Files(Box::new(files))),
            Value::Scalar(scalar) if scalar.text() == "auto" => Some(Self::Auto),
            Value::Scalar(scalar) => {
                let problem = Diagnostic::error(Code::InvalidValue, format!("{} is not a TLS setting", scalar.shown()));
                cx.report(problem.help("write \"auto\", or { cert: FILE, key: FILE }"), node.span);
                None
            }
            Value::Null | Value::Broken | Value::List(_) => {
                cx.wrong_type(node, "\"auto\" or a mapping");
                None
            }
        }
    }

    fn type_name() -> String {
        format!("`auto` or {}", RawTlsFiles::type_name())
    }

    fn document(book: &mut Book) {
        RawTlsFiles::document(book);
    }
}

impl JsonSchema for RawTls {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "tls".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let files = generator.subschema_for::<RawTlsFiles>();
        json_schema!({ "anyOf": [{ "const": "auto" }, files] })
    }
}
