//! What a cluster keeps from Gateways: ports of the proxies, and names that Kubernetes writes itself.

use std::sync::Arc;

use gwapi_model::status::Status;
use gwapi_model::{Kind, NamespacedName, ObjectId, Resource, Resources};
use gwapi_translate::infrastructure::GatewayInfrastructure;
use gwapi_translate::{AddressPolicy, Options, Translation, translate};
use serde_json::{Value, json};

const ADMIN_PORT: u16 = 19000;

fn options() -> Options {
    Options {
        addresses: AddressPolicy::Provisioned,
        reserved_ports: [ADMIN_PORT].into(),
        ..Options::default()
    }
}

fn read<T: serde::de::DeserializeOwned + Into<Resource>>(json: Value) -> Resource {
    serde_json::from_value::<T>(json).expect("the kind that it is").into()
}

fn run(spec: Value, parameters: Option<Value>) -> Translation {
    let mut all = vec![
        read::<gwapi_model::GatewayClass>(json!({
            "metadata": {"name": "gwapi"},
            "spec": {"controllerName": "gwapi.dev/gateway-controller"},
        })),
        read::<gwapi_model::Gateway>(json!({
            "metadata": {"name": "gw", "namespace": "default"}, "spec": spec,
        })),
    ];
    all.extend(parameters.map(|spec| {
        read::<gwapi_model::GatewayParameters>(json!({
            "metadata": {"name": "own", "namespace": "default"}, "spec": spec,
        }))
    }));
    translate(&all.into_iter().collect::<Resources>(), &options())
}

fn infrastructure(translation: &Translation) -> Arc<GatewayInfrastructure> {
    let id = NamespacedName::new("default", "gw");
    translation.infrastructure.get(&id).expect("it is provisioned").clone()
}

/// Conditions of the Gateway and of its listeners, one a line.
fn conditions(translation: &Translation) -> String {
    let status = translation.status.get(&ObjectId::new(Kind::Gateway, "default", "gw"));
    let Some(Status::Gateway(status)) = status else { panic!("the Gateway is ours") };
    let all = status.conditions.iter().chain(status.listeners.iter().flat_map(|it| &it.conditions));
    let lines =
        all.map(|it| format!("{}={} {}: {}", it.condition_type, it.status, it.reason, it.message));
    lines.collect::<Vec<_>>().join("\n")
}

fn listeners() -> Value {
    json!([
        {"name": "web", "port": 80, "protocol": "HTTP"},
        {"name": "admin", "port": ADMIN_PORT, "protocol": "HTTP"},
    ])
}

/// GW-9.
#[test]
fn a_listener_on_a_reserved_port_is_refused_at_once_and_has_no_port_of_the_service() {
    let translation = run(json!({"gatewayClassName": "gwapi", "listeners": listeners()}), None);
    let told = conditions(&translation);
    assert!(told.contains("Accepted=False PortUnavailable: port 19000 is reserved"), "{told}");
    let ports: Vec<u16> = infrastructure(&translation).ports.iter().map(|it| it.port).collect();
    assert_eq!(ports, [80]);
    let config = &translation.config[&NamespacedName::new("default", "gw")];
    assert_eq!(config.listeners().map(|it| it.port).collect::<Vec<_>>(), [80]);
}

#[test]
fn a_reserved_port_is_not_opened_on_nodes() {
    let with = |port: u16| {
        let parameters = json!({"workload": {"hostPorts": [{"port": port, "hostPort": 8080}]}});
        let spec = json!({
            "gatewayClassName": "gwapi",
            "listeners": [{"name": "web", "port": 80, "protocol": "HTTP"}],
            "infrastructure": {"parametersRef": {
                "group": "gwapi.dev", "kind": "GatewayParameters", "name": "own"}},
        });
        conditions(&run(spec, Some(parameters)))
    };
    let told = with(ADMIN_PORT);
    assert!(told.contains("Accepted=False InvalidParameters"), "{told}");
    assert!(told.contains("hostPorts[0].port: 19000 is reserved"), "{told}");
    assert!(with(80).contains("Accepted=True"));
}

#[test]
fn what_controllers_of_kubernetes_write_is_not_set_from_infrastructure() {
    let translation = run(
        json!({
            "gatewayClassName": "gwapi",
            "listeners": [{"name": "web", "port": 80, "protocol": "HTTP"}],
            "infrastructure": {
                "annotations": {"deployment.kubernetes.io/revision": "99", "example.test/a": "1"},
                "labels": {"pod-template-hash": "x", "team": "edge"},
            },
        }),
        None,
    );
    let infrastructure = infrastructure(&translation);
    assert_eq!(infrastructure.annotations, [("example.test/a".into(), "1".into())].into());
    assert_eq!(infrastructure.labels, [("team".into(), "edge".into())].into());
    let told = conditions(&translation);
    assert!(told.contains("Accepted=True"), "{told}");
    assert!(
        told.contains("pod-template-hash, deployment.kubernetes.io/revision not set"),
        "{told}"
    );
}

#[test]
fn labels_and_annotations_that_give_pods_and_accounts_more_than_a_gateway_may_are_not_set() {
    let dangerous = [
        "admission.datadoghq.com/java-lib.custom-image",
        "azure.workload.identity/client-id",
        "cdi.k8s.io/gpu",
        "cni.projectcalico.org/ipAddrs",
        "config.linkerd.io/proxy-image",
        "consul.hashicorp.com/consul-sidecar-user-volume",
        "container.apparmor.security.beta.kubernetes.io/proxy",
        "container.seccomp.security.alpha.kubernetes.io/proxy",
        "cpu-load-balancing.crio.io/proxy",
        "cpu-quota.crio.io/proxy",
        "dapr.io/volume-mounts",
        "dev.gvisor.spec.mount.a.source",
        "devices.nri.io/container.proxy",
        "eks.amazonaws.com/role-arn",
        "iam.amazonaws.com/role",
        "iam.gke.io/gcp-service-account",
        "inject.istio.io/templates",
        "instrumentation.opentelemetry.io/inject-java",
        "io.containerd.cri.runtime-handler",
        "io.katacontainers.config.hypervisor.kernel_params",
        "io.kubernetes.cri-o.Devices",
        "io.kubernetes.cri.untrusted-workload",
        "io.podman.annotations.privileged",
        "istio.io/rev",
        "k8s.v1.cni.cncf.io/networks",
        "kubernetes.io/config.mirror",
        "kuma.io/container-patches",
        "local.image-policy.k8s.io/ticket",
        "org.systemd.property.CPUWeight",
        "proxy.istio.io/overrides",
        "run.oci.keep_original_groups",
        "seccomp.security.alpha.kubernetes.io/pod",
        "secrets-webhook.security.bank-vaults.io/mutate",
        "security.alpha.kubernetes.io/unsafe-sysctls",
        "sidecar.istio.io/bootstrapOverride",
        "sidecar.istio.io/proxyImage",
        "sidecar.istio.io/userVolumeMount",
        "sidecar.opentelemetry.io/inject",
        "v1.multus-cni.io/default-network",
        "vault.hashicorp.com/agent-image",
        "vault.security.banzaicloud.io/vault-addr",
    ];
    let mut annotations: serde_json::Map<_, _> =
        dangerous.iter().map(|key| ((*key).to_owned(), json!("unconfined"))).collect();
    // The last three only look alike.
    let harmless = [
        "kubectl.kubernetes.io/default-container",
        "kuma.io/sidecar-injection",
        "lbipam.cilium.io/ips",
        "linkerd.io/inject",
        "service.beta.kubernetes.io/aws-load-balancer-type",
        "sidecar.istio.io/inject",
        "example-crio.io/a",
        "kubernetes.io/description",
        "run-oci.test/a",
    ];
    annotations.extend(harmless.map(|key| (key.to_owned(), json!("proxy"))));
    let translation = run(
        json!({
            "gatewayClassName": "gwapi",
            "listeners": [{"name": "web", "port": 80, "protocol": "HTTP"}],
            "infrastructure": {
                "annotations": annotations,
                "labels": {
                    "azure.workload.identity/use": "true",
                    "istio.io/rev": "other",
                    "sidecar.istio.io/inject": "false",
                },
            },
        }),
        None,
    );
    let infrastructure = infrastructure(&translation);
    let set: Vec<&str> = infrastructure.annotations.keys().map(String::as_str).collect();
    let mut expected = harmless;
    expected.sort_unstable();
    assert_eq!(set, expected);
    assert_eq!(infrastructure.labels, [("sidecar.istio.io/inject".into(), "false".into())].into());
    let told = conditions(&translation);
    assert!(told.contains("Accepted=True"), "{told}");
    assert!(
        told.contains(&format!("istio.io/rev, {} not set, because it says", dangerous.join(", "))),
        "{told}"
    );
}
