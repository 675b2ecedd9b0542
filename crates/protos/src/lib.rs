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

/// The demo services: small backends for examples and tests.
pub mod demo {
    /// Sessions: log in, refresh, log out.
    pub mod auth {
        /// Version 1.
        #[allow(missing_docs, clippy::all, clippy::pedantic)]
        pub mod v1 {
            tonic::include_proto!("demo.auth.v1");

            /// The encoded `FileDescriptorSet` of this package, its imports included.
            pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("demo.auth.v1");
        }
    }

    /// Market data of the demo exchange.
    pub mod marketdata {
        /// Version 1.
        #[allow(missing_docs, clippy::all, clippy::pedantic)]
        pub mod v1 {
            tonic::include_proto!("demo.marketdata.v1");

            /// The encoded `FileDescriptorSet` of this package, its imports included.
            pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("demo.marketdata.v1");
        }
    }

    /// Orders on the demo exchange.
    pub mod order {
        /// Version 1.
        #[allow(missing_docs, clippy::all, clippy::pedantic)]
        pub mod v1 {
            tonic::include_proto!("demo.order.v1");

            /// The encoded `FileDescriptorSet` of this package, its imports included.
            pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("demo.order.v1");
        }
    }

    /// Positions on the demo exchange.
    pub mod position {
        /// Version 1.
        #[allow(missing_docs, clippy::all, clippy::pedantic)]
        pub mod v1 {
            tonic::include_proto!("demo.position.v1");

            /// The encoded `FileDescriptorSet` of this package, its imports included.
            pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("demo.position.v1");
        }
    }

    /// Projects, which simulations belong to.
    pub mod project {
        /// Version 1.
        #[allow(missing_docs, clippy::all, clippy::pedantic)]
        pub mod v1 {
            tonic::include_proto!("demo.project.v1");

            /// The encoded `FileDescriptorSet` of this package, its imports included.
            pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("demo.project.v1");
        }
    }

    /// Simulations that emit samples while they run.
    pub mod simulation {
        /// Version 1.
        #[allow(missing_docs, clippy::all, clippy::pedantic)]
        pub mod v1 {
            tonic::include_proto!("demo.simulation.v1");

            /// The encoded `FileDescriptorSet` of this package, its imports included.
            pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("demo.simulation.v1");
        }
    }

    /// Users, their passwords and profiles.
    pub mod user {
        /// Version 1.
        #[allow(missing_docs, clippy::all, clippy::pedantic)]
        pub mod v1 {
            tonic::include_proto!("demo.user.v1");

            /// The encoded `FileDescriptorSet` of this package, its imports included.
            pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("demo.user.v1");
        }
    }

    /// Wallets: money outside of the exchange.
    pub mod wallet {
        /// Version 1.
        #[allow(missing_docs, clippy::all, clippy::pedantic)]
        pub mod v1 {
            tonic::include_proto!("demo.wallet.v1");

            /// The encoded `FileDescriptorSet` of this package, its imports included.
            pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("demo.wallet.v1");
        }
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
                "DisconnectDataSource",
                "GetIngestionStats",
                "GetBars",
                "GetIndicators",
                "FetchNews",
                "GetNewsBuffer",
                "StreamNews"
            ]
        );
        assert!(set.file.iter().all(|file| file.source_code_info.is_none()));
    }
}
