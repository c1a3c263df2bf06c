//! Policies: what they have done, and their status.

use std::collections::BTreeSet;
use std::sync::Arc;

use gwapi_model::status::Status;
use gwapi_model::{
    BackendTlsPolicy, BackendTrafficPolicy, Kind, NamespacedName, ObjectId, TelemetryPolicy,
};

use super::super::translation::Staged;
use super::super::{backend_tls, backend_traffic, index, telemetry};
use super::{Dirty, Engine};
use crate::ir::{GatewayId, IrKey, IrResource};

impl Engine {
    /// The XTelemetryPolicies that are for a Gateway.
    fn telemetry_of(&self, gateway: &GatewayId) -> Vec<&Arc<TelemetryPolicy>> {
        let names = self.index.telemetry_of_gateway.of(gateway);
        names.filter_map(|name| self.resources.telemetry_policies.get(name)).collect()
    }

    /// Derives what a Gateway has traced, and marks the policies that are for it.
    pub(super) fn settle_tracing(
        &mut self,
        gateway: &GatewayId,
        dirty: &mut Dirty,
        staged: &mut Staged,
    ) {
        let policies = self.index.telemetry_of_gateway.of(gateway);
        dirty.policies.extend(policies.map(|name| name.object_id(Kind::TelemetryPolicy)));
        let is_ours = self.gateways.contains_key(gateway);
        let holder = telemetry::holder(self.telemetry_of(gateway).into_iter()).cloned();
        let holder = holder.filter(|_| is_ours);
        if let Some(target) = holder.as_ref().and_then(|policy| telemetry::collector(policy)) {
            self.know(&target);
        }
        let traced = holder.and_then(|policy| {
            telemetry::tracing(&policy, gateway, &self.resources, &|target| self.facts(target))
        });
        let before = self.collectors.remove(gateway);
        match traced {
            Some((tracing, target)) => {
                self.acquire(gateway, &target, dirty, staged);
                self.collectors.insert(gateway.clone(), target);
                staged.upsert(gateway, IrResource::Tracing(Arc::new(tracing)));
            }
            None => staged.remove(gateway, IrKey::Tracing),
        }
        if let Some(target) = before {
            self.release(gateway, &target, dirty, staged);
        }
    }

    /// Puts the status of an XTelemetryPolicy together.
    pub(super) fn settle_telemetry_policy(&mut self, id: ObjectId, staged: &mut Staged) {
        let object = self.resources.telemetry_policies.get(&id.namespaced_name()).cloned();
        if let Some(target) = object.as_ref().and_then(|policy| telemetry::collector(policy)) {
            self.know(&target);
        }
        let around = telemetry::Surroundings {
            resources: &self.resources,
            options: &self.options,
            policies: &|gateway| self.telemetry_of(gateway),
            is_ours: &|gateway| self.gateways.contains_key(gateway),
            facts: &|target| self.facts(target),
        };
        let status = object.as_ref().and_then(|policy| telemetry::status(policy, &around));
        staged.status(id, status.map(Status::Policy));
    }

    /// The BackendTLSPolicies that are for a Service.
    pub(super) fn policies_of(&self, service: &NamespacedName) -> Vec<&Arc<BackendTlsPolicy>> {
        let names = self.index.policies_of_service.of(service);
        names.filter_map(|name| self.resources.backend_tls_policies.get(name)).collect()
    }

    /// Puts the status of a BackendTLSPolicy together. One that has an effect reads its ConfigMaps.
    pub(super) fn settle_policy(&mut self, name: &NamespacedName, staged: &mut Staged) {
        let object = self.resources.backend_tls_policies.get(name).cloned();
        let around = backend_tls::Surroundings {
            resources: &self.resources,
            options: &self.options,
            policies: &|service| self.policies_of(service),
            users: &|service, is_meant| {
                self.users_of(service, &|target| target.takes_policies() && is_meant(target.port))
            },
            users_of_x_backend: &|name| self.users_of_x_backend(name),
            unfit: &backend_tls::unfit,
        };
        let status = object.as_ref().and_then(|policy| backend_tls::status(policy, &around));
        let reader = name.object_id(Kind::BackendTlsPolicy);
        let references = match (&object, &status) {
            (Some(policy), Some(_)) => {
                backend_tls::references(policy).filter(index::is_read_alone).collect()
            }
            _ => BTreeSet::new(),
        };
        staged.status(reader.clone(), status.map(Status::Policy));
        let before = self.policy_references.remove(name).unwrap_or_default();
        self.follow(&reader, &before, &references, staged);
        if !references.is_empty() {
            self.policy_references.insert(name.clone(), references);
        }
    }

    /// The XBackendTrafficPolicies that are for a Service.
    pub(super) fn traffic_policies_of(
        &self,
        service: &NamespacedName,
    ) -> Vec<&Arc<BackendTrafficPolicy>> {
        let names = self.index.traffic_policies_of_service.of(service);
        names.filter_map(|name| self.resources.backend_traffic_policies.get(name)).collect()
    }

    /// Puts the status of an XBackendTrafficPolicy together.
    pub(super) fn settle_traffic_policy(&self, id: ObjectId, staged: &mut Staged) {
        let object = self.resources.backend_traffic_policies.get(&id.namespaced_name());
        let around = backend_traffic::Surroundings {
            resources: &self.resources,
            options: &self.options,
            policies: &|service| self.traffic_policies_of(service),
            users: &|service, is_meant| self.senders_of_requests(service, is_meant),
            users_of_x_backend: &|name| self.users_of_x_backend(name),
            unfit: &|_, _| None,
        };
        let status = object.and_then(|policy| backend_traffic::status(policy, &around));
        staged.status(id, status.map(Status::Policy));
    }
}
