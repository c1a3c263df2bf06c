//! Service ports and XBackends as targets of what is sent, and which Gateways need them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gwapi_model::NamespacedName;

use super::super::backend::{self, BackendFacts, BackendView, ServicePort};
use super::super::translation::Staged;
use super::super::x_backend;
use super::{Dirty, Engine};
use crate::ir::{Backend, BackendTls, CertificateKey, GatewayId, IrKey, IrResource};

impl Engine {
    /// Looks at every port of a Service that routes of ours refer to.
    pub(super) fn settle_service(
        &mut self,
        service: &NamespacedName,
        dirty: &mut Dirty,
        staged: &mut Staged,
    ) {
        self.note_policies(service, dirty);
        let ports = self.index.ports_of_service.of(service).cloned().collect();
        self.settle_backends(ports, dirty, staged);
    }

    pub(super) fn settle_backends(
        &mut self,
        targets: Vec<ServicePort>,
        dirty: &mut Dirty,
        staged: &mut Staged,
    ) {
        for target in targets {
            if !self.backends.contains_key(&target) {
                continue;
            }
            let view = self.backend(&target);
            if self.backends[&target].facts != view.facts {
                let names = self.index.routes_of_backend.of(&target);
                dirty.routes[target.routes].extend(names.cloned());
                let holders = self.index.holders_of_backend.of(&target);
                dirty.gateways.extend(self.gateways_of(holders));
                self.note_telemetry(self.index.telemetry_of_collector.of(&target), dirty);
            }
            self.backends.insert(target.clone(), view);
            let users = self.users.get(&target).into_iter().flat_map(BTreeMap::keys);
            for gateway in users {
                self.stage_backend(staged, gateway, &target, self.backends.get(&target));
            }
        }
    }

    /// Derives a Service port.
    pub(super) fn backend(&mut self, target: &ServicePort) -> BackendView {
        self.work.backends += 1;
        let slices = |service: &NamespacedName| {
            let names = self.index.slices_of_service.of(service);
            names.filter_map(|name| self.resources.endpoint_slices.get(name))
        };
        if target.x_backend {
            return x_backend::view(target, slices, &self.resources, &self.options);
        }
        let slices = slices(&target.service);
        let policies = self.policies_of(&target.service);
        let traffic_policies = self.traffic_policies_of(&target.service);
        let policies = backend::Policies { tls: &policies, traffic: &traffic_policies };
        backend::view(target, slices, &policies, &self.resources, &self.options)
    }

    /// Derives a Service port that was not asked for before.
    pub(super) fn know(&mut self, target: &ServicePort) {
        if !self.backends.contains_key(target) {
            let view = self.backend(target);
            self.backends.insert(target.clone(), view);
        }
    }

    /// What is known of a Service port.
    pub(super) fn facts(&self, target: &ServicePort) -> BackendFacts {
        self.backends.get(target).map(|view| view.facts.clone()).unwrap_or_default()
    }

    pub(super) fn acquire(
        &mut self,
        gateway: &GatewayId,
        target: &ServicePort,
        dirty: &mut Dirty,
        staged: &mut Staged,
    ) {
        let users = self.users.entry(target.clone()).or_default();
        let uses = users.entry(gateway.clone()).or_default();
        *uses += 1;
        if *uses == 1 {
            self.mark_users(target, dirty);
            self.stage_backend(staged, gateway, target, self.backends.get(target));
        }
    }

    pub(super) fn release(
        &mut self,
        gateway: &GatewayId,
        target: &ServicePort,
        dirty: &mut Dirty,
        staged: &mut Staged,
    ) {
        let Some(users) = self.users.get_mut(target) else { return };
        let Some(uses) = users.get_mut(gateway) else { return };
        *uses -= 1;
        if *uses > 0 {
            return;
        }
        users.remove(gateway);
        if users.is_empty() {
            self.users.remove(target);
        }
        self.mark_users(target, dirty);
        self.stage_backend(staged, gateway, target, None);
    }

    /// A Gateway needs a Service port (`Some`, which may be unable to serve) or no longer (`None`).
    fn stage_backend(
        &self,
        staged: &mut Staged,
        gateway: &GatewayId,
        target: &ServicePort,
        view: Option<&BackendView>,
    ) {
        match view.and_then(|view| view.certificate.clone()) {
            Some(certificate) => staged.upsert(gateway, IrResource::Certificate(certificate)),
            None if target.x_backend => {
                let key = CertificateKey::of_backend(&target.key());
                staged.remove(gateway, IrKey::Certificate(key));
            }
            None => {}
        }
        let Some((backend, endpoints)) = view.and_then(|view| view.served.as_ref()) else {
            staged.remove(gateway, IrKey::Backend(target.key()));
            staged.remove(gateway, IrKey::Endpoints(target.key()));
            return;
        };
        let view = self.gateways.get(gateway);
        let certificate = view.and_then(|view| view.client_certificate.as_ref());
        let backend = match (&backend.tls, certificate) {
            // BT-11: each Gateway shows its own; an XBackend says itself whether one is shown.
            (Some(tls), Some(certificate)) if !target.x_backend => {
                let mut tls = BackendTls::clone(tls);
                tls.client_certificate = Some(certificate.clone());
                Arc::new(Backend { tls: Some(Arc::new(tls)), ..Backend::clone(backend) })
            }
            _ => backend.clone(),
        };
        staged.upsert(gateway, IrResource::Backend(backend));
        staged.upsert(gateway, IrResource::Endpoints(endpoints.clone()));
    }

    /// Stages the Service ports anew to which a Gateway shows its certificate.
    pub(super) fn stage_backends_over_tls(&self, gateway: &GatewayId, staged: &mut Staged) {
        for (target, users) in &self.users {
            let view = self.backends.get(target);
            let served = view.and_then(|view| view.served.as_ref());
            let is_over_tls = served.is_some_and(|(backend, _)| backend.tls.is_some());
            if is_over_tls && users.contains_key(gateway) {
                self.stage_backend(staged, gateway, target, view);
            }
        }
    }

    /// The Gateways that send something to some ports of a Service.
    pub(super) fn users_of(
        &self,
        service: &NamespacedName,
        is_meant: &dyn Fn(&ServicePort) -> bool,
    ) -> BTreeSet<GatewayId> {
        let ports = self.index.ports_of_service.of(service);
        let ports = ports.filter(|target| is_meant(target));
        let users = ports.filter_map(|target| self.users.get(target));
        users.flat_map(BTreeMap::keys).cloned().collect()
    }

    /// The Gateways that send requests to some ports of a Service.
    pub(in crate::translator) fn senders_of_requests(
        &self,
        service: &NamespacedName,
        is_meant: &dyn Fn(u16) -> bool,
    ) -> BTreeSet<GatewayId> {
        self.users_of(service, &|target| target.takes_requests() && is_meant(target.port))
    }
}
