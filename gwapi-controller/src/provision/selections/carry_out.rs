//! Carries a plan out at the API server.

use futures_util::future::join_all;
use gwapi_model::{Kind, NamespacedName};
use kube::api::{
    Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, Preconditions,
};
use kube::{Client, Error};
use tracing::{debug, error, info};

use super::super::apply::{FIELD_MANAGER, caught, chain, is_leaving};
use super::super::kind::ManagedKind;
use super::super::live::owner_of_kind;
use super::super::objects::Manifest;
use super::super::plan::{Plan, Removal, Step};
use super::plan::{name, patch};
use super::service::selector_of;
use crate::request::in_time;
use crate::watch::api_resource;

/// What came of a plan.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// The manifest that was applied, and the Service as it is now.
    pub(super) applied: Option<(Manifest, DynamicObject)>,
    /// Services that are there and were not known, or not so.
    pub(super) found: Vec<DynamicObject>,
    /// Services that are no longer there.
    pub(super) gone: Vec<Removal>,
    /// Services that were deleted, and are gone or will be.
    pub(super) deleted: Vec<Removal>,
    /// What could not be done, if anything.
    pub(super) failure: Option<String>,
    /// The uid of the XBackend, if it is about to go and nothing was made for that.
    pub(super) leaving: Option<String>,
}

/// For which XBackend work is done.
pub(super) struct Site {
    /// The way to the API server.
    pub(super) client: Client,
    /// The XBackend.
    pub(super) backend: NamespacedName,
    /// Its uid; empty where nothing has to be there.
    pub(super) uid: String,
}

impl Site {
    /// Carries a plan out; a panic on the way is a failure like others.
    pub(super) async fn carry_out_or_say(&self, plan: Plan) -> Outcome {
        caught(self.carry_out(plan)).await.unwrap_or_else(|failure| {
            error!(backend = %self.backend, "{failure}; please report it");
            Outcome { failure: Some(failure), ..Outcome::default() }
        })
    }

    async fn carry_out(&self, plan: Plan) -> Outcome {
        let mut outcome = Outcome::default();
        for result in join_all(plan.delete.into_iter().map(|removal| self.delete(removal))).await {
            match result {
                Ok(removal) => outcome.deleted.push(removal),
                Err(failure) => outcome.failure = Some(failure),
            }
        }
        for step in plan.apply {
            if let Err(error) = self.apply(&step, &mut outcome).await {
                outcome.failure = Some(told(&error, &step.manifest.name));
            }
        }
        outcome
    }

    /// Makes or changes a Service. For an XBackend that is being deleted, or has a successor, nothing is done: what
    /// it owns goes with it.
    async fn apply(&self, step: &Step, outcome: &mut Outcome) -> Result<(), Error> {
        let resource = api_resource(Kind::XBackend);
        let namespace = &self.backend.namespace;
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), namespace, &resource);
        let backend = in_time(api.get_metadata(&self.backend.name)).await?;
        if is_leaving(&backend.metadata, &self.uid) {
            debug!(backend = %self.backend, "it is being deleted, and nothing is made for it");
            outcome.leaving = Some(self.uid.clone());
            return Ok(());
        }
        match name(step) {
            None => self.make(step, outcome).await,
            Some(name) => self.change(step, name, outcome).await,
        }
    }

    /// Makes a Service, unless there is one: the answer to an earlier request may have been lost, and a former
    /// leader may have made one that no watch has told of yet.
    async fn make(&self, step: &Step, outcome: &mut Outcome) -> Result<(), Error> {
        let api = self.services();
        let selected = ListParams::default().labels(&selector_of(&step.manifest));
        let listed = in_time(api.list(&selected)).await?.items;
        let known = listed.into_iter().filter(|object| self.is_ours(object));
        outcome.found.extend(known);
        if !outcome.found.is_empty() {
            return Ok(());
        }
        let object = serde_json::from_value(step.manifest.object.clone());
        let object: DynamicObject = object.map_err(Error::SerdeError)?;
        let parameters =
            PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let made = in_time(api.create(&parameters, &object)).await?;
        let service = made.metadata.name.as_deref().unwrap_or_default();
        info!(backend = %self.backend, "made Service {service}");
        outcome.applied = Some((step.manifest.clone(), made));
        Ok(())
    }

    /// Makes a Service what it has to be. It is looked at first: what is no longer ours stays as it is.
    async fn change(&self, step: &Step, name: &str, outcome: &mut Outcome) -> Result<(), Error> {
        let api = self.services();
        let uid = step.known.clone().unwrap_or_default();
        let Some(found) = in_time(api.get_opt(name)).await? else {
            outcome.gone.push(Removal { key: (ManagedKind::Service, name.to_owned()), uid });
            return Ok(());
        };
        if found.metadata.uid.as_ref() != Some(&uid) || !self.is_ours(&found) {
            outcome.found.push(found);
            return Ok(());
        }
        let live = serde_json::to_value(&found).map_err(Error::SerdeError)?;
        let patch = Patch::Merge(patch(&step.manifest.object, &live));
        let manager = Some(FIELD_MANAGER.to_owned());
        let parameters = PatchParams { field_manager: manager, ..PatchParams::default() };
        let changed = in_time(api.patch(name, &parameters, &patch)).await?;
        info!(backend = %self.backend, "changed Service {name}");
        outcome.applied = Some((step.manifest.clone(), changed));
        Ok(())
    }

    /// Whether a Service was made for this XBackend, and stays.
    fn is_ours(&self, object: &DynamicObject) -> bool {
        let owner = owner_of_kind(Kind::XBackend, &object.metadata);
        owner.is_some_and(|owner| owner.uid == self.uid)
            && object.metadata.deletion_timestamp.is_none()
    }

    async fn delete(&self, removal: Removal) -> Result<Removal, String> {
        let name = &removal.key.1;
        let uid = Some(removal.uid.clone());
        let preconditions = Preconditions { uid, resource_version: None };
        let parameters = DeleteParams::background().preconditions(preconditions);
        match in_time(self.services().delete(name, &parameters)).await {
            Ok(_) => info!(backend = %self.backend, "deleted Service {name}"),
            // It is gone, or another one has the name.
            Err(Error::Api(status)) if matches!(status.code, 404 | 409) => {
                debug!(backend = %self.backend, "Service {name} is gone already");
            }
            Err(error) => return Err(told(&error, name)),
        }
        Ok(removal)
    }

    fn services(&self) -> Api<DynamicObject> {
        let resource = ManagedKind::Service.api_resource();
        Api::namespaced_with(self.client.clone(), &self.backend.namespace, &resource)
    }
}

/// Characters that the API server makes up for a name.
const GENERATED: usize = 5;

/// What is told of an error. A name that was generated for an object that came to nothing is another one each time,
/// which is no news: it is told as what it begins with, whoever names it.
fn told(error: &Error, prefix: &str) -> String {
    let Error::Api(status) = error else { return chain(error) };
    let mut parts = status.message.split(prefix);
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let is_made_up = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let length = part.find(|c| !is_made_up(c)).unwrap_or(part.len());
        text.push_str(prefix);
        text.push_str(if length == GENERATED { &part[length..] } else { part });
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_generated_name_is_no_news() {
        let told = |message: &str| {
            let status = json!({"status": "Failure", "code": 403, "message": message});
            let error = Error::Api(serde_json::from_value(status).expect("a status"));
            told(&error, "pods-")
        };
        for name in ["pods-x7k2p", "pods-b9m4q", "pods-"] {
            let quota = format!("services \"{name}\" is forbidden: exceeded quota");
            assert_eq!(told(&quota), "services \"pods-\" is forbidden: exceeded quota");
            let webhook = format!("denied: Service/shop/{name} was blocked ({name})");
            assert_eq!(told(&webhook), "denied: Service/shop/pods- was blocked (pods-)");
        }
        let others = "\"others\" and pods-of-others are not looked at";
        assert_eq!(told(others), others);
    }
}
