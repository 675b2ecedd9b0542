//! How RPCs are named.

use super::{Resolver, place_of};
use crate::decode::{Item, Text};
use crate::diag::{Code, Place};
use crate::raw::RawRoute;
use crate::valid::RpcSelector;

/// An RPC, or several, and where it is named.
pub(super) type Named = (RpcSelector, Place);

/// Whether any key names an RPC.
pub(super) fn names_rpc(raw: &RawRoute) -> bool {
    let keys = [place_of(&raw.grpc), place_of(&raw.grpc_service), place_of(&raw.grpc_method)];
    keys.iter().any(Option::is_some)
}

impl Resolver<'_> {
    /// What a route calls. Outer `None`: a fault that was reported; inner `None`: no key names an RPC.
    pub(super) fn rpc(&mut self, raw: &RawRoute) -> Option<Option<Named>> {
        if raw.grpc.is_invalid() || raw.grpc_service.is_invalid() || raw.grpc_method.is_invalid() {
            return None;
        }
        match (raw.grpc.set(), raw.grpc_service.set(), raw.grpc_method.set()) {
            (None, None, None) => Some(None),
            (Some(grpc), None, None) => self.selector(grpc).map(Some),
            (None, Some(service), Some(method)) => self.halves(service, method).map(Some),
            (Some(grpc), _, _) => {
                let message = "\"grpc\" together with \"grpc_service\" or \"grpc_method\"";
                self.error_with(Code::Conflict, &grpc.place, message, "\"grpc\" is both in one");
                None
            }
            (None, _, _) => {
                if let Some(place) = place_of(&raw.grpc_service).or(place_of(&raw.grpc_method)) {
                    self.error(Code::MissingKey, place, "\"grpc_service\" and \"grpc_method\" belong together");
                }
                None
            }
        }
    }

    fn halves(&mut self, service: &Item<Text>, method: &Item<Text>) -> Option<Named> {
        if !is_dotted(&service.value.0) {
            let message = format!("{} is not the name of a gRPC service", service.shown());
            self.error_with(Code::InvalidValue, &service.place, message, "as in shop.v1.OrderService");
            return None;
        }
        if !is_identifier(&method.value.0) {
            let message = format!("{} is not the name of an RPC", method.shown());
            self.error_with(Code::InvalidValue, &method.place, message, "as in GetOrder");
            return None;
        }
        let name = format!("{}/{}", service.value.0, method.value.0);
        Some((RpcSelector::Method(name), method.place.clone()))
    }

    pub(super) fn selector(&mut self, item: &Item<Text>) -> Option<Named> {
        let text = item.value.0.as_str();
        let selector = match text.split_once('/') {
            Some((service, "*")) if is_dotted(service) => Some(RpcSelector::Service(service.to_owned())),
            Some((service, method)) if is_dotted(service) && is_identifier(method) => {
                Some(RpcSelector::Method(text.to_owned()))
            }
            Some(_) => None,
            None => match text.strip_suffix(".*") {
                Some(package) if is_dotted(package) => Some(RpcSelector::Package(package.to_owned())),
                _ => None,
            },
        };
        if let Some(selector) = selector {
            return Some((selector, item.place.clone()));
        }
        let help = match text.trim_start_matches('/').rsplit_once(['/', '.']) {
            Some((service, method)) if !item.secret && is_dotted(service) && is_identifier(method) => {
                format!("did you mean \"{service}/{method}\"?")
            }
            _ => "write pkg.Service/Method; without a path also pkg.Service/* or pkg.*".to_owned(),
        };
        self.error_with(Code::InvalidValue, &item.place, format!("{} does not name an RPC", item.shown()), help);
        None
    }
}

/// A name as `.proto` files allow it.
pub(super) fn is_identifier(text: &str) -> bool {
    let first = |b: u8| b.is_ascii_alphabetic() || b == b'_';
    let mut bytes = text.bytes();
    bytes.next().is_some_and(first) && bytes.all(|b| first(b) || b.is_ascii_digit())
}

/// Identifiers with dots between them.
pub(super) fn is_dotted(text: &str) -> bool {
    text.split('.').all(is_identifier)
}
