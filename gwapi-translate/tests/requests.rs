//! Which backend a request gets, from manifests to the table: each file of `tests/requests` holds
//! manifests, and requests with what becomes of them.
//!
//! ```text
//! # gateway: NAME[:PORT]
//! # METHOD http://HOST/PATH?QUERY [HEADER=VALUE...] -> SERVICE or status
//! # METHOD https://HOST/PATH [sni:NAME] -> SERVICE or status
//! ```
//!
//! The class `gwapi`, the Services `v1`, `v2` and `v3` with port 8080, and the Secret `cert` are
//! there. The cases are those of the Gateway API's conformance suite.

use std::fs;
use std::path::Path;

use gwapi_model::{NamespacedName, Resources, manifest};
use gwapi_translate::ir::{BackendTarget, GatewayConfig, IrKey};
use gwapi_translate::table::{Authority, RequestHead};
use gwapi_translate::{AddressPolicy, Options, RouteTable, translate};
use http::{HeaderMap, HeaderName, HeaderValue};

/// The files, each with the rules it is about in its first line.
macro_rules! requests {
    ($($test:ident = $name:literal;)+) => {
        const NAMES: &[&str] = &[$($name),+];
        $(#[test] fn $test() { check($name); })+
    };
}

requests! {
    matches_of_several_routes_compete = "across-routes";
    exact_paths = "exact-paths";
    calls_beside_requests_of_one_host = "grpc-beside-http";
    a_grpc_route_of_several_gateways = "grpc-multiple-gateways";
    order_of_calls = "grpc-order";
    headers = "headers";
    hostnames_of_routes_and_listeners = "hostname-intersection";
    hostnames_count_as_they_are_written = "hostname-precedence";
    the_name_that_a_client_says_chooses_the_listener = "https";
    the_most_specific_listener = "listener-hostnames";
    no_other_listener_is_asked = "listener-isolation";
    ports_of_listeners = "listener-ports";
    paths_and_headers = "matching";
    methods = "methods";
    requests_on_the_connection_of_another_name = "misdirected";
    a_route_of_several_gateways = "multiple-gateways";
    rules_without_backends = "no-backends";
    order_of_paths = "path-order";
    query_parameters = "query-params";
    order_of_rules = "rule-order";
}

const PRELUDE: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: gwapi}
spec: {controllerName: gwapi.dev/gateway-controller}
---
apiVersion: v1
kind: Service
metadata: {name: v1}
spec: {ports: [{port: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: v2}
spec: {ports: [{port: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: v3}
spec: {ports: [{port: 8080}]}
---
apiVersion: v1
kind: Secret
metadata: {name: cert}
type: kubernetes.io/tls
stringData:
";

#[test]
fn every_file_of_requests_belongs_to_a_test() {
    let mut found: Vec<String> = fs::read_dir(folder())
        .expect("the folder is there")
        .map(|entry| entry.expect("it is readable").file_name().to_string_lossy().into_owned())
        .collect();
    found.sort();
    let known: Vec<String> = NAMES.iter().map(|name| format!("{name}.yaml")).collect();
    let mut sorted = known.clone();
    sorted.sort();
    assert_eq!(found, sorted);
}

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/requests")
}

fn check(name: &str) {
    let file = folder().join(format!("{name}.yaml"));
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{name}: {error}"));
    let options = Options { addresses: AddressPolicy::Provisioned, ..Options::default() };
    let translation = translate(&resources(name, &text), &options);

    let mut cases = 0;
    let mut place: Option<(&GatewayConfig, u16)> = None;
    let mut wrong = Vec::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("# ")) {
        if let Some(gateway) = line.strip_prefix("gateway: ") {
            let (gateway, port) = gateway.split_once(':').unwrap_or((gateway, "80"));
            let id = NamespacedName::new("default", gateway);
            let config = translation.config.get(&id).unwrap_or_else(|| panic!("no {id}"));
            place = Some((config, port.parse().expect("a port")));
        } else if let Some((request, expected)) = line.split_once(" -> ") {
            let (config, port) = place.expect("a Gateway is named first");
            let found = Request::parse(request).answer(config, port);
            cases += 1;
            if found != expected.trim() {
                wrong.push(format!("{line}, and it was {found}"));
            }
        }
    }
    assert!(cases > 0, "{name} holds no request");
    assert!(wrong.is_empty(), "{name}:\n{}", wrong.join("\n"));
}

fn resources(name: &str, text: &str) -> Resources {
    let indented = |pem: &str| pem.lines().map(|line| format!("    {line}\n")).collect::<String>();
    let prelude = format!(
        "{PRELUDE}  tls.crt: |\n{}  tls.key: |\n{}",
        indented(include_str!("../src/testing/pem/one.crt")),
        indented(include_str!("../src/testing/pem/one.key"))
    );
    let manifests = [manifest::parse("prelude", &prelude), manifest::parse(name, text)];
    let problems = manifests.iter().flat_map(|it| &it.problems).map(ToString::to_string);
    let problems: Vec<String> = problems.collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    manifests.into_iter().flat_map(|it| it.objects).map(|it| it.resource).collect()
}

struct Request<'a> {
    method: &'a str,
    is_tls: bool,
    sni: &'a str,
    host: &'a str,
    path: &'a str,
    query: Option<&'a str>,
    headers: HeaderMap,
}

impl<'a> Request<'a> {
    fn parse(line: &'a str) -> Self {
        let mut words = line.split_whitespace();
        let method = words.next().expect("a method");
        let (scheme, rest) = words.next().and_then(|url| url.split_once("://")).expect("a URL");
        let (authority, target) = rest.split_at(rest.find('/').expect("a path"));
        // LI-1: the port of the authority has no meaning here.
        let host = authority.split_once(':').map_or(authority, |(host, _)| host);
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        let mut request = Self {
            method,
            is_tls: scheme == "https",
            sni: host,
            host,
            path,
            query,
            headers: HeaderMap::new(),
        };
        for word in words {
            if let Some(sni) = word.strip_prefix("sni:") {
                request.sni = sni;
            } else {
                let (name, value) = word.split_once('=').expect("name=value");
                let name = HeaderName::from_bytes(name.as_bytes()).expect("the name of a header");
                let value = HeaderValue::from_str(value).expect("the value of a header");
                request.headers.append(name, value);
            }
        }
        request
    }

    /// The Service that gets the request, or the status that answers it.
    fn answer(&self, config: &GatewayConfig, port: u16) -> String {
        let table = RouteTable::compile(config);
        let listener = if self.is_tls {
            let Some(listener) = table.listener_for_sni(port, Some(self.sni)) else {
                return "no handshake".to_owned();
            };
            match table.authority(port, listener, self.host) {
                Authority::Serve(listener) => listener,
                Authority::Misdirected => return "421".to_owned(),
                Authority::Unknown => return "404".to_owned(),
            }
        } else {
            match table.listener_for_host(port, self.host) {
                Some(listener) => listener,
                None => return "404".to_owned(),
            }
        };
        let head = RequestHead {
            host: self.host,
            authority: self.host,
            path: self.path,
            query: self.query,
            method: self.method,
            headers: &self.headers,
        };
        let Some(found) = table.route(listener, &head) else { return "404".to_owned() };
        match found.rule.backends.as_slice() {
            [backend] => match &backend.target {
                // HB-3: a Service that does not exist.
                BackendTarget::Backend(key)
                    if !config.0.contains_key(&IrKey::Backend(key.clone())) =>
                {
                    "500".to_owned()
                }
                BackendTarget::Backend(key) => {
                    let name = key.as_str().strip_prefix("default/").unwrap_or(key.as_str());
                    name.split(':').next().unwrap_or_default().to_owned()
                }
                BackendTarget::Invalid(_) => "500".to_owned(),
            },
            [] => "500".to_owned(),
            several => format!("{} backends", several.len()),
        }
    }
}
