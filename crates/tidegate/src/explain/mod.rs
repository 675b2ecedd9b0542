//! What a snapshot would do with a request, and why: the route, its policies with their places in the configuration, the
//! refusal that would come without anything being sent, and what keeps the request from every other route.
//!
//! Nothing is sent and nothing is counted. The decisions are not copied from the path of a request but made by the same
//! functions: `head`, the canonical path, the router, the preflight of the action. What a listener refuses before there
//! is a head (framing, sizes) is not explained.

mod answer;
mod near;
mod policies;
mod question;
mod table;
#[cfg(test)]
mod tests;
mod text;

use std::net::SocketAddr;
use std::sync::Arc;

use http::request::Parts;
use tidegate_config::Valid;
use tidegate_config::valid::{Action as ConfigAction, Descriptors};
use tidegate_route::{Captures, MultiEscape, PathError, canonicalize};

pub use answer::{Explanation, FieldError, Origin, Policy, Refusal, Rejected, RequestView, RouteView, Stage, Verdict};
pub use question::{Question, QuestionError};

use crate::action::Action;
use crate::action::failure::FailureStyle;
use crate::action::transcode::Transcode;
use crate::action::transcode::preflight::{Preflight, Step};
use crate::exchange::{Exchange, Intake};
use crate::head;
use crate::identity::Identity;
use crate::ids::{ConnInfo, WorkerId};
use crate::reject::{Reason, Reject};
use crate::snapshot::{CompiledRoute, Snapshot};

/// Who is asked: the gateway that serves, or a configuration that nobody runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standpoint {
    /// Backends have states, and what is not known yet is refused.
    Running,
    /// Nobody has asked a backend anything.
    Offline,
}

/// Explains what a serving gateway with this snapshot does with a request. Allocates; for the control thread.
#[must_use]
pub fn explain(snapshot: &Snapshot, question: &Question) -> Explanation {
    explain_as(snapshot, question, Standpoint::Running)
}

/// The same from another standpoint.
#[must_use]
pub fn explain_as(snapshot: &Snapshot, question: &Question, standpoint: Standpoint) -> Explanation {
    let host = question.headers.get(http::header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("");
    let raw_path = question.target.split('?').next().unwrap_or("");
    let canonical = canonicalize(raw_path.as_bytes(), snapshot.paths);
    let path = canonical.as_ref().map_or(raw_path, |path| path.as_str());
    let mut captures = Captures::new();
    let unrouted = |reject| (None, None, Some((&snapshot.unrouted.failure, reject)));
    let vetted = vetted(question, canonical.as_ref().err());
    // What is refused before routes are looked at is no near miss of any.
    let routed = vetted.is_ok();
    let mut identity = None;
    let (route, flight, refusal) = match vetted {
        Err(reject) => unrouted(reject),
        Ok(parts) => match snapshot.choose_for(host, &parts.method, &parts.headers, path, &mut captures) {
            Err(reject) => unrouted(Box::new(reject)),
            Ok(route) => {
                let route = snapshot.first_share(route);
                let flight = match admitted(route, question, &parts, standpoint) {
                    Ok(known) => {
                        identity = known;
                        fly(route, question, parts, path, &captures, standpoint)
                    }
                    Err(refusal) => Some(Preflight { refusal: Some(refusal), ..Preflight::default() }),
                };
                let refusal = flight.as_ref().and_then(|flight| flight.refusal.clone());
                (Some(route), flight, refusal.map(|(_, reject)| (&*route.failure, reject)))
            }
        },
    };
    let asked = near::Asked { host, method: question.method.as_str(), path };
    let (rejected, rejected_more) = if routed { near::rejected(snapshot, &asked, route) } else { (Vec::new(), 0) };
    let policies = |compiled| {
        let (valid, method, headers) = (&*snapshot.valid, &question.method, &question.headers);
        let (flight, identity) = (flight.as_ref(), identity.as_deref());
        policies::of(&policies::Context { valid, compiled, method, headers, flight, identity, standpoint })
    };
    Explanation {
        request: RequestView { method: question.method.to_string(), host: host.to_owned(), path: path.to_owned() },
        matched: route.map(|route| route.name.to_string()),
        route: route.map(|route| view(&snapshot.valid, route)),
        captures: route.map(|route| named(route, &captures, path)).unwrap_or_default(),
        policies: route.map(policies).unwrap_or_default(),
        rejected,
        rejected_more,
        would_answer: refusal.map(|(style, reject)| told(style, &reject)),
        notes: notes(snapshot, standpoint),
    }
}

/// The policies of a route in their order, whoever asks.
#[must_use]
pub fn policies(snapshot: &Snapshot, compiled: &CompiledRoute) -> Vec<Policy> {
    let (valid, method, headers) = (&*snapshot.valid, &http::Method::GET, &http::HeaderMap::new());
    policies::of(&policies::Context {
        valid,
        compiled,
        method,
        headers,
        flight: None,
        identity: None,
        standpoint: Standpoint::Running,
    })
}

/// The head as a listener leaves it, with a path that has a canonical form.
fn vetted(question: &Question, malformed: Option<&PathError>) -> Result<Box<Parts>, Box<Reject>> {
    let request = question.request().ok_or_else(|| head::bad("malformed request target"))?;
    let mut parts = request.into_parts().0;
    head::vet(&mut parts)?;
    match malformed {
        Some(error) => Err(Box::new(Reject::bad_path(error))),
        None => Ok(Box::new(parts)),
    }
}

/// Who the request is from, by the credential in it, or the step that would refuse it and how.
fn admitted(
    route: &CompiledRoute,
    question: &Question,
    parts: &Parts,
    standpoint: Standpoint,
) -> Result<Option<Arc<Identity>>, (Step, Box<Reject>)> {
    let exchange = Exchange::begin(&nobody(question.tls), parts, &Intake::default());
    route.access.judge(&exchange, parts).or_else(|reject| match reject.reason {
        // Nobody has fetched any keys.
        Reason::ConnectFailed if standpoint == Standpoint::Offline => Ok(None),
        Reason::Forbidden => Err((Step::Authorisation, Box::new(reject))),
        _ => Err((Step::Authentication, Box::new(reject))),
    })
}

/// What the action would do before it sends anything; `None` for actions that send nothing.
fn fly(
    route: &CompiledRoute,
    question: &Question,
    parts: Box<Parts>,
    path: &str,
    captures: &Captures,
    standpoint: Standpoint,
) -> Option<Preflight> {
    if let Some(answer) = route.cors.as_ref().and_then(|cors| cors.preflight(&parts)) {
        let refusal = answer.err().map(|reject| (Step::Cors, Box::new(reject)));
        return Some(Preflight { refusal, ..Preflight::default() });
    }
    if let Some(reject) = route.validate.as_ref().and_then(|demands| demands.announced(&parts).err()) {
        return Some(Preflight { refusal: Some((Step::Validation, Box::new(reject))), ..Preflight::default() });
    }
    if let Some(transcode) = route.action.transcode() {
        let exchange = Exchange::begin(&nobody(question.tls), &parts, &Intake::default());
        return Some(transcode.preflight(&exchange, parts, path, captures));
    }
    if !matches!(route.action, Action::Pending) || standpoint == Standpoint::Offline {
        return None;
    }
    let reject = Reject::new(Reason::NoHealthyEndpoint).detail("the service is not known yet");
    Some(Preflight { refusal: Some((Step::Service, Box::new(reject))), ..Preflight::default() })
}

/// The connection of a request that nobody has sent.
fn nobody(tls: bool) -> Arc<ConnInfo> {
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    Arc::new(ConnInfo { tls, ..ConnInfo::new(WorkerId::new(0), "explain".into(), address) })
}

fn named(route: &CompiledRoute, captures: &Captures, path: &str) -> std::collections::BTreeMap<String, String> {
    let variables = route.template.variables().iter().enumerate();
    let escape = route.action.transcode().map_or_else(MultiEscape::default, Transcode::escape);
    let value = |index| captures.decode(index, path, escape).unwrap_or_default().into_owned();
    variables.map(|(index, variable)| (variable.field_path.clone(), value(index))).collect()
}

fn view(valid: &Valid, route: &CompiledRoute) -> RouteView {
    RouteView {
        hosts: route.hosts.clone(),
        methods: route.methods.clone(),
        path: route.template.as_str().to_owned(),
        target: route.target.to_string(),
        origin: table::origin(valid, route),
    }
}

fn told(style: &FailureStyle, reject: &Reject) -> Refusal {
    let field = |violation: &tidegate_transcode::Violation| FieldError {
        field: violation.field.clone(),
        message: violation.message.to_string(),
    };
    Refusal {
        status: style.status(reject).as_u16(),
        reason: reject.reason.word().to_owned(),
        detail: reject.message().to_owned(),
        allow: reject.allow.as_deref().map(str::to_owned),
        errors: reject.violations.iter().map(field).collect(),
    }
}

/// Routes that may exist without being in the table: their paths stand in annotations that nobody has read yet.
fn notes(snapshot: &Snapshot, standpoint: Standpoint) -> Vec<String> {
    let valid = &snapshot.valid;
    let mut notes = Vec::new();
    for route in valid.routes.iter().filter(|route| route.path.is_none()) {
        let ConfigAction::Grpc(grpc) = &route.action else { continue };
        let Some(service) = valid.services.get(grpc.service) else { continue };
        let known = snapshot.routes.iter().any(|row| *row.name == *route.name);
        if known || service.descriptors != Descriptors::Reflection {
            continue;
        }
        let (name, service) = (&route.name, &service.name);
        notes.push(match standpoint {
            Standpoint::Running => format!("the paths of route {name} are not known yet: {service} has not told them"),
            Standpoint::Offline => format!("the paths of route {name} are not known offline: ask a running gateway (--admin) that {service} has told them"),
        });
    }
    notes
}
