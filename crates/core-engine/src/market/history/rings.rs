//! Rings of items by key, bounded by number, bytes and age: each ring, and all together.
//!
//! All items lie in one slab. Each is a link of two lists: that of its key, and that of all in the order of arrival.
//! So the oldest of a key and the oldest of all are both at hand, and everything but a search costs the same however
//! much is held.

use std::borrow::Borrow;
use std::hash::Hash;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use jiff::{SignedDuration, Timestamp};
use slab::Slab;

/// Bounds of rings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RingLimits {
    /// Keys that have a ring.
    pub(crate) max_keys: usize,
    /// Items of one key.
    pub(crate) max_items_per_key: usize,
    /// Bytes of one key.
    pub(crate) max_bytes_per_key: usize,
    /// Items of all keys.
    pub(crate) max_items: usize,
    /// Bytes of all keys.
    pub(crate) max_bytes: usize,
    /// Since an item arrived.
    pub(crate) max_age: SignedDuration,
}

impl Default for RingLimits {
    fn default() -> Self {
        Self {
            max_keys: 10_000,
            max_items_per_key: 500,
            max_bytes_per_key: 1024 * 1024,
            max_items: 1_000_000,
            max_bytes: 256 * 1024 * 1024,
            max_age: SignedDuration::from_hours(24),
        }
    }
}

impl RingLimits {
    /// The bounds of bars: four intervals of each symbol. Their age says little, because a bar of a day arrives once
    /// a day.
    pub(crate) fn of_bars() -> Self {
        Self {
            max_keys: 40_000,
            max_items: 2_000_000,
            max_age: SignedDuration::from_hours(24 * 3_660),
            ..Self::default()
        }
    }
}

/// What rings hold and what their bounds cost.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct RingCounts {
    pub(crate) keys: usize,
    pub(crate) items: usize,
    pub(crate) bytes: usize,
    /// Items that made place for newer ones.
    pub(crate) evicted: u64,
    /// Items that became too old.
    pub(crate) expired: u64,
    /// Items that were not kept: one key too many, or one item too large.
    pub(crate) refused: u64,
}

/// How much memory an item takes.
pub(crate) trait Weigh {
    /// Bytes of the item, without what it shares with the one before it.
    fn bytes(&self, before: Option<&Self>) -> usize;
}

/// All rings.
#[derive(Debug)]
pub(crate) struct Rings<K, T> {
    limits: RingLimits,
    ids: HashMap<K, u32, RandomState>,
    rings: Slab<Ring<K>>,
    links: Slab<Link<T>>,
    all: List,
    counts: RingCounts,
}

#[derive(Debug)]
struct Ring<K> {
    key: K,
    list: List,
    items: usize,
    bytes: usize,
}

/// Both ends of a list.
#[derive(Clone, Copy, Default, Debug)]
struct List {
    oldest: Option<Id>,
    newest: Option<Id>,
}

#[derive(Debug)]
struct Link<T> {
    item: T,
    arrived_ms: i64,
    bytes: u32,
    ring: u32,
    of_key: Neighbours,
    of_all: Neighbours,
}

#[derive(Clone, Copy, Default, Debug)]
struct Neighbours {
    older: Option<Id>,
    newer: Option<Id>,
}

/// The place of a link in the slab. Never zero, so that an absent one costs nothing.
type Id = std::num::NonZeroU32;

/// Bytes that the rings themselves need for an item.
pub(super) const LINK_BYTES: usize = 56;

impl<K: Clone + Eq + Hash, T: Weigh> Rings<K, T> {
    /// Empty; rings are made as keys come.
    pub(crate) fn new(limits: RingLimits) -> Self {
        Self {
            limits,
            ids: HashMap::default(),
            rings: Slab::new(),
            links: Slab::new(),
            all: List::default(),
            counts: RingCounts::default(),
        }
    }

    /// The bounds.
    pub(crate) fn limits(&self) -> RingLimits {
        self.limits
    }

    /// What the rings hold now.
    pub(crate) fn counts(&self) -> RingCounts {
        RingCounts { keys: self.rings.len(), items: self.links.len(), ..self.counts }
    }

    /// How many items a key has.
    pub(crate) fn len_of<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<usize>
    where
        K: Borrow<Q>,
    {
        Some(self.rings.get(*self.ids.get(key)? as usize)?.items)
    }

    /// The items of a key, newest first. `None` if it has none.
    pub(crate) fn newest_first<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<impl Iterator<Item = &T>>
    where
        K: Borrow<Q>,
    {
        let ring = self.rings.get(*self.ids.get(key)? as usize)?;
        Some(self.walk(ring.list.newest).map(|(_, link)| &link.item))
    }

    /// The oldest item of a key.
    pub(crate) fn oldest(&self, key: &K) -> Option<&T> {
        let ring = self.rings.get(*self.ids.get(key)? as usize)?;
        Some(&self.links.get(place(ring.list.oldest?))?.item)
    }

    /// Appends an item to the ring of its key. False, and counted, if it was refused.
    pub(crate) fn push(&mut self, key: &K, item: T, now: Timestamp) -> bool {
        self.insert(key, item, now, |_| true)
    }

    /// The newest item of a key for which `same` holds, to be changed in place; `same` says `None` to go on with the
    /// next older one. At most `look_back` items are looked at.
    pub(crate) fn find_mut(
        &mut self,
        key: &K,
        look_back: usize,
        mut same: impl FnMut(&T) -> Option<bool>,
    ) -> Option<&mut T> {
        let ring = self.rings.get(*self.ids.get(key)? as usize)?;
        let (id, found) =
            self.walk(ring.list.newest).take(look_back).find_map(|(id, link)| Some((id, same(&link.item)?)))?;
        if found { self.links.get_mut(place(id)).map(|link| &mut link.item) } else { None }
    }

    /// Inserts an item after the newest one that `belongs_before` it; its age counts from now.
    pub(crate) fn insert(
        &mut self,
        key: &K,
        item: T,
        now: Timestamp,
        mut belongs_before: impl FnMut(&T) -> bool,
    ) -> bool {
        self.expire(now);
        let known = self.ids.get(key).copied();
        let ring = known.and_then(|ring| self.rings.get(ring as usize));
        let newest = ring.and_then(|ring| self.links.get(place(ring.list.newest?)));
        let weight = item.bytes(newest.map(|link| &link.item)).saturating_add(LINK_BYTES);
        let too_large = weight > self.limits.max_bytes_per_key.min(self.limits.max_bytes);
        let too_many = known.is_none() && self.rings.len() >= self.limits.max_keys;
        let Some(bytes) = u32::try_from(weight).ok().filter(|_| !too_large && !too_many) else {
            self.counts.refused = self.counts.refused.saturating_add(1);
            return false;
        };
        let ring = known.unwrap_or_else(|| {
            let ring = Ring { key: key.clone(), list: List::default(), items: 0, bytes: 0 };
            // Fewer than `max_keys`, so it fits.
            let id = u32::try_from(self.rings.insert(ring)).unwrap_or(u32::MAX);
            self.ids.insert(key.clone(), id);
            id
        });
        self.make_room(ring, weight);
        let older = self.rings.get(ring as usize).and_then(|ring| {
            self.walk(ring.list.newest).find(|(_, link)| belongs_before(&link.item)).map(|(id, _)| id)
        });
        let link = Link {
            item,
            arrived_ms: now.as_millisecond(),
            bytes,
            ring,
            of_key: Neighbours::default(),
            of_all: Neighbours::default(),
        };
        let Some(id) = id(self.links.insert(link)) else { return false };
        if let Some(ring) = self.rings.get_mut(ring as usize) {
            join(&mut self.links, &mut ring.list, id, older, |link| &mut link.of_key);
            ring.items = ring.items.saturating_add(1);
            ring.bytes = ring.bytes.saturating_add(weight);
        }
        let newest = self.all.newest;
        join(&mut self.links, &mut self.all, id, newest, |link| &mut link.of_all);
        self.counts.bytes = self.counts.bytes.saturating_add(weight);
        true
    }

    /// Forgets what is too old. Also done by every push.
    pub(crate) fn expire(&mut self, now: Timestamp) {
        let Ok(horizon) = now.checked_sub(self.limits.max_age) else { return };
        let horizon_ms = horizon.as_millisecond();
        while let Some(oldest) = self.all.oldest {
            if self.links.get(place(oldest)).is_none_or(|link| link.arrived_ms >= horizon_ms) {
                return;
            }
            self.remove(oldest, None);
            self.counts.expired = self.counts.expired.saturating_add(1);
        }
    }

    /// Evicts until another item of this weight fits into its ring and into all.
    fn make_room(&mut self, ring: u32, weight: usize) {
        let RingLimits { max_items_per_key, max_bytes_per_key, max_items, max_bytes, .. } = self.limits;
        loop {
            let own = self.rings.get(ring as usize).filter(|ring| {
                ring.items >= max_items_per_key || ring.bytes.saturating_add(weight) > max_bytes_per_key
            });
            let full = self.links.len() >= max_items || self.counts.bytes.saturating_add(weight) > max_bytes;
            let oldest = match own {
                Some(own) => own.list.oldest,
                None if full => self.all.oldest,
                None => return,
            };
            let Some(oldest) = oldest else { return };
            self.remove(oldest, Some(ring));
            self.counts.evicted = self.counts.evicted.saturating_add(1);
        }
    }

    /// Takes an item out of both lists; a ring that is empty then goes as well, but not `keep`.
    fn remove(&mut self, id: Id, keep: Option<u32>) {
        let Some(link) = self.links.get(place(id)) else { return };
        let (of_key, of_all, ring_id, bytes) = (link.of_key, link.of_all, link.ring, link.bytes as usize);
        leave(&mut self.links, &mut self.all, of_all, |link| &mut link.of_all);
        if let Some(ring) = self.rings.get_mut(ring_id as usize) {
            leave(&mut self.links, &mut ring.list, of_key, |link| &mut link.of_key);
            ring.items = ring.items.saturating_sub(1);
            ring.bytes = ring.bytes.saturating_sub(bytes);
            if ring.items == 0 && keep != Some(ring_id) {
                let ring = self.rings.remove(ring_id as usize);
                self.ids.remove(&ring.key);
            }
        }
        self.links.remove(place(id));
        self.counts.bytes = self.counts.bytes.saturating_sub(bytes);
    }

    fn walk(&self, from: Option<Id>) -> impl Iterator<Item = (Id, &Link<T>)> {
        let mut next = from;
        std::iter::from_fn(move || {
            let id = next?;
            let link = self.links.get(place(id))?;
            next = link.of_key.older;
            Some((id, link))
        })
    }
}

fn place(id: Id) -> usize {
    id.get() as usize - 1
}

fn id(place: usize) -> Option<Id> {
    Id::new(u32::try_from(place).ok()?.checked_add(1)?)
}

/// Puts a link after `older`, or first if there is none.
fn join<T>(
    links: &mut Slab<Link<T>>,
    list: &mut List,
    id: Id,
    older: Option<Id>,
    of: impl Fn(&mut Link<T>) -> &mut Neighbours,
) {
    let newer = match older.and_then(|older| links.get_mut(place(older))) {
        Some(link) => of(link).newer.replace(id),
        None => list.oldest.replace(id),
    };
    match newer.and_then(|newer| links.get_mut(place(newer))) {
        Some(link) => of(link).older = Some(id),
        None => list.newest = Some(id),
    }
    if let Some(link) = links.get_mut(place(id)) {
        *of(link) = Neighbours { older, newer };
    }
}

/// Closes the list behind a link that leaves.
fn leave<T>(
    links: &mut Slab<Link<T>>,
    list: &mut List,
    left: Neighbours,
    of: impl Fn(&mut Link<T>) -> &mut Neighbours,
) {
    match left.older.and_then(|older| links.get_mut(place(older))) {
        Some(link) => of(link).newer = left.newer,
        None => list.oldest = left.newer,
    }
    match left.newer.and_then(|newer| links.get_mut(place(newer))) {
        Some(link) => of(link).older = left.older,
        None => list.newest = left.older,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    impl Weigh for (u64, usize) {
        fn bytes(&self, _: Option<&Self>) -> usize {
            self.1
        }
    }

    /// The same by the book: all items in one queue, every bound by counting.
    #[derive(Default)]
    struct Naive {
        items: VecDeque<(u8, (u64, usize), i64)>,
        evicted: u64,
        expired: u64,
        refused: u64,
    }

    impl Naive {
        fn of_key(&self, key: u8) -> Vec<(u64, usize)> {
            self.items.iter().filter(|item| item.0 == key).map(|item| item.1).collect()
        }

        fn bytes(&self, key: Option<u8>) -> usize {
            let mine = self.items.iter().filter(|item| key.is_none_or(|key| item.0 == key));
            mine.map(|item| item.1.1 + LINK_BYTES).sum()
        }

        fn push(&mut self, limits: &RingLimits, key: u8, item: (u64, usize), now: i64) {
            self.expire(limits, now);
            let mut keys: Vec<u8> = self.items.iter().map(|item| item.0).collect();
            keys.sort_unstable();
            keys.dedup();
            let weight = item.1 + LINK_BYTES;
            let new = !keys.contains(&key);
            if weight > limits.max_bytes_per_key.min(limits.max_bytes) || new && keys.len() >= limits.max_keys {
                self.refused += 1;
                return;
            }
            loop {
                let own = self.of_key(key).len() >= limits.max_items_per_key
                    || self.bytes(Some(key)) + weight > limits.max_bytes_per_key;
                let all = self.items.len() >= limits.max_items || self.bytes(None) + weight > limits.max_bytes;
                let at = self.items.iter().position(|item| item.0 == key || !own);
                match at {
                    Some(at) if own || all => drop(self.items.remove(at)),
                    _ => break,
                }
                self.evicted += 1;
            }
            self.items.push_back((key, item, now));
        }

        fn expire(&mut self, limits: &RingLimits, now: i64) {
            let horizon = now - i64::try_from(limits.max_age.as_millis()).unwrap();
            while self.items.front().is_some_and(|item| item.2 < horizon) {
                self.items.pop_front();
                self.expired += 1;
            }
        }
    }

    fn check_invariants(rings: &Rings<u8, (u64, usize)>) {
        let limits = rings.limits();
        let counts = rings.counts();
        assert!(counts.keys <= limits.max_keys && counts.items <= limits.max_items && counts.bytes <= limits.max_bytes);
        for (_, ring) in &rings.rings {
            assert!(ring.items > 0 && ring.items <= limits.max_items_per_key && ring.bytes <= limits.max_bytes_per_key);
            assert_eq!(rings.walk(ring.list.newest).count(), ring.items);
        }
    }

    proptest! {
        #[test]
        fn rings_hold_what_a_naive_queue_holds(
            pushes in proptest::collection::vec((0_u8..5, 0_usize..200, 0_i64..40), 1..300),
            (keys, per_key, items) in (1_usize..5, 1_usize..8, 1_usize..20),
            (key_bytes, bytes) in (60_usize..900, 60_usize..2_000),
        ) {
            let limits = RingLimits {
                max_keys: keys,
                max_items_per_key: per_key,
                max_bytes_per_key: key_bytes,
                max_items: items,
                max_bytes: bytes,
                max_age: SignedDuration::from_millis(150),
            };
            let (mut rings, mut naive, mut now) = (Rings::new(limits), Naive::default(), 0);
            for (sequence, (key, size, step)) in (0..).zip(pushes) {
                now += step;
                rings.push(&key, (sequence, size), Timestamp::from_millisecond(now).unwrap());
                naive.push(&limits, key, (sequence, size), now);
                check_invariants(&rings);
                for key in 0..5 {
                    let mut held: Vec<_> = rings.newest_first(&key).into_iter().flatten().copied().collect();
                    held.reverse();
                    prop_assert_eq!(held, naive.of_key(key));
                }
                let counts = rings.counts();
                prop_assert_eq!(
                    (counts.evicted, counts.expired, counts.refused, counts.items, counts.bytes),
                    (naive.evicted, naive.expired, naive.refused, naive.items.len(), naive.bytes(None))
                );
            }
        }
    }

    #[test]
    fn an_item_can_be_put_between_others_and_changed_in_place() {
        let mut rings = Rings::new(RingLimits::default());
        let now = Timestamp::UNIX_EPOCH;
        for number in [1, 3, 5, 4, 0] {
            assert!(rings.insert(&'k', (number, 0), now, |other| other.0 < number));
        }
        if let Some(item) = rings.find_mut(&'k', 9, |item| (item.0 <= 4).then_some(item.0 == 4)) {
            item.1 = 7;
        }
        assert!(rings.find_mut(&'k', 9, |item| (item.0 <= 2).then_some(item.0 == 2)).is_none());
        assert!(rings.find_mut(&'k', 2, |item| (item.0 == 0).then_some(true)).is_none());
        let held: Vec<_> = rings.newest_first(&'k').unwrap().map(|item| item.0 * 10 + item.1 as u64).collect();
        assert_eq!(held, [50, 47, 30, 10, 0]);
        assert_eq!(rings.len_of(&'k'), Some(5));
    }

    #[test]
    fn a_link_weighs_what_its_bound_says() {
        assert!(size_of::<Link<std::sync::Arc<u8>>>() <= LINK_BYTES);
    }
}
