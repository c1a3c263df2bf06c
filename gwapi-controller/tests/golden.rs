//! Golden pairs: `NAME.in.yaml` says what has to run for a Gateway, `NAME.out.yaml` the objects that
//! are made for it.
//!
//! `UPDATE_GOLDEN=1 cargo test -p gwapi-controller --test golden` writes the outputs anew; read the
//! difference before you keep it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use gwapi_controller::provision::{Bootstrap, ProvisionSettings, assign, objects};
use gwapi_translate::infrastructure::GatewayInfrastructure;

/// The uid of the ServiceAccount that is there.
const ACCOUNT: &str = "5f6f3f34-0000-4000-8000-00000000000a";

/// The pairs, each with what it is about.
macro_rules! golden {
    ($($(#[$doc:meta])* $test:ident = $name:literal;)+) => {
        const NAMES: &[&str] = &[$($name),+];
        $($(#[$doc])* #[test] fn $test() { check($name); })+
    };
}

golden! {
    /// A Gateway that says nothing about how it runs.
    defaults = "defaults";
    /// IN-1, IN-2, GC-8.
    metadata = "metadata";
    /// AD-1, AD-2, AD-5.
    addresses = "addresses";
    /// AD-9: addresses of the cluster, beside those of load balancers.
    cluster_addresses = "cluster-addresses";
    /// A Service with ports of the nodes, and what it may say besides.
    node_ports = "node-ports";
    /// Pods with ports of their nodes, one on each.
    host_ports = "host-ports";
    /// A Service of the user's, and a fixed number of pods.
    existing_service = "existing-service";
    /// As many pods as the load asks for.
    autoscaling = "autoscaling";
    /// Every parameter of the pods, and a patch.
    pods = "pods";
    /// Nothing to reach.
    no_listener = "no-listener";
}

fn check(name: &str) {
    let input = folder().join(format!("{name}.in.yaml"));
    let output = folder().join(format!("{name}.out.yaml"));
    let text = fs::read_to_string(&input).expect("the input is there");
    let wanted: GatewayInfrastructure = serde_saphyr::from_str(&text).expect("the input is valid");
    let actual = render(&wanted);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&output, &actual).expect("the output can be written");
    }
    let expected = fs::read_to_string(&output).unwrap_or_default();
    assert!(
        actual == expected,
        "{} is not what {name}.in.yaml asks for; after a change that is meant, run \
         UPDATE_GOLDEN=1 cargo test -p gwapi-controller --test golden\n{actual}",
        output.display()
    );
}

fn render(wanted: &GatewayInfrastructure) -> String {
    let bootstrap = Bootstrap {
        url: "https://10.96.0.7:18000".to_owned(),
        server_name: "gwapi-controller.gwapi-system.svc".to_owned(),
        ca_bundle: "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n".to_owned(),
    };
    let settings =
        ProvisionSettings { image: "gwapi-proxy:test".to_owned(), ..ProvisionSettings::default() };
    let manifests = objects(wanted, &assign(wanted, &[]), &settings, &bootstrap, Some(ACCOUNT));
    let documents = manifests
        .iter()
        .map(|manifest| serde_saphyr::to_string(&manifest.object).expect("objects are plain data"));
    documents.collect::<Vec<_>>().join("---\n")
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

#[test]
fn every_input_has_a_test() {
    let files = fs::read_dir(folder()).expect("the folder is there");
    let names = files.map(|file| file.expect("readable").file_name().into_string().expect("ASCII"));
    let inputs: BTreeSet<String> =
        names.filter_map(|name| name.strip_suffix(".in.yaml").map(str::to_owned)).collect();
    assert_eq!(inputs, NAMES.iter().map(|name| (*name).to_owned()).collect());
}
