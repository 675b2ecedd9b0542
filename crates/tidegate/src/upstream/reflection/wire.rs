//! The few messages of `grpc.reflection.v1` (and `v1alpha`, which has the same ones) and of `descriptor.proto` that
//! the client reads.
//!
//! Members of a oneof stand as plain optional fields: the wire form is the same. Source:
//! `grpc/reflection/v1/reflection.proto`, `google/protobuf/descriptor.proto`.

use bytes::Bytes;

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Request {
    #[prost(string, optional, tag = "3")]
    pub(super) file_by_filename: Option<String>,
    #[prost(string, optional, tag = "4")]
    pub(super) file_containing_symbol: Option<String>,
    #[prost(string, optional, tag = "7")]
    pub(super) list_services: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Response {
    #[prost(message, optional, tag = "4")]
    pub(super) files: Option<Files>,
    #[prost(message, optional, tag = "6")]
    pub(super) services: Option<Services>,
    #[prost(message, optional, tag = "7")]
    pub(super) error: Option<Error>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Files {
    /// Encoded `FileDescriptorProto`s, kept as they came: decoding into typed structs would lose extensions.
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub(super) encoded: Vec<Bytes>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Services {
    #[prost(message, repeated, tag = "1")]
    pub(super) service: Vec<ServiceName>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ServiceName {
    #[prost(string, tag = "1")]
    pub(super) name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Error {
    /// A gRPC code.
    #[prost(int32, tag = "1")]
    pub(super) code: i32,
    #[prost(string, tag = "2")]
    pub(super) message: String,
}

/// What is read of a `FileDescriptorProto`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct FileHeader {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, repeated, tag = "3")]
    pub(super) dependency: Vec<String>,
}

/// A `FileDescriptorSet` whose files stay encoded.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Set {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub(super) file: Vec<Bytes>,
}
