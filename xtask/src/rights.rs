//! What the chart grants its controller: no wildcards, no role that the chart does not show, and with
//! `watchNamespaces` nothing beyond these but what has no namespace. NOTES tell of the grant on Secrets.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context, bail, ensure};
use serde::Deserialize;

use crate::command::output;

/// Values for which the roles are judged, beside each choice of namespaces.
const VALUES: [&str; 4] = [
    "",
    "networkPolicy.enabled=true,controller.replicas=2",
    "gatewayClass.create=false,controller.serviceAccount.create=false,controller.serviceAccount.name=theirs",
    "controller.priorityClassName=urgent,gatewayClass.name=fast,nameOverride=edge",
];

/// What `watchNamespaces` names; that of the release may be among them.
const WATCHED: [&[&str]; 3] = [&[], &["shop", "sale"], &["shop", NAMESPACE]];

const RELEASE: &str = "gwapi";
const NAMESPACE: &str = "gwapi-system";

/// What has no namespace, with every right on it: all that is left to a ClusterRole where namespaces are
/// named. The last two are all that it writes.
const CLUSTER_WIDE: [(&str, &[&str]); 6] = [
    ("gatewayclasses", &["get", "list", "watch"]),
    ("namespaces", &["get", "list", "watch"]),
    ("clustertrustbundles", &["get", "list", "watch"]),
    ("customresourcedefinitions", &["get", "list", "watch"]),
    ("gatewayclasses/status", &["patch"]),
    ("tokenreviews", &["create"]),
];

/// What NOTES say where the controller may read all Secrets: that it may, why, and how to have it less.
const GRANT: [&str; 3] =
    ["may read Secrets of all namespaces", "ReferenceGrant", "--set watchNamespaces="];

/// What Helm tells of an installation that is not made.
#[derive(Deserialize)]
struct Rendered {
    manifest: String,
    info: Info,
}

#[derive(Deserialize)]
struct Info {
    notes: String,
}

/// As much of an object as tells what is granted.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Object {
    kind: String,
    metadata: Metadata,
    #[serde(default)]
    rules: Vec<Rule>,
    #[serde(default)]
    aggregation_rule: Option<serde_json::Value>,
    #[serde(default)]
    role_ref: Option<Reference>,
    #[serde(default)]
    subjects: Vec<Subject>,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    name: String,
    #[serde(default)]
    namespace: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Rule {
    api_groups: Vec<String>,
    resources: Vec<String>,
    verbs: Vec<String>,
    resource_names: Vec<String>,
    #[serde(rename = "nonResourceURLs")]
    non_resource_urls: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Reference {
    kind: String,
    name: String,
}

#[derive(Debug, Deserialize)]
struct Subject {
    kind: String,
    name: String,
    #[serde(default)]
    namespace: String,
}

/// Fails where the chart grants more than it says, with any of the values.
pub(crate) fn check(helm: &impl Fn() -> Command, chart: &str) -> anyhow::Result<()> {
    for watched in WATCHED {
        for values in VALUES {
            let rendered = render(helm, chart, watched, values)?;
            let about = || format!("with watchNamespaces={watched:?} and {values:?}");
            judge(&objects(&rendered.manifest)?, watched).with_context(about)?;
            judge_notes(&rendered.info.notes, watched).with_context(about)?;
        }
    }
    Ok(())
}

fn render(
    helm: &impl Fn() -> Command,
    chart: &str,
    watched: &[&str],
    values: &str,
) -> anyhow::Result<Rendered> {
    let mut helm = helm();
    helm.args(["install", RELEASE, chart, "--namespace", NAMESPACE]);
    // Unlike `helm template`, this tells the notes.
    helm.args(["--dry-run=client", "--output=json", "--set", values]);
    helm.args(["--set-json", &format!("watchNamespaces={}", serde_json::to_string(watched)?)]);
    helm.env("KUBECONFIG", "/dev/null").env("KUBECACHEDIR", "/dev/null");
    serde_json::from_str(&output(&mut helm)?).context("helm tells something else than a release")
}

fn objects(manifest: &str) -> anyhow::Result<Vec<Object>> {
    let documents = manifest.split("\n---").map(|text| text.trim_start_matches("---"));
    let documents = documents.filter(|text| text.contains("\nkind:"));
    documents.map(|text| serde_saphyr::from_str(text).context("no object of Kubernetes")).collect()
}

/// Whether roles and bindings are as `watchNamespaces` asks for.
fn judge(objects: &[Object], watched: &[&str]) -> anyhow::Result<()> {
    let roles: Vec<&Object> =
        objects.iter().filter(|it| matches!(it.kind.as_str(), "Role" | "ClusterRole")).collect();
    for role in &roles {
        judge_role(role)?;
    }
    let bindings: Vec<&Object> = objects.iter().filter(|it| it.role_ref.is_some()).collect();
    for binding in &bindings {
        judge_binding(binding, &roles)?;
    }
    ensure!(bindings.len() == roles.len(), "a role is bound to nobody");
    let cluster: Vec<&Rule> =
        roles.iter().filter(|it| it.kind == "ClusterRole").flat_map(|it| &it.rules).collect();
    if watched.is_empty() {
        ensure!(cluster.iter().any(|it| it.grants("secrets")), "no role reads Secrets");
    } else {
        cluster.iter().try_for_each(|rule| judge_cluster_wide(rule))?;
    }
    let reading: BTreeSet<&str> = roles
        .iter()
        .filter(|it| it.kind == "Role" && it.rules.iter().any(Rule::reads_all_secrets))
        .map(|it| it.metadata.namespace.as_str())
        .collect();
    let watched: BTreeSet<&str> = watched.iter().copied().collect();
    ensure!(reading == watched, "Roles read Secrets in {reading:?}");
    Ok(())
}

fn judge_role(role: &Object) -> anyhow::Result<()> {
    let name = format!("{} {}", role.kind, role.metadata.name);
    ensure!(role.aggregation_rule.is_none(), "{name} takes in the rules of others");
    for rule in &role.rules {
        let lists = [
            &rule.api_groups,
            &rule.resources,
            &rule.verbs,
            &rule.resource_names,
            &rule.non_resource_urls,
        ];
        if let Some(word) = lists.into_iter().flatten().find(|word| word.contains('*')) {
            bail!("{name} has the wildcard `{word}` in {rule:?}");
        }
        let more = ["escalate", "bind", "impersonate"];
        if let Some(verb) = rule.verbs.iter().find(|verb| more.contains(&verb.as_str())) {
            bail!("{name} leads to the rights of others by `{verb}`");
        }
    }
    Ok(())
}

/// A binding grants a role of the chart, so that all rules are seen here, to the controller alone.
fn judge_binding(binding: &Object, roles: &[&Object]) -> anyhow::Result<()> {
    let name = format!("{} {}", binding.kind, binding.metadata.name);
    let wanted = binding.role_ref.as_ref().context("a binding refers to a role")?;
    let is_ours = roles.iter().any(|role| {
        (&role.kind, &role.metadata.name) == (&wanted.kind, &wanted.name)
            && role.metadata.namespace == binding.metadata.namespace
    });
    ensure!(
        is_ours,
        "{name} grants {} {}, which the chart does not have",
        wanted.kind,
        wanted.name
    );
    let [subject] = binding.subjects.as_slice() else { bail!("{name} is not of one account") };
    let (kind, namespace) = (subject.kind.as_str(), subject.namespace.as_str());
    ensure!(
        (kind, namespace) == ("ServiceAccount", NAMESPACE),
        "{name} is of {kind} {} in `{namespace}`",
        subject.name
    );
    Ok(())
}

/// A rule for the whole cluster, where namespaces are named.
fn judge_cluster_wide(rule: &Rule) -> anyhow::Result<()> {
    for resource in &rule.resources {
        let known = CLUSTER_WIDE.iter().find(|(known, _)| known == resource);
        let (_, verbs) =
            known.with_context(|| format!("a ClusterRole grants {resource} everywhere"))?;
        if let Some(verb) = rule.verbs.iter().find(|verb| !verbs.contains(&verb.as_str())) {
            bail!("a ClusterRole grants to {verb} {resource}");
        }
    }
    Ok(())
}

fn judge_notes(notes: &str, watched: &[&str]) -> anyhow::Result<()> {
    let notes = notes.split_whitespace().collect::<Vec<_>>().join(" ");
    match watched {
        [] => {
            let missing = GRANT.iter().find(|words| !notes.contains(**words));
            ensure!(missing.is_none(), "NOTES do not say {missing:?} of Secrets");
        }
        watched => {
            ensure!(!notes.contains(GRANT[0]), "NOTES tell of a grant that is none");
            let names = watched.join(", ");
            ensure!(notes.contains(&names), "NOTES do not say that only {names} are watched");
        }
    }
    Ok(())
}

impl Rule {
    fn grants(&self, resource: &str) -> bool {
        self.resources.iter().any(|it| it == resource)
    }

    /// Whether it reads Secrets, and not only some by their names.
    fn reads_all_secrets(&self) -> bool {
        self.grants("secrets")
            && self.resource_names.is_empty()
            && self.verbs.iter().any(|verb| matches!(verb.as_str(), "get" | "list" | "watch"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A role of a kind with one rule, and its binding; the namespace is empty for a ClusterRole.
    fn granted(kind: &str, namespace: &str, rule: &str) -> String {
        format!(
            "---\n# Source: a\nkind: {kind}\nmetadata: {{name: r, namespace: \"{namespace}\"}}\n\
             rules: [{rule}]\n---\nkind: {kind}Binding\n\
             metadata: {{name: r, namespace: \"{namespace}\"}}\nroleRef: {{kind: {kind}, name: r}}\n\
             subjects: [{{kind: ServiceAccount, name: c, namespace: {NAMESPACE}}}]\n"
        )
    }

    fn judged(manifest: &str, watched: &[&str]) -> Result<(), String> {
        let objects = objects(manifest).expect("they are objects");
        judge(&objects, watched).map_err(|error| format!("{error:#}"))
    }

    const READS_SECRETS: &str = "{apiGroups: [\"\"], resources: [secrets], verbs: [get, list]}";

    #[test]
    fn all_or_some_secrets_are_granted_as_the_values_ask_for() {
        let everywhere = granted("ClusterRole", "", READS_SECRETS);
        let in_shop = granted("Role", "shop", READS_SECRETS);
        assert_eq!(judged(&everywhere, &[]), Ok(()));
        assert_eq!(judged(&in_shop, &["shop"]), Ok(()));
        let error = judged(&everywhere, &["shop"]).expect_err("it is too much");
        assert_eq!(error, "a ClusterRole grants secrets everywhere");
        let error = judged(&in_shop, &["sale"]).expect_err("it is another one");
        assert_eq!(error, "Roles read Secrets in {\"shop\"}");
        let error = judged(&in_shop, &[]).expect_err("it is too little");
        assert_eq!(error, "no role reads Secrets");
    }

    #[test]
    fn wildcards_are_found_wherever_they_stand() {
        for rule in [
            "{apiGroups: [\"*\"], resources: [pods], verbs: [get]}",
            "{apiGroups: [\"\"], resources: [\"*/status\"], verbs: [get]}",
            "{apiGroups: [\"\"], resources: [pods], verbs: [\"*\"]}",
            "{nonResourceURLs: [/metrics/*], verbs: [get]}",
        ] {
            let error = judged(&granted("ClusterRole", "", rule), &[]).expect_err(rule);
            assert!(error.contains("the wildcard"), "{error}");
        }
    }

    #[test]
    fn what_is_granted_cluster_wide_beside_namespaces_is_what_has_none() {
        let with = |rule: &str| {
            let roles = granted("ClusterRole", "", rule) + &granted("Role", "shop", READS_SECRETS);
            judged(&roles, &["shop"])
        };
        assert_eq!(
            with("{resources: [gatewayclasses, namespaces], verbs: [get, list, watch]}"),
            Ok(())
        );
        assert_eq!(with("{resources: [gatewayclasses/status], verbs: [patch]}"), Ok(()));
        let error = with("{resources: [namespaces], verbs: [get, patch]}").expect_err("it writes");
        assert_eq!(error, "a ClusterRole grants to patch namespaces");
    }

    #[test]
    fn a_role_of_others_is_not_granted_and_none_is_to_others() {
        let own = granted("ClusterRole", "", READS_SECRETS);
        let theirs = own.replace(
            "roleRef: {kind: ClusterRole, name: r}",
            "roleRef: {kind: ClusterRole, name: cluster-admin}",
        );
        let error = judged(&theirs, &[]).expect_err("it is not ours");
        assert!(error.contains("cluster-admin, which the chart does not have"), "{error}");
        let all = own.replace(
            "{kind: ServiceAccount, name: c, namespace: gwapi-system}",
            "{kind: Group, name: all}",
        );
        let error = judged(&all, &[]).expect_err("it is everybody");
        assert!(error.contains("is of Group all"), "{error}");
    }

    #[test]
    fn notes_tell_of_the_grant_and_why_where_there_is_one() {
        let grant = "It may read Secrets of all\nnamespaces, as a ReferenceGrant; --set watchNamespaces={a}.";
        assert!(judge_notes(grant, &[]).is_ok());
        assert!(judge_notes("It reads Secrets.", &[]).is_err());
        assert!(judge_notes(grant, &["shop"]).is_err());
        assert!(judge_notes("It looks into shop, sale.", &["shop", "sale"]).is_ok());
        assert!(judge_notes("It looks into shop.", &["shop", "sale"]).is_err());
    }
}
