//! What the tests do in the cluster.

use std::pin::pin;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, pin_mut};
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::gvk::GroupVersionKind;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::time::timeout;

/// How long anything may take to come true.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Requests at one time, where many objects are made.
const AT_ONCE: usize = 32;

/// A cluster for tests.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) config: Config,
    pub(crate) client: Client,
}

impl Api {
    /// Connects by a kubeconfig.
    pub(crate) async fn connect(kubeconfig: &str) -> Self {
        let kubeconfig = Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
        let config = config.expect("a usable kubeconfig");
        let client = Client::try_from(config.clone()).expect("a client");
        Self { config, client }
    }

    /// The objects of a kind in a namespace, or in none.
    pub(crate) fn kind(&self, kind: &str, namespace: &str) -> kube::Api<DynamicObject> {
        let resource = resource(kind);
        if namespace.is_empty() {
            kube::Api::all_with(self.client.clone(), &resource)
        } else {
            kube::Api::namespaced_with(self.client.clone(), namespace, &resource)
        }
    }

    /// Makes an object or changes it to this, as soon as its kind is served: an API server says that a
    /// CRD is established a moment before it serves it.
    pub(crate) async fn apply(&self, object: Value) -> DynamicObject {
        self.once_taken(404, || self.try_to_apply(&object)).await
    }

    async fn try_to_apply(&self, object: &Value) -> kube::Result<DynamicObject> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let metadata = &object["metadata"];
        let api = self.kind(&text(&object["kind"]), &text(&metadata["namespace"]));
        let parameters = PatchParams::apply("test").force();
        api.patch(&text(&metadata["name"]), &parameters, &Patch::Apply(object)).await
    }

    /// Does something again and again while the API server answers with this status.
    async fn once_taken<F>(&self, status: u16, attempt: impl Fn() -> F) -> DynamicObject
    where
        F: Future<Output = kube::Result<DynamicObject>>,
    {
        let taken = async {
            let mut turns = tokio::time::interval(Duration::from_millis(50));
            loop {
                turns.tick().await;
                match attempt().await {
                    Ok(object) => return object,
                    Err(kube::Error::Api(error)) if error.code == status => {}
                    Err(error) => panic!("the API server refuses it: {error}"),
                }
            }
        };
        tokio::time::timeout(PATIENCE, taken).await.expect("the API server takes it")
    }

    /// Makes many objects.
    pub(crate) async fn apply_all(&self, objects: Vec<Value>) {
        let applied = objects.into_iter().map(|object| self.apply(object));
        let applied = futures_util::stream::iter(applied).buffer_unordered(AT_ONCE);
        applied.for_each(|_| async {}).await;
    }

    /// Merges a patch into the status of an object, as another controller does.
    pub(crate) async fn patch_status(&self, kind: &str, namespace: &str, name: &str, patch: Value) {
        let parameters =
            PatchParams { field_manager: Some("other".to_owned()), ..PatchParams::default() };
        let api = self.kind(kind, namespace);
        let patched = api.patch_status(name, &parameters, &Patch::Merge(&patch)).await;
        patched.expect("a status that can be patched");
    }

    /// Changes an object by a merge patch.
    pub(crate) async fn patch(&self, kind: &str, namespace: &str, name: &str, patch: Value) {
        let api = self.kind(kind, namespace);
        let patched = api.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await;
        patched.unwrap_or_else(|error| panic!("cannot patch {kind} {name}: {error}"));
    }

    /// Changes an object as soon as the API server takes the change: a schema that was changed is in
    /// force a moment later.
    pub(crate) async fn patch_when_valid(
        &self,
        kind: &str,
        namespace: &str,
        name: &str,
        patch: Value,
    ) {
        let api = self.kind(kind, namespace);
        let (parameters, patch) = (PatchParams::default(), Patch::Merge(&patch));
        self.once_taken(422, || api.patch(name, &parameters, &patch)).await;
    }

    /// Replaces an object, or makes it.
    pub(crate) async fn create(&self, object: &DynamicObject, kind: &str) {
        let api = self.kind(kind, object.metadata.namespace.as_deref().unwrap_or_default());
        let created = api.create(&PostParams::default(), object).await;
        created.unwrap_or_else(|error| panic!("cannot create {kind}: {error}"));
    }

    /// Asks whether an object would be made, as kubectl does: fields that are not known are a mistake.
    pub(crate) async fn try_to_create(&self, object: &Value) -> kube::Result<()> {
        self.try_to_send(http::Method::POST, "", object).await
    }

    /// Asks whether an object would become this one, which names the version that it is to come after.
    pub(crate) async fn try_to_update(&self, object: &Value) -> kube::Result<()> {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        self.try_to_send(http::Method::PUT, &format!("/{name}"), object).await
    }

    async fn try_to_send(
        &self,
        method: http::Method,
        below: &str,
        object: &Value,
    ) -> kube::Result<()> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let namespace = text(&object["metadata"]["namespace"]);
        let all = self.kind(&text(&object["kind"]), &namespace);
        let url = format!("{}{below}?dryRun=All&fieldValidation=Strict", all.resource_url());
        let request = http::Request::builder()
            .method(method)
            .uri(url)
            .header("content-type", "application/json")
            .body(object.to_string().into_bytes())
            .expect("it is a request");
        self.client.request::<Value>(request).await.map(|_| ())
    }

    /// Deletes an object and waits until it is gone.
    pub(crate) async fn delete(&self, kind: &str, namespace: &str, name: &str) {
        let api = self.kind(kind, namespace);
        match api.delete(name, &DeleteParams::default()).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => return,
            Err(error) => panic!("cannot delete {kind} {name}: {error}"),
        }
        let gone = self.until(kind, namespace, name, |object| object.is_none());
        gone.await;
    }

    /// Deletes all objects of a kind in a namespace, so that later tests do not work through them.
    pub(crate) async fn delete_all(&self, kind: &str, namespace: &str) {
        let all = (DeleteParams::default(), ListParams::default());
        let deleted = self.kind(kind, namespace).delete_collection(&all.0, &all.1).await;
        deleted.unwrap_or_else(|error| panic!("cannot delete each {kind}: {error}"));
    }

    /// All objects of a kind.
    pub(crate) async fn list(&self, kind: &str) -> Vec<DynamicObject> {
        let listed = self.kind(kind, "").list(&ListParams::default()).await;
        listed.expect("a list").items
    }

    /// Waits until an object, or its absence, is as it should be.
    pub(crate) async fn until(
        &self,
        kind: &str,
        namespace: &str,
        name: &str,
        holds: impl Fn(Option<&Value>) -> bool,
    ) -> Option<Value> {
        let objects = watcher::watch_object(self.kind(kind, namespace), name);
        pin_mut!(objects);
        let mut last = None;
        let found = timeout(PATIENCE, async {
            loop {
                // A server that is away for a moment is part of some tests.
                let Ok(Some(object)) = objects.try_next().await else { continue };
                last = object.map(|object| serde_json::to_value(object).expect("JSON"));
                if holds(last.as_ref()) {
                    return last.clone();
                }
            }
        });
        match found.await {
            Ok(found) => found,
            Err(_) => panic!("{kind} {name} did not become as expected; it is {last:#?}"),
        }
    }

    /// Waits until there is an object of a kind like this one.
    pub(crate) async fn until_any(
        &self,
        kind: &str,
        namespace: &str,
        holds: impl Fn(&DynamicObject) -> bool,
    ) {
        let events = watcher::watcher(self.kind(kind, namespace), watcher::Config::default());
        let mut objects = pin!(events.applied_objects());
        let found = timeout(PATIENCE, async {
            while !matches!(objects.next().await, Some(Ok(object)) if holds(&object)) {}
        });
        assert!(found.await.is_ok(), "there came no such {kind}");
    }

    /// A namespace of its own for a test, empty, with a name that was not used before.
    pub(crate) async fn namespace(&self, purpose: &str) -> String {
        let object = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"generateName": format!("{purpose}-")},
        });
        let object: DynamicObject = serde_json::from_value(object).expect("a Namespace");
        let created = self.kind("Namespace", "").create(&PostParams::default(), &object).await;
        created.expect("a new Namespace").metadata.name.expect("a generated name")
    }
}

/// Where objects of a kind are.
fn resource(kind: &str) -> ApiResource {
    let mut version = "v1";
    let (group, plural) = match kind {
        "ClusterTrustBundle" => {
            version = "v1beta1";
            ("certificates.k8s.io", "clustertrustbundles")
        }
        "XBackend" | "XBackendTrafficPolicy" | "XTelemetryPolicy" => {
            version = "v1alpha1";
            let plural = match kind {
                "XBackend" => "xbackends",
                "XBackendTrafficPolicy" => "xbackendtrafficpolicies",
                _ => "xtelemetrypolicies",
            };
            ("gateway.networking.x-k8s.io", plural)
        }
        "GatewayClass" => ("gateway.networking.k8s.io", "gatewayclasses"),
        "Gateway" => ("gateway.networking.k8s.io", "gateways"),
        "ListenerSet" => ("gateway.networking.k8s.io", "listenersets"),
        "HTTPRoute" => ("gateway.networking.k8s.io", "httproutes"),
        "GRPCRoute" => ("gateway.networking.k8s.io", "grpcroutes"),
        "TLSRoute" => ("gateway.networking.k8s.io", "tlsroutes"),
        "TCPRoute" => ("gateway.networking.k8s.io", "tcproutes"),
        "UDPRoute" => ("gateway.networking.k8s.io", "udproutes"),
        "ReferenceGrant" => ("gateway.networking.k8s.io", "referencegrants"),
        "BackendTLSPolicy" => ("gateway.networking.k8s.io", "backendtlspolicies"),
        "Deployment" => ("apps", "deployments"),
        "EndpointSlice" => ("discovery.k8s.io", "endpointslices"),
        "Event" => ("events.k8s.io", "events"),
        "CustomResourceDefinition" => ("apiextensions.k8s.io", "customresourcedefinitions"),
        "Lease" => ("coordination.k8s.io", "leases"),
        "Namespace" => ("", "namespaces"),
        "Secret" => ("", "secrets"),
        "Service" => ("", "services"),
        other => panic!("the tests have no {other}"),
    };
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
}

/// A GatewayClass of a controller.
pub(crate) fn class(name: &str, controller: &str) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass",
        "metadata": {"name": name},
        "spec": {"controllerName": controller},
    })
}

/// A Gateway with a listener for HTTP.
pub(crate) fn gateway(namespace: &str, name: &str, class: &str) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {
            "gatewayClassName": class,
            "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}],
        },
    })
}

/// A route that redirects, so that it needs no backend.
pub(crate) fn route(namespace: &str, name: &str, gateway: &str) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {
            "parentRefs": [{"name": gateway}],
            "hostnames": [format!("{name}.example.com")],
            "rules": [{"filters": [{
                "type": "RequestRedirect",
                "requestRedirect": {"hostname": "www.example.com"},
            }]}],
        },
    })
}

/// The condition of a type in a list.
pub(crate) fn condition<'a>(holder: &'a Value, condition_type: &str) -> &'a Value {
    let list = holder["conditions"].as_array().map_or(&[][..], Vec::as_slice);
    list.iter().find(|entry| entry["type"] == condition_type).unwrap_or(&Value::Null)
}

/// Whether a condition has a status, at the present generation of its object.
pub(crate) fn is(object: &Value, holder: &Value, condition_type: &str, status: &str) -> bool {
    let condition = condition(holder, condition_type);
    condition["status"] == status
        && condition["observedGeneration"] == object["metadata"]["generation"]
}

/// The entry of a controller in the status of a route.
pub(crate) fn parent<'a>(route: &'a Value, controller: &str) -> &'a Value {
    entry(&route["status"]["parents"], controller)
}

/// The entry of a controller in the status of a policy or an XBackend.
pub(crate) fn ancestor<'a>(object: &'a Value, controller: &str) -> &'a Value {
    entry(&object["status"]["ancestors"], controller)
}

fn entry<'a>(entries: &'a Value, controller: &str) -> &'a Value {
    let entries = entries.as_array().map_or(&[][..], Vec::as_slice);
    let found = entries.iter().find(|entry| entry["controllerName"] == controller);
    found.unwrap_or(&Value::Null)
}
