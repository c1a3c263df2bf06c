//! GatewayParameters: how the proxies of a Gateway run in a cluster.
//!
//! The documentation of the fields is also that of the CRD, `deploy/crds`; after a change of either
//! `cargo xtask crds` writes it anew.

mod merge;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::open_enum::open_enum;
use crate::{GatewayDuration, IntOrString, ObjectMeta, Port, Quantity, ServiceType};

/// An object of JSON, kept as it was written.
pub type JsonObject = Map<String, Value>;

/// How the proxies of a Gateway run in a cluster: their Service, their pods, their settings.
///
/// A GatewayClass refers to it in `spec.parametersRef`, for all of its Gateways, or a Gateway in
/// `spec.infrastructure.parametersRef`, for itself. Where both do, the class has the defaults: a
/// field that the Gateway's parameters set takes the place of the class's. Lists, maps,
/// `autoscaling` and `disruptionBudget` are taken as a whole, and what a field excludes goes with
/// it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct GatewayParameters {
    /// Metadata.
    #[cfg_attr(feature = "schema", schemars(with = "JsonObject"))]
    pub metadata: ObjectMeta,
    /// What is asked for.
    #[serde(default)]
    pub spec: GatewayParametersSpec,
}

/// How the proxies of a Gateway run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct GatewayParametersSpec {
    /// The Services through which clients reach the proxies.
    #[serde(default, skip_serializing_if = "is_default")]
    pub service: ServiceParameters,
    /// The pods of the proxies.
    #[serde(default, skip_serializing_if = "is_default")]
    pub workload: WorkloadParameters,
    /// Settings of the proxies themselves.
    #[serde(default, skip_serializing_if = "is_default")]
    pub proxy: ProxyParameters,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The Services through which clients reach the proxies of a Gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema),
    schemars(extend("x-kubernetes-validations" = [
        {"rule": "!has(self.existingService) || !(has(self.type) || has(self.nodePorts) || has(self.loadBalancerClass) || has(self.externalTrafficPolicy) || has(self.ipFamilies) || has(self.ipFamilyPolicy) || has(self.annotations) || has(self.copyAnnotations))", "message": "existingService excludes every other field of service but addressTimeout"},
        {"rule": "!has(self.nodePorts) || !has(self.type) || self.type != 'ClusterIP'", "message": "nodePorts needs the type NodePort or LoadBalancer"},
        {"rule": "!has(self.externalTrafficPolicy) || !has(self.type) || self.type != 'ClusterIP'", "message": "externalTrafficPolicy needs the type NodePort or LoadBalancer"},
        {"rule": "!has(self.loadBalancerClass) || !has(self.type) || self.type == 'LoadBalancer'", "message": "loadBalancerClass needs the type LoadBalancer"},
        {"rule": "!has(self.ipFamilyPolicy) || self.ipFamilyPolicy != 'SingleStack' || !has(self.ipFamilies) || size(self.ipFamilies) < 2", "message": "ipFamilyPolicy SingleStack allows one of ipFamilies"}
    ]))
)]
#[serde(rename_all = "camelCase")]
pub struct ServiceParameters {
    /// Type of the Service: LoadBalancer, NodePort or ClusterIP. Default: LoadBalancer; with
    /// `workload.hostPorts` ClusterIP, or what the other fields of `service` need.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::schema::service_type"))]
    pub service_type: Option<ServiceType>,
    /// Name of a Service in the Gateway's namespace that is there already: no other one is made, and
    /// this one is left as it is. It has to lead the listeners' ports to the pods of the Gateway, by
    /// their labels. Excludes every other field of `service` but `addressTimeout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 63)))]
    pub existing_service: Option<String>,
    /// Ports on the nodes, for listeners that shall have the same one always. Needs the type NodePort or
    /// LoadBalancer; listeners that are not listed get a port that the cluster chooses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(extend("maxItems" = 64, "x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["port"])))]
    pub node_ports: Vec<NodePortParameters>,
    /// Which implementation of load balancers serves the Service. Needs the type LoadBalancer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 317)))]
    pub load_balancer_class: Option<String>,
    /// Whether nodes forward clients to proxies of other nodes (Cluster), or only to their own, which
    /// keeps the clients' addresses (Local). Needs the type NodePort or LoadBalancer. Default: Cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_traffic_policy: Option<ExternalTrafficPolicy>,
    /// IP families of the Service, in order of preference. Default: that of the cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(extend("maxItems" = 2, "x-kubernetes-list-type" = "set")))]
    pub ip_families: Vec<IpFamily>,
    /// Whether the Service has one IP family or two. Default: SingleStack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_family_policy: Option<IpFamilyPolicy>,
    /// Annotations of the Service, beside those of the Gateway's `spec.infrastructure`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Annotations of the Gateway that its Service gets as well: keys, or `prefix/*` for all keys with
    /// that prefix.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(extend("maxItems" = 64, "x-kubernetes-list-type" = "set")))]
    pub copy_annotations: Vec<String>,
    /// How long a Service may go without an address before its Gateway says that it cannot have
    /// one. Default: 10s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address_timeout: Option<GatewayDuration>,
}

impl ServiceParameters {
    /// Whether they have fields about a Service that is made, which one that is there already excludes.
    pub(crate) fn is_about_one_that_is_made(&self) -> bool {
        let about_any = Self {
            existing_service: self.existing_service.clone(),
            address_timeout: self.address_timeout.clone(),
            ..Self::default()
        };
        *self != about_any
    }
}

/// The port of a listener on every node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct NodePortParameters {
    /// Port of the listener.
    pub port: Port,
    /// Port on the nodes; it has to lie in the range that the cluster keeps for them, which is 30000
    /// to 32767 unless it was set up otherwise.
    pub node_port: Port,
}

open_enum! {
    /// Which proxies a node forwards clients to.
    pub enum ExternalTrafficPolicy {
        /// Those of every node.
        Cluster = "Cluster",
        /// Those of the node itself.
        Local = "Local",
    }
}

open_enum! {
    /// An IP family.
    pub enum IpFamily {
        /// IPv4.
        Ipv4 = "IPv4",
        /// IPv6.
        Ipv6 = "IPv6",
    }
}

open_enum! {
    /// How many IP families a Service has.
    pub enum IpFamilyPolicy {
        /// One.
        SingleStack = "SingleStack",
        /// Two where the cluster has two.
        PreferDualStack = "PreferDualStack",
        /// Two.
        RequireDualStack = "RequireDualStack",
    }
}

/// The pods in which the proxies of a Gateway run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema),
    schemars(extend("x-kubernetes-validations" = [
        {"rule": "!has(self.replicas) || !has(self.autoscaling)", "message": "replicas and autoscaling exclude each other"},
        {"rule": "!has(self.kind) || self.kind != 'DaemonSet' || !(has(self.replicas) || has(self.autoscaling))", "message": "a DaemonSet has one pod on each node: it takes neither replicas nor autoscaling"},
        {"rule": "!has(self.kind) || self.kind != 'DaemonSet' || !has(self.disruptionBudget) || has(self.disruptionBudget.minAvailable) && type(self.disruptionBudget.minAvailable) == int", "message": "a DaemonSet takes nothing but a number as minAvailable of disruptionBudget"}
    ]))
)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadParameters {
    /// What runs the pods: a Deployment, or a DaemonSet with one pod on each node. Default: Deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<WorkloadKind>,
    /// Number of pods of a Deployment. Excludes `autoscaling`. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(max = 2147483647)))]
    pub replicas: Option<u32>,
    /// Lets the load decide how many pods a Deployment has. Excludes `replicas`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscaling: Option<AutoscalingParameters>,
    /// How many pods evictions, as when a node is drained, leave running. Without it they may take all
    /// at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disruption_budget: Option<DisruptionBudgetParameters>,
    /// Image of the proxy. Default: that of the controller's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 1024)))]
    pub image: Option<String>,
    /// CPU and memory of the proxy's container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// Ports of the node itself that lead to listeners of the pods on it. A change of these ports
    /// replaces the pods, and no two pods on one node can have the same one. Namespaces with a Pod
    /// Security level of `baseline` or `restricted` do not admit them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(extend("maxItems" = 64, "x-kubernetes-list-type" = "atomic")))]
    pub host_ports: Vec<HostPortParameters>,
    /// Labels of the nodes on which pods may run.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints of nodes that do not keep the pods away.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(extend("maxItems" = 64, "x-kubernetes-list-type" = "atomic")))]
    pub tolerations: Vec<Toleration>,
    /// Rules for the choice of nodes, as in `affinity` of a pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<JsonObject>,
    /// How pods spread over nodes and zones, as in `topologySpreadConstraints` of a pod. A constraint
    /// without `labelSelector` counts the pods of the Gateway.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(extend("maxItems" = 64, "x-kubernetes-list-type" = "atomic")))]
    pub topology_spread_constraints: Vec<JsonObject>,
    /// What is laid over the template of the pods last, for what has no field here: a strategic merge
    /// patch of a PodTemplateSpec. Objects are merged member by member, `containers`, `volumes`,
    /// `env`, `volumeMounts` and the like by their names, other lists are replaced, and null takes a
    /// member out: `kubectl apply` hands it on with `--server-side` alone. The container of the proxy
    /// is named `proxy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_template_patch: Option<JsonObject>,
}

open_enum! {
    /// What runs the pods of a Gateway.
    pub enum WorkloadKind {
        /// A number of pods anywhere.
        Deployment = "Deployment",
        /// One pod on each node.
        DaemonSet = "DaemonSet",
    }
}

/// How many pods the load asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema),
    schemars(extend("x-kubernetes-validations" = [
        {"rule": "!has(self.minReplicas) || self.minReplicas <= self.maxReplicas", "message": "minReplicas is at most maxReplicas"}
    ]))
)]
#[serde(rename_all = "camelCase")]
pub struct AutoscalingParameters {
    /// The fewest pods. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 2147483647)))]
    pub min_replicas: Option<u32>,
    /// The most pods.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 2147483647)))]
    pub max_replicas: u32,
    /// How much of the CPU that they request the pods shall use on average, in percent. Default: 80.
    #[serde(
        default,
        rename = "targetCPUUtilizationPercentage",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 2147483647)))]
    pub target_cpu_utilization_percentage: Option<u32>,
}

/// How many pods evictions leave running: one of the two fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema),
    schemars(extend("x-kubernetes-validations" = [
        {"rule": "has(self.minAvailable) != has(self.maxUnavailable)", "message": "expected one of minAvailable and maxUnavailable"}
    ]))
)]
#[serde(rename_all = "camelCase")]
pub struct DisruptionBudgetParameters {
    /// How many have to stay, as a number or, of the kind Deployment, a percentage. Excludes `maxUnavailable`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_available: Option<IntOrString>,
    /// How many may be gone, as a number or a percentage. Needs the kind Deployment. Excludes `minAvailable`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_unavailable: Option<IntOrString>,
}

impl DisruptionBudgetParameters {
    /// Whether Kubernetes can hold to it whatever runs the pods. Shares, and those that may be gone, are counted from
    /// how many pods there are to be, which a Deployment tells and a DaemonSet does not.
    pub(crate) fn is_for_any_workload(&self) -> bool {
        matches!(self.min_available, Some(IntOrString::Int(_))) && self.max_unavailable.is_none()
    }
}

/// CPU and memory of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ResourceRequirements {
    /// What is set aside for it, such as `cpu: 100m` and `memory: 64Mi`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub requests: BTreeMap<String, Quantity>,
    /// What it may use at most.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, Quantity>,
}

/// A port of the node that leads to a listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct HostPortParameters {
    /// Port of the listener.
    pub port: Port,
    /// Port of the node. Default: that of the listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_port: Option<Port>,
}

/// A taint that does not keep a pod away from a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema),
    schemars(extend("x-kubernetes-validations" = [
        {"rule": "(has(self.key) && self.key != '') || (has(self.operator) && self.operator == 'Exists')", "message": "only the operator Exists stands for every key"}
    ]))
)]
#[serde(rename_all = "camelCase")]
pub struct Toleration {
    /// Key of the taint. Default: every key, which needs the operator Exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 317)))]
    pub key: Option<String>,
    /// How the value is read. Default: Equal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<TolerationOperator>,
    /// Value of the taint, for the operator Equal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Effect of the taint. Default: every effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<TaintEffect>,
    /// How long a pod stays where the taint appears, for the effect NoExecute. Default: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub toleration_seconds: Option<i64>,
}

open_enum! {
    /// How the value of a [`Toleration`] is read.
    pub enum TolerationOperator {
        /// The taint has the key, whatever its value.
        Exists = "Exists",
        /// The taint has the key and the value.
        Equal = "Equal",
    }
}

open_enum! {
    /// What a taint does to pods that do not tolerate it.
    pub enum TaintEffect {
        /// New ones do not come.
        NoSchedule = "NoSchedule",
        /// New ones come only where there is no other place.
        PreferNoSchedule = "PreferNoSchedule",
        /// Those that are there leave as well.
        NoExecute = "NoExecute",
    }
}

/// Settings of the proxies themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ProxyParameters {
    /// Number of threads that serve traffic. Default: the CPUs that the container may use, at most 4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1024)))]
    pub workers: Option<u32>,
    /// What the proxy logs: error, warn, info, debug or trace. Default: info.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_level: Option<LogLevel>,
    /// How a proxy that is told to end lets its connections go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<DrainParameters>,
    /// Number of proxies in front of the Gateway that are believed about clients: the client is the
    /// entry of X-Forwarded-For that many places from the right. Only where nobody can reach the Gateway
    /// past them. Default: 0, by which such headers are overwritten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(max = 100)))]
    pub trusted_hops: Option<u32>,
    /// Protocols that clients may switch to by `Upgrade`, such as websocket or IRC/6.9; HTTP (h2c) is none of
    /// them. Default: websocket alone. With an empty list there is no such protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("maxItems" = 16, "x-kubernetes-list-type" = "set")))]
    pub upgrades: Option<Vec<String>>,
}

open_enum! {
    /// What a proxy logs.
    pub enum LogLevel {
        /// What went wrong.
        Error = "error",
        /// And what may go wrong.
        Warn = "warn",
        /// And what an operator acts on.
        Info = "info",
        /// And how it came to that.
        Debug = "debug",
        /// And every step.
        Trace = "trace",
    }
}

/// How a proxy that is told to end lets its connections go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct DrainParameters {
    /// It goes on accepting until no connection came for this time, at most for half of `timeout`.
    /// Default: 1s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet: Option<GatewayDuration>,
    /// It cuts what is still in flight after this time, of an hour at most. Default: 60s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<GatewayDuration>,
}
