//! What has to be done so that what is there becomes what has to be there.

use std::collections::BTreeMap;

use gwapi_translate::infrastructure::Routability;
use kube::core::DynamicObject;
use serde_json::Value;

use super::assign::KnownService;
use super::drift::{covers, difference, kept, seal, sealed};
use super::kind::ManagedKind;
use super::live::{Key, Live, LiveObjects};
use super::objects::{Manifest, ROUTABILITY_ANNOTATION};
use super::succession::instance;

/// What has to be done for a Gateway.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    /// Objects to make or to change, in this order.
    pub(super) apply: Vec<Step>,
    /// Objects to delete.
    pub(super) delete: Vec<Removal>,
}

/// An object to make or to change.
#[derive(Debug, PartialEq)]
pub(super) struct Step {
    /// What it has to be.
    pub(super) manifest: Manifest,
    /// The uid of the one that is there and ours; `None` where there is none that we know of.
    pub(super) known: Option<String>,
    /// The version of that one.
    pub(super) version: Option<String>,
    /// The number of pods that the autoscaler is to start from: until now it was the user's, and an
    /// API server takes what nobody asks for any more back to 1.
    pub(super) hand_over: Option<i64>,
    /// The first field that is not as it has to be; `None` where there is no object yet.
    pub(super) differs: Option<String>,
}

/// An object to delete.
#[derive(Debug, PartialEq)]
pub(super) struct Removal {
    /// Kind and name.
    pub(super) key: Key,
    /// The one that is meant, and no other of that name.
    pub(super) uid: String,
}

impl Plan {
    /// Whether there is nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        self.apply.is_empty() && self.delete.is_empty()
    }

    /// Leaves Services where they are.
    pub(super) fn spare_services(&mut self) {
        self.delete.retain(|removal| removal.key.0 != ManagedKind::Service);
    }
}

/// What was applied last, and what came of it: what the API server makes of a manifest in a way that we do not
/// expect is not applied again and again.
#[derive(Debug, Default)]
pub(super) struct Settled(BTreeMap<Key, Answer>);

/// What the API server answered when a manifest was applied.
#[derive(Debug)]
struct Answer {
    /// Which manifest it was.
    seal: Value,
    /// Version of the object.
    version: String,
    /// What of the manifest is kept, if not all of it.
    kept: Option<Value>,
}

impl Settled {
    /// Nothing was applied yet.
    pub(super) const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Notes what came of a manifest that was applied.
    pub(super) fn record(&mut self, manifest: &Manifest, object: &DynamicObject) {
        let Some(version) = object.metadata.resource_version.clone() else { return };
        let seal = seal(manifest).clone();
        let answer = serde_json::to_value(object).unwrap_or_default();
        let kept = Some(kept(&answer, &manifest.object)).filter(|kept| *kept != manifest.object);
        let key = (manifest.kind, manifest.name.clone());
        self.0.insert(key, Answer { seal, version, kept });
    }

    /// Whether what is there is what came of this manifest.
    pub(super) fn has(&self, key: &Key, live: &Value, manifest: &Manifest) -> bool {
        self.0.get(key).is_some_and(|answer| {
            let is_unchanged = || live["metadata"]["resourceVersion"] == *answer.version;
            let has_what_is_kept = |kept| covers(live, kept);
            answer.seal == *seal(manifest)
                && (is_unchanged() || answer.kept.as_ref().is_some_and(has_what_is_kept))
        })
    }
}

/// Compares what has to be there with what is. `owner` is the uid of the Gateway; what belongs to a
/// former one of its name has to go first.
///
/// Pods, and what counts them, wait until their account is there: their template names it.
pub(super) fn plan(
    manifests: Vec<Manifest>,
    owner: &str,
    live: &LiveObjects,
    settled: &Settled,
) -> Plan {
    let mut plan = Plan::default();
    let mut wanted: Vec<Key> = Vec::new();
    let mut workload: Option<Key> = None;
    let mut accounts = manifests.iter().filter(|it| it.kind == ManagedKind::ServiceAccount);
    let has_account = accounts.any(|it| account_uid(&it.name, owner, live).is_some());
    for manifest in manifests {
        let key = (manifest.kind, manifest.name.clone());
        wanted.push(key.clone());
        if manifest.kind.is_workload() {
            workload = Some(key.clone());
        }
        let there = live.get(&key);
        // What is on its way out, or has to be, makes room before its successor comes.
        if there.is_some_and(|it| !it.is_of(owner)) {
            continue;
        }
        if manifest.kind > ManagedKind::Service && !has_account {
            continue;
        }
        let manifest = sealed(manifest);
        let is_as_wanted = there.is_some_and(|it| {
            covers(&it.object, &manifest.object) || settled.has(&key, &it.object, &manifest)
        });
        if !is_as_wanted {
            let hand_over = there.and_then(|it| hand_over(&it.object, &manifest));
            let version = there.and_then(|it| it.object["metadata"]["resourceVersion"].as_str());
            plan.apply.push(Step {
                known: there.map(|it| it.uid.clone()),
                version: version.map(str::to_owned),
                hand_over,
                differs: there.and_then(|it| difference(&it.object, &manifest.object)),
                manifest,
            });
        }
    }
    let former = workload.map(|it| predecessors(&it, owner, live)).unwrap_or_default();
    for (key, it) in live.iter().filter(|(_, it)| !it.is_terminating) {
        let is_ours = it.owner_uid == owner;
        let is_needed = || former.iter().any(|workload| is_needed_by(workload, key, it));
        let stays = is_ours && (wanted.contains(key) || is_needed());
        if !stays {
            plan.delete.push(Removal { key: key.clone(), uid: it.uid.clone() });
        }
    }
    plan
}

/// What serves until `successor` does: a Deployment that becomes a DaemonSet, or the reverse, and what a Gateway
/// had in its former class, until no Service leads there any more.
fn predecessors<'a>(successor: &Key, owner: &str, live: &'a LiveObjects) -> Vec<&'a Key> {
    let serves = serves(successor, owner, live);
    let is_led_to = |name: &str| {
        let mut services = live.iter().filter(|(key, _)| key.0 == ManagedKind::Service);
        services.any(|(_, it)| {
            it.is_of(owner) && instance(&it.object["spec"]["selector"]) == Some(name)
        })
    };
    let others =
        live.iter().filter(|(key, it)| key.0.is_workload() && *key != successor && it.is_of(owner));
    let others = others.map(|(key, _)| key);
    others.filter(|(_, name)| !serves || *name != successor.1 && is_led_to(name)).collect()
}

/// Whether a workload that serves for now needs an object: itself, or who its pods are, what they mount and what
/// says how many of them there are. Services have names of their own.
fn is_needed_by(workload: &Key, key: &Key, it: &Live) -> bool {
    let is_part = key.0 != ManagedKind::Service && !key.0.is_workload();
    let labels = &it.object["metadata"]["labels"];
    key == workload || is_part && instance(labels) == Some(&workload.1)
}

/// The uid of a ServiceAccount that is there to stay and belongs to the Gateway with the uid `owner`.
pub(super) fn account_uid<'a>(name: &str, owner: &str, live: &'a LiveObjects) -> Option<&'a str> {
    let account = live.get(&(ManagedKind::ServiceAccount, name.to_owned()))?;
    account.is_of(owner).then_some(account.uid.as_str())
}

/// The Services that a Gateway has.
pub(super) fn known_services(owner: &str, live: &LiveObjects) -> Vec<KnownService> {
    let services = live.iter().filter(|(key, it)| key.0 == ManagedKind::Service && it.is_of(owner));
    services.map(|((_, name), it)| known_service(name, &it.object)).collect()
}

fn known_service(name: &str, service: &Value) -> KnownService {
    let ip = |value: &Value| value.as_str().and_then(|text| text.parse().ok());
    let spec = &service["spec"];
    let cluster_ips: Vec<_> =
        spec["clusterIPs"].as_array().into_iter().flatten().filter_map(ip).collect();
    let has = if spec["type"] == "LoadBalancer" {
        let ingress = service["status"]["loadBalancer"]["ingress"].as_array();
        ingress.into_iter().flatten().filter_map(|it| ip(&it["ip"])).collect()
    } else {
        cluster_ips.clone()
    };
    let routability = &service["metadata"]["annotations"][ROUTABILITY_ANNOTATION];
    KnownService {
        name: name.to_owned(),
        is_for_cluster: *routability == Routability::Cluster.as_str(),
        asks_for: ip(&spec["loadBalancerIP"]),
        has,
        cluster_ips,
    }
}

/// Whether this Deployment or DaemonSet of a Gateway has a pod that is ready.
pub(super) fn serves(workload: &Key, owner: &str, live: &LiveObjects) -> bool {
    live.get(workload).is_some_and(|it| it.is_of(owner) && ready_pods(it) > 0)
}

/// How many pods of a Deployment or DaemonSet are ready, as it counts them.
pub(super) fn ready_pods(live: &Live) -> i64 {
    let status = &live.object["status"];
    ["readyReplicas", "numberReady"].iter().find_map(|it| status[it].as_i64()).unwrap_or(0)
}

/// The number of pods to hand over to the autoscaler, if it takes the place of a fixed one.
fn hand_over(live: &Value, manifest: &Manifest) -> Option<i64> {
    let is_freed = manifest.kind == ManagedKind::Deployment
        && manifest.object["spec"].get("replicas").is_none();
    live["spec"]["replicas"].as_i64().filter(|number| is_freed && *number > 1)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use gwapi_translate::infrastructure::{GatewayInfrastructure, RequestedAddress};
    use serde_json::json;

    use super::super::assign;
    use super::super::objects::{INSTANCE_LABEL, objects};
    use super::super::settings::ProvisionSettings;
    use super::super::succession::keep_led;
    use super::super::testing::{bootstrap, wanted};
    use super::*;

    fn manifests(wanted: &GatewayInfrastructure, live: &LiveObjects) -> Vec<Manifest> {
        let services = assign(wanted, &[]);
        let account = account_uid(&wanted.name, &wanted.uid, live);
        objects(wanted, &services, &ProvisionSettings::default(), &bootstrap(), account)
    }

    fn planned(wanted: &GatewayInfrastructure, live: &LiveObjects) -> Plan {
        plan(manifests(wanted, live), &wanted.uid, live, &Settled::default())
    }

    /// What is there after the manifests were applied: at first the account, then everything.
    fn applied(wanted: &GatewayInfrastructure) -> LiveObjects {
        let first = applied_to(wanted, &LiveObjects::new());
        applied_to(wanted, &first)
    }

    fn applied_to(wanted: &GatewayInfrastructure, live: &LiveObjects) -> LiveObjects {
        let manifests = manifests(wanted, live);
        let live = |manifest: Manifest| {
            let live = Live {
                uid: format!("uid of {}", manifest.name),
                owner_uid: wanted.uid.clone(),
                is_terminating: false,
                object: sealed(manifest.clone()).object,
            };
            ((manifest.kind, manifest.name), Arc::new(live))
        };
        manifests.into_iter().map(live).collect()
    }

    fn change(live: &mut LiveObjects, kind: ManagedKind, change: impl Fn(&mut Live)) {
        for (_, it) in live.iter_mut().filter(|(key, _)| key.0 == kind) {
            change(Arc::get_mut(it).expect("nobody else has it"));
        }
    }

    fn kinds(steps: &[Step]) -> Vec<ManagedKind> {
        steps.iter().map(|step| step.manifest.kind).collect()
    }

    fn removed(plan: &Plan) -> Vec<ManagedKind> {
        plan.delete.iter().map(|it| it.key.0).collect()
    }

    #[test]
    fn everything_is_made_once_and_then_there_is_nothing_to_do() {
        let wanted = wanted();
        let first = planned(&wanted, &LiveObjects::new());
        use ManagedKind::{ConfigMap, Deployment, Service, ServiceAccount};
        assert_eq!(kinds(&first.apply), [ServiceAccount, ConfigMap, Service]);
        let mut live = applied(&wanted);
        live.retain(|key, _| key.0 <= Service);
        assert_eq!(kinds(&planned(&wanted, &live).apply), [Deployment], "its account is there");
        assert!(planned(&wanted, &applied(&wanted)).is_empty());
    }

    #[test]
    fn pods_are_replaced_when_their_account_is_another() {
        let wanted = wanted();
        let mut live = applied(&wanted);
        let account = live.remove(&(ManagedKind::ServiceAccount, "web-gwapi".to_owned()));
        let mut account = account.expect("it was there");
        let plan = planned(&wanted, &live);
        assert_eq!(kinds(&plan.apply), [ManagedKind::ServiceAccount]);
        assert_eq!(removed(&plan), [], "the pods serve meanwhile");

        Arc::get_mut(&mut account).expect("nobody else has it").uid = "made anew".to_owned();
        live.insert((ManagedKind::ServiceAccount, "web-gwapi".to_owned()), account.clone());
        let plan = planned(&wanted, &live);
        assert_eq!(kinds(&plan.apply), [ManagedKind::Deployment]);
        let template = &plan.apply[0].manifest.object["spec"]["template"]["metadata"];
        assert_eq!(template["annotations"]["gwapi.dev/service-account-uid"], "made anew");
    }

    #[test]
    fn no_pod_is_changed_for_an_account_that_is_about_to_go() {
        let mut wanted = wanted();
        let mut live = applied(&wanted);
        change(&mut live, ManagedKind::ServiceAccount, |it| it.is_terminating = true);
        wanted.parameters.workload.replicas = Some(3);
        assert!(planned(&wanted, &live).is_empty());
    }

    /// AD-9: by what tells it from Services that follow the parameters.
    #[test]
    fn a_service_for_an_address_of_the_cluster_is_known_as_one() {
        let mut wanted = wanted();
        let cluster = RequestedAddress::ANY.with(Routability::Cluster);
        wanted.addresses = vec![RequestedAddress::ANY, cluster];
        wanted.parameters.service.load_balancer_class = Some("example.test/fast".to_owned());
        let known = known_services(&wanted.uid, &applied(&wanted));
        let known: Vec<_> = known.iter().map(|it| (&*it.name, it.is_for_cluster)).collect();
        assert_eq!(known, [("web-gwapi", false), ("web-gwapi-2", true)]);
    }

    #[test]
    fn drift_is_repaired() {
        let wanted = wanted();
        let mut live = applied(&wanted);
        change(&mut live, ManagedKind::Service, |it| {
            it.object["spec"]["ports"][0]["port"] = json!(81)
        });
        let plan = planned(&wanted, &live);
        assert_eq!(kinds(&plan.apply), [ManagedKind::Service]);
        assert_eq!(plan.apply[0].known.as_deref(), Some("uid of web-gwapi"));
    }

    #[test]
    fn what_the_api_server_changes_in_its_own_way_is_applied_once() {
        let wanted = wanted();
        let mut live = applied(&wanted);
        change(&mut live, ManagedKind::Service, |it| {
            it.object["spec"]["ports"][0]["port"] = json!(81);
            it.object["metadata"]["resourceVersion"] = json!("7");
        });
        let service = &live[&(ManagedKind::Service, "web-gwapi".to_owned())].object;
        let mut settled = Settled::default();
        let answer = serde_json::from_value(service.clone()).expect("an object");
        let service = manifests(&wanted, &live).into_iter().map(sealed);
        let service = service.into_iter().find(|it| it.kind == ManagedKind::Service);
        settled.record(&service.expect("it is wanted"), &answer);
        assert!(plan(manifests(&wanted, &live), &wanted.uid, &live, &settled).is_empty());
        change(&mut live, ManagedKind::Service, |it| {
            it.object["metadata"]["resourceVersion"] = json!("8");
        });
        let again = plan(manifests(&wanted, &live), &wanted.uid, &live, &settled);
        assert_eq!(kinds(&again.apply), [ManagedKind::Service]);
    }

    #[test]
    fn what_the_api_server_leaves_out_is_not_missed_in_later_versions_either() {
        let mut wanted = wanted();
        let patch = json!({"spec": {"containers": [
            {"name": "proxy", "env": [{"name": "EMPTY", "value": ""}]},
        ]}});
        wanted.parameters.workload.pod_template_patch = patch.as_object().cloned();
        let mut live = applied(&wanted);
        let env = "/spec/template/spec/containers/0/env";
        change(&mut live, ManagedKind::Deployment, |it| {
            it.object["metadata"]["resourceVersion"] = json!("7");
            let env = it.object.pointer_mut(env).and_then(Value::as_array_mut);
            let empty = env.into_iter().flatten().find(|it| it["name"] == "EMPTY");
            empty.and_then(Value::as_object_mut).expect("it is there").remove("value");
        });
        let first = planned(&wanted, &live);
        assert_eq!(kinds(&first.apply), [ManagedKind::Deployment]);
        let answer = &live[&(ManagedKind::Deployment, "web-gwapi".to_owned())].object;
        let answer = serde_json::from_value(answer.clone()).expect("an object");
        let mut settled = Settled::default();
        settled.record(&first.apply[0].manifest, &answer);
        let again = |live: &LiveObjects| {
            let plan = plan(manifests(&wanted, live), &wanted.uid, live, &settled);
            kinds(&plan.apply)
        };
        assert_eq!(again(&live), []);
        change(&mut live, ManagedKind::Deployment, |it| {
            it.object["metadata"]["resourceVersion"] = json!("8");
            it.object["status"]["readyReplicas"] = json!(1);
        });
        assert_eq!(again(&live), []);
        change(&mut live, ManagedKind::Deployment, |it| it.object["spec"]["replicas"] = json!(0));
        change(&mut live, ManagedKind::Deployment, |it| {
            *it.object.pointer_mut(env).expect("it is there") = json!([]);
        });
        assert_eq!(again(&live), [ManagedKind::Deployment]);
    }

    #[test]
    fn what_belongs_to_a_former_gateway_of_the_name_goes_first() {
        let wanted = wanted();
        let mut live = applied(&wanted);
        change(&mut live, ManagedKind::Deployment, |it| it.owner_uid = "former".to_owned());
        let plan = planned(&wanted, &live);
        assert_eq!(kinds(&plan.apply), []);
        assert_eq!(removed(&plan), [ManagedKind::Deployment]);
    }

    #[test]
    fn what_is_on_its_way_out_is_waited_for() {
        let wanted = wanted();
        let mut live = applied(&wanted);
        change(&mut live, ManagedKind::Service, |it| it.is_terminating = true);
        assert!(planned(&wanted, &live).is_empty());
    }

    #[test]
    fn the_old_workload_serves_until_the_new_one_does() {
        let mut wanted = wanted();
        let mut live = applied(&wanted);
        wanted.parameters.workload.kind = Some(gwapi_model::WorkloadKind::DaemonSet);
        let change_of_kind = planned(&wanted, &live);
        assert_eq!(kinds(&change_of_kind.apply), [ManagedKind::DaemonSet]);
        assert_eq!(removed(&change_of_kind), []);
        live.extend(applied(&wanted));
        change(&mut live, ManagedKind::DaemonSet, |it| {
            it.object["status"]["numberReady"] = json!(1);
        });
        assert_eq!(removed(&planned(&wanted, &live)), [ManagedKind::Deployment]);
    }

    /// What there is to a Gateway whose Services lead to the pods of its former class, which are ready.
    fn moved(wanted: &mut GatewayInfrastructure) -> LiveObjects {
        wanted.parameters.workload.autoscaling = Some(gwapi_model::AutoscalingParameters {
            min_replicas: None,
            max_replicas: 9,
            target_cpu_utilization_percentage: None,
        });
        let mut live = applied(wanted);
        change(&mut live, ManagedKind::Deployment, |it| {
            it.object["status"]["readyReplicas"] = json!(1);
        });
        wanted.parameters.workload.autoscaling = None;
        wanted.class = "other".to_owned();
        wanted.name = "web-other".to_owned();
        live
    }

    /// What is planned for a Gateway with these objects, and to whose pods its Service is to lead.
    fn succeeded(wanted: &GatewayInfrastructure, live: &LiveObjects) -> (Plan, Option<String>) {
        let services = assign(wanted, &known_services(&wanted.uid, live));
        let account = account_uid(&wanted.name, &wanted.uid, live);
        let settings = ProvisionSettings::default();
        let mut made = objects(wanted, &services, &settings, &bootstrap(), account);
        keep_led(&mut made, &wanted.uid, live);
        let service = made.iter().find(|it| it.kind == ManagedKind::Service);
        assert_eq!(service.map(|it| &*it.name), Some("web-gwapi"), "its address stays");
        let led = service.and_then(|it| instance(&it.object["spec"]["selector"]));
        let led = led.map(str::to_owned);
        (plan(made, &wanted.uid, live, &Settled::default()), led)
    }

    #[test]
    fn what_a_gateway_had_in_its_former_class_serves_until_its_new_pods_do() {
        use ManagedKind::{
            ConfigMap, Deployment, HorizontalPodAutoscaler as Autoscaler, Service, ServiceAccount,
        };
        let mut wanted = wanted();
        let mut live = moved(&mut wanted);
        let (plan, led) = succeeded(&wanted, &live);
        assert_eq!(led.as_deref(), Some("web-gwapi"));
        assert_eq!(removed(&plan), []);

        live.extend(applied(&wanted).into_iter().filter(|(key, _)| key.0 != Service));
        let (_, led) = succeeded(&wanted, &live);
        assert_eq!(led.as_deref(), Some("web-gwapi"), "the new pods are not ready");

        let successor = (Deployment, "web-other".to_owned());
        let ready = Arc::get_mut(live.get_mut(&successor).expect("it is there"));
        ready.expect("nobody else has it").object["status"]["readyReplicas"] = json!(1);
        let (plan, led) = succeeded(&wanted, &live);
        assert_eq!(led.as_deref(), Some("web-other"));
        assert_eq!(kinds(&plan.apply), [Service]);
        assert_eq!(removed(&plan), [], "the Service leads there until it was changed");

        change(&mut live, Service, |it| {
            it.object["spec"]["selector"][INSTANCE_LABEL] = json!("web-other");
        });
        let (plan, _) = succeeded(&wanted, &live);
        assert_eq!(removed(&plan), [ServiceAccount, ConfigMap, Deployment, Autoscaler]);
        assert!(plan.delete.iter().all(|it| it.key.1.starts_with("web-gwapi")), "{plan:?}");
    }

    #[test]
    fn a_service_that_is_made_while_a_gateway_moves_leads_to_the_pods_that_serve() {
        let mut wanted = wanted();
        let mut live = moved(&mut wanted);
        live.retain(|key, _| key.0 != ManagedKind::Service);
        wanted.name = "web-gwapi".to_owned();
        let former = live.remove(&(ManagedKind::Deployment, "web-gwapi".to_owned()));
        live.insert(
            (ManagedKind::Deployment, "web-former".to_owned()),
            former.expect("it was there"),
        );
        assert_eq!(succeeded(&wanted, &live).1.as_deref(), Some("web-former"));
        change(&mut live, ManagedKind::Deployment, |it| it.object["status"] = json!({}));
        assert_eq!(succeeded(&wanted, &live).1.as_deref(), Some("web-gwapi"));
    }

    #[test]
    fn services_are_spared_where_nothing_takes_their_place_yet() {
        let mut wanted = wanted();
        let live = applied(&wanted);
        wanted.parameters.service.existing_service = Some("front".to_owned());
        let mut plan = planned(&wanted, &live);
        assert_eq!(removed(&plan), [ManagedKind::Service]);
        plan.spare_services();
        assert!(plan.is_empty(), "{plan:?}");
    }

    #[test]
    fn nothing_is_left_when_nothing_is_wanted() {
        let live = applied(&wanted());
        assert_eq!(plan(Vec::new(), "", &live, &Settled::default()).delete.len(), live.len());
    }

    #[test]
    fn an_autoscaler_starts_from_the_pods_that_are_there() {
        let mut wanted = wanted();
        wanted.parameters.workload.replicas = Some(3);
        let live = applied(&wanted);
        wanted.parameters.workload.replicas = None;
        wanted.parameters.workload.autoscaling = Some(gwapi_model::AutoscalingParameters {
            min_replicas: None,
            max_replicas: 9,
            target_cpu_utilization_percentage: None,
        });
        let plan = planned(&wanted, &live);
        let step = plan.apply.iter().find(|it| it.manifest.kind == ManagedKind::Deployment);
        assert_eq!(step.and_then(|step| step.hand_over), Some(3));
    }
}
