//! Routes, and what each of them adds to Gateways.

use gwapi_model::status::Status;
use gwapi_model::{NamespacedName, Route, RouteKind};

use super::super::backend::ServicePort;
use super::super::index;
use super::super::route::{self, Attached, RouteView, Rules};
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
        for Attached { attachment, .. } in &new.gateways {
            for target in &attachment.backends {
                self.acquire(&attachment.gateway, target, dirty, staged);
            }
        }
        for Attached { attachment, .. } in &old.gateways {
            for target in &attachment.backends {
                self.release(&attachment.gateway, target, dirty, staged);
            }
        }
        self.note_asked(kind, name, !new.status.parents.is_empty(), dirty);
        for Attached { attachment, rules } in &old.gateways {
            for rule in rules.as_slice() {
                staged.remove(&attachment.gateway, rule.key());
            }
            self.count(&attachment.gateway, attachment.counted(), -1, dirty);
        }
        for Attached { attachment, rules } in &new.gateways {
            for rule in rules.as_slice() {
                staged.upsert(&attachment.gateway, rule.clone());
            }
            self.count(&attachment.gateway, attachment.counted(), 1, dirty);
        }
        let id = name.object_id(kind.kind());
        if new.status.parents.is_empty() {
            staged.status(id, None);
            self.routes[kind].remove(name);
        } else {
            if new.status == self.last_route.status {
                new.status.clone_from(&self.last_route.status);
            }
            // Without its rules, which no other route has.
            let attached = new.gateways.iter().map(|it| it.attachment.clone());
            let gateways = attached.map(|attachment| Attached { attachment, rules: Rules::None });
            self.last_route =
                RouteView { gateways: gateways.collect(), status: new.status.clone() };
            staged.status(id, Some(Status::Route(new.status.clone())));
            self.routes[kind].insert(name.clone(), new);
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
        let before = &self.last_route;
        Some(route::view(name, object, parents, &self.gateways, &lookup, &self.options, before))
    }
}
