//! Echo backends for Services that nothing else answers for: `--demo`.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use gwapi_dataplane::echo::{Echo, EchoIdentity};
use gwapi_model::{NamespacedName, Resource, Service, ServiceType};

use crate::backends::slices_of_port;

/// A running echo backend for each Service that needs one.
#[derive(Debug, Default)]
pub(crate) struct Echoes {
    running: BTreeMap<NamespacedName, Echo>,
    failed: BTreeMap<NamespacedName, String>,
}

impl Echoes {
    /// Starts and stops backends so that exactly these Services have one; the EndpointSlices that
    /// lead to them.
    pub(crate) fn follow(&mut self, services: &[&Arc<Service>]) -> Vec<Resource> {
        let wanted: BTreeMap<_, _> = services
            .iter()
            // An ExternalName is an answer of its own (HB-7).
            .filter(|service| service.spec.service_type != Some(ServiceType::ExternalName))
            .map(|service| {
                let metadata = &service.metadata;
                (NamespacedName::new(&*metadata.namespace, &*metadata.name), *service)
            })
            .collect();
        self.running.retain(|name, _| wanted.contains_key(name));
        self.failed.clear();
        let mut slices = Vec::new();
        for (name, service) in wanted {
            let pod = pod_name(&name);
            if !self.running.contains_key(&name) {
                match start(&name, &pod) {
                    Ok(echo) => {
                        self.running.insert(name.clone(), echo);
                    }
                    Err(error) => {
                        self.failed.insert(name.clone(), error.to_string());
                    }
                }
            }
            let Some(echo) = self.running.get(&name) else { continue };
            for port in &service.spec.ports {
                slices.extend(slices_of_port(service, port, "demo", [echo.address()], Some(&pod)));
            }
        }
        slices
    }

    /// Backends that could not start, and why.
    pub(crate) fn failures(&self) -> impl Iterator<Item = (&NamespacedName, &str)> {
        self.failed.iter().map(|(name, error)| (name, error.as_str()))
    }
}

fn pod_name(service: &NamespacedName) -> String {
    format!("{}-demo-0", service.name)
}

fn start(service: &NamespacedName, pod: &str) -> std::io::Result<Echo> {
    let identity = EchoIdentity {
        namespace: service.namespace.clone(),
        service: service.name.clone(),
        pod: pod.to_owned(),
    };
    Echo::start(identity, (Ipv4Addr::LOCALHOST, 0).into())
}
