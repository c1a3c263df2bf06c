//! Objects as the API server sends them: read one by one, so that a broken one stays alone.

use std::fmt;
use std::net::IpAddr;

use gwapi_model::kubernetes::resource_from_json;
use gwapi_model::{Kind, ObjectId, PolicyTargetReference, Resource};
use jiff::Timestamp;
use kube::core::DynamicResourceScope;
use kube::core::gvk::GroupVersionKind;
use kube::discovery::ApiResource;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::fingerprint::hash;
use crate::status::OwnedFields;

/// Annotation in which kubectl keeps a second copy of the whole object.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// An object as JSON, of any kind. Reading it cannot fail, whatever its fields hold: the client's
/// own types would end the watch of all objects with the first one that they do not know.
///
/// `Debug` shows the name alone, since it may be a Secret.
#[derive(Clone)]
pub(crate) struct RawObject<const METADATA_ONLY: bool> {
    /// As much of the metadata as the client looks at.
    metadata: ObjectMeta,
    json: Value,
}

impl<const METADATA_ONLY: bool> RawObject<METADATA_ONLY> {
    /// A field of the metadata.
    pub(crate) fn metadata(&self, field: &str) -> &Value {
        &self.json["metadata"][field]
    }

    /// The version of the object.
    pub(crate) fn resource_version(&self) -> &str {
        self.metadata.resource_version.as_deref().unwrap_or_default()
    }

    /// Its status.
    pub(crate) fn observed(mut self, kind: Kind, manager: &str) -> Observed {
        Observed::take(kind, &mut self.json, manager)
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// Which object it is.
    pub(crate) fn id(&self, kind: Kind) -> ObjectId {
        let namespace = self.metadata.namespace.as_deref().filter(|_| kind.is_namespaced());
        ObjectId::new(kind, namespace.unwrap_or_default(), self.name())
    }
}

impl<'de, const METADATA_ONLY: bool> Deserialize<'de> for RawObject<METADATA_ONLY> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Value::deserialize(deserializer)?;
        let text = |field: &str| json["metadata"][field].as_str().map(str::to_owned);
        let metadata = ObjectMeta {
            name: text("name"),
            namespace: text("namespace"),
            resource_version: text("resourceVersion"),
            ..ObjectMeta::default()
        };
        Ok(Self { metadata, json })
    }
}

impl<const METADATA_ONLY: bool> fmt::Debug for RawObject<METADATA_ONLY> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RawObject").field(&self.metadata.namespace).field(&self.name()).finish()
    }
}

impl<const METADATA_ONLY: bool> kube::Resource for RawObject<METADATA_ONLY> {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn metadata_api() -> bool {
        METADATA_ONLY
    }

    fn kind(resource: &ApiResource) -> Cow<'_, str> {
        resource.kind.as_str().into()
    }

    fn group(resource: &ApiResource) -> Cow<'_, str> {
        resource.group.as_str().into()
    }

    fn version(resource: &ApiResource) -> Cow<'_, str> {
        resource.version.as_str().into()
    }

    fn api_version(resource: &ApiResource) -> Cow<'_, str> {
        resource.api_version.as_str().into()
    }

    fn plural(resource: &ApiResource) -> Cow<'_, str> {
        resource.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// Where the API server has the objects of a kind, in the version that we read and write.
pub(crate) fn api_resource(kind: Kind) -> ApiResource {
    api_resource_in(kind, kind.version())
}

/// The same in another version, which servers have that do not have that one yet.
pub(super) fn api_resource_in(kind: Kind, version: &str) -> ApiResource {
    let kind_name = GroupVersionKind::gvk(kind.group(), version, kind.as_str());
    let plural = match kind {
        Kind::GatewayClass => "gatewayclasses",
        Kind::Gateway => "gateways",
        Kind::ListenerSet => "listenersets",
        Kind::HttpRoute => "httproutes",
        Kind::GrpcRoute => "grpcroutes",
        Kind::TlsRoute => "tlsroutes",
        Kind::TcpRoute => "tcproutes",
        Kind::UdpRoute => "udproutes",
        Kind::BackendTlsPolicy => "backendtlspolicies",
        Kind::XBackend => "xbackends",
        Kind::BackendTrafficPolicy => "xbackendtrafficpolicies",
        Kind::TelemetryPolicy => "xtelemetrypolicies",
        Kind::ReferenceGrant => "referencegrants",
        Kind::GatewayParameters => "gatewayparameters",
        Kind::Namespace => "namespaces",
        Kind::Service => "services",
        Kind::EndpointSlice => "endpointslices",
        Kind::Endpoints => "endpoints",
        Kind::Secret => "secrets",
        Kind::ConfigMap => "configmaps",
        Kind::ClusterTrustBundle => "clustertrustbundles",
    };
    ApiResource::from_gvk_with_plural(&kind_name, plural)
}

/// Whether objects of a kind have a status that we write.
pub(crate) fn has_status(kind: Kind) -> bool {
    use Kind::{BackendTlsPolicy, BackendTrafficPolicy, TelemetryPolicy, XBackend};
    use Kind::{Gateway, GatewayClass, ListenerSet};
    matches!(kind, Gateway | GatewayClass | ListenerSet)
        || matches!(kind, BackendTlsPolicy | BackendTrafficPolicy | TelemetryPolicy | XBackend)
        || kind.route_kind().is_some()
}

/// An object that was read.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    /// Which one.
    pub(crate) id: ObjectId,
    /// The version that was read.
    pub(crate) resource_version: String,
    /// What it has as status, for kinds whose status we write.
    pub(crate) observed: Option<Observed>,
    /// What it asks for.
    pub(crate) content: Result<Resource, Unreadable>,
}

/// The status of an object in one version of the object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Observed {
    /// The version: whoever writes names it, and fails if there is a newer one.
    pub(crate) resource_version: String,
    /// Hash of the uid: by it an object is told from a former one of its name.
    pub(crate) uid: u64,
    /// Generation of the spec.
    pub(crate) generation: i64,
    /// `status` as JSON text, which takes a fraction of the room of the parsed value.
    pub(crate) status: Box<str>,
    /// What of it we were the last to change; of Gateways and ListenerSets alone.
    pub(crate) owned: OwnedFields,
}

/// An object whose content cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unreadable {
    /// Generation of the spec.
    pub(crate) generation: i64,
    /// When the object was made, where that can be read.
    pub(crate) created: Option<Timestamp>,
    /// What is wrong, without any value of a Secret.
    pub(crate) message: String,
    /// `spec`, as far as it tells whose object this is.
    pub(crate) claim: Claim,
}

/// Whose object it is, told from the few fields that say so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Claim {
    /// `spec.controllerName` of a GatewayClass, `spec.gatewayClassName` of a Gateway.
    pub(crate) name: String,
    /// `spec.parentRefs` of a route, as far as they can be read; `spec.parentRef` of a ListenerSet.
    pub(crate) parents: Vec<gwapi_model::ParentReference>,
    /// `spec.targetRefs` of a policy, as far as they can be read.
    pub(crate) targets: Vec<PolicyTargetReference>,
}

impl Object {
    /// Reads an object. `manager` is the name under which we write status.
    pub(crate) fn read<const METADATA_ONLY: bool>(
        kind: Kind,
        raw: RawObject<METADATA_ONLY>,
        manager: &str,
    ) -> Self {
        let id = raw.id(kind);
        let resource_version = raw.resource_version().to_owned();
        let mut json = raw.json;
        let observed = has_status(kind).then(|| Observed::take(kind, &mut json, manager));
        if let Some(metadata) = json.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
            if let Some(annotations) =
                metadata.get_mut("annotations").and_then(Value::as_object_mut)
            {
                annotations.remove(LAST_APPLIED);
            }
        }
        let generation = json["metadata"]["generation"].as_i64().unwrap_or_default();
        let created = &json["metadata"]["creationTimestamp"];
        let created = created.as_str().and_then(|created| created.parse().ok());
        let claim = Claim::of(kind, &json["spec"]);
        let content = resource_from_json(kind, json).map_err(|error| {
            let mut message = error.to_string();
            if let Some(source) = std::error::Error::source(&error) {
                message = source.to_string();
            }
            Unreadable { generation, created, message, claim }
        });
        Self { id, resource_version, observed, content }
    }
}

impl Observed {
    fn take(kind: Kind, json: &mut Value, manager: &str) -> Self {
        let metadata = &json["metadata"];
        let owned = match kind {
            Kind::Gateway | Kind::ListenerSet => {
                OwnedFields::of(&metadata["managedFields"], manager)
            }
            _ => OwnedFields::default(),
        };
        let resource_version = metadata["resourceVersion"].as_str().unwrap_or_default().to_owned();
        let uid = hash(metadata["uid"].as_str().unwrap_or_default());
        let generation = metadata["generation"].as_i64().unwrap_or_default();
        let status = json.get_mut("status").map(Value::take).unwrap_or_default();
        Self { resource_version, uid, generation, status: status.to_string().into(), owned }
    }

    /// The IP addresses among `addresses`, in their order.
    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        let status = self.status();
        let addresses = status["addresses"].as_array().into_iter().flatten();
        addresses.filter_map(|address| address["value"].as_str()?.parse().ok()).collect()
    }

    /// The status, parsed.
    pub(crate) fn status(&self) -> Value {
        serde_json::from_str(&self.status).expect("it was written by us from a JSON value")
    }
}

impl Claim {
    fn of(kind: Kind, spec: &Value) -> Self {
        let text = |field: &str| spec[field].as_str().unwrap_or_default().to_owned();
        match kind {
            Kind::GatewayClass => Self { name: text("controllerName"), ..Self::default() },
            Kind::Gateway => Self { name: text("gatewayClassName"), ..Self::default() },
            kind if kind.route_kind().is_some() => {
                let parents = spec["parentRefs"].as_array().into_iter().flatten();
                let parents = parents.filter_map(|it| serde_json::from_value(it.clone()).ok());
                Self { parents: parents.collect(), ..Self::default() }
            }
            Kind::ListenerSet => {
                let parent = serde_json::from_value(spec["parentRef"].clone()).ok();
                Self { parents: parent.into_iter().collect(), ..Self::default() }
            }
            Kind::BackendTlsPolicy | Kind::BackendTrafficPolicy | Kind::TelemetryPolicy => {
                let targets = spec["targetRefs"].as_array().into_iter().flatten();
                let targets = targets.filter_map(|target| {
                    PolicyTargetReference::legible(|field| {
                        target[field].as_str().map(str::to_owned)
                    })
                });
                Self { targets: targets.collect(), ..Self::default() }
            }
            _ => Self::default(),
        }
    }
}
