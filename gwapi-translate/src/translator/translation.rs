//! What translation yields, and how it changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gwapi_model::status::Status;
use gwapi_model::{NamespacedName, ObjectId};

use crate::infrastructure::GatewayInfrastructure;
use crate::ir::{ConfigDelta, GatewayConfig, GatewayId, IrKey, IrResource};
use crate::selection::EndpointSelection;

/// The result of translation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Translation {
    /// What each Gateway serves. A Gateway that is ours is here even when it serves nothing.
    pub config: BTreeMap<GatewayId, GatewayConfig>,
    /// Status of every object that is ours.
    pub status: BTreeMap<ObjectId, Status>,
    /// What has to run for each Gateway that is ours; with
    /// [`AddressPolicy::Provisioned`](super::AddressPolicy::Provisioned) alone.
    pub infrastructure: BTreeMap<GatewayId, Arc<GatewayInfrastructure>>,
    /// The pods that XBackends select to which Gateways that are ours send; with
    /// [`AddressPolicy::Provisioned`](super::AddressPolicy::Provisioned) alone, and of XBackends that an API
    /// server gave a UID.
    pub selections: BTreeMap<NamespacedName, Arc<EndpointSelection>>,
    /// Secrets and ConfigMaps that are read, whether they are there or not: those that Gateways of ours
    /// refer to and may refer to. No other one has an effect on anything.
    pub references: BTreeSet<ObjectId>,
}

/// What changed in a [`Translation`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TranslationDelta {
    /// Per Gateway, what it serves from now on; never empty deltas, save for a new Gateway that
    /// serves nothing yet.
    pub config: BTreeMap<GatewayId, ConfigDelta>,
    /// Gateways that are no longer served at all.
    pub removed_gateways: Vec<GatewayId>,
    /// New status; `None` where we have nothing to say about the object any more.
    pub status: BTreeMap<ObjectId, Option<Status>>,
    /// What has to run from now on; `None` where nothing has to any more.
    pub infrastructure: BTreeMap<GatewayId, Option<Arc<GatewayInfrastructure>>>,
    /// What XBackends select from now on; `None` where nothing has to be selected any more.
    pub selections: BTreeMap<NamespacedName, Option<Arc<EndpointSelection>>>,
    /// Secrets and ConfigMaps that are read from now on (`true`), or no more. Who keeps only those in
    /// memory gets the new ones now, and applies them before anybody sees that they are missing.
    pub references: BTreeMap<ObjectId, bool>,
}

impl TranslationDelta {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.config.is_empty()
            && self.removed_gateways.is_empty()
            && self.status.is_empty()
            && self.infrastructure.is_empty()
            && self.selections.is_empty()
            && self.references.is_empty()
    }
}

impl Translation {
    /// Applies a delta.
    pub fn apply(&mut self, delta: &TranslationDelta) {
        for gateway in &delta.removed_gateways {
            self.config.remove(gateway);
        }
        for (gateway, change) in &delta.config {
            self.config.entry(gateway.clone()).or_default().apply(change);
        }
        if self.status.is_empty() {
            // All at once they take less time and less room.
            let there = |(id, status): (&ObjectId, &Option<Status>)| {
                status.clone().map(|status| (id.clone(), status))
            };
            self.status = delta.status.iter().filter_map(there).collect();
        } else {
            for (id, status) in &delta.status {
                match status {
                    Some(status) => self.status.insert(id.clone(), status.clone()),
                    None => self.status.remove(id),
                };
            }
        }
        for (gateway, infrastructure) in &delta.infrastructure {
            match infrastructure {
                Some(wanted) => self.infrastructure.insert(gateway.clone(), wanted.clone()),
                None => self.infrastructure.remove(gateway),
            };
        }
        for (backend, selection) in &delta.selections {
            match selection {
                Some(selection) => self.selections.insert(backend.clone(), selection.clone()),
                None => self.selections.remove(backend),
            };
        }
        for (object, is_read) in &delta.references {
            match is_read {
                true => self.references.insert(object.clone()),
                false => self.references.remove(object),
            };
        }
    }
}

/// What may have changed: the last word on each key counts, and what turns out to be as before is
/// no change. Lists become maps only then: what comes in order is not searched for.
#[derive(Default)]
pub(super) struct Staged {
    /// Resources by Gateway; `None` where one is gone.
    config: BTreeMap<GatewayId, Vec<(IrKey, Option<IrResource>)>>,
    /// Status; `None` where there is none any more.
    status: Vec<(ObjectId, Option<Status>)>,
    /// Gateways that were looked at.
    gateways: BTreeSet<GatewayId>,
    /// What has to run; `None` where nothing has to.
    infrastructure: BTreeMap<GatewayId, Option<Arc<GatewayInfrastructure>>>,
    /// What XBackends select; `None` where nothing has to be selected.
    selections: BTreeMap<NamespacedName, Option<Arc<EndpointSelection>>>,
    /// Whether objects are read.
    references: BTreeMap<ObjectId, bool>,
}

impl Staged {
    /// A Gateway serves this resource.
    pub(super) fn upsert(&mut self, gateway: &GatewayId, resource: IrResource) {
        self.resources(gateway).push((resource.key(), Some(resource)));
    }

    /// A Gateway does not serve this any more.
    pub(super) fn remove(&mut self, gateway: &GatewayId, key: IrKey) {
        self.resources(gateway).push((key, None));
    }

    /// Status of an object.
    pub(super) fn status(&mut self, id: ObjectId, status: Option<Status>) {
        self.status.push((id, status));
    }

    /// What has to run for a Gateway.
    pub(super) fn infrastructure(
        &mut self,
        gateway: &GatewayId,
        infrastructure: Option<Arc<GatewayInfrastructure>>,
    ) {
        self.infrastructure.insert(gateway.clone(), infrastructure);
    }

    /// What an XBackend selects.
    pub(super) fn selection(
        &mut self,
        backend: &NamespacedName,
        selection: Option<EndpointSelection>,
    ) {
        self.selections.insert(backend.clone(), selection.map(Arc::new));
    }

    /// An object is read by somebody, or by nobody.
    pub(super) fn reference(&mut self, object: ObjectId, is_read: bool) {
        self.references.insert(object, is_read);
    }

    /// A Gateway may have come or gone.
    pub(super) fn gateway(&mut self, gateway: &GatewayId) {
        self.gateways.insert(gateway.clone());
    }

    fn resources(&mut self, gateway: &GatewayId) -> &mut Vec<(IrKey, Option<IrResource>)> {
        if !self.config.contains_key(gateway) {
            self.config.insert(gateway.clone(), Vec::new());
        }
        self.config.get_mut(gateway).expect("it was put in above if it was not there")
    }

    /// The smallest delta that leads from `before` to what is staged. `is_ours` tells whether a
    /// Gateway is served now.
    pub(super) fn into_delta(
        self,
        before: &Translation,
        is_ours: impl Fn(&GatewayId) -> bool,
    ) -> TranslationDelta {
        let mut delta = TranslationDelta::default();
        let empty = GatewayConfig::default();
        for gateway in self.gateways {
            match (before.config.contains_key(&gateway), is_ours(&gateway)) {
                (false, true) => {
                    delta.config.insert(gateway, ConfigDelta::default());
                }
                (true, false) => delta.removed_gateways.push(gateway),
                _ => {}
            }
        }
        for (gateway, staged) in self.config {
            if !is_ours(&gateway) {
                continue;
            }
            let before = before.config.get(&gateway).unwrap_or(&empty);
            let staged: BTreeMap<_, _> = staged.into_iter().collect();
            let mut change = ConfigDelta::default();
            for (key, resource) in staged {
                match resource {
                    Some(resource) if before.0.get(&key) != Some(&resource) => {
                        change.upserts.push(resource);
                    }
                    None if before.0.contains_key(&key) => change.removals.push(key),
                    _ => {}
                }
            }
            if !change.is_empty() {
                delta.config.insert(gateway, change);
            }
        }
        let status: BTreeMap<_, _> = self.status.into_iter().collect();
        delta.status = status
            .into_iter()
            .filter(|(id, status)| before.status.get(id) != status.as_ref())
            .collect();
        delta.infrastructure = self
            .infrastructure
            .into_iter()
            .filter(|(id, wanted)| before.infrastructure.get(id) != wanted.as_ref())
            .collect();
        delta.selections = self
            .selections
            .into_iter()
            .filter(|(name, selection)| before.selections.get(name) != selection.as_ref())
            .collect();
        delta.references = self
            .references
            .into_iter()
            .filter(|(id, is_read)| before.references.contains(id) != *is_read)
            .collect();
        delta
    }
}
