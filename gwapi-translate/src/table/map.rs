//! A persistent hash map in little room.
//!
//! A tree by four bits of the hash a level, whose leaves are lists of up to [`ROOM`] entries without
//! room to spare. Tables of 40,000 routes are all entries, so what stands around each of them counts:
//! here it is a few bytes, where a hash array mapped trie has several times the entries themselves. A
//! change copies one leaf and the few branches above it.

use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use equivalent::Equivalent;
use foldhash::fast::RandomState;

/// Entries of a leaf before it becomes a branch.
const ROOM: usize = 16;
/// Bits of the hash that a branch looks at.
const BITS: u32 = 4;
/// Children of a branch.
const WIDTH: usize = 1 << BITS;

/// A map that shares what did not change with the map that it was copied from.
///
/// Keys come from the configuration, but whoever writes routes is not to choose hashes: the state is
/// seeded at random.
#[derive(Clone, Debug)]
pub(super) struct Map<K, V> {
    root: Node<K, V>,
    hasher: RandomState,
}

#[derive(Debug)]
enum Node<K, V> {
    Leaf(Leaf<K, V>),
    Branch(Arc<[Node<K, V>; WIDTH]>),
}

/// Entries in no order.
type Leaf<K, V> = Arc<[Entry<K, V>]>;

#[derive(Clone, Debug)]
struct Entry<K, V> {
    hash: u32,
    key: K,
    value: V,
}

impl<K, V> Default for Map<K, V> {
    fn default() -> Self {
        Self { root: Node::default(), hasher: RandomState::default() }
    }
}

impl<K, V> Default for Node<K, V> {
    fn default() -> Self {
        Self::Leaf(Arc::default())
    }
}

/// A copy shares everything, whatever is in it.
impl<K, V> Clone for Node<K, V> {
    fn clone(&self) -> Self {
        match self {
            Self::Leaf(entries) => Self::Leaf(Arc::clone(entries)),
            Self::Branch(children) => Self::Branch(Arc::clone(children)),
        }
    }
}

impl<K, V> Map<K, V> {
    pub(super) fn is_empty(&self) -> bool {
        self.root.is_empty()
    }

    fn hash<Q: Hash + ?Sized>(&self, key: &Q) -> u32 {
        let hash = self.hasher.hash_one(key);
        (hash ^ (hash >> 32)) as u32
    }

    pub(super) fn get<Q: Hash + Equivalent<K> + ?Sized>(&self, key: &Q) -> Option<&V> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// The key as the map has it.
    pub(super) fn get_key<Q: Hash + Equivalent<K> + ?Sized>(&self, key: &Q) -> Option<&K> {
        self.entry(key).map(|entry| &entry.key)
    }

    /// All keys, in no order.
    pub(super) fn keys(&self) -> Vec<&K> {
        let mut keys = Vec::new();
        self.root.add_keys(&mut keys);
        keys
    }

    fn entry<Q: Hash + Equivalent<K> + ?Sized>(&self, key: &Q) -> Option<&Entry<K, V>> {
        let hash = self.hash(key);
        let (mut node, mut rest) = (&self.root, hash);
        loop {
            match node {
                Node::Branch(children) => {
                    node = &children[slot(rest)];
                    rest >>= BITS;
                }
                Node::Leaf(entries) => return position(entries, hash, key).map(|at| &entries[at]),
            }
        }
    }
}

impl<K: Clone + Eq + Hash, V: Clone> Map<K, V> {
    /// Puts a value in; the one that the key had comes back.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let hash = self.hash(&key);
        self.root.insert(Entry { hash, key, value }, hash, u32::BITS)
    }

    /// Takes a value out.
    pub(super) fn remove<Q: Hash + Equivalent<K> + ?Sized>(&mut self, key: &Q) -> Option<V> {
        let hash = self.hash(key);
        self.root.remove(key, hash, hash)
    }
}

impl<K, V> Node<K, V> {
    fn is_empty(&self) -> bool {
        matches!(self, Self::Leaf(entries) if entries.is_empty())
    }

    fn add_keys<'m>(&'m self, keys: &mut Vec<&'m K>) {
        match self {
            Self::Leaf(entries) => keys.extend(entries.iter().map(|entry| &entry.key)),
            Self::Branch(children) => children.iter().for_each(|child| child.add_keys(keys)),
        }
    }
}

impl<K: Clone + Eq + Hash, V: Clone> Node<K, V> {
    /// `rest` is the part of the hash that no branch above has looked at, of so many bits.
    fn insert(&mut self, entry: Entry<K, V>, rest: u32, bits: u32) -> Option<V> {
        let entries = match self {
            Self::Branch(children) => {
                let child = &mut Arc::make_mut(children)[slot(rest)];
                return child.insert(entry, rest >> BITS, bits - BITS);
            }
            Self::Leaf(entries) => entries,
        };
        if let Some(at) = position(entries, entry.hash, &entry.key) {
            let old = std::mem::replace(&mut Arc::make_mut(entries)[at], entry);
            return Some(old.value);
        }
        // Keys that share their whole hash share a leaf, however many they are.
        if entries.len() < ROOM || bits == 0 {
            *entries = entries.iter().cloned().chain([entry]).collect();
        } else {
            *self = Self::split(entries, entry, u32::BITS - bits);
        }
        None
    }

    /// The branch that a full leaf becomes; `looked_at` bits of the hash were looked at above it.
    fn split(entries: &[Entry<K, V>], new: Entry<K, V>, looked_at: u32) -> Self {
        let mut children: [Vec<Entry<K, V>>; WIDTH] = Default::default();
        for entry in entries.iter().cloned().chain([new]) {
            children[slot(entry.hash >> looked_at)].push(entry);
        }
        Self::Branch(Arc::new(children.map(|entries| Self::Leaf(entries.into()))))
    }

    fn remove<Q: Equivalent<K> + ?Sized>(&mut self, key: &Q, hash: u32, rest: u32) -> Option<V> {
        match self {
            Self::Branch(children) => {
                let children = Arc::make_mut(children);
                let removed = children[slot(rest)].remove(key, hash, rest >> BITS)?;
                if let Some(all) = few(children) {
                    *self = Self::Leaf(all);
                }
                Some(removed)
            }
            Self::Leaf(entries) => {
                let at = position(entries, hash, key)?;
                let removed = entries[at].value.clone();
                *entries = [&entries[..at], &entries[at + 1..]].concat().into();
                Some(removed)
            }
        }
    }
}

/// The entries of all children, where they are so few that they need no branch.
fn few<K: Clone, V: Clone>(children: &[Node<K, V>; WIDTH]) -> Option<Leaf<K, V>> {
    let mut all = Vec::new();
    for child in children {
        let Node::Leaf(entries) = child else { return None };
        if all.len() + entries.len() > ROOM / 2 {
            return None;
        }
        all.extend(entries.iter());
    }
    Some(all.into_iter().cloned().collect())
}

/// Which child of a branch a hash leads to.
fn slot(rest: u32) -> usize {
    rest as usize % WIDTH
}

fn position<K, V, Q: Equivalent<K> + ?Sized>(
    entries: &[Entry<K, V>],
    hash: u32,
    key: &Q,
) -> Option<usize> {
    entries.iter().position(|entry| entry.hash == hash && key.equivalent(&entry.key))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::hash::Hasher;

    use proptest::prelude::*;

    use super::*;

    /// A key of which many have the same hash.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Key(u16);

    impl Hash for Key {
        fn hash<H: Hasher>(&self, state: &mut H) {
            // A quarter of all keys share one hash.
            state.write_u16(if self.0.is_multiple_of(4) { 0 } else { self.0 });
        }
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Insert(u16, u8),
        Remove(u16),
        /// What is done from here on leaves the map as it is now alone.
        Keep,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0..400_u16, any::<u8>()).prop_map(|(key, value)| Step::Insert(key, value)),
            4 => (0..400_u16).prop_map(Step::Remove),
            1 => Just(Step::Keep),
        ]
    }

    fn assert_same(map: &Map<Key, u8>, expected: &HashMap<u16, u8>) {
        assert_eq!(map.is_empty(), expected.is_empty());
        assert_eq!(map.keys().len(), expected.len());
        for key in 0..400 {
            assert_eq!(map.get(&Key(key)), expected.get(&key), "{key}");
        }
    }

    proptest! {
        #[test]
        fn a_map_is_what_was_put_in_and_its_copies_stay_as_they_were(
            steps in prop::collection::vec(step(), 0..600),
        ) {
            let (mut map, mut expected) = (Map::default(), HashMap::new());
            let mut kept = Vec::new();
            for step in steps {
                match step {
                    Step::Insert(key, value) => {
                        prop_assert_eq!(map.insert(Key(key), value), expected.insert(key, value));
                    }
                    Step::Remove(key) => {
                        prop_assert_eq!(map.remove(&Key(key)), expected.remove(&key));
                    }
                    Step::Keep => kept.push((map.clone(), expected.clone())),
                }
            }
            kept.push((map, expected));
            kept.iter().for_each(|(map, expected)| assert_same(map, expected));
        }
    }

    #[test]
    fn a_map_that_loses_its_entries_is_empty_again() {
        let mut map = Map::default();
        for key in 0..2_000 {
            map.insert(Key(key), key);
        }
        for key in 0..2_000 {
            assert_eq!(map.remove(&Key(key)), Some(key));
        }
        assert!(map.is_empty());
    }

    /// Bytes for each of many entries, besides the entries themselves.
    #[test]
    fn little_stands_around_the_entries() {
        const ENTRIES: u32 = 40_000;
        let mut map: Map<u32, u32> = Map::default();
        let counted = allocation_counter::measure(|| {
            for entry in 0..ENTRIES {
                map.insert(entry, entry);
            }
        });
        let around =
            counted.bytes_current - i64::from(ENTRIES) * size_of::<Entry<u32, u32>>() as i64;
        assert!(around <= i64::from(ENTRIES) * 12, "{around} bytes");
        drop(map);
    }
}
