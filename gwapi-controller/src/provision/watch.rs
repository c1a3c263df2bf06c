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
        let sighting = match event {
            // Each attempt to list begins so, and says nothing of its end.
            Ok(Event::Init) => Sighting::Ours(stream.clone(), Seen::Init),
            Ok(event) => {
                trouble.is_over();
                Sighting::Ours(stream.clone(), seen(event))
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
                if !is_refused {
                    continue;
                }
                Sighting::Unlisted(stream.clone())
            }
        };
        if sender.send(sighting).await.is_err() {
            return;
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
    use serde_json::json;

    use super::*;

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
