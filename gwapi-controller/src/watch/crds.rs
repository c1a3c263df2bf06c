//! Which kinds there are: the CRDs of the Gateway API and our own, by their metadata.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt;
use gwapi_model::{EXPERIMENTAL_GROUP, GATEWAY_GROUP, GWAPI_GROUP};
use gwapi_translate::features::{
    BUNDLE_VERSION_ANNOTATION, CHANNEL_ANNOTATION, InstalledBundle, SUPPORTED_BUNDLES,
};
use kube::core::gvk::GroupVersionKind;
use kube::discovery::ApiResource;
use kube::{Api, Client};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

use super::Observation;
use super::list_watch::{Pauses, Seen, list_watch};
use super::object::RawObject;

/// The CRD of Gateways.
const GATEWAYS: &str = "gateways.gateway.networking.k8s.io";

/// Pause where we are not allowed to look.
const DENIED_PAUSE: Duration = Duration::from_secs(60);

/// For how long we look before we believe at the start that we must not: what hangs on the CRDs would be taken
/// back from every status, and written again. Longer would hold up those who really must not.
const FIRST_PATIENCE: Duration = Duration::from_secs(3);

/// How long we have to be denied what we were allowed before that is believed: an API server that starts may
/// deny for a moment what it allows.
const DENIED_PATIENCE: Duration = Duration::from_secs(30);

/// The CRDs that concern us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Crds {
    /// What is known about them.
    pub(crate) known: Known,
    /// Counts every change of one of them, also those that show in nothing else: a CRD is served a
    /// moment after it came, and says so in its status.
    revision: u64,
}

/// What is known about CRDs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Known {
    /// They have not been listed yet.
    #[default]
    Nothing,
    /// We are not allowed to list them.
    Denied,
    /// Their names, such as `gateways.gateway.networking.k8s.io`, with the bundle that they are of.
    All(BTreeMap<String, Origin>),
}

/// What a CRD says of the bundle that it is of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Origin {
    version: Option<String>,
    channel: Option<String>,
}

impl Origin {
    fn version(&self) -> &str {
        self.version.as_deref().unwrap_or("unknown")
    }
}

impl Crds {
    /// Whether a kind is defined; `None` where that is not known, and of a kind that needs no CRD.
    pub(crate) fn define(&self, resource: &ApiResource) -> Option<bool> {
        let Known::All(crds) = &self.known else { return None };
        let name = format!("{}.{}", resource.plural, resource.group);
        concerns_us(&name).then(|| crds.contains_key(&name))
    }

    /// The version of the Gateway API whose CRDs are installed; all of them, where they are mixed.
    fn bundle(&self) -> Option<InstalledBundle> {
        let Known::All(crds) = &self.known else { return None };
        let gateway_api = crds.iter().filter(|(name, _)| name.ends_with(GATEWAY_GROUP));
        let versions: BTreeSet<&str> = gateway_api.map(|(_, origin)| origin.version()).collect();
        let versions: Vec<&str> = versions.into_iter().collect();
        let bundle =
            (!versions.is_empty()).then(|| InstalledBundle::new(versions.join(" and ")))?;
        Some(match crds.get(GATEWAYS) {
            Some(gateways) => {
                let channel = gateways.channel.as_deref().unwrap_or_default();
                bundle.with_gateways_of(gateways.version(), channel)
            }
            None => bundle,
        })
    }
}

/// Watches CRDs.
pub(super) struct CrdWatch {
    pub(super) client: Client,
    pub(super) crds: watch::Sender<Crds>,
    pub(super) observations: mpsc::Sender<Observation>,
}

/// What is kept of a CRD: its name, and the bundle that it is of.
type Crd = (String, Origin);

impl CrdWatch {
    /// Watches until nobody listens. What is known stays known while the API server is away, and for a while
    /// where it denies what it allowed.
    pub(super) async fn run(self) {
        let kind = GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
        let resource = ApiResource::from_gvk_with_plural(&kind, "customresourcedefinitions");
        let api: Api<RawObject<true>> = Api::all_with(self.client.clone(), &resource);
        let mut seen = pin!(list_watch(api, crd));
        let mut pauses = Pauses::default();
        let mut told = None;
        let mut denied_since = None;
        while let Some(seen) = seen.next().await {
            match seen {
                Ok(seen) => {
                    denied_since = None;
                    pauses.heard(&seen);
                    note(&self.crds, seen);
                    if !self.tell(&mut told).await {
                        return;
                    }
                }
                Err(error) if error.status().is_some_and(|status| status.code == 403) => {
                    tracing::debug!(%error, "must not list CustomResourceDefinitions");
                    let denied = denied_since.get_or_insert_with(Instant::now).elapsed();
                    let left = self.patience().saturating_sub(denied);
                    if left.is_zero() {
                        self.deny();
                        if !self.tell(&mut told).await {
                            return;
                        }
                    }
                    let is_short = denied < DENIED_PATIENCE;
                    let pause = if is_short { pauses.after(&error) } else { DENIED_PAUSE };
                    // Whether we must not is found out when patience ends, and not a pause later.
                    let longest = if left.is_zero() { DENIED_PAUSE } else { left };
                    sleep(pause.min(longest)).await;
                }
                Err(error) => {
                    denied_since = None;
                    let pause = pauses.after(&error);
                    tracing::debug!(%error, "cannot watch CustomResourceDefinitions");
                    sleep(pause).await;
                }
            }
        }
    }

    /// For how long we have to be denied before it is believed that we must not look.
    fn patience(&self) -> Duration {
        match self.crds.borrow().known {
            Known::All(_) => DENIED_PATIENCE,
            Known::Nothing | Known::Denied => FIRST_PATIENCE,
        }
    }

    /// Nothing is known any more.
    fn deny(&self) {
        let is_news = self.crds.send_if_modified(|crds| {
            std::mem::replace(&mut crds.known, Known::Denied) != Known::Denied
        });
        if is_news {
            tracing::warn!(
                "must not list CustomResourceDefinitions, so that kinds that come and go are noticed \
                 late: grant get, list and watch to this ServiceAccount"
            );
        }
    }

    /// Tells which version is installed, if that is news. Tells whether anybody listens.
    async fn tell(&self, told: &mut Option<Option<InstalledBundle>>) -> bool {
        let bundle = self.crds.borrow().bundle();
        if told.as_ref() == Some(&bundle) {
            return !self.observations.is_closed();
        }
        match &bundle {
            Some(version) if version.is_supported() => {
                tracing::info!(%version, "the CRDs of the Gateway API");
            }
            Some(version) => tracing::warn!(
                %version,
                supported = SUPPORTED_BUNDLES,
                "the CRDs of the Gateway API are of a version that is not supported"
            ),
            None => {}
        }
        *told = Some(bundle.clone());
        self.observations.send(Observation::Bundle(bundle)).await.is_ok()
    }
}

fn note(crds: &watch::Sender<Crds>, seen: Seen<Crd>) {
    crds.send_if_modified(|crds| {
        match (seen, &mut crds.known) {
            (Seen::Listed(listed, _), known) => {
                let listed = listed.into_iter().filter(|(name, _)| concerns_us(name));
                *known = Known::All(listed.collect());
            }
            (Seen::Applied((name, origin)), Known::All(known)) if concerns_us(&name) => {
                known.insert(name, origin);
            }
            (Seen::Deleted((name, _)), Known::All(known)) if concerns_us(&name) => {
                known.remove(&name);
            }
            _ => return false,
        }
        crds.revision += 1;
        true
    });
}

fn crd(raw: RawObject<true>) -> Crd {
    let annotations = raw.metadata("annotations");
    let annotation = |name: &str| annotations[name].as_str().map(str::to_owned);
    let origin = Origin {
        version: annotation(BUNDLE_VERSION_ANNOTATION),
        channel: annotation(CHANNEL_ANNOTATION),
    };
    (raw.name().to_owned(), origin)
}

fn concerns_us(name: &str) -> bool {
    let group = name.split_once('.').map(|(_, group)| group);
    matches!(group, Some(GATEWAY_GROUP | EXPERIMENTAL_GROUP | GWAPI_GROUP))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use gwapi_model::Kind;
    use kube::client::Body;
    use serde_json::json;
    use tokio::time::timeout;
    use tower::service_fn;

    use super::super::api_resource;
    use super::*;

    fn crd(name: &str, version: &str) -> Crd {
        (name.to_owned(), Origin { version: Some(version.to_owned()), channel: None })
    }

    fn listed(crds: &[Crd]) -> Seen<Crd> {
        Seen::Listed(crds.to_vec(), "1".to_owned())
    }

    #[test]
    fn kinds_come_and_go_with_their_crds() {
        let (sender, crds) = watch::channel(Crds::default());
        let gateways = api_resource(Kind::Gateway);
        assert_eq!(crds.borrow().define(&gateways), None);

        note(&sender, listed(&[crd("widgets.example.com", "v1")]));
        assert_eq!(crds.borrow().define(&gateways), Some(false));

        note(&sender, Seen::Applied(crd(GATEWAYS, "v1.7.0")));
        assert_eq!(crds.borrow().define(&gateways), Some(true));
        assert_eq!(crds.borrow().bundle(), Some(InstalledBundle::new("v1.7.0")));

        note(&sender, Seen::Deleted(crd(GATEWAYS, "v1.7.0")));
        assert_eq!(crds.borrow().define(&gateways), Some(false));
    }

    /// what is tried out has a group of its own.
    #[test]
    fn kinds_of_the_experimental_group_come_and_go_as_well() {
        let (sender, crds) = watch::channel(Crds::default());
        let policies = api_resource(Kind::BackendTrafficPolicy);
        note(&sender, listed(&[crd(GATEWAYS, "v1.7.0")]));
        assert_eq!(crds.borrow().define(&policies), Some(false));
        let name = "xbackendtrafficpolicies.gateway.networking.x-k8s.io";
        note(&sender, Seen::Applied(crd(name, "v1.7.0")));
        assert_eq!(crds.borrow().define(&policies), Some(true));
    }

    #[test]
    fn versions_that_are_mixed_are_told_as_such() {
        let (sender, crds) = watch::channel(Crds::default());
        let routes = "httproutes.gateway.networking.k8s.io";
        note(&sender, listed(&[crd(GATEWAYS, "v1.7.0"), crd(routes, "v1.6.3")]));
        let bundle = crds.borrow().bundle().expect("a version");
        assert_eq!(bundle.to_string(), "v1.6.3 and v1.7.0");
        assert!(!bundle.is_supported());
    }

    /// GC-10: which fields Gateways have is said by their own CRD, and by no other.
    #[test]
    fn the_channel_of_the_crd_of_gateways_tells_which_fields_they_have() {
        let raw = |name: &str, version: &str, channel: &str| {
            let annotations = serde_json::json!({
                BUNDLE_VERSION_ANNOTATION: version, CHANNEL_ANNOTATION: channel,
            });
            let object = serde_json::json!({
                "metadata": {"name": name, "annotations": annotations},
            });
            super::crd(serde_json::from_value(object).expect("any JSON is an object"))
        };
        let routes = "httproutes.gateway.networking.k8s.io";
        for (gateways, others, has_them) in [
            (("v1.7.0", "experimental"), ("v1.7.0", "experimental"), true),
            (("v1.7.0", "experimental"), ("v1.6.3", "standard"), true),
            (("v1.7.0", "standard"), ("v1.7.0", "experimental"), false),
            (("v1.6.3", "experimental"), ("v1.7.0", "experimental"), false),
        ] {
            let (sender, crds) = watch::channel(Crds::default());
            let installed =
                [raw(GATEWAYS, gateways.0, gateways.1), raw(routes, others.0, others.1)];
            note(&sender, listed(&installed));
            let bundle = crds.borrow().bundle().expect("a bundle");
            assert_eq!(bundle.has_experimental_fields(), has_them, "{gateways:?} {others:?}");
        }
    }

    #[test]
    fn a_change_that_shows_in_nothing_else_is_told_and_one_of_others_is_not() {
        let (sender, mut crds) = watch::channel(Crds::default());
        note(&sender, listed(&[]));
        crds.mark_unchanged();
        note(&sender, Seen::Applied(crd("widgets.example.com", "v1")));
        assert_eq!(crds.has_changed().ok(), Some(false));
        for _ in 0..2 {
            note(&sender, Seen::Applied(crd("gatewayparameters.gwapi.dev", "")));
            assert_eq!(crds.has_changed().ok(), Some(true));
            crds.mark_unchanged();
        }
    }

    /// An API server that lets CRDs be seen at these times after the start, and only then.
    fn client(is_allowed: impl Fn(Duration) -> bool + Send + 'static) -> Client {
        let start = Instant::now();
        let service = service_fn(move |request: hyper::Request<Body>| {
            let is_watch = request.uri().query().unwrap_or_default().contains("watch=");
            let crd = json!({"metadata": {
                "name": GATEWAYS, "annotations": {BUNDLE_VERSION_ANNOTATION: "v1.7.0"},
            }});
            let (code, body) = match is_allowed(start.elapsed()) {
                false => {
                    (403, json!({"kind": "Status", "status": "Failure", "code": 403}).to_string())
                }
                true if is_watch => (200, String::new()),
                true => {
                    let list = json!({"metadata": {"resourceVersion": "1"}, "items": [crd]});
                    (200, list.to_string())
                }
            };
            let body = Body::from(body.into_bytes());
            let response = hyper::Response::builder().status(code).body(body);
            async { Ok::<_, Infallible>(response.expect("a response")) }
        });
        Client::new(service, "default")
    }

    /// What is told of the version within a time, and whether Gateways count as defined in the end.
    async fn told(
        client: Client,
        within: Duration,
    ) -> (Vec<Option<InstalledBundle>>, Option<bool>) {
        let (crds, known) = watch::channel(Crds::default());
        let (observations, mut observed) = mpsc::channel(1000);
        let running = CrdWatch { client, crds, observations }.run();
        let ended = timeout(within, running).await;
        assert!(ended.is_err(), "somebody listens");
        let mut told = Vec::new();
        while let Ok(observation) = observed.try_recv() {
            let Observation::Bundle(bundle) = observation else { panic!("{observation:?}") };
            told.push(bundle);
        }
        let defined = known.borrow().define(&api_resource(Kind::Gateway));
        (told, defined)
    }

    const MINUTE: Duration = Duration::from_secs(60);

    /// One that starts denies for a moment what it allows.
    #[tokio::test(start_paused = true)]
    async fn what_is_known_stays_known_while_an_api_server_denies_it_for_a_moment() {
        let bundle = Some(InstalledBundle::new("v1.7.0"));
        let denied = Duration::from_millis(500)..Duration::from_secs(10);
        let client = client(move |time| !denied.contains(&time));
        assert_eq!(told(client, MINUTE).await, (vec![bundle], Some(true)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_api_server_that_denies_for_a_moment_at_the_start_takes_nothing_back() {
        let bundle = Some(InstalledBundle::new("v1.7.0"));
        let granted = client(|time| time > FIRST_PATIENCE / 2);
        assert_eq!(told(granted, MINUTE).await, (vec![bundle], Some(true)));
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_not_allowed_to_look_any_more_knows_nothing_after_a_while() {
        let bundle = Some(InstalledBundle::new("v1.7.0"));
        let denies = || client(|time| time < Duration::from_millis(500));
        let half = DENIED_PATIENCE / 2;
        assert_eq!(told(denies(), half).await, (vec![bundle.clone()], Some(true)));
        let (all, defined) = told(denies(), 10 * MINUTE).await;
        assert_eq!((all, defined), (vec![bundle.clone(), None], None));

        // Who was never allowed to is not held up for long, and notices when that changes.
        let soon = FIRST_PATIENCE + Duration::from_millis(100);
        assert_eq!(told(client(|_| false), soon).await, (vec![None], None));
        let granted = client(|time| time > MINUTE / 2);
        assert_eq!(told(granted, 2 * MINUTE).await, (vec![None, bundle], Some(true)));
    }
}
