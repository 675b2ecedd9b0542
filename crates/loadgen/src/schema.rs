//! Descriptor sets: made from `.proto` files once, read by every peer and by the backend.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, MethodDescriptor};
use serde_json::Value;

/// Compiles `.proto` files to an encoded `FileDescriptorSet` with all imports and with custom options such as
/// `google.api.http` kept.
///
/// # Errors
/// A file cannot be read or is not valid.
pub fn compile(files: &[PathBuf], include: &Path) -> anyhow::Result<Vec<u8>> {
    let mut compiler = protox::Compiler::new([include])?;
    compiler.include_imports(true).include_source_info(false);
    compiler.open_files(files)?;
    Ok(compiler.encode_file_descriptor_set())
}

/// The RPC named `package.Service/Method` in an encoded descriptor set.
///
/// # Errors
/// The set is broken or does not have the RPC.
pub fn find_method(descriptor_set: &[u8], rpc: &str) -> anyhow::Result<MethodDescriptor> {
    let pool = DescriptorPool::decode(descriptor_set).context("not a descriptor set")?;
    let (service, method) = rpc.split_once('/').with_context(|| format!("{rpc} is not Service/Method"))?;
    let service = pool.get_service_by_name(service).with_context(|| format!("no service {service}"))?;
    service.methods().find(|found| found.name() == method).with_context(|| format!("no method {rpc}"))
}

/// The message that a proto3 JSON value describes.
///
/// # Errors
/// The value does not fit the type.
pub fn message(descriptor: &MessageDescriptor, json: &Value) -> anyhow::Result<DynamicMessage> {
    DynamicMessage::deserialize(descriptor.clone(), json)
        .with_context(|| format!("cannot read {json} as {}", descriptor.full_name()))
}
