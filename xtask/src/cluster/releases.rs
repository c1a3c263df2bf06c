//! What is installed, tried on a cluster with the rights and the pods that it says itself: `install.yaml`, and
//! two releases of the chart beside each other, of which one may look into named namespaces alone.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use super::deploy::{self, NAMESPACE, Release};
use super::images::Image;
use super::progress;
use super::tools::{Tools, quiet, quiet_with, retry};
use crate::certificate;
use crate::command::first_failure;

/// How long anything may take to come true.
const PATIENCE: Duration = Duration::from_secs(60);
const TIMEOUT: &str = "--timeout=60s";

const INSTALL: &str = "deploy/install.yaml";

/// The Gateways that the releases share, and what serves behind them.
const OBJECTS: &str = "xtask/cluster/beside.yaml";

/// A log in which each request that is refused stands, whatever became of it.
pub(super) const LOGS_ALL: &str = "controller.logLevel=debug";

/// The controller of the first release, by the name that is the chart's default, and that of the second.
const FIRST: &str = "gwapi.dev/gateway-controller";
const SECOND: &str = "example.test/beside";

/// The second release: in the namespace with the Gateway that moves it has a Role, and elsewhere none.
const BESIDE: Release<'_> = Release {
    name: "beside",
    namespace: "beside-system",
    values: &[
        "controller.name=example.test/beside",
        "gatewayClass.name=beside",
        "watchNamespaces={moving}",
        LOGS_ALL,
    ],
};

/// Installs `install.yaml` where nothing else is installed, waits until its class is served, and takes all of
/// it away again.
pub(super) fn check_install_yaml(root: &Path, tools: &Tools) -> anyhow::Result<()> {
    let file = root.join(INSTALL);
    progress::step(INSTALL, || {
        tools.apply(&file)?;
        let controller = "deployment/gwapi-controller";
        kubectl(tools, &["--namespace", NAMESPACE, "rollout", "status", controller, TIMEOUT])?;
        kubectl(tools, &["wait", "--for=condition=Accepted", "gatewayclass/gwapi", TIMEOUT])?;
        assert_all_is_granted(tools, NAMESPACE, "gwapi-controller")
    })?;
    progress::step("it is taken away", || {
        let mut delete = tools.kubectl()?;
        quiet(delete.args(["delete", TIMEOUT, "--filename"]).arg(&file)).map(|_| ())
    })
}

/// Installs a second release beside the first, which is there, and moves a Gateway from the class of the one to
/// that of the other.
pub(super) fn check_two(root: &Path, tools: &Tools, images: &[Image]) -> anyhow::Result<()> {
    tools.apply(&root.join(OBJECTS))?;
    let checked = deploy::install_release(root, tools, images, &BESIDE)
        .and_then(|()| give_certificate(tools))
        .and_then(|()| move_gateway(tools));
    first_failure(checked, progress::step("second release is taken away", || clean(root, tools)))
}

fn move_gateway(tools: &Tools) -> anyhow::Result<()> {
    progress::step("first release serves", || {
        retry(PATIENCE, || Ok(()), || assert_serves(tools, FIRST, "gwapi"))?;
        let ready = ["wait", "--for=condition=Programmed", "gateway/web", TIMEOUT];
        kubectl(tools, &[&["--namespace=staying"], &ready[..]].concat()).map(|_| ())
    })?;
    progress::step("Gateway moves, and its route", || {
        let class = r#"{"spec": {"gatewayClassName": "beside"}}"#;
        let patch = ["patch", "gateway/web", "--type=merge", "--patch", class];
        kubectl(tools, &[&["--namespace=moving"], &patch[..]].concat())?;
        retry(PATIENCE, || Ok(()), || assert_serves(tools, SECOND, "beside"))
    })?;
    let kinds = "gateway,deployment,service,serviceaccount,configmap";
    let show = ["--namespace=staying", "get", kinds, "--output=yaml", "--show-managed-fields"];
    let kept = kubectl(tools, &show)?;
    ensure!(
        kept.contains(FIRST),
        "what is in the other namespace does not say whose it is: {kept}"
    );
    ensure!(
        !kept.contains(SECOND),
        "the second controller touched what is the first one's: {kept}"
    );
    assert_all_is_granted(tools, NAMESPACE, "gwapi-controller")?;
    assert_all_is_granted(tools, BESIDE.namespace, "beside-gwapi-controller")
}

/// Whether the Gateway that moves is served by this controller, and nothing of another one is left there.
fn assert_serves(tools: &Tools, controller: &str, class: &str) -> anyhow::Result<()> {
    let told = |object: &str, path: &str| {
        let output = format!("--output=jsonpath={path}");
        kubectl(tools, &["--namespace=moving", "get", object, &output])
    };
    let routed = told("httproute/web", "{.status.parents[*].controllerName}")?;
    ensure!(routed == controller, "the route has a status of `{routed}`, not of `{controller}`");
    let programmed = r#"{.status.conditions[?(@.type=="Programmed")].status}"#;
    let programmed = told("gateway/web", programmed)?;
    ensure!(programmed == "True", "Gateway web is Programmed `{programmed}`");
    let label = r"{.items[*].metadata.labels.gateway\.networking\.k8s\.io/gateway-class-name}";
    for kind in MADE {
        let classes = told(kind, label)?;
        ensure!(classes == class, "there is a {kind} of `{classes}`, not of `{class}`");
    }
    let address = told("gateway/web", "{.status.addresses[0].value}")?;
    for scheme in ["http", "https"] {
        let mut curl = tools.command("curl");
        curl.args(["--silent", "--show-error", "--fail", "--insecure", "--max-time", "5"]);
        let pod = quiet(curl.arg(format!("{scheme}://{address}/")))?;
        ensure!(pod.contains("\"pod\": \"echo-"), "{scheme}://{address}/ answers {pod}");
    }
    Ok(())
}

/// Kinds of which one is made for the Gateway that moves.
const MADE: [&str; 3] = ["deployment", "horizontalpodautoscaler", "poddisruptionbudget"];

/// The Secret that a listener refers to.
fn give_certificate(tools: &Tools) -> anyhow::Result<()> {
    let folder = &tools.cluster.folder;
    let made = certificate::self_signed(folder, &["web.test"])?;
    let mut create = tools.kubectl()?;
    create.args(["--namespace=moving", "create", "secret", "tls", "web"]);
    create.args(["--dry-run=client", "--output=yaml"]);
    create.arg("--cert").arg(&made.chain).arg("--key").arg(&made.key);
    let secret = quiet(&mut create)?;
    let mut apply = tools.kubectl()?;
    quiet_with(apply.args(["apply", "--server-side", "--filename=-"]), &secret).map(|_| ())
}

/// Whether a controller was refused nothing that it asked the API server for.
fn assert_all_is_granted(tools: &Tools, namespace: &str, deployment: &str) -> anyhow::Result<()> {
    let deployment = format!("deployment/{deployment}");
    let log = kubectl(tools, &["--namespace", namespace, "logs", &deployment, "--tail=-1"])?;
    ensure!(log.contains("starting"), "the log of {deployment} does not begin with its start");
    match refusals(&log).next() {
        Some(line) => bail!("{deployment} in {namespace} lacks a right: {line}"),
        None => Ok(()),
    }
}

/// Lines that tell of what the API server denies, by its own word for it or by that of the controller.
fn refusals(log: &str) -> impl Iterator<Item = &str> {
    let is_refusal = |line: &&str| {
        let line = line.to_lowercase();
        let mut words = line.split(|c: char| !c.is_alphanumeric());
        line.contains("must not list") || words.any(|word| word == "forbidden")
    };
    log.lines().filter(is_refusal)
}

fn clean(root: &Path, tools: &Tools) -> anyhow::Result<()> {
    // With their controllers, so that these see it go.
    kubectl(tools, &["delete", "namespace", "moving", "staying", TIMEOUT])?;
    let mut helm = tools.helm(root)?;
    helm.args(["uninstall", BESIDE.name, "--namespace", BESIDE.namespace, "--ignore-not-found"]);
    quiet(helm.args(["--wait", "--timeout", "1m"]))?;
    kubectl(tools, &["delete", "namespace", BESIDE.namespace, TIMEOUT]).map(|_| ())
}

fn kubectl(tools: &Tools, arguments: &[&str]) -> anyhow::Result<String> {
    quiet(tools.kubectl()?.args(arguments)).context("the cluster is not as it should be")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_denied_is_found_in_a_log() {
        let log = "INFO starting namespace=\"a\"\n\
                   WARN cannot list: secrets is forbidden: User \"x\" cannot list resource\n\
                   DEBUG must not list CustomResourceDefinitions error=no\n\
                   INFO pod a: SysctlForbidden took=403.2ms\n";
        let found: Vec<&str> = refusals(log).filter_map(|line| line.split(' ').nth(1)).collect();
        assert_eq!(found, ["cannot", "must"]);
    }
}
