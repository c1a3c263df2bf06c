//! Metadata, and the essentials of the core kinds.

use super::checker::Checker;
use super::syntax::{
    ANY, CONTAINER_PORT_NAME, DATA_KEY, IP, IPV4, IPV6, LABEL_NAME, LABEL_VALUE, NAME,
    QUALIFIED_NAME,
};
use crate::{
    AddressFamily, ClusterTrustBundle, ConfigMap, EndpointPort, EndpointSlice, EndpointSubset,
    Endpoints, IntOrString, Kind, ObjectMeta, Secret, Service, ServicePort, ServiceSpec,
    ServiceType,
};

/// Sum of what the annotations of an object may hold, in bytes.
const ANNOTATIONS_LIMIT: usize = 256 * 1024;

/// Sum of what a Secret or ConfigMap may hold, in bytes.
const DATA_LIMIT: usize = 1024 * 1024;

const TRANSPORTS: &[&str] = &["TCP", "UDP", "SCTP"];

/// Names by the grammar of the kind, labels and annotations. An absent namespace is no violation:
/// the API server takes it from the request.
pub(super) fn metadata(check: &mut Checker, kind: Kind, metadata: &ObjectMeta) {
    let name = match kind {
        Kind::Namespace | Kind::Service => &LABEL_NAME,
        _ => &NAME,
    };
    check.field("metadata", |check| {
        // That of a trust bundle has its signer in front, see `cluster_trust_bundle`.
        if kind != Kind::ClusterTrustBundle {
            check.text("name", &metadata.name, name);
        }
        if kind.is_namespaced() && !metadata.namespace.is_empty() {
            check.text("namespace", &metadata.namespace, &LABEL_NAME);
        }
        check.map("labels", &metadata.labels, usize::MAX, &QUALIFIED_NAME, &LABEL_VALUE);
        check.map("annotations", &metadata.annotations, usize::MAX, &QUALIFIED_NAME, &ANY);
        let annotations = &metadata.annotations;
        let size = annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
        total_size(check, "annotations", size, ANNOTATIONS_LIMIT);
    });
}

fn total_size(check: &mut Checker, name: &'static str, size: usize, limit: usize) {
    if size > limit {
        check.field(name, |check| {
            check.report(format!("holds {size} bytes in all: expected at most {limit}"));
        });
    }
}

pub(super) fn service(check: &mut Checker, service: &Service) {
    check.field("spec", |check| {
        let spec = &service.spec;
        let service_type = spec.service_type.as_ref().unwrap_or(&ServiceType::ClusterIp);
        check.one_of("type", service_type.as_str(), ServiceType::KNOWN);
        let cluster_ip = spec.cluster_ip.as_ref().filter(|ip| !matches!(ip.as_str(), "" | "None"));
        check.optional_text("clusterIP", cluster_ip, &IP);
        external_name(check, spec, service_type);
        service_ports(check, spec, service_type);
        check.map("selector", &spec.selector, usize::MAX, &QUALIFIED_NAME, &LABEL_VALUE);
    });
}

fn external_name(check: &mut Checker, spec: &ServiceSpec, service_type: &ServiceType) {
    if *service_type == ServiceType::ExternalName {
        let name = spec.external_name.as_deref().unwrap_or_default();
        check.text("externalName", name.strip_suffix('.').unwrap_or(name), &NAME);
    }
}

/// Ports of a Service: some unless it is headless or an alias, named where there are several,
/// each name and each number of a transport once (HB-1).
fn service_ports(check: &mut Checker, spec: &ServiceSpec, service_type: &ServiceType) {
    let headless = spec.cluster_ip.as_deref() == Some("None");
    let least = usize::from(!headless && *service_type != ServiceType::ExternalName);
    check.list("ports", &spec.ports, least..=usize::MAX, |check, port| {
        let several = spec.ports.len() > 1;
        port_name(check, port.name.as_ref(), several);
        transport(check, port.protocol.as_ref());
        check.optional_text("appProtocol", port.app_protocol.as_ref(), &QUALIFIED_NAME);
        check.optional("targetPort", port.target_port.as_ref(), |check, target| match target {
            IntOrString::Int(number) => check.value_within(*number, 1..=65535),
            IntOrString::String(name) => check.value(name, &CONTAINER_PORT_NAME),
        });
    });
    unique_port_names(check, &spec.ports, |port| port.name.as_deref());
    let protocol = |port: &ServicePort| port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
    check.unique(
        "ports",
        &spec.ports,
        Some("port"),
        |port| Some((port.port, protocol(port))),
        |port| format!("an earlier entry has port {} of {} too", port.port, protocol(port)),
    );
}

fn port_name(check: &mut Checker, name: Option<&String>, required: bool) {
    let name = name.filter(|name| !name.is_empty());
    if name.is_none() && required {
        check.report("`name` is missing: several ports are told apart by name");
    }
    check.optional_text("name", name, &LABEL_NAME);
}

fn unique_port_names<T>(check: &mut Checker, ports: &[T], name: fn(&T) -> Option<&str>) {
    check.unique(
        "ports",
        ports,
        Some("name"),
        |port| name(port).filter(|name| !name.is_empty()),
        |port| format!("an earlier port is named `{}` too", name(port).unwrap_or_default()),
    );
}

fn transport(check: &mut Checker, protocol: Option<&String>) {
    if let Some(protocol) = protocol {
        check.one_of("protocol", protocol, TRANSPORTS);
    }
}

/// Addresses of the family that the slice names (HB-7). Loopback addresses, which an API server
/// refuses, are let through: without a cluster they are where backends live.
pub(super) fn endpoint_slice(check: &mut Checker, slice: &EndpointSlice) {
    check.one_of("addressType", slice.address_type.as_str(), AddressFamily::KNOWN);
    let family = match slice.address_type {
        AddressFamily::Ipv4 => Some(&IPV4),
        AddressFamily::Ipv6 => Some(&IPV6),
        AddressFamily::Fqdn => Some(&NAME),
        AddressFamily::Other(_) => None,
    };
    check.list("endpoints", &slice.endpoints, 0..=1000, |check, endpoint| {
        check.list("addresses", &endpoint.addresses, 1..=100, |check, address| {
            if let Some(family) = family {
                check.value(address, family);
            }
        });
    });
    endpoint_ports(check, &slice.ports);
}

fn endpoint_ports(check: &mut Checker, ports: &[EndpointPort]) {
    check.list("ports", ports, 0..=20_000, |check, port| {
        port_name(check, port.name.as_ref(), false);
        transport(check, port.protocol.as_ref());
    });
    check.unique(
        "ports",
        ports,
        Some("name"),
        |port| Some(port.name.as_deref().unwrap_or_default()),
        |port| match port.name.as_deref() {
            None | Some("") => "an earlier port has no name either".to_owned(),
            Some(name) => format!("an earlier port is named `{name}` too"),
        },
    );
}

pub(super) fn endpoints(check: &mut Checker, endpoints: &Endpoints) {
    check.list("subsets", &endpoints.subsets, 0..=usize::MAX, |check, subset| {
        let EndpointSubset { addresses, not_ready_addresses, ports } = subset;
        for (name, addresses) in
            [("addresses", addresses), ("notReadyAddresses", not_ready_addresses)]
        {
            check.list(name, addresses, 0..=usize::MAX, |check, address| {
                check.text("ip", &address.ip, &IP);
            });
        }
        if addresses.is_empty() && not_ready_addresses.is_empty() {
            check.report("has no addresses: expected `addresses` or `notReadyAddresses`");
        }
        check.list("ports", ports, 0..=usize::MAX, |check, port| {
            port_name(check, port.name.as_ref(), ports.len() > 1);
            transport(check, port.protocol.as_ref());
            if port.port.is_none() {
                check.report("`port` is missing: expected 1 to 65535");
            }
        });
        unique_port_names(check, ports, |port| port.name.as_deref());
    });
}

/// Keys and size; a TLS Secret holds both halves (TL-1). What the values are is not looked at,
/// let alone shown.
pub(super) fn secret(check: &mut Checker, secret: &Secret) {
    check.field("data", |check| {
        for key in secret.data.keys() {
            check.field(key.clone(), |check| check.value(key, &DATA_KEY));
        }
    });
    let size = secret.data.values().map(|value| value.expose().len()).sum();
    total_size(check, "data", size, DATA_LIMIT);
    if secret.secret_type.as_deref() == Some("kubernetes.io/tls") {
        for key in ["tls.crt", "tls.key"] {
            if !secret.data.contains_key(key) {
                check.field("data", |check| {
                    check.report(format!("`{key}` is missing: type kubernetes.io/tls needs it"));
                });
            }
        }
    }
}

/// It holds at least one certificate, and bears the name of its signer (TL-9).
pub(super) fn cluster_trust_bundle(check: &mut Checker, bundle: &ClusterTrustBundle) {
    check.field("spec", |check| {
        if !bundle.spec.trust_bundle.contains("-----BEGIN CERTIFICATE-----") {
            check.field("trustBundle", |check| {
                check.report("holds no certificate: expected at least one, as PEM");
            });
        }
    });
    let name = &*bundle.metadata.name;
    let signer = bundle.spec.signer_name.as_deref().filter(|signer| !signer.is_empty());
    let prefix = signer.map(|signer| format!("{}:", signer.replace('/', ":"))).unwrap_or_default();
    check.field("metadata", |check| match name.strip_prefix(&prefix) {
        Some(rest) => check.text("name", rest, &NAME),
        None => check.field("name", |check| {
            check.report(format!("is {name}: expected that of its signer in front, `{prefix}`"));
        }),
    });
}

/// Keys and size.
pub(super) fn config_map(check: &mut Checker, config_map: &ConfigMap) {
    check.map("data", &config_map.data, usize::MAX, &DATA_KEY, &ANY);
    let size = config_map.data.values().map(String::len).sum();
    total_size(check, "data", size, DATA_LIMIT);
}
