//! Which trees a host searches: its own, those of matching wildcards from the longest, that for any host.
//!
//! A host is compared without case, port and final dot. All three can be varied freely by a client without changing
//! which server it means, so a route of a host must not be avoided by them.

use std::collections::HashMap;

use foldhash::fast::FixedState;
use smallvec::SmallVec;

use super::NodeId;

/// A DNS name has at most 253 characters; no longer host is looked up.
const MAX_LEN: usize = 253;

/// For which hosts a route is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum HostPattern {
    Exact(String),
    /// `*.example.com`, here `example.com`: every name with at least one more label.
    Below(String),
    Any,
}

impl HostPattern {
    /// `None` if the text is no host: empty, with a port, or with `*` elsewhere than as the first label.
    pub(super) fn parse(text: Option<&str>) -> Option<HostPattern> {
        let Some(text) = text else {
            return Some(HostPattern::Any);
        };
        let (below, name) = match text.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, text),
        };
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let is_address = !below && name.starts_with('[') && name.ends_with(']');
        let is_char =
            |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_') || is_address && b":[]".contains(&b);
        let labels =
            name.len() <= MAX_LEN && name.split('.').all(|label| !label.is_empty() && label.bytes().all(is_char));
        let pattern = if below { HostPattern::Below } else { HostPattern::Exact };
        labels.then(|| pattern(name))
    }
}

/// Whether a route for `pattern` (`api.example.com`, `*.example.com`) answers requests to `host`, the authority as sent.
///
/// The same rules as in a router, for explanations.
#[must_use]
pub fn host_fits(pattern: &str, host: &str) -> bool {
    let mut buffer = [0; MAX_LEN];
    let Some(name) = normalized(host, &mut buffer) else { return false };
    match HostPattern::parse(Some(pattern)) {
        Some(HostPattern::Exact(exact)) => exact == name,
        Some(HostPattern::Below(parent)) => {
            name.strip_suffix(parent.as_str()).is_some_and(|labels| labels.len() > 1 && labels.ends_with('.'))
        }
        Some(HostPattern::Any) => true,
        None => false,
    }
}

/// The roots of the trees by host.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    exact: HashMap<Box<str>, NodeId, FixedState>,
    below: HashMap<Box<str>, NodeId, FixedState>,
    /// Length of the longest key of `below`.
    below_len: usize,
    any: Option<NodeId>,
}

impl Hosts {
    pub(super) fn insert(&mut self, pattern: HostPattern, root: NodeId) {
        match pattern {
            HostPattern::Exact(name) => {
                self.exact.insert(name.into(), root);
            }
            HostPattern::Below(name) => {
                self.below_len = self.below_len.max(name.len());
                self.below.insert(name.into(), root);
            }
            HostPattern::Any => self.any = Some(root),
        }
    }

    /// Roots in the order in which they are to be searched.
    pub(super) fn roots<'h>(&'h self, host: &str) -> impl Iterator<Item = NodeId> + use<'h> {
        // More wildcards that contain each other than eight would be an odd configuration; it allocates.
        let mut roots = SmallVec::<[NodeId; 8]>::new();
        if !self.exact.is_empty() || !self.below.is_empty() {
            self.named_roots(host, &mut roots);
        }
        roots.into_iter().chain(self.any)
    }

    fn named_roots(&self, host: &str, roots: &mut SmallVec<[NodeId; 8]>) {
        let mut buffer = [0; MAX_LEN];
        let Some(name) = normalized(host, &mut buffer) else {
            return;
        };
        roots.extend(self.exact.get(name).copied());
        let mut rest = name;
        while let Some((_, parent)) = rest.split_once('.') {
            if parent.len() <= self.below_len {
                roots.extend(self.below.get(parent).copied());
            }
            rest = parent;
        }
    }
}

/// A host in lower case, without port and final dot. `None` if it is too long to be one.
fn normalized<'b>(host: &str, buffer: &'b mut [u8; MAX_LEN]) -> Option<&'b str> {
    let name = match host.rfind(']') {
        Some(bracket) => host.get(..=bracket)?,
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    let copy = buffer.get_mut(..name.len())?;
    copy.copy_from_slice(name.as_bytes());
    copy.make_ascii_lowercase();
    std::str::from_utf8(copy).ok()
}
