//! Watches of what the controller made, and of Services that parameters name.

use futures_util::{StreamExt, pin_mut};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, DynamicObject};
use kube::core::{ApiResource, Status};
use kube::runtime::watcher::{Config, Event};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, Error};
use serde_json::Value;
use tokio::sync::mpsc::Sender;
use tracing::{debug, warn};

use super::apply::chain;
use super::kind::ManagedKind;
use super::live::{Seen, Stream};
use crate::trouble::Trouble;

/// What a watch sends.
#[derive(Debug)]
pub(super) enum Sighting {
    /// Something happened to what the controller made.
    Ours(Stream, Seen),
    /// What the controller made cannot be listed here: the API server refuses that.
    Unlisted(Stream),
    /// A Service of the user's is so now; `None` where there is none.
    Service(ServiceName, Option<Value>),
}

/// Namespace and name of a Service of the user's.
pub(super) type ServiceName = (String, String);

/// The namespaces of streams, where these are to be watched; an empty one stands for all.
pub(super) fn namespaces(watched: &[String]) -> &[String] {
    static EVERYWHERE: [String; 1] = [String::new()];
    if watched.is_empty() { &EVERYWHERE } else { watched }
}

/// Every stream that has to be watched.
pub(super) fn streams(watched: &[String]) -> Vec<Stream> {
    let kinds = || ManagedKind::ALL.into_iter().map(Some).chain([None]);
    namespaces(watched)
        .iter()
        .flat_map(|namespace| kinds().map(|kind| Stream { kind, namespace: namespace.clone() }))
        .collect()
}

/// Watches one stream until nobody listens. An outage, a relist, an expired version: it goes on from
/// there.
pub(super) async fn watch(
    client: Client,
    stream: Stream,
    selector: String,
    sender: Sender<Sighting>,
) {
    let resource = match stream.kind {
        Some(kind) => kind.api_resource(),
        None => ApiResource::erase::<Pod>(&()),
    };
    let api: Api<DynamicObject> = if stream.namespace.is_empty() {
        Api::all_with(client.clone(), &resource)
    } else {
        Api::namespaced_with(client.clone(), &stream.namespace, &resource)
    };
    let events = watcher(api, Config::default().labels(&selector)).default_backoff();
    pin_mut!(events);
    let mut trouble = Trouble::default();
    while let Some(event) = events.next().await {
        let ours = |seen: Seen| Sighting::Ours(stream.clone(), seen);
        let sightings = match event {
            // Each attempt to list begins so, and says nothing of its end.
            Ok(Event::Init) => vec![ours(Seen::Init)],
            Ok(event) => {
                trouble.is_over();
                vec![ours(seen(event))]
            }
            Err(error) => {
                let is_refused = refusal(&error).is_some_and(|it| matches!(it.code, 403 | 404));
                // Of a namespace that does not exist the watches of what users write tell, once.
                let is_homeless = is_refused && is_missing(&client, &stream.namespace).await;
                let error = reason(&error);
                // Once is enough for the log, however often it is tried.
                if trouble.is_news(&error) && !is_homeless {
                    let (kinds, namespace) = (&resource.plural, &stream.namespace);
                    warn!(namespace, error, "cannot watch {kinds}; trying again");
                } else {
                    debug!(namespace = stream.namespace, error, "cannot watch {}", resource.plural);
                }
                match (is_refused, is_homeless) {
                    // What was there is gone with the namespace, and nothing else tells of that.
                    (_, true) => vec![ours(Seen::Init), ours(Seen::InitDone)],
                    (true, false) => vec![Sighting::Unlisted(stream.clone())],
                    (false, false) => Vec::new(),
                }
            }
        };
        for sighting in sightings {
            if sender.send(sighting).await.is_err() {
                return;
            }
        }
    }
}

fn seen(event: Event<DynamicObject>) -> Seen {
    match event {
        Event::Init => Seen::Init,
        Event::InitApply(object) | Event::Apply(object) => Seen::Apply(Box::new(object)),
        Event::Delete(object) => Seen::Delete(Box::new(object)),
        Event::InitDone => Seen::InitDone,
    }
}

/// The answer of the API server, where it gave one.
fn refusal(error: &watcher::Error) -> Option<&Status> {
    match error {
        watcher::Error::InitialListFailed(Error::Api(status))
        | watcher::Error::WatchStartFailed(Error::Api(status))
        | watcher::Error::WatchFailed(Error::Api(status))
        | watcher::Error::WatchError(status) => Some(status),
        _ => None,
    }
}

/// What is wrong, in the words of the API server where it has some.
fn reason(error: &watcher::Error) -> String {
    refusal(error).map_or_else(|| chain(error), |status| status.message.clone())
}

/// Whether it is known that there is no such namespace.
async fn is_missing(client: &Client, namespace: &str) -> bool {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    !namespace.is_empty() && matches!(namespaces.get_metadata_opt(namespace).await, Ok(None))
}

/// Watches one Service of the user's until nobody listens.
pub(super) async fn watch_service(client: Client, name: ServiceName, sender: Sender<Sighting>) {
    let resource = ManagedKind::Service.api_resource();
    let api: Api<DynamicObject> = Api::namespaced_with(client, &name.0, &resource);
    let events = watcher::watch_object(api, &name.1).default_backoff();
    pin_mut!(events);
    while let Some(event) = events.next().await {
        match event {
            Ok(service) => {
                let service = service.and_then(|service| serde_json::to_value(service).ok());
                if sender.send(Sighting::Service(name.clone(), service)).await.is_err() {
                    return;
                }
            }
            Err(error) => debug!(%error, "cannot watch Service {}/{}", name.0, name.1),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use kube::client::Body;
    use serde_json::json;
    use tokio::sync::mpsc;
    use tower::service_fn;

    use super::*;

    /// What is told of the Services of a namespace after the API server has refused to list them; asked
    /// for the namespace itself, it answers with this code.
    async fn told_when_refused(of_namespace: u16) -> Sighting {
        let refusal = |reason: &str, code: u16| {
            json!({"kind": "Status", "status": "Failure", "message": "", "reason": reason,
                "code": code})
        };
        let service = service_fn(move |request: hyper::Request<Body>| async move {
            let is_namespace = request.uri().path() == "/api/v1/namespaces/shop";
            let code = if is_namespace { of_namespace } else { 403 };
            let body = match code {
                200 => json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
                    "metadata": {"name": "shop"}}),
                404 => refusal("NotFound", 404),
                code => refusal("Forbidden", code),
            };
            let response = hyper::Response::builder().status(code);
            let body = Body::from(body.to_string().into_bytes());
            Ok::<_, Infallible>(response.body(body).expect("a response"))
        });
        let (sender, mut sightings) = mpsc::channel(1);
        let stream = Stream { kind: Some(ManagedKind::Service), namespace: "shop".to_owned() };
        let watch = watch(Client::new(service, "default"), stream, String::new(), sender);
        let running = tokio::spawn(watch);
        loop {
            let sighting = sightings.recv().await.expect("it runs");
            if !matches!(sighting, Sighting::Ours(_, Seen::Init)) {
                running.abort();
                return sighting;
            }
        }
    }

    /// Who must not watch it any more is not told of its end.
    #[tokio::test(start_paused = true)]
    async fn nothing_is_left_of_what_was_made_in_a_namespace_that_is_gone() {
        let told = told_when_refused(404).await;
        assert!(matches!(told, Sighting::Ours(_, Seen::InitDone)), "{told:?}");
        for unknown in [200, 403, 503] {
            let told = told_when_refused(unknown).await;
            assert!(matches!(told, Sighting::Unlisted(_)), "{told:?}");
        }
    }

    #[test]
    fn what_the_api_server_says_is_told_in_its_words() {
        let status = json!({"status": "Failure", "message": "pods is forbidden", "code": 403,
            "reason": "Forbidden"});
        let status = serde_json::from_value(status).expect("a status");
        let error = watcher::Error::InitialListFailed(Error::Api(status));
        assert_eq!(refusal(&error).map(|it| it.code), Some(403));
        assert_eq!(reason(&error), "pods is forbidden");
        let error = watcher::Error::NoResourceVersion;
        assert!(refusal(&error).is_none());
        assert_eq!(reason(&error), error.to_string());
    }
}
