//! A program of its own with a gateway inside: it depends on the crates by path, as any user could.
//!
//! The manifests are those of `examples/paths`; where its two Services are, this program says with
//! typed objects of its own.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use gwapi_dataplane::echo::{Echo, EchoIdentity};
use gwapi_dataplane::{ConfigUpdate, ProxyBuilder};
use gwapi_model::{
    AddressFamily, Endpoint, EndpointPort, EndpointSlice, ObjectMeta, Port, ResourceEvent,
    SERVICE_NAME_LABEL, manifest,
};
use gwapi_translate::{AddressPolicy, Options, Translator};

const MANIFESTS: [(&str, &str); 3] = [
    ("gateway.yaml", include_str!("../../paths/gateway.yaml")),
    ("routes.yaml", include_str!("../../paths/routes.yaml")),
    ("services.yaml", include_str!("../../paths/services.yaml")),
];

/// The port of the Gateway in the manifests.
const GATEWAY_PORT: u16 = 80;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut events = Vec::new();
    for (name, text) in MANIFESTS {
        let manifest = manifest::parse(name, text);
        if let Some(problem) = manifest.problems.first() {
            return Err(problem.to_string().into());
        }
        let objects = manifest.objects.into_iter();
        events.extend(objects.map(|located| ResourceEvent::Apply(located.resource)));
    }
    let (left, right) = (echo("left")?, echo("right")?);
    events.push(ResourceEvent::Apply(endpoints("left", left.address())?.into()));
    events.push(ResourceEvent::Apply(endpoints("right", right.address())?.into()));

    let port = free_port()?;
    let mut translator = Translator::new(Options {
        port_offset: port - GATEWAY_PORT,
        addresses: AddressPolicy::Shared(vec![Ipv4Addr::LOCALHOST.into()]),
        ..Options::default()
    });
    let delta = translator.apply_all(events);

    let proxy = ProxyBuilder::new().workers(1).start()?;
    proxy.apply(ConfigUpdate::from(&delta));
    for side in ["left", "right"] {
        let answer = get(port, &format!("/{side}"))?;
        assert!(answer.starts_with("HTTP/1.1 200"), "unexpected answer: {answer}");
        assert!(answer.contains(&format!("{side}-0")), "another backend answered: {answer}");
        println!("/{side} is answered by {side}-0");
    }
    assert!(get(port, "/up")?.starts_with("HTTP/1.1 404"), "no rule is for /up");
    println!("/up is not found");
    proxy.drain();
    Ok(())
}

fn echo(service: &str) -> std::io::Result<Echo> {
    let identity = EchoIdentity {
        namespace: "default".to_owned(),
        service: service.to_owned(),
        pod: format!("{service}-0"),
    };
    Echo::start(identity, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
}

/// What a cluster would say about the Pods of a Service.
fn endpoints(service: &str, address: SocketAddr) -> Result<EndpointSlice, Failure> {
    let mut metadata = ObjectMeta::namespaced("default", &format!("{service}-embedded"));
    metadata.labels.insert(SERVICE_NAME_LABEL.to_owned(), service.to_owned());
    let port = Port::new(address.port()).ok_or("a bound port is not 0")?;
    Ok(EndpointSlice {
        metadata,
        address_type: AddressFamily::Ipv4,
        endpoints: vec![Endpoint {
            addresses: vec![address.ip().to_string()],
            conditions: None,
            target_ref: None,
        }],
        ports: vec![EndpointPort { port: Some(port), ..EndpointPort::default() }],
    })
}

/// A Gateway names its ports, so one that is free is looked for first.
fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn get(port: u16, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: example.test\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
