//! How many listeners a Gateway with its ListenerSets has room for (LS-12).

use gwapi_model::status::{
    ConditionReason, ConditionStatus, ConditionType, ListenerStatus, Status,
};
use gwapi_model::{Kind, NamespacedName, ObjectId, Resource, ResourceEvent};
use gwapi_translate::ir::GatewayId;
use gwapi_translate::{Options, Translator};
use serde_json::{Value, json};

fn object<T: serde::de::DeserializeOwned + Into<Resource>>(value: Value) -> Resource {
    serde_json::from_value::<T>(value).expect("it fits the type").into()
}

/// A translator that knows the Gateway `gw` with listeners on these ports, which lets ListenerSets of its
/// namespace in.
fn translator(ports: impl IntoIterator<Item = u16>) -> Translator {
    let listeners = ports
        .into_iter()
        .map(|port| json!({ "name": format!("l{port}"), "port": port, "protocol": "HTTP" }));
    let class = object::<gwapi_model::GatewayClass>(json!({
        "metadata": { "name": "gwapi" },
        "spec": { "controllerName": "gwapi.dev/gateway-controller" },
    }));
    let gateway = object::<gwapi_model::Gateway>(json!({
        "metadata": { "name": "gw", "namespace": "ns" },
        "spec": {
            "gatewayClassName": "gwapi",
            "allowedListeners": { "namespaces": { "from": "Same" } },
            "listeners": listeners.collect::<Vec<_>>(),
        },
    }));
    let mut translator = Translator::new(Options::default());
    let _ = translator.apply_all([class, gateway].map(ResourceEvent::Apply));
    translator
}

/// The number of listeners that are served.
fn served(translator: &Translator) -> usize {
    translator.translation().config[&GatewayId::new("ns", "gw")].listeners().count()
}

/// A ListenerSet of the Gateway `gw` with a listener for each port and hostname.
fn wide_set(name: &str, listeners: impl IntoIterator<Item = (u16, String)>) -> Value {
    let listeners = listeners.into_iter().enumerate().map(|(index, (port, hostname))| {
        json!({ "name": format!("l{index}"), "port": port, "protocol": "HTTP", "hostname": hostname })
    });
    json!({
        "metadata": { "name": name, "namespace": "ns" },
        "spec": { "parentRef": { "name": "gw" }, "listeners": listeners.collect::<Vec<_>>() },
    })
}

fn apply_sets(translator: &mut Translator, sets: impl IntoIterator<Item = Value>) {
    let sets = sets.into_iter().map(object::<gwapi_model::ListenerSet>);
    let _ = translator.apply_all(sets.map(ResourceEvent::Apply));
}

/// A condition of each listener of a ListenerSet.
fn conditions_of_set(
    translator: &Translator,
    name: &str,
    condition_type: ConditionType,
) -> Vec<(ConditionStatus, ConditionReason)> {
    let id = ObjectId::new(Kind::ListenerSet, "ns", name);
    let Some(Status::ListenerSet(status)) = translator.translation().status.get(&id) else {
        panic!("no status of {name}")
    };
    let of_listener = |listener: &ListenerStatus| {
        let found = listener.conditions.iter().find(|it| it.condition_type == condition_type);
        let found = found.expect("the condition is there");
        (found.status, found.reason)
    };
    status.listeners.iter().map(of_listener).collect()
}

/// Why each listener of a ListenerSet is accepted or not.
fn reasons(translator: &Translator, name: &str) -> Vec<ConditionReason> {
    let accepted = conditions_of_set(translator, name, ConditionType::Accepted);
    accepted.into_iter().map(|(_, reason)| reason).collect()
}

const ACCEPTED: ConditionReason = ConditionReason::Accepted;
const TOO_MANY: ConditionReason = ConditionReason::TooManyListeners;

#[test]
fn ports_beyond_what_a_gateway_can_have_are_refused_in_their_order() {
    let mut translator = translator([80]);
    let set =
        |index: u16| wide_set(&format!("s{index:03}"), [(1_000 + index, "a.example".to_owned())]);
    apply_sets(&mut translator, (0..128).map(set));
    assert_eq!(reasons(&translator, "s126"), [ACCEPTED]);
    assert_eq!(reasons(&translator, "s127"), [TOO_MANY]);
    assert_eq!(served(&translator), 128);
}

#[test]
fn listeners_beyond_what_a_gateway_can_have_are_refused_in_their_order() {
    let mut translator = translator([80]);
    let set = |set: usize| {
        let hostnames = (0..64).map(move |index| format!("h{index}.s{set}.example"));
        wide_set(&format!("s{set:02}"), hostnames.map(|hostname| (80, hostname)))
    };
    apply_sets(&mut translator, (0..17).map(set));
    assert!(reasons(&translator, "s14").iter().all(|reason| *reason == ACCEPTED));
    let last = reasons(&translator, "s15");
    assert_eq!((&last[..63], last[63]), (&[ACCEPTED; 63][..], TOO_MANY), "one is the Gateway's");
    assert!(reasons(&translator, "s16").iter().all(|reason| *reason == TOO_MANY));
    assert_eq!(served(&translator), 1_024);

    // Room that is left goes to those who wait for it.
    let gone = ObjectId::new(Kind::ListenerSet, "ns", "s00");
    translator.apply(ResourceEvent::Delete(gone));
    assert!(reasons(&translator, "s15").iter().all(|reason| *reason == ACCEPTED));
    assert_eq!(reasons(&translator, "s16")[..2], [ACCEPTED; 2]);
}

/// Nothing says so of a Gateway's own listeners, of which its CRD allows 64.
#[test]
fn the_listeners_of_the_gateway_itself_are_never_too_many() {
    let mut translator = translator(1_000..1_130);
    let hostname = "a.example".to_owned();
    let ports = [(1_129, hostname.clone()), (1_130, hostname)];
    apply_sets(&mut translator, [wide_set("s", ports)]);
    assert_eq!(served(&translator), 131);
    assert_eq!(reasons(&translator, "s"), [ACCEPTED, TOO_MANY]);
}

/// What has no place takes none from others (LS-12).
#[test]
fn listeners_that_are_refused_for_what_they_are_or_lose_a_conflict_do_not_count() {
    let mut translator = translator([80]);
    let set = |name: &str, first: u16| {
        wide_set(name, (first..first + 64).map(|port| (port, "a.example".to_owned())))
    };
    let broken = |name: &str, first: u16| {
        let mut set = set(name, first);
        for listener in set["spec"]["listeners"].as_array_mut().expect("listeners") {
            listener["protocol"] = json!("example.com/other");
        }
        set
    };
    let twins = |name: &str| wide_set(name, (0..64).map(|_| (3_000, "a.example".to_owned())));
    let losers =
        |name: &str| wide_set(name, (0..64).map(|index| (80, format!("h{index}.example"))));
    apply_sets(&mut translator, [broken("a", 1_000), broken("b", 1_064), twins("c")]);
    apply_sets(&mut translator, (0..20).map(|index| losers(&format!("d{index:02}"))));
    apply_sets(&mut translator, [set("e", 2_000)]);
    assert!(reasons(&translator, "d19").iter().all(|it| *it == ConditionReason::HostnameConflict));
    assert!(reasons(&translator, "e").iter().all(|reason| *reason == ACCEPTED));
}

/// Many who wait for room cost no more than a few of them.
#[test]
fn what_listeners_without_a_place_refer_to_is_looked_into_for_so_many_of_them() {
    let mut translator = translator([80]);
    let set = |set: usize| {
        let hostname = |index| format!("h{index}.s{}.example", if set < 16 { set } else { 0 });
        let mut json = wide_set(&format!("s{set:02}"), (0..64).map(|index| (443, hostname(index))));
        for listener in json["spec"]["listeners"].as_array_mut().expect("listeners") {
            listener["protocol"] = json!("HTTPS");
            let secret = format!("of-{set}");
            listener["tls"] = json!({ "certificateRefs": [{ "name": secret }] });
        }
        json
    };
    apply_sets(&mut translator, (0..40).map(set));
    let resolved = |name: &str| {
        let mut found = conditions_of_set(&translator, name, ConditionType::ResolvedRefs);
        found.dedup();
        found
    };
    let unresolved = (ConditionStatus::False, ConditionReason::InvalidCertificateRef);
    let unknown = (ConditionStatus::Unknown, ConditionReason::Pending);
    assert_eq!(resolved("s15"), [unresolved]);
    assert_eq!(resolved("s31"), [unresolved, unknown], "one more is without a place in s15");
    assert_eq!(resolved("s32"), [unknown]);
    let is_read = |name: &str| {
        let secret = NamespacedName::new("ns", name);
        translator.refers_to(Kind::Secret, &secret)
    };
    assert!(is_read("of-31") && !is_read("of-32"));
    assert_eq!(reasons(&translator, "s39")[0], ConditionReason::HostnameConflict);
}
