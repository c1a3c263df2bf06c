//! What the API server's admission and our own validation say of the same objects: some are right, most
//! are nearly right, some are broken. Seeds are the inputs of the golden tests.

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

/// Objects that are tried.
const OBJECTS: usize = 2000;

/// Bytes of the longest object; the API server reads no more than 3 MiB.
const LONGEST: usize = 100_000;

/// Requests at one time.
const AT_ONCE: usize = 16;

/// Differences that are shown.
const SHOWN: usize = 25;

/// The kinds that the Gateway API defines.
const KINDS: [&str; 10] = [
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
    let seed = std::env::var("GWAPI_TEST_SEED").map_or(7, |seed| seed.parse().expect("a number"));
    let mut rng = SmallRng::seed_from_u64(seed);
    let objects = (0..OBJECTS).map(|_| {
        let mut object = seeds.choose(&mut rng).expect("there are seeds").clone();
        for _ in 0..rng.random_range(0..4) {
            let before = object.clone();
            known.change(&mut object, &mut rng);
            if object.to_string().len() > LONGEST {
                object = before;
            }
        }
        let is_of_cluster = object["kind"] == "GatewayClass";
        object["metadata"] = if is_of_cluster {
            json!({"name": "generated"})
        } else {
            json!({"name": "generated", "namespace": namespace})
        };
        object
    });
    let objects: Vec<Value> = objects.collect();
    let judged = stream::iter(objects).map(|object| judge(&api, object));
    let judged: Vec<Judged> = judged.buffered(AT_ONCE).collect().await;
    let refused = judged.iter().filter(|it| it.by_server.is_some()).count();
    println!("  {refused} of {OBJECTS} objects are refused (GWAPI_TEST_SEED={seed})");
    assert!((OBJECTS / 5..OBJECTS * 4 / 5).contains(&refused), "both verdicts are common");
    let differing: Vec<&Judged> = judged.iter().filter(|it| it.differs()).collect();
    for Judged { object, by_server, here } in differing.iter().take(SHOWN) {
        println!("\n  server: {}", by_server.as_deref().unwrap_or("accepted"));
        println!("  here:   {}\n  {object}", here.join("; "));
    }
    assert!(differing.is_empty(), "{} verdicts differ", differing.len());
}

/// An object, and why it is refused, by the server and here.
struct Judged {
    object: Value,
    by_server: Option<String>,
    here: Vec<String>,
}

async fn judge(api: &Api, object: Value) -> Judged {
    let by_server = match api.try_to_create(&object).await {
        Ok(()) => None,
        Err(kube::Error::Api(status)) if matches!(status.code, 400 | 422) => Some(status.message),
        Err(error) => panic!("no verdict of the API server: {error}"),
    };
    let problems = manifest::parse("generated", &object.to_string()).problems.into_iter();
    let here = problems
        .filter(|problem| problem.severity == Severity::Error)
        .map(|problem| format!("{}: {}", problem.field.unwrap_or_default(), problem.message));
    Judged { object, by_server, here: here.collect() }
}

/// Whether that is refused here on purpose, though the schemas take it.
fn is_ours(problem: &str) -> bool {
    let value = problem.split('`').nth(1).unwrap_or_default();
    // A domain and a name with more before them.
    let is_long_protocol = problem.contains("is not a protocol") && value.matches('/').count() > 1;
    is_long_protocol || OURS.iter().any(|ours| problem.contains(ours))
}

impl Judged {
    /// Whether the verdicts differ, and not by design.
    fn differs(&self) -> bool {
        match &self.by_server {
            None => !self.here.iter().all(|here| is_ours(here)),
            Some(why) => self.here.is_empty() && !why.contains(EXPERIMENTAL),
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
        let api_version = document["apiVersion"].as_str().unwrap_or_default();
        api_version == "gateway.networking.k8s.io/v1"
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
