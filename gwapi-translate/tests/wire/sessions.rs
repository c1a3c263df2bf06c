//! One stream, message by message.

use std::net::SocketAddr;
use std::sync::Arc;

use gwapi_translate::Feedback;
use gwapi_translate::ir::{BackendKey, ConfigDelta, Endpoints, IrKey, IrResource, ListenerKey};
use gwapi_translate::wire::{
    Batch, Client, ClientError, DeltaDiscoveryRequest, DeltaDiscoveryResponse, MAX_RESPONSE, Node,
    Received, ResourceVersions, SNAPSHOT, Served, Server, ServerError, Step, TYPE_URL,
};
use prost::Message;

fn key(index: usize) -> BackendKey {
    BackendKey::service("default", &format!("service-{index}"), 80)
}

/// Endpoints with so many addresses; each takes about 20 bytes.
fn endpoints(index: usize, addresses: usize) -> IrResource {
    let address = |n: usize| SocketAddr::from(([10, (n >> 8) as u8, n as u8, 100], 40_000));
    IrResource::Endpoints(Arc::new(Endpoints {
        key: key(index),
        addresses: (0..addresses).map(address).collect(),
        hostnames: Vec::new(),
        external: Vec::new(),
    }))
}

fn upserts(resources: impl IntoIterator<Item = IrResource>) -> ConfigDelta {
    ConfigDelta { upserts: resources.into_iter().collect(), removals: Vec::new() }
}

/// Both ends, with nothing lost in between.
struct Session {
    served: Served,
    server: Server,
    client: Client,
}

impl Session {
    /// A client that has asked for what is served, and got no response yet.
    fn with(resources: impl IntoIterator<Item = IrResource>) -> Self {
        let mut session = Self {
            served: Served::default(),
            server: Server::default(),
            client: Client::default(),
        };
        session.serve(&upserts(resources));
        session.connect();
        session
    }

    fn connect(&mut self) {
        self.server = Server::default();
        let request = self.client.connect(Node::default());
        assert_eq!(self.server.receive(&request, &self.served), Ok(Received::Subscribed));
    }

    fn serve(&mut self, delta: &ConfigDelta) {
        let changed = self.served.apply(delta, &Arc::<ResourceVersions>::default());
        self.server.changed(&changed);
    }

    fn respond(&mut self) -> Option<DeltaDiscoveryResponse> {
        self.server.next_response(&self.served)
    }

    fn answer(&mut self, request: &DeltaDiscoveryRequest) -> Received {
        self.server.receive(request, &self.served).expect("a right answer")
    }

    /// Goes on until a state is complete; the responses that it took.
    fn batch(&mut self) -> (Batch, Vec<DeltaDiscoveryResponse>) {
        let mut responses = Vec::new();
        loop {
            let response = self.respond().expect("the state is not complete");
            responses.push(response.clone());
            match self.client.receive(response).expect("readable") {
                Step::Answer(answer) => assert_eq!(self.answer(&answer), Received::Nothing),
                Step::Refuse(refused) => panic!("{refused:?}"),
                Step::Apply(batch) => return (batch, responses),
            }
        }
    }

    /// The client serves the next state, and says so.
    fn settle(&mut self, feedback: &Feedback) {
        let (batch, _) = self.batch();
        let answer = self.client.applied(batch, feedback).expect("the stream is the same");
        assert_eq!(self.answer(&answer), Received::Answered);
    }
}

fn names(response: &DeltaDiscoveryResponse) -> Vec<&str> {
    response.resources.iter().map(|resource| resource.name.as_str()).collect()
}

#[test]
fn ten_thousand_resources_come_in_responses_of_at_most_a_mebibyte() {
    let mut session = Session::with((0..10_000).map(|index| endpoints(index, 20)));
    let (batch, responses) = session.batch();
    let sizes: Vec<usize> = responses.iter().map(Message::encoded_len).collect();
    assert!(sizes.iter().all(|size| *size <= MAX_RESPONSE), "{sizes:?}");
    let full = sizes.iter().filter(|size| **size > MAX_RESPONSE * 9 / 10).count();
    assert_eq!(full, sizes.len() - 1, "all but the last are full: {sizes:?}");
    assert_eq!(batch.delta.upserts.len(), 10_000);
    assert_eq!(names(responses.last().unwrap()).last(), Some(&SNAPSHOT));
}

#[test]
fn a_resource_that_is_too_large_comes_alone() {
    let large = endpoints(1, 70_000);
    let mut session = Session::with([endpoints(0, 1), large, endpoints(2, 1)]);
    let (batch, responses) = session.batch();
    let counts: Vec<usize> = responses.iter().map(|it| it.resources.len()).collect();
    assert_eq!(counts, [1, 1, 2]);
    assert!(responses[1].encoded_len() > MAX_RESPONSE);
    assert_eq!(batch.delta.upserts.len(), 3);
}

#[test]
fn nothing_new_is_sent_before_a_state_is_answered() {
    let mut session = Session::with([endpoints(0, 1)]);
    let (batch, _) = session.batch();
    for addresses in 2..5 {
        session.serve(&upserts([endpoints(0, addresses)]));
        assert_eq!(session.respond(), None);
    }
    let answer = session.client.applied(batch, &Feedback::default()).unwrap();
    session.answer(&answer);
    let response = session.respond().expect("the edits of the meantime, as one");
    assert_eq!(names(&response), ["Endpoints/default/service-0:80", SNAPSHOT]);
    assert_eq!(response.system_version_info, "4");
}

#[test]
fn what_changes_while_a_batch_is_sent_becomes_part_of_it() {
    let mut session = Session::with((0..3).map(|index| endpoints(index, 30_000)));
    let first = session.respond().expect("a response");
    assert_eq!(names(&first), ["Endpoints/default/service-0:80"]);
    assert!(matches!(session.client.receive(first), Ok(Step::Answer(_))));
    session.serve(&ConfigDelta {
        upserts: vec![endpoints(0, 1)],
        removals: vec![IrKey::Endpoints(key(1))],
    });
    let (batch, _) = session.batch();
    assert_eq!(batch.delta.upserts, [endpoints(0, 1), endpoints(2, 30_000)]);
    assert_eq!(batch.generation, 2);
}

#[test]
fn what_the_proxy_finds_out_later_is_told_with_the_last_answer() {
    let mut session = Session::with([endpoints(0, 1)]);
    let mut feedback = Feedback::default();
    feedback.unbound.insert(ListenerKey::new("http"), "in use".to_owned());
    session.settle(&feedback);
    assert_eq!(session.server.verdict().feedback(), feedback);
    assert_eq!(session.server.acknowledged(), Some(1), "the rest is served");

    assert_eq!(session.client.reconsidered(&feedback), None);
    let answer = session.client.reconsidered(&Feedback::default()).expect("news");
    assert_eq!(session.answer(&answer), Received::Answered);
    assert_eq!(session.server.verdict().feedback(), Feedback::default());
    assert_eq!(session.respond(), None);
}

#[test]
fn a_state_that_did_not_come_as_it_was_sent_is_not_applied_and_sent_once_more() {
    let mut session = Session::with([endpoints(0, 1), endpoints(1, 1)]);
    session.settle(&Feedback::default());
    session.serve(&upserts([endpoints(2, 1)]));
    let mut response = session.respond().expect("a response");
    response.resources.remove(0);
    let error = session.client.receive(response).expect_err("something is missing");
    assert!(matches!(error, ClientError::Mismatch { .. }), "{error}");
    assert_eq!(session.client.config().0.len(), 2, "what was good stays");

    session.client.mistrust();
    session.connect();
    let (batch, _) = session.batch();
    assert_eq!(batch.delta.upserts.len(), 3);
}

#[test]
fn what_a_newer_release_had_sent_is_removed() {
    let mut session = Session::with([endpoints(0, 1)]);
    let mut request = session.client.connect(Node::default());
    request.initial_resource_versions.insert("UdpRule/default/dns/0".to_owned(), "1".to_owned());
    session.server = Server::default();
    session.answer(&request);
    let response = session.respond().expect("a response");
    assert_eq!(response.removed_resources, ["UdpRule/default/dns/0"]);
}

#[test]
fn wrong_requests_are_told_what_would_be_right() {
    let served = Served::default();
    let request = DeltaDiscoveryRequest { type_url: TYPE_URL.to_owned(), ..Default::default() };
    let refused = |request: &DeltaDiscoveryRequest| {
        let mut server = Server::default();
        let first = DeltaDiscoveryRequest { type_url: TYPE_URL.to_owned(), ..Default::default() };
        server.receive(&first, &served).expect("right");
        server.next_response(&served).expect("the end of a snapshot");
        server.receive(request, &served).expect_err("wrong").to_string()
    };
    let cluster = "type.googleapis.com/envoy.config.cluster.v3.Cluster".to_owned();
    assert_eq!(
        refused(&DeltaDiscoveryRequest { type_url: cluster, ..request.clone() }),
        "resources of the type \"type.googleapis.com/envoy.config.cluster.v3.Cluster\" are not \
         served here, only type.gwapi.dev/gwapi.v1.Resource"
    );
    let names = vec!["Listener/http".to_owned()];
    assert_eq!(
        refused(&DeltaDiscoveryRequest { resource_names_subscribe: names, ..request.clone() }),
        ServerError::Names.to_string()
    );
    for nonce in ["2", "-1", "x"] {
        assert_eq!(
            refused(&DeltaDiscoveryRequest { response_nonce: nonce.to_owned(), ..request.clone() }),
            format!("no response with the nonce {nonce:?} was sent")
        );
    }
}
