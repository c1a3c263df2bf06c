//! Secrets, by hand: their data never takes the way through JSON, and no error shows it.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1 as core_v1;
use serde_json::Value;

use super::{ConversionError, metadata};
use crate::{Kind, Resource, Secret, SecretBytes};

/// Reads a Secret; the parser's message is replaced, since it may quote what it could not read.
pub(super) fn from_json(object: Value) -> Result<Resource, ConversionError> {
    serde_json::from_value::<Secret>(object).map(Into::into).map_err(|_| {
        ConversionError::Unreadable {
            kind: Kind::Secret,
            source: serde::de::Error::custom("expected a name, and data in base64"),
        }
    })
}

impl TryFrom<&core_v1::Secret> for Secret {
    type Error = ConversionError;

    fn try_from(secret: &core_v1::Secret) -> Result<Self, ConversionError> {
        let mut data: BTreeMap<String, SecretBytes> = BTreeMap::new();
        for (key, ByteString(bytes)) in secret.data.iter().flatten() {
            data.insert(key.clone(), SecretBytes::new(bytes.clone()));
        }
        // An API server lets `stringData` win; it never sends any.
        for (key, text) in secret.string_data.iter().flatten() {
            data.insert(key.clone(), SecretBytes::new(text.clone().into_bytes()));
        }
        Ok(Self {
            metadata: metadata::into_model(Kind::Secret, &secret.metadata)?,
            secret_type: secret.type_.clone(),
            data,
        })
    }
}

impl TryFrom<core_v1::Secret> for Secret {
    type Error = ConversionError;

    fn try_from(secret: core_v1::Secret) -> Result<Self, ConversionError> {
        Self::try_from(&secret)
    }
}

impl From<&Secret> for core_v1::Secret {
    fn from(secret: &Secret) -> Self {
        let data: BTreeMap<String, ByteString> = secret
            .data
            .iter()
            .map(|(key, bytes)| (key.clone(), ByteString(bytes.expose().to_vec())))
            .collect();
        Self {
            metadata: (&secret.metadata).into(),
            type_: secret.secret_type.clone(),
            data: Some(data).filter(|data| !data.is_empty()),
            ..Self::default()
        }
    }
}

impl From<Secret> for core_v1::Secret {
    fn from(secret: Secret) -> Self {
        Self::from(&secret)
    }
}
