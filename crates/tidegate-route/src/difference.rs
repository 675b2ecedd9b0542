//! Why a path is not what a template asks for, in parts that people can be told about.
//!
//! The matcher answers yes or no as fast as it can and forgets why; this is the slow other half, for explanations. It
//! agrees with the matcher: there are no differences exactly when a router with this one template finds the path.

use crate::template::{Segment, Template};

/// One thing that would have to be otherwise for the path to match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Which segment of the path, from 1; for something missing the place where it would stand.
    pub segment: usize,
    /// What is wrong there.
    pub kind: DifferenceKind,
}

/// The ways in which a path can differ from a template. Texts of the path have their escapes as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DifferenceKind {
    /// Another text than the literal.
    Literal {
        /// What the template has.
        wanted: String,
        /// What the path has.
        found: String,
    },
    /// The literal in other letter case; paths are compared as they are.
    LetterCase {
        /// What the template has.
        wanted: String,
        /// What the path has.
        found: String,
    },
    /// The segment is empty, and the template wants a value.
    Empty,
    /// The path ends too early.
    Missing {
        /// The segment that would come next, as the template writes it.
        wanted: String,
        /// How many are missing.
        count: usize,
    },
    /// The path goes on behind the end of the template.
    Extra {
        /// The first segment too many.
        found: String,
        /// How many there are.
        count: usize,
    },
    /// The path ends with a slash, the template does not.
    TrailingSlash,
    /// The template ends with a slash, the path does not.
    NoTrailingSlash,
    /// The template has a verb that the path does not end with.
    NoVerb {
        /// The verb without its colon.
        wanted: String,
    },
    /// The path ends with `:verb` behind what the template wants without one.
    ExtraVerb {
        /// The verb without its colon.
        found: String,
    },
}

/// Texts that differ by more than this share of their letters are not taken for a slip of the pen.
const SLIP_SHARE: usize = 3;

/// Longer texts are not compared letter by letter: the path is a client's.
const MAX_COMPARED: usize = 64;

impl Difference {
    /// How far the path is from the template by this: 1 for a trifle such as a trailing slash, 6 for a text that has
    /// nothing to do with the literal.
    #[must_use]
    pub fn weight(&self) -> usize {
        match &self.kind {
            DifferenceKind::LetterCase { .. } | DifferenceKind::TrailingSlash | DifferenceKind::NoTrailingSlash => 1,
            DifferenceKind::NoVerb { .. } | DifferenceKind::ExtraVerb { .. } => 2,
            DifferenceKind::Empty => 3,
            DifferenceKind::Literal { wanted, found } if is_slip(wanted, found) => 2,
            DifferenceKind::Literal { .. } => 6,
            DifferenceKind::Missing { count, .. } | DifferenceKind::Extra { count, .. } => count.saturating_mul(4),
        }
    }
}

impl Template {
    /// What keeps `path` from matching, from left to right; empty if it matches. At most one entry for each segment of
    /// the template and two more, however long the path is. `path` is canonical, without query.
    ///
    /// Allocates; for explanations, not for requests.
    #[must_use]
    pub fn differences(&self, path: &str) -> Vec<Difference> {
        let mut found = Vec::new();
        let mut segments: Vec<&str> = path.strip_prefix('/').unwrap_or(path).split('/').collect();
        self.check_verb(&mut segments, &mut found);
        let wildcard = self.segments.iter().position(|segment| *segment == Segment::DoubleStar);
        match wildcard {
            None => self.check_all(&segments, &mut found),
            Some(at) => self.check_around(at, &segments, &mut found),
        }
        found.sort_by_key(|difference| difference.segment);
        found
    }

    /// Takes the verb off the last segment, or notes that it is not there.
    fn check_verb(&self, segments: &mut [&str], found: &mut Vec<Difference>) {
        let count = segments.len();
        let Some(last) = segments.last_mut() else { return };
        let Some(wanted) = self.verb.as_deref() else { return };
        if let Some((before, verb)) = last.rsplit_once(':')
            // As in the matcher: taking the verb off must not leave a dot segment.
            && !matches!(before, "." | "..")
        {
            *last = before;
            if verb == wanted {
                return;
            }
        }
        found.push(Difference { segment: count, kind: DifferenceKind::NoVerb { wanted: wanted.to_owned() } });
    }

    /// A template in which each segment stands for one of the path.
    fn check_all(&self, segments: &[&str], found: &mut Vec<Difference>) {
        for (index, (wanted, text)) in self.segments.iter().zip(segments).enumerate() {
            found.extend(self.check_one(wanted, text, index, segments.len()));
        }
        self.check_count(segments, found);
    }

    /// One segment; `index` is its place in a path of `count` segments.
    fn check_one(&self, wanted: &Segment, text: &str, index: usize, count: usize) -> Option<Difference> {
        let segment = index.saturating_add(1);
        let kind = match wanted {
            Segment::DoubleStar => return None,
            Segment::Star if text.is_empty() => DifferenceKind::Empty,
            Segment::Star => return None,
            Segment::Literal(literal) if literal == text => return None,
            Segment::Literal(literal) => {
                let wanted = literal.clone();
                let found = text.to_owned();
                let verb = text.rsplit_once(':').filter(|_| segment == count && self.verb.is_none());
                match verb {
                    Some((before, verb)) if before == literal => DifferenceKind::ExtraVerb { found: verb.to_owned() },
                    _ if literal.eq_ignore_ascii_case(text) => DifferenceKind::LetterCase { wanted, found },
                    _ => DifferenceKind::Literal { wanted, found },
                }
            }
        };
        Some(Difference { segment, kind })
    }

    fn check_count(&self, segments: &[&str], found: &mut Vec<Difference>) {
        let common = self.segments.len().min(segments.len());
        let segment = common.saturating_add(1);
        if let Some(next) = self.segments.get(common) {
            let count = self.segments.len().saturating_sub(common);
            let kind = match next {
                Segment::Literal(text) if text.is_empty() => DifferenceKind::NoTrailingSlash,
                next => DifferenceKind::Missing { wanted: written(next), count },
            };
            found.push(Difference { segment, kind });
        } else if let Some(extra) = segments.get(common) {
            let count = segments.len().saturating_sub(common);
            let kind = match (*extra, count) {
                ("", 1) => DifferenceKind::TrailingSlash,
                (extra, count) => DifferenceKind::Extra { found: extra.to_owned(), count },
            };
            found.push(Difference { segment, kind });
        }
    }

    /// A template with `**` at `wildcard`: what stands before it is compared from the front, what follows from the end.
    fn check_around(&self, wildcard: usize, segments: &[&str], found: &mut Vec<Difference>) {
        let (head, tail) = self.segments.split_at(wildcard);
        let tail = tail.get(1..).unwrap_or_default();
        let needed = head.len().saturating_add(tail.len());
        for (index, (wanted, text)) in head.iter().zip(segments).enumerate() {
            found.extend(self.check_one(wanted, text, index, segments.len()));
        }
        if segments.len() < needed {
            let next = head.get(segments.len()).or_else(|| tail.get(segments.len().saturating_sub(head.len())));
            let kind = DifferenceKind::Missing {
                wanted: next.map(written).unwrap_or_default(),
                count: needed.saturating_sub(segments.len()),
            };
            found.push(Difference { segment: segments.len().saturating_add(1), kind });
            return;
        }
        let start = segments.len().saturating_sub(tail.len());
        for (offset, (wanted, text)) in tail.iter().zip(segments.iter().skip(start)).enumerate() {
            found.extend(self.check_one(wanted, text, start.saturating_add(offset), segments.len()));
        }
    }
}

fn written(segment: &Segment) -> String {
    match segment {
        Segment::Literal(text) => text.clone(),
        Segment::Star => "*".to_owned(),
        Segment::DoubleStar => "**".to_owned(),
    }
}

/// Whether one text is likely to be meant by the other: few of its letters differ.
fn is_slip(wanted: &str, found: &str) -> bool {
    let longest = wanted.len().max(found.len());
    longest <= MAX_COMPARED && distance(wanted.as_bytes(), found.as_bytes()) <= longest.div_ceil(SLIP_SHARE)
}

/// Letters to insert, delete or replace to make one of the other (Levenshtein).
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (index, from) in a.iter().enumerate() {
        let mut diagonal = index;
        let mut left = index.saturating_add(1);
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (to, cell) in b.iter().zip(row.iter_mut().skip(1)) {
            let replaced = diagonal.saturating_add(usize::from(from != to));
            diagonal = *cell;
            left = replaced.min(left.saturating_add(1)).min(cell.saturating_add(1));
            *cell = left;
        }
    }
    row.last().copied().unwrap_or(a.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::TemplateOptions;

    fn check(template: &str, path: &str, expected: &[(usize, DifferenceKind)]) {
        let options = TemplateOptions { inner_wildcard: true, trailing_slash: true };
        let template = Template::parse_with(template, options).unwrap();
        let found = template.differences(path);
        let found: Vec<_> = found.into_iter().map(|difference| (difference.segment, difference.kind)).collect();
        assert_eq!(found, expected, "{template} {path}");
    }

    #[test]
    fn each_difference_has_its_place_and_its_name() {
        let literal =
            |wanted: &str, found: &str| DifferenceKind::Literal { wanted: wanted.into(), found: found.into() };
        check("/v1/orders/{id}", "/v1/orders/7", &[]);
        check("/v1/orders/{id}", "/v1/order/7", &[(2, literal("orders", "order"))]);
        check("/v1/orders/{id}", "/v2/order/7", &[(1, literal("v1", "v2")), (2, literal("orders", "order"))]);
        let case = DifferenceKind::LetterCase { wanted: "orders".into(), found: "Orders".into() };
        check("/v1/orders", "/v1/Orders", &[(2, case)]);
        check("/v1/orders", "/v1/orders/", &[(3, DifferenceKind::TrailingSlash)]);
        check("/v1/orders/", "/v1/orders", &[(3, DifferenceKind::NoTrailingSlash)]);
        check("/v1/orders/{id}", "/v1/orders/", &[(3, DifferenceKind::Empty)]);
        let missing = DifferenceKind::Missing { wanted: "*".into(), count: 1 };
        check("/v1/orders/{id}", "/v1/orders", &[(3, missing)]);
        let extra = DifferenceKind::Extra { found: "7".into(), count: 2 };
        check("/v1/orders", "/v1/orders/7/items", &[(3, extra)]);
        let missing = DifferenceKind::Missing { wanted: "v1".into(), count: 1 };
        check("/{x=**}/v1", "/", &[(1, literal("v1", ""))]);
        check("/a/{x=**}/v1", "/a", &[(2, missing)]);
        check("/a/{x=**}/v1", "/b/c/v2", &[(1, literal("a", "b")), (3, literal("v1", "v2"))]);
        check("/a/{x=**}", "/a", &[]);
        check("/", "/a", &[(1, literal("", "a"))]);
        let no_verb = || DifferenceKind::NoVerb { wanted: "cancel".into() };
        check("/v1/{id}:cancel", "/v1/7", &[(2, no_verb())]);
        check("/v1/{id}:cancel", "/v1/7:stop", &[(2, no_verb())]);
        check("/v1/{id}:cancel", "/v1/7:cancel", &[]);
        check("/v1/a", "/v1/a:cancel", &[(2, DifferenceKind::ExtraVerb { found: "cancel".into() })]);
    }

    #[test]
    fn slips_weigh_less_than_other_words() {
        for (wanted, found, slip) in
            [("orders", "order", true), ("orders", "oders", true), ("orders", "users", false), ("v1", "v2", true)]
        {
            assert_eq!(is_slip(wanted, found), slip, "{wanted} {found}");
        }
        assert_eq!(distance(b"kitten", b"sitting"), 3);
        assert_eq!(distance(b"", b"abc"), 3);
        assert!(!is_slip(&"a".repeat(65), &"a".repeat(65)), "long texts are not compared");
    }
}
