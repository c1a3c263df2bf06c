//! How the timeouts of a rule are written: all of them, whether the rule has any or not.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::HttpTimeouts;

const NONE: HttpTimeouts = HttpTimeouts { request: None, backend_request: None };

pub(super) fn serialize<S: Serializer>(
    timeouts: &Option<Box<HttpTimeouts>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    timeouts.as_deref().unwrap_or(&NONE).serialize(serializer)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Box<HttpTimeouts>>, D::Error> {
    let timeouts = HttpTimeouts::deserialize(deserializer)?;
    Ok((timeouts != NONE).then(|| Box::new(timeouts)))
}
