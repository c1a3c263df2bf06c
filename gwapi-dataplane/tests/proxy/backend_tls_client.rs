//! Certificates that endpoints may ask for: the Gateway's own (TL-7, BT-11), and those of XBackends.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use gwapi_dataplane::ProxyBuilder;
use gwapi_translate::ir::{BackendTls, Certificate, CertificateKey, HttpRule, IrResource};
use http::StatusCode;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::backend_tls::{asks, inside, serve_tls};
use super::support::authority::Authority;
use super::support::*;

fn showing(name: &str, authority: &Authority) -> BackendTls {
    let client_certificate = Some(CertificateKey::secret("default", name));
    BackendTls { client_certificate, ..asks("app.internal", authority) }
}

/// A backend `app` inside TLS, beside a certificate.
fn resources(
    port: u16,
    tls: &BackendTls,
    endpoint: SocketAddr,
    certificate: &Certificate,
) -> Vec<IrResource> {
    let mut resources = simple(port, endpoint);
    resources.extend(inside(tls.clone(), backend("app", &[endpoint])));
    resources.push(IrResource::Certificate(Arc::new(certificate.clone())));
    resources
}

fn leaf(certificate: &Certificate) -> Vec<u8> {
    CertificateDer::from_pem_slice(certificate.chain.as_bytes()).expect("it is PEM").to_vec()
}

/// BT-11.
#[tokio::test]
async fn an_endpoint_that_asks_sees_the_certificate_and_later_the_next_one() {
    let authority = Authority::new();
    let server = authority.server_for_its_clients("app.internal");
    let echo = Echo::tls("a", false, &server).await;
    let tls = showing("client", &authority);
    let mut proxy = serve_tls(&tls, &[echo.address]);
    let port = proxy.address.port();
    let [first, second] = [(); 2].map(|()| authority.client("client"));

    let _ = proxy.set(resources(port, &tls, echo.address, &first));
    assert_eq!(proxy.get("a", "/").await.endpoint(), "a");
    let _ = proxy.set(resources(port, &tls, echo.address, &second));
    assert_eq!(proxy.get("a", "/").await.endpoint(), "a");

    let shown: Vec<_> = server.handshakes().into_iter().map(|it| it.client).collect();
    assert_eq!(shown, [Some(leaf(&first)), Some(leaf(&second))], "no connection outlives its own");
}

#[tokio::test]
async fn where_there_is_no_certificate_an_endpoint_that_asks_for_one_gets_no_request() {
    let authority = Authority::new();
    let asking = Echo::tls("a", false, &authority.server_for_its_clients("app.internal")).await;
    let proxy = serve_tls(&showing("missing", &authority), &[asking.address]);
    let reply = proxy.get("a", "/").await;
    assert_eq!(reply.status, StatusCode::BAD_GATEWAY);

    let easy = Echo::tls("b", false, &authority.server_for("app.internal")).await;
    let proxy = serve_tls(&showing("missing", &authority), &[easy.address]);
    assert_eq!(proxy.get("a", "/").await.endpoint(), "b");
}

#[tokio::test]
async fn an_endpoint_that_does_not_vouch_for_the_certificate_gets_no_request() {
    let (authority, other) = (Authority::new(), Authority::new());
    let echo = Echo::tls("a", false, &authority.server_for_its_clients("app.internal")).await;
    let tls = showing("client", &authority);
    let mut proxy = serve_tls(&tls, &[echo.address]);
    let port = proxy.address.port();

    let _ = proxy.set(resources(port, &tls, echo.address, &other.client("client")));
    assert_eq!(proxy.get("a", "/").await.status, StatusCode::BAD_GATEWAY);
    let _ = proxy.set(resources(port, &tls, echo.address, &authority.client("client")));
    assert_eq!(proxy.get("a", "/").await.endpoint(), "a");
}

/// whoever asked for both sides to prove who they are gets no traffic without.
#[tokio::test]
async fn an_x_backend_whose_certificate_is_not_there_gets_no_request_though_nobody_asks_for_it() {
    let authority = Authority::new();
    let server = authority.server_for("app.internal");
    let echo = Echo::tls("a", false, &server).await;
    let tls = BackendTls { mutual: true, ..showing("client", &authority) };
    let mut proxy = serve_tls(&tls, &[echo.address]);
    let port = proxy.address.port();
    assert_eq!(proxy.get("a", "/").await.status, StatusCode::BAD_GATEWAY);
    let certificate = authority.client("client");
    let broken = Certificate {
        private_key: Authority::new().client("client").private_key,
        ..certificate.clone()
    };
    let report = proxy.set(resources(port, &tls, echo.address, &broken));
    let rejected = &report.feedback[&gateway()].rejected_certificates;
    assert!(rejected.contains_key(&certificate.key), "{rejected:?}");
    assert_eq!(proxy.get("a", "/").await.status, StatusCode::BAD_GATEWAY);
    assert_eq!(server.handshakes(), [], "nobody was even asked");

    let _ = proxy.set(resources(port, &tls, echo.address, &certificate));
    assert_eq!(proxy.get("a", "/").await.endpoint(), "a");
    let _ = proxy.set(resources(port, &tls, echo.address, &broken));
    assert_eq!(proxy.get("a", "/").await.status, StatusCode::BAD_GATEWAY, "not by the one before");
}

/// backends at one endpoint, each with a certificate of its own.
#[tokio::test]
async fn backends_that_show_other_certificates_share_no_connection_to_an_endpoint() {
    let authority = Authority::new();
    let server = authority.server_for_its_clients("app.internal");
    let echo = Echo::tls("a", false, &server).await;
    let certificates = ["one", "two"].map(|name| authority.client(name));
    let local = IpAddr::from([127, 0, 0, 1]);
    let proxy = serve_on_cores(1, local, &ProxyBuilder::new(), |port| {
        let mut resources = vec![ir_listener(listener("web", port))];
        for (name, certificate) in ["one", "two"].into_iter().zip(&certificates) {
            let tls = BackendTls { mutual: true, ..showing(name, &authority) };
            resources.extend(inside(tls, backend(name, &[echo.address])));
            resources.push(IrResource::Certificate(Arc::new(certificate.clone())));
            let matches = prefix(&format!("/{name}"));
            resources.push(ir(HttpRule { matches, backends: to(name), ..rule(name) }));
        }
        resources
    });
    for path in ["/one", "/two", "/one", "/two"] {
        assert_eq!(proxy.get("a", path).await.endpoint(), "a");
    }
    let handshakes = server.handshakes();
    assert!(handshakes.iter().all(|it| !it.resumed), "each of them proves who it is");
    let shown: Vec<_> = handshakes.into_iter().map(|it| it.client).collect();
    assert_eq!(shown, certificates.each_ref().map(|it| Some(leaf(it))));
}
