//! Whether the chart refuses the controller name of another release, and of nobody else: it is rendered
//! against an API server that has the objects of a case, and nothing besides.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Value, json};

/// The controller name of the chart's defaults.
const CONTROLLER: &str = "gwapi.dev/gateway-controller";

/// The release that is rendered, its namespace, and its ClusterRole.
const RELEASE: &str = "gwapi";
const NAMESPACE: &str = "gwapi-system";

/// What is in the cluster, and whether the release is refused there.
struct Case {
    says: &'static str,
    role: Value,
    refused: bool,
}

/// Renders the chart for each case. A GatewayClass of that controller name, made by the release of a
/// platform, is in all of them: it is what `gatewayClass.create=false` is for.
pub(crate) fn check(
    helm: &impl Fn() -> Command,
    chart: &str,
    own_role: &str,
) -> anyhow::Result<()> {
    for case in cases(own_role) {
        let refusal = with_api_server(&case, |address| render(helm, chart, address))?;
        match (case.refused, refusal) {
            (true, None) => bail!("the chart does not refuse {}", case.says),
            (false, Some(why)) => bail!("the chart refuses {}: {why}", case.says),
            (true, Some(why)) if !why.contains("set controller.name to another") => {
                bail!("the chart says the wrong thing of {}: {why}", case.says)
            }
            _ => {}
        }
    }
    Ok(())
}

fn cases(own_role: &str) -> [Case; 5] {
    let role = |name: &str, controller: &str, release: Option<(&str, &str)>| {
        let mut annotations = json!({"gwapi.dev/controller-name": controller});
        if let Some((release, namespace)) = release {
            annotations["meta.helm.sh/release-name"] = release.into();
            annotations["meta.helm.sh/release-namespace"] = namespace.into();
        }
        json!({"metadata": {"name": name, "annotations": annotations}})
    };
    let (other, own) = (Some((RELEASE, "other")), Some((RELEASE, NAMESPACE)));
    [
        Case {
            says: "the name of another release",
            role: role("other", CONTROLLER, other),
            refused: true,
        },
        Case {
            says: "the name of an installation without Helm",
            role: role("other", CONTROLLER, None),
            refused: true,
        },
        Case {
            says: "a name of its own",
            role: role("other", "example.com/gateways", other),
            refused: false,
        },
        Case {
            says: "its own name, of before it was called otherwise",
            role: role("before", CONTROLLER, own),
            refused: false,
        },
        Case {
            says: "its own name, of before it was Helm's",
            role: role(own_role, CONTROLLER, None),
            refused: false,
        },
    ]
}

/// Why the chart is refused; `None` where it is rendered.
fn render(
    helm: &impl Fn() -> Command,
    chart: &str,
    address: SocketAddr,
) -> anyhow::Result<Option<String>> {
    let output = helm()
        .args(["template", RELEASE, chart, "--namespace", NAMESPACE])
        .args(["--set", "gatewayClass.create=false"])
        .args(["--dry-run=server", "--disable-openapi-validation"])
        .arg(format!("--kube-apiserver=http://{address}"))
        // Neither a cluster of whoever runs this, nor traces of one that is gone.
        .env("KUBECONFIG", "/dev/null")
        .env("KUBECACHEDIR", "/dev/null")
        .stdin(Stdio::null())
        .output()
        .context("cannot start helm")?;
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok((!output.status.success()).then_some(errors))
}

/// Does something while there is an API server.
fn with_api_server<T>(
    case: &Case,
    then: impl FnOnce(SocketAddr) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen")?;
    let address = listener.local_addr()?;
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for connection in listener.incoming().flatten() {
                if is_over.load(Ordering::SeqCst) {
                    break;
                }
                // Whoever goes away without an answer has no use for it.
                _ = answer(&connection, case);
            }
        });
        let outcome = then(address);
        is_over.store(true, Ordering::SeqCst);
        // It waits for a connection.
        _ = TcpStream::connect(address);
        outcome
    })
}

/// Answers one request.
fn answer(mut connection: &TcpStream, case: &Case) -> anyhow::Result<()> {
    connection.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut lines = BufReader::new(connection).lines();
    let request = lines.next().context("no request")??;
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let path = request.split(' ').nth(1).unwrap_or_default();
    let found = object(path.split('?').next().unwrap_or_default(), case);
    let status = if found.is_some() { "200 OK" } else { "404 Not Found" };
    let body = found.unwrap_or_else(|| json!({"kind": "Status", "code": 404})).to_string();
    write!(
        connection,
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    )?;
    Ok(())
}

/// What is at a path of the API.
fn object(path: &str, case: &Case) -> Option<Value> {
    let class = json!({
        "metadata": {
            "name": "gwapi",
            "annotations": {
                "meta.helm.sh/release-name": "platform",
                "meta.helm.sh/release-namespace": "platform",
            },
        },
        "spec": {"controllerName": CONTROLLER},
    });
    Some(match path {
        "/version" => json!({"major": "1", "minor": "34", "gitVersion": "v1.34.0"}),
        "/api" => json!({"kind": "APIVersions", "versions": ["v1"]}),
        "/apis" => {
            let groups: Vec<Value> =
                KINDS.iter().filter_map(|(version, _)| group(version)).collect();
            json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
        }
        "/apis/rbac.authorization.k8s.io/v1/clusterroles" => {
            list("rbac.authorization.k8s.io/v1", "ClusterRole", &case.role)
        }
        "/apis/gateway.networking.k8s.io/v1/gatewayclasses" => {
            list("gateway.networking.k8s.io/v1", "GatewayClass", &class)
        }
        _ => {
            let version = path.strip_prefix("/apis/").or_else(|| path.strip_prefix("/api/"))?;
            let (_, kinds) = KINDS.iter().find(|(known, _)| *known == version)?;
            let resources = kinds.iter().map(|kind| resource(kind)).collect::<Vec<_>>();
            json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version,
                "resources": resources})
        }
    })
}

/// The kinds of the chart, by group and version.
const KINDS: [(&str, &[&str]); 4] = [
    ("v1", &["Service", "ServiceAccount"]),
    ("apps/v1", &["Deployment"]),
    ("rbac.authorization.k8s.io/v1", &["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"]),
    ("gateway.networking.k8s.io/v1", &["GatewayClass"]),
];

/// A group by the version of it that there is; the core has no name.
fn group(version: &str) -> Option<Value> {
    let (name, number) = version.split_once('/')?;
    let version = json!({"groupVersion": version, "version": number});
    Some(json!({"name": name, "versions": [version.clone()], "preferredVersion": version}))
}

fn resource(kind: &str) -> Value {
    let ending = if kind.ends_with('s') { "es" } else { "s" };
    json!({
        "name": format!("{}{ending}", kind.to_lowercase()),
        "singularName": "",
        "namespaced": !kind.starts_with("Cluster") && kind != "GatewayClass",
        "kind": kind,
        "verbs": ["get", "list"],
    })
}

fn list(version: &str, kind: &str, item: &Value) -> Value {
    let mut item = item.clone();
    item["apiVersion"] = version.into();
    item["kind"] = kind.into();
    json!({
        "kind": format!("{kind}List"),
        "apiVersion": version,
        "metadata": {},
        "items": [item],
    })
}
