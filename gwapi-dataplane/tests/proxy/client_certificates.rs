//! Certificates of clients: who is let in, and what is left of that when the listener asks for something
//! else (TL-4 to TL-6).

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use gwapi_translate::ir::{
    ClientValidation, ClientValidationMode, HttpRule, IrResource, Listener, ListenerKey,
    ListenerProtocol,
};
use http::StatusCode;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::client::{ResolvesClientCert, WantsClientCert};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    ClientConfig, ConfigBuilder, HandshakeKind, RootCertStore, SignatureScheme,
    SupportedProtocolVersion,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::support::client::{Http2Client, tls_with};
use super::support::*;
use ClientValidationMode::{AllowInsecureFallback, AllowValidOnly};

/// An authority for certificates of clients.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(vec![]).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("it signs itself"))
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    fn client(&self) -> Arc<CertifiedKey> {
        self.client_until(4096)
    }

    fn client_until(&self, year: i32) -> Arc<CertifiedKey> {
        self.client_with(|params| params.not_after = date_time_ymd(year, 1, 1))
    }

    fn client_with(&self, edit: impl FnOnce(&mut CertificateParams)) -> Arc<CertifiedKey> {
        let mut params = CertificateParams::new(vec!["client".to_owned()]).expect("a name");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        edit(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("the authority signs");
        let private = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).expect("PEM");
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let chain = vec![certificate.der().clone()];
        Arc::new(CertifiedKey::from_der(chain, private, &provider).expect("they belong together"))
    }
}

/// A client that shows `shown` to whoever asks, whatever authorities are asked for.
fn config_of(server: &TestCertificate, shown: Option<&Arc<CertifiedKey>>) -> Arc<ClientConfig> {
    let builder = config_that_trusts(server, rustls::DEFAULT_VERSIONS);
    Arc::new(match shown {
        Some(shown) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(
            CertifiedKey::clone(shown),
        ))),
        None => builder.with_no_client_auth(),
    })
}

fn config_that_trusts(
    server: &TestCertificate,
    versions: &[&'static SupportedProtocolVersion],
) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    let mut roots = RootCertStore::empty();
    roots.add(server.der.clone().into()).expect("a certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("the provider has them")
        .with_root_certificates(roots)
}

fn validation(authorities: &[&Authority], mode: ClientValidationMode) -> Option<ClientValidation> {
    let ca_certificates: String = authorities.iter().map(|authority| authority.pem()).collect();
    Some(ClientValidation { ca_certificates: ca_certificates.into(), mode })
}

fn listener_with(listener: Listener, client_validation: Option<ClientValidation>) -> IrResource {
    let ListenerProtocol::Https { certificates, .. } = listener.protocol else { unreachable!() };
    let protocol = ListenerProtocol::Https { certificates, client_validation };
    ir_listener(Listener { protocol, ..listener })
}

/// A proxy whose one listener asks this of its clients.
struct Site {
    echo: Echo,
    server: TestCertificate,
    proxy: Proxy,
}

impl Site {
    async fn new(asked: Option<ClientValidation>) -> Self {
        let echo = Echo::start("a").await;
        let server = certificate_for(&["a.example", "b.example"]);
        let proxy = serve(|port| resources(port, &echo, &server, asked.clone()));
        Self { echo, server, proxy }
    }

    fn ask(&mut self, asked: Option<ClientValidation>) {
        let port = self.proxy.address.port();
        self.proxy.set(resources(port, &self.echo, &self.server, asked));
    }

    fn client(&self, shown: Option<&Arc<CertifiedKey>>) -> Arc<ClientConfig> {
        config_of(&self.server, shown)
    }

    async fn kept(&self, config: &Arc<ClientConfig>) -> Client {
        let stream = tls_with(Arc::clone(config), self.proxy.address, "a.example").await;
        let mut client = Client::over(stream.expect("a handshake")).await;
        assert_eq!(client.get("a.example", "/").await.endpoint(), "a");
        client
    }

    async fn request(&self, config: &Arc<ClientConfig>) -> io::Result<HandshakeKind> {
        request(config, self.proxy.address, "a.example").await
    }
}

fn resources(
    port: u16,
    echo: &Echo,
    server: &TestCertificate,
    asked: Option<ClientValidation>,
) -> Vec<IrResource> {
    let mut resources = simple(port, echo.address);
    resources.push(listener_with(https_listener("web", port, None, &["c"]), asked));
    resources.push(server.secret("c"));
    resources
}

/// A request on a connection of its own: how its handshake went, or why it got no answer. In TLS 1.3 a
/// client learns only after its handshake what became of its certificate.
async fn request(
    config: &Arc<ClientConfig>,
    address: SocketAddr,
    host: &str,
) -> io::Result<HandshakeKind> {
    let mut stream = tls_with(Arc::clone(config), address, host).await?;
    let kind = stream.get_ref().1.handshake_kind().expect("it is over");
    let request = format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    within(stream.write_all(request.as_bytes())).await?;
    let mut answer = Vec::new();
    within(stream.read_to_end(&mut answer)).await?;
    let answer = String::from_utf8_lossy(&answer);
    match answer.starts_with("HTTP/1.1 200") {
        true => Ok(kind),
        false => Err(io::Error::new(ErrorKind::InvalidData, answer.into_owned())),
    }
}

fn assert_refused(answer: &io::Result<HandshakeKind>, alerts: &[&str]) {
    let error = answer.as_ref().expect_err("no answer").to_string();
    assert!(alerts.iter().any(|alert| error.contains(alert)), "{error}");
}

#[tokio::test]
async fn a_client_with_a_valid_certificate_is_served() {
    let authority = Authority::new("ca");
    let site = Site::new(validation(&[&authority], AllowValidOnly)).await;
    site.request(&site.client(Some(&authority.client()))).await.expect("it is served");
}

#[tokio::test]
async fn each_of_several_authorities_may_vouch() {
    let (a, b) = (Authority::new("a"), Authority::new("b"));
    let site = Site::new(validation(&[&a, &b], AllowValidOnly)).await;
    for authority in [&a, &b] {
        site.request(&site.client(Some(&authority.client()))).await.expect("it is served");
    }
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused() {
    let site = Site::new(validation(&[&Authority::new("ca")], AllowValidOnly)).await;
    assert_refused(&site.request(&site.client(None)).await, &["CertificateRequired"]);
    assert!(site.echo.requests().is_empty());
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    let site = Site::new(validation(&[&Authority::new("ca")], AllowValidOnly)).await;
    // Of the same name, so that only its key tells it apart.
    let other = Authority::new("ca").client();
    let alerts = ["UnknownCA", "DecryptError", "BadCertificate"];
    assert_refused(&site.request(&site.client(Some(&other))).await, &alerts);
    assert!(site.echo.requests().is_empty());
}

#[tokio::test]
async fn a_certificate_that_has_expired_is_refused() {
    let authority = Authority::new("ca");
    let site = Site::new(validation(&[&authority], AllowValidOnly)).await;
    let expired = authority.client_until(2020);
    assert_refused(&site.request(&site.client(Some(&expired))).await, &["CertificateExpired"]);
    assert!(site.echo.requests().is_empty());
}

/// TL-6.
#[tokio::test]
async fn the_insecure_fallback_asks_for_a_certificate_and_lets_everybody_in() {
    let authority = Authority::new("ca");
    let site = Site::new(validation(&[&authority], AllowInsecureFallback)).await;
    for (name, shown) in [
        ("valid", Some(authority.client())),
        ("none", None),
        ("of another authority", Some(Authority::new("other").client())),
        ("expired", Some(authority.client_until(2020))),
    ] {
        site.request(&site.client(shown.as_ref())).await.expect(name);
    }
    // Who is asked is known by what it would show: the resolver says whether it was called.
    let asked = Arc::new(Asked::default());
    let mut config = ClientConfig::clone(&site.client(None));
    config.client_auth_cert_resolver = Arc::clone(&asked) as Arc<_>;
    site.request(&Arc::new(config)).await.expect("it is let in");
    assert!(asked.0.load(std::sync::atomic::Ordering::Relaxed));
}

/// Shows nothing, and notes that it was asked to.
#[derive(Debug, Default)]
struct Asked(std::sync::atomic::AtomicBool);

impl rustls::client::ResolvesClientCert for Asked {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        _schemes: &[rustls::SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
        None
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// TL-5.
#[tokio::test]
async fn a_listener_without_any_authority_refuses_everybody_whatever_its_mode() {
    for mode in [AllowValidOnly, AllowInsecureFallback] {
        let site = Site::new(validation(&[], mode)).await;
        for shown in [None, Some(Authority::new("ca").client())] {
            let answer = site.request(&site.client(shown.as_ref())).await;
            assert_refused(&answer, &["UnrecognisedName"]);
        }
    }
}

#[tokio::test]
async fn a_session_is_resumed_while_the_listener_asks_the_same() {
    let authority = Authority::new("ca");
    let mut site = Site::new(validation(&[&authority], AllowValidOnly)).await;
    let config = site.client(Some(&authority.client()));
    assert_eq!(site.request(&config).await.expect("served"), HandshakeKind::Full);
    assert_eq!(site.request(&config).await.expect("served"), HandshakeKind::Resumed);
    // The same authorities, written in another way.
    let pem = format!("# rewritten\n{0}\n{0}", authority.pem());
    site.ask(Some(ClientValidation { ca_certificates: pem.into(), mode: AllowValidOnly }));
    assert_eq!(site.request(&config).await.expect("served"), HandshakeKind::Resumed);
}

#[tokio::test]
async fn sessions_do_not_outlive_the_certificate_however_often_they_are_renewed() {
    let authority = Authority::new("ca");
    let site = Site::new(validation(&[&authority], AllowValidOnly)).await;
    let end = SystemTime::now() + Duration::from_secs(2);
    let since_1970 = end.duration_since(SystemTime::UNIX_EPOCH).expect("it is later");
    let client =
        authority.client_with(|params| params.not_after = date_time_ymd(1970, 1, 1) + since_1970);
    let config = site.client(Some(&client));
    assert_eq!(site.request(&config).await.expect("served"), HandshakeKind::Full);
    // Certificates end with a second, which has begun.
    let at_last = end + Duration::from_secs(2);
    let mut resumed = 0;
    while site.request(&config).await.is_ok() {
        assert!(SystemTime::now() < at_last, "resumed {resumed} times");
        resumed += 1;
    }
    assert!(resumed > 0);
    assert!(SystemTime::now() > end - Duration::from_secs(1));
}

/// A client that shows another certificate after a while, as those do whose certificates are short-lived.
#[derive(Debug)]
struct Renewing(Mutex<Arc<CertifiedKey>>);

impl ResolvesClientCert for Renewing {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.lock().expect("no panic")))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn a_client_with_a_new_certificate_is_served_whatever_sessions_it_has() {
    let authority = Authority::new("ca");
    let site = Site::new(validation(&[&authority], AllowValidOnly)).await;
    for versions in [&[&rustls::version::TLS12], &[&rustls::version::TLS13]] {
        let end = SystemTime::now() + Duration::from_secs(2);
        let since_1970 = end.duration_since(SystemTime::UNIX_EPOCH).expect("it is later");
        let first = authority
            .client_with(|params| params.not_after = date_time_ymd(1970, 1, 1) + since_1970);
        let shown = Arc::new(Renewing(Mutex::new(first)));
        let config = config_that_trusts(&site.server, versions);
        let config = Arc::new(config.with_client_cert_resolver(Arc::clone(&shown) as _));
        assert_eq!(site.request(&config).await.expect("served"), HandshakeKind::Full);
        let at_last = end + Duration::from_secs(2);
        let refused = loop {
            match site.request(&config).await {
                Ok(kind) => assert_eq!(kind, HandshakeKind::Resumed),
                Err(error) => break error,
            }
            assert!(SystemTime::now() < at_last);
        };
        assert_refused(&Err(refused), &["CertificateExpired"]);
        *shown.0.lock().expect("no panic") = authority.client();
        assert_eq!(site.request(&config).await.expect("served"), HandshakeKind::Full);
        assert_eq!(site.request(&config).await.expect("served"), HandshakeKind::Resumed);
    }
}

#[tokio::test]
async fn a_session_of_before_certificates_were_asked_for_is_not_resumed() {
    let authority = Authority::new("ca");
    let mut site = Site::new(None).await;
    let anonymous = site.client(None);
    site.request(&anonymous).await.expect("served");
    site.ask(validation(&[&authority], AllowValidOnly));
    assert_refused(&site.request(&anonymous).await, &["CertificateRequired"]);
}

#[tokio::test]
async fn a_session_dies_with_the_authority_that_vouched_for_it() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let mut site = Site::new(validation(&[&old, &new], AllowValidOnly)).await;
    let of_old = site.client(Some(&old.client()));
    site.request(&of_old).await.expect("served");
    assert_eq!(site.request(&of_old).await.expect("served"), HandshakeKind::Resumed);
    site.ask(validation(&[&new], AllowValidOnly));
    let alerts = ["UnknownCA", "BadCertificate", "DecryptError"];
    assert_refused(&site.request(&of_old).await, &alerts);
    let of_new = site.client(Some(&new.client()));
    assert_eq!(site.request(&of_new).await.expect("served"), HandshakeKind::Full);
}

#[tokio::test]
async fn a_session_of_a_listener_that_asks_for_nothing_is_no_way_into_one_that_does() {
    let authority = Authority::new("ca");
    let echo = Echo::start("a").await;
    let server = certificate_for(&["a.example"]);
    let other = free_port();
    let proxy = serve(|port| {
        let mut resources = resources(port, &echo, &server, None);
        let asked = validation(&[&authority], AllowValidOnly);
        resources.push(listener_with(https_listener("other", other, None, &["c"]), asked));
        let listeners = ["web", "other"].map(ListenerKey::new).to_vec();
        resources.push(ir(HttpRule {
            listeners: listeners.into(),
            backends: to("app"),
            ..rule("app")
        }));
        resources
    });
    let anonymous = config_of(&server, None);
    request(&anonymous, proxy.address, "a.example").await.expect("served");
    let other = SocketAddr::new(proxy.address.ip(), other);
    assert_refused(&request(&anonymous, other, "a.example").await, &["CertificateRequired"]);
    // It is the same resource otherwise: with a certificate it is served.
    let known = config_of(&server, Some(&authority.client()));
    request(&known, other, "a.example").await.expect("served");
}

/// Host `a.example` is open, `b.example` asks for certificates; both are on one port.
async fn two_hosts(authority: &Authority) -> (Echo, TestCertificate, Proxy) {
    let echo = Echo::start("a").await;
    let server = certificate_for(&["a.example", "b.example"]);
    let proxy = serve(|port| {
        let mut resources = backend("app", &[echo.address]);
        let asked = validation(&[authority], AllowValidOnly);
        let (a, b) = (Some("a.example"), Some("b.example"));
        resources.push(listener_with(https_listener("a", port, a, &["c"]), None));
        resources.push(listener_with(https_listener("b", port, b, &["c"]), asked));
        let listeners = ["a", "b"].map(ListenerKey::new).to_vec();
        resources.push(ir(HttpRule {
            listeners: listeners.into(),
            backends: to("app"),
            ..rule("app")
        }));
        resources.push(server.secret("c"));
        resources
    });
    (echo, server, proxy)
}

#[tokio::test]
async fn hosts_of_a_port_ask_for_different_things() {
    let authority = Authority::new("ca");
    let (_echo, server, proxy) = two_hosts(&authority).await;
    let (anonymous, known) =
        (config_of(&server, None), config_of(&server, Some(&authority.client())));
    request(&anonymous, proxy.address, "a.example").await.expect("served");
    let refused = request(&anonymous, proxy.address, "b.example").await;
    assert_refused(&refused, &["CertificateRequired"]);
    request(&known, proxy.address, "b.example").await.expect("served");
}

#[tokio::test]
async fn a_connection_to_an_open_host_is_no_way_to_one_that_asks_for_certificates() {
    let authority = Authority::new("ca");
    let (echo, server, proxy) = two_hosts(&authority).await;
    let mut config = ClientConfig::clone(&config_of(&server, Some(&authority.client())));
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = tls_with(Arc::new(config), proxy.address, "a.example").await;
    let mut client: Http2Client = Http2Client::over(stream.expect("a handshake")).await;
    for (host, status) in [
        ("a.example", StatusCode::OK),
        ("b.example", StatusCode::MISDIRECTED_REQUEST),
        ("a.example", StatusCode::OK),
    ] {
        let request = http::Request::get(format!("https://{host}/")).body(Default::default());
        let reply = client.send(request.expect("a request")).await;
        assert_eq!(reply.status, status, "{host}");
    }
    assert_eq!(echo.requests().len(), 2);
}

#[tokio::test]
async fn a_connection_of_before_its_listener_asked_for_more_is_not_served() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    for (name, before, after) in [
        ("asks at all", None, validation(&[&old], AllowValidOnly)),
        ("asks, though it lets in", None, validation(&[&old], AllowInsecureFallback)),
        (
            "insists",
            validation(&[&old], AllowInsecureFallback),
            validation(&[&old], AllowValidOnly),
        ),
        (
            "lost the authority",
            validation(&[&old, &new], AllowValidOnly),
            validation(&[&new], AllowValidOnly),
        ),
        ("lost all", validation(&[&old], AllowValidOnly), validation(&[], AllowValidOnly)),
    ] {
        let mut site = Site::new(before).await;
        let mut kept = site.kept(&site.client(Some(&old.client()))).await;
        site.ask(after);
        let reply = kept.get("a.example", "/").await;
        assert_eq!(reply.status, StatusCode::MISDIRECTED_REQUEST, "{name}");
        kept.closed_by_peer().await;
        assert_eq!(site.echo.requests().len(), 1, "{name}");
    }
}

#[tokio::test]
async fn a_connection_outlives_what_would_have_let_it_in_as_well() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let mut site = Site::new(validation(&[&old], AllowValidOnly)).await;
    let mut kept = site.kept(&site.client(Some(&old.client()))).await;
    for asked in [
        validation(&[&old, &new], AllowValidOnly),
        validation(&[&new, &old], AllowInsecureFallback),
        None,
    ] {
        site.ask(asked);
        assert_eq!(kept.get("a.example", "/").await.endpoint(), "a");
    }
}

#[tokio::test]
async fn authorities_are_exchanged_while_clients_of_both_are_served() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let mut site = Site::new(validation(&[&old], AllowValidOnly)).await;
    let [of_old, of_new] = [&old, &new].map(|authority| site.client(Some(&authority.client())));
    site.request(&of_old).await.expect("served");
    assert!(site.request(&of_new).await.is_err());
    site.ask(validation(&[&old, &new], AllowValidOnly));
    site.request(&of_old).await.expect("served");
    site.request(&of_new).await.expect("served");
    site.ask(validation(&[&new], AllowValidOnly));
    assert!(site.request(&of_old).await.is_err());
    site.request(&of_new).await.expect("served");
}

#[tokio::test]
async fn what_clients_claim_of_certificates_is_dropped() {
    let authority = Authority::new("ca");
    let site = Site::new(validation(&[&authority], AllowValidOnly)).await;
    let mut client = site.kept(&site.client(Some(&authority.client()))).await;
    let names = ["x-forwarded-client-cert", "client-cert", "client-cert-chain"];
    let mut request = client::get("a.example", "/");
    for name in names {
        request.headers_mut().insert(name, "By=evil".parse().expect("a value"));
    }
    assert_eq!(client.send(request).await.endpoint(), "a");
    let seen = site.echo.requests().pop().expect("a request");
    for name in names {
        assert_eq!(seen.header(name), None, "{name}");
    }
}

#[tokio::test]
async fn handshakes_that_fail_for_a_certificate_are_counted_as_such() {
    let authority = Authority::new("ca");
    let echo = Echo::start("a").await;
    let server = certificate_for(&["a.example"]);
    let asked = validation(&[&authority], AllowValidOnly);
    let proxy = serve_with_metrics(|port| resources(port, &echo, &server, asked.clone()));
    let refused = request(&config_of(&server, None), proxy.address, "a.example").await;
    assert_refused(&refused, &["CertificateRequired"]);
    let line = "gwapi_tls_handshake_failures_total{gateway=\"default/web\",\
                reason=\"client_certificate\"} 1";
    proxy.until_metric(line).await;
}
