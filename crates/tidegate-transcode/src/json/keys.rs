//! Finds a map key that is there twice, without a hash table that a client could aim at.

use smallvec::SmallVec;

/// Up to this many keys are compared each with each; more are sorted.
const FEW: usize = 16;

/// Where the encoded keys of one map are in the output.
#[derive(Debug, Default)]
pub(super) struct Keys {
    ranges: SmallVec<[(u32, u32); FEW]>,
}

impl Keys {
    /// Adds the key of `len` bytes at `start`. Outputs above 4 GiB do not occur: bodies are limited far below.
    pub(super) fn push(&mut self, start: usize, len: usize) {
        let position = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        self.ranges.push((position(start), position(len)));
    }

    /// Forgets all keys.
    pub(super) fn clear(&mut self) {
        self.ranges.clear();
    }

    /// True if two keys have the same bytes. Sorts, so the order of the keys is lost.
    pub(super) fn has_duplicate(&mut self, bytes: &[u8]) -> bool {
        let key = |(start, len): (u32, u32)| {
            let start = start as usize;
            bytes.get(start..start.saturating_add(len as usize)).unwrap_or_default()
        };
        if self.ranges.len() <= FEW {
            let later = |at: usize| self.ranges.iter().skip(at + 1);
            return self.ranges.iter().enumerate().any(|(at, a)| later(at).any(|b| key(*a) == key(*b)));
        }
        self.ranges.sort_unstable_by(|a, b| key(*a).cmp(key(*b)));
        self.ranges.windows(2).any(|pair| matches!(pair, [a, b] if key(*a) == key(*b)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twins_are_found_among_few_and_many() {
        for count in [2, 5, FEW, FEW + 1, 500] {
            let bytes: Vec<u8> = (0..count).flat_map(|i| format!("{i:04}").into_bytes()).collect();
            let mut keys = Keys::default();
            (0..count).for_each(|i| keys.push(i * 4, 4));
            assert!(!keys.has_duplicate(&bytes), "{count}");
            keys.push(0, 4);
            assert!(keys.has_duplicate(&bytes), "{count}");
        }
        assert!(!Keys::default().has_duplicate(b""));
    }
}
