//! The proxy inside another program, its configuration through a channel.
//!
//! The program owns the source of configuration: here a thread that translates events and sends
//! what changed. The proxy takes each change through its handle, while traffic goes on.
//!
//! ```text
//! cargo run --package gwapi-dataplane --features echo --example embed_proxy
//! ```

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use gwapi_dataplane::echo::{Echo, EchoIdentity};
use gwapi_dataplane::{ConfigUpdate, ProxyBuilder};
use gwapi_model::{ResourceEvent, manifest};
use gwapi_translate::{AddressPolicy, Options, Translator};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let identity = EchoIdentity {
        namespace: "default".to_owned(),
        service: "greeter".to_owned(),
        pod: "greeter-0".to_owned(),
    };
    let backend = Echo::start(identity, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    let port = free_port()?;

    let (updates, configuration) = channel();
    let text = manifests(port, backend.address());
    let source = thread::spawn(move || translate_into(&updates, &text));

    // Dropping the handle stops the proxy; draining lets requests end first.
    let proxy = ProxyBuilder::new().workers(1).start()?;
    for update in configuration {
        let report = proxy.apply(update);
        println!("configuration {} is served", report.generation);
    }
    source.join().map_err(|_| "the source of configuration panicked")??;

    let answer = get(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), "/hello")?;
    println!("{answer}");
    assert!(answer.starts_with("HTTP/1.1 200"), "the request reached the backend");
    assert!(answer.contains("greeter-0"), "the backend says who it is");

    let drained = proxy.drain();
    println!("drained, {} connections were cut", drained.cut_connections);
    Ok(())
}

/// Translates manifests object by object, and sends each change.
fn translate_into(updates: &Sender<ConfigUpdate>, text: &str) -> Result<(), String> {
    let manifest = manifest::parse("inline", text);
    if let Some(problem) = manifest.problems.first() {
        return Err(problem.to_string());
    }
    let addresses = AddressPolicy::Shared(vec![Ipv4Addr::LOCALHOST.into()]);
    let mut translator = Translator::new(Options { addresses, ..Options::default() });
    for located in manifest.objects {
        let delta = translator.apply(ResourceEvent::Apply(located.resource));
        // A proxy that is gone needs no configuration any more.
        if !delta.is_empty() && updates.send(ConfigUpdate::from(&delta)).is_err() {
            break;
        }
    }
    Ok(())
}

fn manifests(port: u16, backend: SocketAddr) -> String {
    let (address, backend_port) = (backend.ip(), backend.port());
    format!(
        "
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata:
  name: embedded
spec:
  controllerName: gwapi.dev/gateway-controller
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata:
  name: front
spec:
  gatewayClassName: embedded
  listeners:
    - name: http
      protocol: HTTP
      port: {port}
---
apiVersion: v1
kind: Service
metadata:
  name: greeter
spec:
  ports:
    - port: 80
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: greeter-1
  labels:
    kubernetes.io/service-name: greeter
addressType: IPv4
endpoints:
  - addresses: ['{address}']
ports:
  - port: {backend_port}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: greeting
spec:
  parentRefs:
    - name: front
  rules:
    - backendRefs:
        - name: greeter
          port: 80
"
    )
}

/// A Gateway names its ports, so one that is free is looked for first.
fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn get(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: front.example\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
