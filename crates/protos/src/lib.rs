//! Messages and stubs of the reference backends, generated from `proto/` at build time.
//!
//! Feature `client` adds the clients, `server` the server traits. Without either, only messages are built. Names,
//! units and errors are documented in the `.proto` files.

/// The core engine: market data, its sources, its health.
pub mod core_engine {
    /// Version 1.
    #[allow(missing_docs, clippy::all, clippy::pedantic)]
    pub mod v1 {
        tonic::include_proto!("core_engine.v1");

        /// The encoded `FileDescriptorSet` of this package, its imports included: for server reflection, and for
        /// gateways that load descriptors from a file.
        pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("core_engine.v1");
    }
}

/// Types that are common to all APIs.
pub mod google {
    /// The error model: `Status` and its details.
    #[allow(missing_docs, clippy::all, clippy::pedantic)]
    pub mod rpc {
        tonic::include_proto!("google.rpc");
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    /// A server that registers the set must be able to answer for each type that the service names.
    #[test]
    fn descriptor_set_holds_the_service_and_its_imports_without_comments() {
        let set = prost_types::FileDescriptorSet::decode(super::core_engine::v1::FILE_DESCRIPTOR_SET).unwrap();
        let names: Vec<&str> = set.file.iter().map(|file| file.name()).collect();
        assert_eq!(
            names,
            ["google/protobuf/duration.proto", "google/protobuf/timestamp.proto", "core_engine/v1/core_engine.proto"]
        );
        let methods: Vec<&str> = set.file[2].service[0].method.iter().map(|method| method.name()).collect();
        assert_eq!(
            methods,
            [
                "HealthCheck",
                "FetchMarketData",
                "GetMarketDataBuffer",
                "StreamMarketData",
                "ConnectDataSource",
                "GetIngestionStats"
            ]
        );
        assert!(set.file.iter().all(|file| file.source_code_info.is_none()));
    }
}
