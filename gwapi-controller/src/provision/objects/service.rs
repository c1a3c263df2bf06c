//! The Services through which clients reach the proxies.

use std::net::IpAddr;

use gwapi_model::ServiceType;
use gwapi_translate::infrastructure::{InfrastructurePort, Routability};
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::super::assign::ServicePlan;
use super::super::kind::ManagedKind;
use super::super::parameters;
use super::{Maker, Manifest, ROUTABILITY_ANNOTATION, number, some};

impl Maker<'_> {
    /// The Service for one address; `has_node_ports` tells whether it is the one that has the ports of the
    /// nodes that the parameters fix. One for an address of the cluster is of type ClusterIP, whatever they
    /// say (AD-9).
    pub(super) fn service(&self, plan: &ServicePlan, has_node_ports: bool) -> Manifest {
        let parameters = &self.wanted.parameters.service;
        let service_type = match plan.is_for_cluster() {
            true => ServiceType::ClusterIp,
            false => parameters::service_type(&self.wanted.parameters),
        };
        let mut metadata = self.metadata(&plan.name);
        let mut annotations = self.wanted.service_annotations.clone();
        // The Gateway's infrastructure has the last word.
        annotations.extend(self.wanted.annotations.clone());
        if plan.is_for_cluster() {
            let cluster = Routability::Cluster.as_str().to_owned();
            annotations.insert(ROUTABILITY_ANNOTATION.to_owned(), cluster);
        }
        metadata.annotations = some(annotations);
        let is_reached_by_nodes =
            matches!(service_type, ServiceType::LoadBalancer | ServiceType::NodePort);
        let policy = parameters.external_traffic_policy.as_ref();
        let class = parameters.load_balancer_class.clone();
        let ports = self.wanted.ports.iter();
        let mut spec = ServiceSpec {
            type_: Some(service_type.to_string()),
            selector: Some(self.selector()),
            ports: Some(ports.map(|port| self.port(port, has_node_ports)).collect()),
            external_traffic_policy: policy
                .filter(|_| is_reached_by_nodes)
                .map(ToString::to_string),
            load_balancer_class: class.filter(|_| !plan.is_for_cluster()),
            ip_family_policy: parameters.ip_family_policy.as_ref().map(ToString::to_string),
            ip_families: (!parameters.ip_families.is_empty())
                .then(|| parameters.ip_families.iter().map(ToString::to_string).collect()),
            ..ServiceSpec::default()
        };
        if let Some(ip) = plan.address.and_then(|address| address.ip) {
            match service_type {
                ServiceType::LoadBalancer => spec.load_balancer_ip = Some(ip.to_string()),
                _ => spec.cluster_ip = Some(ip.to_string()),
            }
            // A Service without this is of the cluster's first family, and the address of the other
            // would be none for it.
            spec.ip_families.get_or_insert_with(|| vec![family(ip).to_owned()]);
        }
        let service = Service { metadata, spec: Some(spec), status: None };
        self.manifest(ManagedKind::Service, &plan.name, &service)
    }

    fn port(&self, port: &InfrastructurePort, has_node_ports: bool) -> ServicePort {
        let fixed = self.wanted.parameters.service.node_ports.iter();
        let node_port = fixed.filter(|_| has_node_ports).find(|it| it.port.get() == port.port);
        ServicePort {
            name: Some(port.name()),
            port: number(port.port),
            target_port: Some(IntOrString::Int(number(port.port))),
            protocol: Some(port.protocol.to_string()),
            node_port: node_port.map(|it| number(it.node_port.get())),
            ..ServicePort::default()
        }
    }
}

fn family(ip: IpAddr) -> &'static str {
    if ip.is_ipv4() { "IPv4" } else { "IPv6" }
}
