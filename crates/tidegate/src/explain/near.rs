//! The routes that a request does not take, and what keeps it from them.

use tidegate_route::{Difference, DifferenceKind, host_fits};

use super::answer::{Origin, Rejected};
use super::table;
use crate::snapshot::{CompiledRoute, Snapshot};

/// Most routes that an explanation tells about.
pub(super) const MAX_REJECTED: usize = 10;

/// How far a wrong method and a wrong host are, on the scale of [`Difference::weight`]: the right path with the wrong
/// method is nearer than any other path but one with a trifle.
const METHOD_WEIGHT: usize = 1;
const HOST_WEIGHT: usize = 4;

/// A request as predicates see it.
pub(super) struct Asked<'a> {
    pub(super) host: &'a str,
    pub(super) method: &'a str,
    /// Canonical, or what was sent.
    pub(super) path: &'a str,
}

/// All routes but `chosen`, the nearest first, ties in the order of the table; at most [`MAX_REJECTED`], and how many
/// more there are.
pub(super) fn rejected(
    snapshot: &Snapshot,
    asked: &Asked<'_>,
    chosen: Option<&CompiledRoute>,
) -> (Vec<Rejected>, usize) {
    let others = snapshot.routes.iter().filter(|route| route.leads);
    let others =
        others.filter(|route| chosen.is_none_or(|chosen| chosen.index.is_none() || chosen.index != route.index));
    let mut found: Vec<(usize, &CompiledRoute, Miss)> =
        others.map(|route| (route, Miss::of(route, asked))).map(|(route, miss)| (miss.weight(), route, miss)).collect();
    found.sort_by_key(|(weight, ..)| *weight);
    let more = found.len().saturating_sub(MAX_REJECTED);
    found.truncate(MAX_REJECTED);
    let rejected =
        found.iter().map(|(_, route, miss)| miss.told(route, asked, chosen, table::origin(&snapshot.valid, route)));
    (rejected.collect(), more)
}

/// What keeps a request from one route.
struct Miss {
    host: bool,
    differences: Vec<Difference>,
    method: bool,
}

impl Miss {
    fn of(route: &CompiledRoute, asked: &Asked<'_>) -> Self {
        let host = !route.hosts.is_empty() && !route.hosts.iter().any(|pattern| host_fits(pattern, asked.host));
        let method = route.methods.as_ref().is_some_and(|methods| {
            // As in the matcher, a route for GET answers HEAD.
            !methods.iter().any(|one| one == asked.method || (asked.method == "HEAD" && one == "GET"))
        });
        Self { host, differences: route.template.differences(asked.path), method }
    }

    fn weight(&self) -> usize {
        let path: usize = self.differences.iter().map(Difference::weight).sum();
        path + usize::from(self.host) * HOST_WEIGHT + usize::from(self.method) * METHOD_WEIGHT
    }

    fn path_told(&self) -> String {
        let unrelated = self.differences.iter().map(Difference::weight).sum::<usize>() > UNRELATED;
        let count = if unrelated { 1 } else { self.differences.len() };
        let told: Vec<String> = self.differences.iter().take(count).map(told).collect();
        told.join(", ")
    }

    fn told(
        &self,
        route: &CompiledRoute,
        asked: &Asked<'_>,
        chosen: Option<&CompiledRoute>,
        origin: Origin,
    ) -> Rejected {
        let mut parts: Vec<(&str, String, String)> = Vec::new();
        if self.host {
            parts.push(("host", route.hosts.join(", "), format!("the request asks for {:?}", asked.host)));
        }
        if !self.differences.is_empty() {
            parts.push(("path", route.template.as_str().to_owned(), self.path_told()));
        }
        if self.method {
            let wanted = route.methods.as_deref().unwrap_or_default().join(", ");
            parts.push(("method", wanted.clone(), wrong_method(asked.method, &wanted)));
        }
        let first = match parts.first() {
            Some((predicate, wanted, _)) => ((*predicate).to_owned(), wanted.clone()),
            None => ("precedence".to_owned(), route.template.as_str().to_owned()),
        };
        let mut why: Vec<String> = parts.into_iter().map(|(_, _, why)| why).collect();
        if let (true, Some(chosen)) = (why.is_empty(), chosen) {
            why.push(format!("{} is more specific", chosen.name));
        }
        Rejected { route: route.name.to_string(), predicate: first.0, wanted: first.1, why: why.join("; "), origin }
    }
}

/// A path that is further away than this has nothing to do with the route: its first difference says enough.
const UNRELATED: usize = 10;

fn wrong_method(method: &str, wanted: &str) -> String {
    if wanted.split(", ").any(|one| one.eq_ignore_ascii_case(method)) {
        return format!("the method is {method}: methods are written in upper case");
    }
    format!("the method is {method}")
}

/// Longer parts of a path are cut.
const MAX_SHOWN: usize = 64;

fn told(difference: &Difference) -> String {
    let at = difference.segment;
    match &difference.kind {
        DifferenceKind::Literal { wanted, found } if found.is_empty() => {
            format!("segment {at} is empty, the route wants {wanted:?}")
        }
        DifferenceKind::Literal { wanted, found } => {
            format!("segment {at} is {}, the route wants {wanted:?}", shown(found))
        }
        DifferenceKind::LetterCase { wanted, found } => {
            format!("segment {at} is {}, the route wants {wanted:?}: letter case counts", shown(found))
        }
        DifferenceKind::Empty => format!("segment {at} is empty, the route wants a value"),
        DifferenceKind::Missing { wanted, count } => {
            let wanted = if wanted == "*" { "a value".to_owned() } else { format!("{wanted:?}") };
            let more = if *count > 1 { format!(" and {} more", count - 1) } else { String::new() };
            format!("the path ends before segment {at}, where the route wants {wanted}{more}")
        }
        DifferenceKind::Extra { found, count } => {
            let more = if *count > 1 { format!(" and {} more", count - 1) } else { String::new() };
            format!("the route ends before segment {at}, the path goes on with {}{more}", shown(found))
        }
        DifferenceKind::TrailingSlash => "the path ends with a slash, the route does not".to_owned(),
        DifferenceKind::NoTrailingSlash => "the route ends with a slash, the path does not".to_owned(),
        DifferenceKind::NoVerb { wanted } => format!("the path does not end with \":{wanted}\""),
        DifferenceKind::ExtraVerb { found } => {
            format!("the path ends with {}, the route does not", shown(&format!(":{found}")))
        }
    }
}

/// Quoted, with everything escaped that could steer a terminal.
fn shown(text: &str) -> String {
    let end = text.floor_char_boundary(MAX_SHOWN);
    let cut = text.get(..end).unwrap_or(text);
    if cut.len() < text.len() { format!("{:?}…", cut) } else { format!("{text:?}") }
}
