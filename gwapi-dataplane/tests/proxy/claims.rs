//! Law: traffic keeps what the conditions of generated routes claim. Each route is asked on each listener of its
//! Gateway for what its matches take: one that says that it is accepted, with its references resolved, answers by
//! its backends, and one that is refused by none.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use gwapi_dataplane::ProxyBuilder;
use gwapi_model::{Kind, Resources};
use gwapi_translate::ir::{
    BackendKey, BackendProtocol, BackendTarget, Endpoints, GatewayConfig, HttpRule, IrKey,
    IrResource, Listener, ListenerProtocol, TransportProtocol, WeightedBackend,
};
use gwapi_translate::testing::matching::Request;
use gwapi_translate::testing::oracle;
use gwapi_translate::testing::streams::Opening;
use gwapi_translate::testing::translation::traffic::{Claim, Sent, claims, wishes};
use gwapi_translate::testing::translation::worlds;
use gwapi_translate::{Options, Translation, translate};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UdpSocket};

use super::support::client::Http2Client;
use super::support::*;
use super::tls_routes::client_hello;

/// Worlds that are tried.
const WORLDS: usize = 60;

/// An endpoint that says the key of its backend to whoever asks.
enum Endpoint {
    Http(Echo),
    Bytes(Scripted),
    Datagrams(SocketAddr, tokio::task::JoinHandle<()>),
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        if let Self::Datagrams(_, task) = self {
            task.abort();
        }
    }
}

impl Endpoint {
    async fn of(key: &BackendKey, protocol: BackendProtocol) -> Self {
        let line = format!("{key}\n");
        match protocol {
            BackendProtocol::Http1 => Self::Http(Echo::start(key.as_str()).await),
            BackendProtocol::H2c => Self::Http(Echo::h2c(key.as_str()).await),
            BackendProtocol::Tcp => {
                let greet = move |mut stream: TcpStream, _: usize| {
                    let line = line.clone();
                    async move {
                        let _ = stream.write_all(line.as_bytes()).await;
                        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
                    }
                };
                Self::Bytes(Scripted::start(greet).await)
            }
            BackendProtocol::Udp => {
                let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port is free");
                let address = socket.local_addr().expect("it is bound");
                let answer = async move {
                    let mut buffer = [0; 64];
                    while let Ok((_, client)) = socket.recv_from(&mut buffer).await {
                        let _ = socket.send_to(line.as_bytes(), client).await;
                    }
                };
                Self::Datagrams(address, tokio::spawn(answer))
            }
        }
    }

    fn address(&self) -> SocketAddr {
        match self {
            Self::Http(echo) => echo.address,
            Self::Bytes(scripted) => scripted.address,
            Self::Datagrams(address, _) => *address,
        }
    }
}

/// Whether a client without certificates can be served by a listener, and by nothing but its routes.
fn is_plain(listener: &Listener) -> bool {
    let ends_tls =
        listener.protocol.is_tls() && listener.protocol != ListenerProtocol::TlsPassthrough;
    !ends_tls && listener.filters.is_empty()
}

/// Listeners of one place are told apart by what their clients say.
fn place(listener: &Listener) -> (TransportProtocol, u16) {
    (listener.protocol.transport(), listener.port)
}

/// What a configuration serves to such clients: a port that has other listeners as well is left out.
fn plain_part(config: &GatewayConfig) -> GatewayConfig {
    let busy: BTreeSet<(TransportProtocol, u16)> =
        config.listeners().filter(|it| !is_plain(it)).map(|it| place(it)).collect();
    let kept = config.0.iter().filter(|(_, resource)| match resource {
        IrResource::Listener(listener) => !busy.contains(&place(listener)),
        IrResource::Backend(backend) => backend.tls.is_none(),
        _ => true,
    });
    GatewayConfig(kept.map(|(key, resource)| (key.clone(), resource.clone())).collect())
}

/// The same on other ports, with these endpoints, and with all the time that it takes.
fn placed(
    config: &GatewayConfig,
    ports: &BTreeMap<u16, u16>,
    endpoints: &BTreeMap<BackendKey, Endpoint>,
) -> Vec<IrResource> {
    let place = |resource: &IrResource| match resource {
        IrResource::Listener(listener) => {
            let (port, addresses) = (ports[&listener.port], vec![[127, 0, 0, 1].into()]);
            ir_listener(Listener { port, addresses, ..Listener::clone(listener) })
        }
        IrResource::HttpRule(rule) => {
            ir(HttpRule { timeouts: None, retry: None, ..HttpRule::clone(rule) })
        }
        IrResource::Endpoints(of) => IrResource::Endpoints(Arc::new(Endpoints {
            key: of.key.clone(),
            addresses: endpoints.get(&of.key).map(Endpoint::address).into_iter().collect(),
            hostnames: Vec::new(),
            external: Vec::new(),
        })),
        other => other.clone(),
    };
    config.0.values().map(place).collect()
}

/// What answers.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// The endpoint of a backend.
    Backend(String),
    /// The proxy itself: a status, or 0 where a connection is closed.
    Refusal(u16),
}

/// What the oracle lets answer; nothing where more than backends have to do with it.
fn expected(config: &GatewayConfig, sent: &Sent) -> Option<Vec<Answer>> {
    let (backends, refused) = match sent {
        Sent::Request(request) => {
            let Some(chosen) = oracle::route(config, request.port, &request.head()) else {
                return Some(vec![Answer::Refusal(404)]);
            };
            let Some(IrResource::HttpRule(rule)) = config.0.get(&IrKey::HttpRule(chosen.rule))
            else {
                panic!("the oracle chooses among the rules that there are");
            };
            let is_plain =
                rule.filters.is_empty() && rule.backends.iter().all(|it| it.filters.is_empty());
            (is_plain.then(|| rule.backends.clone())?, Answer::Refusal(500))
        }
        Sent::Opening(opening) => {
            let Some(key) = oracle::stream(config, opening) else {
                return Some(vec![Answer::Refusal(0)]);
            };
            let Some(IrResource::StreamRule(rule)) = config.0.get(&IrKey::StreamRule(key)) else {
                panic!("the oracle chooses among the rules that there are");
            };
            (rule.backends.clone(), Answer::Refusal(0))
        }
    };
    let leads = |backend: &WeightedBackend| match &backend.target {
        BackendTarget::Backend(key) if config.0.contains_key(&IrKey::Backend(key.clone())) => {
            Some(Answer::Backend(key.to_string()))
        }
        _ => None,
    };
    let mut answers: Vec<_> = backends.iter().filter(|it| it.weight > 0).map(leads).collect();
    let is_whole = !answers.is_empty() && answers.iter().all(Option::is_some);
    let refusals = (!is_whole).then_some(refused);
    Some(answers.drain(..).flatten().chain(refusals).collect())
}

async fn ask(request: &Request, address: SocketAddr, is_call: bool) -> Answer {
    let query = request.query.as_deref().map_or(String::new(), |query| format!("?{query}"));
    let target = format!("{}{query}", request.path);
    let uri = if is_call { format!("http://{}{target}", request.host) } else { target };
    let mut asked = http::Request::builder().method(&*request.method).uri(uri);
    *asked.headers_mut().expect("it is a request") = request.headers.clone();
    let asked = if is_call { asked } else { asked.header("host", &request.host) };
    let asked = asked.body(client::Body::default()).expect("it is a request");
    let reply = match is_call {
        true => Http2Client::connect(address).await.send(asked).await,
        false => Client::connect(address).await.send(asked).await,
    };
    match reply.header("x-endpoint") {
        Some(name) => Answer::Backend(name.to_owned()),
        None => Answer::Refusal(reply.status.as_u16()),
    }
}

async fn open(opening: &Opening, address: SocketAddr) -> Answer {
    if let Opening::Plain(listener) = opening
        && listener.protocol == ListenerProtocol::Udp
    {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port is free");
        socket.connect(address).await.expect("it is an address");
        socket.send(b"who").await.expect("it is sent");
        let mut answer = vec![0; 256];
        let length = within(socket.recv(&mut answer)).await.expect("an answer comes");
        let answer = String::from_utf8_lossy(&answer[..length]);
        return Answer::Backend(answer.trim_end().to_owned());
    }
    let mut stream = streams::connect(address).await;
    if let Opening::Tls { server_name: Some(name), .. } = opening {
        within(stream.write_all(&client_hello(name))).await.expect("it reads");
    }
    let mut line = String::new();
    // It may be reset, too.
    let _ = within(BufReader::new(stream).read_line(&mut line)).await;
    match line.trim_end() {
        "" => Answer::Refusal(0),
        name => Answer::Backend(name.to_owned()),
    }
}

/// What was asked: by the kind of the route, and whether its conditions claim the answer.
type Asked = BTreeMap<(Kind, bool), usize>;

async fn try_gateway(
    resources: &Resources,
    translation: &Translation,
    (gateway, whole): (&gwapi_translate::ir::GatewayId, &GatewayConfig),
    asked: &mut Asked,
) {
    let config = plain_part(whole);
    let mut endpoints = BTreeMap::new();
    for resource in config.0.values() {
        if let IrResource::Backend(backend) = resource {
            endpoints
                .insert(backend.key.clone(), Endpoint::of(&backend.key, backend.protocol).await);
        }
    }
    let written: BTreeSet<u16> = config.listeners().map(|it| it.port).collect();
    if written.is_empty() {
        return;
    }
    let mut ports = BTreeMap::new();
    let chosen = std::sync::Mutex::new(BTreeMap::new());
    let local = std::net::IpAddr::from([127, 0, 0, 1]);
    let _proxy = serve_on_cores(1, local, &ProxyBuilder::new(), |_| {
        let fresh = written.iter().map(|port| (*port, free_port())).collect();
        let resources = placed(&config, &fresh, &endpoints);
        *chosen.lock().expect("nothing panicked") = fresh;
        resources
    });
    ports.append(&mut chosen.lock().expect("nothing panicked"));
    let claimed = claims(gateway, resources, translation).expect("the law of translation holds");
    let key = |claim: &Claim| format!("{claim}");
    let claimed: BTreeSet<String> = claimed.iter().map(key).collect();
    for listener in config.listeners() {
        let wished = resources.routes().flat_map(|route| wishes(route, listener, &config));
        for wish in wished.collect::<Vec<_>>() {
            let is_udp = listener.protocol == ListenerProtocol::Udp;
            let fits = matches!(listener.protocol, ListenerProtocol::Http)
                == matches!(wish.sent, Sent::Request(_));
            let Some(answers) = expected(&config, &wish.sent).filter(|_| fits) else { continue };
            // Nobody answers a datagram that is dropped.
            if is_udp && answers.contains(&Answer::Refusal(0)) {
                continue;
            }
            let is_claimed =
                claimed.contains(&key(&wish)) && wish.is_plain && wish.is_first(&config);
            let address = SocketAddr::new(local, ports[&listener.port]);
            let answer = match &wish.sent {
                Sent::Request(request) => {
                    ask(request, address, wish.route.kind == Kind::GrpcRoute).await
                }
                Sent::Opening(opening) => open(opening, address).await,
            };
            assert!(
                answers.contains(&answer),
                "{wish}: {answer:?} answers, and not one of {answers:?}"
            );
            if is_claimed && answers.iter().all(|it| matches!(it, Answer::Backend(_))) {
                let own = wish.backends.iter().map(|(key, _)| Answer::Backend(key.to_string()));
                assert!(own.collect::<Vec<_>>().contains(&answer), "{wish}: {answer:?} answers");
            }
            *asked.entry((wish.route.kind, is_claimed)).or_default() += 1;
        }
    }
}

/// RT-3, RT-7, HB-3, LI-3, TS-4, L4-4.
#[tokio::test]
async fn generated_routes_answer_as_their_conditions_claim() {
    let mut runner = TestRunner::deterministic();
    let mut asked = Asked::new();
    for _ in 0..WORLDS {
        let resources = worlds().new_tree(&mut runner).expect("it generates").current();
        let resources: Resources = resources.into_iter().collect();
        let translation = translate(&resources, &Options::default());
        for gateway in &translation.config {
            try_gateway(&resources, &translation, gateway, &mut asked).await;
        }
    }
    let kinds = [Kind::HttpRoute, Kind::GrpcRoute, Kind::TlsRoute, Kind::TcpRoute, Kind::UdpRoute];
    for kind in kinds {
        assert!(asked.contains_key(&(kind, true)), "no {kind} claims anything: {asked:?}");
    }
    for kind in &kinds[..4] {
        assert!(asked.contains_key(&(*kind, false)), "no {kind} claims too little: {asked:?}");
    }
}
