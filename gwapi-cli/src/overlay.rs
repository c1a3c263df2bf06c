//! What the command line adds to the files: backends, addresses, demo backends, implied classes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use gwapi_dataplane::{ObjectChange, Overlay};
use gwapi_model::{
    CONTROLLER_NAME, EndpointSlice, Endpoints, GatewayClass, GatewayClassSpec, Kind,
    NamespacedName, ObjectId, ObjectMeta, Resource, Resources, SERVICE_NAME_LABEL, Service,
};
use gwapi_translate::Options;

use crate::addresses::AddressPool;
use crate::backends::{Backends, refusal};
use crate::echoes::Echoes;

/// Something that the command line has to say about an object of the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) object: ObjectId,
    /// Whether something does not work because of it.
    pub(crate) harmful: bool,
    /// What sort of problem it is, as `gwapi check` names it.
    pub(crate) sort: &'static str,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

/// The options of the command line, at work on the files.
#[derive(Debug, Default)]
pub(crate) struct CommandLine {
    backends: Backends,
    admin: Option<SocketAddr>,
    pool: Option<AddressPool>,
    echoes: Option<Echoes>,
    /// Serve Gateways of classes that no file holds: most tutorials get theirs from an installer.
    imply_classes: bool,
    refused: BTreeMap<ObjectId, Vec<String>>,
    notices: Vec<Notice>,
    has_followed: bool,
}

impl CommandLine {
    pub(crate) fn new(
        backends: Backends,
        admin: Option<SocketAddr>,
        pool: Option<AddressPool>,
        imply_classes: bool,
    ) -> Self {
        Self { backends, admin, pool, imply_classes, ..Self::default() }
    }

    /// Answers for Services without endpoints.
    pub(crate) fn with_echoes(mut self) -> Self {
        self.echoes = Some(Echoes::default());
        self
    }

    /// Whether something answers for Services without endpoints.
    pub(crate) fn has_echoes(&self) -> bool {
        self.echoes.is_some()
    }

    /// What is to be said about the present files.
    pub(crate) fn notices(&self) -> &[Notice] {
        &self.notices
    }

    fn admit_slice(&mut self, mut slice: Arc<EndpointSlice>) -> Option<Resource> {
        let service = slice.metadata.labels.get(SERVICE_NAME_LABEL);
        if let Some(service) = service
            && self.backends.names(&NamespacedName::new(&*slice.metadata.namespace, &**service))
        {
            return None;
        }
        let id = Resource::EndpointSlice(Arc::clone(&slice)).id();
        let mut refused = Vec::new();
        for endpoint in &slice.endpoints {
            let Some(address) = endpoint.addresses.first() else { continue };
            let ports = slice.ports.iter().filter_map(|port| port.port.map(|port| port.get()));
            refused.extend(self.refusal(address, ports).map(|why| (address.clone(), why)));
        }
        if !refused.is_empty() {
            Arc::make_mut(&mut slice).endpoints.retain(|endpoint| {
                let address = endpoint.addresses.first();
                !refused.iter().any(|(refused, _)| Some(refused) == address)
            });
        }
        self.note_refused(&id, refused);
        Some(Resource::EndpointSlice(slice))
    }

    fn admit_endpoints(&mut self, mut endpoints: Arc<Endpoints>) -> Option<Resource> {
        let metadata = &endpoints.metadata;
        if self.backends.names(&NamespacedName::new(&*metadata.namespace, &*metadata.name)) {
            return None;
        }
        let id = Resource::Endpoints(Arc::clone(&endpoints)).id();
        let mut refused = Vec::new();
        for subset in &endpoints.subsets {
            for address in &subset.addresses {
                let ports = subset.ports.iter().filter_map(|port| port.port.map(|port| port.get()));
                refused
                    .extend(self.refusal(&address.ip, ports).map(|why| (address.ip.clone(), why)));
            }
        }
        if !refused.is_empty() {
            for subset in &mut Arc::make_mut(&mut endpoints).subsets {
                subset
                    .addresses
                    .retain(|address| !refused.iter().any(|(refused, _)| *refused == address.ip));
            }
        }
        self.note_refused(&id, refused);
        Some(Resource::Endpoints(endpoints))
    }

    fn refusal(&self, address: &str, ports: impl Iterator<Item = u16>) -> Option<&'static str> {
        let ip: IpAddr = address.parse().ok()?;
        ports.into_iter().find_map(|port| refusal(SocketAddr::new(ip, port), self.admin))
    }

    fn note_refused(&mut self, id: &ObjectId, refused: Vec<(String, &'static str)>) {
        let messages: BTreeSet<_> = refused
            .into_iter()
            .map(|(address, why)| format!("the endpoint {address} is refused: {why}"))
            .collect();
        if messages.is_empty() {
            self.refused.remove(id);
        } else {
            self.refused.insert(id.clone(), messages.into_iter().collect());
        }
    }

    /// EndpointSlices for all Services that the command line, or the demo, answers for.
    fn endpoint_slices(&mut self, files: &Resources) -> Vec<Resource> {
        let mut added: Vec<_> =
            files.services.values().flat_map(|service| self.backends.slices(service)).collect();
        if let Some(echoes) = &mut self.echoes {
            let supplied = services_with_endpoints(files);
            let bare: Vec<&Arc<Service>> = files
                .services
                .iter()
                .filter(|(name, _)| !supplied.contains(*name) && !self.backends.names(name))
                .map(|(_, service)| service)
                .collect();
            added.extend(echoes.follow(&bare));
        }
        added
    }

    fn note(&mut self, files: &Resources, implied: &[NamespacedName]) {
        let mut notices = Vec::new();
        for (id, messages) in &self.refused {
            notices.extend(messages.iter().map(|message| Notice {
                object: id.clone(),
                harmful: true,
                sort: "refused-endpoint",
                message: message.clone(),
                help: None,
            }));
        }
        for service in self.backends.services() {
            notices.extend(self.note_on_backend(files, service));
        }
        for class in implied {
            notices.push(Notice {
                object: ObjectId::new(Kind::GatewayClass, "", &*class.name),
                harmful: false,
                sort: "implied-class",
                message: "it is only referred to; its Gateways are served as if it were there"
                    .to_owned(),
                help: None,
            });
        }
        if let Some(echoes) = &self.echoes {
            notices.extend(echoes.failures().map(|(service, error)| Notice {
                object: ObjectId::new(Kind::Service, &*service.namespace, &*service.name),
                harmful: true,
                sort: "demo-backend",
                message: format!("its demo backend could not start: {error}"),
                help: None,
            }));
        }
        self.notices = notices;
    }

    fn note_on_backend(&self, files: &Resources, name: &NamespacedName) -> Vec<Notice> {
        let notice = |message: String, help: String| Notice {
            object: ObjectId::new(Kind::Service, &*name.namespace, &*name.name),
            harmful: true,
            sort: "unused-option",
            message,
            help: Some(help),
        };
        let Some(service) = files.services.get(name) else {
            return vec![notice(
                "--backend gives it addresses, but it is not in the files".to_owned(),
                "check namespace and name, or add the Service to the files".to_owned(),
            )];
        };
        let has = |port: u16| service.spec.ports.iter().any(|own| own.port.get() == port);
        let unknown: BTreeSet<_> = self.backends.ports(name).filter(|port| !has(*port)).collect();
        let own: Vec<_> = service.spec.ports.iter().map(|port| port.port.to_string()).collect();
        unknown
            .into_iter()
            .map(|port| {
                notice(
                    format!("--backend gives addresses to its port {port}, which it does not have"),
                    format!("its ports are: {}", own.join(", ")),
                )
            })
            .collect()
    }
}

impl Overlay for CommandLine {
    fn admit(&mut self, resource: Resource) -> Option<Resource> {
        match resource {
            Resource::EndpointSlice(slice) => self.admit_slice(slice),
            Resource::Endpoints(endpoints) => self.admit_endpoints(endpoints),
            other => Some(other),
        }
    }

    fn follow(
        &mut self,
        files: &Resources,
        changes: &[ObjectChange],
        options: &mut Options,
    ) -> Option<Vec<Resource>> {
        self.refused.retain(|id, _| files.get(id).is_some());
        // Most edits are of routes, which nothing here depends on.
        let first = !std::mem::replace(&mut self.has_followed, true);
        if !first && changes.iter().all(|change| change.id.kind.route_kind().is_some()) {
            return None;
        }
        if let Some(pool) = &mut self.pool {
            let without =
                files.gateways.iter().filter(|(_, gateway)| gateway.spec.addresses.is_empty());
            options.addresses = pool.follow(without.map(|(id, _)| id));
        }
        let implied = if self.imply_classes { implied_classes(files) } else { Vec::new() };
        let mut added = self.endpoint_slices(files);
        added.extend(implied.iter().map(|class| {
            Resource::from(GatewayClass {
                metadata: ObjectMeta { generation: 1, ..ObjectMeta::cluster(&class.name) },
                spec: GatewayClassSpec {
                    controller_name: CONTROLLER_NAME.to_owned(),
                    parameters_ref: None,
                    description: None,
                },
            })
        }));
        self.note(files, &implied);
        Some(added)
    }

    fn served(&mut self) {
        if let Some(echoes) = &mut self.echoes {
            echoes.served(Instant::now());
        }
    }
}

/// Services that the files themselves give endpoints to, ready or not.
fn services_with_endpoints(files: &Resources) -> BTreeSet<NamespacedName> {
    let by_slice = files.endpoint_slices.values().filter_map(|slice| {
        let service = slice.metadata.labels.get(SERVICE_NAME_LABEL)?;
        Some(NamespacedName::new(&*slice.metadata.namespace, &**service))
    });
    by_slice.chain(files.endpoints.keys().cloned()).collect()
}

/// GatewayClasses that Gateways name and no file holds.
fn implied_classes(files: &Resources) -> Vec<NamespacedName> {
    let named: BTreeSet<_> = files
        .gateways
        .values()
        .map(|gateway| NamespacedName::new("", &*gateway.spec.gateway_class_name))
        .collect();
    named.into_iter().filter(|name| !files.gateway_classes.contains_key(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use gwapi_dataplane::ChangeKind;
    use serde_json::json;

    fn service(name: &str) -> Resource {
        let service: Service = serde_json::from_value(json!({
            "metadata": {"namespace": "default", "name": name},
            "spec": {"ports": [{"port": 80}]},
        }))
        .expect("a Service");
        service.into()
    }

    fn slice(service: &str, address: &str, port: u16) -> Resource {
        let slice: EndpointSlice = serde_json::from_value(json!({
            "metadata": {
                "namespace": "default",
                "name": service,
                "labels": {SERVICE_NAME_LABEL: service},
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": [address]}, {"addresses": ["10.0.0.1"]}],
            "ports": [{"port": port}],
        }))
        .expect("an EndpointSlice");
        slice.into()
    }

    /// What the overlay adds to these objects, as it admits them.
    fn follow(overlay: &mut CommandLine, objects: Vec<Resource>) -> (Resources, Vec<Resource>) {
        let files: Resources =
            objects.into_iter().filter_map(|object| overlay.admit(object)).collect();
        let changes: Vec<_> = files
            .iter()
            .map(|object| ObjectChange { id: object.id(), kind: ChangeKind::Added })
            .collect();
        let added = overlay.follow(&files, &changes, &mut Options::default());
        (files, added.expect("something was added"))
    }

    fn addresses(resources: &[Resource]) -> Vec<String> {
        let mut all = Vec::new();
        for resource in resources {
            if let Resource::EndpointSlice(slice) = resource {
                all.extend(slice.endpoints.iter().flat_map(|endpoint| endpoint.addresses.clone()));
            }
        }
        all
    }

    fn messages(overlay: &CommandLine) -> Vec<String> {
        overlay.notices().iter().map(|n| format!("{}: {}", n.object, n.message)).collect()
    }

    #[test]
    fn a_backend_option_replaces_the_slices_of_the_files() {
        let option = "default/web=127.0.0.9:3000".parse().expect("a backend");
        let backends = Backends::resolve(&[option], None).expect("an address");
        let mut overlay = CommandLine::new(backends, None, None, false);
        let (files, added) =
            follow(&mut overlay, vec![service("web"), slice("web", "10.0.0.2", 80)]);
        assert!(files.endpoint_slices.is_empty());
        assert_eq!(addresses(&added), ["127.0.0.9"]);
        assert_eq!(messages(&overlay), Vec::<String>::new());
    }

    #[test]
    fn a_backend_option_for_an_unknown_service_or_port_is_told() {
        let arguments = ["default/wbe=127.0.0.1:1", "default/web:81=127.0.0.1:1"]
            .map(|text| text.parse().expect("a backend"));
        let backends = Backends::resolve(&arguments, None).expect("addresses");
        let mut overlay = CommandLine::new(backends, None, None, false);
        follow(&mut overlay, vec![service("web")]);
        let messages = messages(&overlay);
        assert!(messages[0].starts_with("Service default/wbe:"), "{messages:?}");
        assert!(messages[1].contains("port 81"), "{messages:?}");
    }

    #[test]
    fn link_local_endpoints_and_the_admin_address_are_taken_out_and_told() {
        let admin = "127.0.0.1:15000".parse().ok();
        let mut overlay = CommandLine::new(Backends::default(), admin, None, false);
        let objects = vec![
            slice("metadata", "169.254.169.254", 80),
            slice("admin", "127.0.0.1", 15000),
            slice("web", "127.0.0.1", 8080),
        ];
        let (files, _) = follow(&mut overlay, objects);
        let left: Vec<_> = files.iter().collect();
        assert_eq!(addresses(&left), ["10.0.0.1", "10.0.0.1", "127.0.0.1", "10.0.0.1"]);
        let messages = messages(&overlay);
        assert!(messages[0].contains("EndpointSlice default/admin"), "{messages:?}");
        assert!(messages[1].contains("169.254.169.254"), "{messages:?}");
        assert_eq!(messages.len(), 2);
    }

    #[test]
    fn a_demo_answers_only_for_services_that_nothing_gives_endpoints_to() {
        let mut overlay = CommandLine::default().with_echoes();
        let objects = vec![service("web"), service("bare"), slice("web", "10.0.0.2", 80)];
        let (_, added) = follow(&mut overlay, objects);
        let names: Vec<_> = added.iter().map(|object| object.metadata().name.clone()).collect();
        assert_eq!(names.len(), 1, "{names:?}");
        assert!(names[0].starts_with("bare_demo"), "{names:?}");
    }

    #[test]
    fn a_class_that_is_only_referred_to_is_implied() {
        let gateway: gwapi_model::Gateway = serde_json::from_value(json!({
            "metadata": {"namespace": "default", "name": "web"},
            "spec": {
                "gatewayClassName": "istio",
                "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}],
            },
        }))
        .expect("a Gateway");
        let mut overlay = CommandLine { imply_classes: true, ..CommandLine::default() };
        let (_, added) = follow(&mut overlay, vec![gateway.into()]);
        assert_eq!(added[0].id(), ObjectId::new(Kind::GatewayClass, "", "istio"));
        assert!(messages(&overlay)[0].contains("only referred to"));
    }
}
