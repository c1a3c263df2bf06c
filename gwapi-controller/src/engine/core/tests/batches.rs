//! Whether observations come one by one or in batches makes no difference to what comes of them.

use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof, proptest};
use proptest::sample::select;

use super::*;

/// Kinds that are watched in the namespace `default` alone.
const THERE: [Kind; 4] =
    [Kind::Gateway, Kind::ListenerSet, Kind::HttpRoute, Kind::BackendTlsPolicy];

/// Kinds that live in no namespace.
const NOWHERE: [Kind; 2] = [Kind::GatewayClass, Kind::Namespace];

fn source_of(kind: Kind) -> Source {
    if NOWHERE.contains(&kind) { source(kind) } else { in_namespace(kind, "default") }
}

/// Versions of a few objects, several of which have one name.
fn objects() -> Vec<Object> {
    let of_others = CLASS.replace("gwapi.dev/gateway-controller", "example.com/other");
    let set_with_tls = LISTENER_SET
        .replace("protocol: HTTP", "protocol: HTTPS, tls: {certificateRefs: [{name: more}]}");
    let texts = [CLASS, &of_others, GATEWAY, OPEN_GATEWAY, LISTENER_SET, &set_with_tls, ROUTE];
    let mut objects: Vec<Object> = texts.into_iter().map(object).collect();
    objects.extend([https("web", "cert"), https("web", "more"), https("other", "cert")]);
    objects.extend([broken_gateway(2), broken_listener_set(2), namespace("default")]);
    objects.extend([sound_policy("web"), broken_policy(2, "web"), broken_policy(3, "")]);
    objects
}

fn certificate(name: &str) -> Observation {
    let text = format!("{{apiVersion: v1, kind: Secret, metadata: {{name: {name}}}}}");
    let secrets = in_namespace(Kind::Secret, "default");
    Observation::Fetched(secrets, secret(name), Some(object(&text)))
}

/// A list of a kind, with the last of these objects of each name.
fn listed(kind: Kind, objects: Vec<Object>) -> Observation {
    let objects: BTreeMap<ObjectId, Object> = objects
        .into_iter()
        .filter(|object| object.id.kind == kind)
        .map(|object| (object.id.clone(), object))
        .collect();
    Observation::Listed(source_of(kind), objects.into_values().collect(), "5".to_owned())
}

fn observation() -> impl Strategy<Value = Observation> {
    let kinds = || select([THERE.as_slice(), &NOWHERE].concat());
    let some = proptest::collection::vec(select(objects()), 0..8);
    prop_oneof![
        8 => select(objects()).prop_map(|object| {
            Observation::Applied(source_of(object.id.kind), object)
        }),
        2 => select(objects()).prop_map(|object| {
            Observation::Deleted(source_of(object.id.kind), object.id, "6".to_owned())
        }),
        3 => (kinds(), some).prop_map(|(kind, objects)| listed(kind, objects)),
        2 => select(vec!["cert", "more"]).prop_map(certificate),
        1 => kinds().prop_map(|kind| Observation::Absent(source_of(kind))),
        1 => kinds().prop_map(|kind| {
            Observation::Failed(source_of(kind), "connection reset".to_owned())
        }),
        2 => select([THERE.as_slice(), &[Kind::Secret, Kind::Namespace]].concat()).prop_map(|kind| {
            Observation::Denied(source_of(kind), "forbidden".to_owned())
        }),
        1 => Just(Observation::UpTo(source(Kind::Namespace), "7".to_owned())),
    ]
}

/// An engine, and what it wants to have read.
struct Told {
    test: Test,
    wanted: BTreeSet<ObjectId>,
}

impl Told {
    fn new() -> Self {
        let kinds = THERE.into_iter().chain(NOWHERE);
        let mut test = Test::new(kinds.clone().map(source_of).collect());
        for kind in kinds {
            test.observe(listed(kind, Vec::new()));
        }
        Self { test, wanted: BTreeSet::new() }
    }

    fn tell(&mut self, batch: Vec<Observation>) {
        for reference in self.test.observe_all(batch).references {
            match reference {
                Reference::Added(id) => _ = self.wanted.insert(id),
                Reference::Removed(id) => _ = self.wanted.remove(&id),
            }
        }
    }

    /// Has everything read that is wanted, and lets the time pass for which objects wait.
    fn settle(&mut self) {
        for _ in 0..3 {
            let wanted: Vec<Observation> =
                self.wanted.iter().map(|id| certificate(&id.name)).collect();
            self.tell(wanted);
            self.test.now += PATIENCE;
            self.tell(Vec::new());
        }
        assert_eq!(self.test.core.deadline(), None, "nothing waits");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Objects, statuses, what is wanted and how far it is: all is the same.
    #[test]
    fn batches_end_as_what_is_told_one_by_one(
        observations in proptest::collection::vec((observation(), any::<bool>()), 0..12),
    ) {
        let (mut one_by_one, mut in_batches) = (Told::new(), Told::new());
        let mut batch = Vec::new();
        for (observation, is_last) in observations {
            one_by_one.tell(vec![observation.clone()]);
            batch.push(observation);
            if is_last {
                in_batches.tell(std::mem::take(&mut batch));
            }
        }
        in_batches.tell(batch);
        for told in [&mut one_by_one, &mut in_batches] {
            told.settle();
        }
        assert_eq!(in_batches.wanted, one_by_one.wanted);
        let (one_by_one, in_batches) = (one_by_one.test.core, in_batches.test.core);
        let all = |core: &Core| core.resources().iter().collect::<Vec<_>>();
        assert_eq!(all(&in_batches), all(&one_by_one));
        assert_eq!(in_batches.statuses(), one_by_one.statuses());
        assert_eq!(in_batches.progress(), one_by_one.progress());
    }
}
