//! The shop: a small service with every kind of call, its descriptors, and its messages as JSON.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};
use serde_json::Value;

/// The file as written, for gateways that compile it themselves.
pub const PROTO: &str = include_str!("../proto/shop.proto");

const FILES: [(&str, &str); 5] = [
    ("google/api/annotations.proto", API_ANNOTATIONS),
    ("google/api/http.proto", API_HTTP),
    ("google/api/httpbody.proto", API_HTTP_BODY),
    ("google/rpc/status.proto", RPC_STATUS),
    ("google/rpc/error_details.proto", RPC_DETAILS),
];
const API_ANNOTATIONS: &str = include_str!("../../tidegate-transcode/src/schema/builtin/google/api/annotations.proto");
const API_HTTP: &str = include_str!("../../tidegate-transcode/src/schema/builtin/google/api/http.proto");
const API_HTTP_BODY: &str = include_str!("../../tidegate-transcode/src/schema/builtin/google/api/httpbody.proto");
const RPC_STATUS: &str = include_str!("../../tidegate-transcode/src/schema/builtin/google/rpc/status.proto");
const RPC_DETAILS: &str = include_str!("../../tidegate-transcode/src/schema/builtin/google/rpc/error_details.proto");

struct Embedded {
    shop: &'static str,
}

impl FileResolver for Embedded {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        let embedded = FILES.iter().find(|(known, _)| *known == name).map(|(_, source)| *source);
        match embedded.or((name == "shop.proto").then_some(self.shop)) {
            Some(source) => File::from_source(name, source),
            None => Err(protox::Error::file_not_found(name)),
        }
    }

    fn resolve_path(&self, _path: &Path) -> Option<String> {
        None
    }
}

/// The encoded `FileDescriptorSet`, imports included.
pub static DESCRIPTORS: LazyLock<Vec<u8>> = LazyLock::new(|| compile(PROTO, &["shop.proto"]));

/// The set of another version of the shop, from its source.
///
/// # Panics
/// If the source is not valid.
#[must_use]
pub fn descriptors_of(source: &'static str) -> Vec<u8> {
    compile(source, &["shop.proto"])
}

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let set = compile(PROTO, &["shop.proto", "google/rpc/status.proto", "google/rpc/error_details.proto"]);
    DescriptorPool::decode(set.as_slice()).expect("the set is complete")
});

fn compile(shop: &'static str, files: &[&str]) -> Vec<u8> {
    let mut resolver = ChainFileResolver::new();
    resolver.add(Embedded { shop });
    resolver.add(GoogleFileResolver::new());
    let mut compiler = protox::Compiler::with_file_resolver(resolver);
    compiler.include_imports(true).open_files(files).expect("the files are valid");
    compiler.encode_file_descriptor_set()
}

/// The value of `grpc-status-details-bin` for a `google.rpc.Status` in JSON.
#[must_use]
pub fn details(status: Value) -> String {
    STANDARD_NO_PAD.encode(message("google.rpc.Status", status))
}

/// A message of the shop (or of `google.*`, by full name) from its JSON, encoded.
///
/// # Panics
/// If the JSON does not fit the message.
#[must_use]
pub fn message(name: &str, json: Value) -> Bytes {
    let message = DynamicMessage::deserialize(descriptor(name), json).expect("the JSON fits the message");
    message.encode_to_vec().into()
}

/// An encoded message of the shop as JSON, with proto names and without defaults.
///
/// # Panics
/// If the bytes are not such a message.
#[must_use]
pub fn json(name: &str, bytes: &[u8]) -> Value {
    let message = DynamicMessage::decode(descriptor(name), bytes).expect("the bytes are the message");
    let options = SerializeOptions::new().use_proto_field_name(true).stringify_64_bit_integers(false);
    message.serialize_with_options(serde_json::value::Serializer, &options).expect("the message is printable")
}

fn descriptor(name: &str) -> prost_reflect::MessageDescriptor {
    let full = if name.contains('.') { name.to_owned() } else { format!("shop.v1.{name}") };
    POOL.get_message_by_name(&full).unwrap_or_else(|| panic!("the shop has no message {full}"))
}

/// An `Event` of a watched topic.
#[must_use]
pub fn event(sequence: u64) -> Bytes {
    message("Event", serde_json::json!({ "sequence": sequence }))
}

/// The order that tests ask for: number 7.
#[must_use]
pub fn order() -> Bytes {
    message("Order", serde_json::json!({ "id": 7, "customerName": "Ada", "status": "OPEN" }))
}

/// The answer to a request for [`order`], with the default options.
pub const ORDER_JSON: &str = r#"{"id":"7","customerName":"Ada","status":"OPEN"}"#;

/// Routes to every call of the shop, as YAML list items. The service is `shop`.
pub const ROUTES: &str = r#"
  - { name: get-order, path: "/v1/orders/{id}", method: GET, service: shop, grpc: shop.v1.OrderService/GetOrder }
  - { name: create-order, path: "/v1/orders", method: POST, service: shop, grpc: OrderService/CreateOrder, body: order }
  - { name: put-order, path: "/v1/customers/{customer}/orders/{order.id}", method: PUT, service: shop, grpc: OrderService/CreateOrder, body: order }
  - { name: watch, path: "/v1/topics/{topic}", method: GET, service: shop, grpc: OrderService/WatchOrders }
  - { name: import, path: "/v1/batches/{batch}", method: POST, service: shop, grpc: OrderService/Import, body: "*" }
  - { name: chat, path: "/v1/chat", method: POST, service: shop, grpc: OrderService/Chat, body: "*" }
  - { name: download, path: "/v1/orders/{id}/file", method: GET, service: shop, grpc: OrderService/Download }
  - { name: download-parts, path: "/v1/orders/{id}/parts", method: GET, service: shop, grpc: OrderService/DownloadParts }
  - { name: upload, path: "/v1/files/{name}", method: POST, service: shop, grpc: OrderService/Upload, body: file }
"#;

/// A configuration with the service `shop` at `address` and [`ROUTES`]; `more` is YAML at the top level, or empty.
#[must_use]
pub fn config(address: std::net::SocketAddr, more: &str) -> String {
    format!("services:\n  shop: {{ address: \"{address}\", descriptors: shop.pb }}\nroutes:{ROUTES}\n{more}\n")
}

/// Writes `shop.pb` and `shop.proto` into `folder` and gives their paths.
///
/// # Panics
/// If the folder cannot be written to.
pub fn write_files(folder: &Path) -> [PathBuf; 2] {
    let set = folder.join("shop.pb");
    let source = folder.join("shop.proto");
    std::fs::write(&set, DESCRIPTORS.as_slice()).expect("the folder can be written to");
    std::fs::write(&source, PROTO).expect("the folder can be written to");
    [set, source]
}
