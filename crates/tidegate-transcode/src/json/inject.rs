//! Values that come from outside the body, mostly from the path, and are written into the message with it.
//!
//! A tree whose inner nodes are sub-messages and whose leaves are encoded fields, kept in two flat lists so that a
//! typical request allocates nothing for it. The reader walks it beside the body: it goes down with the body into a
//! sub-message, checks that the body does not contradict a leaf, and writes what the body did not mention when it closes
//! the message.

use smallvec::SmallVec;

use crate::plan::{FieldIndex, MsgId};
use crate::schema::Schema;
use crate::wire;

/// Encoded fields, grouped by the sub-message that they belong to.
#[derive(Clone, Debug, Default)]
pub struct Injection {
    bytes: SmallVec<[u8; 64]>,
    nodes: SmallVec<[Node; 4]>,
    first: Link,
}

/// Index of a node plus one; zero is the end of a list.
type Link = u16;

#[derive(Clone, Copy, Debug)]
struct Node {
    field: FieldIndex,
    next: Link,
    content: Content,
}

#[derive(Clone, Copy, Debug)]
enum Content {
    /// A range of `bytes`: tag and value, or nothing at all for a zero that is left out on the wire.
    Leaf { start: u32, end: u32 },
    /// A sub-message and its first node.
    Message { first: Link },
}

/// More nodes than this are not accepted; a path has at most 64 segments and a query at most 1,000 parameters.
const MAX_NODES: usize = 8_000;

/// One level of an [`Injection`]: the fields that are bound in one message.
#[derive(Clone, Copy, Debug)]
pub struct Bound<'a> {
    injection: &'a Injection,
    first: Link,
}

/// A field of a [`Bound`].
#[derive(Clone, Copy, Debug)]
pub enum BoundValue<'a> {
    /// The encoded field with its tag, as the reader would have written it. Empty for a zero without presence.
    Leaf(&'a [u8]),
    /// A singular message field in which something is bound.
    Message(Bound<'a>),
}

/// [`Injection::insert`] was given a path through a leaf, an empty path, or more than fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bound values exclude each other")]
pub struct InjectionFull;

impl Injection {
    /// An empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// True if nothing is bound.
    pub fn is_empty(&self) -> bool {
        self.first == 0
    }

    /// Binds the field at the end of `path`, which gives the index of a field in each message from the outermost
    /// inwards. `encoded` is the whole field, tag included. Inserting the same path again adds another leaf behind the
    /// first one, which is how repeated fields are bound.
    ///
    /// # Errors
    /// [`InjectionFull`] if the path is empty, leads through a leaf or ends at an inner node, or the tree is full.
    pub fn insert(&mut self, path: &[FieldIndex], encoded: &[u8]) -> Result<(), InjectionFull> {
        let (&leaf, outer) = path.split_last().ok_or(InjectionFull)?;
        let mut parent = None;
        for &field in outer {
            parent = Some(self.descend(parent, field)?);
        }
        let has_message = self
            .children(parent)
            .any(|(_, node)| node.field == leaf && matches!(node.content, Content::Message { .. }));
        if has_message {
            return Err(InjectionFull);
        }
        let start = u32::try_from(self.bytes.len()).map_err(|_| InjectionFull)?;
        self.bytes.extend_from_slice(encoded);
        let end = u32::try_from(self.bytes.len()).map_err(|_| InjectionFull)?;
        self.push(parent, leaf, Content::Leaf { start, end })?;
        Ok(())
    }

    /// The outermost level.
    pub fn root(&self) -> Bound<'_> {
        Bound { injection: self, first: self.first }
    }

    fn descend(&mut self, parent: Option<usize>, field: FieldIndex) -> Result<usize, InjectionFull> {
        let found = self.children(parent).find(|(_, node)| node.field == field).map(|(at, node)| (at, node.content));
        match found {
            Some((at, Content::Message { .. })) => Ok(at),
            Some((_, Content::Leaf { .. })) => Err(InjectionFull),
            None => self.push(parent, field, Content::Message { first: 0 }),
        }
    }

    fn push(&mut self, parent: Option<usize>, field: FieldIndex, content: Content) -> Result<usize, InjectionFull> {
        let at = self.nodes.len();
        if at >= MAX_NODES {
            return Err(InjectionFull);
        }
        let link = Link::try_from(at + 1).map_err(|_| InjectionFull)?;
        let last = self.children(parent).last().map(|(at, _)| at);
        self.nodes.push(Node { field, next: 0, content });
        let slot = match (last, parent) {
            (Some(last), _) => self.nodes.get_mut(last).map(|node| &mut node.next),
            (None, Some(parent)) => self.nodes.get_mut(parent).and_then(|node| match &mut node.content {
                Content::Message { first } => Some(first),
                Content::Leaf { .. } => None,
            }),
            (None, None) => Some(&mut self.first),
        };
        *slot.ok_or(InjectionFull)? = link;
        Ok(at)
    }

    fn children(&self, parent: Option<usize>) -> impl Iterator<Item = (usize, &Node)> {
        let first = match parent.and_then(|at| self.nodes.get(at)).map(|node| node.content) {
            Some(Content::Message { first }) => first,
            Some(Content::Leaf { .. }) => 0,
            None => self.first,
        };
        self.list(first)
    }

    fn list(&self, first: Link) -> impl Iterator<Item = (usize, &Node)> {
        let node = |link: Link| {
            let at = usize::from(link).checked_sub(1)?;
            self.nodes.get(at).map(|node| (at, node))
        };
        std::iter::successors(node(first), move |(_, last)| node(last.next))
    }
}

impl<'a> Bound<'a> {
    /// True if nothing is bound at this level.
    pub fn is_empty(self) -> bool {
        self.first == 0
    }

    /// The bound fields, in the order in which they were inserted.
    pub fn fields(self) -> impl Iterator<Item = (FieldIndex, BoundValue<'a>)> {
        let injection = self.injection;
        injection.list(self.first).map(move |(_, node)| (node.field, injection.value(node)))
    }

    /// What is bound to `field`, the first leaf if there are several.
    pub fn find(self, field: FieldIndex) -> Option<BoundValue<'a>> {
        self.fields().find(|(bound, _)| *bound == field).map(|(_, value)| value)
    }

    /// The level below the fields of `path`; `None` if nothing is bound there.
    pub fn within(self, path: &[FieldIndex]) -> Option<Bound<'a>> {
        path.iter().try_fold(self, |level, &field| match level.find(field)? {
            BoundValue::Message(inner) => Some(inner),
            BoundValue::Leaf(_) => None,
        })
    }

    /// Appends all fields bound at this level and below, as fields of `message`.
    pub fn write(self, schema: &Schema, message: MsgId, out: &mut Vec<u8>) {
        for (field, value) in self.fields() {
            write_bound(schema, message, field, value, out);
        }
    }
}

impl Injection {
    fn value(&self, node: &Node) -> BoundValue<'_> {
        match node.content {
            Content::Leaf { start, end } => {
                BoundValue::Leaf(self.bytes.get(start as usize..end as usize).unwrap_or_default())
            }
            Content::Message { first } => BoundValue::Message(Bound { injection: self, first }),
        }
    }
}

/// Appends one bound field of `message`.
pub(crate) fn write_bound(
    schema: &Schema,
    message: MsgId,
    field: FieldIndex,
    value: BoundValue<'_>,
    out: &mut Vec<u8>,
) {
    let inner = match value {
        BoundValue::Leaf(encoded) => {
            out.extend_from_slice(encoded);
            return;
        }
        BoundValue::Message(inner) => inner,
    };
    let Some(plan) = schema.message(message).field(field) else {
        return;
    };
    let Some(sub) = plan.message() else { return };
    out.extend_from_slice(plan.tag());
    if plan.kind() == crate::plan::Kind::Group {
        inner.write(schema, sub, out);
        wire::put_tag(out, plan.number(), wire::WireType::EndGroup);
        return;
    }
    let open = wire::open_len(out);
    inner.write(schema, sub, out);
    wire::close_len(out, open);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(level: Bound<'_>) -> String {
        let fields = level.fields().map(|(field, value)| match value {
            BoundValue::Leaf(bytes) => format!("{field}={}", String::from_utf8_lossy(bytes)),
            BoundValue::Message(inner) => format!("{field}({})", shape(inner)),
        });
        fields.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn values_are_grouped_by_their_message() {
        let mut tree = Injection::new();
        assert!(tree.is_empty());
        for (path, bytes) in [(&[3u16, 1][..], "a"), (&[0], "b"), (&[3, 2, 5], "c"), (&[3, 1], "d"), (&[4], "")] {
            tree.insert(path, bytes.as_bytes()).unwrap();
        }
        assert_eq!(shape(tree.root()), "3(1=a 2(5=c) 1=d) 0=b 4=");
        assert_eq!(tree.root().within(&[3, 2]).map(shape).as_deref(), Some("5=c"));
        assert!(tree.root().within(&[0]).is_none());
        assert!(tree.root().find(9).is_none());
    }

    #[test]
    fn a_value_and_a_message_exclude_each_other() {
        let mut tree = Injection::new();
        tree.insert(&[1, 2], b"x").unwrap();
        for path in [&[1u16][..], &[1, 2, 3], &[]] {
            assert_eq!(tree.insert(path, b"y"), Err(InjectionFull), "{path:?}");
        }
    }
}
