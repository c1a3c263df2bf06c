//! `cargo xtask manifests`: what is written from the chart and the CRDs.
//!
//! The chart has copies of the CRDs, and `deploy/install.yaml` is the chart with its defaults, for
//! those who have no Helm; `docs/parameters.md` lists the fields of GatewayParameters, and the schema
//! of the chart's values takes the same ones.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

use crate::cluster::golang::{HELM, build};
use crate::command::output;
use crate::{namesakes, parameters, rights};

const CRDS: &str = "deploy/crds";
const CHART: &str = "deploy/helm/gwapi";
const INSTALL: &str = "deploy/install.yaml";
const VALUES_SCHEMA: &str = "deploy/helm/gwapi/values.schema.json";
const PARAMETERS: &str = "docs/parameters.md";

/// The CRD whose fields `docs/parameters.md` lists.
const PARAMETERS_CRD: &str = "gwapi.dev_gatewayparameters.yaml";

/// Where `install.yaml` installs to, and under which name.
const NAMESPACE: &str = "gwapi-system";
const RELEASE: &str = "gwapi";

/// The first lines of `install.yaml`. The pods of the controller keep to the strictest level.
const HEAD: &str = "\
# Generated from deploy/helm/gwapi by `cargo xtask manifests`; do not edit.
#
# Gateway API's CRDs come first:
#
#   kubectl apply --server-side -f https://github.com/kubernetes-sigs/gateway-api/releases/download/v1.7.0/standard-install.yaml
#   kubectl apply --server-side -f deploy/install.yaml
apiVersion: v1
kind: Namespace
metadata:
  name: gwapi-system
  labels:
    pod-security.kubernetes.io/enforce: restricted
";

/// Writes the files, or only tells which are not what they are written from; checks the chart.
pub(crate) fn run(root: &Path, check: bool) -> anyhow::Result<()> {
    let helm = build(root, &HELM)?.join("helm");
    let helm = || {
        let mut command = Command::new(&helm);
        command.current_dir(root);
        command
    };
    let crds = crds(root)?;
    let chart = output(helm().args(["template", RELEASE, CHART, "--namespace", NAMESPACE]))?;
    let mut wanted: Vec<(String, String)> =
        crds.iter().map(|(name, text)| (format!("{CHART}/crds/{name}"), text.clone())).collect();
    wanted.push((INSTALL.to_owned(), install(&crds, &chart)));
    wanted.push((PARAMETERS.to_owned(), parameters(root, &crds)?));
    let stale: Vec<&(String, String)> = wanted
        .iter()
        .filter(|(path, text)| fs::read_to_string(root.join(path)).ok().as_ref() != Some(text))
        .collect();
    if check && !stale.is_empty() {
        let names: Vec<&str> = stale.iter().map(|(path, _)| path.as_str()).collect();
        bail!("{} not up to date: run `cargo xtask manifests`", names.join(", "));
    }
    for (path, text) in stale {
        let file = root.join(path);
        let folder = file.parent().context("a file has a folder")?;
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        fs::write(&file, text).with_context(|| format!("cannot write {path}"))?;
        eprintln!("{path}");
    }
    // With what is written above.
    output(helm().args(["lint", "--strict", "--quiet", CHART]))?;
    check_names(&helm)?;
    check_parameters(&helm)?;
    check_texts(&helm)?;
    rights::check(&helm, CHART)?;
    namesakes::check(&helm, CHART, &cluster_role(&helm, RELEASE, NAMESPACE)?)?;
    eprintln!("{} files are as the chart and the CRDs say", wanted.len());
    Ok(())
}

/// Releases, each with its namespace, whose names run together or differ late.
const ALIKE: [(&str, &str); 4] = [
    ("gwapi", "a-b"),
    ("b-gwapi", "a"),
    ("gateways-of-the-department-of-long-names-one", "a"),
    ("gateways-of-the-department-of-long-names-two", "a"),
];

/// Whether releases that are alike have roles of their own in the cluster.
fn check_names(helm: &impl Fn() -> Command) -> anyhow::Result<()> {
    let mut names = BTreeSet::new();
    for (release, namespace) in ALIKE {
        let name = cluster_role(helm, release, namespace)?;
        if !names.insert(name.clone()) {
            bail!("release {release} in {namespace} has the ClusterRole of another one: {name}");
        }
    }
    Ok(())
}

/// Namespaces that are looked into, and whether the class can have parameters then: they are made in that of
/// the release.
const WATCHED: [(&str, bool); 3] =
    [("[]", true), (r#"["shop", "gwapi-system"]"#, true), (r#"["shop"]"#, false)];

/// Whether the chart refuses parameters of its class that its controller would not see, and no others.
fn check_parameters(helm: &impl Fn() -> Command) -> anyhow::Result<()> {
    for (namespaces, are_seen) in WATCHED {
        let rendered = helm()
            .args(["template", RELEASE, CHART, "--namespace", NAMESPACE])
            .args(["--set", "gatewayClass.parameters.workload.replicas=2"])
            .args(["--set-json", &format!("watchNamespaces={namespaces}")])
            .output()
            .context("cannot start helm")?;
        let why = String::from_utf8_lossy(&rendered.stderr);
        if are_seen && !rendered.status.success() {
            bail!("the chart refuses parameters with watchNamespaces={namespaces}: {why}");
        }
        if !are_seen && !why.contains("add gwapi-system to watchNamespaces") {
            bail!(
                "the chart has parameters that nobody looks at with watchNamespaces={namespaces}"
            );
        }
    }
    Ok(())
}

/// Values that are texts, whatever YAML would make of them: plain ones and, of the same options, such as are
/// numbers, truths or keys where nobody quotes them.
const TEXTS: [(&str, &str, &str); 9] = [
    ("controller.name", "example.com/a", "example.com/a:"),
    ("controller.priorityClassName", "urgent", "1e3"),
    ("controller.serviceAccount.name", "account", "0x1"),
    ("controller.image.repository", "a", "1"),
    ("controller.image.tag", "a", "2"),
    ("proxy.image.repository", "b", "3"),
    ("gatewayClass.name", "fast", "123"),
    ("watchNamespaces[0]", "shop", "no"),
    ("watchNamespaces[1]", "sale", "123"),
];

/// Release and namespace of either.
const TEXT_RELEASES: [(&str, &str); 2] = [("gwapi", "shop"), ("1", "no")];

/// Whether the chart quotes what it takes from values and from the release.
fn check_texts(helm: &impl Fn() -> Command) -> anyhow::Result<()> {
    let render = |(release, namespace): (&str, &str), is_odd: bool| {
        let mut helm = helm();
        helm.args(["template", release, CHART, "--namespace", namespace]);
        helm.args(["--set", "networkPolicy.enabled=true,controller.replicas=2"]);
        helm.args(["--set", "gatewayClass.parameters.workload.replicas=2"]);
        for (option, plain, odd) in TEXTS {
            let value = if is_odd { odd } else { plain };
            helm.args(["--set-string", &format!("{option}={value}")]);
        }
        // It is the name of the parameters as it is.
        let name = if is_odd { "123" } else { "gateways" };
        output(helm.args(["--set-string", &format!("fullnameOverride={name}")]))
    };
    let [plain, odd] = TEXT_RELEASES;
    let (plain, odd) = (render(plain, false)?, render(odd, true)?);
    let unquoted = unquoted(&plain, &odd)?;
    if !unquoted.is_empty() {
        bail!("the chart does not quote what it takes from values: {}", unquoted.join(", "));
    }
    Ok(())
}

/// The lines of `odd`, which is `plain` with other texts, where these are not quoted.
fn unquoted<'a>(plain: &str, odd: &'a str) -> anyhow::Result<Vec<&'a str>> {
    let (plain, odd): (Vec<&str>, Vec<&str>) = (plain.lines().collect(), odd.lines().collect());
    if plain.len() != odd.len() {
        bail!("the chart has other lines with other texts");
    }
    let differing = plain.iter().zip(odd).filter(|(plain, odd)| **plain != *odd);
    let is_quoted = |line: &str| {
        let item = line.trim_start_matches("- ");
        let scalar = item.split_once(": ").map_or(item, |(_, scalar)| scalar);
        // An item that is quoted may have a colon in it.
        item.starts_with('"') || scalar.trim_start_matches('[').starts_with('"')
    };
    Ok(differing.map(|(_, odd)| odd.trim()).filter(|odd| !is_quoted(odd)).collect())
}

/// The name of the ClusterRole of a release.
fn cluster_role(
    helm: &impl Fn() -> Command,
    release: &str,
    namespace: &str,
) -> anyhow::Result<String> {
    let only = ["--show-only", "templates/rbac.yaml"];
    let text =
        output(helm().args(["template", release, CHART, "--namespace", namespace]).args(only))?;
    let mut lines = text.lines().skip_while(|line| *line != "kind: ClusterRole");
    let name = lines.find_map(|line| line.strip_prefix("  name: "));
    Ok(name.context("the chart has no ClusterRole")?.trim_matches('"').to_owned())
}

/// The CRDs by file name, in order.
fn crds(root: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let entries = fs::read_dir(root.join(CRDS)).with_context(|| format!("cannot read {CRDS}"))?;
    let mut crds = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        crds.push((name, text));
    }
    crds.sort();
    Ok(crds)
}

fn parameters(root: &Path, crds: &[(String, String)]) -> anyhow::Result<String> {
    let read = |path: &str| {
        fs::read_to_string(root.join(path)).with_context(|| format!("cannot read {path}"))
    };
    let crd = crds.iter().find(|(name, _)| name == PARAMETERS_CRD);
    let (_, crd) = crd.with_context(|| format!("{CRDS} has no {PARAMETERS_CRD}"))?;
    parameters::check_values(&read(VALUES_SCHEMA)?, crd).context(VALUES_SCHEMA)?;
    parameters::page(&read(PARAMETERS)?, crd)
}

/// One file with the namespace, the CRDs and all that the chart installs, without what only Helm
/// has to know.
fn install(crds: &[(String, String)], chart: &str) -> String {
    let is_of_helm = |line: &&str| {
        let line = line.trim_start();
        ["# Source:", "helm.sh/chart:", "app.kubernetes.io/managed-by: Helm"]
            .iter()
            .any(|start| line.starts_with(start))
    };
    let chart: Vec<&str> = chart
        .lines()
        .filter(|line| !is_of_helm(line))
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect();
    let mut text = HEAD.to_owned();
    for (_, crd) in crds {
        text.push_str("---\n");
        text.push_str(crd);
    }
    text.push_str(&chart.join("\n"));
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_helm_alone_knows_is_left_out() {
        let chart = "---\n# Source: gwapi/templates/x.yaml\nkind: X\nlabels:\n    \
                     app.kubernetes.io/managed-by: Helm\n    helm.sh/chart: gwapi-0.1.0\n    a: b\n\n";
        let crds = [("a.yaml".to_owned(), "kind: CustomResourceDefinition\n".to_owned())];
        let text = install(&crds, chart);
        let expected = "---\nkind: CustomResourceDefinition\n---\nkind: X\nlabels:\n    a: b\n";
        assert_eq!(text.strip_prefix(HEAD), Some(expected));
    }

    #[test]
    fn texts_that_are_not_quoted_are_found() {
        let plain = "a: b\n- --c=d\ne: f\nnames: [g]\n- \"--h=i\"\nsame: text\n";
        let odd = "a: 1\n- --c=d:\ne: \"no\"\nnames: [\"2\"]\n- \"--h=i: \"\nsame: text\n";
        assert_eq!(unquoted(plain, odd).expect("as many lines"), ["a: 1", "- --c=d:"]);
        assert!(unquoted(plain, "a: b\n").is_err());
    }
}
