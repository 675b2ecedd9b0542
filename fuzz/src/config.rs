//! Properties of the configuration reader.

use std::collections::BTreeMap;
use std::path::Path;

use tidegate_config::source::Memory;
use tidegate_config::valid::{Action, ServiceProtocol};
use tidegate_config::{Diagnostics, Loaded, Place, Valid, load};

/// What `${SECRET}` stands for; it must never be seen.
const SECRET: &str = "hunter2-xyzzy";

/// Input: a main file. It is accepted with every reference resolved, or refused with problems whose places exist; the
/// outputs are printable and never show what came from outside the file.
pub fn config(input: &[u8]) {
    let files = [("main.yaml", input), ("more.yaml", b"routes: [{ name: more, path: /more, respond: {} }]\n")];
    let variables = [("SECRET", SECRET), ("PORT", "8080"), ("EMPTY", "")];
    let source = Memory {
        files: files.map(|(name, bytes)| (name.into(), bytes.to_vec())).into(),
        variables: BTreeMap::from(variables.map(|(name, value)| (name.to_owned(), value.to_owned()))),
    };
    let result = load(&source, Path::new("main.yaml"));
    let diagnostics = match &result {
        Ok(Loaded { valid, diagnostics }) => {
            refers_to_what_exists(valid);
            diagnostics
        }
        Err(diagnostics) => diagnostics,
    };
    assert_eq!(result.is_err(), diagnostics.has_errors());
    outputs_are_clean(input, diagnostics);
}

fn outputs_are_clean(input: &[u8], diagnostics: &Diagnostics) {
    let lines = String::from_utf8_lossy(input).split(['\n', '\r']).count();
    for place in diagnostics.problems().iter().filter_map(|problem| problem.place.as_ref()) {
        check_place(place);
        assert!(usize::try_from(place.line).is_ok_and(|line| line <= lines.max(2)), "{place:?} of {lines} lines");
    }
    let (text, json) = (diagnostics.to_text(), diagnostics.to_json());
    assert!(text.ends_with('\n') && !text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
    assert!(json.starts_with("{\"ok\":") && json.ends_with('}') && !json.contains('\n'), "{json}");
    let typed = input.windows(SECRET.len()).any(|window| window == SECRET.as_bytes());
    assert!(typed || (!text.contains(SECRET) && !json.contains(SECRET)), "{text}{json}");
}

fn check_place(place: &Place) {
    assert!(place.line >= 1 && place.column >= 1 && place.end_column > place.column, "{place:?}");
}

fn refers_to_what_exists(valid: &Valid) {
    assert!(!valid.listeners.is_empty() && !valid.files.is_empty());
    for listener in &valid.listeners {
        check_place(&listener.place);
        assert!(!listener.protocols.is_empty());
    }
    for service in &valid.services {
        check_place(&service.place);
        assert!(!service.endpoints.is_empty());
        assert!(service.connections.min >= 1 && service.connections.min <= service.connections.max);
        assert_eq!(service.tls.is_some(), service.endpoints.iter().any(|endpoint| endpoint.tls));
    }
    for route in &valid.routes {
        check_place(&route.place);
        assert!(!route.policy.stream.is_empty());
        assert!(route.policy.envelope.is_none_or(|index| index < valid.envelopes.len()));
        assert!(route.policy.timeout.is_none_or(|timeout| !timeout.is_zero()));
        match &route.action {
            Action::Grpc(grpc) => assert!(grpc.service < valid.services.len()),
            Action::Proxy(proxy) => {
                assert!(route.path.is_some());
                let service = valid.services.get(proxy.service);
                assert!(service.is_some_and(|service| service.protocol == ServiceProtocol::Http));
            }
            Action::Native(native) => assert!(native.service < valid.services.len() && route.path.is_some()),
            Action::Realtime(realtime) => {
                let known = |service: usize| service < valid.services.len();
                assert!(route.path.is_some() && realtime.request.as_ref().is_none_or(|request| known(request.service)));
            }
            Action::Respond(respond) => assert!(route.path.is_some() && (200..=599).contains(&respond.status)),
        }
    }
}
