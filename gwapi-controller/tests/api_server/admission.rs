//! What the API server's admission and our own validation say of the same objects: some are right, most
//! are nearly right, some are broken. Seeds are the inputs of the golden tests. Each object is to be made, or to
//! come after another one of its kind, in turn.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use futures_util::{StreamExt, stream};
use gwapi_model::manifest::{self, Severity};
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::api::Api;

/// Objects that are tried: the one half as new ones, the other as later versions of what is there.
const OBJECTS: usize = 4000;

/// Objects of a kind that are there to be changed.
const HELD: usize = 4;

/// Bytes of the longest object; the API server reads no more than 3 MiB.
const LONGEST: usize = 100_000;

/// Requests at one time.
const AT_ONCE: usize = 16;

/// Differences that are shown.
const SHOWN: usize = 25;

/// The kinds that the Gateway API defines, those of the experimental channel among them.
const KINDS: [&str; 13] = [
    "XBackend",
    "XBackendTrafficPolicy",
    "XTelemetryPolicy",
    "GatewayClass",
    "Gateway",
    "ListenerSet",
    "HTTPRoute",
    "GRPCRoute",
    "TLSRoute",
    "TCPRoute",
    "UDPRoute",
    "ReferenceGrant",
    "BackendTLSPolicy",
];

/// What is refused beyond the schemas, on purpose (see `gwapi_model::validate`).
const OURS: [&str; 4] =
    ["matchLabels", "matchExpressions", "`10.0.0.1` is not a hostname", "is not an address type"];

/// What the standard channel lets through, whose word counts then, and the experimental one does not.
const EXPERIMENTAL: &str = "sectionName or port must be specified";

/// What is said of a rule that replaces a prefix, and has an empty list of matches. An API server fills in the
/// match of every path where there is no list, and not where one is empty; here both mean every path.
const ONE_PREFIX: &str = "exactly one PathPrefix match must be specified";

/// What no version may change, whatever both are by themselves; who reads manifests knows no version before.
const IMMUTABLE: &str = "field is immutable";

/// What is tried in place of scalars: the ends of ranges, and what lies beyond.
const ODD: [&str; 34] = [
    "\"\"",
    "\"a\"",
    "\"A\"",
    "\"*\"",
    "\"*.a.example\"",
    "\"a.*.example\"",
    "\"a..b\"",
    "\"a_b\"",
    "\"-a\"",
    "\"a.example.\"",
    "\"10.0.0.1\"",
    "\"::1\"",
    "\"a:80\"",
    "\"/\"",
    "\"/a//b\"",
    "\"/a/../b\"",
    "\"/a%2Fb\"",
    "\"a/b\"",
    "\"0s\"",
    "\"1h30m\"",
    "\"1.5s\"",
    "\"-1s\"",
    "\"100000h\"",
    "\"core\"",
    "\"Service\"",
    "0",
    "1",
    "-1",
    "65535",
    "65536",
    "1000001",
    "true",
    "null",
    "{}",
];

/// The same verdict of both on each of a number of objects: what GW-7 and RG-6 ask for, and the like.
pub(crate) async fn what_the_server_refuses_is_refused_without_one(api: Api) {
    let namespace = api.namespace("admission").await;
    let seeds = seeds();
    let known = Known::of(&seeds);
    let held = hold(&api, &seeds, &namespace).await;
    let seed = std::env::var("GWAPI_TEST_SEED").map_or(7, |seed| seed.parse().expect("a number"));
    let mut rng = SmallRng::seed_from_u64(seed);
    let tried = (0..OBJECTS).map(|index| {
        let mut object = seeds.choose(&mut rng).expect("there are seeds").clone();
        for _ in 0..rng.random_range(0..4) {
            let before = object.clone();
            known.change(&mut object, &mut rng);
            if object.to_string().len() > LONGEST {
                object = before;
            }
        }
        let before = held[object["kind"].as_str().expect("a kind")].choose(&mut rng);
        let before = before.filter(|_| index % 2 == 1);
        object["metadata"] = match before {
            Some(before) => before["metadata"].clone(),
            None => metadata(&object, "generated", &namespace),
        };
        Tried { object, before: before.cloned() }
    });
    let tried: Vec<Tried> = tried.collect();
    let judged = stream::iter(tried).map(|tried| judge(&api, tried));
    let judged: Vec<Judged> = judged.buffered(AT_ONCE).collect().await;
    for is_update in [false, true] {
        let of_way = || judged.iter().filter(|it| it.tried.before.is_some() == is_update);
        let (all, way) = (of_way().count(), if is_update { "updates" } else { "creations" });
        let refused = of_way().filter(|it| it.by_server.is_some()).count();
        println!("  {refused} of {all} {way} are refused (GWAPI_TEST_SEED={seed})");
        assert!((all / 5..all * 4 / 5).contains(&refused), "both verdicts are common");
    }
    for objects in held.values().flatten() {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let metadata = &objects["metadata"];
        let (namespace, name) = (text(&metadata["namespace"]), text(&metadata["name"]));
        api.delete(&text(&objects["kind"]), &namespace, &name).await;
    }
    let differing: Vec<&Judged> = judged.iter().filter(|it| it.differs()).collect();
    for Judged { tried, by_server, here } in differing.iter().take(SHOWN) {
        println!("\n  server: {}", by_server.as_deref().unwrap_or("accepted"));
        println!("  here:   {}\n  {}", here.join("; "), tried.object);
        tried.before.iter().for_each(|before| println!("  after {before}"));
    }
    assert!(differing.is_empty(), "{} verdicts differ", differing.len());
}

/// An object, and what it is to come after; nothing where it is to be made.
struct Tried {
    object: Value,
    before: Option<Value>,
}

/// An object, and why it is refused, by the server and here.
struct Judged {
    tried: Tried,
    by_server: Option<String>,
    here: Vec<String>,
}

async fn judge(api: &Api, tried: Tried) -> Judged {
    let object = &tried.object;
    let answer = match tried.before {
        Some(_) => api.try_to_update(object).await,
        None => api.try_to_create(object).await,
    };
    let by_server = match answer {
        Ok(()) => None,
        Err(kube::Error::Api(status)) if matches!(status.code, 400 | 422) => Some(status.message),
        Err(error) => panic!("no verdict of the API server: {error}"),
    };
    let problems = manifest::parse("generated", &object.to_string()).problems.into_iter();
    let here = problems
        .filter(|problem| problem.severity == Severity::Error)
        .map(|problem| format!("{}: {}", problem.field.unwrap_or_default(), problem.message));
    let here = here.collect();
    Judged { tried, by_server, here }
}

/// The metadata of an object of a name, which lives in the namespace where its kind lives in one.
fn metadata(object: &Value, name: &str, namespace: &str) -> Value {
    match object["kind"] == "GatewayClass" {
        true => json!({ "name": name }),
        false => json!({ "name": name, "namespace": namespace }),
    }
}

/// Makes some objects of each kind that are later changed, of the seeds that the API server takes.
async fn hold(api: &Api, seeds: &[Value], namespace: &str) -> BTreeMap<&'static str, Vec<Value>> {
    let mut held: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for kind in KINDS {
        let objects = held.entry(kind).or_default();
        for seed in seeds.iter().filter(|seed| seed["kind"] == kind) {
            if objects.len() == HELD {
                break;
            }
            let mut object = seed.clone();
            object["metadata"] = metadata(seed, &format!("held-{}", objects.len()), namespace);
            if api.try_to_create(&object).await.is_err() {
                continue;
            }
            let made = api.apply(object.clone()).await;
            object["metadata"]["resourceVersion"] = json!(made.metadata.resource_version);
            objects.push(object);
        }
        assert!(!objects.is_empty(), "no seed of kind {kind} is right");
    }
    held
}

/// Whether that is refused here on purpose, though the schemas take it.
fn is_ours(problem: &str) -> bool {
    let value = problem.split('`').nth(1).unwrap_or_default();
    // A domain and a name with more before them.
    let is_long_protocol = problem.contains("is not a protocol") && value.matches('/').count() > 1;
    is_long_protocol || OURS.iter().any(|ours| problem.contains(ours))
}

impl Judged {
    /// Whether the version before keeps the object from being as it is: the name of a class's controller stays.
    fn is_frozen(&self) -> bool {
        let Tried { object, before } = &self.tried;
        let name = |object: &Value| object["spec"]["controllerName"].clone();
        let is_class = object["kind"] == "GatewayClass";
        is_class && before.as_ref().is_some_and(|before| name(before) != name(object))
    }

    /// Whether a rule has a list of matches with nothing in it.
    fn has_empty_matches(&self) -> bool {
        let rules = self.tried.object["spec"]["rules"].as_array().into_iter().flatten();
        rules.into_iter().any(|rule| rule["matches"] == json!([]))
    }

    /// Whether the verdicts differ, and not by design.
    fn differs(&self) -> bool {
        match &self.by_server {
            None => self.is_frozen() || !self.here.iter().all(|here| is_ours(here)),
            Some(why) => {
                let is_of_both = self.is_frozen() && why.contains(IMMUTABLE);
                let is_of_empty = self.has_empty_matches() && why.contains(ONE_PREFIX);
                let is_known = is_of_both || is_of_empty || why.contains(EXPERIMENTAL);
                self.here.is_empty() && !is_known
            }
        }
    }
}

/// The objects of the golden tests that the Gateway API defines, without what controllers write.
fn seeds() -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../gwapi-translate/tests/golden");
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("the golden tests are beside us")
        .map(|entry| entry.expect("it can be listed").path())
        .filter(|path| path.to_str().is_some_and(|path| path.ends_with(".in.yaml")))
        .collect();
    files.sort();
    let documents = files.iter().flat_map(|file| -> Vec<Value> {
        let text = fs::read_to_string(file).expect("it can be read");
        serde_saphyr::from_multiple(&text).expect("it is YAML")
    });
    let ours = documents.filter(|document| {
        let versions = ["gateway.networking.k8s.io/v1", "gateway.networking.x-k8s.io/v1alpha1"];
        versions.iter().any(|version| document["apiVersion"] == *version)
            && KINDS.iter().any(|kind| document["kind"] == *kind)
    });
    ours.map(|mut document| {
        if let Some(members) = document.as_object_mut() {
            members.remove("status");
        }
        document
    })
    .collect()
}

/// What objects of the seeds look like: the values of each field, and the fields that stand together.
struct Known {
    values: BTreeMap<String, Vec<Value>>,
    fields: BTreeMap<String, BTreeSet<String>>,
}

impl Known {
    fn of(seeds: &[Value]) -> Self {
        let mut known = Self { values: BTreeMap::new(), fields: BTreeMap::new() };
        seeds.iter().for_each(|seed| known.note("spec", &seed["spec"]));
        known
    }

    fn note(&mut self, name: &str, value: &Value) {
        match value {
            Value::Object(members) => {
                for (member, value) in members {
                    let fields = self.fields.entry(name.to_owned()).or_default();
                    fields.insert(member.clone());
                    self.values.entry(member.clone()).or_default().push(value.clone());
                    self.note(member, value);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.note(name, item)),
            _ => {}
        }
    }

    /// Changes one thing in the spec of an object.
    fn change(&self, object: &mut Value, rng: &mut SmallRng) {
        let mut places = Vec::new();
        collect("/spec", "spec", &object["spec"], &mut places);
        let Some((pointer, name)) = places.choose(rng) else { return };
        let Some(value) = object.pointer_mut(pointer) else { return };
        match rng.random_range(0..6) {
            0 => {
                let odd = ODD.choose(rng).expect("there are some");
                *value = serde_json::from_str(odd).expect("it is JSON");
            }
            1 => {
                if let Some(other) = self.values.get(name).and_then(|values| values.choose(rng)) {
                    *value = other.clone();
                }
            }
            2 | 3 => match value {
                Value::Object(members) => self.change_members(name, members, rng),
                Value::Array(items) => change_items(items, rng),
                Value::String(text) => *text = text.repeat(*[2, 70, 260].choose(rng).expect("one")),
                Value::Number(_) => *value = json!(rng.random_range(-2..70_000)),
                _ => {}
            },
            _ => remove(object, pointer),
        }
    }

    /// Adds a member that others of the kind have.
    fn change_members(
        &self,
        name: &str,
        members: &mut serde_json::Map<String, Value>,
        rng: &mut SmallRng,
    ) {
        let fields: Vec<&String> = self.fields.get(name).into_iter().flatten().collect();
        let Some(field) = fields.choose(rng) else { return };
        if let Some(value) = self.values.get(*field).and_then(|values| values.choose(rng)) {
            members.insert((*field).clone(), value.clone());
        }
    }
}

/// The places below one, each with the name of its field.
fn collect(pointer: &str, name: &str, value: &Value, places: &mut Vec<(String, String)>) {
    places.push((pointer.to_owned(), name.to_owned()));
    match value {
        Value::Object(members) => {
            members.iter().filter(|(member, _)| !member.contains(['/', '~'])).for_each(
                |(member, value)| collect(&format!("{pointer}/{member}"), member, value, places),
            )
        }
        Value::Array(items) => items
            .iter()
            .enumerate()
            .for_each(|(index, item)| collect(&format!("{pointer}/{index}"), name, item, places)),
        _ => {}
    }
}

fn change_items(items: &mut Vec<Value>, rng: &mut SmallRng) {
    match items.choose(rng).cloned() {
        Some(item) if rng.random_bool(0.8) => {
            let times = *[1, 1, 1, 8, 16, 17, 33, 65].choose(rng).expect("one");
            items.extend(std::iter::repeat_n(item, times));
        }
        _ => items.clear(),
    }
}

fn remove(object: &mut Value, pointer: &str) {
    let Some((parent, last)) = pointer.rsplit_once('/') else { return };
    match object.pointer_mut(parent) {
        Some(Value::Object(members)) => {
            members.remove(last);
        }
        Some(Value::Array(items)) => {
            let index = last.parse().ok().filter(|index| *index < items.len());
            index.map(|index: usize| items.remove(index));
        }
        _ => {}
    }
}
