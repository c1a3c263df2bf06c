//! Backends: Services and ports that do not exist (HB-1, HB-3), weights that are all 0 (HB-2), rules that
//! have none (HB-5).

use std::collections::BTreeSet;

use gwapi_model::status::ConditionReason;
use gwapi_model::validate::{FieldPath, closest};
use gwapi_model::{
    BackendName, HttpRouteFilter, HttpRouteFilterType, Kind, NamespacedName, ObjectId, Resources,
    Route, RouteRule, Service,
};

use super::{Finding, Input, Lint, Related, route_id, rule_field, spec};
use crate::{Reference, refused_answer, service_in};

pub(super) fn find(input: &Input<'_>, findings: &mut Vec<Finding>) {
    for route in input.resources.routes() {
        let metadata = route.metadata();
        let name = NamespacedName::new(metadata.namespace.clone(), metadata.name.clone());
        let id = route_id(route.kind(), &name);
        let mut looker = Looker { resources: input.resources, route, id, findings };
        for (index, rule) in route.rules().enumerate() {
            looker.look_at(rule, &rule_field(index));
        }
    }
}

/// Looks at the rules of a route.
struct Looker<'l, 'a> {
    resources: &'a Resources,
    route: Route<'a>,
    id: ObjectId,
    findings: &'l mut Vec<Finding>,
}

impl Looker<'_, '_> {
    fn look_at(&mut self, rule: RouteRule<'_>, field: &FieldPath) {
        self.weights(rule, field);
        self.filters(rule.filters(), field);
        for (index, backend) in rule.backends().enumerate() {
            let field = field.field("backendRefs").index(index);
            self.reference(backend.name, &field);
            self.filters(backend.filters, &field);
        }
    }

    fn weights(&mut self, rule: RouteRule<'_>, field: &FieldPath) {
        use HttpRouteFilterType::{ExtensionRef, RequestRedirect};
        // What an extension does is not known.
        let answers =
            |filter: &HttpRouteFilter| matches!(filter.filter_type, RequestRedirect | ExtensionRef);
        if rule.filters().iter().any(answers) {
            return;
        }
        let effect = match self.route.kind().kind() {
            Kind::HttpRoute | Kind::GrpcRoute => "its requests are answered with",
            Kind::UdpRoute => "each of its datagrams gets",
            _ => "each of its connections gets",
        };
        let answer = refused_answer(self.route.kind());
        let (lint, field, message, help) = if rule.backends().len() == 0 {
            (
                Lint::NoBackends,
                field.clone(),
                "this rule has neither backends nor a redirect",
                "name a Service in backendRefs, or add a filter RequestRedirect",
            )
        } else if rule.backends().all(|backend| backend.weight == Some(0)) {
            (
                Lint::ZeroWeights,
                field.field("backendRefs"),
                "no backend of this rule has a weight above 0",
                "give one of them a weight; without a weight it has 1",
            )
        } else {
            return;
        };
        let message = format!("{message}: {effect} {answer}");
        self.findings.push(Finding::new(lint, self.id.clone(), field, message).with_help(help));
    }

    /// Services that filters refer to.
    fn filters(&mut self, filters: &[HttpRouteFilter], field: &FieldPath) {
        for (index, filter) in filters.iter().enumerate() {
            let field = field.field("filters").index(index);
            if let Some(mirror) = &filter.request_mirror {
                let field = field.field("requestMirror").field("backendRef");
                self.reference(BackendName::from(&mirror.backend_ref), &field);
            }
            if let Some(auth) = &filter.external_auth {
                let field = field.field("externalAuth").field("backendRef");
                self.reference(BackendName::from(&auth.backend_ref), &field);
            }
        }
    }

    fn reference(&mut self, written: BackendName<'_>, field: &FieldPath) {
        let own = &self.route.metadata().namespace;
        let Some(name) = service_in(written, own) else { return };
        // RG-5: the grant comes first, and its absence is told by the status.
        if !Reference::of(&self.id, Kind::Service, &name).is_permitted(self.resources) {
            return;
        }
        let finding = match (self.resources.services.get(&name), written.port) {
            (None, _) => self.unknown_service(&name, field),
            (Some(service), Some(port)) if !has_port(service, port.get()) => {
                self.unknown_port(&name, service, port.get(), field)
            }
            _ => return,
        };
        let condition = Some(ConditionReason::BackendNotFound);
        self.findings.push(Finding { condition, ..finding });
    }

    fn unknown_service(&self, name: &NamespacedName, field: &FieldPath) -> Finding {
        let services = &self.resources.services;
        let of_namespace = services.keys().filter(|other| other.namespace == name.namespace);
        let known: Vec<&str> = of_namespace.map(|other| &*other.name).collect();
        let help = match closest(&name.name, &known) {
            Some(meant) => Some(format!("did you mean `{meant}`?")),
            None => services.keys().find(|other| other.name == name.name).map(|other| {
                format!(
                    "there is one in namespace {}: name that in `namespace`, and let a ReferenceGrant \
                     there permit it",
                    other.namespace
                )
            }),
        };
        let message = format!("there is no Service {name}");
        let field = field.field("name");
        Finding { help, ..Finding::new(Lint::UnknownBackend, self.id.clone(), field, message) }
    }

    fn unknown_port(
        &self,
        name: &NamespacedName,
        service: &Service,
        port: u16,
        field: &FieldPath,
    ) -> Finding {
        let message = format!("Service {name} has no port {port}");
        let field = field.field("port");
        let ports: BTreeSet<u16> = service.spec.ports.iter().map(|it| it.port.get()).collect();
        let listed: Vec<String> = ports.iter().map(ToString::to_string).collect();
        let to_pods = service.spec.ports.iter().find(|it| {
            matches!(it.target_port, Some(gwapi_model::IntOrString::Int(target)) if target == i64::from(port))
        });
        let help = match to_pods {
            Some(meant) => format!(
                "{port} is the targetPort of its port {}: routes name the port of the Service",
                meant.port
            ),
            None if listed.is_empty() => "it has no ports at all".to_owned(),
            None => format!("its ports are: {}", listed.join(", ")),
        };
        let related = Related {
            object: name.object_id(Kind::Service),
            field: spec().field("ports"),
            message: "these are the ports that it has".to_owned(),
        };
        let finding = Finding::new(Lint::UnknownBackendPort, self.id.clone(), field, message);
        Finding { related: vec![related], ..finding.with_help(help) }
    }
}

fn has_port(service: &Service, port: u16) -> bool {
    service.spec.ports.iter().any(|own| own.port.get() == port)
}
