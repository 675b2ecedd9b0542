//! Routes that pass gRPC through.

use super::routes::Backend;
use super::{Resolver, place_of};
use crate::decode::{Field, Item};
use crate::diag::{Code, Place};
use crate::raw::RawRoute;
use crate::valid::{NativeAction, ServiceProtocol};

impl Resolver<'_> {
    /// A route with `protocol: grpc`; `protocol` is where that stands.
    pub(super) fn native(
        &mut self,
        item: &Item<RawRoute>,
        protocol: &Place,
        backend: &Backend<'_>,
    ) -> Option<NativeAction> {
        let raw = &item.value;
        let keys = [
            ("grpc", place_of(&raw.grpc)),
            ("grpc_service", place_of(&raw.grpc_service)),
            ("grpc_method", place_of(&raw.grpc_method)),
            ("body", place_of(&raw.body)),
            ("response_body", place_of(&raw.response_body)),
            ("rewrite", place_of(&raw.rewrite)),
            ("early_hints", place_of(&raw.early_hints)),
            ("respond", place_of(&raw.respond)),
            ("method", place_of(&raw.method)),
            ("methods", place_of(&raw.methods)),
        ];
        let mut clean = true;
        for (key, place) in keys {
            if let Some(place) = place {
                let help = "calls pass as they are: a POST to the path of the RPC";
                self.error_with(Code::Conflict, place, format!("\"{key}\" together with \"protocol: grpc\""), help);
                clean = false;
            }
        }
        if raw.path.is_missing() {
            let help = "as in \"/shop.v1.OrderService/{method}\"";
            self.error_with(Code::MissingKey, protocol, "a route with \"protocol: grpc\" needs \"path\"", help);
            clean = false;
        }
        match backend.named {
            Field::Absent | Field::Null(_) => {
                let help = "name the gRPC service that takes the calls";
                self.error_with(Code::MissingKey, protocol, "\"service\" is missing", help);
            }
            Field::Set(named) if backend.speaks == Some(ServiceProtocol::Http) => {
                let help = "say \"protocol: grpc\" there";
                self.error_with(Code::Conflict, &named.place, "gRPC to a service that speaks HTTP", help);
                clean = false;
            }
            Field::Set(_) | Field::Invalid => {}
        }
        let service = backend.service?;
        clean.then_some(NativeAction { service })
    }
}
