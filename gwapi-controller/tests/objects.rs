//! Laws of what is made for a Gateway.

use std::collections::BTreeSet;

use gwapi_controller::provision::{
    Bootstrap, Manifest, ProvisionSettings, assign, controller_label, objects,
};
use gwapi_model::{GatewayParametersSpec, HostPortParameters, Port, ServiceType};
use gwapi_translate::infrastructure::{
    GatewayInfrastructure, InfrastructurePort, RequestedAddress, TransportProtocol, name,
};
use gwapi_translate::ir::GatewayId;
use proptest::prelude::*;
use serde_json::{Value, json};

/// The uid of the ServiceAccount that is there.
const ACCOUNT: &str = "5f6f3f34-0000-4000-8000-00000000000a";

fn made(wanted: &GatewayInfrastructure) -> Vec<Manifest> {
    let bootstrap = Bootstrap {
        url: "https://10.96.0.7:18000".to_owned(),
        server_name: "gwapi-controller.gwapi-system.svc".to_owned(),
        ca_bundle: String::new(),
    };
    objects(wanted, &assign(wanted, &[]), &ProvisionSettings::default(), &bootstrap, Some(ACCOUNT))
}

fn wanted(gateway: &str, class: &str, ports: Vec<InfrastructurePort>) -> GatewayInfrastructure {
    let gateway = GatewayId::new("shop", gateway);
    GatewayInfrastructure {
        uid: "5f6f3f34-0000-4000-8000-000000000001".to_owned(),
        generation: 1,
        class: class.to_owned(),
        name: name(&gateway, class),
        gateway,
        hold: false,
        labels: [].into(),
        annotations: [].into(),
        service_annotations: [].into(),
        ports,
        addresses: vec![RequestedAddress::ANY; 3],
        parameters: GatewayParametersSpec::default(),
    }
}

/// Names of Gateways and classes: DNS subdomains of up to 253 characters.
fn subdomain() -> impl Strategy<Value = String> {
    "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?){0,2}"
        .prop_map(|text| text.chars().take(253).collect::<String>())
        .prop_filter("it ends in a letter or digit", |text| !text.ends_with(['-', '.']))
}

fn ports() -> impl Strategy<Value = Vec<InfrastructurePort>> {
    let protocol = prop_oneof![Just(TransportProtocol::Tcp), Just(TransportProtocol::Udp)];
    let port = (1..=u16::MAX, protocol);
    proptest::collection::btree_set(port, 0..8).prop_map(|ports| {
        ports.into_iter().map(|(port, protocol)| InfrastructurePort { port, protocol }).collect()
    })
}

fn is_dns_label(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    name.len() <= 63
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-')
        && name.chars().all(inner)
}

fn is_label_value(value: &str) -> bool {
    let edge = |c: char| c.is_ascii_alphanumeric();
    value.len() <= 63
        && value.starts_with(edge)
        && value.ends_with(edge)
        && value.chars().all(|c| edge(c) || matches!(c, '-' | '_' | '.'))
}

fn pod_template(manifests: &[Manifest]) -> &Value {
    let workload = manifests.iter().find(|it| it.kind.is_workload()).expect("there is one");
    &workload.object["spec"]["template"]
}

proptest! {
    #[test]
    fn names_are_dns_labels_and_labels_are_legal_whatever_the_gateway_is_called(
        gateway in subdomain(),
        class in subdomain(),
    ) {
        let ports = vec![InfrastructurePort { port: 80, protocol: TransportProtocol::Tcp }];
        let manifests = made(&wanted(&gateway, &class, ports));
        let mut seen = BTreeSet::new();
        for manifest in &manifests {
            prop_assert!(is_dns_label(&manifest.name), "{}", manifest.name);
            prop_assert_eq!(&manifest.object["metadata"]["name"], &manifest.name);
            prop_assert!(seen.insert((manifest.kind, &manifest.name)), "{} twice", manifest.name);
            let labels = manifest.object["metadata"]["labels"].as_object().expect("labels");
            for value in labels.values() {
                prop_assert!(is_label_value(value.as_str().expect("text")), "{value}");
            }
        }
        // One Service for each of the three addresses.
        prop_assert_eq!(manifests.len(), 6);
    }

    #[test]
    fn two_gateways_of_one_class_share_no_name(
        one in subdomain(),
        other in subdomain(),
        class in subdomain(),
    ) {
        prop_assume!(one != other);
        let names = |gateway: &str| -> BTreeSet<_> {
            let manifests = made(&wanted(gateway, &class, Vec::new()));
            manifests.into_iter().map(|it| (it.kind, it.name)).collect()
        };
        prop_assert!(names(&one).is_disjoint(&names(&other)));
    }

    #[test]
    fn listeners_never_change_the_pods(before in ports(), after in ports()) {
        let before = made(&wanted("web", "gwapi", before));
        let after = made(&wanted("web", "gwapi", after));
        prop_assert_eq!(pod_template(&before), pod_template(&after));
    }

    #[test]
    fn the_pods_have_the_host_ports_whatever_the_listeners(after in ports()) {
        let with_host_port = |ports: Vec<InfrastructurePort>| {
            let mut wanted = wanted("web", "gwapi", ports);
            wanted.ports.retain(|it| it.protocol == TransportProtocol::Tcp);
            let port = Port::new(80).expect("a port");
            wanted.parameters.service.service_type = Some(ServiceType::NodePort);
            wanted.parameters.workload.host_ports = vec![HostPortParameters { port, host_port: None }];
            wanted
        };
        let before = made(&with_host_port(Vec::new()));
        let after = made(&with_host_port(after));
        prop_assert_eq!(pod_template(&before), pod_template(&after));
        prop_assert_eq!(&pod_template(&before)["spec"]["containers"][0]["ports"][1]["hostPort"], 80);
    }

    #[test]
    fn a_controllers_label_is_legal(path in "[A-Za-z0-9/._~%!$&'()*+,;=:-]{1,200}") {
        let label = controller_label(&format!("example.test/{path}"));
        prop_assert!(is_label_value(&label), "{label}");
    }
}

#[test]
fn a_patch_leaves_the_labels_by_which_pods_are_found_and_the_account_that_they_name() {
    let plain = made(&wanted("web", "gwapi", Vec::new()));
    let expected = &pod_template(&plain)["metadata"];
    assert_eq!(expected["annotations"]["gwapi.dev/service-account-uid"], ACCOUNT);
    for patch in [
        json!({"metadata": {"labels": {
            "gwapi.dev/controller": "another",
            "app.kubernetes.io/managed-by": null,
            "app.kubernetes.io/instance": "another",
            "gateway.networking.k8s.io/gateway-name": null,
        }}}),
        json!({"metadata": {"labels": null, "annotations": null}}),
        json!({"metadata": {"annotations": {"gwapi.dev/service-account-uid": "another"}}}),
        json!({"metadata": null}),
    ] {
        let mut wanted = wanted("web", "gwapi", Vec::new());
        wanted.parameters.workload.pod_template_patch = patch.as_object().cloned();
        let patched = made(&wanted);
        assert_eq!(&pod_template(&patched)["metadata"], expected, "{patch}");
    }
    let mut wanted = wanted("web", "gwapi", Vec::new());
    let patch = json!({"metadata": {"labels": {"team": "shop"}}});
    wanted.parameters.workload.pod_template_patch = patch.as_object().cloned();
    assert_eq!(pod_template(&made(&wanted))["metadata"]["labels"]["team"], "shop");
    // What is no set of labels is for the API server to refuse.
    let patch = json!({"metadata": {"labels": "none"}});
    wanted.parameters.workload.pod_template_patch = patch.as_object().cloned();
    assert_eq!(pod_template(&made(&wanted))["metadata"]["labels"], "none");
}
