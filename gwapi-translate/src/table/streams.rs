//! The rules of TLSRoutes, TCPRoutes and UDPRoutes of every listener.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::hosts::HostMap;
use super::map::Map;
use crate::ir::{Hostname, ListenerKey, RuleKey, StreamRule};

/// Rules by listener, and there by server name as written.
#[derive(Clone, Debug, Default)]
pub(super) struct Streams {
    rules: Map<RuleKey, Arc<StreamRule>>,
    /// The rules of one place in the order of precedence: the first one serves (TS-3, L4-3).
    listeners: Map<ListenerKey, HostMap<Arc<[Arc<StreamRule>]>>>,
}

impl Streams {
    pub(super) fn apply(&mut self, rules: BTreeMap<&RuleKey, Option<&Arc<StreamRule>>>) {
        for (key, rule) in rules {
            let old = match rule {
                Some(rule) => self.rules.insert(key.clone(), Arc::clone(rule)),
                None => self.rules.remove(key),
            };
            if let Some(old) = old {
                self.edit_places(&old, |rules| rules.retain(|rule| rule.key != old.key));
            }
            if let Some(new) = rule {
                self.edit_places(new, |rules| {
                    rules.push(Arc::clone(new));
                    rules.sort_by(|a, b| (&a.order, &a.key).cmp(&(&b.order, &b.key)));
                });
            }
        }
    }

    /// Changes the rules of every place that a rule has.
    fn edit_places(&mut self, rule: &StreamRule, edit: impl Fn(&mut Vec<Arc<StreamRule>>)) {
        let mut hostnames: Vec<Option<&Hostname>> = rule.hostnames.iter().map(Some).collect();
        hostnames.sort_unstable();
        hostnames.dedup();
        if hostnames.is_empty() {
            hostnames.push(None);
        }
        for listener in rule.listeners.iter() {
            let mut hosts = self.listeners.remove(listener).unwrap_or_default();
            for &hostname in &hostnames {
                let mut rules = hosts.get(hostname).map_or_else(Vec::new, |rules| rules.to_vec());
                edit(&mut rules);
                hosts.set(hostname, (!rules.is_empty()).then(|| rules.into()));
            }
            if !hosts.is_empty() {
                self.listeners.insert(listener.clone(), hosts);
            }
        }
    }

    pub(super) fn find(
        &self,
        listener: &ListenerKey,
        name: Option<&str>,
    ) -> Option<&Arc<StreamRule>> {
        let hosts = self.listeners.get(listener)?;
        match name {
            Some(name) => hosts.most_specific_first(name).next()?.first(),
            None => hosts.any()?.first(),
        }
    }
}
