//! A proxy, two replicas of a controller, and a connection that is lost at any time.
//!
//! Two kinds of sources change one step at a time, and each replica sees the changes of each kind
//! in their order, but when it likes. Endpoints stand for what always works; a [`Backend`] that
//! speaks h2c for what the proxy's release cannot read; a certificate whose chain is `broken` for
//! what the proxy cannot use.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use gwapi_model::{NamespacedName, SecretBytes};
use gwapi_translate::Feedback;
use gwapi_translate::ir::{
    Backend, BackendKey, BackendProtocol, Certificate, CertificateKey, ConfigDelta, Endpoints,
    GatewayConfig, GatewayId, IrKey, IrResource,
};
use gwapi_translate::wire::{
    Batch, Client, DeltaDiscoveryRequest, DeltaDiscoveryResponse, Node, ResourceVersions, SNAPSHOT,
    Served, Server, Step, name_of,
};
use proptest::prelude::*;

const KINDS: [&str; 2] = ["HTTPRoute", "Service"];
const KEYS: usize = 6;

/// Something that happens.
#[derive(Clone, Debug)]
enum Event {
    /// The source of a key changes; 0 removes it.
    Edit { key: usize, value: u16 },
    /// A replica sees one more change of a kind.
    Observe { replica: usize, kind: usize },
    /// The proxy dials a replica; a stream that it has is gone.
    Connect { replica: usize },
    /// The stream breaks with all that was on its way.
    Lose,
    /// The server puts one response on its way.
    Send,
    /// One response arrives.
    Respond,
    /// One request arrives.
    Request,
    /// The proxy serves the batch that it has.
    Apply,
    /// The proxy's process starts again from its file.
    Restart,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0..KEYS, 0..4_u16).prop_map(|(key, value)| Event::Edit { key, value }),
        4 => (0..2_usize, 0..2_usize)
            .prop_map(|(replica, kind)| Event::Observe { replica, kind }),
        1 => (0..2_usize).prop_map(|replica| Event::Connect { replica }),
        1 => Just(Event::Lose),
        4 => Just(Event::Send),
        4 => Just(Event::Respond),
        4 => Just(Event::Request),
        4 => Just(Event::Apply),
        1 => Just(Event::Restart),
    ]
}

/// The resource that a value of a key stands for.
fn resource(key: usize, value: u16) -> Option<IrResource> {
    let name = BackendKey::service("default", &format!("s{key}"), 80);
    Some(match (value, key % 3) {
        (0, _) => return None,
        (_, 0) => IrResource::Endpoints(Arc::new(Endpoints {
            key: name,
            addresses: vec![SocketAddr::from(([192, 0, 2, 1], value))],
            hostnames: Vec::new(),
            external: Vec::new(),
        })),
        (_, 1) => {
            let protocol = if value == 1 { BackendProtocol::Http1 } else { BackendProtocol::H2c };
            IrResource::Backend(Arc::new(Backend {
                key: name,
                protocol,
                tls: None,
                session: None,
                retry_budget: None,
            }))
        }
        _ => IrResource::Certificate(Arc::new(Certificate {
            key: CertificateKey::secret("default", &format!("s{key}")),
            chain: if value == 3 { "broken".into() } else { value.to_string().into() },
            private_key: SecretBytes::new(b"key".to_vec()),
        })),
    })
}

fn kind_of(key: usize) -> usize {
    key / 3
}

/// Whether the proxy can make use of it.
fn is_good(resource: &IrResource) -> bool {
    match resource {
        IrResource::Backend(backend) => backend.protocol == BackendProtocol::Http1,
        IrResource::Certificate(certificate) => &*certificate.chain != "broken",
        _ => true,
    }
}

/// What an older release would receive: h2c is not known to it.
fn as_an_older_release_reads_it(response: &mut DeltaDiscoveryResponse) {
    for resource in response.resources.iter_mut().filter_map(|it| it.resource.as_mut()) {
        let text = String::from_utf8(resource.value.to_vec()).expect("JSON");
        resource.value = text.replace("H2c", "H9").into();
    }
}

/// All states of one kind, from the first on.
type History = Vec<BTreeMap<IrKey, IrResource>>;

#[derive(Default)]
struct Replica {
    served: Served,
    versions: ResourceVersions,
    seen: [usize; 2],
}

struct Link {
    replica: usize,
    server: Server,
    responses: VecDeque<DeltaDiscoveryResponse>,
    requests: VecDeque<DeltaDiscoveryRequest>,
}

/// The proxy itself, as far as it matters here.
#[derive(Default)]
struct Proxy {
    config: GatewayConfig,
    feedback: Feedback,
}

impl Proxy {
    fn apply(&mut self, delta: &ConfigDelta) {
        for key in &delta.removals {
            self.config.0.remove(key);
            if let IrKey::Certificate(key) = key {
                self.feedback.rejected_certificates.remove(key);
            }
        }
        for resource in &delta.upserts {
            if let IrResource::Certificate(certificate) = resource {
                let rejected = &mut self.feedback.rejected_certificates;
                if !is_good(resource) {
                    rejected.insert(certificate.key.clone(), "broken".to_owned());
                    continue;
                }
                rejected.remove(&certificate.key);
            }
            self.config.0.insert(resource.key(), resource.clone());
        }
    }
}

struct World {
    history: [History; 2],
    replicas: [Replica; 2],
    client: Client,
    proxy: Proxy,
    link: Option<Link>,
    batch: Option<Batch>,
    /// The newest states that the proxy served in its life, restarts included.
    reached: [usize; 2],
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            history: [vec![BTreeMap::new()], vec![BTreeMap::new()]],
            replicas: Default::default(),
            client: Client::default(),
            proxy: Proxy::default(),
            link: None,
            batch: None,
            reached: [0, 0],
        };
        for replica in &mut world.replicas {
            // Both have read the list of each kind before they serve.
            KINDS.iter().for_each(|kind| replica.versions.complete(kind, "0"));
            replica.served.apply(&ConfigDelta::default(), &Arc::new(replica.versions.clone()));
        }
        world
    }

    fn take(&mut self, event: &Event) {
        match event {
            Event::Edit { key, value } => self.edit(*key, *value),
            Event::Observe { replica, kind } => drop(self.observe(*replica, *kind)),
            Event::Connect { replica } => self.connect(*replica),
            Event::Lose => self.link = None,
            Event::Send => drop(self.send()),
            Event::Respond => drop(self.respond()),
            Event::Request => drop(self.request()),
            Event::Apply => drop(self.apply()),
            Event::Restart => self.restart(),
        }
    }

    fn edit(&mut self, key: usize, value: u16) {
        let history = &mut self.history[kind_of(key)];
        let mut state = history.last().expect("never empty").clone();
        let name = resource(key, 1).expect("present").key();
        match resource(key, value) {
            Some(resource) => drop(state.insert(name, resource)),
            None => drop(state.remove(&name)),
        }
        history.push(state);
    }

    fn observe(&mut self, replica: usize, kind: usize) -> bool {
        let (index, replica) = (replica, &mut self.replicas[replica]);
        let next = replica.seen[kind] + 1;
        let Some(state) = self.history[kind].get(next) else { return false };
        let before = GatewayConfig(self.history[kind][next - 1].clone());
        let delta = before.delta_to(&GatewayConfig(state.clone()));
        replica.seen[kind] = next;
        replica.versions.changed(KINDS[kind], &next.to_string());
        let changed = replica.served.apply(&delta, &Arc::new(replica.versions.clone()));
        if let Some(link) = self.link.as_mut().filter(|link| link.replica == index) {
            link.server.changed(&changed);
        }
        true
    }

    fn connect(&mut self, replica: usize) {
        let requests = VecDeque::from([self.client.connect(Node::default())]);
        let server = Server::with_max_response(600);
        self.link = Some(Link { replica, server, responses: VecDeque::new(), requests });
    }

    fn send(&mut self) -> bool {
        let Some(link) = &mut self.link else { return false };
        let served = &self.replicas[link.replica].served;
        let Some(mut response) = link.server.next_response(served) else { return false };
        let things = response.resources.len() + response.removed_resources.len();
        let size = prost::Message::encoded_len(&response);
        assert!(size <= 600 || things == 1, "{things} things in {size} bytes");
        as_an_older_release_reads_it(&mut response);
        link.responses.push_back(response);
        true
    }

    fn respond(&mut self) -> bool {
        if self.batch.is_some() {
            return false; // The proxy is busy.
        }
        let Some(link) = &mut self.link else { return false };
        let Some(response) = link.responses.pop_front() else { return false };
        match self.client.receive(response).expect("what is sent is right") {
            Step::Answer(answer) | Step::Refuse(answer) => link.requests.push_back(answer),
            Step::Apply(batch) => self.batch = Some(batch),
        }
        true
    }

    fn request(&mut self) -> bool {
        let Some(link) = &mut self.link else { return false };
        let Some(request) = link.requests.pop_front() else { return false };
        let served = &self.replicas[link.replica].served;
        link.server.receive(&request, served).expect("what is asked is right");
        true
    }

    fn apply(&mut self) -> bool {
        let Some(batch) = self.batch.take() else { return false };
        self.proxy.apply(&batch.delta);
        let answer = self.client.applied(batch, &self.proxy.feedback);
        if let Some(link) = &mut self.link {
            link.requests.extend(answer);
        }
        self.check_what_is_served();
        true
    }

    fn restart(&mut self) {
        let gateway: GatewayId = NamespacedName::new("default", "web");
        (self.link, self.batch, self.proxy) = (None, None, Proxy::default());
        self.client = match self.client.save(&gateway) {
            Some(bytes) => Client::restore(&gateway, &bytes).expect("just written"),
            None => Client::default(),
        };
        self.proxy.config = self.client.config();
    }

    /// The state that the proxy was last told to serve, by kind, and the resources in it.
    fn told(&self) -> ([usize; 2], BTreeMap<IrKey, IrResource>) {
        let versions = &self.client.mark().expect("a state was applied").versions;
        let state = |kind: usize| {
            versions.progress(KINDS[kind]).map_or(0, |progress| progress.newest as usize)
        };
        let states = [state(0), state(1)];
        let resources = (0..2).flat_map(|kind| self.history[kind][states[kind]].clone());
        (states, resources.collect())
    }

    /// Never half a state, never an older one, and each resource good.
    fn check_what_is_served(&mut self) {
        let (states, told) = self.told();
        for (reached, state) in self.reached.iter_mut().zip(states) {
            assert!(*reached <= state, "stepped back from {reached} to {state}");
            *reached = state;
        }
        for (key, resource) in &told {
            let served = self.proxy.config.0.get(key);
            match is_good(resource) {
                true => assert_eq!(served, Some(resource), "{key}"),
                false => assert!(served.is_none_or(is_good), "{key} is {served:?}"),
            }
        }
        let extra = self.proxy.config.0.keys().find(|key| !told.contains_key(key));
        assert_eq!(extra, None, "is gone and served all the same");
        assert_eq!(self.client.config(), self.proxy.config, "what a file would hold");
    }

    /// Everything that is on its way arrives. Returns the names of what was sent.
    fn settle(&mut self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        loop {
            let sent = self.send();
            if let Some(response) = self.link.as_ref().and_then(|link| link.responses.back()) {
                names.extend(response.resources.iter().map(|resource| resource.name.clone()));
                names.extend(response.removed_resources.iter().cloned());
            }
            if !(self.apply() | self.respond() | self.request() | sent) {
                return names;
            }
        }
    }
}

fn holds_after(events: &[Event], last: usize) {
    let mut world = World::new();
    for event in events {
        world.take(event);
    }
    for (replica, kind) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        while world.observe(replica, kind) {}
    }
    if world.link.is_none() {
        world.connect(last);
    }
    world.settle();

    let (_, told) = world.told();
    let newest = world.history.iter().filter_map(|history| history.last().cloned());
    assert_eq!(told, newest.flatten().collect(), "the newest state is served");
    world.check_what_is_served();
    let rejected: BTreeSet<String> = told
        .iter()
        .filter(|(_, resource)| !is_good(resource))
        .map(|(key, _)| name_of(key))
        .collect();
    let link = world.link.as_ref().expect("connected");
    let served = &world.replicas[link.replica].served;
    assert_eq!(link.server.acknowledged(), Some(served.generation()));
    let verdict = link.server.verdict();
    assert_eq!(*verdict, world.client.verdict());
    let feedback = verdict.feedback();
    let certificates = feedback.rejected_certificates.into_keys();
    let named: BTreeSet<String> = certificates
        .map(|key| name_of(&IrKey::Certificate(key)))
        .chain(feedback.unreadable.into_keys())
        .collect();
    assert_eq!(named, rejected, "the server knows what is rejected");

    // To reconnect costs nothing but the end of a snapshot, and what was rejected is tried again.
    world.connect(1 - last);
    let resent = world.settle();
    let mut expected = rejected;
    expected.insert(SNAPSHOT.to_owned());
    assert_eq!(resent, expected);
    world.check_what_is_served();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn after_any_loss_and_reconnect_both_ends_have_the_same(
        events in proptest::collection::vec(event(), 0..80),
        last in 0..2_usize,
    ) {
        holds_after(&events, last);
    }
}
