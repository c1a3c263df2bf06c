//! What is known of a Gateway's proxies, and how it gets to the engine.

use std::collections::BTreeMap;
use std::sync::Arc;

use gwapi_translate::Feedback;
use gwapi_translate::ir::GatewayId;
use tokio::sync::{mpsc, watch};

use super::gateway::ProxyStatus;
use super::hub::Hub;

/// Reports that wait for their reader; what changes meanwhile waits with the hub.
const WAITING: usize = 16;

/// What the proxies of a Gateway say, all together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyReport {
    /// The Gateway.
    pub gateway: GatewayId,
    /// Which of all Gateways of its name it is; empty where nobody may be a proxy of it.
    pub uid: String,
    /// Proxies that are connected.
    pub connected: usize,
    /// Of those, how many serve a state, this one or one before.
    pub serving: usize,
    /// Proxies that do not follow this replica, because what they serve is newer than what it has
    /// seen.
    pub refusing: usize,
    /// What those that serve could not do; where not all of them say so, the message names one. Where none is
    /// serving, nothing is known, and this is empty.
    pub feedback: Feedback,
}

impl ProxyReport {
    /// Puts together what the connected proxies say.
    pub(super) fn merge(gateway: GatewayId, uid: String, proxies: &[ProxyStatus]) -> Self {
        let serving: Vec<&ProxyStatus> =
            proxies.iter().filter(|proxy| proxy.acknowledged.is_some()).collect();
        let mut feedback = Feedback::default();
        let (mut unbound, mut addresses) = (Complaints::new(), Complaints::new());
        let (mut certificates, mut unreadable) = (Complaints::new(), Complaints::new());
        for proxy in &serving {
            let said = proxy.verdict.feedback();
            note(&mut unbound, said.unbound, &proxy.proxy);
            note(&mut addresses, said.unusable_addresses, &proxy.proxy);
            note(&mut certificates, said.rejected_certificates, &proxy.proxy);
            note(&mut unreadable, said.unreadable, &proxy.proxy);
        }
        let all = serving.len();
        feedback.unbound = told(unbound, all);
        feedback.unusable_addresses = told(addresses, all);
        feedback.rejected_certificates = told(certificates, all);
        feedback.unreadable = told(unreadable, all);
        Self {
            gateway,
            uid,
            connected: proxies.len(),
            serving: all,
            refusing: proxies.iter().filter(|proxy| proxy.verdict.refused.is_some()).count(),
            feedback,
        }
    }
}

/// By subject: how many complain, and the message and name of the first.
type Complaints<K> = BTreeMap<K, (usize, String, String)>;

fn note<K: Ord>(complaints: &mut Complaints<K>, said: BTreeMap<K, String>, proxy: &str) {
    for (subject, message) in said {
        let first = || (0, message, proxy.to_owned());
        complaints.entry(subject).or_insert_with(first).0 += 1;
    }
}

fn told<K: Ord>(complaints: Complaints<K>, all: usize) -> BTreeMap<K, String> {
    let tell = |(subject, (count, message, proxy))| match count {
        count if count == all => (subject, message),
        count => (subject, format!("{message} (in {count} of {all} proxies, such as {proxy})")),
    };
    complaints.into_iter().map(tell).collect()
}

/// Sends reports as the hub hears of changes, until the server stops or nobody reads them.
pub(super) fn start(
    hub: &Arc<Hub>,
    mut stopped: watch::Receiver<()>,
) -> mpsc::Receiver<ProxyReport> {
    let (sender, reports) = mpsc::channel(WAITING);
    let hub = Arc::clone(hub);
    tokio::spawn(async move {
        tokio::select! {
            _ = stopped.changed() => {}
            () = send(&hub, &sender) => {}
        }
    });
    reports
}

async fn send(hub: &Hub, reports: &mpsc::Sender<ProxyReport>) {
    let mut sent: BTreeMap<GatewayId, ProxyReport> = BTreeMap::new();
    loop {
        for gateway in hub.touched().await {
            let report = match hub.gateway(&gateway).map(|gateway| gateway.report()) {
                Some(report) if sent.get(&gateway) == Some(&report) => continue,
                Some(report) => {
                    sent.insert(gateway, report.clone());
                    report
                }
                // Nobody is connected to what is not served any more.
                None if sent.remove(&gateway).is_some() => {
                    ProxyReport::merge(gateway, String::new(), &[])
                }
                None => continue,
            };
            if reports.send(report).await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};
    use std::time::Duration;

    use gwapi_model::NamespacedName;
    use gwapi_translate::TranslationDelta;
    use gwapi_translate::ir::{CertificateKey, ConfigDelta, ListenerKey};
    use gwapi_translate::wire::{Rejection, ResourceVersions, Verdict};
    use tokio::time::{Instant, timeout};

    use super::super::admission::{Peer, Strangers};
    use super::super::authenticate::{Identity, Owner};
    use super::super::settings::ServeLimits;
    use super::*;
    use crate::provision::testing::wanted;

    fn gateway() -> GatewayId {
        NamespacedName::new("default", "web")
    }

    fn proxy(name: &str, acknowledged: Option<u64>, rejected: Vec<Rejection>) -> ProxyStatus {
        ProxyStatus {
            gateway: gateway(),
            proxy: name.to_owned(),
            since: Instant::now(),
            published: 3,
            acknowledged,
            verdict: Verdict { refused: None, rejected },
        }
    }

    /// Whoever counts proxies would count those of Gateways that are gone.
    #[tokio::test(start_paused = true)]
    async fn of_a_gateway_that_is_gone_nobody_is_connected() {
        let infrastructure = Arc::new(wanted());
        let id = infrastructure.gateway.clone();
        let owner = Owner { gateway: id.name.to_string(), uid: infrastructure.uid.clone() };
        let identity = Identity {
            namespace: id.namespace.to_string(),
            service_account: infrastructure.name.clone(),
            owner: Some(owner),
            pod: None,
        };
        let hub = Arc::new(Hub::new("replica".to_owned(), ServeLimits::default()));
        let (_stop, stopped) = watch::channel(());
        let mut reports = start(&hub, stopped);
        let made = TranslationDelta {
            config: [(id.clone(), ConfigDelta::default())].into(),
            infrastructure: [(id.clone(), Some(infrastructure))].into(),
            ..TranslationDelta::default()
        };
        hub.publish(&made, ResourceVersions::default());
        let gateway = hub.gateway(&id).expect("it is published");
        let stream = hub.new_stream();
        let strangers = Strangers::new(1, 1);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let stranger = strangers.take_in(address.ip(), strangers.place().await);
        let peer = Peer::new(address, stranger);
        let opened = gateway.open(stream, &identity, "web-1".to_owned(), &peer, &hub.limits);
        assert!(opened.is_ok());
        hub.heard(&id);
        assert_eq!(reports.recv().await.map(|report| report.connected), Some(1));

        let gone =
            TranslationDelta { removed_gateways: vec![id.clone()], ..TranslationDelta::default() };
        hub.publish(&gone, ResourceVersions::default());
        let report = timeout(Duration::from_secs(60), reports.recv()).await;
        let report = report.expect("a report").expect("it runs");
        assert_eq!((report.gateway, report.connected), (id, 0));
    }

    #[test]
    fn what_all_proxies_say_is_told_as_it_is_and_what_some_say_with_one_of_them() {
        let unbound = |message: &str| Rejection::UnboundListener {
            listener: ListenerKey::new("http"),
            message: message.to_owned(),
        };
        let certificate = Rejection::UnusableCertificate {
            certificate: CertificateKey::secret("default", "tls"),
            message: "no key".to_owned(),
        };
        let unreadable =
            Rejection::Unreadable { resource: "Backend/a".to_owned(), message: "new".to_owned() };
        let report = ProxyReport::merge(
            gateway(),
            "5f6f".to_owned(),
            &[
                proxy("web-1", Some(3), vec![certificate.clone(), unbound("in use")]),
                proxy("web-2", Some(2), vec![certificate, unreadable]),
                proxy("web-3", None, Vec::new()),
            ],
        );
        assert_eq!((report.connected, report.serving), (3, 2));
        let feedback = report.feedback;
        let certificate =
            &feedback.rejected_certificates[&CertificateKey::secret("default", "tls")];
        assert_eq!(certificate, "no key");
        let unbound = &feedback.unbound[&ListenerKey::new("http")];
        assert_eq!(unbound, "in use (in 1 of 2 proxies, such as web-1)");
        assert_eq!(feedback.unreadable["Backend/a"], "new (in 1 of 2 proxies, such as web-2)");
    }
}
