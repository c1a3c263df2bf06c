//! Golden pairs: `NAME.in.yaml` holds manifests, `NAME.out.yaml` what they translate to, one pair
//! per group of rules.
//!
//! `UPDATE_GOLDEN=1 cargo test -p gwapi-translate --test golden` writes the outputs anew; read the
//! difference before you keep it. A line `# options: ...` in the input sets options, a line
//! `# report: ...` for each Gateway tells what became of its infrastructure, and a line `# unselected: ...` for an
//! XBackend why no Service could be made for its pods.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use gwapi_model::manifest;
use gwapi_model::status::GatewayStatusAddress;
use gwapi_model::{AddressType, NamespacedName, ResourceEvent, Resources};
use gwapi_translate::features::InstalledBundle;
use gwapi_translate::infrastructure::InfrastructureReport;
use gwapi_translate::{AddressPolicy, Feedback, Options, Translation, Translator, translate};
use serde_json::{Value, json};

/// The pairs, each with the rules whose outcome shows in its output.
macro_rules! golden {
    ($($(#[$doc:meta])* $test:ident = $name:literal;)+) => {
        const NAMES: &[&str] = &[$($name),+];
        $($(#[$doc])* #[test] fn $test() { check($name); })+
    };
}

golden! {
    /// GC-1, GC-2, GC-3, GC-5, GC-7.
    gateway_classes = "gateway-class";
    /// GC-4, GC-10: CRDs of a version that is not supported.
    gateway_classes_of_an_old_version = "gateway-class-old-version";
    /// GC-3 where manifests of other implementations are served.
    gateway_classes_of_others = "gateway-class-of-others";
    /// GW-6, GW-8, AR-3, AR-4.
    listeners = "listeners";
    /// GW-1, GW-2, GW-3, GW-4, GW-5, GW-11, AR-4.
    listener_conflicts = "listener-conflicts";
    /// LS-1, LS-2, LS-3, LS-4, LS-5, LS-6, LS-8, LS-9, LS-10, LS-11, LS-13.
    listener_sets = "listener-sets";
    /// AR-1, AR-2, RT-13.
    allowed_routes = "allowed-routes";
    /// TL-1, TL-2, TL-4, TL-7, TL-8, LI-6, GW-12.
    tls = "tls";
    /// TL-4, TL-5, TL-6, RG-4, RG-5.
    client_validation = "client-validation";
    /// AD-1, AD-2, AD-3, AD-4, AD-6, AD-7, AD-8.
    addresses = "addresses";
    /// AD-6, AD-7, AD-8, AD-9, IN-2.
    routability = "routability";
    /// AD-7, AD-8, GC-10: where the CRDs are those of the standard channel.
    routability_of_the_standard_channel = "routability-standard";
    /// GW-10, AD-1, AD-2, AD-3, AD-4, IN-1, IN-2, GC-7, GC-8: each Gateway has proxies of its own.
    provisioned_gateways = "provisioned";
    /// GC-3, IN-3: parameters of classes, of Gateways, and of both.
    gateway_parameters = "gateway-parameters";
    /// GC-3, IN-3: parameters where there is no cluster that they could mean.
    gateway_parameters_without_a_cluster = "gateway-parameters-without-cluster";
    /// GW-10: two Gateways that want one port.
    shared_ports = "shared-ports";
    /// Ports moved by an offset, and redirects that follow them.
    port_offset = "port-offset";
    /// RT-1, RT-2, RT-6, RT-8, RT-9.
    parent_refs = "parent-refs";
    /// RT-16.
    default_gateways = "default-gateways";
    /// RT-5, RT-14.
    hostnames = "hostnames";
    /// HM-1, HM-2, HM-5, HM-6, HM-7, HR-3, HR-5.
    matches = "matches";
    /// HF-1, HF-2, HF-4, HF-5, HB-6.
    filters = "filters";
    /// HB-1, HB-2, HB-3, HB-5, HB-7, HB-8, RG-2.
    backends = "backends";
    /// HF-8, CO-1, CO-4, CO-5, CO-6, CO-7.
    cors = "cors";
    /// HF-7.
    mirrors = "mirrors";
    /// HF-9, EA-1, EA-2, EA-3, EA-4.
    external_auth = "external-auth";
    /// LF-1, LF-2, LF-7, LS-10, LS-14, EA-5.
    listener_filters = "listener-filters";
    /// TL-9, BT-13, RG-4.
    trust_bundles = "trust-bundles";
    /// TL-9, BT-13: where there is no such kind.
    trust_bundles_that_are_not_served = "trust-bundles-not-served";
    /// X-1, SP-3.
    backend_traffic_policies = "backend-traffic";
    /// RG-4.
    telemetry_policies = "telemetry";
    /// RT-4, TS-2, TS-3, TS-6, TS-7, L4-2, L4-3, L4-4, BT-8.
    stream_routes = "stream-routes";
    /// TS-5, BT-5, BT-9.
    passthrough_policies = "passthrough-policies";
    /// RG-1, RG-4, RG-5.
    grants = "grants";
    /// HB-4, HB-7.
    endpoints = "endpoints";
    /// TO-1.
    timeouts = "timeouts";
    /// RY-1.
    retries = "retries";
    /// SP-1, SP-2, SP-3, SP-5.
    sessions = "sessions";
    /// HM-5, where the data plane keeps them.
    headers_with_underscores_match = "underscore-headers";
    /// RT-11, RT-12, and what is refused.
    unsupported = "unsupported";
    ///
    x_backends = "x-backends";
    /// X-2, where names of any host may be routed to.
    x_backends_inside = "x-backends-inside";
    /// X-2, where Services are made for the pods.
    x_backends_of_a_cluster = "x-backends-cluster";
    /// X-2, where both sides prove who they are.
    x_backends_mutual = "x-backends-mutual";
    /// RT-4, GR-3, GR-4, GR-7, GR-10.
    grpc_routes = "grpc";
    /// BT-2, BT-3, BT-4, BT-5, BT-8, BT-9, BT-10, BT-11, GR-12, ST-10.
    backend_tls_policies = "backend-tls";
    /// TL-7.
    client_certificate_refs = "client-certificate-refs";
    /// What the conformance suite asks of Gateways: GW-6, GW-8, AR-3, AR-4, TL-1, AD-2, IN-1, IN-3.
    gateways_of_the_conformance_suite = "suite-gateways";
    /// What it asks of routes: RT-2, RT-3, RT-10, HB-1, HB-3, HB-5, RG-1.
    routes_of_the_conformance_suite = "suite-routes";
    /// What it asks of certificates in other namespaces: TL-1, RG-1.
    secret_grants_of_the_conformance_suite = "suite-secret-grants";
}

#[test]
fn every_golden_file_belongs_to_a_test() {
    let mut found: Vec<String> = fs::read_dir(folder())
        .expect("the folder is there")
        .map(|entry| entry.expect("it is readable").file_name().to_string_lossy().into_owned())
        .collect();
    let mut known: Vec<String> = NAMES
        .iter()
        .flat_map(|name| ["in", "out"].map(|way| format!("{name}.{way}.yaml")))
        .collect();
    found.sort();
    known.sort();
    assert_eq!(found, known);
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn check(name: &str) {
    let input = folder().join(format!("{name}.in.yaml"));
    let output = folder().join(format!("{name}.out.yaml"));
    let text = fs::read_to_string(&input).unwrap_or_else(|error| panic!("{name}: {error}"));
    let manifest = manifest::parse(&format!("{name}.in.yaml"), &text);
    let problems: Vec<String> = manifest.problems.iter().map(ToString::to_string).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    let resources: Resources = manifest.objects.into_iter().map(|it| it.resource).collect();
    let translation = translated(&resources, &text);
    let found = format!(
        "# Generated from {name}.in.yaml: UPDATE_GOLDEN=1 cargo test --test golden\n{}",
        render(&translation, ["gateway-class", "gateway-class-old-version"].contains(&name))
    );
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&output, &found).expect("the output can be written");
    }
    let expected = fs::read_to_string(&output).unwrap_or_default();
    assert!(
        expected == found,
        "{name}.out.yaml is stale; UPDATE_GOLDEN=1 writes it anew\n{}",
        difference(&expected, &found)
    );
}

fn translated(resources: &Resources, text: &str) -> Translation {
    let mut translation = translate(resources, &options(text));
    let mut translator = Translator::new(options(text));
    let _ = translator.apply_all(resources.iter().map(ResourceEvent::Apply));
    for line in text.lines().filter_map(|line| line.strip_prefix("# report: ")) {
        let (gateway, report) = report(line);
        let feedback = Feedback { infrastructure: report, ..Feedback::default() };
        translation.apply(&translator.set_feedback(&gateway, feedback));
    }
    for line in text.lines().filter_map(|line| line.strip_prefix("# unselected: ")) {
        let (backend, problem) = line.split_once(' ').expect("namespace/name, and why");
        let backend = name(backend);
        let uid = translation.selections.get(&backend).map(|it| it.uid.clone()).unwrap_or_default();
        let problem = Some(problem.to_owned());
        translation.apply(&translator.set_selection_problem(&backend, &uid, problem));
    }
    translation
}

/// Reads `ns/name ready 10.0.0.1 10.96.0.1=Cluster AddressNotUsable:why met=2 unmet:why pending`; of a
/// message `_` are spaces.
fn report(line: &str) -> (NamespacedName, InfrastructureReport) {
    let mut words = line.split_whitespace();
    let gateway = name(words.next().unwrap_or_default());
    let mut report = InfrastructureReport::default();
    for word in words {
        match word.split_once(':') {
            Some((reason, why)) if reason.starts_with(char::is_uppercase) => {
                let reason = serde_json::from_value(reason.into()).expect("a reason");
                report.unmet.push((reason, why.replace('_', " ")));
            }
            Some(("unmet", why)) => report.assignment.unmet.push(why.replace('_', " ")),
            Some(("unmet-routability", why)) => {
                report.assignment.unmet_routability.push(why.replace('_', " "));
            }
            _ if word == "ready" => report.ready = true,
            _ if word == "pending" => report.assignment.pending = true,
            _ => match word.split_once('=').unwrap_or((word, "")) {
                ("met", met) => report.assignment.met = met.parse().expect("a number"),
                (value, routability) => report.addresses.push(GatewayStatusAddress {
                    address_type: AddressType::IpAddress,
                    value: value.to_owned(),
                    routability: Some(routability.to_owned()),
                }),
            },
        }
    }
    (gateway, report)
}

fn name(text: &str) -> NamespacedName {
    let (namespace, name) = text.split_once('/').expect("namespace/name");
    NamespacedName::new(namespace, name)
}

/// Reads `# options: any-controller port-offset=1000 assign:ns/name=10.0.0.1`.
fn options(text: &str) -> Options {
    let mut options = Options::default();
    let mut table = BTreeMap::new();
    let line = text.lines().find_map(|line| line.strip_prefix("# options: ")).unwrap_or_default();
    for word in line.split_whitespace() {
        match word.split_once('=').unwrap_or((word, "")) {
            ("any-controller", _) => options.any_controller = true,
            ("allow-external-name", _) => options.allow_external_name = true,
            ("underscore-headers", _) => options.underscore_headers = true,
            ("bundle", value) => options.installed_bundle = Some(InstalledBundle::new(value)),
            ("experimental-bundle", value) => {
                let bundle = InstalledBundle::new(value).with_gateways_of(value, "experimental");
                options.installed_bundle = Some(bundle);
            }
            ("no-trust-bundles", _) => options.cluster_trust_bundles = false,
            ("provisioned", _) => options.addresses = AddressPolicy::Provisioned,
            ("port-offset", value) => options.port_offset = value.parse().expect("a number"),
            (key, value) => {
                let gateway = key.strip_prefix("assign:").expect("an option that is known");
                table.insert(name(gateway), value.parse().expect("an address"));
                options.addresses = AddressPolicy::Assigned(table.clone());
            }
        }
    }
    options
}

/// A translation as YAML for people: conditions take a line each.
fn render(translation: &Translation, features: bool) -> String {
    let config: BTreeMap<String, BTreeMap<String, Value>> = translation
        .config
        .iter()
        .map(|(gateway, config)| {
            let resources = config.0.iter().map(|(key, resource)| {
                let value = serde_json::to_value(resource).expect("IR is data");
                let inner = value.as_object().and_then(|it| it.values().next().cloned());
                let mut inner = inner.unwrap_or_default();
                // The key is in front of it.
                if let Some(members) = inner.as_object_mut() {
                    members.remove("key");
                }
                (key.to_string(), inner)
            });
            (gateway.to_string(), resources.collect())
        })
        .collect();
    let status: BTreeMap<String, Value> = translation
        .status
        .iter()
        .map(|(id, status)| {
            let mut value = serde_json::to_value(status).expect("status is data");
            // One file that lists them is enough.
            if let Some(members) = value.as_object_mut().filter(|_| !features) {
                members.remove("supportedFeatures");
            }
            (id.to_string(), shorten(value))
        })
        .collect();
    let mut value = json!({ "config": config, "status": status });
    if !translation.infrastructure.is_empty() {
        value["infrastructure"] = infrastructure(translation);
    }
    if !translation.selections.is_empty() {
        value["selections"] = selections(translation);
    }
    let value = without_nothing(value);
    serde_saphyr::to_string(&value).expect("it is plain data")
}

/// What has to run, without what is in front of it and without what is empty.
fn infrastructure(translation: &Translation) -> Value {
    let gateways = translation.infrastructure.iter().map(|(gateway, wanted)| {
        let mut value = serde_json::to_value(&**wanted).expect("it is data");
        if let Some(members) = value.as_object_mut() {
            members.remove("gateway");
            members.retain(|_, member| *member != json!({}) && *member != json!(""));
        }
        (gateway.to_string(), value)
    });
    gateways.collect::<serde_json::Map<_, _>>().into()
}

/// What XBackends select, without what is in front of it.
fn selections(translation: &Translation) -> Value {
    let backends = translation.selections.iter().map(|(backend, selection)| {
        let mut value = serde_json::to_value(&**selection).expect("it is data");
        if let Some(members) = value.as_object_mut() {
            members.remove("backend");
        }
        (backend.to_string(), value)
    });
    backends.collect::<serde_json::Map<_, _>>().into()
}

/// Leaves out members that say nothing: null and empty lists.
fn without_nothing(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(without_nothing).collect(),
        Value::Object(members) => members
            .into_iter()
            .filter(|(_, member)| !member.is_null() && member.as_array() != Some(&Vec::new()))
            .map(|(key, member)| (key, without_nothing(member)))
            .collect(),
        other => other,
    }
}

/// Conditions become `Accepted=True Accepted@1: message`, lists of names one line.
fn shorten(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(shorten).collect(),
        Value::Object(mut members) => {
            let text = |key: &str| members.get(key).and_then(Value::as_str).unwrap_or_default();
            if let Some(generation) = members.get("observedGeneration") {
                let mut line =
                    format!("{}={} {}@{generation}", text("type"), text("status"), text("reason"));
                if !text("message").is_empty() {
                    line += &format!(": {}", text("message"));
                }
                return line.into();
            }
            for (key, name) in [("supportedFeatures", "name"), ("supportedKinds", "kind")] {
                if let Some(Value::Array(list)) = members.get(key) {
                    let names: Vec<&str> = list.iter().filter_map(|it| it[name].as_str()).collect();
                    members.insert(key.to_owned(), names.join(" ").into());
                }
            }
            members.into_iter().map(|(key, value)| (key, shorten(value))).collect()
        }
        other => other,
    }
}

/// The lines in which two texts differ, with line numbers.
fn difference(expected: &str, found: &str) -> String {
    let (old, new): (Vec<_>, Vec<_>) = (expected.lines().collect(), found.lines().collect());
    let same = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let rest = old.len().min(new.len()) - same;
    let tail =
        old.iter().rev().zip(new.iter().rev()).take(rest).take_while(|(a, b)| a == b).count();
    let show = |sign: &str, lines: &[&str]| -> String {
        lines.iter().map(|line| format!("{sign} {line}\n")).collect()
    };
    format!(
        "from line {}:\n{}{}",
        same + 1,
        show("-", &old[same..old.len() - tail]),
        show("+", &new[same..new.len() - tail])
    )
}
