//! `listeners`.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::decode::{Cx, Decode, Item, Name, Text, closed_enum, raw_struct};
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
    }
    later { "limits" "timeouts" "max_connections" "http2" "hosts" "proxy_protocol" }
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
