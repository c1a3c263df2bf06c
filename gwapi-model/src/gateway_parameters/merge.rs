//! Parameters of a Gateway over those of its class.

use super::{
    DrainParameters, GatewayParametersSpec, IpFamilyPolicy, ProxyParameters, ResourceRequirements,
    ServiceParameters, ServiceType, WorkloadKind, WorkloadParameters,
};

impl GatewayParametersSpec {
    /// These parameters as defaults, and `over` where it sets a field (GC-3). What excludes a field
    /// of `over` goes: a Gateway with `replicas` of its own is not scaled as its class is.
    #[must_use]
    pub fn overridden_by(&self, over: &Self) -> Self {
        Self {
            service: service(&self.service, &over.service),
            workload: workload(&self.workload, &over.workload),
            proxy: proxy(&self.proxy, &over.proxy),
        }
    }
}

/// The fields of `$over` where they are set, those of `$base` elsewhere.
macro_rules! merged {
    ($type:ident, $base:ident, $over:ident; $($field:ident),+; $($more:ident: $value:expr),*) => {
        $type { $($field: pick(&$base.$field, &$over.$field),)+ $($more: $value,)* }
    };
}

fn pick<T: Default + PartialEq + Clone>(base: &T, over: &T) -> T {
    if *over == T::default() { base.clone() } else { over.clone() }
}

fn service(base: &ServiceParameters, over: &ServiceParameters) -> ServiceParameters {
    // A Service that is there already excludes every field about one that is made.
    let base = if over.existing_service.is_some()
        || base.existing_service.is_some() && over.is_about_one_that_is_made()
    {
        let address_timeout = base.address_timeout.clone();
        &ServiceParameters { address_timeout, ..ServiceParameters::default() }
    } else {
        base
    };
    let mut merged = merged! {
        ServiceParameters, base, over;
        service_type, existing_service, node_ports, load_balancer_class, external_traffic_policy,
        ip_families, ip_family_policy, annotations, copy_annotations, address_timeout;
    };
    // Another type leaves behind what the class says for its own.
    let other_type = over.service_type.as_ref();
    if other_type.is_some_and(|it| *it != ServiceType::LoadBalancer) {
        merged.load_balancer_class.clone_from(&over.load_balancer_class);
    }
    if other_type == Some(&ServiceType::ClusterIp) {
        merged.node_ports.clone_from(&over.node_ports);
        merged.external_traffic_policy.clone_from(&over.external_traffic_policy);
    }
    // So do two families and the wish for one: of two, the first is preferred.
    let one = Some(IpFamilyPolicy::SingleStack);
    if over.ip_family_policy == one && over.ip_families.is_empty() {
        merged.ip_families.truncate(1);
    }
    if over.ip_families.len() > 1 && merged.ip_family_policy == one {
        merged.ip_family_policy.clone_from(&over.ip_family_policy);
    }
    merged
}

fn workload(base: &WorkloadParameters, over: &WorkloadParameters) -> WorkloadParameters {
    let resources = match (&base.resources, &over.resources) {
        (Some(base), Some(over)) => {
            Some(merged! { ResourceRequirements, base, over; requests, limits; })
        }
        (base, over) => over.clone().or_else(|| base.clone()),
    };
    let mut merged = merged! {
        WorkloadParameters, base, over;
        kind, replicas, autoscaling, disruption_budget, image, host_ports, node_selector,
        tolerations, affinity, topology_spread_constraints, pod_template_patch;
        resources: resources
    };
    let counts_pods = over.replicas.is_some() || over.autoscaling.is_some();
    if counts_pods || over.kind == Some(WorkloadKind::DaemonSet) {
        merged.replicas = over.replicas;
        merged.autoscaling.clone_from(&over.autoscaling);
    }
    if counts_pods && over.kind.is_none() && base.kind == Some(WorkloadKind::DaemonSet) {
        merged.kind = None;
    }
    let budget = merged.disruption_budget.as_ref();
    let is_excluded = merged.kind == Some(WorkloadKind::DaemonSet)
        && budget.is_some_and(|budget| !budget.is_for_any_workload());
    if is_excluded && over.disruption_budget.is_none() {
        merged.disruption_budget = None;
    } else if is_excluded && over.kind.is_none() {
        merged.kind = None;
    }
    merged
}

fn proxy(base: &ProxyParameters, over: &ProxyParameters) -> ProxyParameters {
    let drain = match (&base.drain, &over.drain) {
        (Some(base), Some(over)) => Some(merged! { DrainParameters, base, over; quiet, timeout; }),
        (base, over) => over.clone().or_else(|| base.clone()),
    };
    merged! {
        ProxyParameters, base, over; workers, log_level, trusted_hops, upgrades;
        drain: drain
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn merged(base: Value, over: Value) -> Value {
        let spec = |value| serde_json::from_value::<GatewayParametersSpec>(value).expect("a spec");
        let merged = spec(base).overridden_by(&spec(over));
        serde_json::to_value(merged).expect("JSON")
    }

    #[test]
    fn a_field_of_the_gateway_takes_the_place_of_the_classes_and_all_others_stay() {
        let base = json!({
            "service": {"type": "NodePort", "annotations": {"a": "1"}, "copyAnnotations": ["x"]},
            "workload": {"replicas": 2, "resources": {"requests": {"cpu": "1"}}},
            "proxy": {"workers": 2, "drain": {"quiet": "2s", "timeout": "30s"}},
        });
        let over = json!({
            "service": {"annotations": {"b": "2"}},
            "workload": {"image": "mine", "resources": {"limits": {"memory": "1Gi"}}},
            "proxy": {"logLevel": "debug", "drain": {"timeout": "5s"}},
        });
        assert_eq!(
            merged(base.clone(), over),
            json!({
                "service": {
                    "type": "NodePort", "annotations": {"b": "2"}, "copyAnnotations": ["x"],
                },
                "workload": {
                    "image": "mine",
                    "replicas": 2,
                    "resources": {"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}},
                },
                "proxy": {
                    "workers": 2,
                    "logLevel": "debug",
                    "drain": {"quiet": "2s", "timeout": "5s"},
                },
            })
        );
        assert_eq!(merged(base.clone(), json!({})), base);
        assert_eq!(merged(json!({}), base.clone()), base);
    }

    #[test]
    fn what_a_field_of_the_gateway_excludes_goes() {
        let autoscaling = json!({"maxReplicas": 5});
        for (base, over, expected) in [
            (
                json!({"workload": {"autoscaling": autoscaling}}),
                json!({"workload": {"replicas": 3}}),
                json!({"workload": {"replicas": 3}}),
            ),
            (
                json!({"workload": {"replicas": 3, "image": "i"}}),
                json!({"workload": {"autoscaling": autoscaling}}),
                json!({"workload": {"autoscaling": autoscaling, "image": "i"}}),
            ),
            (
                json!({"workload": {"replicas": 3}}),
                json!({"workload": {"kind": "DaemonSet"}}),
                json!({"workload": {"kind": "DaemonSet"}}),
            ),
            (
                json!({"workload": {"kind": "DaemonSet"}}),
                json!({"workload": {"replicas": 3}}),
                json!({"workload": {"replicas": 3}}),
            ),
            (
                json!({"service": {"type": "NodePort", "addressTimeout": "5s"}}),
                json!({"service": {"existingService": "edge"}}),
                json!({"service": {"existingService": "edge", "addressTimeout": "5s"}}),
            ),
            (
                json!({"service": {"existingService": "edge", "addressTimeout": "5s"}}),
                json!({"service": {"type": "ClusterIP"}}),
                json!({"service": {"type": "ClusterIP", "addressTimeout": "5s"}}),
            ),
            (
                json!({"service": {"existingService": "edge"}}),
                json!({"service": {"addressTimeout": "1m"}}),
                json!({"service": {"existingService": "edge", "addressTimeout": "1m"}}),
            ),
            (
                json!({"service": {
                    "externalTrafficPolicy": "Local", "loadBalancerClass": "example.test/lb",
                    "nodePorts": [{"port": 80, "nodePort": 30080}], "addressTimeout": "5s",
                }}),
                json!({"service": {"type": "ClusterIP"}}),
                json!({"service": {"type": "ClusterIP", "addressTimeout": "5s"}}),
            ),
            (
                json!({"service": {
                    "externalTrafficPolicy": "Local", "loadBalancerClass": "example.test/lb",
                }}),
                json!({"service": {"type": "NodePort"}}),
                json!({"service": {"type": "NodePort", "externalTrafficPolicy": "Local"}}),
            ),
            (
                json!({"service": {"type": "NodePort"}}),
                // What the Gateway itself says is not taken from it, but refused.
                json!({"service": {"type": "ClusterIP", "externalTrafficPolicy": "Local"}}),
                json!({"service": {"type": "ClusterIP", "externalTrafficPolicy": "Local"}}),
            ),
            (
                json!({"service": {"ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "RequireDualStack"}}),
                json!({"service": {"ipFamilyPolicy": "SingleStack"}}),
                json!({"service": {"ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack"}}),
            ),
            (
                json!({"service": {"ipFamilyPolicy": "SingleStack"}}),
                json!({"service": {"ipFamilies": ["IPv6", "IPv4"]}}),
                json!({"service": {"ipFamilies": ["IPv6", "IPv4"]}}),
            ),
            (
                json!({"workload": {"disruptionBudget": {"maxUnavailable": 1}}}),
                json!({"workload": {"kind": "DaemonSet"}}),
                json!({"workload": {"kind": "DaemonSet"}}),
            ),
            (
                json!({"workload": {"disruptionBudget": {"minAvailable": 1}}}),
                json!({"workload": {"kind": "DaemonSet"}}),
                json!({"workload": {"kind": "DaemonSet", "disruptionBudget": {"minAvailable": 1}}}),
            ),
            (
                json!({"workload": {"kind": "DaemonSet"}}),
                json!({"workload": {"disruptionBudget": {"minAvailable": "50%"}}}),
                json!({"workload": {"disruptionBudget": {"minAvailable": "50%"}}}),
            ),
            (
                json!({"workload": {"disruptionBudget": {"minAvailable": 1}}}),
                json!({"workload": {"disruptionBudget": {"maxUnavailable": "50%"}}}),
                json!({"workload": {"disruptionBudget": {"maxUnavailable": "50%"}}}),
            ),
        ] {
            assert_eq!(merged(base.clone(), over.clone()), expected, "{base} and {over}");
        }
    }
}
