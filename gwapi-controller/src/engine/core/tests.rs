//! The engine without an API server.

use gwapi_model::status::{
    Condition, ConditionReason, ConditionType, GatewayStatusAddress, Status,
};
use gwapi_model::{AddressType, Kind, manifest};
use gwapi_translate::AddressPolicy;
use gwapi_translate::features::InstalledBundle;
use gwapi_translate::infrastructure::{AddressAssignment, InfrastructureReport};
use gwapi_translate::ir::ListenerKey;
use serde_json::{Value, json};

use super::*;
use crate::watch::RawObject;

mod batches;

const CLASS: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: gwapi}
spec: {controllerName: gwapi.dev/gateway-controller}
";

const GATEWAY: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web}
spec:
  gatewayClassName: gwapi
  listeners: [{name: http, port: 80, protocol: HTTP}]
";

const ROUTE: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec: {parentRefs: [{name: web}], hostnames: [shop.example.com]}
";

fn resource(text: &str) -> Resource {
    let mut manifest = manifest::parse("test", text);
    assert_eq!(manifest.problems, [], "the manifest is fine");
    manifest.objects.remove(0).resource
}

/// An object of the version 1 that was read.
fn object(text: &str) -> Object {
    let resource = resource(text);
    Object {
        id: resource.id(),
        resource_version: "1".to_owned(),
        observed: None,
        content: Ok(resource),
    }
}

/// A Gateway with a listener for HTTPS, and the Secret that it refers to.
fn https(gateway: &str, secret: &str) -> Object {
    object(&format!(
        "{{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {{name: {gateway}}}, \
         spec: {{gatewayClassName: gwapi, listeners: [{{name: https, port: 443, protocol: HTTPS, \
         tls: {{certificateRefs: [{{name: {secret}}}]}}}}]}}}}"
    ))
}

fn secret(name: &str) -> ObjectId {
    ObjectId::new(Kind::Secret, "default", name)
}

/// An object as JSON that cannot be read: its listeners are no list.
fn broken_gateway(generation: i64) -> Object {
    broken_gateway_of("gwapi", generation)
}

fn broken_gateway_of(class: &str, generation: i64) -> Object {
    let json = json!({
        "metadata": {"name": "web", "namespace": "default", "generation": generation,
            "resourceVersion": "9"},
        "spec": {"gatewayClassName": class, "listeners": "many"},
    });
    let raw: RawObject<false> = serde_json::from_value(json).expect("any JSON is an object");
    Object::read(Kind::Gateway, raw, "us")
}

fn namespace(name: &str) -> Object {
    let json = json!({"metadata": {"name": name, "resourceVersion": "1"}});
    let raw: RawObject<false> = serde_json::from_value(json).expect("any JSON is an object");
    Object::read(Kind::Namespace, raw, "us")
}

fn source(kind: Kind) -> Source {
    Source { kind, namespace: None }
}

/// A route to the Service `web`, and that Service.
const TO_SERVICE: [&str; 2] = [
    "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec: {parentRefs: [{name: web}], rules: [{backendRefs: [{name: web, port: 443}]}]}
",
    "
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {ports: [{name: https, port: 443}]}
",
];

const KINDS: [Kind; 3] = [Kind::GatewayClass, Kind::Gateway, Kind::HttpRoute];

struct Test {
    core: Core,
    now: Instant,
}

impl Test {
    fn new(sources: Vec<Source>) -> Self {
        let core = Core::new(Options::default(), sources);
        let mut test = Self { core, now: Instant::now() };
        test.observe(Observation::Bundle(Some(InstalledBundle::new("v1.7.0"))));
        test
    }

    /// An engine that has listed these objects.
    fn live(objects: &[Object]) -> Self {
        let mut test = Self::new(KINDS.map(source).to_vec());
        for kind in KINDS {
            test.list(kind, objects);
        }
        test
    }

    fn list(&mut self, kind: Kind, objects: &[Object]) -> Step {
        let objects = objects.iter().filter(|object| object.id.kind == kind).cloned().collect();
        self.observe(Observation::Listed(source(kind), objects, "5".to_owned()))
    }

    fn apply(&mut self, object: Object) -> Step {
        self.observe(Observation::Applied(source(object.id.kind), object))
    }

    fn observe(&mut self, observation: Observation) -> Step {
        self.core.step(vec![Input::Observation(observation)], self.now)
    }

    /// Observations that come in one batch.
    fn observe_all(&mut self, observations: impl IntoIterator<Item = Observation>) -> Step {
        let inputs = observations.into_iter().map(Input::Observation).collect();
        self.core.step(inputs, self.now)
    }

    fn fetched(&mut self, id: ObjectId, object: Option<Object>) -> Step {
        self.observe(Observation::Fetched(source(id.kind), id, object))
    }

    fn serves(&self, gateway: &str) -> bool {
        let id = GatewayId::new("default", gateway);
        self.core.translator().translation().config.contains_key(&id)
    }
}

fn in_namespace(kind: Kind, namespace: &str) -> Source {
    Source { kind, namespace: Some(namespace.to_owned()) }
}

#[test]
fn a_watched_namespace_that_does_not_exist_blocks_no_other() {
    let (here, gone) = (in_namespace(Kind::Gateway, "here"), in_namespace(Kind::Gateway, "gone"));
    let namespaces = source(Kind::Namespace);
    let mut test = Test::new(vec![here.clone(), gone.clone(), namespaces.clone()]);
    let listed = |source: Source| Observation::Listed(source, Vec::new(), "5".to_owned());
    let forbidden = || Observation::Denied(gone.clone(), "forbidden".to_owned());
    test.observe(listed(here));
    assert!(!test.observe(forbidden()).went_live, "it may exist");
    assert!(test.observe(listed(namespaces.clone())).went_live);
    assert!(test.core.progress().missing_namespaces().contains("gone"));
    assert!(test.core.progress().failing().is_empty());
    assert_eq!(test.core.progress().obstacles(), [""; 0]);

    // Once it exists, what is wrong is said.
    test.observe(Observation::Applied(namespaces, namespace("gone")));
    test.observe(forbidden());
    assert!(test.core.progress().failing().contains_key(&gone));
    test.observe(listed(gone));
    assert!(test.core.progress().missing_namespaces().is_empty());
    assert!(test.core.progress().failing().is_empty());
}

/// A namespace that goes brings no kind.
#[test]
fn a_kind_that_the_cluster_does_not_have_stays_absent_while_a_watched_namespace_is_missing() {
    let gone = in_namespace(Kind::TcpRoute, "gone");
    let namespaces = source(Kind::Namespace);
    let mut test = Test::new(vec![gone.clone(), namespaces.clone()]);
    let listed = Observation::Listed(namespaces, vec![namespace("gone")], "5".to_owned());
    test.observe(listed);
    test.observe(Observation::Absent(gone.clone()));
    let leaving = ObjectId::new(Kind::Namespace, "", "gone");
    let namespaces = source(Kind::Namespace);
    test.observe(Observation::Deleted(namespaces.clone(), leaving, "6".to_owned()));
    test.observe(Observation::Denied(gone.clone(), "forbidden".to_owned()));
    assert!(test.core.progress().failing().is_empty());
    assert!(test.core.progress().absent().contains(&Kind::TcpRoute));

    test.observe(Observation::Applied(namespaces, namespace("gone")));
    test.observe(Observation::Absent(gone));
    assert!(test.core.progress().missing_namespaces().is_empty());
    assert!(test.core.progress().absent().contains(&Kind::TcpRoute));
}

/// An engine of a controller that watches the namespace `default` alone, with a Gateway there and its Secret.
fn in_one_namespace() -> Test {
    let gateways = in_namespace(Kind::Gateway, "default");
    let namespaces = source(Kind::Namespace);
    let mut test =
        Test::new(vec![source(Kind::GatewayClass), gateways.clone(), namespaces.clone()]);
    test.list(Kind::GatewayClass, &[object(CLASS)]);
    test.list(Kind::Namespace, &[namespace("default")]);
    test.observe(Observation::Listed(gateways, vec![https("web", "cert")], "5".to_owned()));
    let certificate = object("{apiVersion: v1, kind: Secret, metadata: {name: cert}}");
    assert!(test.fetched(secret("cert"), Some(certificate)).went_live);
    assert!(test.serves("web"));
    test
}

fn denied(kind: Kind) -> Observation {
    Observation::Denied(in_namespace(kind, "default"), "forbidden".to_owned())
}

fn no_namespace() -> Observation {
    deleted(ObjectId::new(Kind::Namespace, "", "default"))
}

/// The Roles of a namespace go with it, and what was in it may go after them: nothing tells of its end.
#[test]
fn what_was_in_a_namespace_goes_when_that_is_gone_and_must_not_be_read_whichever_is_told_first() {
    let gone = [(ObjectId::new(Kind::Gateway, "default", "web"), Heard::Gone)];
    for is_denied_first in [true, false] {
        let mut test = in_one_namespace();
        let mut told = [denied(Kind::Gateway), no_namespace()];
        if !is_denied_first {
            told.reverse();
        }
        let [first, second] = told;
        test.observe(first);
        assert!(test.serves("web"));
        assert_eq!(test.observe(second).heard, gone);
        assert!(!test.serves("web"));
        assert_eq!(test.core.progress().obstacles(), [""; 0]);
        assert!(test.observe(denied(Kind::Gateway)).deltas.is_empty());

        // Once there is a namespace of that name again, and its Roles, all is listed anew.
        test.apply(namespace("default"));
        let gateways = in_namespace(Kind::Gateway, "default");
        let listed = Observation::Listed(gateways, vec![object(GATEWAY)], "9".to_owned());
        test.observe(listed);
        assert!(test.serves("web"));
    }
}

/// One Gateway may refer to the Secret of another namespace.
#[test]
fn secrets_of_a_namespace_that_is_gone_are_missing() {
    let mut test = in_one_namespace();
    test.observe(denied(Kind::Secret));
    assert_eq!(test.core.resources().secrets.len(), 1, "it may be there");
    let step = test.observe(no_namespace());
    let resolved = condition(&step, Kind::Gateway, "web", ConditionType::ResolvedRefs);
    assert_eq!(resolved, Some(("ListenersNotResolved".to_owned(), 1)));
    assert!(test.core.resources().secrets.is_empty());
}

#[test]
fn what_must_not_be_read_in_passing_stays_as_long_as_its_namespace_may_be_there() {
    let mut test = in_one_namespace();
    test.observe(denied(Kind::Gateway));
    test.observe(denied(Kind::Secret));
    assert!(test.serves("web"));
    assert!(test.core.progress().failing().contains_key(&in_namespace(Kind::Gateway, "default")));

    // Whoever is not told of Namespaces does not know which there are.
    let mut test = in_one_namespace();
    test.observe(no_namespace());
    test.observe(Observation::Denied(source(Kind::Namespace), "forbidden".to_owned()));
    test.observe(denied(Kind::Gateway));
    assert!(test.serves("web"));
    test.observe(Observation::UpTo(source(Kind::Namespace), "9".to_owned()));
    assert!(!test.serves("web"));
}

/// Such a watch goes on where it ended, and tells nothing twice.
#[test]
fn a_watch_that_breaks_while_the_end_of_a_namespace_is_told_loses_nothing() {
    let mut test = in_one_namespace();
    test.observe(no_namespace());
    let gateways = in_namespace(Kind::Gateway, "default");
    test.observe(Observation::Failed(gateways, "connection reset".to_owned()));
    assert!(test.serves("web"));
    test.apply(namespace("default"));
    assert!(test.serves("web"));
}

/// The namespace of what is let in waits for the Secrets of that; it is there meanwhile.
#[test]
fn a_namespace_that_waits_for_secrets_exists() {
    let from = "{from: Selector, selector: {matchLabels: {team: web}}}";
    let open = format!(
        "{{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {{name: web}}, spec: \
         {{gatewayClassName: gwapi, allowedListeners: {{namespaces: {from}}}, \
         listeners: [{{name: http, port: 80, protocol: HTTP}}]}}}}"
    );
    let tls = "protocol: HTTPS, tls: {certificateRefs: [{name: cert}]}";
    let set = object(&LISTENER_SET.replace("protocol: HTTP", tls));
    let sets = in_namespace(Kind::ListenerSet, "default");
    let namespaces = source(Kind::Namespace);
    let gateways = in_namespace(Kind::Gateway, "default");
    let classes = source(Kind::GatewayClass);
    let sources = [&classes, &gateways, &sets, &namespaces];
    let mut test = Test::new(sources.map(Source::clone).to_vec());
    let listed = |source: &Source, object: Option<Object>| {
        Observation::Listed(source.clone(), object.into_iter().collect(), "5".to_owned())
    };
    test.observe(listed(&classes, Some(object(CLASS))));
    test.observe(listed(&gateways, Some(object(&open))));
    test.observe(listed(&namespaces, None));
    assert!(test.observe(listed(&sets, Some(set))).went_live);
    let labelled =
        "{apiVersion: v1, kind: Namespace, metadata: {name: default, labels: {team: web}}}";
    let step = test.apply(object(labelled));
    assert_eq!(step.references, [Reference::Added(secret("cert"))]);
    assert_eq!(test.core.deadline(), Some(test.now + PATIENCE), "it is held");
    test.observe(Observation::Denied(sets, "forbidden".to_owned()));
    let id = ObjectId::new(Kind::ListenerSet, "default", "more");
    assert!(test.core.resources().get(&id).is_some());
}

#[test]
fn a_namespace_that_exists_and_must_not_be_read_is_waited_for() {
    let gateways = in_namespace(Kind::Gateway, "here");
    let namespaces = source(Kind::Namespace);
    let mut test = Test::new(vec![gateways.clone(), namespaces.clone()]);
    let here = vec![namespace("here")];
    test.observe(Observation::Listed(namespaces, here, "5".to_owned()));
    assert!(!test.observe(Observation::Failed(gateways, "forbidden".to_owned())).went_live);
    assert!(test.core.progress().obstacles()[0].contains("forbidden"));
}

/// Reason and generation of a condition in the last status that a step tells of an object.
fn condition(
    step: &Step,
    kind: Kind,
    name: &str,
    condition_type: ConditionType,
) -> Option<(String, i64)> {
    let found = whole_condition(step, kind, name, condition_type)?;
    Some((found.reason.to_string(), found.observed_generation))
}

fn whole_condition(
    step: &Step,
    kind: Kind,
    name: &str,
    condition_type: ConditionType,
) -> Option<Condition> {
    let namespace = if kind.is_namespaced() { "default" } else { "" };
    let id = ObjectId::new(kind, namespace, name);
    let status = step.deltas.iter().rev().find_map(|delta| delta.status.get(&id))?.clone()?;
    let conditions = match status {
        Status::GatewayClass(status) => status.conditions,
        Status::Gateway(status) => status.conditions,
        Status::ListenerSet(status) => status.conditions,
        Status::Route(status) => status.parents.first()?.conditions.clone(),
        Status::Policy(status) => status.ancestors.first()?.conditions.clone(),
    };
    conditions.into_iter().find(|found| found.condition_type == condition_type)
}

#[test]
fn nothing_goes_out_before_all_kinds_are_listed_and_then_the_whole_state() {
    let objects = [object(CLASS), object(GATEWAY), object(ROUTE)];
    let mut test = Test::new(KINDS.map(source).to_vec());
    for kind in [Kind::HttpRoute, Kind::Gateway] {
        let step = test.list(kind, &objects);
        assert!(step.deltas.is_empty() && !step.went_live);
    }
    assert_eq!(test.core.progress().obstacles(), ["has not listed GatewayClass"]);
    let step = test.list(Kind::GatewayClass, &objects);
    assert!(step.went_live);
    let [delta] = &step.deltas[..] else { panic!("one whole state: {step:?}") };
    assert_eq!(delta.config.len(), 1);
    assert_eq!(delta.status.len(), 3);
    assert!(test.core.progress().obstacles().is_empty());
}

#[test]
fn a_kind_that_the_server_does_not_have_counts_as_listed_and_a_needed_one_is_missed() {
    let mut test = Test::new(KINDS.map(source).to_vec());
    test.list(Kind::GatewayClass, &[]);
    test.list(Kind::HttpRoute, &[]);
    assert!(test.observe(Observation::Absent(source(Kind::Gateway))).went_live);
    let obstacles = test.core.progress().obstacles();
    assert_eq!(obstacles.len(), 1);
    assert!(obstacles[0].contains("no Gateway: install the Gateway API with `kubectl apply "));

    let step = test.list(Kind::Gateway, &[]);
    assert!(!step.went_live);
    assert!(test.core.progress().obstacles().is_empty());
}

#[test]
fn classes_say_which_version_of_the_crds_is_not_supported() {
    let mut test = Test::live(&[object(CLASS)]);
    let step = test.observe(Observation::Bundle(Some(InstalledBundle::new("v2.0.0"))));
    let version = condition(&step, Kind::GatewayClass, "gwapi", ConditionType::SupportedVersion);
    assert_eq!(version, Some(("UnsupportedVersion".to_owned(), 1)));
    assert!(test.observe(Observation::Bundle(None)).deltas.len() == 1);
}

#[test]
fn what_is_not_listed_any_more_is_gone_within_its_namespace() {
    let in_namespace =
        |namespace: &str| Source { kind: Kind::Gateway, namespace: Some(namespace.to_owned()) };
    let sources = vec![source(Kind::GatewayClass), in_namespace("default"), in_namespace("other")];
    let mut test = Test::new(sources);
    test.list(Kind::GatewayClass, &[object(CLASS)]);
    let list = |namespace: &str, objects: Vec<Object>| {
        Observation::Listed(in_namespace(namespace), objects, "5".to_owned())
    };
    test.observe(list("default", vec![object(GATEWAY)]));
    test.observe(list("other", Vec::new()));
    test.observe(list("other", Vec::new()));
    assert!(test.serves("web"));
    let step = test.observe(list("default", Vec::new()));
    assert!(!test.serves("web"));
    assert_eq!(step.heard, [(ObjectId::new(Kind::Gateway, "default", "web"), Heard::Gone)]);
}

/// A watch that ended too long ago is followed by a list, which may come in the same batch.
#[test]
fn what_is_not_listed_any_more_is_gone_also_in_the_batch_that_brought_it() {
    let mut test = Test::live(&[object(CLASS)]);
    let listed = Observation::Listed(source(Kind::Gateway), Vec::new(), "9".to_owned());
    let step = test.observe_all([applied(object(GATEWAY)), listed]);
    assert!(!test.serves("web"));
    let web = ObjectId::new(Kind::Gateway, "default", "web");
    assert_eq!(step.heard, [(web, Heard::Gone)]);
}

#[test]
fn the_first_state_waits_for_the_secrets_that_are_referred_to() {
    let mut test = Test::live(&[object(CLASS), https("web", "cert")]);
    assert!(!test.serves("web"));
    assert!(test.core.progress().obstacles()[0].contains("Secrets"));
    let step = test.fetched(secret("cert"), None);
    assert!(step.went_live);
    let resolved = condition(&step, Kind::Gateway, "web", ConditionType::ResolvedRefs);
    assert_eq!(resolved, Some(("ListenersNotResolved".to_owned(), 1)));
}

#[test]
fn the_start_does_not_wait_for_what_is_referred_to_once_all_is_listed() {
    let mut test = Test::live(&[object(CLASS), https("web", "cert")]);
    test.apply(https("late", "one"));
    assert!(test.fetched(secret("cert"), None).went_live);
    assert!(test.serves("web") && !test.serves("late"), "it waits by itself");
    test.fetched(secret("one"), None);
    assert!(test.serves("late"));
}

#[test]
fn a_gateway_that_lets_no_listener_set_in_waits_for_none() {
    let mut test = Test::live(&[object(CLASS), object(GATEWAY)]);
    let tls = "protocol: HTTPS, tls: {certificateRefs: [{name: cert}]}";
    let step = test.apply(object(&LISTENER_SET.replace("protocol: HTTP", tls)));
    assert_eq!(step.references, []);
    test.apply(object(&GATEWAY.replace("port: 80", "port: 8080")));
    assert_eq!(test.core.deadline(), None, "nothing is held");
    let step = test.apply(object(OPEN_GATEWAY));
    assert_eq!(step.references, [Reference::Added(secret("cert"))]);
    assert_eq!(test.core.deadline(), Some(test.now + PATIENCE));
}

#[test]
fn a_gateway_waits_for_a_secret_that_is_being_read_and_others_do_not_wait_with_it() {
    let mut test = Test::live(&[object(CLASS)]);
    let step = test.apply(https("slow", "cert"));
    assert_eq!(step.references, [Reference::Added(secret("cert"))]);
    assert!(step.deltas.is_empty());
    assert_eq!(test.core.deadline(), Some(test.now + PATIENCE));
    test.apply(object(GATEWAY));
    assert!(test.serves("web") && !test.serves("slow"));
    test.fetched(secret("cert"), None);
    assert!(test.serves("slow"));
    assert_eq!(test.core.deadline(), None);
}

#[test]
fn a_secret_that_cannot_be_read_holds_up_its_gateway_for_a_short_time_only() {
    let mut test = Test::live(&[object(CLASS)]);
    test.apply(https("slow", "cert"));
    test.now += PATIENCE;
    let step = test.core.step(Vec::new(), test.now);
    assert!(test.serves("slow"));
    assert!(condition(&step, Kind::Gateway, "slow", ConditionType::Accepted).is_some());
}

#[test]
fn a_secret_that_nothing_refers_to_any_more_is_forgotten() {
    let mut test = Test::live(&[object(CLASS), https("web", "cert")]);
    let text = "{apiVersion: v1, kind: Secret, metadata: {name: cert}}";
    test.fetched(secret("cert"), Some(object(text)));
    assert_eq!(test.core.translator().resources().secrets.len(), 1);
    let step = test.apply(object(GATEWAY));
    assert_eq!(step.references, [Reference::Removed(secret("cert"))]);
    assert!(test.core.translator().resources().secrets.is_empty());
    test.fetched(secret("cert"), Some(object(text)));
    assert!(test.core.translator().resources().secrets.is_empty(), "it came too late");
}

/// What was asked for before may arrive while it is asked for once more.
#[test]
fn a_secret_that_arrives_in_the_batch_that_lets_it_go_and_refers_to_it_again_is_there() {
    let mut test = Test::live(&[object(CLASS), https("web", "cert")]);
    let certificate = || object("{apiVersion: v1, kind: Secret, metadata: {name: cert}}");
    test.fetched(secret("cert"), Some(certificate()));
    let arrived = Observation::Fetched(source(Kind::Secret), secret("cert"), Some(certificate()));
    let step = test.observe_all([applied(object(GATEWAY)), applied(https("web", "cert")), arrived]);
    let changes = [Reference::Removed(secret("cert")), Reference::Added(secret("cert"))];
    assert_eq!(step.references, changes);
    assert_eq!(test.core.resources().secrets.len(), 1);
}

#[test]
fn an_object_that_cannot_be_read_keeps_its_last_good_version_and_says_so() {
    let mut test = Test::live(&[object(CLASS), object(GATEWAY), object(ROUTE)]);
    let step = test.apply(broken_gateway(2));
    let accepted = condition(&step, Kind::Gateway, "web", ConditionType::Accepted);
    assert_eq!(accepted, Some(("Invalid".to_owned(), 2)));
    let programmed = condition(&step, Kind::Gateway, "web", ConditionType::Programmed);
    assert_eq!(programmed, Some(("Invalid".to_owned(), 2)));
    assert!(test.serves("web"));

    // A list says the same once more, and a change elsewhere does not undo it.
    assert!(test.list(Kind::Gateway, &[broken_gateway(2)]).deltas.is_empty());
    assert!(test.serves("web"));
    let more = ROUTE.replace("shop", "more");
    let step = test.apply(object(&more));
    let accepted = condition(&step, Kind::Gateway, "web", ConditionType::Accepted);
    assert_eq!(accepted, Some(("Invalid".to_owned(), 2)), "the listener counts one route more");

    let mut mended = resource(GATEWAY);
    mended.metadata_mut().generation = 3;
    let mended = Object { content: Ok(mended), ..object(GATEWAY) };
    let step = test.apply(mended);
    let accepted = condition(&step, Kind::Gateway, "web", ConditionType::Accepted);
    assert_eq!(accepted, Some(("Accepted".to_owned(), 3)));
}

#[test]
fn an_object_that_could_never_be_read_is_told_of_and_holds_up_nothing() {
    let mut test = Test::live(&[object(CLASS), broken_gateway(1), object(ROUTE)]);
    assert!(!test.serves("web"));
    assert_eq!(test.core.progress().unreadable, 1);
    let more = GATEWAY.replace("web", "more");
    let step = test.apply(object(&more));
    assert!(test.serves("more"));
    assert_eq!(condition(&step, Kind::Gateway, "web", ConditionType::Accepted), None);

    let web = ObjectId::new(Kind::Gateway, "default", "web");
    let gone = Observation::Deleted(source(Kind::Gateway), web, "10".to_owned());
    test.observe(gone);
    assert_eq!(test.core.progress().unreadable, 0);
}

/// Somebody has to take back what was said, or it would be said of the next object of that name.
#[test]
fn of_an_object_that_could_never_be_read_nothing_is_said_any_more_when_it_is_gone() {
    let mut test = Test::live(&[object(CLASS)]);
    let id = ObjectId::new(Kind::Gateway, "default", "web");
    let status = |step: &Step| step.deltas.iter().find_map(|delta| delta.status.get(&id).cloned());
    let step = test.apply(broken_gateway(3));
    assert!(matches!(status(&step), Some(Some(_))));
    let step = test.observe(deleted(id.clone()));
    assert_eq!(status(&step), Some(None));
}

#[test]
fn an_unreadable_gateway_may_ask_for_anything_unless_it_is_of_the_class_of_another_controller() {
    let theirs = CLASS
        .replace("name: gwapi", "name: theirs")
        .replace("gwapi.dev/gateway-controller", "example.com/other");
    let knows_all = |class: &str| {
        let mut test = Test::live(&[object(CLASS), object(&theirs)]);
        assert!(test.core.knows_all_gateways());
        test.apply(broken_gateway_of(class, 1));
        test.core.knows_all_gateways()
    };
    assert!(!knows_all("gwapi"), "it is ours");
    assert!(knows_all("theirs"));
    assert!(!knows_all("unknown"), "it may be ours tomorrow, as it may have been yesterday");
}

/// A Gateway that lets ListenerSets of its namespace in.
const OPEN_GATEWAY: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web}
spec:
  gatewayClassName: gwapi
  allowedListeners: {namespaces: {from: Same}}
  listeners: [{name: http, port: 80, protocol: HTTP}]
";

const LISTENER_SET: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: ListenerSet
metadata: {name: more}
spec:
  parentRef: {name: web}
  listeners: [{name: more, port: 81, protocol: HTTP}]
";

fn broken_listener_set(generation: i64) -> Object {
    let json = json!({
        "metadata": {"name": "more", "namespace": "default", "generation": generation},
        "spec": {"parentRef": {"name": "web"}, "listeners": "many"},
    });
    let raw: RawObject<false> = serde_json::from_value(json).expect("any JSON is an object");
    Object::read(Kind::ListenerSet, raw, "us")
}

fn attached_sets(statuses: &BTreeMap<ObjectId, Option<Status>>) -> Option<i32> {
    match statuses.get(&ObjectId::new(Kind::Gateway, "default", "web"))? {
        Some(Status::Gateway(status)) => status.attached_listener_sets,
        _ => None,
    }
}

#[test]
fn a_listener_set_that_cannot_be_read_is_not_accepted_and_not_counted_and_is_served() {
    let mut test = Test::live(&[object(CLASS), object(OPEN_GATEWAY)]);
    let counted = |step: &Step| step.deltas.iter().rev().find_map(|it| attached_sets(&it.status));
    assert_eq!(counted(&test.apply(object(LISTENER_SET))), Some(1));
    let step = test.apply(broken_listener_set(2));
    let programmed = whole_condition(&step, Kind::ListenerSet, "more", ConditionType::Programmed);
    assert_eq!(programmed.map(|it| it.message).as_deref(), Some("the ListenerSet is not accepted"));
    let accepted = condition(&step, Kind::ListenerSet, "more", ConditionType::Accepted);
    assert_eq!(accepted, Some(("Invalid".to_owned(), 2)));
    assert_eq!(counted(&step), Some(0));
    let gateway = GatewayId::new("default", "web");
    let listeners = test.core.translator().translation().config[&gateway].listeners().count();
    assert_eq!(listeners, 2, "its last good version is served");

    // Neither another change of the Gateway nor one that cannot be read either brings it back.
    assert_eq!(counted(&test.apply(object(ROUTE))), Some(0));
    let step = test.apply(broken_gateway(2));
    assert_eq!(counted(&step), Some(0));
    assert_eq!(attached_sets(&test.core.statuses()), Some(0));
    let mut mended = resource(OPEN_GATEWAY);
    mended.metadata_mut().generation = 3;
    let step = test.apply(Object { content: Ok(mended), ..object(OPEN_GATEWAY) });
    assert_eq!(counted(&step), Some(0));
    assert_eq!(attached_sets(&test.core.statuses()), Some(0));

    assert_eq!(counted(&test.apply(object(LISTENER_SET))), Some(1));
    test.apply(broken_listener_set(3));
    let step = test.observe(deleted(ObjectId::new(Kind::ListenerSet, "default", "more")));
    assert_eq!(counted(&step), None);
    assert!(condition(&step, Kind::Gateway, "web", ConditionType::Accepted).is_some());
}

/// A policy that cannot be read, for the port `https` of a Service; for none where its name is empty.
fn broken_policy(generation: i64, service: &str) -> Object {
    let json = json!({
        "metadata": {
            "name": "web", "namespace": "default", "generation": generation,
            "creationTimestamp": "2026-01-31T12:00:00Z",
        },
        "spec": {
            "targetRefs": [
                {"group": "", "kind": if service.is_empty() { "Other" } else { "Service" },
                 "name": service, "sectionName": "https"},
                {"group": "example.com", "kind": "Service", "name": "other"},
            ],
            "validation": 7,
        },
    });
    let raw: RawObject<false> = serde_json::from_value(json).expect("any JSON is an object");
    Object::read(Kind::BackendTlsPolicy, raw, "gwapi")
}

/// The same policy, as it can be read.
fn sound_policy(service: &str) -> Object {
    object(&format!(
        "{{apiVersion: gateway.networking.k8s.io/v1, kind: BackendTLSPolicy, metadata: {{name: web}}, \
         spec: {{targetRefs: [{{group: '', kind: Service, name: {service}}}], validation: \
         {{hostname: web.example.com, wellKnownCACertificates: System}}}}}}"
    ))
}

fn policy() -> ObjectId {
    ObjectId::new(Kind::BackendTlsPolicy, "default", "web")
}

fn applied(object: Object) -> Observation {
    Observation::Applied(source(object.id.kind), object)
}

fn deleted(id: ObjectId) -> Observation {
    Observation::Deleted(source(id.kind), id, "10".to_owned())
}

/// A Service with a port of it, if only one is meant.
type Target = (String, Option<String>);

impl Test {
    /// The Services of the policy that counts, each with its port, and the hostname that it asks for;
    /// what stands in for a policy asks for none.
    fn policy(&self) -> Option<(Vec<Target>, String)> {
        let Some(Resource::BackendTlsPolicy(policy)) = self.core.resources().get(&policy()) else {
            return None;
        };
        let targets = policy.spec.target_refs.iter();
        let targets = targets.map(|target| (target.name.clone(), target.section_name.clone()));
        Some((targets.collect(), policy.spec.validation.hostname.clone()))
    }

    /// The Services for whose sake something stands in for the policy.
    fn stand_in(&self) -> Option<Vec<String>> {
        let (targets, hostname) = self.policy()?;
        hostname.is_empty().then(|| targets.into_iter().map(|(name, _)| name).collect())
    }
}

#[test]
fn a_policy_that_could_never_be_read_has_something_to_stand_in_for_it() {
    let mut test = Test::live(&[]);
    test.apply(broken_policy(2, "web"));
    assert_eq!(test.core.progress().unreadable, 1);
    assert_eq!(test.stand_in(), Some(vec!["web".to_owned()]));
    test.observe(deleted(policy()));
    assert_eq!(test.policy(), None);
}

#[test]
fn a_policy_that_could_never_be_read_says_that_requests_fail_and_one_that_could_what_is_served() {
    let told = |first: Option<Object>| {
        let mut test = Test::live(&[object(CLASS), object(GATEWAY)]);
        TO_SERVICE.iter().for_each(|text| _ = test.apply(object(text)));
        first.into_iter().for_each(|first| _ = test.apply(first));
        let step = test.apply(broken_policy(2, "web"));
        [ConditionType::Accepted, ConditionType::ResolvedRefs].map(|condition_type| {
            let found = whole_condition(&step, Kind::BackendTlsPolicy, "web", condition_type);
            let found = found.expect("a status for the Gateway");
            assert_eq!(found.observed_generation, 2);
            (found.reason.to_string(), found.message)
        })
    };
    let [accepted, resolved] = told(None);
    assert_eq!(accepted.0, "Invalid");
    assert!(accepted.1.ends_with("; requests of its Services fail until this is put right"));
    assert_eq!(resolved.0, "Pending");
    let [accepted, resolved] = told(Some(sound_policy("web")));
    assert!(accepted.1.ends_with("; generation 1 is served until this is put right"));
    assert_eq!((accepted.0.as_str(), resolved.0.as_str()), ("Invalid", "ResolvedRefs"));
}

#[test]
fn what_stands_in_for_a_policy_is_as_old_as_it_and_for_the_ports_that_it_was_for() {
    let mut test = Test::live(&[]);
    // What stands in for one version is none that is kept when the next one cannot be read either, not even
    // where one in between names no Service.
    for (generation, service) in [(1, "web"), (2, ""), (3, "api")] {
        test.apply(broken_policy(generation, service));
        if service.is_empty() {
            assert_eq!(test.policy(), None);
            continue;
        }
        let Some(Resource::BackendTlsPolicy(found)) = test.core.resources().get(&policy()) else {
            panic!("nothing stands in for the policy")
        };
        assert_eq!(found.metadata.generation, generation);
        assert_eq!(found.metadata.creation_timestamp, "2026-01-31T12:00:00Z".parse().ok());
        let https = Some("https".to_owned());
        assert_eq!(test.policy().map(|it| it.0), Some(vec![(service.to_owned(), https)]));
    }
}

#[test]
fn a_policy_that_is_made_anew_and_cannot_be_read_leaves_its_service_to_what_stands_in_for_it() {
    let mut test = Test::live(&[]);
    test.apply(sound_policy("web"));
    test.observe_all([deleted(policy()), applied(broken_policy(1, "web"))]);
    assert_eq!(test.stand_in(), Some(vec!["web".to_owned()]));
}

#[test]
fn what_stands_in_for_the_last_of_two_versions_in_a_batch_is_there_whatever_the_first_was_for() {
    let mut test = Test::live(&[]);
    test.apply(broken_policy(1, "web"));
    test.observe_all([applied(broken_policy(2, "")), applied(broken_policy(3, "web"))]);
    assert_eq!(test.stand_in(), Some(vec!["web".to_owned()]));
}

#[test]
fn what_stands_in_for_a_policy_goes_with_the_batch_whose_last_version_is_for_no_service() {
    let mut test = Test::live(&[]);
    test.observe_all([applied(broken_policy(1, "web")), applied(broken_policy(2, ""))]);
    assert_eq!(test.policy(), None);
    test.apply(broken_policy(3, "api"));
    assert_eq!(test.stand_in(), Some(vec!["api".to_owned()]));
}

#[test]
fn the_last_version_of_a_policy_that_could_be_read_counts_also_in_the_batch_that_brings_it() {
    let mut test = Test::live(&[]);
    test.observe_all([applied(sound_policy("web")), applied(broken_policy(2, "web"))]);
    assert_eq!(test.policy().map(|it| it.1), Some("web.example.com".to_owned()));
}

#[test]
fn a_route_that_cannot_be_read_is_refused_by_the_gateways_of_ours_that_it_names() {
    let mut test = Test::live(&[object(CLASS), object(GATEWAY)]);
    let json = json!({
        "metadata": {"name": "shop", "namespace": "default", "generation": 4},
        "spec": {"parentRefs": [{"name": "web"}, {"name": "theirs"}], "rules": {}},
    });
    let raw: RawObject<false> = serde_json::from_value(json).expect("any JSON is an object");
    let step = test.apply(Object::read(Kind::HttpRoute, raw, "us"));
    let accepted = condition(&step, Kind::HttpRoute, "shop", ConditionType::Accepted);
    assert_eq!(accepted, Some(("UnsupportedValue".to_owned(), 4)));
    let id = ObjectId::new(Kind::HttpRoute, "default", "shop");
    let status = step.deltas.last().and_then(|delta| delta.status[&id].clone());
    let Some(Status::Route(status)) = status else { panic!("a status of a route") };
    assert_eq!(status.parents.len(), 1);
}

/// A route to the XBackend `pods`, and that XBackend.
const TO_X_BACKEND: [&str; 2] = [
    "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec:
  parentRefs: [{name: web}]
  rules: [{backendRefs: [{group: gateway.networking.x-k8s.io, kind: XBackend, name: pods}]}]
",
    "
apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XBackend
metadata: {name: pods}
spec:
  type: EndpointSelector
  endpointSelector: {matchLabels: {app: pods}}
  port: {number: 80}
",
];

/// The same XBackend in a version that cannot be read.
fn broken_x_backend() -> Object {
    let json = json!({
        "metadata": {"name": "pods", "namespace": "default", "generation": 2},
        "spec": {"type": "EndpointSelector", "endpointSelector": "app=pods", "port": {"number": 80}},
    });
    let raw: RawObject<false> = serde_json::from_value(json).expect("any JSON is an object");
    Object::read(Kind::XBackend, raw, "gwapi")
}

/// What the last word of a step on the XBackend is, if there is any.
fn told_of_x_backend(step: &Step) -> Option<Option<Status>> {
    let id = ObjectId::new(Kind::XBackend, "default", "pods");
    step.deltas.iter().rev().find_map(|delta| delta.status.get(&id)).cloned()
}

/// X-2, ST-2, ST-6
#[test]
fn an_x_backend_that_cannot_be_read_says_so_while_somebody_sends_to_it() {
    let shop = ObjectId::new(Kind::HttpRoute, "default", "shop");
    let sent_to = || {
        let mut test = Test::live(&[object(CLASS), object(GATEWAY)]);
        TO_X_BACKEND.iter().for_each(|text| _ = test.apply(object(text)));
        test
    };
    let mut test = sent_to();
    let step = test.apply(broken_x_backend());
    let accepted = whole_condition(&step, Kind::XBackend, "pods", ConditionType::Accepted);
    let accepted = accepted.expect("a status for the Gateway");
    assert_eq!((accepted.reason, accepted.observed_generation), (ConditionReason::Invalid, 2));
    assert!(accepted.message.ends_with("; generation 1 is served until this is put right"));
    let step = test.observe(deleted(shop.clone()));
    assert_eq!(told_of_x_backend(&step), Some(None), "nobody sends to it any more");

    // The last route goes with the version that can be read.
    let step = sent_to().observe_all([applied(broken_x_backend()), deleted(shop)]);
    assert_eq!(told_of_x_backend(&step), Some(None), "nobody sends to it any more");
}

/// ST-6: what concerns a Gateway of ours is told also where no version could ever be read.
#[test]
fn experimental_objects_that_could_never_be_read_say_so_to_the_gateways_that_they_concern() {
    let broken = |kind: Kind, spec: serde_json::Value| {
        let json = json!({
            "metadata": {"name": "pods", "namespace": "default", "generation": 3}, "spec": spec,
        });
        let raw: RawObject<false> = serde_json::from_value(json).expect("any JSON is an object");
        Object::read(kind, raw, "gwapi")
    };
    let target =
        |group: &str, kind: &str, name: &str| json!({"group": group, "kind": kind, "name": name});
    let group = "gateway.networking.x-k8s.io";
    let mut test = Test::live(&[object(CLASS), object(GATEWAY)]);
    let shop = ObjectId::new(Kind::HttpRoute, "default", "shop");
    let traffic = [target("", "Service", "web"), target(group, "XBackend", "pods")];
    let traffic = json!({"targetRefs": traffic, "retryConstraint": 7});
    let gateways =
        ["web", "theirs"].map(|name| target("gateway.networking.k8s.io", "Gateway", name));
    let telemetry = json!({"targetRefs": gateways, "tracing": 7});
    let told = |step: &Step, kind| {
        let accepted = whole_condition(step, kind, "pods", ConditionType::Accepted)?;
        Some((accepted.reason, accepted.observed_generation))
    };
    let expected = Some((ConditionReason::Invalid, 3));

    let step = test.apply(broken(Kind::TelemetryPolicy, telemetry));
    assert_eq!(told(&step, Kind::TelemetryPolicy), expected);
    let id = ObjectId::new(Kind::TelemetryPolicy, "default", "pods");
    let status = step.deltas.last().and_then(|delta| delta.status[&id].clone());
    let Some(Status::Policy(status)) = status else { panic!("a status of a policy") };
    assert_eq!(status.ancestors.len(), 1, "{status:?}");

    // Nobody sends anything there yet.
    let step = test.apply(broken(Kind::BackendTrafficPolicy, traffic));
    assert_eq!(told(&step, Kind::BackendTrafficPolicy), None);
    let step = test.apply(broken(Kind::XBackend, json!({"endpointSelector": 7})));
    assert_eq!(told(&step, Kind::XBackend), None);
    let step = test.apply(object(TO_X_BACKEND[0]));
    for kind in [Kind::BackendTrafficPolicy, Kind::XBackend] {
        assert_eq!(told(&step, kind), expected, "{kind}");
    }
    let step = test.observe(deleted(shop));
    for kind in [Kind::BackendTrafficPolicy, Kind::XBackend] {
        let id = ObjectId::new(kind, "default", "pods");
        let last = step.deltas.iter().rev().find_map(|delta| delta.status.get(&id));
        assert_eq!(last, Some(&None), "nobody sends to it any more");
    }
    let step = test.observe(deleted(ObjectId::new(Kind::Gateway, "default", "web")));
    let last = step.deltas.iter().rev().find_map(|delta| delta.status.get(&id));
    assert_eq!(last, Some(&None), "the Gateway is gone");
}

/// What was provided for the Gateway `web` that has this uid.
fn provided(uid: &str, infrastructure: InfrastructureReport) -> Input {
    let gateway = GatewayId::new("default", "web");
    Input::Infrastructure(ProvisionReport { gateway, uid: uid.to_owned(), infrastructure })
}

/// A list may tell of both at once, and what was said of the former one may be on its way still.
#[test]
fn what_was_said_of_a_former_gateway_is_not_said_of_the_one_that_has_its_name() {
    let options = Options { addresses: AddressPolicy::Provisioned, ..Options::default() };
    let core = Core::new(options, KINDS.map(source).to_vec());
    let mut test = Test { core, now: Instant::now() };
    test.observe(Observation::Bundle(None));
    let gateway =
        |uid: &str| object(&GATEWAY.replace("name: web}", &format!("name: web, uid: {uid}}}")));
    for kind in KINDS {
        test.list(kind, &[object(CLASS), gateway("a")]);
    }
    let report = InfrastructureReport { ready: true, ..InfrastructureReport::default() };
    let unbound = [(ListenerKey::new("http"), "in use".to_owned())].into();
    let feedback = Feedback { unbound, ..Feedback::default() };
    let id = GatewayId::new("default", "web");
    let by_proxies = |uid: &str| Input::Proxies(id.clone(), uid.to_owned(), feedback.clone());
    let all = || Feedback { infrastructure: report.clone(), ..feedback.clone() };
    test.core.step(vec![by_proxies("a"), provided("a", report.clone())], test.now);
    assert_eq!(test.core.report(&id), all());

    test.list(Kind::Gateway, &[gateway("b")]);
    assert_eq!(test.core.report(&id), Feedback::default());
    test.core.step(vec![by_proxies("a"), provided("a", report.clone())], test.now);
    assert_eq!(test.core.report(&id), Feedback::default());
    test.core.step(vec![by_proxies("b"), provided("b", report.clone())], test.now);
    assert_eq!(test.core.report(&id), all());
    let listed = Observation::Listed(source(Kind::Gateway), vec![gateway("c")], "6".to_owned());
    let at_once = vec![by_proxies("b"), Input::Observation(listed), provided("b", report.clone())];
    test.core.step(at_once, test.now);
    assert_eq!(test.core.report(&id), Feedback::default());
}

/// AD-5: whoever leads next knows from it where the Gateway is reached, whatever else changes.
#[test]
fn the_addresses_in_the_status_of_a_gateway_are_known_until_it_has_none() {
    let gateway = |addresses: Value| {
        let raw = json!({
            "metadata": {"name": "web", "namespace": "default", "resourceVersion": "2"},
            "spec": {"gatewayClassName": "gwapi",
                "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]},
            "status": {"addresses": addresses},
        });
        let raw: RawObject<false> = serde_json::from_value(raw).expect("an object");
        Object::read(Kind::Gateway, raw, "us")
    };
    let address = |kind: &str, value: &str| json!({"type": kind, "value": value});
    let mut test = Test::live(&[object(CLASS), object(GATEWAY)]);
    let id = GatewayId::new("default", "web");
    let known = |test: &Test| -> Vec<String> {
        test.core.addresses(&id).iter().map(IpAddr::to_string).collect()
    };
    let several = [
        address("IPAddress", "fd00::5"),
        address("Hostname", "a.example"),
        address("IPAddress", "10.0.0.4"),
    ];
    test.apply(gateway(json!(several)));
    assert_eq!(known(&test), ["fd00::5", "10.0.0.4"]);
    test.apply(gateway(json!([])));
    assert_eq!(known(&test), [""; 0]);
    test.apply(gateway(json!(several)));
    test.list(Kind::Gateway, &[]);
    assert_eq!(known(&test), [""; 0], "it is gone");
}

/// Whoever writes status has to know whether there is more to come about an object that took the name of another.
#[test]
fn an_object_is_told_as_judged_when_it_counts() {
    let mut test = Test::live(&[object(CLASS), object(GATEWAY)]);
    let route = ObjectId::new(Kind::HttpRoute, "default", "shop");
    assert_eq!(test.apply(object(ROUTE)).judged, [route]);
    let web = ObjectId::new(Kind::Gateway, "default", "web");
    assert_eq!(test.apply(broken_gateway(2)).judged, std::slice::from_ref(&web));
    assert_eq!(test.apply(https("web", "tls")).judged, [], "it waits for the Secret");
    let secrets = source(Kind::Secret);
    let step = test.observe(Observation::Fetched(secrets, secret("tls"), None));
    assert_eq!(step.judged, [web]);
    assert_eq!(test.apply(namespace("team")).judged, []);
}

#[test]
fn reports_of_proxies_and_of_infrastructure_do_not_wipe_each_other() {
    let mut test = Test::live(&[object(CLASS), object(GATEWAY)]);
    let gateway = GatewayId::new("default", "web");
    let unbound = [(ListenerKey::new("http"), "in use".to_owned())].into();
    let feedback = Feedback { unbound, ..Feedback::default() };
    test.core
        .step(vec![Input::Proxies(gateway.clone(), String::new(), feedback.clone())], test.now);
    let report = InfrastructureReport { ready: true, ..InfrastructureReport::default() };
    test.core.step(vec![provided("", report.clone())], test.now);
    let known = test.core.report(&gateway);
    assert_eq!(known.unbound, feedback.unbound);
    assert_eq!(known.infrastructure, report);

    // What is said about a Gateway that is gone is about nothing.
    test.list(Kind::Gateway, &[]);
    test.core.step(vec![provided("", report)], test.now);
    assert_eq!(test.core.report(&gateway), Feedback::default());
}

/// They may be connected to another replica, which then hears whether what they rejected is mended.
#[test]
fn what_proxies_said_counts_until_they_have_been_away_for_a_while() {
    let mut test = Test::live(&[object(CLASS), object(GATEWAY)]);
    let gateway = GatewayId::new("default", "web");
    let unbound = [(ListenerKey::new("http"), "in use".to_owned())].into();
    let said = Feedback { unbound, ..Feedback::default() };
    let proxies = Input::Proxies(gateway.clone(), String::new(), said.clone());
    let infrastructure = InfrastructureReport { ready: true, ..InfrastructureReport::default() };
    let ready = provided("", infrastructure.clone());
    let unserved = || Input::Unserved(gateway.clone());

    // One that comes back in time says it again.
    test.core.step(vec![proxies.clone(), ready], test.now);
    test.core.step(vec![unserved()], test.now);
    assert_eq!(test.core.deadline(), Some(test.now + LAST_WORD));
    test.core.step(vec![proxies], test.now);
    assert_eq!(test.core.deadline(), None);
    test.now += 2 * LAST_WORD;
    test.core.step(vec![unserved()], test.now);
    assert_eq!(test.core.report(&gateway).unbound, said.unbound);

    // Further words about their absence put nothing off.
    test.core.step(vec![unserved()], test.now + LAST_WORD / 2);
    test.now = test.core.deadline().expect("it ends");
    let step = test.core.step(Vec::new(), test.now);
    let told = condition(&step, Kind::Gateway, "web", ConditionType::Accepted);
    assert_eq!(told.map(|(reason, _)| reason).as_deref(), Some("Accepted"));
    let known = test.core.report(&gateway);
    assert_eq!((known.unbound.len(), known.infrastructure), (0, infrastructure));
    assert_eq!(test.core.deadline(), None);

    // Nobody waits for what a Gateway that is gone has to say.
    test.core.step(vec![unserved()], test.now);
    test.list(Kind::Gateway, &[]);
    assert_eq!(test.core.deadline(), None);
}

/// AD-6 to AD-8, LF-1, GC-10: what is claimed, and what a Gateway is told of its addresses, follows the channel
/// of the CRD of Gateways.
#[test]
fn experimental_fields_are_claimed_and_told_while_gateways_have_them() {
    let options = Options { addresses: AddressPolicy::Provisioned, ..Options::default() };
    let core = Core::new(options, KINDS.map(source).to_vec());
    let mut test = Test { core, now: Instant::now() };
    test.observe(Observation::Bundle(None));
    for kind in KINDS {
        test.list(kind, &[object(CLASS), object(GATEWAY)]);
    }
    let address = GatewayStatusAddress {
        address_type: AddressType::IpAddress,
        value: "10.96.0.7".to_owned(),
        routability: Some("Cluster".to_owned()),
    };
    let assignment = AddressAssignment { met: 1, ..AddressAssignment::default() };
    let (addresses, ready) = (vec![address], true);
    let report = InfrastructureReport { addresses, ready, assignment, ..Default::default() };
    test.core.step(vec![provided("", report)], test.now);
    let told = |test: &Test| {
        let status = &test.core.translator().translation().status;
        let class = &status[&ObjectId::new(Kind::GatewayClass, "", "gwapi")];
        let Status::GatewayClass(class) = class else { panic!("{class:?}") };
        let features = class.supported_features.iter().map(|it| it.name.as_str());
        let is_meant = |name: &&str| {
            name.starts_with("GatewayAddressRoutability") || *name == "GatewayListenerFilters"
        };
        let claimed = features.filter(is_meant).count();
        let gateway = &status[&ObjectId::new(Kind::Gateway, "default", "web")];
        let Status::Gateway(gateway) = gateway else { panic!("{gateway:?}") };
        let mut types = gateway.conditions.iter().map(|it| it.condition_type);
        let has_condition = types.any(|it| it == ConditionType::AddressesAssigned);
        (claimed, has_condition, gateway.addresses[0].routability.clone())
    };
    assert_eq!(told(&test), (0, false, None), "the CRDs must not be seen");
    let cluster = Some("Cluster".to_owned());
    for (channel, expected) in [
        ("standard", (0, false, None)),
        ("experimental", (3, true, cluster)),
        ("", (0, false, None)),
    ] {
        let bundle = InstalledBundle::new("v1.7.0").with_gateways_of("v1.7.0", channel);
        test.observe(Observation::Bundle(Some(bundle)));
        assert_eq!(told(&test), expected, "{channel}");
    }
}

/// TL-9, GC-10: what is claimed, and what a Gateway that refers to a trust bundle is told, follows whether the
/// API server has the kind.
#[test]
fn trust_bundles_are_claimed_and_used_while_the_cluster_has_the_kind() {
    let gateway = object(
        "{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: web}, spec: \
         {gatewayClassName: gwapi, listeners: [{name: https, port: 443, protocol: HTTPS, tls: \
         {certificateRefs: [{name: cert}]}}], tls: {frontend: {default: {validation: \
         {caCertificateRefs: [{group: certificates.k8s.io, kind: ClusterTrustBundle, name: ca}]}}}}}}",
    );
    let mut test =
        Test::new(KINDS.into_iter().chain([Kind::ClusterTrustBundle]).map(source).collect());
    for kind in KINDS {
        test.list(kind, &[object(CLASS), gateway.clone()]);
    }
    assert!(!test.serves("web"), "the kind has not been looked for");
    let told = |test: &Test, what: &str| {
        let status = &test.core.translator().translation().status;
        let class = &status[&ObjectId::new(Kind::GatewayClass, "", "gwapi")];
        let Status::GatewayClass(class) = class else { panic!("{class:?}") };
        let claimed = class.supported_features.iter().any(|it| it.name == "ClusterTrustBundle");
        let gateway = &status[&ObjectId::new(Kind::Gateway, "default", "web")];
        let Status::Gateway(gateway) = gateway else { panic!("{gateway:?}") };
        let conditions = &gateway.listeners[0].conditions;
        (claimed, conditions.iter().any(|condition| condition.message.contains(what)))
    };
    test.observe(Observation::Absent(source(Kind::ClusterTrustBundle)));
    test.fetched(secret("cert"), None);
    assert_eq!(told(&test, "the cluster has no ClusterTrustBundles"), (false, true));
    test.list(Kind::ClusterTrustBundle, &[]);
    assert_eq!(told(&test, "ClusterTrustBundle `ca` does not exist"), (true, true));
    test.observe(Observation::Absent(source(Kind::ClusterTrustBundle)));
    assert_eq!(told(&test, "the cluster has no ClusterTrustBundles"), (false, true));
}

/// An XBackend that selects pods, as an API server has it, and a route to it.
const TO_SELECTED_PODS: [&str; 2] = [
    "
apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XBackend
metadata: {name: pods, uid: uid-of-pods}
spec:
  type: EndpointSelector
  port: {number: 9000}
  endpointSelector: {matchLabels: {app: web}}
",
    "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec:
  parentRefs: [{name: web}]
  rules: [{backendRefs: [{group: gateway.networking.x-k8s.io, kind: XBackend, name: pods}]}]
",
];

/// An engine of a cluster that has a Gateway and the objects above.
fn with_x_backend() -> Test {
    let options = Options { addresses: AddressPolicy::Provisioned, ..Options::default() };
    let kinds = || KINDS.into_iter().chain([Kind::XBackend]);
    let core = Core::new(options, kinds().map(source).collect());
    let mut test = Test { core, now: Instant::now() };
    test.observe(Observation::Bundle(None));
    let objects: Vec<Object> =
        [CLASS, GATEWAY].into_iter().chain(TO_SELECTED_PODS).map(object).collect();
    for kind in kinds() {
        test.list(kind, &objects);
    }
    test
}

/// What the status of the XBackend says.
fn told(test: &Test) -> String {
    let id = ObjectId::new(Kind::XBackend, "default", "pods");
    match &test.core.translator().translation().status[&id] {
        Status::Policy(status) => status.ancestors[0].conditions[0].message.clone(),
        other => panic!("{other:?}"),
    }
}

/// Why the XBackend that has this uid has no Service.
fn not_selected(uid: &str, why: Option<&str>) -> Input {
    let backend = NamespacedName::new("default", "pods");
    let problem = why.map(str::to_owned);
    Input::Selection(SelectionReport { backend, uid: uid.to_owned(), problem })
}

///
#[test]
fn an_x_backend_is_told_why_it_has_no_service_as_long_as_a_gateway_sends_to_it() {
    let mut test = with_x_backend();
    assert!(told(&test).ends_with("one is being made"), "{}", told(&test));
    let problem = |why: Option<&str>| not_selected("uid-of-pods", why);
    // The last word counts.
    let words = [Some("timeout"), Some("exceeded quota")];
    let step = test.core.step(words.map(problem).into(), test.now);
    assert_eq!(step.deltas.len(), 1);
    assert!(told(&test).ends_with("none can be made for it: exceeded quota"), "{}", told(&test));

    let route = ObjectId::new(Kind::HttpRoute, "default", "shop");
    test.observe(Observation::Deleted(source(Kind::HttpRoute), route, "6".to_owned()));
    let step = test.core.step(vec![problem(Some("exceeded quota"))], test.now);
    assert!(step.deltas.is_empty(), "it is about nothing");
    test.apply(object(TO_SELECTED_PODS[1]));
    assert!(told(&test).ends_with("one is being made"), "{}", told(&test));
}

/// a list may tell of both at once, and what was said of the former one may be on its way still.
#[test]
fn what_was_said_of_a_former_x_backend_is_not_said_of_the_one_that_has_its_name() {
    let mut test = with_x_backend();
    let failed = "none can be made for it: exceeded quota";
    let report = |uid: &str| not_selected(uid, Some("exceeded quota"));
    test.core.step(vec![report("uid-of-pods")], test.now);
    assert!(told(&test).ends_with(failed), "{}", told(&test));

    let pods = |uid: &str| object(&TO_SELECTED_PODS[0].replace("uid-of-pods", uid));
    test.list(Kind::XBackend, &[pods("b")]);
    assert!(told(&test).ends_with("one is being made"), "{}", told(&test));
    test.core.step(vec![report("uid-of-pods")], test.now);
    assert!(told(&test).ends_with("one is being made"), "{}", told(&test));
    test.core.step(vec![report("b")], test.now);
    assert!(told(&test).ends_with(failed), "{}", told(&test));
    let listed = Observation::Listed(source(Kind::XBackend), vec![pods("c")], "6".to_owned());
    test.core.step(vec![Input::Observation(listed), report("b")], test.now);
    assert!(told(&test).ends_with("one is being made"), "{}", told(&test));
}

/// An object whose last version is not known may send to what nobody else seems to send to.
#[test]
fn whoever_cannot_be_read_may_send_to_an_x_backend() {
    let mut test = with_x_backend();
    assert!(test.core.knows_all_senders());
    let json = json!({
        "metadata": {"name": "broken", "namespace": "default", "resourceVersion": "9"},
        "spec": {"rules": "many"},
    });
    let raw: RawObject<false> = serde_json::from_value(json).expect("any JSON is an object");
    test.apply(Object::read(Kind::HttpRoute, raw, "us"));
    assert!(test.core.knows_all_gateways());
    assert!(!test.core.knows_all_senders());
}
