//! The search through one tree after another: depth first, literal before `*` before `**`.
//!
//! The last segment of a path can be read in two ways: as it is, and, if it has a colon, as a segment and a verb. A
//! literal has no colon, so below literals only the second reading is left; below `*` and `**` both are tried where
//! the search ends, the verb first. The two readings are therefore never followed separately.
//!
//! Recursion is as deep as a template is long, at most 64 twice.

use super::methods::{MethodNames, MethodSet};
use super::{Leaf, Node, NodeId, Router, as_index};

/// Counts the steps of a search. `()` counts nothing and costs nothing.
pub(super) trait Meter {
    fn step(&mut self);
}

impl Meter for () {
    fn step(&mut self) {}
}

/// A template that matches path and method.
pub(super) struct Hit {
    /// Index of the router's entry.
    pub(super) entry: u32,
    /// Where the path ends without its verb.
    pub(super) path_end: usize,
}

pub(super) struct Search<'s, M> {
    nodes: &'s [Node],
    path: &'s str,
    /// Where the last segment starts.
    last: usize,
    /// Offset of the colon in front of what may be a verb.
    colon: Option<usize>,
    method: MethodSet,
    /// The other method that will do: GET for HEAD.
    or_method: MethodSet,
    /// Methods of all templates that match the path.
    allowed: MethodSet,
    meter: &'s mut M,
}

/// Which readings of the last segment have been matched so far.
#[derive(Clone, Copy)]
struct Reading {
    whole: bool,
    verb: bool,
}

impl<'s, M: Meter> Search<'s, M> {
    /// `None` if no template can match: `path` does not start with a slash, or is too long for the captures.
    pub(super) fn new(router: &'s Router, method: &str, path: &'s str, meter: &'s mut M) -> Option<Self> {
        let names: &MethodNames = &router.methods;
        let method = names.one(method);
        let or_method = if method == MethodSet::HEAD { MethodSet::GET } else { MethodSet::default() };
        if !path.starts_with('/') || u32::try_from(path.len()).is_err() {
            return None;
        }
        let last = memchr::memrchr(b'/', path.as_bytes()).map_or(0, |slash| slash + 1);
        let colon = memchr::memrchr(b':', path.as_bytes()).filter(|&colon| colon >= last);
        // Taking `:verb` off must not leave a dot segment, which the canonical form has refused elsewhere.
        let colon = colon.filter(|&colon| !matches!(path.get(last..colon), Some("." | "..")));
        let nodes = &router.nodes;
        Some(Search { nodes, path, last, colon, method, or_method, allowed: MethodSet::default(), meter })
    }

    pub(super) fn run(&mut self, root: NodeId) -> Option<Hit> {
        self.visit(root, 1)
    }

    /// What the paths seen so far would have allowed.
    pub(super) fn allowed(&self) -> MethodSet {
        self.allowed
    }

    /// Matches the segments from offset `at` on, of which there is at least one, below a node.
    fn visit(&mut self, id: NodeId, at: usize) -> Option<Hit> {
        let node = self.node(id)?;
        let end = if at == self.last { self.path.len() } else { self.segment_end(at) };
        if let Some(child) = node.literals.find(self.text(at, end), self.meter)
            && let Some(hit) = self.below_literal(child, at, end)
        {
            return Some(hit);
        }
        if at == self.last
            && let Some(colon) = self.colon
            && let Some(child) = node.literals.find(self.text(at, colon), self.meter)
            && let Some(hit) = self.finish(child, Reading { whole: false, verb: true })
        {
            return Some(hit);
        }
        if let Some(star) = node.star
            && let Some(hit) = self.below_star(star, at, end)
        {
            return Some(hit);
        }
        node.rest.and_then(|rest| self.tail(rest, at))
    }

    fn below_literal(&mut self, child: NodeId, at: usize, end: usize) -> Option<Hit> {
        if at == self.last {
            return self.finish(child, Reading { whole: true, verb: false });
        }
        self.visit(child, end + 1)
    }

    /// `*` matches any segment but an empty one.
    fn below_star(&mut self, star: NodeId, at: usize, end: usize) -> Option<Hit> {
        if at == self.last {
            return self.finish(star, Reading { whole: at < end, verb: self.colon.is_some_and(|colon| at < colon) });
        }
        if at == end {
            return None;
        }
        self.visit(star, end + 1)
    }

    /// Nothing is left of the path: a template ends here, or a `**` matches no segment.
    fn finish(&mut self, id: NodeId, reading: Reading) -> Option<Hit> {
        let node = self.node(id)?;
        if let Some(hit) = self.end(node, reading) {
            return Some(hit);
        }
        let rest = self.node(node.rest?)?;
        self.end(rest, reading)
    }

    /// `**`: whatever starts at offset `from` and ends with one of the tails of this node, the longest first.
    fn tail(&mut self, rest: NodeId, from: usize) -> Option<Hit> {
        let node = self.node(rest)?;
        // A tail that is not empty ends with a literal: without a colon in the last segment there is no verb to find,
        // and with one the whole segment is no literal.
        let (end, reading) = match self.colon {
            Some(colon) => (colon, Reading { whole: false, verb: true }),
            None => (self.path.len(), Reading { whole: true, verb: false }),
        };
        if let Some(child) = node.literals.find(self.text(self.last, end), self.meter)
            && let Some(hit) = self.longer_tail(child, from, self.last, reading)
        {
            return Some(hit);
        }
        self.end(node, Reading { whole: true, verb: self.colon.is_some() })
    }

    /// Tails that go on to the left of offset `start`, then the one that begins there.
    fn longer_tail(&mut self, id: NodeId, from: usize, start: usize, reading: Reading) -> Option<Hit> {
        let node = self.node(id)?;
        if start > from {
            let slash = start - 1;
            let left = memchr::memrchr(b'/', self.path.as_bytes().get(..slash)?).map_or(0, |slash| slash + 1);
            if let Some(child) = node.literals.find(self.text(left, slash), self.meter)
                && let Some(hit) = self.longer_tail(child, from, left, reading)
            {
                return Some(hit);
            }
        }
        self.end(node, reading)
    }

    /// Takes a template that ends at this node, if one has the method.
    fn end(&mut self, node: &Node, reading: Reading) -> Option<Hit> {
        if reading.verb
            && !node.verbs.is_empty()
            && let Some(colon) = self.colon
        {
            self.meter.step();
            let verb = self.text(colon + 1, self.path.len());
            if let Ok(found) = node.verbs.binary_search_by(|(name, _)| (**name).cmp(verb))
                && let Some((_, leaf)) = node.verbs.get(found)
                && let Some(entry) = self.take(leaf)
            {
                return Some(Hit { entry, path_end: colon });
            }
        }
        if !reading.whole {
            return None;
        }
        let entry = self.take(&node.leaf)?;
        Some(Hit { entry, path_end: self.path.len() })
    }

    /// The entry for the method; otherwise remembers which methods there are.
    fn take(&mut self, leaf: &Leaf) -> Option<u32> {
        let rank = leaf.methods.rank(self.method).or_else(|| leaf.methods.rank(self.or_method));
        if let Some(rank) = rank {
            return leaf.entries.get(rank).copied();
        }
        self.allowed = self.allowed.union(leaf.methods);
        leaf.any
    }

    fn node(&mut self, id: NodeId) -> Option<&'s Node> {
        self.meter.step();
        self.nodes.get(as_index(id))
    }

    fn segment_end(&self, at: usize) -> usize {
        let rest = self.path.as_bytes().get(at..).unwrap_or_default();
        memchr::memchr(b'/', rest).map_or(self.path.len(), |len| at + len)
    }

    /// A part of the path between two ASCII characters.
    fn text(&self, start: usize, end: usize) -> &'s str {
        self.path.get(start..end).unwrap_or_default()
    }
}
