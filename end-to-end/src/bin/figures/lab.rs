//! A namespace with two backends, and what is made in it.

use std::time::Duration;

use anyhow::{Context, bail};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::wait::{Condition, await_condition, conditions};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::PATIENCE;

/// Two Deployments that say which pod answers, each with a Service.
pub(crate) const BACKENDS: [&str; 2] = ["one", "two"];

/// The backend of the conformance suite, under the name that every cluster of `cargo xtask` has it by.
const IMAGE: &str = "gwapi/echo-basic:1";

/// A namespace of a cluster.
pub(crate) struct Lab {
    client: Client,
    namespace: String,
    class: String,
}

impl Lab {
    /// Makes the namespace.
    pub(crate) async fn new(class: &str) -> anyhow::Result<Self> {
        let client = Client::try_default().await.context("there is no cluster")?;
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let namespace = serde_json::from_value(json!({"metadata": {"generateName": "figures-"}}))?;
        let made = namespaces.create(&PostParams::default(), &namespace).await?;
        Ok(Self { client, namespace: made.name_any(), class: class.to_owned() })
    }

    /// Makes a backend and waits until it runs.
    pub(crate) async fn backend(&self, name: &str) -> anyhow::Result<()> {
        let labels = json!({"app": name});
        let pod = json!({"fieldRef": {"fieldPath": "metadata.name"}});
        let deployment = json!({
            "metadata": {"name": name},
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {"containers": [{
                        "name": "echo",
                        "image": IMAGE,
                        "env": [
                            {"name": "POD_NAME", "valueFrom": pod},
                            {"name": "NAMESPACE", "value": self.namespace},
                        ],
                        "readinessProbe": {"tcpSocket": {"port": 3000}, "periodSeconds": 1},
                    }]},
                },
            },
        });
        let service = json!({
            "metadata": {"name": name},
            "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": 3000}]},
        });
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), &self.namespace);
        let services: Api<Service> = Api::namespaced(self.client.clone(), &self.namespace);
        let parameters = PostParams::default();
        deployments.create(&parameters, &serde_json::from_value(deployment)?).await?;
        services.create(&parameters, &serde_json::from_value(service)?).await?;
        let available = await_condition(deployments, name, conditions::is_deployment_completed());
        timeout(PATIENCE, available).await.with_context(|| format!("{name} does not start"))??;
        Ok(())
    }

    fn api(&self, kind: &str, plural: &str) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", kind);
        let resource = ApiResource::from_gvk_with_plural(&kind, plural);
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
    }

    fn gateways(&self) -> Api<DynamicObject> {
        self.api("Gateway", "gateways")
    }

    fn routes(&self) -> Api<DynamicObject> {
        self.api("HTTPRoute", "httproutes")
    }

    /// Makes a Gateway with one listener.
    pub(crate) async fn gateway(&self, name: &str) -> anyhow::Result<()> {
        let spec = json!({
            "gatewayClassName": self.class,
            "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}],
        });
        create(&self.gateways(), "Gateway", name, spec).await
    }

    /// Waits until a Gateway has an address; the first one.
    pub(crate) async fn addressed(&self, name: &str) -> anyhow::Result<String> {
        self.address_once(name, has_address(), "has no address").await
    }

    /// Waits until a Gateway is programmed; its first address.
    pub(crate) async fn programmed(&self, name: &str) -> anyhow::Result<String> {
        self.address_once(name, is_programmed(), "is not programmed").await
    }

    async fn address_once(
        &self,
        name: &str,
        condition: impl Condition<DynamicObject>,
        otherwise: &str,
    ) -> anyhow::Result<String> {
        let waiting = await_condition(self.gateways(), name, condition);
        let Ok(gateway) = timeout(PATIENCE, waiting).await else {
            let gateway = self.gateways().get(name).await?;
            bail!("Gateway {name} {otherwise}: {:#}", gateway.data["status"]);
        };
        let gateway = gateway?.context("the Gateway is there")?;
        let address = gateway.data["status"]["addresses"][0]["value"].as_str();
        address.map(str::to_owned).with_context(|| format!("Gateway {name} has no address"))
    }

    /// Deletes a Gateway, and waits until its pods are gone: kubelet is busy with them, and what is
    /// measured next would wait for it.
    pub(crate) async fn delete_gateway(&self, name: &str) -> anyhow::Result<()> {
        self.gateways().delete(name, &DeleteParams::default()).await?;
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let its =
            ListParams::default().labels(&format!("gateway.networking.k8s.io/gateway-name={name}"));
        let gone = async {
            while !pods.list_metadata(&its).await?.items.is_empty() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            anyhow::Ok(())
        };
        timeout(PATIENCE, gone).await.with_context(|| format!("the pods of {name} do not end"))?
    }

    /// Makes a route that leads a host to a backend.
    pub(crate) async fn route(
        &self,
        name: &str,
        host: &str,
        gateway: &str,
        backend: &str,
    ) -> anyhow::Result<()> {
        let spec = json!({
            "parentRefs": [{"name": gateway}],
            "hostnames": [host],
            "rules": rules(backend),
        });
        create(&self.routes(), "HTTPRoute", name, spec).await
    }

    /// Leads a route to another backend.
    pub(crate) async fn lead(&self, route: &str, backend: &str) -> anyhow::Result<()> {
        let patch = Patch::Merge(json!({"spec": {"rules": rules(backend)}}));
        self.routes().patch(route, &PatchParams::default(), &patch).await?;
        Ok(())
    }

    /// Deletes a route.
    pub(crate) async fn delete_route(&self, name: &str) -> anyhow::Result<()> {
        self.routes().delete(name, &DeleteParams::default()).await?;
        Ok(())
    }

    /// Deletes all routes.
    pub(crate) async fn delete_routes(&self) -> anyhow::Result<()> {
        let all = ListParams::default();
        self.routes().delete_collection(&DeleteParams::default(), &all).await?;
        Ok(())
    }

    /// Deletes the namespace and all that is in it.
    pub(crate) async fn clean(self) -> anyhow::Result<()> {
        let namespaces: Api<Namespace> = Api::all(self.client);
        namespaces.delete(&self.namespace, &DeleteParams::default()).await?;
        Ok(())
    }
}

fn rules(backend: &str) -> Value {
    json!([{"backendRefs": [{"name": backend, "port": 80}]}])
}

async fn create(
    api: &Api<DynamicObject>,
    kind: &str,
    name: &str,
    spec: Value,
) -> anyhow::Result<()> {
    let object = json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": spec,
    });
    let object = serde_json::from_value(object)?;
    api.create(&PostParams::default(), &object)
        .await
        .with_context(|| format!("{kind} {name} cannot be made"))?;
    Ok(())
}

fn has_address() -> impl Condition<DynamicObject> {
    |gateway: Option<&DynamicObject>| {
        let addresses = gateway.and_then(|gateway| gateway.data["status"]["addresses"].as_array());
        addresses.is_some_and(|addresses| !addresses.is_empty())
    }
}

fn is_programmed() -> impl Condition<DynamicObject> {
    |gateway: Option<&DynamicObject>| {
        let conditions =
            gateway.and_then(|gateway| gateway.data["status"]["conditions"].as_array());
        conditions.is_some_and(|conditions| {
            conditions
                .iter()
                .any(|condition| condition["type"] == "Programmed" && condition["status"] == "True")
        })
    }
}
