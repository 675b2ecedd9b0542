//! Requests that are refused before anything is done for them, because the process has too much to do.

use http::header;
use http::header::{AUTHORIZATION, COOKIE, HeaderMap};
use http::request::Parts;
use tidegate_config::valid::{Auth, CredentialSource};
use tidegate_route::{Captures, canonicalize};

use crate::action::Action;
use crate::body::RequestBody;
use crate::overload::Cause;
use crate::reject::{Reason, Reject};
use crate::snapshot::{CompiledRoute, Snapshot};

/// The route that a request would have; `None` if none.
pub(super) fn route<'s>(snapshot: &'s Snapshot, head: &Parts) -> Option<&'s CompiledRoute> {
    let path = canonicalize(head.uri.path().as_bytes(), snapshot.paths).ok()?;
    let host = head.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = head.uri.host().or(host).unwrap_or("");
    snapshot.choose(host, head.method.as_str(), path.as_str(), &mut Captures::new()).ok()
}

/// What operators and balancers ask for is answered in any case: it is cheap, and says what is wrong.
pub(super) fn is_spared(route: Option<&CompiledRoute>) -> bool {
    route.is_some_and(|route| matches!(route.action, Action::System(_) | Action::Metrics(_) | Action::GrpcHealth(_)))
}

/// Whether a request would become a WebSocket, be it one that ends here or one that is passed through.
pub(super) fn opens_socket(snapshot: &Snapshot, head: &Parts, body: &RequestBody) -> bool {
    (matches!(body, RequestBody::Socket(_)) || tidegate_ws::asks(&head.headers))
        && route(snapshot, head).is_some_and(|route| route.action.takes_sockets())
}

/// Whether a request has what could be a credential. Nothing is checked: that is what there is no time for.
pub(super) fn has_credential(headers: &HeaderMap, auth: &Auth) -> bool {
    let named =
        |source: &CredentialSource| matches!(source, CredentialSource::Header(name) if headers.contains_key(name));
    headers.contains_key(AUTHORIZATION)
        || headers.contains_key(COOKIE)
        || auth.providers.iter().flat_map(|provider| &provider.from).any(named)
}

pub(super) fn reject(cause: Cause) -> Reject {
    Reject::new(Reason::Overloaded).cause(cause.word())
}
