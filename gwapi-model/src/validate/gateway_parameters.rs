//! GatewayParameters (GC-3, IN-3).

use std::time::Duration;

use super::checker::{Checker, quote};
use super::syntax::{ANY, COPIED_ANNOTATION, IMAGE, LABEL_NAME, LABEL_VALUE, QUALIFIED_NAME};
use crate::{
    AutoscalingParameters, DisruptionBudgetParameters, ExternalTrafficPolicy, GatewayDuration,
    GatewayParametersSpec, IntOrString, IpFamily, IpFamilyPolicy, JsonObject, LogLevel,
    ProxyParameters, ResourceRequirements, ServiceParameters, ServiceType, TaintEffect, Toleration,
    TolerationOperator, UpgradeProtocol, WorkloadKind, WorkloadParameters,
};

/// Ports that can be listed: a Gateway has no more listeners.
const MAX_PORTS: usize = 64;

/// Types of Service that lead clients to a Gateway.
const SERVICE_TYPES: &[&str] = &["LoadBalancer", "NodePort", "ClusterIP"];

pub(super) fn gateway_parameters(check: &mut Checker, spec: &GatewayParametersSpec) {
    check.field("spec", |check| {
        check.field("service", |check| service(check, &spec.service));
        check.field("workload", |check| workload(check, &spec.workload));
        check.field("proxy", |check| proxy(check, &spec.proxy));
    });
}

fn service(check: &mut Checker, service: &ServiceParameters) {
    if let Some(service_type) = &service.service_type {
        check.one_of("type", service_type.as_str(), SERVICE_TYPES);
    }
    existing_service(check, service);
    node_ports(check, service);
    load_balancer(check, service);
    ip_families(check, service);
    check.map("annotations", &service.annotations, usize::MAX, &QUALIFIED_NAME, &ANY);
    check.list("copyAnnotations", &service.copy_annotations, 0..=64, |check, key| {
        check.value(key, &COPIED_ANNOTATION);
    });
    check.set("copyAnnotations", &service.copy_annotations);
}

/// A Service that is there already is left as it is, so that no field about one that is made has
/// anything to say.
fn existing_service(check: &mut Checker, service: &ServiceParameters) {
    let Some(name) = &service.existing_service else { return };
    check.text("existingService", name, &LABEL_NAME);
    if service.is_about_one_that_is_made() {
        check.field("existingService", |check| {
            check.report_with_help(
                "stands beside other fields of `service`, which are about a Service that is made",
                "remove them, or remove `existingService`",
            );
        });
    }
}

/// The type, where a field about ports on nodes needs another one.
fn lacks_node_ports(service: &ServiceParameters) -> Option<&ServiceType> {
    service.service_type.as_ref().filter(|it| **it == ServiceType::ClusterIp)
}

fn node_ports(check: &mut Checker, service: &ServiceParameters) {
    let ports = &service.node_ports;
    check.list("nodePorts", ports, 0..=MAX_PORTS, |_, _| {});
    if let Some(service_type) = lacks_node_ports(service).filter(|_| !ports.is_empty()) {
        check.field("nodePorts", |check| {
            check.report_with_help(
                format!("a Service of type {service_type} has no ports on nodes"),
                "set `type` to NodePort or LoadBalancer, or remove `nodePorts`",
            );
        });
    }
    check.unique(
        "nodePorts",
        ports,
        Some("port"),
        |entry| Some(entry.port),
        |entry| format!("an earlier entry is for port {} too", entry.port),
    );
    check.unique(
        "nodePorts",
        ports,
        Some("nodePort"),
        |entry| Some(entry.node_port),
        |entry| format!("an earlier entry takes {} too", entry.node_port),
    );
}

fn load_balancer(check: &mut Checker, service: &ServiceParameters) {
    let service_type = service.service_type.as_ref().unwrap_or(&ServiceType::LoadBalancer);
    if let Some(class) = &service.load_balancer_class {
        check.text("loadBalancerClass", class, &QUALIFIED_NAME);
        if *service_type != ServiceType::LoadBalancer {
            check.field("loadBalancerClass", |check| {
                check.report_with_help(
                    format!("nothing balances a Service of type {service_type}"),
                    "set `type` to LoadBalancer, or remove `loadBalancerClass`",
                );
            });
        }
    }
    if let Some(policy) = &service.external_traffic_policy {
        check.one_of("externalTrafficPolicy", policy.as_str(), ExternalTrafficPolicy::KNOWN);
        if let Some(service_type) = lacks_node_ports(service) {
            check.field("externalTrafficPolicy", |check| {
                check.report_with_help(
                    format!("nothing from outside reaches a Service of type {service_type}"),
                    "set `type` to NodePort or LoadBalancer, or remove `externalTrafficPolicy`",
                );
            });
        }
    }
}

fn ip_families(check: &mut Checker, service: &ServiceParameters) {
    let families = &service.ip_families;
    check.list("ipFamilies", families, 0..=2, |check, family| {
        check.value_of(family.as_str(), IpFamily::KNOWN);
    });
    check.set("ipFamilies", families);
    if let Some(policy) = &service.ip_family_policy {
        check.one_of("ipFamilyPolicy", policy.as_str(), IpFamilyPolicy::KNOWN);
        if *policy == IpFamilyPolicy::SingleStack && families.len() > 1 {
            check.field("ipFamilyPolicy", |check| {
                check.report_with_help(
                    "SingleStack allows one IP family, and `ipFamilies` names two",
                    "set it to PreferDualStack or RequireDualStack, or name one family",
                );
            });
        }
    }
}

fn workload(check: &mut Checker, workload: &WorkloadParameters) {
    if let Some(kind) = &workload.kind {
        check.one_of("kind", kind.as_str(), WorkloadKind::KNOWN);
    }
    number_of_pods(check, workload);
    let by_nodes = workload.kind == Some(WorkloadKind::DaemonSet);
    check.optional("disruptionBudget", workload.disruption_budget.as_ref(), |check, budget| {
        disruption_budget(check, budget, by_nodes);
    });
    check.optional_text("image", workload.image.as_ref(), &IMAGE);
    check.optional("resources", workload.resources.as_ref(), resources);
    check.list("hostPorts", &workload.host_ports, 0..=MAX_PORTS, |_, _| {});
    check.unique(
        "hostPorts",
        &workload.host_ports,
        None,
        |entry| Some(entry.host_port.unwrap_or(entry.port)),
        |entry| {
            let port = entry.host_port.unwrap_or(entry.port);
            format!("an earlier entry takes port {port} of the node too")
        },
    );
    let selector = &workload.node_selector;
    check.map("nodeSelector", selector, usize::MAX, &QUALIFIED_NAME, &LABEL_VALUE);
    check.list("tolerations", &workload.tolerations, 0..=64, toleration);
    check.optional("affinity", workload.affinity.as_ref(), affinity);
    let constraints = &workload.topology_spread_constraints;
    check.list("topologySpreadConstraints", constraints, 0..=64, spread);
    check.optional("podTemplatePatch", workload.pod_template_patch.as_ref(), |check, patch| {
        known_fields(check, patch, &["metadata", "spec"]);
    });
}

/// `replicas`, `autoscaling` or, with a DaemonSet, the number of nodes.
fn number_of_pods(check: &mut Checker, workload: &WorkloadParameters) {
    let WorkloadParameters { kind, replicas, autoscaling, resources, .. } = workload;
    let by_nodes = *kind == Some(WorkloadKind::DaemonSet);
    for (field, is_set) in
        [("replicas", replicas.is_some()), ("autoscaling", autoscaling.is_some())]
    {
        if by_nodes && is_set {
            check.field(field, |check| {
                check.report_with_help(
                    "a DaemonSet has one pod on each node",
                    format!("remove `{field}`, or set `kind` to Deployment"),
                );
            });
        }
    }
    if replicas.is_some() && autoscaling.is_some() {
        check.field("replicas", |check| {
            check.report_with_help(
                "`autoscaling` decides how many pods there are",
                "remove `replicas`, or remove `autoscaling`",
            );
        });
    }
    check.number("replicas", replicas.map(i64::from), 0..=i64::from(i32::MAX));
    check.optional("autoscaling", autoscaling.as_ref(), |check, autoscaling| {
        self::autoscaling(check, autoscaling, resources.as_ref());
    });
}

fn autoscaling(
    check: &mut Checker,
    autoscaling: &AutoscalingParameters,
    resources: Option<&ResourceRequirements>,
) {
    let AutoscalingParameters { min_replicas, max_replicas, target_cpu_utilization_percentage } =
        autoscaling;
    let most = i64::from(*max_replicas);
    check.number("maxReplicas", Some(most), 1..=i64::from(i32::MAX));
    check.number("minReplicas", min_replicas.map(i64::from), 1..=i64::from(i32::MAX));
    if let Some(least) = min_replicas.filter(|least| i64::from(*least) > most) {
        check.field("minReplicas", |check| {
            check.report(format!("{least} is more than `maxReplicas`, which is {most}"));
        });
    }
    let target = target_cpu_utilization_percentage.map(i64::from);
    check.number("targetCPUUtilizationPercentage", target, 1..=i64::from(i32::MAX));
    let has_cpu = |it: &ResourceRequirements| {
        it.requests.contains_key("cpu") || it.limits.contains_key("cpu")
    };
    if resources.is_some_and(|resources| !resources.requests.is_empty() && !has_cpu(resources)) {
        check.report_with_help(
            "compares with the CPU that pods request, and `resources` has none",
            "add `cpu` to `resources.requests`",
        );
    }
}

/// `by_nodes` tells whether the pods are those of a DaemonSet, of which Kubernetes knows no number to take a share
/// of: with anything but a number of pods to keep, its budget never allows an eviction.
fn disruption_budget(check: &mut Checker, budget: &DisruptionBudgetParameters, by_nodes: bool) {
    let DisruptionBudgetParameters { min_available, max_unavailable } = budget;
    if min_available.is_some() == max_unavailable.is_some() {
        check.report("expected one of `minAvailable` and `maxUnavailable`");
    } else if by_nodes && !budget.is_for_any_workload() {
        check.report_with_help(
            "a DaemonSet takes nothing but a number as `minAvailable`: others would allow no eviction",
            "set `minAvailable` to a number, or `kind` to Deployment",
        );
    }
    for (field, value) in [("minAvailable", min_available), ("maxUnavailable", max_unavailable)] {
        check.optional(field, value.as_ref(), |check, value| match value {
            IntOrString::Int(number) => check.value_within(*number, 0..=i64::from(i32::MAX)),
            IntOrString::String(text) => {
                let percent = text.strip_suffix('%').and_then(|number| number.parse().ok());
                if percent.is_none_or(|percent: u8| percent > 100) {
                    check.report(format!(
                        "{} is no share of the pods: expected a number, or 0% to 100%",
                        quote(text)
                    ));
                }
            }
        });
    }
}

fn resources(check: &mut Checker, resources: &ResourceRequirements) {
    for (field, amounts) in [("requests", &resources.requests), ("limits", &resources.limits)] {
        check.field(field, |check| {
            for (resource, amount) in amounts {
                check.field(resource.clone(), |check| {
                    check.value(resource, &QUALIFIED_NAME);
                    if !amount.is_valid() {
                        check.report(format!(
                            "{} is no amount: expected a number with a suffix such as m, Mi or Gi, \
                             as in 100m and 64Mi",
                            quote(amount)
                        ));
                    }
                });
            }
        });
    }
}

fn toleration(check: &mut Checker, toleration: &Toleration) {
    let Toleration { key, operator, value, effect, toleration_seconds } = toleration;
    let key = key.as_ref().filter(|key| !key.is_empty());
    check.optional_text("key", key, &QUALIFIED_NAME);
    let operator = operator.as_ref().unwrap_or(&TolerationOperator::Equal);
    check.one_of("operator", operator.as_str(), TolerationOperator::KNOWN);
    if key.is_none() && *operator != TolerationOperator::Exists {
        check.report_with_help(
            "`key` is missing: only the operator Exists stands for every key",
            "set `operator` to Exists, or add the `key`",
        );
    }
    check.optional_text("value", value.as_ref(), &LABEL_VALUE);
    if *operator == TolerationOperator::Exists && value.as_ref().is_some_and(|it| !it.is_empty()) {
        check.field("value", |check| check.report("operator Exists takes no value"));
    }
    if let Some(effect) = effect.as_ref().filter(|effect| !effect.as_str().is_empty()) {
        check.one_of("effect", effect.as_str(), TaintEffect::KNOWN);
    }
    if toleration_seconds.is_some() && *effect != Some(TaintEffect::NoExecute) {
        check.field("tolerationSeconds", |check| {
            check.report("is for the effect NoExecute alone");
        });
    }
}

fn affinity(check: &mut Checker, affinity: &JsonObject) {
    known_fields(check, affinity, &["nodeAffinity", "podAffinity", "podAntiAffinity"]);
}

fn spread(check: &mut Checker, constraint: &JsonObject) {
    for field in ["maxSkew", "topologyKey", "whenUnsatisfiable"] {
        if !constraint.contains_key(field) {
            check.report(format!("`{field}` is missing: a constraint needs it"));
        }
    }
}

fn known_fields(check: &mut Checker, object: &JsonObject, known: &[&str]) {
    for name in object.keys() {
        check.value_of(name, known);
    }
}

/// How long a proxy may take to end: a node that is drained waits for it.
const LONGEST_DRAIN: Duration = Duration::from_secs(3600);

fn proxy(check: &mut Checker, proxy: &ProxyParameters) {
    check.number("workers", proxy.workers.map(i64::from), 1..=1024);
    if let Some(level) = &proxy.log_level {
        check.one_of("logLevel", level.as_str(), LogLevel::KNOWN);
    }
    check.number("trustedHops", proxy.trusted_hops.map(i64::from), 0..=100);
    if let Some(upgrades) = &proxy.upgrades {
        check.list("upgrades", upgrades, 0..=16, |check, protocol| {
            if let Err(error) = UpgradeProtocol::parse(protocol) {
                check.report(error.to_string());
            }
        });
        check.set("upgrades", upgrades);
    }
    check.optional("drain", proxy.drain.as_ref(), |check, drain| {
        check.optional("timeout", drain.timeout.as_ref(), |check, timeout: &GatewayDuration| {
            if timeout.get().is_zero() {
                check.report("0 would cut every request: expected some time, such as 60s");
            }
            if timeout.get() > LONGEST_DRAIN {
                check.report(format!(
                    "{} would keep pods that were deleted: expected 1h at most",
                    quote(timeout)
                ));
            }
        });
    });
}
