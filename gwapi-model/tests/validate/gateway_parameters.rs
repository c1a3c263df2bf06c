use gwapi_model::GatewayParameters;
use serde_json::{Value, json};

use super::{case, check, times};

fn valid() -> Value {
    json!({
        "metadata": {"name": "edge", "namespace": "infra"},
        "spec": {
            "service": {
                "type": "LoadBalancer",
                "nodePorts": [{"port": 80, "nodePort": 30080}],
                "loadBalancerClass": "example.com/balancer",
                "externalTrafficPolicy": "Local",
                "ipFamilies": ["IPv4", "IPv6"],
                "ipFamilyPolicy": "PreferDualStack",
                "annotations": {"example.com/pool": "edge"},
                "copyAnnotations": ["example.com/name", "dns.example.com/*"],
                "addressTimeout": "30s",
            },
            "workload": {
                "kind": "Deployment",
                "autoscaling": {"minReplicas": 2, "maxReplicas": 5},
                "disruptionBudget": {"maxUnavailable": "50%"},
                "image": "registry.example.com/gwapi-proxy:1.0",
                "resources": {"requests": {"cpu": "100m"}, "limits": {"memory": "256Mi"}},
                "hostPorts": [{"port": 80}, {"port": 443, "hostPort": 8443}],
                "nodeSelector": {"role": "edge"},
                "tolerations": [{"key": "edge", "value": "yes", "effect": "NoSchedule"}],
                "affinity": {"podAntiAffinity": {}},
                "topologySpreadConstraints": [
                    {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"},
                ],
                "podTemplatePatch": {"spec": {"priorityClassName": "edge"}},
            },
            "proxy": {
                "workers": 2,
                "logLevel": "debug",
                "drain": {"quiet": "2s", "timeout": "30s"},
                "trustedHops": 1,
                "upgrades": ["websocket", "IRC/6.9"],
            },
        },
    })
}

#[test]
fn a_service_that_is_made_has_a_type_that_goes_with_its_other_fields() {
    check::<GatewayParameters>(
        &valid(),
        vec![
            case(
                "an alias",
                "/spec/service/type",
                json!("ExternalName"),
                &[
                    "spec.service.type: `ExternalName` is not known here: expected LoadBalancer, \
                     NodePort or ClusterIP",
                    "spec.service.loadBalancerClass: nothing balances a Service of type \
                     ExternalName [set `type` to LoadBalancer, or remove `loadBalancerClass`]",
                ],
            ),
            case(
                "a type that nothing from outside reaches",
                "/spec/service/type",
                json!("ClusterIP"),
                &[
                    "spec.service.nodePorts: a Service of type ClusterIP has no ports on nodes \
                     [set `type` to NodePort or LoadBalancer, or remove `nodePorts`]",
                    "spec.service.loadBalancerClass: nothing balances a Service of type ClusterIP \
                     [set `type` to LoadBalancer, or remove `loadBalancerClass`]",
                    "spec.service.externalTrafficPolicy: nothing from outside reaches a Service of \
                     type ClusterIP [set `type` to NodePort or LoadBalancer, or remove \
                     `externalTrafficPolicy`]",
                ],
            ),
            case("no type, which is a load balancer", "/spec/service/type", Value::Null, &[]),
            case(
                "a port twice",
                "/spec/service/nodePorts/-",
                json!({"port": 80, "nodePort": 30080}),
                &[
                    "spec.service.nodePorts[1].port: an earlier entry is for port 80 too",
                    "spec.service.nodePorts[1].nodePort: an earlier entry takes 30080 too",
                ],
            ),
            case(
                "too many ports",
                "/spec/service/nodePorts",
                times(65, |index| json!({"port": index + 1, "nodePort": index + 30_000})),
                &["spec.service.nodePorts: has 65 entries: expected at most 64"],
            ),
            case(
                "two families where one is allowed",
                "/spec/service/ipFamilyPolicy",
                json!("SingleStack"),
                &["spec.service.ipFamilyPolicy: SingleStack allows one IP family, and \
                   `ipFamilies` names two [set it to PreferDualStack or RequireDualStack, or name \
                   one family]"],
            ),
            case(
                "a family that is none",
                "/spec/service/ipFamilies/1",
                json!("IPv5"),
                &["spec.service.ipFamilies[1]: `IPv5` is not known here: expected IPv4 or IPv6 \
                   [did you mean IPv4?]"],
            ),
            case(
                "an annotation that is no key",
                "/spec/service/copyAnnotations/0",
                json!("*"),
                &["spec.service.copyAnnotations[0]: `*` is not a key: expected the key of an \
                   annotation, or a domain with `/*` for all of its keys"],
            ),
        ],
    );
}

#[test]
fn a_service_that_is_there_excludes_what_is_said_of_one_that_is_made() {
    let mut existing = valid();
    existing["spec"]["service"] = json!({"existingService": "edge", "addressTimeout": "1m"});
    check::<GatewayParameters>(
        &existing,
        vec![
            case(
                "a type beside it",
                "/spec/service/type",
                json!("NodePort"),
                &["spec.service.existingService: stands beside other fields of `service`, which \
                   are about a Service that is made [remove them, or remove `existingService`]"],
            ),
            case(
                "a name that no Service has",
                "/spec/service/existingService",
                json!("Edge"),
                &["spec.service.existingService: `Edge` is not a name: expected lower-case \
                   letters, digits and `-`, with a letter or digit at both ends [write it in lower \
                   case: edge]"],
            ),
        ],
    );
}

#[test]
fn the_number_of_pods_is_said_once() {
    check::<GatewayParameters>(
        &valid(),
        vec![
            case(
                "by a number and by the load",
                "/spec/workload/replicas",
                json!(2),
                &["spec.workload.replicas: `autoscaling` decides how many pods there are [remove \
                   `replicas`, or remove `autoscaling`]"],
            ),
            case(
                "by the nodes and by the load",
                "/spec/workload/kind",
                json!("DaemonSet"),
                &[
                    "spec.workload.autoscaling: a DaemonSet has one pod on each node [remove \
                   `autoscaling`, or set `kind` to Deployment]",
                    "spec.workload.disruptionBudget: a DaemonSet takes nothing but a number as \
                   `minAvailable`: others would allow no eviction [set `minAvailable` to a number, or `kind` to \
                   Deployment]",
                ],
            ),
            case(
                "a share of as many pods as there are nodes",
                "/spec/workload",
                json!({"kind": "DaemonSet", "disruptionBudget": {"minAvailable": "50%"}}),
                &["spec.workload.disruptionBudget: a DaemonSet takes nothing but a number as \
                   `minAvailable`: others would allow no eviction [set `minAvailable` to a number, or `kind` to \
                   Deployment]"],
            ),
            case(
                "a number of as many pods as there are nodes",
                "/spec/workload",
                json!({"kind": "DaemonSet", "disruptionBudget": {"minAvailable": 1}}),
                &[],
            ),
            case(
                "at least more than at most",
                "/spec/workload/autoscaling/minReplicas",
                json!(6),
                &[
                    "spec.workload.autoscaling.minReplicas: 6 is more than `maxReplicas`, which is 5",
                ],
            ),
            case(
                "by a load that is not measured",
                "/spec/workload/resources",
                json!({"requests": {"memory": "64Mi"}}),
                &["spec.workload.autoscaling: compares with the CPU that pods request, and \
                   `resources` has none [add `cpu` to `resources.requests`]"],
            ),
            case(
                "a budget with both limits",
                "/spec/workload/disruptionBudget/minAvailable",
                json!(1),
                &["spec.workload.disruptionBudget: expected one of `minAvailable` and \
                   `maxUnavailable`"],
            ),
            case(
                "a budget with no share",
                "/spec/workload/disruptionBudget/maxUnavailable",
                json!("half"),
                &[
                    "spec.workload.disruptionBudget.maxUnavailable: `half` is no share of the pods: \
                   expected a number, or 0% to 100%",
                ],
            ),
        ],
    );
}

#[test]
fn what_a_pod_would_refuse_is_reported() {
    check::<GatewayParameters>(
        &valid(),
        vec![
            case(
                "an amount that is none",
                "/spec/workload/resources/requests/cpu",
                json!("much"),
                &["spec.workload.resources.requests.cpu: `much` is no amount: expected a number \
                   with a suffix such as m, Mi or Gi, as in 100m and 64Mi"],
            ),
            case(
                "an image with a space",
                "/spec/workload/image",
                json!("a b"),
                &["spec.workload.image: `a b` is not an image: expected a registry, a path and a \
                   tag or digest, such as registry.example.com/gwapi-proxy:1.0"],
            ),
            case(
                "a port of the node twice",
                "/spec/workload/hostPorts/1/hostPort",
                json!(80),
                &["spec.workload.hostPorts[1]: an earlier entry takes port 80 of the node too"],
            ),
            case(
                "a toleration of nothing",
                "/spec/workload/tolerations/0/key",
                Value::Null,
                &["spec.workload.tolerations[0]: `key` is missing: only the operator Exists \
                   stands for every key [set `operator` to Exists, or add the `key`]"],
            ),
            case(
                "a value that is not compared",
                "/spec/workload/tolerations/0/operator",
                json!("Exists"),
                &["spec.workload.tolerations[0].value: operator Exists takes no value"],
            ),
            case(
                "a time without eviction",
                "/spec/workload/tolerations/0/tolerationSeconds",
                json!(60),
                &["spec.workload.tolerations[0].tolerationSeconds: is for the effect NoExecute \
                   alone"],
            ),
            case(
                "a rule that affinity does not have",
                "/spec/workload/affinity",
                json!({"podAfinity": {}}),
                &[
                    "spec.workload.affinity: `podAfinity` is not known here: expected nodeAffinity, \
                   podAffinity or podAntiAffinity [did you mean podAffinity?]",
                ],
            ),
            case(
                "a constraint without key",
                "/spec/workload/topologySpreadConstraints/0/topologyKey",
                Value::Null,
                &["spec.workload.topologySpreadConstraints[0]: `topologyKey` is missing: a \
                   constraint needs it"],
            ),
            case(
                "a patch of a Deployment",
                "/spec/workload/podTemplatePatch",
                json!({"template": {}}),
                &["spec.workload.podTemplatePatch: `template` is not known here: expected \
                   metadata or spec"],
            ),
        ],
    );
}

#[test]
fn settings_of_a_proxy_stay_in_their_ranges() {
    check::<GatewayParameters>(
        &valid(),
        vec![
            case(
                "no worker",
                "/spec/proxy/workers",
                json!(0),
                &["spec.proxy.workers: 0 is out of range: expected 1 to 1024"],
            ),
            case(
                "a level that is none",
                "/spec/proxy/logLevel",
                json!("warm"),
                &["spec.proxy.logLevel: `warm` is not known here: expected error, warn, info, \
                   debug or trace [did you mean warn?]"],
            ),
            case(
                "too many hops",
                "/spec/proxy/trustedHops",
                json!(101),
                &["spec.proxy.trustedHops: 101 is out of range: expected 0 to 100"],
            ),
            case(
                "an upgrade to HTTP",
                "/spec/proxy/upgrades/1",
                json!("h2c"),
                &[
                    "spec.proxy.upgrades[1]: `h2c` is HTTP itself: requests inside would go past all \
                   routes",
                ],
            ),
            case(
                "an upgrade to what is no protocol",
                "/spec/proxy/upgrades/0",
                json!("web socket"),
                &["spec.proxy.upgrades[0]: `web socket` is no protocol: expected a name, with a \
                   version or without, such as websocket or IRC/6.9"],
            ),
            case(
                "the same upgrade twice",
                "/spec/proxy/upgrades/1",
                json!("websocket"),
                &["spec.proxy.upgrades[1]: `websocket` is listed twice"],
            ),
            case(
                "no time to drain",
                "/spec/proxy/drain/timeout",
                json!("0s"),
                &["spec.proxy.drain.timeout: 0 would cut every request: expected some time, such \
                   as 60s"],
            ),
            case(
                "pods that stay for days",
                "/spec/proxy/drain/timeout",
                json!("99999h"),
                &[
                    "spec.proxy.drain.timeout: `99999h` would keep pods that were deleted: expected \
                   1h at most",
                ],
            ),
        ],
    );
}
