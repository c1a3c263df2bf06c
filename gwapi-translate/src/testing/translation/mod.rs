//! Laws of translation, over event sequences in a small universe of names.
//!
//! * [`incremental_equals_full`]: the deltas of a [`Translator`] add up to [`translate`] of the
//!   final resources after every step, and hold nothing that did not change.
//! * [`well_formed`]: what holds of every translation.
//! * [`services_are_made_where_none_leads_to_the_pods`]: which Services a cluster lacks for XBackends.
//! * [`traffic`]: what conditions claim of traffic holds of it.
//!
//! [`laws`] checks all of them on generated cases. Counter-examples print one event a line.

/// Leaves with a message unless something holds.
macro_rules! ensure {
    ($holds:expr, $($message:tt)+) => {
        if !$holds {
            return Err(format!($($message)+));
        }
    };
}

mod resources;
mod selections;
mod steps;
pub mod traffic;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use gwapi_model::status::{Condition, ConditionStatus, ConditionType, ListenerStatus, Status};
use gwapi_model::{
    Kind, NamespacedName, ObjectId, ParentReference, ResourceEvent, Resources, TelemetryPolicy,
};

use super::{CounterExample, check_law};
use crate::ir::{
    BackendKey, BackendTarget, CertificateKey, GatewayConfig, GatewayId, IrKey, IrResource,
    ListenerFilter, ListenerKey,
};
use crate::{
    AddressPolicy, Feedback, Options, Translation, TranslationDelta, Translator, translate,
};
pub use resources::{name, resource, worlds};
use selections::selections_are_of_what_is_sent_to;
pub use selections::services_are_made_where_none_leads_to_the_pods;
pub use steps::{Step, show, steps};
use steps::{options, steps_of_selections};

/// Checks every law on generated cases.
///
/// # Errors
///
/// A counter-example.
pub fn laws(cases: u32) -> Result<(), CounterExample> {
    check_law(
        "the deltas of a translator add up to the translation of the final resources",
        cases,
        &steps(),
        |steps| show_steps(steps),
        |steps| incremental_equals_full(steps),
    )?;
    check_law(
        "so do those of a translator whose XBackends select pods in a cluster",
        cases,
        &steps_of_selections(),
        |steps| show_steps(steps),
        |steps| incremental_equals_full(steps),
    )?;
    check_law(
        "a Service has to be made for what a route sends to where none of a user leads to the pods",
        cases,
        &steps_of_selections(),
        |steps| show_steps(steps),
        |steps| services_are_made_where_none_leads_to_the_pods(steps),
    )?;
    check_law(
        "every translation is well-formed",
        cases,
        &(proptest::collection::vec(resource(), 0..40), options()),
        |(resources, options)| {
            let lines: Vec<String> = resources.iter().map(show).collect();
            format!("{}\n{options:?}\n", lines.join("\n"))
        },
        |(resources, options)| {
            let resources: Resources = resources.iter().cloned().collect();
            let translation = translate(&resources, options);
            well_formed(&resources, &translation, options)?;
            unread_objects_change_nothing(&resources, &translation, options)
        },
    )
}

fn show_steps(steps: &[Step]) -> String {
    let lines = steps.iter().enumerate();
    lines.map(|(index, step)| format!("{index}. {step:?}\n")).collect()
}

/// The law: after every step the deltas add up to [`translate`] of what is there, they hold
/// nothing that did not change, and doing the same again changes nothing. What was said of an object
/// counts as long as it is that one.
///
/// # Errors
///
/// Where it does not hold: the step, and what differs.
pub fn incremental_equals_full(steps: &[Step]) -> Result<(), String> {
    let mut translator = Translator::new(Options::default());
    let mut sum = Translation::default();
    let mut resources = Resources::default();
    let mut words = Words::default();
    for (index, step) in steps.iter().enumerate() {
        if let Step::Events(events) = step {
            events.iter().for_each(|event| resources.apply(event.clone()));
        }
        let delta = take(&mut translator, step);
        ensure!(resources == *translator.resources(), "step {index}: other resources are known");
        let waste = waste(&delta, &sum);
        ensure!(waste.is_empty(), "step {index} told of no change: {waste:?}\n{step:?}");
        sum.apply(&delta);
        words.take(step, &sum);
        let full = full(&resources, translator.options(), &words);
        ensure!(
            sum == full,
            "after step {index} the deltas add up to something else (-full +sum):\n{}\n{step:?}",
            difference(&full, &sum)
        );
        ensure!(sum == *translator.translation(), "step {index}: the translator disagrees");
        let again = take(&mut translator, step);
        ensure!(again.is_empty(), "step {index} done twice changed {again:?}\n{step:?}");
    }
    Ok(())
}

fn take(translator: &mut Translator, step: &Step) -> TranslationDelta {
    match step {
        Step::Events(events) => translator.apply_all(events.iter().cloned()),
        Step::Options(options) => translator.set_options(options.clone()),
        Step::InstalledBundle(bundle) => translator.set_installed_bundle(bundle.clone()),
        Step::ClusterTrustBundles(served) => translator.set_cluster_trust_bundles(*served),
        Step::SessionKeys(keys) => translator.set_session_keys(keys.clone()),
        Step::Feedback(gateway, said) => translator.set_feedback(gateway, said.clone()),
        Step::Selection(backend, uid, said) => {
            translator.set_selection_problem(backend, uid, said.clone())
        }
    }
}

/// What was said of objects, each with the uid of the one that it is about: one that is made anew under the name
/// of another inherits nothing.
#[derive(Default)]
struct Words {
    /// Without a uid where a Gateway has no proxies of its own: then what is said is about those that all share.
    feedback: BTreeMap<GatewayId, (Option<String>, Feedback)>,
    problems: BTreeMap<NamespacedName, (String, Option<String>)>,
}

impl Words {
    /// Takes in what a step says, and forgets what is about an object that is gone, or about nothing any more.
    fn take(&mut self, step: &Step, translation: &Translation) {
        let Translation { config, infrastructure, selections, .. } = translation;
        let is_selected_for = |backend: &NamespacedName, uid: &str| {
            selections.get(backend).is_some_and(|it| it.uid == uid)
        };
        match step {
            Step::Feedback(gateway, said) => {
                self.feedback.insert(gateway.clone(), (None, said.clone()));
            }
            // One that is late is about an object that is gone.
            Step::Selection(backend, uid, said) if is_selected_for(backend, uid) => {
                self.problems.insert(backend.clone(), (uid.clone(), said.clone()));
            }
            _ => {}
        }
        self.feedback.retain(|gateway, (of, _)| {
            let wanted = infrastructure.get(gateway).map(|it| it.uid.clone());
            let former = std::mem::replace(of, wanted.filter(|uid| !uid.is_empty()));
            let is_another = former.zip(of.as_ref()).is_some_and(|(former, of)| former != *of);
            config.contains_key(gateway) && !is_another
        });
        self.problems.retain(|backend, (uid, _)| is_selected_for(backend, uid));
    }
}

fn full(resources: &Resources, options: &Options, words: &Words) -> Translation {
    let mut full = translate(resources, options);
    let Words { feedback, problems } = words;
    if !feedback.is_empty() || !problems.is_empty() {
        let mut translator = Translator::new(options.clone());
        let _ = translator.apply_all(resources.iter().map(ResourceEvent::Apply));
        for (gateway, (_, said)) in feedback {
            full.apply(&translator.set_feedback(gateway, said.clone()));
        }
        for (backend, (uid, said)) in problems {
            full.apply(&translator.set_selection_problem(backend, uid, said.clone()));
        }
    }
    full
}

/// What a delta says although it is so already.
fn waste(delta: &TranslationDelta, before: &Translation) -> Vec<String> {
    let mut waste = Vec::new();
    let empty = GatewayConfig::default();
    for (gateway, change) in &delta.config {
        let known = before.config.get(gateway);
        let config = known.unwrap_or(&empty);
        if change.is_empty() && known.is_some() {
            waste.push(format!("empty change of {gateway}"));
        }
        let same = |resource: &&IrResource| config.0.get(&resource.key()) == Some(*resource);
        waste.extend(change.upserts.iter().filter(same).map(|it| format!("same {}", it.key())));
        let absent = |key: &&IrKey| !config.0.contains_key(*key);
        waste.extend(change.removals.iter().filter(absent).map(|key| format!("absent {key}")));
    }
    let unknown = |gateway: &&GatewayId| !before.config.contains_key(*gateway);
    waste.extend(delta.removed_gateways.iter().filter(unknown).map(|id| format!("unknown {id}")));
    let same =
        |(id, status): &(&ObjectId, &Option<Status>)| before.status.get(*id) == status.as_ref();
    waste.extend(delta.status.iter().filter(same).map(|(id, _)| format!("same status of {id}")));
    let same = delta
        .infrastructure
        .iter()
        .filter(|(id, wanted)| before.infrastructure.get(*id) == wanted.as_ref());
    waste.extend(same.map(|(id, _)| format!("same infrastructure of {id}")));
    let same = delta
        .selections
        .iter()
        .filter(|(name, selection)| before.selections.get(*name) == selection.as_ref());
    waste.extend(same.map(|(name, _)| format!("same selection of {name}")));
    let same = delta.references.iter().filter(|(id, is)| before.references.contains(id) == **is);
    waste.extend(same.map(|(id, _)| format!("same reference to {id}")));
    waste
}

/// Where two translations differ, one entry a line.
pub fn difference(expected: &Translation, found: &Translation) -> String {
    let mut lines = Vec::new();
    let gateways: BTreeSet<_> = expected.config.keys().chain(found.config.keys()).collect();
    for gateway in gateways {
        match (expected.config.get(gateway), found.config.get(gateway)) {
            (Some(expected), Some(found)) => {
                compare(&format!("{gateway} "), &expected.0, &found.0, &mut lines);
            }
            (Some(_), None) => lines.push(format!("- Gateway {gateway}")),
            (None, _) => lines.push(format!("+ Gateway {gateway}")),
        }
    }
    compare("status ", &expected.status, &found.status, &mut lines);
    compare("infrastructure ", &expected.infrastructure, &found.infrastructure, &mut lines);
    compare("selection ", &expected.selections, &found.selections, &mut lines);
    let (expected, found) = (&expected.references, &found.references);
    lines.extend(expected.difference(found).map(|id| format!("- reference to {id}")));
    lines.extend(found.difference(expected).map(|id| format!("+ reference to {id}")));
    lines.join("\n")
}

fn compare<K: Ord + fmt::Display, V: PartialEq + serde::Serialize>(
    place: &str,
    expected: &BTreeMap<K, V>,
    found: &BTreeMap<K, V>,
    lines: &mut Vec<String>,
) {
    let show = |value: &V| serde_json::to_string(value).unwrap_or_default();
    let keys: BTreeSet<&K> = expected.keys().chain(found.keys()).collect();
    for key in keys {
        let (expected, found) = (expected.get(key), found.get(key));
        if expected != found {
            lines.extend(expected.map(|value| format!("- {place}{key} {}", show(value))));
            lines.extend(found.map(|value| format!("+ {place}{key} {}", show(value))));
        }
    }
}

/// The law: Secrets and ConfigMaps that nothing refers to have no effect, so that nobody has to keep
/// them.
fn unread_objects_change_nothing(
    resources: &Resources,
    translation: &Translation,
    options: &Options,
) -> Result<(), String> {
    let mut kept = resources.clone();
    let is_read =
        |name: &NamespacedName, kind| translation.references.contains(&name.object_id(kind));
    kept.secrets.retain(|name, _| is_read(name, Kind::Secret));
    kept.config_maps.retain(|name, _| is_read(name, Kind::ConfigMap));
    let without = translate(&kept, options);
    ensure!(without == *translation, "{}", difference(translation, &without));
    Ok(())
}

/// What holds of every translation: no reference inside a configuration leads nowhere, nothing is
/// there that is not used, every status is complete (RT-7, ST-2, ST-4), and attached routes are
/// counted (AR-4).
///
/// # Errors
///
/// What does not hold.
pub fn well_formed(
    resources: &Resources,
    translation: &Translation,
    options: &Options,
) -> Result<(), String> {
    let provisioned = options.addresses == AddressPolicy::Provisioned;
    // GC-6: what runs for a Gateway whose class is gone is left as it is, and nobody serves it.
    let is_classless = |gateway: &GatewayId| {
        let class = resources.gateways.get(gateway).map(|it| &*it.spec.gateway_class_name);
        class.is_some_and(|it| !resources.gateway_classes.contains_key(&GatewayId::new("", it)))
    };
    let (held, run): (BTreeMap<_, _>, BTreeMap<_, _>) = translation
        .infrastructure
        .iter()
        .partition(|(id, _)| !translation.config.contains_key(id) && is_classless(id));
    ensure!(held.values().all(|it| it.hold), "{held:?}");
    let serve: BTreeSet<_> = translation.config.keys().filter(|_| provisioned).collect();
    ensure!(run.keys().copied().collect::<BTreeSet<_>>() == serve, "{serve:?} serve, and {run:?}");
    for (gateway, infrastructure) in run {
        let ports: BTreeSet<u16> = infrastructure.ports.iter().map(|port| port.port).collect();
        let listening = translation.config[gateway].listeners().map(|it| it.port).collect();
        ensure!(ports == listening, "{gateway} listens on {listening:?}: {infrastructure:?}");
    }
    for (gateway, config) in &translation.config {
        ensure!(resources.gateways.contains_key(gateway), "{gateway} does not exist");
        config_is_well_formed(config, shown_to_backends(gateway, resources))?;
        routes_are_counted(gateway, config, resources, translation)?;
        missing_backends_are_told(config, resources, translation)?;
        refusing_listeners_are_told(gateway, config, resources, translation)?;
        tracing_is_told(gateway, config, resources, translation)?;
    }
    selections_are_of_what_is_sent_to(resources, translation, provisioned)?;
    for (id, status) in &translation.status {
        let object = resources.get(id);
        ensure!(object.is_some(), "{id} has a status and does not exist");
        let generation = object.map(|object| object.metadata().generation);
        let (lists, summaries) = condition_lists(id.kind, status);
        for conditions in lists {
            ensure!(conditions.len() <= 8, "{id}: {conditions:?}");
            let types: BTreeSet<_> = conditions.iter().map(|it| it.condition_type).collect();
            ensure!(types.len() == conditions.len(), "{id} repeats a condition");
            // of an XBackend there is no more to say than whether it is accepted.
            let is_x_backend = id.kind == Kind::XBackend;
            let summaries =
                summaries.iter().filter(|it| !is_x_backend || **it == ConditionType::Accepted);
            for summary in summaries {
                ensure!(types.contains(summary), "{id} lacks {summary}");
            }
            for condition in conditions {
                ensure!(Some(condition.observed_generation) == generation, "{id}: {condition:?}");
                let failed = condition.status != ConditionStatus::True;
                ensure!(!failed || !condition.message.is_empty(), "{id}: {condition:?}");
            }
        }
    }
    Ok(())
}

/// AR-4, LS-9: a listener counts the accepted routes that are attached to it by the object that holds it,
/// each once.
fn routes_are_counted(
    gateway: &GatewayId,
    config: &GatewayConfig,
    resources: &Resources,
    translation: &Translation,
) -> Result<(), String> {
    for (holder, key, listener) in listener_statuses(gateway, resources, translation)? {
        let attached = attached(&key, config);
        let accepted = attached.iter().filter(|it| is_accepted(it, &holder, translation));
        let accepted = accepted.count();
        ensure!(
            usize::try_from(listener.attached_routes) == Ok(accepted),
            "{holder} counts {} routes on {key}; {accepted} of {attached:?} are accepted",
            listener.attached_routes
        );
    }
    Ok(())
}

/// The status of every listener of a Gateway and of the ListenerSets that name it, each with the object that
/// holds it and with its key.
fn listener_statuses<'t>(
    gateway: &GatewayId,
    resources: &Resources,
    translation: &'t Translation,
) -> Result<Vec<(ObjectId, ListenerKey, &'t ListenerStatus)>, String> {
    let sets = resources.listener_sets.iter();
    let sets = sets.filter(|(_, set)| set.gateway().as_ref() == Some(gateway));
    let sets = sets.map(|(name, _)| name.object_id(Kind::ListenerSet));
    let mut found = Vec::new();
    for holder in std::iter::once(gateway.object_id(Kind::Gateway)).chain(sets) {
        let (listeners, is_set) = match translation.status.get(&holder) {
            Some(Status::Gateway(status)) => (&status.listeners, false),
            Some(Status::ListenerSet(status)) => (&status.listeners, true),
            _ => return Err(format!("{holder} has no status")),
        };
        for listener in listeners {
            let key = match is_set {
                true => ListenerKey::of_listener_set(&holder.namespaced_name(), &listener.name),
                false => ListenerKey::new(listener.name.as_str()),
            };
            found.push((holder.clone(), key, listener));
        }
    }
    Ok(found)
}

/// The routes with a rule on a listener.
fn attached(listener: &ListenerKey, config: &GatewayConfig) -> BTreeSet<ObjectId> {
    let http = config
        .http_rules()
        .filter(|rule| rule.listeners.contains(listener))
        .map(|rule| rule.route.object_id(rule.route_kind.kind()));
    let streams = config
        .stream_rules()
        .filter(|rule| rule.listeners.contains(listener))
        .map(|rule| rule.route.object_id(rule.route_kind.kind()));
    http.chain(streams).collect()
}

/// Whether a route is accepted by a reference to an object that holds listeners.
fn is_accepted(route: &ObjectId, holder: &ObjectId, translation: &Translation) -> bool {
    let Some(Status::Route(status)) = translation.status.get(route) else { return false };
    status.parents.iter().any(|parent| {
        let reference = &parent.parent_ref;
        let namespace = reference.namespace.as_deref().unwrap_or(&route.namespace);
        *namespace == *holder.namespace
            && *reference.name == *holder.name
            && reference.kind.as_deref() == Some(holder.kind.as_str())
            && parent.conditions.iter().any(|it| {
                it.condition_type == ConditionType::Accepted && it.status == ConditionStatus::True
            })
    })
}

/// HB-3, RT-10: a rule whose backend is not there belongs to a route that says so, unless a
/// BackendTLSPolicy keeps it from being reached (BT-5).
fn missing_backends_are_told(
    config: &GatewayConfig,
    resources: &Resources,
    translation: &Translation,
) -> Result<(), String> {
    let http = config.http_rules().map(|rule| {
        let named = rule.targets().map(|(key, _)| key);
        let named = named.chain(rule.mirrors()).chain(rule.authorizers());
        (&rule.key, rule.route.object_id(rule.route_kind.kind()), named.collect::<Vec<_>>())
    });
    let streams = config.stream_rules().map(|rule| {
        let named = rule.targets().map(|(key, _)| key);
        (&rule.key, rule.route.object_id(rule.route_kind.kind()), named.collect::<Vec<_>>())
    });
    for (rule, id, named) in http.chain(streams) {
        let present =
            named.into_iter().all(|key| is_there(key, config) || has_policy(key, resources));
        let resolved = translation.status.get(&id).is_some_and(|status| {
            let conditions = condition_lists(id.kind, status).0.into_iter().flatten();
            conditions.into_iter().all(|it| {
                it.condition_type != ConditionType::ResolvedRefs
                    || it.status == ConditionStatus::True
            })
        });
        ensure!(present || !resolved, "{id} claims that the backends of {rule} are there");
    }
    Ok(())
}

/// LF-2, LF-7: a listener whose filters let nobody through says so, unless a BackendTLSPolicy keeps it from
/// whom it would ask (BT-5).
fn refusing_listeners_are_told(
    gateway: &GatewayId,
    config: &GatewayConfig,
    resources: &Resources,
    translation: &Translation,
) -> Result<(), String> {
    let statuses = listener_statuses(gateway, resources, translation)?;
    for listener in config.listeners() {
        let refuses = listener.filters.iter().any(|filter| match filter {
            ListenerFilter::Refuse(_) => true,
            ListenerFilter::ExternalAuth(auth) => match &auth.target {
                BackendTarget::Backend(key) => {
                    !is_there(key, config) && !has_policy(key, resources)
                }
                _ => true,
            },
        });
        let told = statuses.iter().filter(|(_, key, _)| *key == listener.key);
        let mut told = told.map(|(_, _, status)| all_hold(&status.conditions));
        ensure!(told.all(|holds| !(refuses && holds)), "{listener:?} claims that all is well");
    }
    Ok(())
}

/// a Gateway is traced while one policy that asks for it says that it is accepted and that its references
/// resolve, and at no other time.
fn tracing_is_told(
    gateway: &GatewayId,
    config: &GatewayConfig,
    resources: &Resources,
    translation: &Translation,
) -> Result<(), String> {
    let holds = |(name, policy): &(&NamespacedName, &Arc<TelemetryPolicy>)| {
        let tracing = policy.spec.tracing.as_ref();
        let id = name.object_id(Kind::TelemetryPolicy);
        let Some(Status::Policy(status)) = translation.status.get(&id) else { return false };
        let mut of_gateway = status.ancestors.iter().filter(|it| {
            let ParentReference { namespace, name, .. } = &it.ancestor_ref;
            *name == *gateway.name && namespace.as_deref() == Some(&*gateway.namespace)
        });
        tracing.is_some_and(|it| it.mode.as_deref() == Some("Enabled"))
            && of_gateway.any(|ancestor| all_hold(&ancestor.conditions))
    };
    let holding: Vec<_> = resources.telemetry_policies.iter().filter(holds).collect();
    let traced = match config.0.get(&IrKey::Tracing) {
        Some(IrResource::Tracing(tracing)) => Some(&tracing.collector),
        _ => None,
    };
    ensure!(
        holding.len() == usize::from(traced.is_some()),
        "{gateway} has its spans sent to {traced:?}, and {holding:?} say that they hold"
    );
    let present = traced.is_none_or(|key| is_there(key, config) || has_policy(key, resources));
    ensure!(present, "{gateway} has its spans sent to {traced:?}, which is not there");
    Ok(())
}

/// Whether Accepted and ResolvedRefs are True.
fn all_hold(conditions: &[Condition]) -> bool {
    let summaries = [ConditionType::Accepted, ConditionType::ResolvedRefs];
    let mut conditions = conditions.iter().filter(|it| summaries.contains(&it.condition_type));
    conditions.all(|it| it.status == ConditionStatus::True)
}

fn is_there(key: &BackendKey, config: &GatewayConfig) -> bool {
    config.0.contains_key(&IrKey::Backend(key.clone()))
}

fn has_policy(key: &BackendKey, resources: &Resources) -> bool {
    let Some((namespace, service, _)) = key.service_port() else { return false };
    // TS-5: no policy is about what goes through as it is.
    if key.as_str().ends_with("/through") {
        return false;
    }
    resources.backend_tls_policies.values().any(|policy| {
        let mut targets = policy.spec.target_refs.iter();
        *policy.metadata.namespace == *namespace && targets.any(|target| target.name == service)
    })
}

/// TL-7: the certificate that a Gateway shows to its backends, whether it has any of those or not.
fn shown_to_backends(gateway: &GatewayId, resources: &Resources) -> Option<CertificateKey> {
    let tls = resources.gateways.get(gateway)?.spec.tls.as_ref()?;
    let reference = tls.backend.as_ref()?.client_certificate_ref.as_ref()?;
    let namespace = reference.namespace.as_deref().unwrap_or(&gateway.namespace);
    Some(CertificateKey::secret(namespace, &reference.name))
}

fn config_is_well_formed(
    config: &GatewayConfig,
    shown_to_backends: Option<CertificateKey>,
) -> Result<(), String> {
    let mut used: BTreeSet<_> = shown_to_backends.into_iter().map(IrKey::Certificate).collect();
    for listener in config.listeners() {
        used.insert(IrKey::Listener(listener.key.clone()));
        ensure!(!listener.addresses.is_empty(), "{listener:?}");
        for certificate in listener.protocol.certificates() {
            let key = IrKey::Certificate(certificate.clone());
            ensure!(config.0.contains_key(&key), "{listener:?} has no {key}");
            used.insert(key);
        }
        for key in listener.authorizers() {
            used.insert(IrKey::Backend(key.clone()));
            used.insert(IrKey::Endpoints(key.clone()));
        }
    }
    for rule in config.stream_rules() {
        used.insert(IrKey::StreamRule(rule.key.clone()));
        ensure!(!rule.listeners.is_empty() && rule.listeners.is_sorted(), "{rule:?}");
        for (key, _) in rule.targets() {
            used.insert(IrKey::Backend(key.clone()));
            used.insert(IrKey::Endpoints(key.clone()));
        }
    }
    for rule in config.http_rules() {
        used.insert(IrKey::HttpRule(rule.key.clone()));
        ensure!(!rule.matches.is_empty(), "{rule:?}");
        ensure!(!rule.listeners.is_empty() && rule.listeners.is_sorted(), "{rule:?}");
        let named = rule.targets().map(|(key, _)| key);
        for key in named.chain(rule.mirrors()).chain(rule.authorizers()) {
            used.insert(IrKey::Backend(key.clone()));
            used.insert(IrKey::Endpoints(key.clone()));
        }
    }
    if let Some(IrResource::Tracing(tracing)) = config.0.get(&IrKey::Tracing) {
        used.insert(IrKey::Tracing);
        used.insert(IrKey::Backend(tracing.collector.clone()));
        used.insert(IrKey::Endpoints(tracing.collector.clone()));
    }
    used.insert(IrKey::SessionKeys);
    // what is shown to a backend alone is there with it, and never without.
    for resource in config.0.values() {
        let IrResource::Backend(backend) = resource else { continue };
        let tls = backend.tls.iter().filter(|tls| tls.mutual);
        for shown in tls.map(|tls| tls.client_certificate.clone()) {
            let key = CertificateKey::of_backend(&backend.key);
            ensure!(shown.as_ref() == Some(&key), "{shown:?} is shown to {}", backend.key);
            ensure!(config.0.contains_key(&IrKey::Certificate(key.clone())), "there is no {key}");
            used.insert(IrKey::Certificate(key));
        }
    }
    for (key, resource) in &config.0 {
        ensure!(*key == resource.key(), "{key} holds {}", resource.key());
        ensure!(used.contains(key), "nothing uses {key}");
        let twin = match key {
            IrKey::Backend(key) => IrKey::Endpoints(key.clone()),
            IrKey::Endpoints(key) => IrKey::Backend(key.clone()),
            _ => continue,
        };
        ensure!(config.0.contains_key(&twin), "{key} stands alone");
    }
    Ok(())
}

/// The lists of conditions of a status, and the types that each of them must have.
fn condition_lists(kind: Kind, status: &Status) -> (Vec<&[Condition]>, Vec<ConditionType>) {
    use ConditionType::{Accepted, Programmed, ResolvedRefs};
    match status {
        Status::GatewayClass(status) => (vec![&status.conditions], vec![Accepted]),
        Status::Gateway(status) => {
            let listeners = status.listeners.iter().map(|it| it.conditions.as_slice());
            let lists = std::iter::once(status.conditions.as_slice()).chain(listeners).collect();
            (lists, vec![Accepted, Programmed, ResolvedRefs])
        }
        Status::ListenerSet(status) => {
            let listeners = status.listeners.iter().map(|it| it.conditions.as_slice());
            let lists = std::iter::once(status.conditions.as_slice()).chain(listeners).collect();
            (lists, vec![Accepted, Programmed])
        }
        Status::Policy(status) => {
            let lists = status.ancestors.iter().map(|it| it.conditions.as_slice()).collect();
            match kind {
                // It refers to nothing but its targets.
                Kind::BackendTrafficPolicy => (lists, vec![Accepted]),
                _ => (lists, vec![Accepted, ResolvedRefs]),
            }
        }
        Status::Route(status) => {
            let lists = status.parents.iter().map(|it| it.conditions.as_slice()).collect();
            (lists, vec![Accepted, ResolvedRefs])
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::strategy::{Strategy, ValueTree};

    use super::*;

    #[test]
    fn the_laws_of_translation_hold() -> Result<(), CounterExample> {
        laws(400)
    }

    /// what the law about selections is tried on.
    #[test]
    fn generated_selections_come_and_go_and_have_services_and_problems() {
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let mut reached = BTreeSet::new();
        for _ in 0..300 {
            let steps =
                steps_of_selections().new_tree(&mut runner).expect("it generates").current();
            let mut translator = Translator::new(Options::default());
            for step in &steps {
                let delta = take(&mut translator, step);
                reached.extend(delta.selections.values().map(|it| match it {
                    None => "none",
                    Some(it) if it.services.values().any(|leads| *leads) => "with pods",
                    Some(it) if it.services.is_empty() => "without a Service",
                    Some(_) => "without pods",
                }));
                let told = delta.status.values().flatten();
                let told = told.flat_map(|status| condition_lists(Kind::XBackend, status).0);
                let mut told = told.flatten();
                if told.any(|it| it.message.ends_with("none can be made for it: quota")) {
                    reached.insert("with a problem");
                }
            }
        }
        let expected = ["none", "with a problem", "with pods", "without a Service", "without pods"];
        assert_eq!(reached, expected.into());
    }

    /// What the generator never makes, no law is tried on.
    #[test]
    fn generated_events_reach_every_condition() {
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let mut reached = BTreeSet::new();
        for _ in 0..3000 {
            let steps = steps().new_tree(&mut runner).expect("it generates").current();
            let mut translator = Translator::new(Options::default());
            for step in &steps {
                let _ = take(&mut translator, step);
                for (id, status) in &translator.translation().status {
                    for condition in condition_lists(id.kind, status).0.into_iter().flatten() {
                        let Condition { condition_type, status, reason, .. } = condition;
                        reached.insert(format!("{condition_type} {status} {reason}"));
                    }
                }
                for config in translator.translation().config.values() {
                    let kinds = config.0.keys().map(|key| key.to_string());
                    reached.extend(kinds.filter_map(|it| it.split(' ').next().map(str::to_owned)));
                }
            }
        }
        for wanted in [
            "Accepted False Conflicted",
            "Accepted False HostnameConflict",
            "Accepted False IncompatibleFilters",
            "Accepted False Invalid",
            "Accepted False InvalidListenerFilter",
            "Accepted False InvalidParameters",
            "Accepted False ListenersNotValid",
            "Accepted False NoMatchingListenerHostname",
            "Accepted False NoMatchingParent",
            "Accepted False NoValidCACertificate",
            "Accepted False NotAllowed",
            "Accepted False NotAllowedByListeners",
            "Accepted False ParentNotAccepted",
            "Accepted False PortUnavailable",
            "Accepted False ProtocolConflict",
            "Accepted False TargetNotFound",
            "Accepted False UnsupportedAddress",
            "Accepted False UnsupportedProtocol",
            "Accepted False UnsupportedValue",
            "Accepted True ListenersNotValid",
            "Accepted Unknown Pending",
            "Certificate",
            "DefaultGateway True DefaultGateway",
            "Endpoints",
            "HttpRule",
            "InsecureFrontendValidationMode True ConfigurationChanged",
            "OverlappingTLSConfig True OverlappingHostnames",
            "PartiallyInvalid True UnsupportedValue",
            "Programmed False AddressNotAssigned",
            "Programmed False AddressNotUsable",
            "Programmed False HostnameConflict",
            "Programmed False ParentNotProgrammed",
            "Programmed True Programmed",
            "ResolvedRefs False BackendNotFound",
            "ResolvedRefs False InvalidCACertificateRef",
            "ResolvedRefs False InvalidCertificateRef",
            "ResolvedRefs False InvalidKind",
            "ResolvedRefs False InvalidListenerFilterRef",
            "ResolvedRefs False InvalidRouteKinds",
            "ResolvedRefs False ListenersNotResolved",
            "ResolvedRefs False RefNotPermitted",
            "ResolvedRefs False UnsupportedProtocol",
            "SessionKeys",
            "StreamRule",
            "SupportedVersion False UnsupportedVersion",
            "Tracing",
        ] {
            assert!(reached.contains(wanted), "no event leads to {wanted}; reached: {reached:#?}");
        }
    }
}
