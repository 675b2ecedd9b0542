//! From route after route to a [`Router`]: drafts of the trees, duplicates, and the compact form.
//!
//! Drafts keep everything in sorted maps, so the result does not depend on the order of routes.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use super::hosts::{HostPattern, Hosts};
use super::literals::Literals;
use super::methods::{self, MethodNames, MethodSet};
use super::{Entry, Leaf, Node, NodeId, Router};
use crate::captures::extents;
use crate::template::{Segment, Template};

/// Which methods a route is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Methods {
    /// Every method that no other route of the same template names.
    Any,
    /// These tokens, compared with their case; `HEAD` is implied by `GET`. Repeated ones count once.
    List(Vec<String>),
}

impl Methods {
    /// A single method.
    #[must_use]
    pub fn one(method: &str) -> Methods {
        Methods::List(vec![method.to_owned()])
    }
}

/// One route with one template. A route with several templates is added several times.
#[derive(Debug, Clone)]
pub struct RouteSpec<'a> {
    /// An exact name, `*.example.com` for every name below, or `None` for any host. Without port.
    pub host: Option<&'a str>,
    /// Its methods.
    pub methods: Methods,
    /// Its paths.
    pub template: &'a Template,
    /// What [`Find::Route`](super::Find::Route) gives back. Several specs may have the same number.
    pub route: u32,
}

/// Why a route cannot be added at all.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AddError {
    /// The list of methods is empty.
    #[error("no method")]
    NoMethod,
    /// A method is no token of RFC 9110.
    #[error("{0:?} is not a method")]
    Method(String),
    /// More methods beyond the standard ones than a router can tell apart.
    #[error("more than {max} methods that are not in RFC 9110", max = methods::MAX_CUSTOM)]
    TooManyMethods,
    /// A host that is no name, no address, and no name behind `*.`.
    #[error("{0:?} is not a host name, nor a wildcard like *.example.com")]
    Host(String),
}

/// Two routes of which one could never be found: same host, same paths, and a method in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Duplicate {
    /// Number of the route that was added first.
    pub first: u32,
    /// Number of the other.
    pub second: u32,
    /// The methods that both have, sorted; `*` if both are for any method.
    pub methods: Vec<String>,
    /// The template of the other.
    pub template: String,
}

/// Collects routes for a [`Router`].
#[derive(Debug, Default)]
pub struct RouterBuilder {
    nodes: Vec<DraftNode>,
    roots: BTreeMap<HostPattern, usize>,
    entries: Vec<Entry>,
    custom_methods: BTreeSet<String>,
    duplicates: Vec<Duplicate>,
}

#[derive(Debug, Default)]
struct DraftNode {
    literals: BTreeMap<String, usize>,
    star: Option<usize>,
    rest: Option<usize>,
    leaf: DraftLeaf,
    verbs: BTreeMap<String, DraftLeaf>,
}

/// Entries by method.
#[derive(Debug, Default)]
struct DraftLeaf {
    methods: BTreeMap<String, u32>,
    any: Option<u32>,
}

impl RouterBuilder {
    /// Without routes.
    #[must_use]
    pub fn new() -> RouterBuilder {
        RouterBuilder::default()
    }

    /// Adds a route. A duplicate is not an error here; [`build`](RouterBuilder::build) reports them all.
    ///
    /// # Errors
    /// A host or method that cannot be one. The route was not added then.
    pub fn add(&mut self, spec: RouteSpec<'_>) -> Result<(), AddError> {
        let host =
            HostPattern::parse(spec.host).ok_or_else(|| AddError::Host(spec.host.unwrap_or_default().to_owned()))?;
        let methods = self.checked_methods(spec.methods)?;
        let node = self.node_for(host, spec.template.segments());
        let entry = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        self.entries.push(Entry { route: spec.route, extents: extents(spec.template) });
        let Some(node) = self.nodes.get_mut(node) else {
            return Ok(());
        };
        let leaf = match spec.template.verb() {
            Some(verb) => node.verbs.entry(verb.to_owned()).or_default(),
            None => &mut node.leaf,
        };
        for (first, methods) in leaf.insert(methods, entry) {
            let first = self.entries.get(super::as_index(first)).map_or(spec.route, |entry| entry.route);
            let template = spec.template.as_str().to_owned();
            self.duplicates.push(Duplicate { first, second: spec.route, methods, template });
        }
        Ok(())
    }

    /// Compiles the routes.
    ///
    /// # Errors
    /// All pairs of routes that exclude each other, in the order in which they were added; never empty.
    pub fn build(self) -> Result<Router, Vec<Duplicate>> {
        if !self.duplicates.is_empty() {
            return Err(self.duplicates);
        }
        let names = MethodNames::new(self.custom_methods.into_iter().map(String::into_boxed_str).collect());
        let nodes = self.nodes.into_iter().map(|node| node.compile(&names)).collect();
        let mut hosts = Hosts::default();
        for (pattern, root) in self.roots {
            hosts.insert(pattern, node_id(root));
        }
        Ok(Router { nodes, entries: self.entries.into(), hosts, methods: names })
    }

    fn checked_methods(&mut self, methods: Methods) -> Result<Option<BTreeSet<String>>, AddError> {
        let Methods::List(list) = methods else {
            return Ok(None);
        };
        if list.is_empty() {
            return Err(AddError::NoMethod);
        }
        if let Some(wrong) = list.iter().find(|method| !is_token(method)) {
            return Err(AddError::Method(wrong.clone()));
        }
        let custom: BTreeSet<String> = list.iter().filter(|method| !methods::is_standard(method)).cloned().collect();
        if self.custom_methods.union(&custom).count() > methods::MAX_CUSTOM {
            return Err(AddError::TooManyMethods);
        }
        self.custom_methods.extend(custom);
        Ok(Some(list.into_iter().collect()))
    }

    /// The node at which templates with these segments end.
    fn node_for(&mut self, host: HostPattern, segments: &[Segment]) -> usize {
        let mut at = match self.roots.get(&host) {
            Some(&root) => root,
            None => {
                let root = self.new_node();
                self.roots.insert(host, root);
                root
            }
        };
        let (before, tail) = match segments.iter().position(|s| *s == Segment::DoubleStar) {
            Some(i) => (segments.get(..=i).unwrap_or_default(), segments.get(i + 1..).unwrap_or_default()),
            None => (segments, [].as_slice()),
        };
        for segment in before.iter().chain(tail.iter().rev()) {
            at = self.child(at, segment);
        }
        at
    }

    fn child(&mut self, parent: usize, segment: &Segment) -> usize {
        let existing = self.nodes.get(parent).and_then(|node| match segment {
            Segment::Literal(text) => node.literals.get(text).copied(),
            Segment::Star => node.star,
            Segment::DoubleStar => node.rest,
        });
        if let Some(child) = existing {
            return child;
        }
        let child = self.new_node();
        if let Some(node) = self.nodes.get_mut(parent) {
            match segment {
                Segment::Literal(text) => {
                    node.literals.insert(text.clone(), child);
                }
                Segment::Star => node.star = Some(child),
                Segment::DoubleStar => node.rest = Some(child),
            }
        }
        child
    }

    fn new_node(&mut self) -> usize {
        self.nodes.push(DraftNode::default());
        self.nodes.len() - 1
    }
}

impl DraftLeaf {
    /// Enters the route and gives the earlier ones that are in its way, each with the methods in common.
    fn insert(&mut self, methods: Option<BTreeSet<String>>, entry: u32) -> BTreeMap<u32, Vec<String>> {
        let mut taken = BTreeMap::<u32, Vec<String>>::new();
        let Some(methods) = methods else {
            match self.any {
                Some(first) => taken.entry(first).or_default().push("*".to_owned()),
                None => self.any = Some(entry),
            }
            return taken;
        };
        for method in methods {
            match self.methods.get(&method) {
                Some(&first) => taken.entry(first).or_default().push(method),
                None => {
                    self.methods.insert(method, entry);
                }
            }
        }
        taken
    }

    fn compile(self, names: &MethodNames) -> Leaf {
        let mut by_bit: Vec<(MethodSet, u32)> =
            self.methods.iter().map(|(method, &entry)| (names.one(method), entry)).collect();
        let methods = by_bit.iter().fold(MethodSet::default(), |all, (one, _)| all.union(*one));
        by_bit.sort_by_key(|(one, _)| methods.rank(*one));
        Leaf { methods, entries: by_bit.into_iter().map(|(_, entry)| entry).collect(), any: self.any }
    }
}

impl DraftNode {
    fn compile(self, names: &MethodNames) -> Node {
        let literals = self.literals.into_iter().map(|(text, node)| (text.into_boxed_str(), node_id(node))).collect();
        let verbs = self.verbs.into_iter().map(|(verb, leaf)| (verb.into_boxed_str(), leaf.compile(names)));
        Node {
            literals: Literals::new(literals),
            star: self.star.map(node_id),
            rest: self.rest.map(node_id),
            leaf: self.leaf.compile(names),
            verbs: verbs.collect(),
        }
    }
}

/// Nodes are fewer than 64 times the routes, so the number fits; a lost one would only never be found.
fn node_id(index: usize) -> NodeId {
    u32::try_from(index).unwrap_or(NodeId::MAX)
}

/// A token of RFC 9110, section 5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}
