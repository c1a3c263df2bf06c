//! Metadata, as far as the model keeps it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta_v1;

use super::{ConversionError, keeps_uid};
use crate::{Kind, ObjectMeta};

/// The part of an object's metadata that the model keeps.
pub(super) fn into_model(
    kind: Kind,
    metadata: &meta_v1::ObjectMeta,
) -> Result<ObjectMeta, ConversionError> {
    let name = metadata.name.clone().filter(|name| !name.is_empty());
    Ok(ObjectMeta {
        name: name.ok_or(ConversionError::Nameless { kind })?.into(),
        namespace: metadata.namespace.as_deref().unwrap_or_default().into(),
        uid: metadata.uid.as_deref().filter(|_| keeps_uid(kind)).map(|uid| Box::new(uid.into())),
        labels: metadata.labels.clone().unwrap_or_default().into(),
        annotations: metadata.annotations.clone().unwrap_or_default().into(),
        creation_timestamp: metadata.creation_timestamp.as_ref().map(|time| time.0),
        generation: metadata.generation.unwrap_or_default(),
    })
}

/// Metadata with what the model keeps and nothing else.
impl From<&ObjectMeta> for meta_v1::ObjectMeta {
    fn from(metadata: &ObjectMeta) -> Self {
        let ObjectMeta {
            name,
            namespace,
            uid,
            labels,
            annotations,
            creation_timestamp,
            generation,
        } = metadata;
        Self {
            name: Some(name.to_string()),
            namespace: Some(namespace.to_string()).filter(|namespace| !namespace.is_empty()),
            uid: uid.as_ref().map(|uid| uid.to_string()),
            labels: Some((**labels).clone()).filter(|labels| !labels.is_empty()),
            annotations: Some((**annotations).clone())
                .filter(|annotations| !annotations.is_empty()),
            creation_timestamp: creation_timestamp.map(meta_v1::Time),
            generation: Some(*generation).filter(|generation| *generation != 0),
            ..Self::default()
        }
    }
}
