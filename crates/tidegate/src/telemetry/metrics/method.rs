//! Methods as labels: the standard ones, those that a route names, and `OTHER`, so that clients cannot invent series.

use std::sync::Arc;

use http::Method;
use parking_lot::RwLock;

/// The standard methods (RFC 9110 and 5789); the last place stands for all that nobody has named.
const STANDARD: [&str; 10] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "OTHER"];
const OTHER: u8 = 9;

/// Further methods that the routes of this and earlier configurations may name; later ones are `OTHER`.
const MAX_NAMED: usize = 64;

/// A method in the sense of the label `method`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MethodId(u8);

impl MethodId {
    /// Of what nobody has named, and of what is no request.
    pub const OTHER: Self = Self(OTHER);
}

/// Methods that routes have named.
#[derive(Debug, Default)]
pub(super) struct Methods {
    named: RwLock<Vec<Arc<str>>>,
}

impl Methods {
    /// Gives a method that a route names a label of its own.
    pub(super) fn name(&self, method: &str) {
        if STANDARD.contains(&method) {
            return;
        }
        let mut named = self.named.write();
        if named.len() < MAX_NAMED && !named.iter().any(|known| **known == *method) {
            named.push(method.into());
        }
    }

    pub(super) fn id(&self, method: &Method) -> MethodId {
        MethodId(match *method {
            Method::GET => 0,
            Method::HEAD => 1,
            Method::POST => 2,
            Method::PUT => 3,
            Method::DELETE => 4,
            Method::CONNECT => 5,
            Method::OPTIONS => 6,
            Method::TRACE => 7,
            Method::PATCH => 8,
            _ => self.named_id(method.as_str()),
        })
    }

    fn named_id(&self, method: &str) -> u8 {
        let place = self.named.read().iter().position(|known| **known == *method);
        place.and_then(|place| u8::try_from(STANDARD.len() + place).ok()).unwrap_or(OTHER)
    }

    /// The label.
    pub(super) fn label(&self, id: MethodId) -> Arc<str> {
        let place = usize::from(id.0);
        let named = || self.named.read().get(place.checked_sub(STANDARD.len())?).map(Arc::clone);
        STANDARD.get(place).map(|method| Arc::from(*method)).or_else(named).unwrap_or_else(|| "OTHER".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_methods_that_are_standard_or_named_have_a_label() {
        let methods = Methods::default();
        methods.name("PURGE");
        methods.name("GET");
        methods.name("PURGE");
        for (method, label) in
            [("GET", "GET"), ("PATCH", "PATCH"), ("PURGE", "PURGE"), ("purge", "OTHER"), ("OTHER", "OTHER")]
        {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            assert_eq!(&*methods.label(methods.id(&method)), label);
        }
        for number in 0..1_000 {
            methods.name(&format!("M{number}"));
        }
        assert_eq!(methods.named.read().len(), MAX_NAMED);
    }
}
