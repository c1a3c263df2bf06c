//! Gateways with all that listens for them, and the status of what holds listeners.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gwapi_model::status::{ListenerStatus, Status};
use gwapi_model::{Kind, RouteKind};

use super::super::backend::ServicePort;
use super::super::gateway::{self, GatewayDraft, GatewayView};
use super::super::holder::Holder;
use super::super::translation::Staged;
use super::super::{Feedback, index};
use super::x_backends::x_backends_without_certificate;
use super::{Dirty, Engine};
use crate::ir::{GatewayId, ListenerKey};

impl Engine {
    pub(super) fn settle_gateways(&mut self, dirty: &mut Dirty, staged: &mut Staged) {
        let mut gateways = std::mem::take(&mut dirty.gateways);
        for id in &gateways {
            let sets = self.index.sets_of_gateway.of(id);
            let draft = gateway::draft(id, sets, &self.resources, &self.options);
            self.ports.claim(id, draft.as_ref().and_then(GatewayDraft::claim));
            match draft {
                Some(draft) => {
                    let uid = draft.uid().map(str::to_owned);
                    let former = self.drafts.insert(id.clone(), draft);
                    let former = former.as_ref().and_then(GatewayDraft::uid);
                    if former.zip(uid.as_deref()).is_some_and(|(former, uid)| former != uid) {
                        // What was found out was about another Gateway of the name.
                        let said = self.feedback.remove(id).unwrap_or_default();
                        dirty.x_statuses.extend(x_backends_without_certificate(&said));
                    }
                }
                None => {
                    // The data plane lets the Gateway go, and will say anew what it finds.
                    self.feedback.remove(id);
                    self.drafts.remove(id);
                }
            }
        }
        gateways.extend(self.ports.settle());
        let no_feedback = Feedback::default();
        for id in gateways {
            self.work.gateways += 1;
            if self.drafts.contains_key(&id) {
                self.derive_asked(&id);
            }
            let feedback = self.feedback.get(&id).unwrap_or(&no_feedback);
            let facts = |target: &ServicePort| {
                self.backends.get(target).map(|view| view.facts.clone()).unwrap_or_default()
            };
            let draft = self.drafts.get(&id);
            let new = draft.map(|draft| {
                let keys = self.options.session_keys.as_ref();
                draft.complete(&self.resources, &self.ports, feedback, &facts, keys)
            });
            let old = self.gateways.remove(&id);
            let backends = |view: Option<&GatewayView>| {
                view.map(|view| view.backends.clone()).unwrap_or_default()
            };
            let (needed, needless) = (backends(new.as_ref()), backends(old.as_ref()));
            self.note_listeners(&id, old.as_ref(), new.as_ref(), dirty);
            let references = |view: Option<&GatewayView>| {
                view.map(|view| view.references.clone()).unwrap_or_default()
            };
            let reader = id.object_id(Kind::Gateway);
            self.follow(&reader, &references(old.as_ref()), &references(new.as_ref()), staged);
            let certificate = |view: &Option<GatewayView>| {
                view.as_ref().and_then(|view| view.client_certificate.clone())
            };
            let has_other_certificate = certificate(&old) != certificate(&new);
            for key in old.into_iter().flat_map(|old| old.config.into_keys()) {
                staged.remove(&id, key);
            }
            let infrastructure = match &new {
                Some(view) => view.infrastructure.clone(),
                None => gateway::held(&id, &self.resources, &self.options).map(Arc::new),
            };
            staged.infrastructure(&id, infrastructure);
            if let Some(new) = new {
                for resource in new.config.values() {
                    staged.upsert(&id, resource.clone());
                }
                self.gateways.insert(id.clone(), new);
            }
            for target in needed.difference(&needless) {
                self.acquire(&id, target, dirty, staged);
            }
            for target in needless.difference(&needed) {
                self.release(&id, target, dirty, staged);
            }
            if has_other_certificate {
                self.stage_backends_over_tls(&id, staged);
            }
            staged.gateway(&id);
            dirty.tracing.insert(id.clone());
            dirty.statuses.insert(Holder::Gateway(id));
        }
    }

    /// Derives the Service ports that filters of a Gateway's listeners may need.
    fn derive_asked(&mut self, gateway: &GatewayId) {
        let sets = self.index.sets_of_gateway.of(gateway).cloned().map(Holder::ListenerSet);
        let holders = sets.chain([Holder::Gateway(gateway.clone())]);
        let objects = holders.filter_map(|holder| self.resources.get(&holder.object_id()));
        let targets: Vec<_> =
            objects.flat_map(|object| index::backends_of_listeners(&object)).collect();
        for target in targets {
            if !self.backends.contains_key(&target) {
                let view = self.backend(&target);
                self.backends.insert(target, view);
            }
        }
    }

    /// Marks the routes and the status of whatever holds listeners of a Gateway, and takes down which
    /// ListenerSets are the Gateway's.
    fn note_listeners(
        &mut self,
        gateway: &GatewayId,
        old: Option<&GatewayView>,
        new: Option<&GatewayView>,
        dirty: &mut Dirty,
    ) {
        let old_rank = old.and_then(|view| view.default_rank.as_ref());
        let new_rank = new.and_then(|view| view.default_rank.as_ref());
        let is_default = old_rank.is_some() || new_rank.is_some();
        let mut defaults_changed = old_rank != new_rank;
        if defaults_changed {
            old_rank.map(|rank| self.defaults.remove(rank));
            self.defaults.extend(new_rank.cloned());
        }
        let empty = BTreeMap::new();
        let old = old.map_or(&empty, |view| &view.listeners);
        let new = new.map_or(&empty, |view| &view.listeners);
        let holders: BTreeSet<&Holder> = old.keys().chain(new.keys()).collect();
        // Where ports are shifted, redirects lead to what any listener of the Gateway offers.
        let concerns_all = self.options.port_offset != 0 && old != new;
        for holder in holders {
            if concerns_all || old.get(holder) != new.get(holder) {
                for kind in RouteKind::ALL {
                    let routes = self.index.routes_of_holder[kind].of(holder);
                    dirty.routes[kind].extend(routes.cloned());
                }
                defaults_changed |= is_default && matches!(holder, Holder::Gateway(_));
            }
            let Holder::ListenerSet(set) = holder else { continue };
            if new.contains_key(holder) {
                self.sets.insert(set.clone(), gateway.clone());
            } else if self.sets.get(set) == Some(gateway) {
                self.sets.remove(set);
            }
            dirty.statuses.insert(holder.clone());
        }
        if defaults_changed {
            for kind in RouteKind::ALL {
                dirty.routes[kind].extend(self.index.defaulted_routes[kind].iter().cloned());
            }
        }
    }

    /// The Gateway of ours whose listeners an object holds.
    pub(super) fn gateway_of(&self, holder: &Holder) -> Option<&GatewayId> {
        match holder {
            Holder::Gateway(id) => self.gateways.get_key_value(id).map(|(id, _)| id),
            Holder::ListenerSet(set) => self.sets.get(set),
        }
    }

    /// Counts routes on listeners, up or down.
    pub(super) fn count(
        &mut self,
        gateway: &GatewayId,
        listeners: &[ListenerKey],
        step: i32,
        dirty: &mut Dirty,
    ) {
        for listener in listeners {
            let holder = Holder::of_listener(gateway, listener);
            let counts = self.counts.entry(holder.clone()).or_default();
            let count = counts.entry(listener.clone()).or_default();
            *count += step;
            if *count == 0 {
                counts.remove(listener);
                if counts.is_empty() {
                    self.counts.remove(&holder);
                }
            }
            dirty.statuses.insert(holder);
        }
    }

    pub(super) fn settle_status(&self, holder: &Holder, staged: &mut Staged) {
        let counts = self.counts.get(holder);
        let count = |listeners: &mut Vec<ListenerStatus>| {
            for listener in listeners {
                let count = counts.and_then(|counts| counts.get(&holder.key(&listener.name)));
                listener.attached_routes = count.copied().unwrap_or_default();
            }
        };
        let view = self.gateway_of(holder).and_then(|gateway| self.gateways.get(gateway));
        let status = view.and_then(|view| match holder {
            Holder::Gateway(_) => {
                let mut status = view.status.clone();
                count(&mut status.listeners);
                Some(Status::Gateway(Box::new(status)))
            }
            Holder::ListenerSet(set) => {
                let mut status = view.sets.get(set)?.clone();
                count(&mut status.listeners);
                Some(Status::ListenerSet(Box::new(status)))
            }
        });
        staged.status(holder.object_id(), status);
    }
}
