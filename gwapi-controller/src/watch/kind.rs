//! The watch of one kind: lists, follows, and starts over when it has to.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use gwapi_model::Kind;
use kube::{Api, Client};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

use super::crds::Crds;
use super::list_watch::{Pauses, list_watch};
use super::object::{Object, RawObject, api_resource, api_resource_in};
use super::{Observation, Source};

/// Longest pause between looks for a kind that is not served, should its CRD come unnoticed.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// First pause after a CRD changed: it is there a moment before its objects are served.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);

/// How long a kind has to be missing before it is taken for gone where no CRD tells.
const PATIENCE: Duration = Duration::from_secs(30);

/// Watches one kind in one scope, as long as somebody wants to know.
#[derive(Clone)]
pub(super) struct KindWatch {
    pub(super) client: Client,
    pub(super) source: Source,
    /// Versions of the kind, the preferred one first; the first that is served is watched.
    pub(super) versions: Vec<&'static str>,
    /// The name under which we write status.
    pub(super) manager: Arc<str>,
    pub(super) observations: mpsc::Sender<Observation>,
    /// Changes whenever a CRD of ours does.
    pub(super) crds: watch::Receiver<Crds>,
}

/// What is made of a kind that the API server says it does not have.
///
/// To take it for gone ends everything that its objects asked for, and an API server that starts may
/// deny for a moment what it has. So the CRDs have their say as well, or else time. Of a kind that was
/// there and still has its CRD, the objects are there, too: another version of it is served, or none for
/// now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Missing {
    /// It was never there.
    #[default]
    SoFar,
    /// It was never there, and has been looked for since then.
    Since(Instant),
    /// It was there until then.
    Lost(Instant),
    /// It is taken for gone, and whoever listens knows.
    Gone,
    /// It is taken for gone, and something else was told since that was.
    Doubted,
}

/// What to do about a kind that is missing.
#[derive(Debug, PartialEq)]
enum Step {
    /// Tell that it is absent.
    Tell,
    /// Tell that it cannot be had.
    Explain,
    /// Wait.
    Wait,
}

impl Missing {
    /// Whether the kind is defined, as far as anything but time tells. ClusterTrustBundles (TL-9) are what
    /// API servers bring themselves, or do not: nobody waits for them who has never seen one.
    fn definition(self, kind: Kind, crds: &Crds) -> Option<bool> {
        match (kind, self) {
            (Kind::ClusterTrustBundle, Self::SoFar) => Some(false),
            _ => crds.define(&api_resource(kind)),
        }
    }

    /// The API server said something else in between, say nothing at all: what it says after that is no
    /// confirmation of what it said before.
    fn note(&mut self, heard: Heard, now: Instant) {
        match (&mut *self, heard) {
            (_, Heard { was_served: true, .. }) => *self = Self::Lost(now),
            (_, Heard { has_failed: false, .. }) | (Self::SoFar | Self::Doubted, _) => {}
            (Self::Since(then) | Self::Lost(then), _) => *then = now,
            (Self::Gone, _) => *self = Self::Doubted,
        }
    }

    /// `definition` tells whether there is a CRD for it, where that is known.
    fn step(&mut self, definition: Option<bool>, now: Instant) -> Step {
        let is_gone = match (*self, definition) {
            (Self::Gone, _) => return Step::Wait,
            (Self::Doubted, _) | (_, Some(false)) => true,
            (Self::SoFar, _) => {
                *self = Self::Since(now);
                false
            }
            (Self::Lost(_), Some(true)) => false,
            (Self::Since(then) | Self::Lost(then), _) => now.duration_since(then) >= PATIENCE,
        };
        match (is_gone, definition) {
            (true, _) => {
                *self = Self::Gone;
                Step::Tell
            }
            (false, Some(true)) => Step::Explain,
            (false, _) => Step::Wait,
        }
    }
}

/// What was heard of a version of a kind while it was watched.
#[derive(Clone, Copy, Debug, Default)]
struct Heard {
    /// The API server had it.
    was_served: bool,
    /// It did not say whether it has it.
    has_failed: bool,
}

/// Why a watch ended.
enum Ended {
    /// The API server does not have this version of the kind. It may have had it until now, or have said
    /// something else.
    NotServed(Heard),
    /// A version that is preferred may be served by now.
    LookAgain(Heard),
    /// Nobody listens any more.
    Unwanted,
}

impl KindWatch {
    /// Watches until nobody listens. Dropping it loses nothing: the next one lists everything.
    pub(super) async fn run(mut self) {
        let mut pause = SHORTEST_PAUSE;
        let mut missing = Missing::default();
        'look: loop {
            self.crds.mark_unchanged();
            for version in self.versions.clone() {
                let ended = match self.source.kind {
                    Kind::Namespace => self.follow::<true>(version).await,
                    _ => self.follow::<false>(version).await,
                };
                match ended {
                    Ended::NotServed(heard) => missing.note(heard, Instant::now()),
                    Ended::LookAgain(heard) => {
                        missing.note(heard, Instant::now());
                        continue 'look;
                    }
                    Ended::Unwanted => return,
                }
            }
            let definition = missing.definition(self.source.kind, &self.crds.borrow());
            let told = match missing.step(definition, Instant::now()) {
                Step::Tell => self.tell(Observation::Absent(self.source.clone())).await,
                Step::Explain => {
                    let error = format!(
                        "the API server has no {} in version {}",
                        self.source.kind,
                        self.versions.join(" or ")
                    );
                    self.tell(Observation::Failed(self.source.clone(), error)).await
                }
                Step::Wait => true,
            };
            if !told {
                return;
            }
            pause = match timeout(pause, self.crds.changed()).await {
                Ok(_) => SHORTEST_PAUSE,
                Err(_) => (2 * pause).min(LONGEST_PAUSE),
            };
        }
    }

    async fn follow<const METADATA_ONLY: bool>(&mut self, version: &str) -> Ended {
        let is_preferred = self.versions.first().is_none_or(|preferred| *preferred == version);
        let resource = api_resource_in(self.source.kind, version);
        let api: Api<RawObject<METADATA_ONLY>> = match &self.source.namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        };
        let (kind, manager) = (self.source.kind, self.manager.clone());
        let mut seen = pin!(list_watch(api, move |raw| Object::read(kind, raw, &manager)));
        let mut pauses = Pauses::default();
        let mut heard = Heard::default();
        loop {
            let seen = tokio::select! {
                seen = seen.next() => seen,
                _ = self.crds.changed(), if !is_preferred => return Ended::LookAgain(heard),
            };
            let source = self.source.clone();
            let (observation, pause) = match seen {
                None => return Ended::LookAgain(heard),
                Some(Ok(seen)) => {
                    heard.was_served = true;
                    pauses.heard(&seen);
                    (Observation::of(source, seen), Duration::ZERO)
                }
                Some(Err(error)) if error.is_not_served() => return Ended::NotServed(heard),
                Some(Err(error)) => {
                    heard.has_failed = true;
                    let pause = pauses.after(&error);
                    (Observation::failed(source, &error), pause)
                }
            };
            if !self.tell(observation).await {
                return Ended::Unwanted;
            }
            sleep(pause).await;
        }
    }

    async fn tell(&self, observation: Observation) -> bool {
        self.observations.send(observation).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use kube::client::Body;
    use serde_json::json;
    use tower::service_fn;

    use super::super::crds::{Known, Origin};
    use super::*;

    #[test]
    fn a_kind_whose_crd_is_not_there_is_absent_at_once_and_told_once() {
        let now = Instant::now();
        let mut missing = Missing::SoFar;
        assert_eq!(missing.step(Some(false), now), Step::Tell);
        assert_eq!(missing.step(Some(false), now), Step::Wait);
    }

    #[test]
    fn a_kind_that_was_never_served_is_not_waited_for_although_it_is_defined() {
        let then = Instant::now();
        let mut missing = Missing::SoFar;
        assert_eq!(missing.step(Some(true), then), Step::Explain);
        assert_eq!(missing.step(Some(true), then + PATIENCE / 2), Step::Explain);
        assert_eq!(missing.step(Some(true), then + PATIENCE), Step::Tell);
    }

    /// TL-9: there is no CRD whose absence would tell.
    #[test]
    fn trust_bundles_that_were_served_are_waited_for_and_others_are_not() {
        let (lost, crds) = (Missing::Lost(Instant::now()), no_crds());
        assert_eq!(lost.definition(Kind::ClusterTrustBundle, &crds), None);
        assert_eq!(lost.definition(Kind::Gateway, &crds), Some(false));
        let at_the_start = Missing::SoFar.definition(Kind::ClusterTrustBundle, &crds);
        assert_eq!(at_the_start, Some(false), "nobody waits");
    }

    /// What API servers bring themselves has no CRD that could be missed.
    #[tokio::test(start_paused = true)]
    async fn services_are_not_gone_because_an_api_server_denies_them_for_a_moment() {
        for kind in [Kind::Namespace, Kind::Service, Kind::EndpointSlice] {
            for is_served_at_first in [true, false] {
                let (_crds, crds) = watch::channel(no_crds());
                let (observations, mut observed) = mpsc::channel(1000);
                let client = client(is_served_at_first);
                let running = tokio::spawn(kind_watch(client, kind, observations, crds).run());
                if is_served_at_first {
                    let listed = observed.recv().await.expect("it runs");
                    assert!(matches!(listed, Observation::Listed(..)), "{listed:?}");
                }
                let early = timeout(PATIENCE - SHORTEST_PAUSE, observed.recv()).await;
                assert!(early.is_err(), "{kind}: {early:?}");
                let absent = observed.recv().await.expect("it runs");
                assert!(matches!(absent, Observation::Absent(..)), "{absent:?}");
                running.abort();
            }
        }
    }

    /// What was missing before an outage may be there after it, as soon as the API server has started.
    #[tokio::test(start_paused = true)]
    async fn an_outage_does_not_count_as_time_without_a_kind() {
        for is_served_at_first in [true, false] {
            let start = Instant::now();
            let answer = move || match start.elapsed() {
                time if time < SHORTEST_PAUSE && is_served_at_first => 200,
                time if time < PATIENCE / 2 => 404,
                time if time < 5 * PATIENCE => 503,
                time if time < 5 * PATIENCE + PATIENCE / 2 => 404,
                _ => 200,
            };
            let (_crds, crds) = watch::channel(no_crds());
            let (observations, mut observed) = mpsc::channel(1000);
            let watch = kind_watch(answering(answer), Kind::Service, observations, crds);
            let running = tokio::spawn(watch.run());
            let mut lists = if is_served_at_first { 2 } else { 1 };
            while lists > 0 {
                match observed.recv().await.expect("it runs") {
                    Observation::Listed(..) => lists -= 1,
                    Observation::Failed(..) => {}
                    other => panic!("{other:?}"),
                }
            }
            running.abort();
        }
    }

    #[test]
    fn where_crds_cannot_be_seen_time_tells() {
        let now = Instant::now();
        let mut missing = Missing::SoFar;
        assert_eq!(missing.step(None, now), Step::Wait);
        assert_eq!(missing.step(None, now + PATIENCE), Step::Tell);
        let mut missing = Missing::Lost(now);
        assert_eq!(missing.step(None, now), Step::Wait);
        assert_eq!(missing.step(None, now + PATIENCE), Step::Tell);
    }

    fn no_crds() -> Crds {
        let mut crds = Crds::default();
        crds.known = Known::All([].into());
        crds
    }

    fn kind_watch(
        client: Client,
        kind: Kind,
        observations: mpsc::Sender<Observation>,
        crds: watch::Receiver<Crds>,
    ) -> KindWatch {
        let source = Source { kind, namespace: None };
        let (versions, manager) = (vec!["v1"], "gwapi.dev/tests".into());
        KindWatch { client, source, versions, manager, observations, crds }
    }

    /// An API server that has a kind when it is asked for the first time, or not even then.
    fn client(is_served_at_first: bool) -> Client {
        let is_asked = AtomicBool::new(!is_served_at_first);
        answering(move || if is_asked.swap(true, Ordering::Relaxed) { 404 } else { 200 })
    }

    /// An API server that answers with this code; with 200 it has no objects of the kind.
    fn answering(code: impl Fn() -> u16 + Send + 'static) -> Client {
        answering_each(move |_| Some(code()))
    }

    /// The same by what is asked for; where there is no code, no answer comes.
    fn answering_each(
        code: impl Fn(&hyper::Request<Body>) -> Option<u16> + Send + 'static,
    ) -> Client {
        let service = service_fn(move |request: hyper::Request<Body>| {
            let code = code(&request);
            async move {
                let Some(code) = code else { return std::future::pending().await };
                let body = match code {
                    200 => json!({"metadata": {"resourceVersion": "1"}, "items": []}),
                    code => json!({"kind": "Status", "status": "Failure", "code": code}),
                };
                let body = Body::from(body.to_string().into_bytes());
                let response = hyper::Response::builder().status(code).body(body);
                Ok::<_, Infallible>(response.expect("a response"))
            }
        });
        Client::new(service, "default")
    }

    /// What happens while it is denied is told by a list alone.
    #[tokio::test(start_paused = true)]
    async fn whoever_was_denied_to_watch_begins_with_a_list() {
        let requests = AtomicUsize::new(0);
        let answer = move || match requests.fetch_add(1, Ordering::Relaxed) {
            0 | 3 => 200,
            1 => 403,
            _ => 503,
        };
        let (_crds, crds) = watch::channel(no_crds());
        let (observations, mut observed) = mpsc::channel(1000);
        let watch = kind_watch(answering(answer), Kind::Service, observations, crds);
        let running = tokio::spawn(watch.run());
        let mut told = Vec::new();
        for _ in 0..4 {
            told.push(next_told(&mut observed).await);
        }
        assert_eq!(told, ["listed", "denied", "failed", "listed"]);
        running.abort();
    }

    /// The next that is told, in a word.
    async fn next_told(observed: &mut mpsc::Receiver<Observation>) -> &'static str {
        let told = timeout(20 * PATIENCE, observed.recv()).await.expect("in time");
        match told.expect("it runs") {
            Observation::Listed(..) => "listed",
            Observation::Denied(..) => "denied",
            Observation::Failed(..) => "failed",
            Observation::Absent(..) => "absent",
            other => panic!("{other:?}"),
        }
    }

    /// What was told in between is true no longer.
    #[tokio::test(start_paused = true)]
    async fn a_kind_that_is_gone_is_told_again_after_a_failure() {
        for (code, failure) in [(403, "denied"), (503, "failed")] {
            let requests = AtomicUsize::new(0);
            let answer = move || match requests.fetch_add(1, Ordering::Relaxed) {
                1 | 2 => code,
                _ => 404,
            };
            let (_crds, crds) = watch::channel(no_crds());
            let (observations, mut observed) = mpsc::channel(1000);
            let watch = kind_watch(answering(answer), Kind::Gateway, observations, crds);
            let running = tokio::spawn(watch.run());
            for expected in ["absent", failure, failure, "absent"] {
                assert_eq!(next_told(&mut observed).await, expected);
            }
            let more = timeout(20 * PATIENCE, observed.recv()).await;
            assert!(more.is_err(), "it is told once: {more:?}");
            running.abort();
        }
    }

    /// CRDs change while another version than the preferred one is watched, or cannot be.
    #[tokio::test(start_paused = true)]
    async fn a_kind_that_goes_with_a_change_of_crds_is_told_to_be_gone() {
        for (code, meanwhile) in [(200, "listed"), (503, "failed")] {
            let is_there = Arc::new(AtomicBool::new(false));
            let is_asked = Arc::clone(&is_there);
            let answer = move |request: &hyper::Request<Body>| {
                let is_watch = request.uri().query().unwrap_or_default().contains("watch=");
                let is_preferred = request.uri().path().contains("/v1/");
                let is_there = is_asked.load(Ordering::Relaxed) && !is_preferred;
                if is_watch { None } else { Some(if is_there { code } else { 404 }) }
            };
            let (crds_sender, crds) = watch::channel(no_crds());
            let (observations, mut observed) = mpsc::channel(1000);
            let mut watch = kind_watch(answering_each(answer), Kind::Gateway, observations, crds);
            watch.versions.push("v1beta1");
            let running = tokio::spawn(watch.run());
            assert_eq!(next_told(&mut observed).await, "absent");
            for (is_served, expected) in [(true, meanwhile), (false, "absent")] {
                is_there.store(is_served, Ordering::Relaxed);
                crds_sender.send_modify(|_| {});
                assert_eq!(next_told(&mut observed).await, expected, "HTTP {code}");
            }
            running.abort();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_kind_that_was_served_is_there_as_long_as_its_crd_is() {
        let name = "gateways.gateway.networking.k8s.io".to_owned();
        let mut defined = Crds::default();
        defined.known = Known::All([(name, Origin::default())].into());
        let (crds_sender, crds) = watch::channel(defined);
        let (observations, mut observed) = mpsc::channel(1000);
        let watch = kind_watch(client(true), Kind::Gateway, observations, crds);
        let running = tokio::spawn(watch.run());
        let listed = observed.recv().await.expect("it runs");
        assert!(matches!(listed, Observation::Listed(..)), "{listed:?}");
        sleep(20 * PATIENCE).await;
        while let Ok(observation) = observed.try_recv() {
            let Observation::Failed(_, error) = observation else { panic!("{observation:?}") };
            assert!(error.contains("has no Gateway in version v1"), "{error}");
        }
        crds_sender.send_modify(|crds| crds.known = Known::All([].into()));
        let absent = observed.recv().await.expect("it runs");
        assert!(matches!(absent, Observation::Absent(..)), "{absent:?}");
        running.abort();
    }
}
