//! The Service that parameters name as one of the user's, and whether it leads to the Gateway.

use gwapi_model::ServiceType;
use gwapi_translate::infrastructure::GatewayInfrastructure;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde_json::Value;

use super::kind::ManagedKind;
use super::live::{LiveObjects, owner};
use super::objects::{CONTROLLER_LABEL, MANAGED_BY, MANAGED_BY_LABEL};

/// What has the name that parameters give as that of a Service of the user's.
///
/// Only one that can be used takes the place of what was made before: a name with a typo in it shall not
/// cost the Gateway its addresses.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Existing<'a> {
    /// It has not been looked up yet.
    Unknown,
    /// There is none.
    Missing,
    /// It is being deleted, and its addresses with it.
    Leaving,
    /// It was made for this very Gateway: it would be the user's to keep and ours to remove.
    Own,
    /// It was made for the Gateway of this name: it leads to the pods of that one, and goes with it.
    Anothers(String),
    /// It is of type ExternalName and leads to no pods.
    External,
    /// It can be used.
    Usable(&'a Value),
}

impl<'a> Existing<'a> {
    /// The Service, where the Gateway is reached at its addresses, and not at those of nodes.
    pub(super) fn with_address(&self) -> Option<&'a Value> {
        match self {
            Self::Usable(service) if service["spec"]["type"] != ServiceType::NodePort.as_str() => {
                Some(service)
            }
            _ => None,
        }
    }
}

/// What `found` is to a Gateway; nothing is found until it was looked up, and `Some(None)` where there is
/// none. `None` where the parameters name no Service.
pub(super) fn existing<'a>(
    wanted: &GatewayInfrastructure,
    live: &LiveObjects,
    found: Option<Option<&'a Value>>,
) -> Option<Existing<'a>> {
    let name = wanted.parameters.service.existing_service.as_ref()?;
    let named = live.get(&(ManagedKind::Service, name.clone()));
    if named.is_some_and(|it| it.is_of(&wanted.uid)) {
        return Some(Existing::Own);
    }
    Some(match found {
        None => Existing::Unknown,
        Some(None) => Existing::Missing,
        Some(Some(service)) if service["metadata"]["deletionTimestamp"].is_string() => {
            Existing::Leaving
        }
        Some(Some(service)) => match made_for(service) {
            Some(gateway) => Existing::Anothers(gateway),
            None if service["spec"]["type"] == ServiceType::ExternalName.as_str() => {
                Existing::External
            }
            None => Existing::Usable(service),
        },
    })
}

/// The Gateway that a Service was made for by gwapi, whichever of its controllers it was. One that
/// a user gives to a Gateway is still the user's.
fn made_for(service: &Value) -> Option<String> {
    let metadata = ObjectMeta::deserialize(&service["metadata"]).ok()?;
    let labels = metadata.labels.as_ref()?;
    let is_ours = labels.get(MANAGED_BY_LABEL).is_some_and(|it| it == MANAGED_BY)
        && labels.contains_key(CONTROLLER_LABEL);
    owner(&metadata).filter(|_| is_ours).map(|gateway| gateway.name.clone())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::live::Live;
    use super::super::testing::wanted;
    use super::*;

    #[test]
    fn a_service_of_ours_is_not_the_users_unless_it_was_made_for_a_former_gateway() {
        let mut wanted = wanted();
        let key = (ManagedKind::Service, "web-gwapi".to_owned());
        let live = |owner: &str| {
            let live = Live {
                uid: "of-service".to_owned(),
                owner_uid: owner.to_owned(),
                is_terminating: false,
                object: Value::Null,
            };
            LiveObjects::from([(key.clone(), Arc::new(live))])
        };
        assert_eq!(existing(&wanted, &live(&wanted.uid), Some(None)), None, "none is named");
        wanted.parameters.service.existing_service = Some("web-gwapi".to_owned());
        assert_eq!(existing(&wanted, &live(&wanted.uid), Some(None)), Some(Existing::Own));
        assert_eq!(existing(&wanted, &live("former"), Some(None)), Some(Existing::Missing));
        assert_eq!(existing(&wanted, &LiveObjects::new(), None), Some(Existing::Unknown));
    }
}
