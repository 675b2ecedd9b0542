//! `services`.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::RawPolicy;
use crate::decode::{Bytes, Count, Cx, Decode, Item, Text, Time, closed_enum, raw_struct};
use crate::node::{Node, Value};
use crate::valid::ServiceProtocol;

raw_struct! {
    /// A backend. Also takes the policies, for all routes that use it.
    RawService {
        /// What the backend speaks. Without the key: by the scheme of the endpoints, else by the routes: one that names an
        /// RPC makes it `grpc`, if none does it is `http`.
        protocol: ServiceProtocol,
        /// The one endpoint, short for `endpoints` with one entry.
        address: Text,
        /// Addresses: `host:port`; `grpc://host:port` or `grpcs://host:port` (TLS); `http://host:port` or
        /// `https://host:port`, where the port may be left out.
        endpoints: Vec<Item<Text>>,
        /// Where the descriptors come from: `reflection`, a descriptor set, or a list of `.proto` files. Files are
        /// relative to this one.
        descriptors: RawDescriptors = "reflection",
        /// Folders where imports of `.proto` files are looked for. Without the key: the folders of the files.
        proto_paths: Vec<Item<Text>>,
        /// Largest gRPC message that is received.
        max_message: Bytes = "10MiB",
        /// Longest time until a connection is ready, TLS and HTTP/2 included.
        connect_timeout: Time = "2s",
        /// Number and upkeep of connections.
        connections: RawConnections,
        /// TLS towards the backend.
        tls: RawUpstreamTls,
        ..policy: RawPolicy,
    }
    later {
        "load_balancing" "health_check" "outlier_detection" "circuit_breaker" "max_pending" "dns" "host"
    }
}

raw_struct! {
    /// Connections to each endpoint, for the whole process; dealt out to the workers, and a worker that is in use has
    /// at least one.
    RawConnections {
        /// Connections that stay open once they were used.
        min: Count = "1",
        /// Most connections.
        max: Count = "4",
        /// HTTP/2 pings while calls are open; `null` for none.
        keepalive: RawKeepalive,
    }
    later { "idle" "idle_timeout" }
}

raw_struct! {
    /// HTTP/2 pings.
    RawKeepalive {
        /// Time between pings.
        interval: Time = "10s",
        /// Longest time until the answer; then the connection is replaced.
        timeout: Time = "3s",
    }
}

raw_struct! {
    /// TLS towards a backend. All endpoints of the service use TLS, unless they say `grpc://` or
    /// `http://`.
    RawUpstreamTls {
        /// PEM file with the roots to trust. Without the key: those of the system.
        ca: Text,
        /// PEM file with the client certificate; together with `key`.
        cert: Text,
        /// PEM file with the client's private key; together with `cert`.
        key: Text,
        /// Name to ask for and to verify. Without the key: the host of the endpoint.
        server_name: Text,
    }
    later { "insecure" "alpn" }
}

closed_enum! {
    ServiceProtocol {
        "grpc" => Self::Grpc,
        "http" => Self::Http,
    }
}

/// `reflection`, one file or a list of files.
#[derive(Clone, Debug)]
pub(crate) enum RawDescriptors {
    /// `reflection` or the path of a descriptor set.
    Word(Text),
    Protos(Vec<Item<Text>>),
}

impl Decode for RawDescriptors {
    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        match &node.value {
            Value::Scalar(_) => Text::decode(node, cx).map(Self::Word),
            Value::List(_) => Vec::decode(node, cx).map(Self::Protos),
            Value::Null | Value::Broken | Value::Map(_) => {
                cx.wrong_type(node, "\"reflection\", a file or a list of .proto files");
                None
            }
        }
    }

    fn type_name() -> String {
        "`reflection`, a file or a list of files".to_owned()
    }
}

impl JsonSchema for RawDescriptors {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "descriptors".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] })
    }
}
