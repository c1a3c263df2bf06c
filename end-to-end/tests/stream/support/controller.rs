//! A controller without an API server: manifests in, configuration out.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use gwapi_controller::serve::{
    AuthenticationError, Authenticator, ConfigHandle, ConfigServer, Identity, Laggard, Owner,
    ProxyReport, Publication, ServeLimits, ServeSettings, ServingCertificate,
};
use gwapi_model::{ResourceEvent, SecretBytes, manifest};
use gwapi_translate::ir::GatewayId;
use gwapi_translate::wire::ResourceVersions;
use gwapi_translate::{AddressPolicy, Options, TranslationDelta, Translator};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};

use super::PATIENCE;

/// DNS name of every controller.
pub(crate) const NAME: &str = "gwapi-controller.gwapi-system.svc";

/// Signs certificates of controllers.
pub(crate) struct Authority {
    pub(crate) certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("a certificate").pem();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    pub(crate) fn certify(&self) -> Arc<ServingCertificate> {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new([NAME.to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let key = SecretBytes::new(key.serialize_pem().into_bytes());
        Arc::new(ServingCertificate { chain: certificate.pem(), key })
    }
}

/// Who holds which token; and a count of the times that somebody asked.
#[derive(Clone)]
pub(crate) struct Tokens {
    known: Arc<Mutex<HashMap<String, Identity>>>,
    asked: Arc<watch::Sender<usize>>,
}

impl Tokens {
    pub(crate) fn new() -> Self {
        Self { known: Arc::default(), asked: Arc::new(watch::Sender::new(0)) }
    }

    /// The token of a pod with a ServiceAccount that was made for a Gateway of the class.
    pub(crate) fn add(&self, token: &str, namespace: &str, service_account: &str) {
        let gateway = service_account.strip_suffix("-gwapi").unwrap_or(service_account);
        self.add_of(token, namespace, service_account, gateway);
    }

    /// The token of a pod with a ServiceAccount that belongs to this Gateway, whatever its name.
    pub(crate) fn add_of(
        &self,
        token: &str,
        namespace: &str,
        service_account: &str,
        gateway: &str,
    ) {
        // Gateways of manifests have no uid.
        let owner = Owner { gateway: gateway.to_owned(), uid: String::new() };
        let identity = Identity {
            namespace: namespace.to_owned(),
            service_account: service_account.to_owned(),
            owner: Some(owner),
            pod: Some(format!("pod-of-{token}")),
        };
        self.known.lock().unwrap().insert(token.to_owned(), identity);
    }
}

impl Authenticator for Tokens {
    async fn authenticate(&self, token: &str) -> Result<Identity, AuthenticationError> {
        self.asked.send_modify(|asked| *asked += 1);
        let known = self.known.lock().unwrap().get(token).cloned();
        known.ok_or_else(|| AuthenticationError::Refused("nobody knows it".to_owned()))
    }
}

/// A replica of a controller.
pub(crate) struct Controller {
    pub(crate) handle: ConfigHandle,
    pub(crate) translator: Translator,
    certificate: watch::Sender<Arc<ServingCertificate>>,
    tokens: Tokens,
    versions: ResourceVersions,
    reports: mpsc::Receiver<ProxyReport>,
    latest: HashMap<GatewayId, ProxyReport>,
    runtime: Runtime,
}

impl Controller {
    /// One that serves manifests.
    pub(crate) fn start(authority: &Authority, tokens: &Tokens, manifests: &str) -> Self {
        Self::start_with(authority, tokens, ServeLimits::default(), manifests)
    }

    pub(crate) fn start_with(
        authority: &Authority,
        tokens: &Tokens,
        limits: ServeLimits,
        manifests: &str,
    ) -> Self {
        let mut controller = Self::start_unready(authority, tokens, limits);
        controller.apply(manifests);
        controller.handle.ready();
        controller
    }

    /// One that has read nothing yet.
    pub(crate) fn start_unready(
        authority: &Authority,
        tokens: &Tokens,
        limits: ServeLimits,
    ) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let (certificate, receiver) = watch::channel(authority.certify());
        let settings = ServeSettings {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            certificate: receiver,
            replica: "controller-0".to_owned(),
            limits,
        };
        let (handle, reports) = {
            let _context = runtime.enter();
            ConfigServer::start(settings, tokens.clone()).expect("a server")
        };
        let options = Options { addresses: AddressPolicy::Provisioned, ..Options::default() };
        Self {
            handle,
            translator: Translator::new(options),
            certificate,
            tokens: tokens.clone(),
            versions: ResourceVersions::default(),
            reports,
            latest: HashMap::new(),
            runtime,
        }
    }

    /// Applies manifests, all as one change.
    pub(crate) fn apply(&mut self, manifests: &str) -> Publication {
        let manifest = manifest::parse("test.yaml", manifests);
        assert!(manifest.problems.is_empty(), "{:?}", manifest.problems);
        let events = manifest.objects.into_iter().map(|it| ResourceEvent::Apply(it.resource));
        let delta = self.translator.apply_all(events);
        self.handle.publish(&delta, &self.versions)
    }

    /// Deletes what manifests name.
    pub(crate) fn delete(&mut self, manifests: &str) {
        let manifest = manifest::parse("test.yaml", manifests);
        let events = manifest.objects.into_iter().map(|it| ResourceEvent::Delete(it.resource.id()));
        let delta = self.translator.apply_all(events);
        self.handle.publish(&delta, &self.versions);
    }

    /// Has seen every change of the kind up to this one.
    pub(crate) fn has_seen(&mut self, kind: &str, version: u64) {
        self.versions.changed(kind, &version.to_string());
        self.handle.publish(&TranslationDelta::default(), &self.versions);
    }

    /// Every connected proxy serves what was published.
    pub(crate) fn served(&self, publication: &Publication) {
        assert_eq!(self.laggards(publication), []);
    }

    /// Proxies that do not serve what was published, after a long wait for them.
    fn laggards(&self, publication: &Publication) -> Vec<Laggard> {
        self.runtime.block_on(self.handle.acknowledged(publication, PATIENCE))
    }

    /// Waits for a report about the Gateway of which this holds.
    pub(crate) fn wait(&mut self, expected: impl Fn(&ProxyReport) -> bool) -> ProxyReport {
        let found = self.latest.values().find(|report| expected(report)).cloned();
        if let Some(report) = found {
            return report;
        }
        loop {
            let next = async { tokio::time::timeout(PATIENCE, self.reports.recv()).await };
            let report = self.runtime.block_on(next).unwrap_or_else(|_| {
                panic!("no such report; the last ones are {:?}", self.latest);
            });
            let report = report.expect("the server runs");
            self.latest.insert(report.gateway.clone(), report.clone());
            if expected(&report) {
                return report;
            }
        }
    }

    /// Waits until so many proxies are connected and serve what they were sent.
    pub(crate) fn wait_for_proxies(&mut self, count: usize) {
        self.wait(|report| report.connected == count && report.serving == count);
    }

    /// Waits until a proxy serves what was published last, of those that come and go all the time.
    pub(crate) fn wait_for_latest(&mut self) {
        let mut latest = false;
        while !latest {
            self.latest.clear();
            self.wait(|_| true);
            let proxies = self.handle.proxies();
            latest = proxies.iter().any(|proxy| proxy.acknowledged == Some(proxy.published));
        }
    }

    /// Waits until somebody has shown a token so many times.
    pub(crate) fn wait_for_tokens(&self, count: usize) {
        let mut asked = self.tokens.asked.subscribe();
        let enough = async {
            let waited = asked.wait_for(|asked| *asked >= count);
            tokio::time::timeout(PATIENCE, waited).await.is_ok()
        };
        assert!(self.runtime.block_on(enough), "nobody asks");
    }

    /// How often somebody has shown a token.
    pub(crate) fn asked(&self) -> usize {
        *self.tokens.asked.borrow()
    }

    /// Shows another certificate from now on.
    pub(crate) fn certify(&self, authority: &Authority) {
        self.certificate.send_replace(authority.certify());
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.handle.address()
    }
}
