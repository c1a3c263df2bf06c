//! Broken manifests, ports and folders: told clearly, and without effect on anything else.

mod support;

use std::net::TcpListener;

use support::*;

#[test]
fn a_broken_edit_keeps_serving_names_its_place_and_can_be_repaired() {
    let port = free_port();
    let good = stream(&[route("web", "/", "web"), service("web")]);
    let manifests = Manifests::new(&[("gateway.yaml", &gateway(port)), ("routes.yaml", &good)]);
    let path = manifests.path().to_str().expect("text");
    let gwapi = Gwapi::start(&["run", path, "--admin", "off", "--demo"]);
    gwapi.line(|line| line.trim().starts_with("curl"));

    // Line 9 is `  rules:`; a list is expected there.
    let broken = good.replacen("  rules:\n", "  rules: 7\n  unused:\n", 1);
    manifests.write("routes.yaml", &broken);
    gwapi.line(|line| line.ends_with("routes.yaml: not taken; still serves its last good version"));
    gwapi.line(|line| line.starts_with("error"));
    gwapi.line(|line| line.contains("routes.yaml:8:"));
    gwapi.line(|line| line.contains("rules: 7"));
    assert_eq!(get(local(port), "/", &[]).json()["service"], "web");

    manifests.write("routes.yaml", &good);
    gwapi.line(|line| line.contains("solved: ") && line.contains("routes.yaml:8:"));
    assert_eq!(get(local(port), "/", &[]).status, 200);
}

#[test]
fn broken_yaml_beside_good_files_breaks_nothing_else() {
    let port = free_port();
    let manifests = Manifests::new(&[
        ("gateway.yaml", &gateway(port)),
        ("routes.yaml", &stream(&[route("web", "/", "web"), service("web")])),
        ("broken.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: x\n"),
    ]);
    let gwapi = Gwapi::run(&manifests, &["--demo"]);
    let start = gwapi.event("start");
    let problem = &start["problems"][0];
    assert_eq!(problem["severity"], "error");
    assert!(problem["file"].as_str().is_some_and(|file| file.ends_with("broken.yaml")));
    assert_eq!(get(local(port), "/", &[]).status, 200);
}

#[test]
fn an_unknown_field_is_told_with_the_one_that_may_be_meant() {
    let port = free_port();
    let misspelt = route("other", "/other", "web").replace("backendRefs", "backendRef");
    let manifests = Manifests::new(&[
        ("gateway.yaml", &gateway(port)),
        ("routes.yaml", &stream(&[route("web", "/", "web"), service("web")])),
        ("misspelt.yaml", &misspelt),
    ]);
    let gwapi = Gwapi::run(&manifests, &["--demo"]);
    let start = gwapi.event("start");
    let problem = &start["problems"][0];
    assert_eq!(problem["line"], 13, "{problem}");
    assert!(problem["message"].to_string().contains("`backendRef`"), "{problem}");
    assert!(problem["help"].to_string().contains("`backendRefs`"), "{problem}");
    assert_eq!(get(local(port), "/", &[]).status, 200);
}

#[test]
fn parameters_that_mean_nothing_without_a_cluster_are_told_with_the_options_that_do() {
    let port = free_port();
    let parameters = "apiVersion: gwapi.dev/v1alpha1\nkind: GatewayParameters\nmetadata: {name: \
                      edge}\nspec:\n  service: {type: NodePort}\n  proxy: {workers: 2}\n";
    let manifests = Manifests::new(&[
        ("gateway.yaml", &gateway(port)),
        ("routes.yaml", &stream(&[route("web", "/", "web"), service("web")])),
        ("parameters.yaml", parameters),
    ]);
    let gwapi = Gwapi::run(&manifests, &["--demo"]);
    let start = gwapi.event("start");
    let problem = &start["problems"][0];
    assert_eq!(problem["severity"], "warning", "{problem}");
    let message = "no effect without a cluster: proxy.workers, service.type";
    assert_eq!(problem["message"], message, "{problem}");
    assert_eq!(problem["help"], "set options of gwapi run instead: --workers", "{problem}");
    assert_eq!(get(local(port), "/", &[]).status, 200);
}

#[test]
fn a_file_of_ten_megabytes_and_an_alias_bomb_disturb_nothing() {
    let port = free_port();
    let mut bomb = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bomb}\ndata:\n".to_owned();
    bomb.push_str("  a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..10 {
        let alias = format!("*a{}", level - 1);
        let list = vec![alias; 10].join(", ");
        bomb.push_str(&format!("  a{level}: &a{level} [{list}]\n"));
    }
    let huge = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: huge}}\ndata:\n  text: {}\n",
        "x".repeat(10 << 20)
    );
    let manifests = Manifests::new(&[
        ("gateway.yaml", &gateway(port)),
        ("routes.yaml", &stream(&[route("web", "/", "web"), service("web")])),
        ("bomb.yaml", &bomb),
        ("huge.yaml", &huge),
    ]);
    let gwapi = Gwapi::run(&manifests, &["--demo"]);
    let start = gwapi.event("start");
    let problems = start["problems"].as_array().expect("a list");
    let of_bomb = problems.iter().find(|p| p["file"].to_string().contains("bomb.yaml"));
    assert!(of_bomb.expect("told")["message"].to_string().contains("alias"), "{problems:#?}");
    assert!(start.to_string().len() < 100_000, "the text is repeated in a message");
    assert_eq!(get(local(port), "/", &[]).status, 200);
}

#[test]
fn a_port_in_use_is_a_condition_and_taken_over_when_it_is_free() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = taken.local_addr().expect("bound").port();
    let other = free_port();
    let second = format!("    - name: other\n      protocol: HTTP\n      port: {other}\n");
    let manifests = Manifests::new(&[
        ("gateway.yaml", &(gateway(port) + &second)),
        ("routes.yaml", &stream(&[route("web", "/", "web"), service("web")])),
    ]);
    let gwapi = Gwapi::run(&manifests, &["--demo"]);
    let start = gwapi.event("start");
    let listener = &start["gateways"][0]["listeners"][0];
    assert_eq!(listener["served"], false, "{listener}");
    assert_eq!(listener["reason"], "PortUnavailable", "{listener}");
    assert_eq!(get(local(other), "/", &[]).status, 200);

    drop(taken);
    let change = gwapi.event_where("change", |change| {
        change["listeners"]["added"].as_array().is_some_and(|added| !added.is_empty())
    });
    assert_eq!(change["listeners"]["added"][0]["listener"], "http");
    gwapi.event_where("solved", |solved| solved["reason"] == "PortUnavailable");
    assert_eq!(get(local(port), "/", &[]).status, 200);
}

#[test]
fn an_offset_beyond_the_last_port_is_a_condition() {
    let manifests = Manifests::new(&[("gateway.yaml", &gateway(60_000))]);
    let gwapi = Gwapi::run(&manifests, &["--port-offset", "10000"]);
    let start = gwapi.event("start");
    let listener = &start["gateways"][0]["listeners"][0];
    assert_eq!(listener["served"], false);
    assert_eq!(listener["port"], 70_000);
    let problems = start["problems"].as_array().expect("a list");
    assert!(
        problems.iter().any(|problem| {
            problem["listener"] == "http" && problem["message"].to_string().contains("65535")
        }),
        "{problems:#?}"
    );
}

#[test]
fn a_thousand_listeners_are_served() {
    // 16 Gateways with 64 listeners each, told apart by hostname, on one port per Gateway.
    let ports = free_ports::<16>();
    let mut documents = vec![gateway(ports[0]).split_once("---\n").expect("a class").0.to_owned()];
    for (index, port) in ports.iter().enumerate() {
        let listeners: String = (0..64)
            .map(|n| {
                format!(
                    "    - name: l{n}\n      protocol: HTTP\n      port: {port}\n      \
                     hostname: h{n}.example.com\n"
                )
            })
            .collect();
        documents.push(format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata:\n  name: g{index}\n\
             spec:\n  gatewayClassName: gwapi\n  listeners:\n{listeners}"
        ));
    }
    documents.push(route("web", "/", "web").replace("name: web\n  rules", "name: g7\n  rules"));
    documents.push(service("web"));
    let manifests = Manifests::new(&[("all.yaml", &stream(&documents))]);
    let gwapi = Gwapi::run(&manifests, &["--demo"]);
    let start = gwapi.event("start");
    assert_eq!(start["problems"], serde_json::json!([]));
    let gateways = start["gateways"].as_array().expect("a list");
    let listeners = gateways.iter().flat_map(|g| g["listeners"].as_array().expect("a list"));
    assert_eq!(listeners.filter(|listener| listener["served"] == true).count(), 1024);
    let host = [("host", "h63.example.com")];
    assert_eq!(get(local(ports[7]), "/", &host).json()["service"], "web");
    assert_eq!(get(local(ports[8]), "/", &host).status, 404);
}

#[test]
fn an_object_in_two_files_is_told_with_both_places() {
    let port = free_port();
    let manifests = Manifests::new(&[
        ("gateway.yaml", &gateway(port)),
        ("a.yaml", &stream(&[route("web", "/", "web"), service("web")])),
        ("b.yaml", &route("web", "/other", "web")),
    ]);
    let gwapi = Gwapi::run(&manifests, &["--demo"]);
    let start = gwapi.event("start");
    let problems = start["problems"].to_string();
    assert!(problems.contains("a.yaml") && problems.contains("b.yaml"), "{problems}");
    assert_eq!(get(local(port), "/", &[]).status, 200);
}

#[test]
fn a_secret_with_half_a_key_breaks_its_listener_alone() {
    let [port, tls_port] = free_ports();
    let certificate = rcgen::generate_simple_self_signed(vec!["a.example.com".to_owned()])
        .expect("a certificate");
    let key = certificate.signing_key.serialize_pem();
    let half = &key[..key.len() / 2];
    let secret = |key: &str| {
        let indent = |pem: &str| pem.lines().map(|l| format!("    {l}\n")).collect::<String>();
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata:\n  name: cert\ntype: kubernetes.io/tls\n\
             stringData:\n  tls.crt: |\n{}  tls.key: |\n{}",
            indent(&certificate.cert.pem()),
            indent(key)
        )
    };
    let https = format!(
        "    - name: https\n      protocol: HTTPS\n      port: {tls_port}\n      \
         tls:\n        certificateRefs:\n          - name: cert\n"
    );
    let manifests = Manifests::new(&[
        ("gateway.yaml", &(gateway(port) + &https)),
        ("routes.yaml", &stream(&[route("web", "/", "web"), service("web")])),
        ("secret.yaml", &secret(half)),
    ]);
    let gwapi = Gwapi::run(&manifests, &["--demo"]);
    let start = gwapi.event("start");
    let problems = start["problems"].as_array().expect("a list");
    let told = problems.iter().find(|problem| problem["reason"] == "InvalidCertificateRef");
    assert_eq!(told.expect("a condition")["listener"], "https", "{problems:#?}");
    let last_line_of_key = key.lines().nth(1).expect("a key");
    assert!(!start.to_string().contains(last_line_of_key), "the key is shown");
    assert_eq!(get(local(port), "/", &[]).status, 200);

    manifests.write("secret.yaml", &secret(&key));
    gwapi.event_where("solved", |solved| solved["reason"] == "InvalidCertificateRef");
}

/// BT-6: what is wrong with a policy is told when the ConfigMap that it refers to changes.
#[test]
fn a_policy_whose_authorities_go_and_come_is_told_of() {
    let port = free_port();
    let authority = rcgen::generate_simple_self_signed(vec!["ca.test".to_owned()]);
    let authority = authority.expect("a certificate").cert.pem().replace('\n', "\n    ");
    let config_map = |key: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: ca}}\ndata:\n  {key}: |\n    {authority}\n"
        )
    };
    let policy = "apiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\n\
                  metadata: {name: web}\nspec:\n  \
                  targetRefs: [{group: '', kind: Service, name: web}]\n  validation:\n    \
                  hostname: web.internal\n    \
                  caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}]\n";
    let manifests = Manifests::new(&[
        ("gateway.yaml", &gateway(port)),
        ("routes.yaml", &stream(&[route("web", "/", "web"), service("web")])),
        ("policy.yaml", policy),
        ("ca.yaml", &config_map("ca.crt")),
    ]);
    let gwapi = Gwapi::run(&manifests, &["--demo"]);
    assert_eq!(gwapi.event("start")["problems"], serde_json::json!([]));

    manifests.write("ca.yaml", &config_map("other.crt"));
    gwapi.event_where("problem", |problem| problem["reason"] == "NoValidCACertificate");
    assert_eq!(get(local(port), "/", &[]).status, 500);
    manifests.write("ca.yaml", &config_map("ca.crt"));
    gwapi.event_where("solved", |solved| solved["reason"] == "NoValidCACertificate");
}

#[test]
fn a_service_whose_policy_is_refused_is_not_spoken_to_in_the_clear() {
    let policy = |version: &str, validation: &str| {
        format!(
            "apiVersion: gateway.networking.k8s.io/{version}\nkind: BackendTLSPolicy\n\
             metadata: {{name: web}}\nspec:\n  \
             targetRefs: [{{group: '', kind: Service, name: web}}]\n  validation: {validation}\n"
        )
    };
    let trust = "wellKnownCACertificates: System";
    let port = free_port();
    for refused in [
        policy("v1", &format!("{{hostname: 'Web.Internal', {trust}}}")),
        policy("v1", &format!("{{{trust}}}")),
        policy("v1", "{hostname: web.internal}"),
        policy("v1", &format!("{{hostname: web.internal, {trust}, mode: Loose}}")),
        policy("v1alpha2", &format!("{{hostname: web.internal, {trust}}}")),
        policy("v1", &format!("{{hostname: web.internal, {trust}}}"))
            .replace("TLSPolicy", "TlsPolicy"),
    ] {
        let manifests = Manifests::new(&[
            ("gateway.yaml", &gateway(port)),
            ("routes.yaml", &stream(&[route("web", "/", "web"), service("web")])),
            ("policy.yaml", &refused),
        ]);
        let gwapi = Gwapi::run(&manifests, &["--demo"]);
        assert_ne!(gwapi.event("start")["problems"], serde_json::json!([]), "{refused}");
        assert_eq!(get(local(port), "/", &[]).status, 500, "{refused}");
    }
}

#[test]
fn a_regular_expression_that_does_not_compile_is_a_condition() {
    let port = free_port();
    let bad = route("bad", "'/('", "web").replace("PathPrefix", "RegularExpression");
    let manifests = Manifests::new(&[
        ("gateway.yaml", &gateway(port)),
        ("routes.yaml", &stream(&[route("web", "/", "web"), service("web")])),
        ("bad.yaml", &bad),
    ]);
    let gwapi = Gwapi::run(&manifests, &["--demo"]);
    let start = gwapi.event("start");
    let problems = start["problems"].to_string();
    assert!(problems.contains("\"bad\""), "{problems}");
    assert_eq!(get(local(port), "/", &[]).status, 200);
}

#[test]
fn a_folder_may_appear_disappear_and_come_back() {
    let port = free_port();
    let parent = Manifests::new(&[]);
    let folder = parent.file("manifests");
    let files = [
        ("gateway.yaml", gateway(port)),
        ("routes.yaml", stream(&[route("web", "/", "web"), service("web")])),
    ];
    let fill = || {
        let draft = parent.file("draft");
        std::fs::create_dir(&draft).expect("a folder");
        for (name, text) in &files {
            std::fs::write(draft.join(name), text).expect("a file");
        }
        std::fs::rename(&draft, &folder).expect("renamed");
    };
    let path = folder.to_str().expect("text");
    let arguments = ["run", path, "--admin", "off", "--output", "json", "--demo"];
    let gwapi = Gwapi::start(&arguments);
    assert_eq!(gwapi.event("start")["gateways"], serde_json::json!([]));

    fill();
    // A file that was written a moment ago is waited for, and each is taken in when it is ready.
    gwapi.event_where("change", |_| {
        try_get(local(port), "/", &[]).is_ok_and(|reply| reply.status == 200)
    });

    // What was there stays in force: a folder that is gone says nothing about its objects.
    std::fs::rename(&folder, parent.file("aside")).expect("renamed");
    gwapi.event_where("problem", |problem| problem["message"].to_string().contains("it is gone"));
    assert_eq!(get(local(port), "/", &[]).status, 200);

    std::fs::remove_dir_all(parent.file("aside")).expect("removed");
    fill();
    gwapi.event("solved");
    assert_eq!(get(local(port), "/", &[]).status, 200);
}

#[test]
fn our_own_admin_address_is_refused_as_an_endpoint() {
    let [port, admin] = free_ports();
    let manifests = Manifests::new(&[
        ("gateway.yaml", &gateway(port)),
        ("routes.yaml", &stream(&[route("web", "/", "web"), service("web")])),
        ("endpoints.yaml", &slice("web", local(admin))),
    ]);
    let path = manifests.path().to_str().expect("text");
    let address = local(admin).to_string();
    let gwapi = Gwapi::start(&["run", path, "--admin", &address, "--output", "json"]);
    let start = gwapi.event("start");
    assert!(start["problems"].to_string().contains("admin port"), "{start}");
    assert_eq!(get(local(port), "/config", &[]).status, 503);
}

#[test]
fn of_several_problems_of_a_route_only_those_are_told_that_come_or_go() {
    let port = free_port();
    let rule = "    - backendRefs:\n        - name: SERVICE\n          port: 80\n";
    let rules = |services: [&str; 2]| {
        let rules = services.map(|service| rule.replace("SERVICE", service)).concat();
        let route = route("web", "/", "web");
        let (head, _) = route.split_once("    - matches").expect("rules");
        format!("{head}{rules}---\n{}", service("web"))
    };
    let manifests = Manifests::new(&[
        ("gateway.yaml", &gateway(port)),
        ("routes.yaml", &rules(["lost", "gone"])),
    ]);
    let gwapi = Gwapi::run(&manifests, &["--demo"]);
    let start = gwapi.event("start");
    let problems = start["problems"].as_array().expect("a list");
    let errors = problems.iter().filter(|it| it["severity"] == "error").count();
    assert_eq!(errors, 2, "{problems:#?}");
    manifests.write("routes.yaml", &rules(["web", "gone"]));
    let change = gwapi.line(|line| line.contains(r#""event":"change""#));
    assert!(change.contains("routes.yaml"), "{change}");
    let next = gwapi.line(|_| true);
    assert!(next.contains(r#""event":"solved""#) && next.contains("rules[0]"), "{next}");
    manifests.write("routes.yaml", &rules(["web", "web"]));
    gwapi.line(|line| line.contains(r#""event":"change""#));
    let next = gwapi.line(|_| true);
    assert!(next.contains(r#""event":"solved""#) && next.contains("rules[1]"), "{next}");
}

#[test]
fn what_is_wrong_with_a_route_follows_what_the_route_refers_to() {
    let edge = gateway(free_port());
    let routes = stream(&[route("web", "/", "web"), route("other", "/other", "web")]);
    let manifests = Manifests::new(&[("gateway.yaml", &edge), ("routes.yaml", &routes)]);
    let gwapi = Gwapi::run(&manifests, &["--demo"]);
    let start = gwapi.event("start");
    assert_eq!(start["problems"].to_string().matches("BackendNotFound").count(), 2, "{start}");

    // No edit below touches a route.
    let told = |event, what: &str| {
        let is_it = |told: &serde_json::Value| told["message"].to_string().contains(what);
        let routes = [0, 1].map(|_| gwapi.event_where(event, is_it)["object"].to_string());
        assert_ne!(routes[0], routes[1], "{event}, {what}");
    };
    manifests.write("service.yaml", &service("web"));
    told("solved", "does not exist");
    manifests.write("gateway.yaml", &edge.replace("name: web", "name: edge"));
    told("problem", "there is no Gateway");
    manifests.write("gateway.yaml", &edge);
    told("solved", "there is no Gateway");
}

#[test]
fn an_edit_that_breaks_a_file_names_what_is_kept() {
    let manifests = Manifests::new(&[("gateway.yaml", &gateway(free_port()))]);
    let gwapi = Gwapi::run(&manifests, &[]);
    gwapi.event("start");
    manifests.write("gateway.yaml", "kind: [");
    let change = gwapi.event("change");
    assert_eq!(change["lastGood"], change["files"], "{change}");
    assert_eq!(change["files"].as_array().map(Vec::len), Some(1), "{change}");
}

#[test]
fn a_demo_is_not_advised_where_it_is_on() {
    let port = free_port();
    let unready = "endpoints:\n  - conditions: {ready: false}\n    addresses";
    let empty = slice("web", local(1)).replace("endpoints:\n  - addresses", unready);
    let manifests = Manifests::new(&[
        ("gateway.yaml", &gateway(port)),
        ("routes.yaml", &stream(&[route("web", "/", "web"), service("web"), empty])),
    ]);
    for (more, is_advised) in [(&[][..], true), (&["--demo"], false)] {
        let start = Gwapi::run(&manifests, more).event("start");
        let problems = start["problems"].to_string();
        assert!(problems.contains("no endpoints for port 80"), "{problems}");
        assert_eq!(problems.contains("let --demo"), is_advised, "{problems}");
    }
}

#[test]
fn problems_beyond_the_twentieth_are_counted_and_to_be_had() {
    let many: Vec<_> = (0..25).map(|n| route(&format!("r{n}"), "/", "web")).collect();
    let manifests = Manifests::new(&[("routes.yaml", &stream(&many))]);
    let path = manifests.path().to_str().expect("text");
    let text = stdout(&gwapi(&["run", path, "--strict", "--admin", "off"]));
    assert_eq!(text.matches("there is no Gateway").count(), 20, "{text}");
    assert!(text.contains("... and 5 problems more; with --output json all are printed"), "{text}");
    let json = stdout(&gwapi(&["run", path, "--strict", "--admin", "off", "--output", "json"]));
    assert_eq!(json.matches("there is no Gateway").count(), 25, "{json}");
}
