//! Routes, and what each of them adds to Gateways.

use gwapi_model::status::{RouteStatus, Status};
use gwapi_model::{NamespacedName, Route, RouteKind};

use super::super::backend::ServicePort;
use super::super::index;
use super::super::route::{self, RouteView};
use super::super::rule::Lookup;
use super::super::translation::Staged;
use super::{Dirty, Engine};

impl Engine {
    pub(super) fn settle_route(
        &mut self,
        kind: RouteKind,
        name: &NamespacedName,
        dirty: &mut Dirty,
        staged: &mut Staged,
    ) {
        let mut new = self.derive_route(kind, name).unwrap_or_default();
        // Taken out of its place and not out of the map: an edit must not make the map rehash.
        let old = self.routes[kind].get_mut(name).map(std::mem::take).unwrap_or_default();
        // What is needed from now on comes first, so that nothing is let go that is still needed.
        for (gateway, attached) in &new.gateways {
            for target in &attached.backends {
                self.acquire(gateway, target, dirty, staged);
            }
        }
        for (gateway, attached) in &old.gateways {
            for target in &attached.backends {
                self.release(gateway, target, dirty, staged);
            }
        }
        self.note_asked(kind, name, !new.status.parents.is_empty(), dirty);
        for (gateway, attached) in &old.gateways {
            for rule in &attached.rules {
                staged.remove(gateway, rule.key());
            }
            self.count(gateway, &attached.counted, -1, dirty);
        }
        for (gateway, attached) in &new.gateways {
            for rule in &attached.rules {
                staged.upsert(gateway, rule.clone());
            }
            self.count(gateway, &attached.counted, 1, dirty);
        }
        let id = name.object_id(kind.kind());
        if new.status.parents.is_empty() {
            staged.status(id, None);
            self.routes[kind].remove(name);
        } else {
            self.share_status(&mut new.status);
            staged.status(id, Some(Status::Route(new.status.clone())));
            self.routes[kind].insert(name.clone(), new);
        }
    }

    /// Routes that follow each other mostly have the same status: they share it.
    fn share_status(&mut self, status: &mut RouteStatus) {
        if self.last_status == *status {
            status.clone_from(&self.last_status);
        } else {
            self.last_status.clone_from(status);
        }
    }

    /// Derives a route; `None` where it does not exist or refers to no Gateway of ours.
    fn derive_route(&mut self, kind: RouteKind, name: &NamespacedName) -> Option<RouteView> {
        let object = self.resources.get(&name.object_id(kind.kind()))?;
        self.work.routes += 1;
        let object = Route::of(&object)?;
        let parents = route::parents(object, |holder| self.gateway_of(holder), &self.defaults);
        if parents.is_empty() {
            return None;
        }
        for target in index::backends(object) {
            self.know(&target);
        }
        let facts = |target: &ServicePort| self.facts(target);
        let lookup = Lookup {
            resources: &self.resources,
            facts: &facts,
            underscore_headers: self.options.underscore_headers,
        };
        Some(route::view(name, object, parents, &self.gateways, &lookup, &self.options))
    }
}
