//! What ends a batch: which state it is, and what it was made from.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::encoding::hash;

/// Says that the client now has a state as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotMark {
    /// Number of the state at the server that sent it. Another replica counts for itself.
    pub generation: u64,
    /// What the client has now, if nothing went wrong.
    pub root: Root,
    /// What the state was made from.
    #[serde(default)]
    pub versions: ResourceVersions,
}

/// A number of resources and a hash over their names and versions, in any order.
///
/// The hashes of the single resources are added up, so that a change costs what it touches. That
/// finds what went wrong by accident; against malice there is TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    count: u64,
    #[serde(serialize_with = "to_hex", deserialize_with = "from_hex")]
    hash: u128,
}

impl Root {
    /// Number of resources.
    pub fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn add(&mut self, name: &str, version: &str) {
        self.count = self.count.wrapping_add(1);
        self.hash = self.hash.wrapping_add(of(name, version));
    }

    pub(super) fn remove(&mut self, name: &str, version: &str) {
        self.count = self.count.wrapping_sub(1);
        self.hash = self.hash.wrapping_sub(of(name, version));
    }
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} resources, {:032x}", self.count, self.hash)
    }
}

fn of(name: &str, version: &str) -> u128 {
    u128::from_be_bytes(hash(&[name.as_bytes(), version.as_bytes()]))
}

fn to_hex<S: Serializer>(hash: &u128, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format!("{hash:032x}"))
}

fn from_hex<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
    let text = String::deserialize(deserializer)?;
    u128::from_str_radix(&text, 16).map_err(serde::de::Error::custom)
}

/// How far a server's view of its sources reaches, by kind: `metadata.resourceVersion`s.
///
/// Kubernetes promises that those of one kind can be compared as numbers. What is no number is
/// taken as unknown, and never holds anything up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ResourceVersions(BTreeMap<String, Progress>);

/// How far a server's view of one kind reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The newest change that was seen: of an object that is there, or the end of one.
    #[serde(default)]
    pub newest: u64,
    /// Every change up to here was seen. At least `newest`; more where a list or a bookmark said
    /// so.
    #[serde(default)]
    pub complete: u64,
}

impl ResourceVersions {
    /// An object of the kind was created, changed or deleted, with this `resourceVersion`; or it was
    /// found in a list.
    pub fn changed(&mut self, kind: &str, resource_version: &str) {
        let Ok(version) = resource_version.parse() else { return };
        let progress = self.progress_mut(kind);
        progress.newest = progress.newest.max(version);
        progress.complete = progress.complete.max(version);
    }

    /// Everything up to this `resourceVersion` has been seen: that of a list that was read to its
    /// end, or of a bookmark.
    pub fn complete(&mut self, kind: &str, resource_version: &str) {
        let Ok(version) = resource_version.parse() else { return };
        let progress = self.progress_mut(kind);
        progress.complete = progress.complete.max(version);
    }

    /// How far the view of a kind reaches.
    pub fn progress(&self, kind: &str) -> Option<Progress> {
        self.0.get(kind).copied()
    }

    /// The first kind of which `self` may lack a change that `held` was made from, and how far
    /// `self` would have to reach. A kind that `self` knows nothing of is not served any more, and
    /// counts as complete.
    pub fn behind<'a>(&self, held: &'a Self) -> Option<(&'a str, u64)> {
        let behind = |(kind, held): (&'a String, &Progress)| {
            let ours = self.0.get(kind)?;
            (ours.complete < held.newest).then_some((kind.as_str(), held.newest))
        };
        held.0.iter().find_map(behind)
    }

    fn progress_mut(&mut self, kind: &str) -> &mut Progress {
        if !self.0.contains_key(kind) {
            self.0.insert(kind.to_owned(), Progress::default());
        }
        self.0.get_mut(kind).expect("it was put in above if it was not there")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(entries: &[(&str, u64, u64)]) -> ResourceVersions {
        let progress = |(kind, newest, complete): &(&str, u64, u64)| {
            ((*kind).to_owned(), Progress { newest: *newest, complete: *complete })
        };
        ResourceVersions(entries.iter().map(progress).collect())
    }

    #[test]
    fn a_replica_is_behind_when_it_may_lack_a_change() {
        let held = versions(&[("HTTPRoute", 100, 120), ("Service", 90, 120)]);
        for (replica, expected) in [
            (versions(&[("HTTPRoute", 100, 100), ("Service", 90, 90)]), None),
            (versions(&[("HTTPRoute", 100, 110), ("Service", 90, 200)]), None),
            // It was started later: its list came after the change, which was a deletion.
            (versions(&[("HTTPRoute", 80, 110), ("Service", 90, 90)]), None),
            (versions(&[("HTTPRoute", 99, 99), ("Service", 300, 300)]), Some(("HTTPRoute", 100))),
            (versions(&[("HTTPRoute", 100, 100), ("Service", 80, 89)]), Some(("Service", 90))),
            // The definition of the kind was deleted.
            (versions(&[("Service", 90, 90)]), None),
        ] {
            assert_eq!(replica.behind(&held), expected, "{replica:?}");
        }
        assert_eq!(held.behind(&ResourceVersions::default()), None);
    }

    #[test]
    fn versions_only_grow_and_what_is_no_number_is_passed_over() {
        let mut versions = ResourceVersions::default();
        versions.changed("Service", "7");
        versions.complete("Service", "12");
        versions.changed("Service", "9");
        versions.complete("Service", "3");
        versions.changed("Service", "abc");
        versions.complete("Gateway", "");
        assert_eq!(versions.progress("Service"), Some(Progress { newest: 9, complete: 12 }));
        assert_eq!(versions.progress("Gateway"), None);
    }

    #[test]
    fn a_root_depends_on_what_is_there_and_not_on_the_way_there() {
        let mut one = Root::default();
        one.add("a", "1");
        one.add("b", "1");
        let mut other = Root::default();
        other.add("b", "0");
        other.add("a", "1");
        assert_ne!(one, other);
        other.remove("b", "0");
        other.add("b", "1");
        assert_eq!(one, other);
        assert_eq!(one.count(), 2);
        let json = serde_json::to_string(&one).unwrap();
        assert_eq!(serde_json::from_str::<Root>(&json).unwrap(), one);
    }
}
