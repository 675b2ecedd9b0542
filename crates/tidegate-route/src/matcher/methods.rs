//! Sets of methods as bitmaps, and the names behind the bits.
//!
//! Bit positions are fixed for the methods of RFC 9110 and `PATCH`; others follow in alphabetical order, so that
//! `Allow` never depends on the order of routes.

use std::fmt;

/// The methods that have a bit in every router, in the order in which `Allow` lists them.
const STANDARD: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE"];

/// How many other methods one router can tell apart.
pub(super) const MAX_CUSTOM: usize = 64 - STANDARD.len();

/// A set of methods, one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct MethodSet(u64);

impl MethodSet {
    pub(super) const GET: MethodSet = MethodSet(1);
    pub(super) const HEAD: MethodSet = MethodSet(1 << 1);

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn union(self, other: MethodSet) -> MethodSet {
        MethodSet(self.0 | other.0)
    }

    /// How many members come before `one`, if it is one of them.
    pub(super) fn rank(self, one: MethodSet) -> Option<usize> {
        if self.0 & one.0 == 0 {
            return None;
        }
        usize::try_from((self.0 & one.0.wrapping_sub(1)).count_ones()).ok()
    }
}

/// Which bit stands for which method.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct MethodNames {
    /// Sorted.
    custom: Box<[Box<str>]>,
}

impl MethodNames {
    /// `custom` is sorted and has at most [`MAX_CUSTOM`] names.
    pub(super) fn new(custom: Box<[Box<str>]>) -> MethodNames {
        MethodNames { custom }
    }

    /// The set of this one method; empty if the router does not know it.
    pub(super) fn one(&self, method: &str) -> MethodSet {
        let standard = STANDARD.iter().position(|name| *name == method);
        let custom = || self.custom.binary_search_by(|name| (**name).cmp(method)).ok();
        match standard.or_else(|| custom().map(|i| i + STANDARD.len())) {
            Some(bit) => MethodSet(1 << bit),
            None => MethodSet::default(),
        }
    }

    fn name(&self, bit: usize) -> &str {
        match bit.checked_sub(STANDARD.len()) {
            None => STANDARD.get(bit).copied().unwrap_or_default(),
            Some(i) => self.custom.get(i).map(|name| &**name).unwrap_or_default(),
        }
    }
}

/// Whether `method` is one of [`STANDARD`].
pub(super) fn is_standard(method: &str) -> bool {
    STANDARD.contains(&method)
}

/// The methods that a path has: the value of an `Allow` header, `GET, HEAD, POST`.
///
/// `HEAD` is there whenever `GET` is, because it is answered (RFC 9110, section 10.2.1, asks for the methods that are
/// supported). Never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allow<'r> {
    methods: MethodSet,
    names: &'r MethodNames,
}

impl<'r> Allow<'r> {
    pub(super) fn new(methods: MethodSet, names: &'r MethodNames) -> Allow<'r> {
        let head = methods.rank(MethodSet::GET).map(|_| MethodSet::HEAD).unwrap_or_default();
        Allow { methods: methods.union(head), names }
    }

    /// The methods, standard ones first, in an order that does not depend on the routes' order.
    pub fn iter(self) -> impl Iterator<Item = &'r str> {
        let names = self.names;
        (0..64).filter(move |bit| self.methods.0 >> bit & 1 == 1).map(|bit| names.name(bit))
    }
}

impl fmt::Display for Allow<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, name) in self.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            f.write_str(name)?;
        }
        Ok(())
    }
}
