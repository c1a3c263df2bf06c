//! The pods of the proxies.
//!
//! A namespace with the Pod Security level `restricted` admits them, unless parameters ask for host
//! ports or patch them.

use std::collections::BTreeMap;

use gwapi_model::{GatewayDuration, HostPortParameters, ResourceRequirements as Resources};
use gwapi_translate::infrastructure::TransportProtocol;
use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EmptyDirVolumeSource,
    HTTPGetAction, PodSecurityContext, PodSpec, PodTemplateSpec, Probe, ProjectedVolumeSource,
    ResourceRequirements, SeccompProfile, SecurityContext, ServiceAccountTokenProjection, Sysctl,
    Toleration, Volume, VolumeMount, VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Map, Value, json};

use super::super::{parameters, patch};
use super::{ACCOUNT_ANNOTATION, CA_KEY, Maker, number, some};
use crate::serve::TOKEN_AUDIENCE;

/// Name of the proxy's container, by which a patch finds it.
const CONTAINER: &str = "proxy";

/// Where metrics and probes are; no listener can have this port.
pub const ADMIN_PORT: u16 = 19000;

/// The user that proxies run as. Nothing belongs to it but what it makes itself.
const USER: i64 = 65532;

/// Seconds for which a token is good; the kubelet brings a new one in time.
const TOKEN_SECONDS: i64 = 3600;

const CA_FOLDER: &str = "/etc/gwapi/ca";
const TOKEN_FOLDER: &str = "/var/run/secrets/gwapi.dev";
const TOKEN_FILE: &str = "token";
const SNAPSHOT_FOLDER: &str = "/var/lib/gwapi";

/// What the last good configuration may take; it lies in memory, and counts as the container's.
const SNAPSHOT_LIMIT: &str = "256Mi";

impl Maker<'_> {
    /// The pod template, with the patch of the parameters laid over it.
    pub(super) fn pod_template(&self) -> Value {
        let template = PodTemplateSpec {
            metadata: Some(ObjectMeta {
                labels: Some(self.labels()),
                annotations: some(self.pod_annotations()),
                ..ObjectMeta::default()
            }),
            spec: Some(self.pod()),
        };
        let mut template =
            serde_json::to_value(template).expect("Kubernetes' types are plain data");
        let workload = &self.wanted.parameters.workload;
        if let Some(affinity) = &workload.affinity {
            template["spec"]["affinity"] = Value::Object(affinity.clone());
        }
        if !workload.topology_spread_constraints.is_empty() {
            let constraints = workload.topology_spread_constraints.iter();
            template["spec"]["topologySpreadConstraints"] = constraints
                .map(|constraint| self.counting_our_pods(&Value::Object(constraint.clone())))
                .collect();
        }
        if let Some(change) = &workload.pod_template_patch {
            patch::merge(&mut template, &Value::Object(change.clone()));
            self.put_own_back(&mut template);
        }
        template
    }

    /// The Gateway's annotations, and ours, which it cannot take the place of.
    fn pod_annotations(&self) -> BTreeMap<String, String> {
        let mut annotations = self.wanted.annotations.clone();
        annotations.extend(self.own_pod_annotations());
        annotations
    }

    /// The annotation that has pods replaced when their account is another.
    fn own_pod_annotations(&self) -> BTreeMap<String, String> {
        let account = self.account.map(|uid| (ACCOUNT_ANNOTATION.to_owned(), uid.to_owned()));
        account.into_iter().collect()
    }

    /// A pod without the labels by which we find it would be nobody's, and one without its annotation
    /// would outlive its account. What cannot have labels the API server refuses.
    fn put_own_back(&self, template: &mut Value) {
        let ours = [("labels", self.own_labels()), ("annotations", self.own_pod_annotations())];
        for (name, members) in ours.into_iter().filter(|(_, members)| !members.is_empty()) {
            let empty = || Value::Object(Map::new());
            let metadata =
                template.as_object_mut().map(|it| it.entry("metadata").or_insert_with(empty));
            let metadata = metadata.and_then(Value::as_object_mut);
            let map = metadata.map(|it| it.entry(name).or_insert_with(empty));
            if let Some(map) = map.and_then(Value::as_object_mut) {
                map.extend(members.into_iter().map(|(key, value)| (key, value.into())));
            }
        }
    }

    /// A spread constraint that says nothing else counts the Gateway's pods.
    fn counting_our_pods(&self, constraint: &Value) -> Value {
        let mut constraint = constraint.clone();
        if let Some(members) = constraint.as_object_mut() {
            members
                .entry("labelSelector")
                .or_insert_with(|| json!({ "matchLabels": self.selector() }));
        }
        constraint
    }

    fn pod(&self) -> PodSpec {
        let parameters = &self.wanted.parameters;
        PodSpec {
            service_account_name: Some(self.wanted.name.clone()),
            // The proxy has no business with the API server.
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            // The first process of a namespace is sent no signal that it has no handler for: one that is
            // told to end before it is that far would stay for all of its grace period.
            share_process_namespace: Some(true),
            security_context: Some(pod_security()),
            termination_grace_period_seconds: Some(parameters::grace_period(parameters)),
            node_selector: some(parameters.workload.node_selector.clone()),
            tolerations: self.tolerations(),
            containers: vec![self.container()],
            volumes: Some(self.volumes()),
            ..PodSpec::default()
        }
    }

    fn tolerations(&self) -> Option<Vec<Toleration>> {
        let tolerations = &self.wanted.parameters.workload.tolerations;
        let convert = |it: &gwapi_model::Toleration| Toleration {
            key: it.key.clone(),
            operator: it.operator.as_ref().map(ToString::to_string),
            value: it.value.clone(),
            effect: it.effect.as_ref().map(ToString::to_string),
            toleration_seconds: it.toleration_seconds,
        };
        (!tolerations.is_empty()).then(|| tolerations.iter().map(convert).collect())
    }

    fn container(&self) -> Container {
        let workload = &self.wanted.parameters.workload;
        let image = workload.image.as_ref().unwrap_or(&self.settings.image);
        let resources = workload.resources.as_ref().unwrap_or(&self.settings.resources);
        let mount = |name: &str, path: &str, is_read_only: bool| VolumeMount {
            name: name.to_owned(),
            mount_path: path.to_owned(),
            read_only: is_read_only.then_some(true),
            ..VolumeMount::default()
        };
        Container {
            name: CONTAINER.to_owned(),
            image: Some(image.clone()),
            image_pull_policy: Some(self.settings.image_pull_policy.as_str().to_owned()),
            args: Some(self.arguments()),
            ports: Some(self.container_ports()),
            resources: Some(resource_requirements(resources)),
            security_context: Some(container_security()),
            // A new proxy gets traffic as soon as it can serve it: the first probe comes before its
            // configuration, waits for it, and is answered before it counts as failed.
            readiness_probe: Some(probe("/readyz?wait=0.8", 1, 1)),
            liveness_probe: Some(probe("/livez", 10, 5)),
            termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
            volume_mounts: Some(vec![
                mount("config-ca", CA_FOLDER, true),
                mount("config-token", TOKEN_FOLDER, true),
                mount("snapshot", SNAPSHOT_FOLDER, false),
            ]),
            ..Container::default()
        }
    }

    fn arguments(&self) -> Vec<String> {
        let proxy = &self.wanted.parameters.proxy;
        let drain = proxy.drain.clone().unwrap_or_default();
        let duration = |it: &GatewayDuration| it.to_string();
        let flags = [
            ("gateway", Some(self.wanted.gateway.to_string())),
            ("config-server", Some(self.bootstrap.url.clone())),
            ("config-server-name", Some(self.bootstrap.server_name.clone())),
            ("config-ca", Some(format!("{CA_FOLDER}/{CA_KEY}"))),
            ("token", Some(format!("{TOKEN_FOLDER}/{TOKEN_FILE}"))),
            ("snapshot-dir", Some(SNAPSHOT_FOLDER.to_owned())),
            ("admin", Some(format!("[::]:{ADMIN_PORT}"))),
            ("workers", proxy.workers.map(|it| it.to_string())),
            ("log-level", proxy.log_level.as_ref().map(ToString::to_string)),
            ("trusted-hops", proxy.trusted_hops.map(|it| it.to_string())),
            ("upgrades", proxy.upgrades.as_ref().map(|it| it.join(","))),
            ("drain-quiet", drain.quiet.as_ref().map(duration)),
            ("drain-timeout", drain.timeout.as_ref().map(duration)),
        ];
        let given = flags.into_iter().filter_map(|(name, value)| value.map(|value| (name, value)));
        given.map(|(name, value)| format!("--{name}={value}")).collect()
    }

    fn container_ports(&self) -> Vec<ContainerPort> {
        let admin = ContainerPort {
            name: Some("admin".to_owned()),
            container_port: number(ADMIN_PORT),
            protocol: Some("TCP".to_owned()),
            ..ContainerPort::default()
        };
        let host_ports = &self.wanted.parameters.workload.host_ports;
        let host_ports = host_ports.iter().flat_map(|port| self.host_ports(port));
        [admin].into_iter().chain(host_ports).collect()
    }

    /// Both ends of a host port. It is there without a listener, too, so that one can come without
    /// new pods.
    fn host_ports(&self, port: &HostPortParameters) -> Vec<ContainerPort> {
        let listener = port.port.get();
        let has_udp = self
            .wanted
            .ports
            .iter()
            .any(|it| it.port == listener && it.protocol == TransportProtocol::Udp);
        let protocols =
            [TransportProtocol::Tcp].into_iter().chain(has_udp.then_some(TransportProtocol::Udp));
        protocols
            .map(|protocol| ContainerPort {
                container_port: number(listener),
                host_port: Some(number(port.host_port.unwrap_or(port.port).get())),
                protocol: Some(protocol.to_string()),
                ..ContainerPort::default()
            })
            .collect()
    }

    fn volumes(&self) -> Vec<Volume> {
        let token = ServiceAccountTokenProjection {
            audience: Some(TOKEN_AUDIENCE.to_owned()),
            expiration_seconds: Some(TOKEN_SECONDS),
            path: TOKEN_FILE.to_owned(),
        };
        vec![
            Volume {
                name: "config-ca".to_owned(),
                config_map: Some(ConfigMapVolumeSource {
                    name: self.config_map_name(),
                    ..ConfigMapVolumeSource::default()
                }),
                ..Volume::default()
            },
            Volume {
                name: "config-token".to_owned(),
                projected: Some(ProjectedVolumeSource {
                    sources: Some(vec![VolumeProjection {
                        service_account_token: Some(token),
                        ..VolumeProjection::default()
                    }]),
                    ..ProjectedVolumeSource::default()
                }),
                ..Volume::default()
            },
            // In memory: private keys touch no disk, and go with the pod.
            Volume {
                name: "snapshot".to_owned(),
                empty_dir: Some(EmptyDirVolumeSource {
                    medium: Some("Memory".to_owned()),
                    size_limit: Some(Quantity(SNAPSHOT_LIMIT.to_owned())),
                }),
                ..Volume::default()
            },
        ]
    }
}

fn pod_security() -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(USER),
        run_as_group: Some(USER),
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".to_owned(),
            ..SeccompProfile::default()
        }),
        // Low ports without a capability: each pod has network settings of its own.
        sysctls: Some(vec![Sysctl {
            name: "net.ipv4.ip_unprivileged_port_start".to_owned(),
            value: "0".to_owned(),
        }]),
        ..PodSecurityContext::default()
    }
}

fn container_security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
        ..SecurityContext::default()
    }
}

fn probe(path: &str, period: i32, timeout: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("admin".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period),
        timeout_seconds: Some(timeout),
        ..Probe::default()
    }
}

fn resource_requirements(resources: &Resources) -> ResourceRequirements {
    let convert = |amounts: &BTreeMap<String, gwapi_model::Quantity>| {
        let amounts = amounts.iter();
        some(amounts.map(|(name, it)| (name.clone(), Quantity(it.as_str().to_owned()))).collect())
    };
    ResourceRequirements {
        requests: convert(&resources.requests),
        limits: convert(&resources.limits),
        ..ResourceRequirements::default()
    }
}
