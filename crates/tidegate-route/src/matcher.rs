//! One deterministic matcher: host, method and path to the number of a route.
//!
//! Per host there is a tree with one node per template prefix. Each node has literal children, a child for `*`, and a
//! child for `**`. What may follow `**` is only literals, so that child is again a tree, read from the end of the
//! path backwards. A leaf has a bitmap of methods, which also gives `Allow` when the method is the only thing wrong.
//!
//! **Which route wins.** Of all templates that match the path and have the method, the smallest in this order: compare
//! segment by segment, literal before `*` before `**`, and the end of a template before `**`; behind `**`, the longer
//! literal tail first; last, a template with a verb before the same one without. That is a depth-first search with
//! backtracking, and it does not depend on the order in which routes were added. Hosts are searched from the most
//! specific one: exact, then wildcards from the longest, then routes for any host.
//!
//! **Cost.** A search visits a node at most once, because a node has one depth: the number of steps is bounded by the
//! templates that overlap, not by the number of routes, and not at all by the length of the path, of which only the
//! ends are read. Nothing is allocated.

mod build;
mod hosts;
mod literals;
mod methods;
mod search;
#[cfg(test)]
mod tests;

use crate::captures::{Captures, Extent};
use hosts::Hosts;
use literals::Literals;
use methods::{MethodNames, MethodSet};
use search::{Meter, Search};

pub use build::{AddError, Duplicate, Methods, RouteSpec, RouterBuilder};
pub use hosts::host_fits;
pub use methods::Allow;

/// All routes of a listener, compiled. Immutable and shared between threads.
#[derive(Debug)]
pub struct Router {
    nodes: Box<[Node]>,
    entries: Box<[Entry]>,
    hosts: Hosts,
    methods: MethodNames,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Find<'r> {
    /// The number that was given with the route.
    Route(u32),
    /// Some template matches the path, but none of those has the method.
    MethodNotAllowed(Allow<'r>),
    /// No template matches the path.
    NotFound,
}

impl Router {
    /// Finds the route for a request and where its variables lie.
    ///
    /// `host` is the authority as sent: any case, with or without port. `method` is compared as it is; `HEAD` is also
    /// answered by routes for `GET`. `path` is canonical ([`canonicalize`](crate::canonicalize)), without query.
    /// `captures` is replaced: filled for `Route`, empty otherwise. Allocates nothing, except for templates of more
    /// than eight variables.
    #[must_use]
    pub fn find<'r>(&'r self, host: &str, method: &str, path: &str, captures: &mut Captures) -> Find<'r> {
        self.find_metered(host, method, path, captures, &mut ())
    }

    fn find_metered<'r>(
        &'r self,
        host: &str,
        method: &str,
        path: &str,
        captures: &mut Captures,
        meter: &mut impl Meter,
    ) -> Find<'r> {
        captures.clear();
        let Some(mut search) = Search::new(self, method, path, meter) else {
            return Find::NotFound;
        };
        let hit = self.hosts.roots(host).find_map(|root| search.run(root));
        if let Some(hit) = hit
            && let Some(entry) = self.entries.get(as_index(hit.entry))
        {
            captures.fill(&entry.extents, path.as_bytes().get(..hit.path_end).unwrap_or_default());
            return Find::Route(entry.route);
        }
        let allowed = search.allowed();
        if allowed.is_empty() {
            return Find::NotFound;
        }
        Find::MethodNotAllowed(Allow::new(allowed, &self.methods))
    }
}

/// Index of a [`Node`]; always valid within its router.
type NodeId = u32;

/// A prefix of templates, or, below a `rest`, a tail of them.
#[derive(Debug, Default)]
struct Node {
    literals: Literals,
    /// The child for `*`.
    star: Option<NodeId>,
    /// The child for `**`: root of the tree of tails, whose literals are read from the last segment backwards.
    rest: Option<NodeId>,
    /// Templates that end here without a verb.
    leaf: Leaf,
    /// Templates that end here with a verb, sorted by it.
    verbs: Box<[(Box<str>, Leaf)]>,
}

/// The routes of one template, by method.
#[derive(Debug, Default)]
struct Leaf {
    methods: MethodSet,
    /// One entry per member of `methods`, in the order of the bits.
    entries: Box<[u32]>,
    /// Entry for all other methods.
    any: Option<u32>,
}

/// One route with one template.
#[derive(Debug)]
struct Entry {
    route: u32,
    extents: Box<[Extent]>,
}

fn as_index(id: u32) -> usize {
    usize::try_from(id).unwrap_or(usize::MAX)
}
