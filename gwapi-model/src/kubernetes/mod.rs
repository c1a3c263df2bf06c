//! Conversions from and to the `gateway-api` and `k8s-openapi` crates, whose types a Kubernetes
//! client speaks.
//!
//! ```
//! use gateway_api::gateways as theirs;
//! use gwapi_model::Gateway;
//!
//! let spec = theirs::GatewaySpec { gateway_class_name: "gwapi".into(), ..Default::default() };
//! let gateway = Gateway::try_from(&theirs::Gateway::new("edge", spec))?;
//!
//! assert_eq!(&*gateway.metadata.name, "edge");
//! assert_eq!(theirs::Gateway::try_from(&gateway)?.spec.gateway_class_name, "gwapi");
//! # Ok::<(), gwapi_model::kubernetes::ConversionError>(())
//! ```
//!
//! **Towards the model** a conversion keeps what routing and status depend on and forgets the
//! rest: the status, most of a Service's spec, a Pod's place, and of the metadata everything but
//! name, namespace, labels, annotations, creation time, generation and, of Gateways and XBackends, the UID. Whoever
//! writes an object back edits the one it came from (its resource version, owners and finalizers are
//! there).
//!
//! **Out of the model** a conversion either carries every field over or fails with
//! [`ConversionError::Lost`] and the name of the field. `gateway-api` 0.22 has no place for these:
//!
//! | kind | fields |
//! |---|---|
//! | HTTPRoute | `rules[].retry`, `rules[].sessionPersistence`, `useDefaultGateways`, filters of type `ExternalAuth` |
//! | GRPCRoute | `rules[].sessionPersistence`, `useDefaultGateways` |
//! | Gateway | `listeners[].filters`, `addresses[].routability`, `defaultScope` |
//!
//! Times are kept to the second, as Kubernetes keeps them.
//!
//! The enumerations of `gateway-api` are closed: one object with a value of a later version fails
//! the whole list that a typed client reads. [`resource_from_json`] reads such objects one by one
//! and keeps the value, so that it can be answered with a condition (RT-12).

mod metadata;
mod secret;

use gateway_api::{
    backendtlspolicies, gatewayclasses, gateways, grpcroutes, httproutes, listenersets,
    referencegrants, tlsroutes,
};
use k8s_openapi::api::core::v1 as core_v1;
use k8s_openapi::api::discovery::v1 as discovery_v1;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::validate::FieldPath;
use crate::{
    BackendTlsPolicy, BackendTrafficPolicy, ClusterTrustBundle, ConfigMap, EndpointSlice,
    Endpoints, Gateway, GatewayClass, GatewayParameters, GrpcRoute, HttpRoute, Kind, ListenerSet,
    Namespace, ReferenceGrant, Resource, Service, TcpRoute, TelemetryPolicy, TlsRoute, UdpRoute,
};

/// Why an object has no counterpart in the other crate's types.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConversionError {
    /// A value does not fit the type of its field, or a field that must be there is not.
    #[error("{kind} holds what the other type cannot")]
    Unreadable {
        /// Kind of the object.
        kind: Kind,
        /// The value or field.
        #[source]
        source: serde_json::Error,
    },
    /// The object has no name: an API server is still to give it one.
    #[error("{kind} has no name")]
    Nameless {
        /// Kind of the object.
        kind: Kind,
    },
    /// The other type has no such field, or keeps less of it.
    #[error("{kind} would lose the field {field}")]
    Lost {
        /// Kind of the object.
        kind: Kind,
        /// The field.
        field: FieldPath,
    },
}

/// Reads an object as an API server sends it, whatever values its enumerations have.
///
/// A field that is null counts as absent. `apiVersion` and `kind` are not looked at.
///
/// # Errors
///
/// [`ConversionError::Unreadable`] where a field that the kind needs is missing or of another
/// type. Of Secrets it tells no value.
pub fn resource_from_json(kind: Kind, mut object: Value) -> Result<Resource, ConversionError> {
    fn parse<T: DeserializeOwned + Into<Resource>>(object: Value) -> serde_json::Result<Resource> {
        serde_json::from_value::<T>(object).map(Into::into)
    }
    drop_nulls(&mut object);
    drop_uid(kind, &mut object);
    match kind {
        Kind::GatewayClass => parse::<GatewayClass>(object),
        Kind::Gateway => parse::<Gateway>(object),
        Kind::ListenerSet => parse::<ListenerSet>(object),
        Kind::HttpRoute => parse::<HttpRoute>(object),
        Kind::GrpcRoute => parse::<GrpcRoute>(object),
        Kind::TlsRoute => parse::<TlsRoute>(object),
        Kind::TcpRoute => parse::<TcpRoute>(object),
        Kind::UdpRoute => parse::<UdpRoute>(object),
        Kind::BackendTlsPolicy => parse::<BackendTlsPolicy>(object),
        Kind::XBackend => parse::<crate::XBackend>(object),
        Kind::BackendTrafficPolicy => parse::<BackendTrafficPolicy>(object),
        Kind::TelemetryPolicy => parse::<TelemetryPolicy>(object),
        Kind::ReferenceGrant => parse::<ReferenceGrant>(object),
        Kind::GatewayParameters => parse::<GatewayParameters>(object),
        Kind::Namespace => parse::<Namespace>(object),
        Kind::Service => parse::<Service>(object),
        Kind::EndpointSlice => parse::<EndpointSlice>(object),
        Kind::Endpoints => parse::<Endpoints>(object),
        Kind::Secret => return secret::from_json(object),
        Kind::ConfigMap => parse::<ConfigMap>(object),
        Kind::ClusterTrustBundle => parse::<ClusterTrustBundle>(object),
    }
    .map_err(|source| ConversionError::Unreadable { kind, source })
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// Whether the UID of objects of this kind is kept: something is made for them.
fn keeps_uid(kind: Kind) -> bool {
    matches!(kind, Kind::Gateway | Kind::XBackend)
}

fn drop_uid(kind: Kind, object: &mut Value) {
    if !keeps_uid(kind)
        && let Some(metadata) = object.pointer_mut("/metadata").and_then(Value::as_object_mut)
    {
        metadata.remove("uid");
    }
}

macro_rules! conversions {
    ($($ours:ident, $theirs:ty;)+) => {$(
        impl TryFrom<&$theirs> for $ours {
            type Error = ConversionError;

            fn try_from(object: &$theirs) -> Result<Self, ConversionError> {
                into_model(Kind::$ours, object, object.metadata.name.as_deref())
            }
        }

        impl TryFrom<$theirs> for $ours {
            type Error = ConversionError;

            fn try_from(object: $theirs) -> Result<Self, ConversionError> {
                Self::try_from(&object)
            }
        }

        impl TryFrom<&$ours> for $theirs {
            type Error = ConversionError;

            fn try_from(object: &$ours) -> Result<Self, ConversionError> {
                out_of_model(Kind::$ours, object)
            }
        }

        impl TryFrom<$ours> for $theirs {
            type Error = ConversionError;

            fn try_from(object: $ours) -> Result<Self, ConversionError> {
                Self::try_from(&object)
            }
        }
    )+};
}

conversions! {
    GatewayClass, gatewayclasses::GatewayClass;
    Gateway, gateways::Gateway;
    ListenerSet, listenersets::ListenerSet;
    HttpRoute, httproutes::HttpRoute;
    GrpcRoute, grpcroutes::GrpcRoute;
    TlsRoute, tlsroutes::TlsRoute;
    BackendTlsPolicy, backendtlspolicies::BackendTlsPolicy;
    ReferenceGrant, referencegrants::ReferenceGrant;
    Namespace, core_v1::Namespace;
    Service, core_v1::Service;
    EndpointSlice, discovery_v1::EndpointSlice;
    Endpoints, core_v1::Endpoints;
    ConfigMap, core_v1::ConfigMap;
}

fn into_model<Theirs: Serialize, Ours: DeserializeOwned>(
    kind: Kind,
    object: &Theirs,
    name: Option<&str>,
) -> Result<Ours, ConversionError> {
    if name.is_none_or(str::is_empty) {
        return Err(ConversionError::Nameless { kind });
    }
    serde_json::to_value(object)
        .and_then(|mut value| {
            drop_nulls(&mut value);
            drop_uid(kind, &mut value);
            serde_json::from_value(value)
        })
        .map_err(|source| ConversionError::Unreadable { kind, source })
}

fn out_of_model<Ours: Serialize, Theirs: DeserializeOwned + Serialize>(
    kind: Kind,
    object: &Ours,
) -> Result<Theirs, ConversionError> {
    let unreadable = |source| ConversionError::Unreadable { kind, source };
    let mut ours = serde_json::to_value(object).map_err(unreadable)?;
    let theirs: Theirs = serde_json::from_value(ours.clone()).map_err(unreadable)?;
    if let Some(metadata) = ours.pointer_mut("/metadata").and_then(Value::as_object_mut) {
        metadata.remove("creationTimestamp"); // Kept to the second, hence not always equal.
    }
    let kept = serde_json::to_value(&theirs).map_err(unreadable)?;
    match lost(&ours, &kept, &FieldPath::default()) {
        Some(field) => Err(ConversionError::Lost { kind, field }),
        None => Ok(theirs),
    }
}

/// The first field of `ours` that `kept` lacks or holds otherwise.
fn lost(ours: &Value, kept: &Value, path: &FieldPath) -> Option<FieldPath> {
    match (ours, kept) {
        (Value::Object(ours), Value::Object(kept)) => ours.iter().find_map(|(name, value)| {
            let path = path.field(name);
            match kept.get(name) {
                Some(kept) => lost(value, kept, &path),
                None => Some(path),
            }
        }),
        (Value::Array(ours), Value::Array(kept)) if ours.len() == kept.len() => ours
            .iter()
            .zip(kept)
            .enumerate()
            .find_map(|(index, (ours, kept))| lost(ours, kept, &path.index(index))),
        _ => (ours != kept).then(|| path.clone()),
    }
}
