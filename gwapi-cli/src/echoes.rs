//! Echo backends for Services that nothing else answers for: `--demo`.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gwapi_dataplane::echo::{Echo, EchoIdentity};
use gwapi_dataplane::open_files_limit;
use gwapi_model::{NamespacedName, Resource, Service, ServicePort, ServiceType};

use crate::backends::slices_of_port;

/// Time that a backend stays when nothing leads to it any more. Requests that had chosen it by then
/// are under way to it long before; those that it has begun are answered in any case.
const LINGER: Duration = Duration::from_secs(5);

/// The part of all descriptors that backends may take, as a divisor: listeners and connections need
/// most of them.
const OF_DESCRIPTORS: usize = 4;

/// A running echo backend for each Service that needs one.
#[derive(Debug, Default)]
pub(crate) struct Echoes {
    running: BTreeMap<NamespacedName, Echo>,
    /// Backends of Services that need none any more, and when they close; that is not known before
    /// every worker serves the configuration that does without them.
    retired: BTreeMap<NamespacedName, (Echo, Option<Instant>)>,
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
            .filter(|service| service.spec.ports.iter().any(is_answered))
            .map(|service| {
                let metadata = &service.metadata;
                (NamespacedName::new(&*metadata.namespace, &*metadata.name), *service)
            })
            .collect();
        let unwanted = self.running.extract_if(.., |name, _| !wanted.contains_key(name));
        self.retired.extend(unwanted.map(|(name, echo)| (name, (echo, None))));
        self.failed.clear();
        let mut slices = Vec::new();
        for (name, service) in wanted {
            let pod = pod_name(&name);
            if !self.running.contains_key(&name) {
                let retired = self.retired.remove(&name).map(|(echo, _)| Ok(echo));
                match retired.unwrap_or_else(|| self.start(&name, &pod)) {
                    Ok(echo) => {
                        self.running.insert(name.clone(), echo);
                    }
                    Err(error) => {
                        self.failed.insert(name.clone(), error.to_string());
                    }
                }
            }
            let Some(echo) = self.running.get(&name) else { continue };
            for port in service.spec.ports.iter().filter(|port| is_answered(port)) {
                slices.extend(slices_of_port(service, port, "demo", [echo.address()], Some(&pod)));
            }
        }
        slices
    }

    /// Takes in that every worker serves what [`Echoes::follow`] gave last.
    pub(crate) fn served(&mut self, now: Instant) {
        self.retired.retain(|_, (_, closes)| *closes.get_or_insert(now + LINGER) > now);
    }

    fn start(&self, service: &NamespacedName, pod: &str) -> io::Result<Echo> {
        let running = self.running.len() + self.retired.len();
        if running >= open_files_limit() / OF_DESCRIPTORS {
            let why = format!(
                "too many open files: {running} demo backends are running; raise the limit with \
                 `ulimit -n`"
            );
            return Err(io::Error::other(why));
        }
        let identity = EchoIdentity {
            namespace: service.namespace.to_string(),
            service: service.name.to_string(),
            pod: pod.to_owned(),
        };
        Echo::start(identity, (Ipv4Addr::LOCALHOST, 0).into())
    }

    /// Backends that could not start, and why.
    pub(crate) fn failures(&self) -> impl Iterator<Item = (&NamespacedName, &str)> {
        self.failed.iter().map(|(name, error)| (name, error.as_str()))
    }
}

/// Whether a backend answers at a port: it speaks HTTP, and knows no datagrams.
fn is_answered(port: &ServicePort) -> bool {
    port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP")
}

fn pod_name(service: &NamespacedName) -> String {
    format!("{}-demo-0", service.name)
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn a_backend_closes_when_nothing_leads_to_it_any_more() {
        let service: Service = serde_json::from_value(serde_json::json!({
            "metadata": {"namespace": "shop", "name": "web"},
            "spec": {"ports": [{"port": 80}]},
        }))
        .expect("a Service");
        let service = Arc::new(service);
        let mut echoes = Echoes::default();
        let first = echoes.follow(&[&service]);
        let address = echoes.running.values().next().expect("it runs").address();
        let is_open = || TcpStream::connect(address).is_ok();

        let now = Instant::now();
        assert!(echoes.follow(&[]).is_empty());
        assert!(is_open(), "workers still lead to it");
        echoes.served(now);
        assert!(is_open(), "requests may be under way");
        assert_eq!(echoes.follow(&[&service]), first, "it is the same one that comes back");
        echoes.served(now + LINGER);
        assert!(is_open(), "it is wanted");

        echoes.follow(&[]);
        echoes.served(now);
        echoes.served(now + LINGER);
        assert!(!is_open());
    }
}
