//! How far the picture is complete: what readiness depends on, and what an operator is told.

use std::collections::{BTreeMap, BTreeSet};

use gwapi_model::Kind;

use crate::watch::Source;

/// Kinds without which there is nothing to serve.
const NEEDED: [Kind; 2] = [Kind::GatewayClass, Kind::Gateway];

/// How to get the kinds of the Gateway API.
pub(crate) const INSTALL_CRDS: &str = "kubectl apply --server-side -f \
    https://github.com/kubernetes-sigs/gateway-api/releases/download/v1.7.0/standard-install.yaml";

/// What is known of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SourceState {
    /// Not heard of yet.
    Awaited,
    /// Listed, and followed since.
    Listed,
    /// The API server does not have the kind.
    Absent,
    /// The namespace does not exist, and nothing in it.
    Homeless,
}

/// How far the picture is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    sources: BTreeMap<Source, SourceState>,
    /// Sources that fail at the moment, with the reason.
    failing: BTreeMap<Source, String>,
    /// Those of them that the API server denies. Nothing but a list is told of them next.
    denied: BTreeSet<Source>,
    /// It is known which CRDs there are, or that they must not be seen.
    pub(super) knows_crds: bool,
    /// The first whole state has been handed out.
    pub(crate) is_live: bool,
    /// Number of objects that cannot be read.
    pub(crate) unreadable: usize,
}

impl Progress {
    pub(crate) fn new(sources: Vec<Source>) -> Self {
        let sources = sources.into_iter().map(|source| (source, SourceState::Awaited)).collect();
        Self {
            sources,
            failing: BTreeMap::new(),
            denied: BTreeSet::new(),
            knows_crds: false,
            is_live: false,
            unreadable: 0,
        }
    }

    /// Nothing is known yet, not even what there is to know.
    pub(crate) fn starting() -> Self {
        Self::new(Vec::new())
    }

    pub(super) fn set(&mut self, source: Source, state: SourceState) {
        self.failing.remove(&source);
        self.denied.remove(&source);
        if let Some(known) = self.sources.get_mut(&source) {
            *known = state;
        }
    }

    pub(super) fn failed(&mut self, source: Source, error: String) {
        self.failing.insert(source, error);
    }

    pub(super) fn denied(&mut self, source: Source, error: String) {
        self.denied.insert(source.clone());
        self.failed(source, error);
    }

    /// Sources that are denied because their namespace does not exist count as listed: there is nothing in
    /// them, and they are listed as soon as that can be. Those of kinds that the cluster does not have stay absent.
    /// Handed back are those of which it was not known that nothing is in them, with what is told of object by
    /// object. `exists` is asked while all Namespaces are known.
    pub(super) fn excuse(&mut self, exists: impl Fn(&str) -> bool) -> Vec<Source> {
        let namespaces = Source { kind: Kind::Namespace, namespace: None };
        let is_listed = self.sources.get(&namespaces) == Some(&SourceState::Listed);
        if !is_listed || self.failing.contains_key(&namespaces) {
            return Vec::new();
        }
        let is_homeless =
            |source: &Source| source.namespace.as_deref().is_some_and(|it| !exists(it));
        let mut homeless: Vec<Source> = self.denied.extract_if(.., |it| is_homeless(it)).collect();
        homeless.retain(|source| {
            self.failing.remove(source);
            match self.sources.get_mut(source) {
                Some(SourceState::Absent | SourceState::Homeless) => false,
                Some(state) => {
                    *state = SourceState::Homeless;
                    true
                }
                None => true,
            }
        });
        homeless
    }

    /// Namespaces that are watched and do not exist.
    pub(crate) fn missing_namespaces(&self) -> BTreeSet<&str> {
        let homeless = self.sources.iter().filter(|(_, state)| **state == SourceState::Homeless);
        homeless.filter_map(|(source, _)| source.namespace.as_deref()).collect()
    }

    /// Whether every source has been listed, or is known not to exist.
    pub(super) fn is_complete(&self) -> bool {
        self.knows_crds && self.sources.values().all(|state| *state != SourceState::Awaited)
    }

    /// Kinds that the API server does not have.
    pub(crate) fn absent(&self) -> BTreeSet<Kind> {
        let absent = self.sources.iter().filter(|(_, state)| **state == SourceState::Absent);
        absent.map(|(source, _)| source.kind).collect()
    }

    /// Sources that fail at the moment, with the reason.
    pub(crate) fn failing(&self) -> &BTreeMap<Source, String> {
        &self.failing
    }

    /// Why this controller is not ready; empty when it is.
    pub(crate) fn obstacles(&self) -> Vec<String> {
        let mut obstacles = Vec::new();
        let absent = self.absent();
        let absent: Vec<&str> =
            NEEDED.iter().filter(|kind| absent.contains(kind)).map(|kind| kind.as_str()).collect();
        if !absent.is_empty() {
            obstacles.push(format!(
                "the cluster has no {}: install the Gateway API with `{INSTALL_CRDS}`",
                absent.join(" and no ")
            ));
        }
        for (source, state) in &self.sources {
            match (state, self.failing.get(source)) {
                (SourceState::Awaited, Some(error)) => {
                    obstacles.push(format!("cannot list {source}: {error}"));
                }
                (SourceState::Awaited, None) => obstacles.push(format!("has not listed {source}")),
                _ => {}
            }
        }
        if obstacles.is_empty() && !self.is_live {
            obstacles
                .push("has not read all Secrets and ConfigMaps that are referred to".to_owned());
        }
        obstacles
    }
}
