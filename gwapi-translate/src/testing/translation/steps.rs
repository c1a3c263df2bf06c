//! What happens to a translator, generated and printed.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use gwapi_model::status::{ConditionReason, GatewayStatusAddress};
use gwapi_model::{
    AddressType, Kind, NamespacedName, ObjectId, Resource, ResourceEvent, SecretBytes,
};
use proptest::option::of;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::select;

use super::resources::{name, resource, selected, selecting, world};
use crate::features::InstalledBundle;
use crate::infrastructure::{AddressAssignment, InfrastructureReport};
use crate::ir::{CertificateKey, GatewayId, ListenerKey, SessionKeys};
use crate::{AddressPolicy, Feedback, Options};

/// One thing that happens to a [`Translator`](crate::Translator).
#[derive(Clone)]
pub enum Step {
    /// Events that are applied as one change.
    Events(Vec<ResourceEvent>),
    /// New options.
    Options(Options),
    /// Other CRDs are installed.
    InstalledBundle(Option<InstalledBundle>),
    /// There are ClusterTrustBundles to refer to, or there are none.
    ClusterTrustBundles(bool),
    /// New keys of sessions.
    SessionKeys(Option<SessionKeys>),
    /// The data plane reports.
    Feedback(GatewayId, Feedback),
    /// Who makes Services for XBackends says why there is none for the one that has, or had, this uid.
    Selection(NamespacedName, String, Option<String>),
}

/// A sequence of steps: most of them begin with a small world in which all is well, so that what
/// follows has something to break. Some are in a cluster.
pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    let world = Step::Events(world().map(ResourceEvent::Apply).collect());
    let begin = prop_oneof![
        2 => Just(vec![]),
        5 => Just(vec![world.clone()]),
        3 => Just(vec![Step::Options(cluster()), world]),
    ];
    (begin, proptest::collection::vec(step(), 1..24))
        .prop_map(|(begin, steps)| [begin, steps].concat())
}

/// A sequence of steps in a cluster, which are about what XBackends select and about little else.
pub(super) fn steps_of_selections() -> impl Strategy<Value = Vec<Step>> {
    let kinds = vec![Kind::XBackend, Kind::HttpRoute, Kind::Service, Kind::EndpointSlice];
    let gone =
        select(kinds).prop_flat_map(|kind| name(kind).prop_map(move |it| it.object_id(kind)));
    let step = prop_oneof![
        6 => selecting().prop_map(ResourceEvent::Apply).prop_map(|event| Step::Events(vec![event])),
        1 => gone.prop_map(|id| Step::Events(vec![ResourceEvent::Delete(id)])),
        2 => selection_problem(),
    ];
    let world = world().chain(selected()).map(ResourceEvent::Apply).collect();
    let begin = [Step::Options(cluster()), Step::Events(world)];
    proptest::collection::vec(step, 1..24)
        .prop_map(move |steps| begin.iter().cloned().chain(steps).collect())
}

/// Options of a controller in a cluster.
fn cluster() -> Options {
    Options { addresses: AddressPolicy::Provisioned, ..Options::default() }
}

fn selection_problem() -> impl Strategy<Value = Step> {
    let uid = prop_oneof![3 => Just("x"), 1 => Just("y")].prop_map(str::to_owned);
    (name(Kind::XBackend), uid, of(Just("quota".to_owned())))
        .prop_map(|(name, uid, said)| Step::Selection(name, uid, said))
}

fn step() -> impl Strategy<Value = Step> {
    let batch = proptest::collection::vec(event(), 2..6);
    prop_oneof![
        20 => event().prop_map(|event| Step::Events(vec![event])),
        8 => batch.prop_map(Step::Events),
        1 => options().prop_map(Step::Options),
        1 => installed_bundle().prop_map(Step::InstalledBundle),
        2 => any::<bool>().prop_map(Step::ClusterTrustBundles),
        1 => session_keys().prop_map(Step::SessionKeys),
        3 => (gateway_id(), feedback()).prop_map(|(id, said)| Step::Feedback(id, said)),
        2 => selection_problem(),
    ]
}

fn event() -> impl Strategy<Value = ResourceEvent> {
    let delete = kind().prop_flat_map(|kind| name(kind).prop_map(move |name| (kind, name)));
    let relist = (kind(), proptest::collection::vec(resource(), 0..4));
    prop_oneof![
        16 => resource().prop_map(ResourceEvent::Apply),
        4 => delete.prop_map(|(kind, name)| {
            ResourceEvent::Delete(ObjectId::new(kind, name.namespace, name.name))
        }),
        1 => relist.prop_map(|(kind, list)| ResourceEvent::Relist(kind, list)),
    ]
}

fn kind() -> impl Strategy<Value = Kind> {
    select(Kind::ALL)
}

fn gateway_id() -> impl Strategy<Value = GatewayId> {
    name(Kind::Gateway)
}

pub(super) fn options() -> impl Strategy<Value = Options> {
    let address = |text: &str| text.parse::<IpAddr>().expect("it is an address");
    let shared = AddressPolicy::Shared(vec![address("0.0.0.0")]);
    let assigned = AddressPolicy::Assigned(BTreeMap::from([
        (GatewayId::new("a", "g"), address("127.1.0.1")),
        (GatewayId::new("b", "g"), address("127.1.0.2")),
    ]));
    let policies = select(vec![shared, assigned, AddressPolicy::Provisioned]);
    let of_ports = (select(vec![0, 1000, 65100]), select(vec![vec![], vec![81], vec![443, 1080]]));
    let of_cluster = (installed_bundle(), any::<bool>());
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    (flags, of_ports, policies, of_cluster, session_keys()).prop_map(
        |(flags, (port_offset, reserved), addresses, of_cluster, session_keys)| {
            let (any_controller, allow_external_name, underscore_headers) = flags;
            let (installed_bundle, cluster_trust_bundles) = of_cluster;
            Options {
                any_controller,
                port_offset,
                reserved_ports: reserved.into_iter().collect(),
                addresses,
                allow_external_name,
                underscore_headers,
                installed_bundle,
                session_keys,
                cluster_trust_bundles,
                ..Options::default()
            }
        },
    )
}

fn installed_bundle() -> impl Strategy<Value = Option<InstalledBundle>> {
    let versions = vec![None, Some("v1.7.0"), Some("v1.6.1"), Some("v1.4.0")];
    let channels = select(vec!["standard", "experimental"]);
    (select(versions), channels).prop_map(|(version, channel)| {
        version.map(|version| InstalledBundle::new(version).with_gateways_of(version, channel))
    })
}

fn session_keys() -> impl Strategy<Value = Option<SessionKeys>> {
    let key = |byte| SecretBytes::new(vec![byte; 32]);
    let keys = vec![vec![], vec![key(1)], vec![key(2), key(1)]];
    of(select(keys)).prop_map(|keys| keys.map(|keys| SessionKeys { keys }))
}

fn feedback() -> impl Strategy<Value = Feedback> {
    let listener = select(vec!["l", "m"]).prop_map(ListenerKey::new);
    let certificate =
        select(vec!["a/t", "b/t", "~backend/a/x.xbackend"]).prop_map(CertificateKey::new);
    let why = || Just("in use".to_owned());
    let address = select(vec!["0.0.0.0", "10.0.0.1"])
        .prop_map(|text| text.parse::<IpAddr>().expect("it is an address"));
    (
        proptest::collection::btree_map(listener, why(), 0..2),
        proptest::collection::btree_map(certificate, why(), 0..2),
        proptest::collection::btree_map(address, why(), 0..2),
        proptest::collection::btree_map(select(vec!["Backend/a/s:80".to_owned()]), why(), 0..2),
        report(),
    )
        .prop_map(
            |(unbound, rejected_certificates, unusable_addresses, unreadable, infrastructure)| {
                Feedback {
                    unbound,
                    rejected_certificates,
                    unusable_addresses,
                    unreadable,
                    infrastructure,
                }
            },
        )
}

fn report() -> impl Strategy<Value = InfrastructureReport> {
    let address = |value: &str| GatewayStatusAddress {
        address_type: AddressType::IpAddress,
        value: value.to_owned(),
        routability: Some("Cluster".to_owned()),
    };
    let addresses = select(vec![vec![], vec![address("10.0.0.1")], vec![address("10.0.0.2")]]);
    let unmet = select(vec![vec![], vec![(ConditionReason::NoResources, "no room".to_owned())]]);
    let unassigned = select(vec![vec![], vec!["no room".to_owned()], vec!["not there".to_owned()]]);
    let assignment =
        (0..2_usize, unassigned, any::<bool>()).prop_map(|(met, unmet_routability, pending)| {
            AddressAssignment { met, unmet: Vec::new(), unmet_routability, pending }
        });
    (addresses, unmet, assignment, any::<bool>()).prop_map(
        |(addresses, unmet, assignment, ready)| InfrastructureReport {
            addresses,
            unmet,
            assignment,
            ready,
        },
    )
}

/// One event a line: `apply HTTPRoute a/r {"parentRefs":...}`.
impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Events(events) => {
                let lines: Vec<String> = events.iter().map(show_event).collect();
                match lines.as_slice() {
                    [line] => f.write_str(line),
                    lines => write!(f, "together:\n  {}", lines.join("\n  ")),
                }
            }
            Self::Options(options) => write!(f, "set {options:?}"),
            Self::InstalledBundle(bundle) => write!(f, "CRDs of {bundle:?} are installed"),
            Self::ClusterTrustBundles(true) => f.write_str("there are ClusterTrustBundles"),
            Self::ClusterTrustBundles(false) => f.write_str("there are no ClusterTrustBundles"),
            Self::SessionKeys(keys) => write!(f, "set {keys:?}"),
            Self::Feedback(gateway, said) => write!(f, "{gateway} reports {said:?}"),
            Self::Selection(backend, uid, said) => {
                write!(f, "no Service for {backend} ({uid}): {said:?}")
            }
        }
    }
}

fn show_event(event: &ResourceEvent) -> String {
    match event {
        ResourceEvent::Apply(resource) => format!("apply {}", show(resource)),
        ResourceEvent::Delete(id) => format!("delete {id}"),
        ResourceEvent::Relist(kind, list) => {
            let list: Vec<String> = list.iter().map(show).collect();
            format!("relist {kind} [{}]", list.join(", "))
        }
    }
}

/// An object on one line, without what is the same everywhere.
pub fn show(resource: &Resource) -> String {
    let value = match resource {
        Resource::GatewayClass(object) => serde_json::to_value(&**object),
        Resource::Gateway(object) => serde_json::to_value(&**object),
        Resource::ListenerSet(object) => serde_json::to_value(&**object),
        Resource::HttpRoute(object) => serde_json::to_value(&**object),
        Resource::GrpcRoute(object) => serde_json::to_value(&**object),
        Resource::TlsRoute(object) => serde_json::to_value(&**object),
        Resource::TcpRoute(object) => serde_json::to_value(&**object),
        Resource::UdpRoute(object) => serde_json::to_value(&**object),
        Resource::GatewayParameters(object) => serde_json::to_value(&**object),
        Resource::BackendTlsPolicy(object) => serde_json::to_value(&**object),
        Resource::XBackend(object) => serde_json::to_value(&**object),
        Resource::BackendTrafficPolicy(object) => serde_json::to_value(&**object),
        Resource::TelemetryPolicy(object) => serde_json::to_value(&**object),
        Resource::ReferenceGrant(object) => serde_json::to_value(&**object),
        Resource::Namespace(object) => serde_json::to_value(&**object),
        Resource::Service(object) => serde_json::to_value(&**object),
        Resource::EndpointSlice(object) => serde_json::to_value(&**object),
        Resource::Endpoints(object) => serde_json::to_value(&**object),
        Resource::ConfigMap(object) => serde_json::to_value(&**object),
        Resource::ClusterTrustBundle(object) => serde_json::to_value(&**object),
        Resource::Secret(object) => {
            return format!("{} {:?} {:?}", resource.id(), object.secret_type, object.data);
        }
    };
    let mut value = value.unwrap_or_default();
    if let Some(metadata) = value.get_mut("metadata").and_then(|it| it.as_object_mut()) {
        metadata.remove("name");
        metadata.remove("namespace");
    }
    format!("{} {value}", resource.id())
}
