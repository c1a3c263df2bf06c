//! The status of XBackends and what they select, for which it matters who refers to them.

use std::collections::{BTreeMap, BTreeSet};

use gwapi_model::status::Status;
use gwapi_model::{NamespacedName, Route, RouteKind, XBackend};

use super::super::backend::is_of_addresses;
use super::super::translation::Staged;
use super::super::x_backend::Making;
use super::super::{Feedback, index, rule, x_backend};
use super::{Dirty, Engine};
use crate::ir::{CertificateKey, GatewayId};
use crate::selection::EndpointSelection;

/// Why no Service could be made for the pods of an XBackend.
#[derive(Clone, Debug)]
pub(super) struct SelectionProblem {
    /// Which of all XBackends of the name it is about.
    uid: String,
    message: String,
}

impl Engine {
    /// Notes which XBackends a route refers to, and counts the routes of ours that refer to each: what is wrong
    /// with them is told whether a Gateway sends to them or not.
    pub(super) fn note_asked(
        &mut self,
        kind: RouteKind,
        name: &NamespacedName,
        is_ours: bool,
        dirty: &mut Dirty,
    ) {
        let object = self.resources.get(&name.object_id(kind.kind())).filter(|_| is_ours);
        let route = object.as_ref().and_then(Route::of);
        let new: BTreeSet<_> = route.into_iter().flat_map(rule::x_backends).collect();
        let old = self.asked_by_route[kind].remove(name).unwrap_or_default();
        for asked in &new {
            let askers = self.askers_of_x_backend.entry(asked.clone()).or_default();
            *askers += 1;
            if *askers == 1 {
                dirty.x_statuses.insert(asked.clone());
            }
        }
        for asked in old {
            let Some(askers) = self.askers_of_x_backend.get_mut(&asked) else { continue };
            *askers -= 1;
            if *askers == 0 {
                self.askers_of_x_backend.remove(&asked);
                dirty.x_statuses.insert(asked);
            }
        }
        if !new.is_empty() {
            self.asked_by_route[kind].insert(name.clone(), new);
        }
    }

    /// Replaces why no Service could be made for the pods of an XBackend. Nothing is kept about one for which
    /// nobody has to make any, or that is gone while another one has its name.
    pub(in crate::translator) fn set_selection_problem(
        &mut self,
        backend: &NamespacedName,
        uid: &str,
        problem: Option<String>,
    ) -> Dirty {
        let mut dirty = Dirty::default();
        if self.translation.selections.get(backend).is_some_and(|it| it.uid == uid) {
            let problem = problem.map(|message| SelectionProblem { uid: uid.to_owned(), message });
            match problem {
                Some(problem) => self.selection_problems.insert(backend.clone(), problem),
                None => self.selection_problems.remove(backend),
            };
            dirty.x_statuses.insert(backend.clone());
        }
        dirty
    }

    /// Puts the status of an XBackend together, and what it selects. One that routes of ours refer to reads its
    /// ConfigMaps and its Secret: they say what is wrong with it.
    pub(super) fn settle_x_backend(&mut self, name: &NamespacedName, staged: &mut Staged) {
        let users = self.users_of_x_backend(name);
        let users: BTreeMap<_, _> = users
            .into_iter()
            .map(|gateway| {
                let rejected = self.rejected_certificate(&gateway, name);
                (gateway, rejected)
            })
            .collect();
        let object = self.resources.x_backends.get(name);
        let selection = object.filter(|_| !users.is_empty()).and_then(|it| self.selection(it));
        let uid = selection.as_ref().map(|it| &it.uid);
        if self.selection_problems.get(name).is_some_and(|it| uid != Some(&it.uid)) {
            self.selection_problems.remove(name);
        }
        let making = match (&selection, self.selection_problems.get(name)) {
            (None, _) => Making::ByUsers,
            (Some(_), None) => Making::Underway,
            (Some(_), Some(problem)) => Making::Failed(&problem.message),
        };
        let asked = object.filter(|_| self.askers_of_x_backend.contains_key(name));
        let references =
            asked.into_iter().flat_map(|it| x_backend::permitted_references(it, &self.resources));
        let references: BTreeSet<_> = references.filter(index::is_read_alone).collect();
        let status = object
            .and_then(|it| x_backend::status(it, users, making, &self.resources, &self.options));
        let reader = x_backend::id(name);
        staged.status(reader.clone(), status.map(Status::Policy));
        staged.selection(name, selection);
        let before = self.x_backend_references.remove(name).unwrap_or_default();
        self.follow(&reader, &before, &references, staged);
        if !references.is_empty() {
            self.x_backend_references.insert(name.clone(), references);
        }
    }

    /// What an XBackend selects, where somebody makes a Service for that.
    fn selection(&self, backend: &XBackend) -> Option<EndpointSelection> {
        let leads_to_pods = |service: &NamespacedName| {
            let names = self.index.slices_of_service.of(service);
            let mut slices = names.filter_map(|name| self.resources.endpoint_slices.get(name));
            slices.any(|slice| is_of_addresses(slice) && !slice.endpoints.is_empty())
        };
        let is_made = self.options.provisioned();
        is_made.then(|| x_backend::selection(backend, leads_to_pods, &self.resources)).flatten()
    }

    /// Why a Gateway cannot show the certificate of an XBackend, as far as its data plane has said.
    fn rejected_certificate(&self, gateway: &GatewayId, name: &NamespacedName) -> Option<String> {
        let rejected = &self.feedback.get(gateway)?.rejected_certificates;
        let keys = self.index.targets_of_x_backend.of(name);
        let mut keys = keys.map(|target| CertificateKey::of_backend(&target.key()));
        keys.find_map(|key| rejected.get(&key)).cloned()
    }

    /// The Gateways that send something to an XBackend.
    pub(in crate::translator) fn users_of_x_backend(
        &self,
        name: &NamespacedName,
    ) -> BTreeSet<GatewayId> {
        let targets = self.index.targets_of_x_backend.of(name);
        let users = targets.filter_map(|target| self.users.get(target));
        users.flat_map(BTreeMap::keys).cloned().collect()
    }
}

/// The XBackends whose certificates cannot be shown, by what the data plane of a Gateway has said.
pub(super) fn x_backends_without_certificate(
    said: &Feedback,
) -> impl Iterator<Item = NamespacedName> + '_ {
    let backends = said.rejected_certificates.keys().filter_map(CertificateKey::backend);
    backends.filter_map(|backend| backend.x_backend_name())
}
