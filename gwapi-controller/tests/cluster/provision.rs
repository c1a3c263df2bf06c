//! What is made for Gateways, looked after, and removed.

use gwapi_controller::provision::{ACCOUNT_ANNOTATION, FIELD_MANAGER};
use gwapi_model::status::ConditionReason;
use gwapi_model::{HostPortParameters, Port, ServiceType, WorkloadKind};
use gwapi_translate::infrastructure::{
    InfrastructurePort, InfrastructureReport, RequestedAddress, Routability, TransportProtocol,
};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service, ServiceAccount};
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, PostParams};
use serde_json::{Value, json};

use super::bench::Bench;

const CONTROLLER: &str = "gwapi.dev/tests";

fn is_served(report: &InfrastructureReport) -> bool {
    report.ready && report.unmet.is_empty() && !report.addresses.is_empty()
}

fn service(name: &str) -> Service {
    let service = json!({
        "metadata": {"name": name},
        "spec": {"ports": [{"port": 7}], "selector": {"app": "somebody-elses"}},
    });
    serde_json::from_value(service).expect("a Service")
}

fn ports_of(service: Option<&Service>) -> Vec<i32> {
    let spec = service.and_then(|service| service.spec.as_ref());
    let ports = spec.and_then(|spec| spec.ports.as_ref());
    ports.into_iter().flatten().map(|port| port.port).collect()
}

#[tokio::test]
async fn a_restricted_namespace_has_a_gateway_served_and_is_left_clean() {
    let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    let bench = Bench::new(&labels).await;
    let mut wanted = bench.gateway("web", "gwapi").await;
    wanted.labels.insert("team".to_owned(), "shop".to_owned());
    let mut running = bench.provisioner(CONTROLLER);
    running.set(&wanted);
    let report = running.report(&wanted, is_served).await;

    let address = &report.addresses[0].value;
    let service = bench.api::<Service>().get("web-gwapi").await.expect("it is there");
    let ingress = service.status.and_then(|it| it.load_balancer).and_then(|it| it.ingress);
    assert_eq!(ingress.expect("an address")[0].ip.as_ref(), Some(address));
    let selector = "gateway.networking.k8s.io/gateway-name=web,team=shop";
    let pods = bench.api::<Pod>().list(&ListParams::default().labels(selector)).await;
    assert_eq!(pods.expect("a list").items.len(), 1);

    running.unset(&wanted);
    bench.until::<Service>("web-gwapi", "it goes", |it| it.is_none()).await;
    bench.until::<Deployment>("web-gwapi", "it goes", |it| it.is_none()).await;
    bench.until::<ServiceAccount>("web-gwapi", "it goes", |it| it.is_none()).await;
    bench.until::<ConfigMap>("web-gwapi-config-ca", "it goes", |it| it.is_none()).await;
    bench.clean().await;
}

#[tokio::test]
async fn a_service_leads_to_ready_pods_alone_once_there_was_one() {
    let bench = Bench::new(&json!({})).await;
    let wanted = bench.gateway("web", "gwapi").await;
    let mut running = bench.provisioner(CONTROLLER);
    let awaits = |it: Option<&Service>| {
        it.and_then(|it| it.spec.as_ref()).map(|it| it.publish_not_ready_addresses == Some(true))
    };
    running.set(&wanted);
    bench.until("web-gwapi", "its first pod is led to", |it| awaits(it) == Some(true)).await;
    running.report(&wanted, is_served).await;
    bench.until("web-gwapi", "ready ones alone are", |it| awaits(it) == Some(false)).await;
    bench.clean().await;
}

#[tokio::test]
async fn a_listener_more_changes_the_service_and_no_pod() {
    let bench = Bench::new(&json!({})).await;
    let mut wanted = bench.gateway("web", "gwapi").await;
    let mut running = bench.provisioner(CONTROLLER);
    running.set(&wanted);
    running.report(&wanted, is_served).await;
    let before = bench.api::<Deployment>().get("web-gwapi").await.expect("it is there");

    wanted.ports.push(InfrastructurePort { port: 8080, protocol: TransportProtocol::Tcp });
    running.set(&wanted);
    bench.until("web-gwapi", "a port more", |it| ports_of(it) == [80, 8080]).await;
    wanted.ports.remove(0);
    running.set(&wanted);
    bench.until("web-gwapi", "a port less", |it| ports_of(it) == [8080]).await;

    let after = bench.api::<Deployment>().get("web-gwapi").await.expect("it is there");
    assert_eq!(before.metadata.generation, after.metadata.generation);
    bench.clean().await;
}

#[tokio::test]
async fn what_has_the_name_already_stays_untouched_until_it_goes() {
    let bench = Bench::new(&json!({})).await;
    let services = bench.api::<Service>();
    let foreign = services.create(&PostParams::default(), &service("web-gwapi")).await;
    let foreign = foreign.expect("it is made");
    let wanted = bench.gateway("web", "gwapi").await;
    let mut running = bench.provisioner(CONTROLLER);
    running.set(&wanted);

    let clash = |report: &InfrastructureReport| {
        report.unmet.iter().any(|(reason, message)| {
            *reason == ConditionReason::NoResources
                && message.contains("Service web-gwapi is there already")
        })
    };
    running.report(&wanted, clash).await;
    let now = services.get("web-gwapi").await.expect("it is there");
    assert_eq!(now.resource_version(), foreign.resource_version());

    services.delete("web-gwapi", &DeleteParams::default()).await.expect("it is there");
    running.report(&wanted, is_served).await;
    bench.clean().await;
}

#[tokio::test]
async fn pods_do_not_run_as_an_account_that_is_somebody_elses() {
    let bench = Bench::new(&json!({})).await;
    let account = json!({"metadata": {"name": "web-gwapi"}});
    let account: ServiceAccount = serde_json::from_value(account).expect("an account");
    let made = bench.api().create(&PostParams::default(), &account).await;
    made.expect("it is made");
    let wanted = bench.gateway("web", "gwapi").await;
    let mut running = bench.provisioner(CONTROLLER);
    running.set(&wanted);
    running.report(&wanted, |report| !report.unmet.is_empty() && !report.ready).await;
    bench.until("web-gwapi", "the rest is made", |it: Option<&Service>| it.is_some()).await;
    let workload = bench.api::<Deployment>().get_opt("web-gwapi").await.expect("an answer");
    assert!(workload.is_none());
    bench.clean().await;
}

#[tokio::test]
async fn what_is_changed_or_deleted_by_hand_is_repaired() {
    let bench = Bench::new(&json!({})).await;
    let mut wanted = bench.gateway("web", "gwapi").await;
    wanted.parameters.workload.replicas = Some(1);
    let mut running = bench.provisioner(CONTROLLER);
    running.set(&wanted);
    running.report(&wanted, is_served).await;

    bench.change::<Deployment>("web-gwapi", json!({"spec": {"replicas": 0}})).await;
    let is_one = |it: Option<&Deployment>| {
        it.and_then(|it| it.spec.as_ref()).is_some_and(|spec| spec.replicas == Some(1))
    };
    bench.until("web-gwapi", "the number of pods is repaired", is_one).await;

    bench
        .api::<Service>()
        .delete("web-gwapi", &DeleteParams::default())
        .await
        .expect("it is there");
    running.report(&wanted, |report| !is_served(report)).await;
    running.report(&wanted, is_served).await;

    let annotation = json!({"metadata": {"annotations": {"mine": "stays"}}});
    bench.change::<Service>("web-gwapi", annotation).await;
    wanted.ports.push(InfrastructurePort { port: 443, protocol: TransportProtocol::Tcp });
    running.set(&wanted);
    bench.until("web-gwapi", "a port more", |it| ports_of(it) == [80, 443]).await;
    let service = bench.api::<Service>().get("web-gwapi").await.expect("it is there");
    assert_eq!(service.annotations().get("mine").map(String::as_str), Some("stays"));
    bench.clean().await;
}

#[tokio::test]
async fn pods_are_replaced_when_their_account_was_deleted_and_made_again() {
    let bench = Bench::new(&json!({})).await;
    let wanted = bench.gateway("web", "gwapi").await;
    let mut running = bench.provisioner(CONTROLLER);
    running.set(&wanted);
    running.report(&wanted, is_served).await;
    let (accounts, pods) = (bench.api::<ServiceAccount>(), bench.api::<Pod>());
    let all = ListParams::default().labels("app.kubernetes.io/instance=web-gwapi");
    let before = pods.list(&all).await.expect("a list").items.remove(0);
    let account = accounts.get("web-gwapi").await.expect("it is there").uid();
    assert_eq!(before.annotations().get(ACCOUNT_ANNOTATION), account.as_ref());

    accounts.delete("web-gwapi", &DeleteParams::default()).await.expect("it is there");
    bench.until::<Pod>(&before.name_any(), "it makes room", |pod| pod.is_none()).await;
    let after = pods.list(&all).await.expect("a list").items.remove(0);
    let account = accounts.get("web-gwapi").await.expect("it is made again").uid();
    assert_eq!(after.annotations().get(ACCOUNT_ANNOTATION), account.as_ref());
    running.report(&wanted, is_served).await;
    bench.clean().await;
}

#[tokio::test]
async fn an_address_that_cannot_be_had_is_told_and_the_others_are_served() {
    let bench = Bench::new(&json!({})).await;
    let mut wanted = bench.gateway("web", "gwapi").await;
    let unusable = "192.0.2.1".parse().expect("an address");
    wanted.addresses = vec![RequestedAddress::ip(unusable), RequestedAddress::ANY];
    let timeout = gwapi_model::GatewayDuration::parse("1s").expect("a duration");
    wanted.parameters.service.address_timeout = Some(timeout);
    let mut running = bench.provisioner(CONTROLLER);
    running.set(&wanted);
    let report = running
        .report(&wanted, |report| {
            report.addresses.len() == 1
                && report.unmet.iter().any(|it| it.0 == ConditionReason::AddressNotUsable)
        })
        .await;
    let second = bench.api::<Service>().get("web-gwapi-2").await.expect("it is there");
    let served = report.addresses[0].value.clone();

    bench.event("AddressNotUsable").await;

    // The one that can be had keeps its Service when the other is given up.
    wanted.addresses.remove(0);
    running.set(&wanted);
    let report = running.report(&wanted, is_served).await;
    assert_eq!(report.addresses[0].value, served);
    let now = bench.api::<Service>().get("web-gwapi-2").await.expect("it is there");
    assert_eq!(now.uid(), second.uid());
    bench.until::<Service>("web-gwapi", "it goes", |it| it.is_none()).await;
    bench.clean().await;
}

#[tokio::test]
async fn an_address_that_was_given_can_be_asked_for_by_name() {
    let bench = Bench::new(&json!({})).await;
    let mut wanted = bench.gateway("web", "gwapi").await;
    let mut running = bench.provisioner(CONTROLLER);
    running.set(&wanted);
    let given = running.report(&wanted, is_served).await.addresses;
    wanted.addresses = vec![RequestedAddress::ip(given[0].value.parse().expect("an address"))];
    running.set(&wanted);
    let is_asked_for = |it: Option<&Service>| {
        let spec = it.and_then(|it| it.spec.as_ref());
        spec.is_some_and(|spec| spec.load_balancer_ip.as_ref() == Some(&given[0].value))
    };
    bench.until("web-gwapi", "it asks for the address", is_asked_for).await;
    let report = running.report(&wanted, is_served).await;
    assert_eq!(report.addresses, given);
    bench.clean().await;
}

#[tokio::test]
async fn node_ports_and_host_ports_are_reached_at_the_node() {
    let bench = Bench::new(&json!({})).await;
    let mut wanted = bench.gateway("web", "gwapi").await;
    wanted.parameters.service.service_type = Some(ServiceType::NodePort);
    wanted.parameters.workload.kind = Some(WorkloadKind::DaemonSet);
    let host_port =
        HostPortParameters { port: Port::new(80).unwrap(), host_port: Port::new(18080) };
    wanted.parameters.workload.host_ports = vec![host_port];
    let mut running = bench.provisioner(CONTROLLER);
    running.set(&wanted);
    let report = running.report(&wanted, is_served).await;
    let pods = bench.api::<Pod>().list(&ListParams::default()).await.expect("a list");
    let status = pods.items[0].status.as_ref().expect("it runs");
    assert_eq!(status.host_ip.as_ref(), Some(&report.addresses[0].value));
    bench.clean().await;
}

#[tokio::test]
async fn a_cluster_address_can_be_asked_for() {
    let bench = Bench::new(&json!({})).await;
    let mut wanted = bench.gateway("web", "gwapi").await;
    wanted.parameters.service.service_type = Some(ServiceType::ClusterIp);
    wanted.addresses = vec![RequestedAddress::ip("192.0.2.1".parse().expect("an address"))];
    let mut running = bench.provisioner(CONTROLLER);
    running.set(&wanted);
    let is_refused = |report: &InfrastructureReport| {
        report.unmet.iter().any(|it| it.0 == ConditionReason::AddressNotUsable)
    };
    running.report(&wanted, is_refused).await;
    wanted.addresses.clear();
    running.set(&wanted);
    let given = running.report(&wanted, is_served).await.addresses;
    wanted.addresses = vec![RequestedAddress::ip(given[0].value.parse().expect("an address"))];
    running.set(&wanted);
    assert_eq!(running.report(&wanted, is_served).await.addresses, given);
    bench.clean().await;
}

/// AD-7 to AD-9: whether its pods run or not.
#[tokio::test]
async fn an_address_of_the_cluster_can_be_had_beside_that_of_a_load_balancer() {
    let bench = Bench::new(&json!({})).await;
    let mut wanted = bench.gateway("web", "gwapi").await;
    let cluster = RequestedAddress::ANY.with(Routability::Cluster);
    wanted.addresses = vec![RequestedAddress::ANY, cluster];
    let mut running = bench.provisioner(CONTROLLER);
    running.set(&wanted);
    let has = |report: &InfrastructureReport, count| report.assignment.met == count;
    let report = running.report(&wanted, |report| has(report, 2)).await;
    let told: Vec<_> =
        report.addresses.iter().map(|it| it.routability.as_deref().expect("it is told")).collect();
    assert_eq!(told, ["", "Cluster"]);
    let service = bench.api::<Service>().get("web-gwapi-2").await.expect("it is there");
    let given = service.spec.as_ref().and_then(|spec| spec.cluster_ip.clone());
    assert_eq!(given.as_ref(), Some(&report.addresses[1].value));

    // It can be asked for by name, and alone, and stays where it is.
    let ip = report.addresses[1].value.parse().expect("an address");
    wanted.addresses = vec![RequestedAddress::ip(ip).with(Routability::Cluster)];
    running.set(&wanted);
    let only = [report.addresses[1].clone()];
    running.report(&wanted, |report| has(report, 1) && report.addresses == only).await;
    bench.until::<Service>("web-gwapi", "it goes", |it| it.is_none()).await;
    let now = bench.api::<Service>().get("web-gwapi-2").await.expect("it is there");
    assert_eq!(now.uid(), service.uid());

    // One outside of the range is refused, and nothing takes its place.
    let outside = RequestedAddress::ip("192.0.2.1".parse().expect("an address"));
    wanted.addresses = vec![outside.with(Routability::Cluster), RequestedAddress::ANY];
    running.set(&wanted);
    let is_refused = |report: &InfrastructureReport| {
        let unmet = &report.assignment.unmet_routability;
        has(report, 1)
            && unmet.iter().any(|why| why.starts_with("192.0.2.1 of routability Cluster"))
    };
    let report = running.report(&wanted, is_refused).await;
    assert_eq!(report.addresses.len(), 1);
    assert_eq!(report.addresses[0].routability.as_deref(), Some(""));
    bench.clean().await;
}

#[tokio::test]
async fn pods_that_are_not_admitted_are_told() {
    let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    let bench = Bench::new(&labels).await;
    let mut wanted = bench.gateway("web", "gwapi").await;
    let host_port =
        HostPortParameters { port: Port::new(80).unwrap(), host_port: Port::new(18081) };
    wanted.parameters.workload.host_ports = vec![host_port];
    let mut running = bench.provisioner(CONTROLLER);
    running.set(&wanted);
    let is_told = |report: &InfrastructureReport| {
        report.unmet.iter().any(|(reason, message)| {
            *reason == ConditionReason::NoResources && message.contains("violates PodSecurity")
        })
    };
    running.report(&wanted, is_told).await;
    bench.clean().await;
}

#[tokio::test]
async fn a_gateway_goes_on_as_it_was_reached_until_pods_with_host_ports_are_ready() {
    let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    let bench = Bench::new(&labels).await;
    let mut wanted = bench.gateway("web", "gwapi").await;
    wanted.parameters.workload.replicas = Some(2);
    let mut running = bench.provisioner(CONTROLLER);
    running.set(&wanted);
    let served = running.report(&wanted, is_served).await;
    let host_port =
        HostPortParameters { port: Port::new(80).unwrap(), host_port: Port::new(18085) };
    wanted.parameters.workload.host_ports = vec![host_port];
    running.set(&wanted);
    let is_told = |report: &InfrastructureReport| {
        report.unmet.iter().any(|(reason, message)| {
            *reason == ConditionReason::NoResources && message.contains("violates PodSecurity")
        })
    };
    let report = running.report(&wanted, is_told).await;
    assert_eq!(report.addresses, served.addresses);
    let of_type = |it: Option<&Service>, expected: &str| {
        let spec = it.and_then(|it| it.spec.as_ref());
        spec.and_then(|it| it.type_.as_deref()) == Some(expected)
    };
    bench.until("web-gwapi", "it is reached as before", |it| of_type(it, "LoadBalancer")).await;

    let admitted = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": null}}});
    bench.change_namespace(admitted).await;
    bench.until("web-gwapi", "nodes take its place", |it| of_type(it, "ClusterIP")).await;
    let report = running.report(&wanted, is_served).await;
    assert_ne!(report.addresses, served.addresses);
    bench.clean().await;
}

#[tokio::test]
async fn a_patch_that_says_nonsense_is_refused() {
    let bench = Bench::new(&json!({})).await;
    let mut wanted = bench.gateway("web", "gwapi").await;
    let nonsense = json!({"spec": {"containerz": []}});
    wanted.parameters.workload.pod_template_patch = nonsense.as_object().cloned();
    let mut running = bench.provisioner(CONTROLLER);
    running.set(&wanted);
    let is_told = |report: &InfrastructureReport| {
        report.unmet.iter().any(|(reason, message)| {
            *reason == ConditionReason::Invalid && message.contains("containerz")
        })
    };
    running.report(&wanted, is_told).await;
    bench.clean().await;
}

#[tokio::test]
async fn a_gateway_that_is_made_anew_gets_everything_anew() {
    let bench = Bench::new(&json!({})).await;
    let first = bench.gateway("web", "gwapi").await;
    let mut running = bench.provisioner(CONTROLLER);
    running.set(&first);
    running.report(&first, is_served).await;
    bench.delete_gateway(&first).await;
    let second = bench.gateway("web", "gwapi").await;
    assert_ne!(first.uid, second.uid);
    running.set(&second);
    let is_of = |uid: &str, it: Option<&Deployment>| {
        let owners = it.map(|it| it.owner_references().to_vec()).unwrap_or_default();
        owners.iter().any(|owner| owner.uid == uid)
    };
    let is_new = |it: Option<&Deployment>| is_of(&second.uid, it);
    bench.until("web-gwapi", "it belongs to the second Gateway", is_new).await;
    running.report(&second, is_served).await;
    bench.clean().await;
}

#[tokio::test]
async fn a_gateway_that_moves_to_another_controller_is_made_there_and_removed_here() {
    let bench = Bench::new(&json!({})).await;
    let before = bench.gateway("web", "blue").await;
    let mut blue = bench.provisioner("gwapi.dev/blue");
    let mut green = bench.provisioner("gwapi.dev/green");
    green.synced();
    blue.set(&before);
    blue.synced();
    blue.report(&before, is_served).await;
    let after = bench.gateway("web", "green").await;
    assert_eq!(before.uid, after.uid);
    green.set(&after);
    blue.unset(&after);
    green.report(&after, is_served).await;
    bench.until::<Deployment>("web-blue", "it goes", |it| it.is_none()).await;
    bench.until::<Service>("web-blue", "it goes", |it| it.is_none()).await;
    let green_one = bench.api::<Deployment>().get("web-green").await.expect("it is there");
    assert!(green_one.metadata.deletion_timestamp.is_none());
    bench.clean().await;
}

#[tokio::test]
async fn a_gateway_that_moves_to_another_class_is_served_by_its_former_pods_until_the_new_ones_are_ready()
 {
    let bench = Bench::new(&json!({})).await;
    let before = bench.gateway("web", "first").await;
    let mut running = bench.provisioner(CONTROLLER);
    running.set(&before);
    let served = running.report(&before, is_served).await;
    let mut after = bench.gateway("web", "second").await;
    after.parameters.workload.image = Some("gwapi/there-is-none:1".to_owned());
    running.set(&after);
    bench.until::<Deployment>("web-second", "it is made", |it| it.is_some()).await;
    let is_led = |it: Option<&Service>, to: &str| {
        let spec = it.and_then(|it| it.spec.as_ref());
        let selector = spec.and_then(|it| it.selector.as_ref());
        selector.and_then(|it| it.get("app.kubernetes.io/instance")).is_some_and(|it| it == to)
    };
    running.report(&after, |report| report.ready && report.addresses == served.addresses).await;
    bench.until("web-first", "it leads to what serves", |it| is_led(it, "web-first")).await;
    bench.api::<ServiceAccount>().get("web-first").await.expect("pods that serve need it");
    bench.event("Stalled").await;

    after.parameters.workload.image = None;
    running.set(&after);
    bench.until("web-first", "it leads to the new pods", |it| is_led(it, "web-second")).await;
    bench.until::<Deployment>("web-first", "it goes", |it| it.is_none()).await;
    bench.until::<ServiceAccount>("web-first", "it goes", |it| it.is_none()).await;
    let report = running.report(&after, is_served).await;
    assert_eq!(report.addresses, served.addresses);
    bench.clean().await;
}

#[tokio::test]
async fn whoever_starts_next_goes_on_without_a_change_and_removes_what_is_left_over() {
    let bench = Bench::new(&json!({})).await;
    let kept = bench.gateway("kept", "gwapi").await;
    let gone = bench.gateway("gone", "gwapi").await;
    let mut first = bench.provisioner(CONTROLLER);
    first.set(&kept);
    first.set(&gone);
    first.report(&kept, is_served).await;
    first.report(&gone, is_served).await;
    drop(first);
    let before = bench.api::<Deployment>().get("kept-gwapi").await.expect("it is there");

    let mut second = bench.provisioner(CONTROLLER);
    second.set(&kept);
    second.synced();
    second.report(&kept, is_served).await;
    bench.until::<Deployment>("gone-gwapi", "it goes", |it| it.is_none()).await;
    let after = bench.api::<Deployment>().get("kept-gwapi").await.expect("it is there");
    // What the cluster's own controllers write meanwhile is theirs.
    let ours = |deployment: &Deployment| {
        let fields = deployment.managed_fields().iter();
        fields
            .filter(|it| it.manager.as_deref() == Some(FIELD_MANAGER))
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(ours(&before).len(), 1);
    assert_eq!(ours(&before), ours(&after));
    assert_eq!(before.metadata.generation, after.metadata.generation);
    bench.clean().await;
}

#[tokio::test]
async fn a_daemon_set_takes_over_from_a_deployment_while_it_serves() {
    let bench = Bench::new(&json!({})).await;
    let mut wanted = bench.gateway("web", "gwapi").await;
    let mut running = bench.provisioner(CONTROLLER);
    running.set(&wanted);
    running.report(&wanted, is_served).await;
    wanted.parameters.workload.kind = Some(WorkloadKind::DaemonSet);
    running.set(&wanted);
    let is_ready = |it: Option<&DaemonSet>| {
        it.and_then(|it| it.status.as_ref()).is_some_and(|status| status.number_ready == 1)
    };
    bench.until("web-gwapi", "it is ready", is_ready).await;
    bench.until::<Deployment>("web-gwapi", "it goes", |it| it.is_none()).await;
    bench.clean().await;
}

#[tokio::test]
async fn an_autoscaler_takes_over_from_a_number_of_pods_without_losing_any() {
    let bench = Bench::new(&json!({})).await;
    let mut wanted = bench.gateway("web", "gwapi").await;
    wanted.parameters.workload.replicas = Some(3);
    let mut running = bench.provisioner(CONTROLLER);
    running.set(&wanted);
    running.report(&wanted, is_served).await;
    wanted.parameters.workload.replicas = None;
    let autoscaling: Value = json!({"minReplicas": 3, "maxReplicas": 5});
    wanted.parameters.workload.autoscaling =
        Some(serde_json::from_value(autoscaling).expect("parameters"));
    running.set(&wanted);
    let is_freed = |it: Option<&Deployment>| {
        let managers = it.map(|it| it.managed_fields().to_vec()).unwrap_or_default();
        let ours = managers.iter().find(|it| it.manager.as_deref() == Some(FIELD_MANAGER));
        let fields = ours.and_then(|it| it.fields_v1.as_ref());
        fields.is_some_and(|fields| fields.0["f:spec"].get("f:replicas").is_none())
    };
    bench.until("web-gwapi", "the number is no longer ours", is_freed).await;
    let deployment = bench.api::<Deployment>().get("web-gwapi").await.expect("it is there");
    assert_eq!(deployment.spec.and_then(|spec| spec.replicas), Some(3));
    bench.clean().await;
}

#[tokio::test]
async fn a_service_of_the_users_has_the_address() {
    let bench = Bench::new(&json!({})).await;
    let mut wanted = bench.gateway("web", "gwapi").await;
    wanted.parameters.service.existing_service = Some("front".to_owned());
    let mut running = bench.provisioner(CONTROLLER);
    running.set(&wanted);
    let is_missed = |report: &InfrastructureReport| {
        report.unmet.iter().any(|(_, message)| message.contains("does not exist"))
    };
    running.report(&wanted, is_missed).await;
    let made = bench.api().create(&PostParams::default(), &service("front")).await;
    let made = made.expect("it is made");
    let report = running.report(&wanted, is_served).await;
    let cluster_ip = made.spec.and_then(|spec| spec.cluster_ip);
    assert_eq!(Some(&report.addresses[0].value), cluster_ip.as_ref());
    let none = bench.api::<Service>().get_opt("web-gwapi").await.expect("an answer");
    assert!(none.is_none());
    bench.clean().await;
}

/// As it is where its load balancer has to be taken down first.
#[tokio::test]
async fn a_service_that_is_being_deleted_does_not_count_and_is_made_anew_when_it_is_gone() {
    let bench = Bench::new(&json!({})).await;
    let wanted = bench.gateway("web", "gwapi").await;
    let mut running = bench.provisioner(CONTROLLER);
    running.set(&wanted);
    running.report(&wanted, is_served).await;
    let finalizers = json!({"metadata": {"finalizers": ["gwapi.dev/tests"]}});
    bench.change::<Service>("web-gwapi", finalizers).await;
    let former = bench.api::<Service>().get("web-gwapi").await.expect("it is there");
    let deleted = bench.api::<Service>().delete("web-gwapi", &DeleteParams::default()).await;
    deleted.expect("it is there");
    let is_gone = |report: &InfrastructureReport| report.addresses.is_empty();
    let report = running.report(&wanted, is_gone).await;
    let why = "Service web-gwapi is still being deleted".to_owned();
    assert_eq!(report.unmet, [(ConditionReason::Pending, why)]);

    bench.change::<Service>("web-gwapi", json!({"metadata": {"finalizers": null}})).await;
    running.report(&wanted, is_served).await;
    let service = bench.api::<Service>().get("web-gwapi").await.expect("it is there");
    assert_ne!(service.uid(), former.uid());
    bench.clean().await;
}

#[tokio::test]
async fn a_gateway_that_is_deleted_in_the_foreground_goes_with_everything() {
    let bench = Bench::new(&json!({})).await;
    let mut wanted = bench.gateway("web", "gwapi").await;
    let mut running = bench.provisioner(CONTROLLER);
    running.set(&wanted);
    running.report(&wanted, is_served).await;

    // It waits for one more, so that what it owns goes first and it is there all the while.
    bench.change_gateway(&wanted, json!({"metadata": {"finalizers": ["gwapi.dev/tests"]}})).await;
    bench.delete_gateway_in_the_foreground(&wanted).await;
    bench.until::<Service>("web-gwapi", "it goes", |it| it.is_none()).await;
    bench.until::<ServiceAccount>("web-gwapi", "it goes", |it| it.is_none()).await;
    bench.until::<ConfigMap>("web-gwapi-config-ca", "it goes", |it| it.is_none()).await;
    bench.until::<Deployment>("web-gwapi", "it goes", |it| it.is_none()).await;
    // Whatever is asked for now is answered, and not made.
    wanted.addresses = vec![RequestedAddress::ip("192.0.2.1".parse().expect("an address"))];
    running.set(&wanted);
    let is_answered = |report: &InfrastructureReport| {
        report.unmet.iter().any(|(_, message)| message.contains("192.0.2.1"))
    };
    running.report(&wanted, is_answered).await;
    let service = bench.api::<Service>().get_opt("web-gwapi").await.expect("an answer");
    assert!(service.is_none());
    bench.change_gateway(&wanted, json!({"metadata": {"finalizers": null}})).await;
    bench.clean().await;
}

#[tokio::test]
async fn the_service_that_was_made_is_not_deleted_for_being_named_as_the_users() {
    let bench = Bench::new(&json!({})).await;
    let mut wanted = bench.gateway("web", "gwapi").await;
    let mut running = bench.provisioner(CONTROLLER);
    running.set(&wanted);
    let before = running.report(&wanted, is_served).await.addresses;
    let made = bench.api::<Service>().get("web-gwapi").await.expect("it is there");

    wanted.parameters.service.existing_service = Some("web-gwapi".to_owned());
    running.set(&wanted);
    let is_refused = |report: &InfrastructureReport| {
        report.unmet.iter().any(|(reason, _)| *reason == ConditionReason::Invalid)
    };
    let report = running.report(&wanted, is_refused).await;
    assert_eq!(report.addresses, before);
    wanted.parameters.service.existing_service = None;
    running.set(&wanted);
    running.report(&wanted, is_served).await;
    let now = bench.api::<Service>().get("web-gwapi").await.expect("it is there");
    assert_eq!(now.uid(), made.uid());
    assert!(now.metadata.deletion_timestamp.is_none());
    bench.clean().await;
}

#[tokio::test]
async fn the_service_that_was_made_goes_when_there_is_one_of_the_users_in_its_place() {
    let bench = Bench::new(&json!({})).await;
    let mut wanted = bench.gateway("web", "gwapi").await;
    let mut running = bench.provisioner(CONTROLLER);
    running.set(&wanted);
    let before = running.report(&wanted, is_served).await.addresses;

    wanted.parameters.service.existing_service = Some("front".to_owned());
    running.set(&wanted);
    let is_missed = |report: &InfrastructureReport| {
        report.unmet.iter().any(|(_, message)| message.contains("does not exist"))
    };
    let report = running.report(&wanted, is_missed).await;
    assert_eq!(report.addresses, before, "a typo costs no address");
    let made = bench.api::<Service>().get("web-gwapi").await.expect("it is there");
    assert!(made.metadata.deletion_timestamp.is_none());

    let front = bench.api().create(&PostParams::default(), &service("front")).await;
    front.expect("it is made");
    bench.until::<Service>("web-gwapi", "it goes", |it| it.is_none()).await;
    running.report(&wanted, is_served).await;
    bench.clean().await;
}

#[tokio::test]
async fn a_gateway_does_not_pass_pods_of_a_namesake_for_its_own() {
    let bench = Bench::new(&json!({})).await;
    // Both names come to `a-b-gwapi`, and the second one cannot have it.
    let owner = bench.gateway("a-b", "gwapi").await;
    let other = bench.gateway("a", "b-gwapi").await;
    let mut running = bench.provisioner(CONTROLLER);
    running.set(&owner);
    running.report(&owner, is_served).await;
    running.set(&other);
    let is_refused = |report: &InfrastructureReport| {
        report.unmet.iter().any(|(reason, _)| *reason == ConditionReason::NoResources)
    };
    let report = running.report(&other, is_refused).await;
    assert!(!report.ready);
    assert_eq!(report.addresses, []);

    // What becomes of the pods concerns the one whose pods they are.
    let pods = ListParams::default().labels("app.kubernetes.io/instance=a-b-gwapi");
    let deleted = bench.api::<Pod>().delete_collection(&DeleteParams::default(), &pods).await;
    deleted.expect("it is there");
    running.report(&owner, |report| !report.ready).await;
    running.report(&owner, is_served).await;
    bench.clean().await;
}
