//! Watches of what the controller made, and of Services that parameters name.

use futures_util::{StreamExt, pin_mut};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, DynamicObject};
use kube::core::ApiResource;
use kube::runtime::watcher::{Config, Event};
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::Value;
use tokio::sync::mpsc::Sender;
use tracing::{debug, warn};

use super::kind::ManagedKind;
use super::live::{Seen, Stream};

/// What a watch sends.
#[derive(Debug)]
pub(super) enum Sighting {
    /// Something happened to what the controller made.
    Ours(Stream, Seen),
    /// A Service of the user's is so now; `None` where there is none.
    Service(ServiceName, Option<Value>),
}

/// Namespace and name of a Service of the user's.
pub(super) type ServiceName = (String, String);

/// Every stream that has to be watched.
pub(super) fn streams(namespaces: &[String]) -> Vec<Stream> {
    let everywhere = [String::new()];
    let namespaces = if namespaces.is_empty() { &everywhere[..] } else { namespaces };
    let kinds = || ManagedKind::ALL.into_iter().map(Some).chain([None]);
    namespaces
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
        Api::all_with(client, &resource)
    } else {
        Api::namespaced_with(client, &stream.namespace, &resource)
    };
    let events = watcher(api, Config::default().labels(&selector)).default_backoff();
    pin_mut!(events);
    let mut is_failing = false;
    while let Some(event) = events.next().await {
        let seen = match event {
            Ok(Event::Init) => Seen::Init,
            Ok(Event::InitApply(object) | Event::Apply(object)) => Seen::Apply(Box::new(object)),
            Ok(Event::Delete(object)) => Seen::Delete(Box::new(object)),
            Ok(Event::InitDone) => Seen::InitDone,
            Err(error) => {
                // Once is enough for the log, however often it is tried.
                if is_failing {
                    debug!(%error, "cannot watch {}", resource.plural);
                } else {
                    warn!(%error, "cannot watch {}; trying again", resource.plural);
                }
                is_failing = true;
                continue;
            }
        };
        is_failing = false;
        if sender.send(Sighting::Ours(stream.clone(), seen)).await.is_err() {
            return;
        }
    }
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
