//! A namespace of a real cluster, a Gateway in it, and a provisioner that is told about it.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use gwapi_controller::provision::{
    Bootstrap, ProvisionHandle, ProvisionReport, ProvisionSettings, Provisioner,
};
use gwapi_model::GatewayParametersSpec;
use gwapi_translate::infrastructure::{
    GatewayInfrastructure, InfrastructurePort, InfrastructureReport, TransportProtocol, name,
};
use gwapi_translate::ir::GatewayId;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::WatchStreamExt;
use kube::runtime::wait::await_condition;
use kube::runtime::watcher::{Config, watcher};
use kube::{Client, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};

/// The longest that anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A namespace that goes when the test ends.
pub(crate) struct Bench {
    pub(crate) client: Client,
    pub(crate) namespace: String,
}

/// A provisioner and what it said last.
pub(crate) struct Running {
    handle: ProvisionHandle,
    reports: mpsc::Receiver<ProvisionReport>,
    last: BTreeMap<GatewayId, InfrastructureReport>,
    _bootstrap: watch::Sender<Option<Bootstrap>>,
}

impl Bench {
    /// A new namespace with the labels.
    pub(crate) async fn new(labels: &Value) -> Self {
        let client = Client::try_default().await.expect("a cluster: see `cargo xtask cluster up`");
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let namespace = json!({"metadata": {"generateName": "provision-", "labels": labels}});
        let namespace = serde_json::from_value(namespace).expect("a namespace");
        let made = namespaces.create(&PostParams::default(), &namespace).await.expect("it is made");
        Self { client, namespace: made.name_any() }
    }

    /// Objects of a kind in the namespace.
    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn gateways(&self) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "Gateway");
        let resource = ApiResource::from_gvk_with_plural(&kind, "gateways");
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
    }

    /// Makes a Gateway, and says what has to run for it: pods that are ready at once.
    pub(crate) async fn gateway(&self, gateway: &str, class: &str) -> GatewayInfrastructure {
        let gateways = self.gateways();
        let object = json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
            "metadata": {"name": gateway},
            "spec": {
                // No controller serves this class.
                "gatewayClassName": format!("{class}-of-tests"),
                "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}],
            },
        });
        let patch = Patch::Apply(&object);
        let made = gateways.patch(gateway, &PatchParams::apply("test"), &patch).await;
        let id = GatewayId::new(self.namespace.clone(), gateway);
        let mut wanted = GatewayInfrastructure {
            uid: made.expect("it is made").uid().expect("it has one"),
            generation: 1,
            class: class.to_owned(),
            name: name(&id, class),
            gateway: id,
            hold: false,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            service_annotations: BTreeMap::new(),
            ports: vec![InfrastructurePort { port: 80, protocol: TransportProtocol::Tcp }],
            addresses: Vec::new(),
            parameters: GatewayParametersSpec::default(),
        };
        let patch = json!({"spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "proxy", "readinessProbe": null, "livenessProbe": null}],
        }});
        wanted.parameters.workload.pod_template_patch = patch.as_object().cloned();
        wanted
    }

    /// Deletes a Gateway.
    pub(crate) async fn delete_gateway(&self, gateway: &GatewayInfrastructure) {
        let gateways = self.gateways();
        let name = &gateway.gateway.name;
        gateways.delete(name, &DeleteParams::default()).await.expect("it is there");
    }

    /// Deletes a Gateway after what it owns.
    pub(crate) async fn delete_gateway_in_the_foreground(&self, gateway: &GatewayInfrastructure) {
        let gateways = self.gateways();
        let name = &gateway.gateway.name;
        gateways.delete(name, &DeleteParams::foreground()).await.expect("it is there");
    }

    /// Changes a Gateway by hand.
    pub(crate) async fn change_gateway(&self, gateway: &GatewayInfrastructure, change: Value) {
        let gateways = self.gateways();
        let name = &gateway.gateway.name;
        let change = Patch::Merge(&change);
        gateways.patch(name, &PatchParams::default(), &change).await.expect("it can be changed");
    }

    /// Starts a provisioner for this namespace.
    pub(crate) fn provisioner(&self, controller_name: &str) -> Running {
        let settings = ProvisionSettings {
            controller_name: controller_name.to_owned(),
            namespaces: vec![self.namespace.clone()],
            image: "gwapi/pause:1".to_owned(),
            ..ProvisionSettings::default()
        };
        let bootstrap = Bootstrap {
            url: "https://10.96.0.1:18000".to_owned(),
            server_name: "nobody.test".to_owned(),
            ca_bundle: "-----BEGIN CERTIFICATE-----\n".to_owned(),
        };
        let (sender, bootstrap) = watch::channel(Some(bootstrap));
        let (handle, reports) = Provisioner::start(self.client.clone(), settings, bootstrap);
        Running { handle, reports, last: BTreeMap::new(), _bootstrap: sender }
    }

    /// Changes an object by hand.
    pub(crate) async fn change<K>(&self, name: &str, change: Value)
    where
        K: kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + Debug,
    {
        let api: Api<K> = self.api();
        let change = Patch::Merge(&change);
        api.patch(name, &PatchParams::default(), &change).await.expect("it can be changed");
    }

    /// Changes the namespace by hand.
    pub(crate) async fn change_namespace(&self, change: Value) {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let change = Patch::Merge(&change);
        let changed = namespaces.patch(&self.namespace, &PatchParams::default(), &change).await;
        changed.expect("it can be changed");
    }

    /// Waits until an object is as it has to be.
    pub(crate) async fn until<K>(&self, name: &str, what: &str, is_so: impl Fn(Option<&K>) -> bool)
    where
        K: kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + Debug
            + Send
            + 'static,
    {
        let api: Api<K> = self.api();
        let condition = await_condition(api.clone(), name, |object: Option<&K>| is_so(object));
        match timeout(PATIENCE, condition).await {
            Ok(result) => drop(result.expect("the API server answers")),
            Err(_) => panic!("{what}: {name} is {:#?}", api.get_opt(name).await),
        }
    }

    /// Waits for an event with the reason.
    pub(crate) async fn event(&self, reason: &str) {
        let events = watcher(self.api::<Event>(), Config::default()).applied_objects();
        let found = events
            .any(async |event| event.is_ok_and(|event| event.reason.as_deref() == Some(reason)));
        assert_eq!(timeout(PATIENCE, found).await, Ok(true), "no event {reason}");
    }

    /// The end.
    pub(crate) async fn clean(self) {
        let namespaces: Api<Namespace> = Api::all(self.client);
        let _ = namespaces.delete(&self.namespace, &DeleteParams::default()).await;
    }
}

impl Running {
    /// This has to run.
    pub(crate) fn set(&self, wanted: &GatewayInfrastructure) {
        self.handle.set(wanted.gateway.clone(), Some(Arc::new(wanted.clone())), Vec::new());
    }

    /// Nothing has to run for a Gateway any more.
    pub(crate) fn unset(&self, wanted: &GatewayInfrastructure) {
        self.handle.set(wanted.gateway.clone(), None, Vec::new());
    }

    /// Every Gateway has been told.
    pub(crate) fn synced(&self) {
        self.handle.synced();
    }

    /// Waits until a Gateway's report is as it has to be.
    pub(crate) async fn report(
        &mut self,
        wanted: &GatewayInfrastructure,
        is_so: impl Fn(&InfrastructureReport) -> bool,
    ) -> InfrastructureReport {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(report) = self.last.get(&wanted.gateway).filter(|report| is_so(report)) {
                return report.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(report) = timeout(left, self.reports.recv()).await else {
                panic!("the last report is {:#?}", self.last.get(&wanted.gateway));
            };
            let report = report.expect("the provisioner runs");
            self.last.insert(report.gateway, report.infrastructure);
        }
    }
}
