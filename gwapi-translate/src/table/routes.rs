//! The routes of every listener: buckets by hostname, and in a bucket the candidates by path.
//!
//! ```text
//!  listener ─► HostMap ─► Bucket { id, regexes, ... }         the most specific hostname first
//!                             │
//!         (id, Exact, "/a") ──┼─► [Candidate, ...]            sorted by precedence
//!         (id, Prefix, "/a") ─┴─► [Candidate, ...]
//! ```
//!
//! All paths of all buckets live in one persistent map, so that a bucket with one path costs one
//! entry and a bucket with 40,000 paths is edited as fast as any other.

use std::hash::{Hash, Hasher};
use std::sync::{Arc, LazyLock};

use equivalent::Equivalent;

use super::hosts::HostMap;
use super::map::Map;
use super::rules::{Candidate, Candidates, TableRule};
use super::{RequestHead, RouteMatch};
use crate::ir::{Hostname, HttpRule, ListenerKey, PathMatch, RuleKey};

type HashSet<K> = std::collections::HashSet<K, foldhash::fast::RandomState>;

/// The routes of all listeners of a table.
#[derive(Clone, Debug, Default)]
pub(super) struct Routes {
    listeners: Map<ListenerKey, HostMap<Bucket>>,
    slots: Map<SlotKey, Candidates>,
    /// Identifiers of buckets are never used again.
    next_bucket: u64,
}

/// What one listener serves for one hostname as written (HR-7).
#[derive(Clone, Debug)]
struct Bucket {
    id: u64,
    /// How many keys of `slots` are this bucket's.
    slots: u32,
    /// No prefix is longer, in bytes.
    longest_prefix: u32,
    /// No prefix has more elements. Like the length it is only a bound on the work that a path
    /// asks for, and need not shrink.
    deepest_prefix: u32,
    /// Few have any.
    regexes: Option<Box<Candidates>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum SlotKind {
    Exact,
    Prefix,
}

/// A bucket, and a kind of paths in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Place(u64);

impl Place {
    fn new(bucket: u64, kind: SlotKind) -> Self {
        Self(bucket << 1 | kind as u64)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct SlotKey {
    place: Place,
    path: Arc<str>,
}

/// A [`SlotKey`] that borrows its path from a request.
struct SlotQuery<'p> {
    place: Place,
    path: &'p str,
}

impl Hash for SlotKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        SlotQuery { place: self.place, path: &self.path }.hash(state);
    }
}

impl Hash for SlotQuery<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.place.hash(state);
        state.write(self.path.as_bytes());
    }
}

impl Equivalent<SlotKey> for SlotQuery<'_> {
    fn equivalent(&self, key: &SlotKey) -> bool {
        self.place == key.place && *self.path == *key.path
    }
}

impl Routes {
    /// Replaces all candidates of the changed rules, in one pass over the places they touch.
    pub(super) fn apply(&mut self, edits: Edits<'_>) {
        let Edits { changed, mut places } = edits;
        // Candidates of one place are sorted by precedence in the end.
        places.sort_unstable_by_key(|(place, _)| *place);
        let mut places = places.into_iter().peekable();
        while let Some((listener, ..)) = places.peek().map(|(place, _)| *place) {
            // Taken out of the map, so that a map of hosts that nobody shares is edited in place.
            let mut routes = self.listeners.remove(listener).unwrap_or_default();
            let is_of_listener = |place: &SlotOf<'_>| place.0 == listener;
            while let Some((_, hostname, _)) =
                places.peek().map(|(place, _)| *place).filter(is_of_listener)
            {
                let mut bucket = routes.get(hostname).cloned().unwrap_or_else(|| self.new_bucket());
                let is_of_bucket =
                    |place: &SlotOf<'_>| is_of_listener(place) && place.1 == hostname;
                while let Some(place @ (.., slot)) =
                    places.peek().map(|(place, _)| *place).filter(is_of_bucket)
                {
                    let of_slot = |next: &(SlotOf<'_>, _)| next.0 == place;
                    let added = std::iter::from_fn(|| places.next_if(of_slot));
                    let added = added.filter_map(|(_, candidate)| candidate).collect();
                    self.edit(&mut bucket, slot, added, &changed);
                }
                routes.set(hostname, bucket.is_used().then_some(bucket));
            }
            if !routes.is_empty() {
                self.listeners.insert(listener.clone(), routes);
            }
        }
    }

    fn new_bucket(&mut self) -> Bucket {
        let id = self.next_bucket;
        self.next_bucket += 1;
        Bucket { id, slots: 0, longest_prefix: 0, deepest_prefix: 0, regexes: None }
    }

    fn edit(
        &mut self,
        bucket: &mut Bucket,
        slot: Slot<'_>,
        added: Vec<Candidate>,
        changed: &HashSet<&RuleKey>,
    ) {
        let (kind, path) = match slot {
            Slot::Path(kind, path) => (kind, path),
            Slot::Regexes => {
                let merged = merge(bucket.regexes.as_deref(), added, changed);
                bucket.regexes = merged.map(Box::new);
                return;
            }
        };
        let key = SlotKey { place: Place::new(bucket.id, kind), path: Arc::clone(path) };
        let old = self.slots.get(&key);
        let new = merge(old, added, changed);
        bucket.slots -= u32::from(old.is_some());
        bucket.slots += u32::from(new.is_some());
        let Some(new) = new else {
            self.slots.remove(&key);
            return;
        };
        if kind == SlotKind::Prefix {
            let to_u32 = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
            bucket.longest_prefix = bucket.longest_prefix.max(to_u32(key.path.len()));
            let elements = key.path.matches('/').count();
            bucket.deepest_prefix = bucket.deepest_prefix.max(to_u32(elements));
        }
        self.slots.insert(key, new);
    }

    /// The first match of a listener's routes that takes a request. What the matches of one
    /// hostname do not take falls to the next less specific hostname (HR-4, HR-7).
    pub(super) fn find(
        &self,
        listener: &ListenerKey,
        request: &RequestHead<'_>,
    ) -> Option<RouteMatch<'_>> {
        self.listeners
            .get(listener)?
            .most_specific_first(request.host)
            .find_map(|bucket| self.find_in(bucket, request))
            .map(Candidate::route_match)
    }

    /// HR-2 inside one bucket: the exact path, then regular expressions, then prefixes from the
    /// longest to the shortest. A candidate whose other conditions fail gives way to the next.
    fn find_in<'s>(
        &'s self,
        bucket: &'s Bucket,
        request: &RequestHead<'_>,
    ) -> Option<&'s Candidate> {
        let in_slot = |kind, path| {
            let place = Place::new(bucket.id, kind);
            let candidates = self.slots.get(&SlotQuery { place, path })?;
            candidates.as_slice().iter().find(|candidate| candidate.takes(request))
        };
        let by_regex = || {
            let mut regexes = bucket.regexes.iter().flat_map(|it| it.as_slice());
            regexes.find(|candidate| candidate.takes(request) && candidate.takes_path(request.path))
        };
        let by_prefix = || {
            element_prefixes(request.path, bucket.deepest_prefix as usize)
                .filter(|prefix| prefix.len() <= bucket.longest_prefix as usize)
                .find_map(|prefix| in_slot(SlotKind::Prefix, prefix))
        };
        in_slot(SlotKind::Exact, request.path).or_else(by_regex).or_else(by_prefix)
    }
}

#[cfg(test)]
impl Routes {
    pub(super) fn is_empty(&self) -> bool {
        self.listeners.is_empty() && self.slots.is_empty()
    }
}

impl Bucket {
    fn is_used(&self) -> bool {
        self.slots > 0 || self.regexes.is_some()
    }
}

/// The candidates of a slot after a change, in the order of precedence. Both parts are nearly
/// sorted, which the sort makes use of: the cost is linear in practice, however many they are.
fn merge(
    old: Option<&Candidates>,
    added: Vec<Candidate>,
    changed: &HashSet<&RuleKey>,
) -> Option<Candidates> {
    let kept = old
        .map_or(&[][..], Candidates::as_slice)
        .iter()
        .filter(|candidate| !changed.contains(candidate.rule_key()))
        .cloned();
    let mut all: Vec<_> = kept.chain(added).collect();
    all.sort_by(Candidate::cmp_precedence);
    // A rule may name a hostname twice.
    all.dedup_by(|a, b| a.cmp_precedence(b).is_eq());
    Candidates::of(all)
}

/// The prefixes of a path by element (HM-2), from the longest one of at most `deepest` elements to
/// the empty one, which stands for `/`.
fn element_prefixes(path: &str, deepest: usize) -> impl Iterator<Item = &str> {
    let longest = path.match_indices('/').nth(deepest).map_or(path, |(slash, _)| &path[..slash]);
    std::iter::successors(Some(longest), |prefix| prefix.rfind('/').map(|slash| &prefix[..slash]))
}

/// Changes of rules, and the places that they touch.
#[derive(Default)]
pub(super) struct Edits<'r> {
    /// Rules that are changed or gone: what a slot holds of them is stale.
    changed: HashSet<&'r RuleKey>,
    /// What comes instead; a place that a rule leaves is there, without a candidate.
    places: Vec<(SlotOf<'r>, Option<Candidate>)>,
}

/// One list of candidates of a listener.
type SlotOf<'r> = (&'r ListenerKey, Option<&'r Hostname>, Slot<'r>);

/// One list of candidates of a bucket.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Slot<'r> {
    Path(SlotKind, &'r Arc<str>),
    Regexes,
}

impl<'r> Edits<'r> {
    /// A rule leaves its places.
    pub(super) fn remove(&mut self, rule: &'r TableRule) {
        self.changed.insert(&rule.rule().key);
        self.visit(rule.rule(), |_| None);
    }

    /// A rule takes its places.
    pub(super) fn add(&mut self, rule: &TableRule, as_given: &'r HttpRule) {
        self.visit(as_given, |index| rule.candidate(index));
    }

    fn visit(&mut self, rule: &'r HttpRule, candidate: impl Fn(usize) -> Option<Candidate>) {
        let any_host = rule.hostnames.is_empty().then_some(None);
        for listener in rule.listeners.iter() {
            for hostname in rule.hostnames.iter().map(Some).chain(any_host) {
                for (index, http_match) in rule.matches.iter().enumerate() {
                    let place = (listener, hostname, Slot::of(&http_match.path));
                    self.places.push((place, candidate(index)));
                }
            }
        }
    }
}

/// Where a method of any service is looked for.
static EVERY_PATH: LazyLock<Arc<str>> = LazyLock::new(Arc::default);

impl<'r> Slot<'r> {
    fn of(path: &'r PathMatch) -> Self {
        match path {
            PathMatch::Exact(path) => Self::Path(SlotKind::Exact, path),
            PathMatch::Prefix(prefix) => Self::Path(SlotKind::Prefix, prefix),
            PathMatch::Regex(_) | PathMatch::GrpcRegex { .. } => Self::Regexes,
            PathMatch::GrpcMethod(_) => Self::Path(SlotKind::Prefix, &EVERY_PATH),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_of_a_path_end_at_its_elements() {
        let prefixes = |path, deepest| element_prefixes(path, deepest).collect::<Vec<_>>();
        assert_eq!(prefixes("/a/bc/d", 9), ["/a/bc/d", "/a/bc", "/a", ""]);
        assert_eq!(prefixes("/a/bc/d", 2), ["/a/bc", "/a", ""]);
        assert_eq!(prefixes("/a/bc/d", 0), [""]);
        assert_eq!(prefixes("/a/", 9), ["/a/", "/a", ""]);
        assert_eq!(prefixes("/", 9), ["/", ""]);
        assert_eq!(prefixes("*", 9), ["*"], "the prefix / takes paths only");
    }
}
