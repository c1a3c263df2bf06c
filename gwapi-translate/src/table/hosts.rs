//! A persistent map by hostname, read from the most specific entry to the least (LI-1, HR-1).

use std::sync::Arc;

use super::map::Map;
use crate::ir::Hostname;

/// Values by exact hostname, by wildcard and for any host.
#[derive(Clone, Debug)]
pub(super) struct HostMap<T> {
    exact: Map<Arc<str>, T>,
    /// By suffix: `*.example.com` as `example.com`.
    wildcard: Map<Arc<str>, T>,
    any: Option<T>,
    /// No suffix in `wildcard` is longer. A client may send a host of thousands of labels: this is
    /// what bounds the work. It is only a bound, so it need not shrink when a wildcard goes.
    longest_suffix: usize,
}

impl<T> Default for HostMap<T> {
    fn default() -> Self {
        Self { exact: Map::default(), wildcard: Map::default(), any: None, longest_suffix: 0 }
    }
}

impl<T: Clone> HostMap<T> {
    /// The value at a hostname as written; `None` stands for any host.
    pub(super) fn get(&self, hostname: Option<&Hostname>) -> Option<&T> {
        match hostname {
            Some(Hostname::Exact(name)) => self.exact.get(&**name),
            Some(Hostname::Wildcard(suffix)) => self.wildcard.get(&**suffix),
            None => self.any.as_ref(),
        }
    }

    /// Sets or removes the value at a hostname as written.
    pub(super) fn set(&mut self, hostname: Option<&Hostname>, value: Option<T>) {
        let (map, key) = match hostname {
            Some(Hostname::Exact(name)) => (&mut self.exact, name),
            Some(Hostname::Wildcard(suffix)) => {
                self.longest_suffix = self.longest_suffix.max(suffix.len());
                (&mut self.wildcard, suffix)
            }
            None => {
                self.any = value;
                return;
            }
        };
        match value {
            Some(value) => map.insert(key.clone(), value),
            None => map.remove(&**key),
        };
    }

    /// The values whose hostnames take a host: exact, then wildcards from the longest suffix to
    /// the shortest, then any.
    pub(super) fn most_specific_first<'s, 'h>(
        &'s self,
        host: &'h str,
    ) -> impl Iterator<Item = &'s T> + use<'s, 'h, T> {
        // Without wildcards there is nothing to look for in the host.
        let searched = if self.longest_suffix == 0 { "" } else { host };
        let wildcards = searched
            .match_indices('.')
            // The labels that the `*` stands for are not empty (LI-1).
            .filter(|(dot, _)| *dot > 0)
            .map(|(dot, _)| &host[dot + 1..])
            .filter(|suffix| suffix.len() <= self.longest_suffix)
            .filter_map(|suffix| self.wildcard.get(suffix));
        self.exact.get(host).into_iter().chain(wildcards).chain(&self.any)
    }

    /// The value for any host.
    pub(super) fn any(&self) -> Option<&T> {
        self.any.as_ref()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.wildcard.is_empty() && self.any.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(map: &HostMap<&'static str>, host: &str) -> Vec<&'static str> {
        map.most_specific_first(host).copied().collect()
    }

    #[test]
    fn exact_names_come_before_longer_and_shorter_wildcards_and_any() {
        let mut map = HostMap::default();
        for name in ["www.example.com", "*.example.com", "*.com", "*.www.example.com"] {
            map.set(Some(&Hostname::parse(name)), Some(name));
        }
        map.set(None, Some("any"));

        assert_eq!(
            found(&map, "www.example.com"),
            ["www.example.com", "*.example.com", "*.com", "any"]
        );
        assert_eq!(found(&map, "a.b.example.com"), ["*.example.com", "*.com", "any"]);
        assert_eq!(found(&map, "example.com"), ["*.com", "any"], "a wildcard never takes its apex");
        assert_eq!(found(&map, ".example.com"), ["*.com", "any"], "an empty label is no label");
        assert_eq!(found(&map, "com"), ["any"]);
        assert_eq!(found(&map, ""), ["any"]);
    }

    #[test]
    fn what_is_removed_is_gone() {
        let mut map = HostMap::default();
        let hostnames = [None, Some(Hostname::parse("a.b")), Some(Hostname::parse("*.b"))];
        for hostname in &hostnames {
            map.set(hostname.as_ref(), Some("here"));
        }
        for hostname in &hostnames {
            assert!(map.get(hostname.as_ref()).is_some());
            map.set(hostname.as_ref(), None);
        }
        assert!(map.is_empty());
    }
}
