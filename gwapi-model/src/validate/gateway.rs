//! GatewayClass, Gateway and ListenerSet.

use super::checker::Checker;
use super::syntax::{
    ADDRESS_HOSTNAME, ADDRESS_TYPE, ANNOTATION_VALUE, CONTROLLER_NAME, GROUP, HOSTNAME, IP, KIND,
    LABEL_VALUE, NAME, PROTOCOL, QUALIFIED_NAME, REFERRED_NAME, ROUTABILITY, SHORT_QUALIFIED_NAME,
    any,
};
use super::{experimental, reference};
use crate::{
    AddressType, AllowedNamespaces, AllowedRoutes, FromNamespaces, FrontendTls, FrontendTlsConfig,
    Gateway, GatewayClass, GatewayInfrastructure, GatewaySpec, GatewaySpecAddress, GatewayTls,
    LabelSelector, LabelSelectorRequirement, Listener, ListenerSet, ListenerTls,
    ParentGatewayReference, Protocol, RouteGroupKind, SelectorOperator, TlsMode,
};

pub(super) fn gateway_class(check: &mut Checker, class: &GatewayClass) {
    check.field("spec", |check| {
        // GC-1. That the name never changes is for whoever sees both versions.
        check.text("controllerName", &class.spec.controller_name, &CONTROLLER_NAME);
        check.optional("parametersRef", class.spec.parameters_ref.as_ref(), reference::parameters);
        let description = any("a description", 64);
        check.optional_text("description", class.spec.description.as_ref(), &description);
    });
}

pub(super) fn gateway(check: &mut Checker, gateway: &Gateway) {
    check.field("spec", |check| {
        let spec = &gateway.spec;
        check.text("gatewayClassName", &spec.gateway_class_name, &REFERRED_NAME);
        listeners(check, &spec.listeners, Holder::Gateway);
        addresses(check, spec);
        check.optional("infrastructure", spec.infrastructure.as_ref(), infrastructure);
        check.optional("allowedListeners", spec.allowed_listeners.as_ref(), |check, allowed| {
            // LS-1.
            check.optional("namespaces", allowed.namespaces.as_ref(), |check, namespaces| {
                allowed_namespaces(check, namespaces, FromNamespaces::KNOWN);
            });
        });
        check.optional("tls", spec.tls.as_ref(), gateway_tls);
        if let Some(scope) = &spec.default_scope {
            check.one_of("defaultScope", scope, experimental::DEFAULT_SCOPES); // RT-16
        }
    });
}

/// A ListenerSet names one Gateway, and adds listeners to it (LS-1, LS-4).
pub(super) fn listener_set(check: &mut Checker, set: &ListenerSet) {
    check.field("spec", |check| {
        check.field("parentRef", |check| {
            let ParentGatewayReference { group, kind, namespace, name } = &set.spec.parent_ref;
            let (group, kind) = (group.as_deref(), kind.as_deref());
            reference::object(check, group, kind, name, namespace.as_deref());
        });
        listeners(check, &set.spec.listeners, Holder::ListenerSet);
    });
}

/// Listeners of one object.
const MAX_LISTENERS: usize = 64;

/// What listeners are listed in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holder {
    Gateway,
    ListenerSet,
}

impl Holder {
    fn name(self) -> &'static str {
        match self {
            Self::Gateway => "Gateway",
            Self::ListenerSet => "ListenerSet",
        }
    }
}

/// One to 64 listeners, told apart by name and by port, protocol and hostname (GW-7).
fn listeners(check: &mut Checker, listeners: &[Listener], holder: Holder) {
    check.list("listeners", listeners, 1..=usize::MAX, |check, it| listener(check, it, holder));
    let found = listeners.len();
    if found > MAX_LISTENERS {
        check.field("listeners", |check| {
            check.report_with_help(
                format!("has {found} entries: expected at most {MAX_LISTENERS}"),
                format!("move {} of them to another {}", found - MAX_LISTENERS, holder.name()),
            );
        });
    }
    check.unique(
        "listeners",
        listeners,
        Some("name"),
        |listener| Some(&listener.name),
        |listener| format!("an earlier listener is named `{}` too", listener.name),
    );
    check.unique(
        "listeners",
        listeners,
        None,
        |listener| Some((listener.port, &listener.protocol, &listener.hostname)),
        |listener| {
            let hostname = listener
                .hostname
                .as_ref()
                .map_or("no hostname".to_owned(), |hostname| format!("hostname {hostname}"));
            format!(
                "an earlier listener has port {}, protocol {} and {hostname} too",
                listener.port, listener.protocol
            )
        },
    );
}

fn listener(check: &mut Checker, listener: &Listener, holder: Holder) {
    check.text("name", &listener.name, &NAME);
    check.optional_text("hostname", listener.hostname.as_ref(), &HOSTNAME);
    // GW-8: the set of protocols is open, their grammar is not.
    check.text("protocol", listener.protocol.as_str(), &PROTOCOL);
    protocol_fields(check, listener);
    check.optional("tls", listener.tls.as_ref(), listener_tls);
    check.optional("allowedRoutes", listener.allowed_routes.as_ref(), allowed_routes);
    check.optional("filters", listener.filters.as_ref(), |check, filters| {
        // LF-1: the API server takes them in a ListenerSet, where they are a matter of the listener's status.
        if holder == Holder::Gateway {
            experimental::protocol_of_filters(check, &listener.protocol);
        }
        experimental::listener_filters(check, filters);
    });
}

/// Fields that a protocol needs or has no use for (GW-7). HTTPS without `tls` is not among them:
/// the API server lets it through.
fn protocol_fields(check: &mut Checker, listener: &Listener) {
    let Listener { protocol, tls, hostname, .. } = listener;
    let mode = tls.as_ref().map(|tls| tls.mode.as_ref().unwrap_or(&TlsMode::Terminate));
    match (protocol, mode) {
        (Protocol::Http | Protocol::Tcp | Protocol::Udp, Some(_)) => {
            check.field("tls", |check| {
                check.report_with_help(
                    format!("protocol {protocol} takes no TLS settings"),
                    "remove `tls` or set the protocol to HTTPS or TLS",
                );
            });
        }
        (Protocol::Https, Some(TlsMode::Passthrough)) => check.field("tls", |check| {
            check.field("mode", |check| {
                check.report_with_help(
                    "protocol HTTPS cannot pass TLS through: expected Terminate",
                    "set the protocol to TLS to pass it through",
                );
            });
        }),
        // The CRD fills in the mode where `tls` is there, so that only `tls` itself can be missing.
        (Protocol::Tls, None) => check.report_with_help(
            "`tls` is missing: protocol TLS needs a mode",
            "add `tls: {mode: Passthrough}`, or mode Terminate with certificateRefs",
        ),
        _ => {}
    }
    if matches!(protocol, Protocol::Tcp | Protocol::Udp) && hostname.is_some() {
        check.field("hostname", |check| {
            check.report(format!("protocol {protocol} knows no hostnames"));
        });
    }
}

/// Certificates of a listener (TL-1, TL-2) and its options (TL-8).
fn listener_tls(check: &mut Checker, tls: &ListenerTls) {
    let mode = tls.mode.as_ref().unwrap_or(&TlsMode::Terminate);
    check.one_of("mode", mode.as_str(), TlsMode::KNOWN);
    if *mode == TlsMode::Terminate && tls.certificate_refs.is_empty() && tls.options.is_empty() {
        check.report_with_help(
            "`certificateRefs` is missing: mode Terminate needs a certificate", // GW-7
            "name a Secret of type kubernetes.io/tls in certificateRefs",
        );
    }
    check.list("certificateRefs", &tls.certificate_refs, 0..=64, reference::secret);
    check.map("options", &tls.options, 16, &SHORT_QUALIFIED_NAME, &ANNOTATION_VALUE);
}

/// Which routes may attach (AR-1, AR-2).
fn allowed_routes(check: &mut Checker, allowed: &AllowedRoutes) {
    check.optional("namespaces", allowed.namespaces.as_ref(), |check, namespaces| {
        // `None` is for `allowedListeners` alone (AR-1).
        allowed_namespaces(check, namespaces, &["All", "Selector", "Same"]);
    });
    check.list("kinds", &allowed.kinds, 0..=8, |check, RouteGroupKind { group, kind }| {
        check.optional_text("group", group.as_ref(), &GROUP);
        check.text("kind", kind, &KIND);
    });
}

fn allowed_namespaces(check: &mut Checker, namespaces: &AllowedNamespaces, sources: &[&str]) {
    if let Some(from) = &namespaces.from {
        check.one_of("from", from.as_str(), sources);
    }
    check.optional("selector", namespaces.selector.as_ref(), label_selector);
}

/// A label selector. The CRD takes any text as an operator; what Kubernetes' selectors do not
/// know would select nothing without a word.
fn label_selector(check: &mut Checker, selector: &LabelSelector) {
    check.map("matchLabels", &selector.match_labels, usize::MAX, &QUALIFIED_NAME, &LABEL_VALUE);
    check.list("matchExpressions", &selector.match_expressions, 0..=usize::MAX, requirement);
}

fn requirement(check: &mut Checker, requirement: &LabelSelectorRequirement) {
    let LabelSelectorRequirement { key, operator, values } = requirement;
    check.text("key", key, &QUALIFIED_NAME);
    check.one_of("operator", operator.as_str(), SelectorOperator::KNOWN);
    check.list("values", values, 0..=usize::MAX, |check, value| check.value(value, &LABEL_VALUE));
    match operator {
        SelectorOperator::In | SelectorOperator::NotIn if values.is_empty() => {
            check.report(format!("`values` is missing: operator {operator} compares with values"));
        }
        SelectorOperator::Exists | SelectorOperator::DoesNotExist if !values.is_empty() => {
            check.field("values", |check| {
                check.report(format!("operator {operator} takes no values"));
            });
        }
        _ => {}
    }
}

/// Requested addresses, each once (AD-1).
fn addresses(check: &mut Checker, spec: &GatewaySpec) {
    check.list("addresses", &spec.addresses, 0..=16, address);
    check.unique(
        "addresses",
        &spec.addresses,
        Some("value"),
        |address| {
            let address_type = address.address_type.as_ref().unwrap_or(&AddressType::IpAddress);
            let value = address.value.as_deref().filter(|value| !value.is_empty())?;
            let compared = !matches!(address_type, AddressType::Other(_));
            compared.then_some((address_type, value))
        },
        |address| format!("{} is requested twice", address.value.as_deref().unwrap_or_default()),
    );
}

/// An empty value asks for any address of the type (AD-2).
fn address(check: &mut Checker, address: &GatewaySpecAddress) {
    let address_type = address.address_type.as_ref().unwrap_or(&AddressType::IpAddress);
    check.text("type", address_type.as_str(), &ADDRESS_TYPE);
    let grammar = match address_type {
        AddressType::IpAddress => IP,
        AddressType::Hostname => ADDRESS_HOSTNAME,
        AddressType::Other(_) => any("an address", 253),
    };
    let value = address.value.as_ref().filter(|value| !value.is_empty());
    check.optional_text("value", value, &grammar);
    check.optional_text("routability", address.routability.as_ref(), &ROUTABILITY);
}

/// Metadata of what is made for the Gateway (IN-1, IN-3).
fn infrastructure(check: &mut Checker, infrastructure: &GatewayInfrastructure) {
    let GatewayInfrastructure { labels, annotations, parameters_ref } = infrastructure;
    check.map("labels", labels, 8, &SHORT_QUALIFIED_NAME, &LABEL_VALUE);
    check.map("annotations", annotations, 16, &SHORT_QUALIFIED_NAME, &ANNOTATION_VALUE);
    check.optional("parametersRef", parameters_ref.as_ref(), reference::local);
}

fn gateway_tls(check: &mut Checker, tls: &GatewayTls) {
    check.optional("backend", tls.backend.as_ref(), |check, backend| {
        let certificate = backend.client_certificate_ref.as_ref();
        check.optional("clientCertificateRef", certificate, reference::secret); // TL-7
    });
    check.optional("frontend", tls.frontend.as_ref(), frontend_tls);
}

/// Validation of client certificates; a port has one configuration (TL-4).
fn frontend_tls(check: &mut Checker, frontend: &FrontendTls) {
    check.field("default", |check| frontend_config(check, &frontend.default));
    check.list("perPort", &frontend.per_port, 0..=64, |check, per_port| {
        check.field("tls", |check| frontend_config(check, &per_port.tls));
    });
    check.unique(
        "perPort",
        &frontend.per_port,
        Some("port"),
        |per_port| Some(per_port.port),
        |per_port| format!("an earlier entry is for port {} too", per_port.port),
    );
}

/// CA certificates and mode (TL-5, TL-6).
fn frontend_config(check: &mut Checker, config: &FrontendTlsConfig) {
    check.optional("validation", config.validation.as_ref(), |check, validation| {
        let authorities = &validation.ca_certificate_refs;
        check.list("caCertificateRefs", authorities, 1..=16, reference::ca_certificate);
        if let Some(mode) = &validation.mode {
            check.one_of("mode", mode, &["AllowValidOnly", "AllowInsecureFallback"]);
        }
    });
}
