//! Carries a plan out at the API server.
//!
//! Objects are applied server-side. One that is not known yet is only ever made, and one that is
//! known only ever changed: whatever has the name already and is not ours stays as it is.

use std::fmt;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use futures_util::future::join_all;
use gwapi_model::Kind;
use gwapi_translate::ir::GatewayId;
use kube::api::{Api, DeleteParams, DynamicObject, ObjectMeta, Patch, PatchParams, Preconditions};
use kube::{Client, Error};
use serde_json::{Value, json};
use tracing::{debug, error, info};

use super::kind::ManagedKind;
use super::live::{Key, owned};
use super::objects::Manifest;
use super::plan::{Plan, Removal, Step};
use crate::request::in_time;
use crate::watch::api_resource;

/// Who we are to server-side apply.
pub const FIELD_MANAGER: &str = "gwapi-controller";

/// Who hands a number of pods over to an autoscaler.
const HAND_OVER_MANAGER: &str = "gwapi-controller-hand-over";

/// No object has this version: with it an object is made, and none that is there is changed.
const NO_VERSION: &str = "1";

/// What an API server says, as an error of its own, of an applied object with a field that it does
/// not know.
const UNKNOWN_FIELD: &str = "failed to create typed patch object";

/// What came of a plan.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// What was made or changed, or found to be as it has to be.
    pub(super) applied: Vec<Applied>,
    /// What was deleted.
    pub(super) deleted: Vec<Removal>,
    /// What could not be done.
    pub(super) failures: Vec<Failure>,
    /// The uid of the Gateway, if it is about to go and nothing was done for that.
    pub(super) leaving: Option<String>,
}

/// A manifest that was applied.
#[derive(Debug)]
pub(super) struct Applied {
    /// What was asked for.
    pub(super) manifest: Manifest,
    /// The object as it is now.
    pub(super) object: DynamicObject,
    /// Whether that changed it, as far as we know which version it had.
    pub(super) is_changed: bool,
}

/// An object that could not be made, changed or deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// Kind and name.
    pub(super) key: Key,
    /// Why.
    pub(super) cause: Cause,
}

/// Why something could not be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Something that is not ours has the name. It belongs to the Gateway that is named, or to none.
    Clash(Option<String>),
    /// The API server refuses what the object says.
    Invalid(String),
    /// The API server refuses us: rights or quotas.
    Forbidden(String),
    /// It may be different next time.
    Transient(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, name) = &self.key;
        match &self.cause {
            Cause::Clash(owner) => f.write_str(&clash(&[&self.key], owner.as_deref())),
            Cause::Invalid(message) => write!(f, "{kind} {name} is refused: {message}"),
            Cause::Forbidden(message) => write!(f, "{kind} {name} is forbidden: {message}"),
            Cause::Transient(message) => write!(f, "{kind} {name}: {message}"),
        }
    }
}

/// What is told of objects whose names are taken by what belongs to a Gateway, or to nobody whom we know.
pub(super) fn clash(keys: &[&Key], owner: Option<&str>) -> String {
    let names: Vec<String> = keys.iter().map(|(kind, name)| format!("{kind} {name}")).collect();
    let names = names.join(", ");
    let (are, belong, do_not, them) = if keys.len() == 1 {
        ("is", "belongs", "does", "it")
    } else {
        ("are", "belong", "do", "them")
    };
    match owner {
        Some(gateway) => format!(
            "{names} {are} there already and {belong} to Gateway {gateway}, for which the same name is \
             used; rename this Gateway or its class"
        ),
        None => format!(
            "{names} {are} there already and {do_not} not belong to this Gateway; delete or rename \
             {them}, or rename the Gateway"
        ),
    }
}

/// Whose objects are worked on.
#[derive(Clone)]
pub(super) struct Site {
    /// The way to the API server.
    pub(super) client: Client,
    /// The Gateway.
    pub(super) gateway: GatewayId,
    /// The Gateway's uid.
    pub(super) owner: String,
}

/// Waits for work, and makes an ordinary failure of a panic in it: what is looked after goes on being
/// looked after. `key` is what the failure names.
async fn contained(key: Option<Key>, work: impl Future<Output = Outcome>) -> Outcome {
    let text = match caught(work).await {
        Ok(outcome) => return outcome,
        Err(text) => text,
    };
    let cause = Cause::Transient(text);
    let failures: Vec<Failure> = key.map(|key| Failure { key, cause }).into_iter().collect();
    for failure in &failures {
        error!("{failure}; please report it");
    }
    Outcome { failures, ..Outcome::default() }
}

/// Waits for work; where it panics, tells what to say of that.
pub(super) async fn caught<T>(work: impl Future<Output = T>) -> Result<T, String> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        let text = text.unwrap_or("no reason given");
        format!("work on it ended by a bug of gwapi: {text}")
    })
}

impl Site {
    /// Carries a plan out; a panic on the way is a failure like others.
    pub(super) async fn carry_out_or_say(&self, plan: Plan) -> Outcome {
        let applied = plan.apply.iter().map(|it| (it.manifest.kind, it.manifest.name.clone()));
        let key = applied.chain(plan.delete.iter().map(|it| it.key.clone())).next();
        contained(key, self.carry_out(plan)).await
    }

    /// Carries a plan out. Pods come last, and not at all without what they mount and who they are.
    ///
    /// For a Gateway that is being deleted nothing is done. Whoever deletes it in the foreground has
    /// the garbage collector take down first what it owns, and what comes back then is in its way.
    async fn carry_out(&self, plan: Plan) -> Outcome {
        let mut outcome = Outcome::default();
        if let Some(step) = plan.apply.first() {
            match self.is_leaving().await {
                Ok(false) => {}
                Ok(true) => {
                    debug!(gateway = %self.gateway, "it is being deleted, and nothing is made for it");
                    outcome.leaving = Some(self.owner.clone());
                    return outcome;
                }
                Err(error) => {
                    let key = (step.manifest.kind, step.manifest.name.clone());
                    outcome.failures.push(Failure { key, cause: cause_of(&error) });
                    return outcome;
                }
            }
        }
        for result in join_all(plan.delete.into_iter().map(|removal| self.delete(removal))).await {
            match result {
                Ok(removal) => outcome.deleted.push(removal),
                Err(failure) => outcome.failures.push(failure),
            }
        }
        let (pods, first): (Vec<_>, Vec<_>) =
            plan.apply.into_iter().partition(|step| step.manifest.kind > ManagedKind::Service);
        outcome.take(join_all(first.into_iter().map(|step| self.apply(step))).await);
        let foundation = [ManagedKind::ServiceAccount, ManagedKind::ConfigMap];
        if outcome.failures.iter().any(|failure| foundation.contains(&failure.key.0)) {
            return outcome;
        }
        outcome.take(join_all(pods.into_iter().map(|step| self.apply(step))).await);
        outcome
    }

    fn api(&self, kind: ManagedKind) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.gateway.namespace, &kind.api_resource())
    }

    /// Whether the Gateway is being deleted, or was. Where it is not found it may be gone, or its kind may not be
    /// served for a moment: that is a failure, which ends with either.
    async fn is_leaving(&self) -> Result<bool, Error> {
        let resource = api_resource(Kind::Gateway);
        let namespace = &self.gateway.namespace;
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), namespace, &resource);
        let gateway = in_time(api.get_metadata(&self.gateway.name)).await?;
        Ok(is_leaving(&gateway.metadata, &self.owner))
    }

    async fn apply(&self, step: Step) -> Result<Applied, Failure> {
        let manifest = &step.manifest;
        let failure = |cause| Failure { key: (manifest.kind, manifest.name.clone()), cause };
        if let (Some(uid), Some(number)) = (&step.known, step.hand_over) {
            self.hand_over(&manifest.name, uid, number).await.map_err(failure)?;
        }
        let first = self.patch(&step, step.known.as_deref()).await;
        let (object, is_made) = match first {
            // There is one that we did not know of, or none any more, or another.
            Err(error) if is_conflict(&error) => {
                let known = self.look(&step).await.map_err(failure)?;
                (self.patch(&step, known.as_deref()).await, known.is_none())
            }
            other => (other, step.known.is_none()),
        };
        let object = object.map_err(|error| failure(cause_of(&error)))?;
        let (kind, name) = (manifest.kind, &manifest.name);
        let is_changed = step.version != object.metadata.resource_version;
        if is_made {
            info!(gateway = %self.gateway, "made {kind} {name}");
        } else if is_changed {
            info!(gateway = %self.gateway, "changed {kind} {name}");
        } else {
            debug!(gateway = %self.gateway, "{kind} {name} is as it has to be");
        }
        Ok(Applied { manifest: step.manifest, object, is_changed })
    }

    async fn patch(&self, step: &Step, known: Option<&str>) -> Result<DynamicObject, Error> {
        let mut object = step.manifest.object.clone();
        match known {
            Some(uid) => object["metadata"]["uid"] = json!(uid),
            None => object["metadata"]["resourceVersion"] = json!(NO_VERSION),
        }
        self.server_side_apply(step.manifest.kind, &step.manifest.name, FIELD_MANAGER, &object)
            .await
    }

    async fn server_side_apply(
        &self,
        kind: ManagedKind,
        name: &str,
        manager: &str,
        object: &Value,
    ) -> Result<DynamicObject, Error> {
        // What a patch of the user's gets wrong shall be refused, not ignored.
        let parameters = PatchParams::apply(manager).force().validation_strict();
        let api = self.api(kind);
        in_time(api.patch(name, &parameters, &Patch::Apply(object))).await
    }

    /// Has another manager ask for the number of pods before we no longer do.
    async fn hand_over(&self, name: &str, uid: &str, number: i64) -> Result<(), Cause> {
        let kind = ManagedKind::Deployment;
        let object = json!({
            "apiVersion": "apps/v1", "kind": kind.as_str(),
            "metadata": { "name": name, "uid": uid }, "spec": { "replicas": number },
        });
        let applied = self.server_side_apply(kind, name, HAND_OVER_MANAGER, &object).await;
        applied.map(|_| ()).map_err(|error| cause_of(&error))
    }

    /// The uid of the object that has the name, if it is ours; `None` if there is none.
    async fn look(&self, step: &Step) -> Result<Option<String>, Cause> {
        let api = self.api(step.manifest.kind);
        let found = in_time(api.get_opt(&step.manifest.name)).await;
        let Some(object) = found.map_err(|error| cause_of(&error))? else { return Ok(None) };
        let uid = object.metadata.uid.clone();
        let is_terminating = object.metadata.deletion_timestamp.is_some();
        match owned(object) {
            _ if is_terminating => {
                Err(Cause::Transient("the one before is still being deleted".to_owned()))
            }
            Some((_, live)) if live.owner_uid == self.owner => Ok(uid),
            Some((gateway, _)) if gateway == self.gateway => {
                Err(Cause::Transient("that of a former Gateway is still there".to_owned()))
            }
            Some((gateway, _)) => Err(Cause::Clash(Some(gateway.name.to_string()))),
            None => Err(Cause::Clash(None)),
        }
    }

    async fn delete(&self, removal: Removal) -> Result<Removal, Failure> {
        let (kind, name) = &removal.key;
        let uid = Some(removal.uid.clone());
        let preconditions = Preconditions { uid, resource_version: None };
        let parameters = DeleteParams::background().preconditions(preconditions);
        let api = self.api(*kind);
        match in_time(api.delete(name, &parameters)).await {
            Ok(_) => info!(gateway = %self.gateway, "deleted {kind} {name}"),
            // It is gone, or another one has the name.
            Err(Error::Api(status)) if matches!(status.code, 404 | 409) => {
                debug!(gateway = %self.gateway, "{kind} {name} is gone already");
            }
            Err(error) => return Err(Failure { key: removal.key, cause: cause_of(&error) }),
        }
        Ok(removal)
    }
}

impl Outcome {
    fn take(&mut self, results: Vec<Result<Applied, Failure>>) {
        for result in results {
            match result {
                Ok(applied) => self.applied.push(applied),
                Err(failure) => self.failures.push(failure),
            }
        }
    }
}

/// Whether the owner with this uid goes, or is gone: the one that has its name now may be another.
pub(super) fn is_leaving(owner: &ObjectMeta, uid: &str) -> bool {
    owner.uid.as_deref() != Some(uid) || owner.deletion_timestamp.is_some()
}

/// Whether the object was not the one that was expected. A wrong uid counts as a change of it.
fn is_conflict(error: &Error) -> bool {
    match error {
        Error::Api(status) => {
            status.code == 409 || (status.code == 422 && status.message.contains("metadata.uid"))
        }
        _ => false,
    }
}

fn cause_of(error: &Error) -> Cause {
    match error {
        Error::Api(status) => {
            let message = status.message.clone();
            match status.code {
                400 | 422 => Cause::Invalid(message),
                _ if message.starts_with(UNKNOWN_FIELD) => Cause::Invalid(message),
                401 | 403 => Cause::Forbidden(message),
                _ => Cause::Transient(message),
            }
        }
        // The causes of a failed connection are what tells.
        other => Cause::Transient(chain(other)),
    }
}

/// An error with its causes.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api_error(code: u16, message: &str) -> Error {
        let status = json!({"status": "Failure", "message": message, "reason": "", "code": code});
        Error::Api(serde_json::from_value(status).expect("a status"))
    }

    #[test]
    fn what_the_object_says_is_told_from_what_may_pass() {
        let cause = |code| cause_of(&api_error(code, "no"));
        assert_eq!(cause(422), Cause::Invalid("no".to_owned()));
        assert_eq!(cause(400), Cause::Invalid("no".to_owned()));
        let unknown =
            "failed to create typed patch object (a/b; apps/v1, Kind=Deployment): .spec.x";
        assert_eq!(cause_of(&api_error(500, unknown)), Cause::Invalid(unknown.to_owned()));
        assert_eq!(cause(403), Cause::Forbidden("no".to_owned()));
        for code in [404, 409, 429, 500, 503] {
            assert_eq!(cause(code), Cause::Transient("no".to_owned()));
        }
    }

    #[test]
    fn another_object_of_the_name_is_a_conflict() {
        assert!(is_conflict(&api_error(409, "uid mismatch")));
        assert!(is_conflict(&api_error(422, "metadata.uid: Invalid value: field is immutable")));
        assert!(!is_conflict(&api_error(422, "spec.ports: Required value")));
    }

    #[test]
    fn a_gateway_goes_when_it_is_being_deleted_or_another_one_has_its_name() {
        let gateway =
            |metadata: Value| -> ObjectMeta { serde_json::from_value(metadata).expect("metadata") };
        let stays = gateway(json!({"uid": "a", "generation": 2}));
        assert!(!is_leaving(&stays, "a"));
        let goes = json!({"uid": "a", "deletionTimestamp": "2026-01-01T00:00:00Z",
            "finalizers": ["foregroundDeletion"]});
        assert!(is_leaving(&gateway(goes), "a"));
        assert!(is_leaving(&stays, "b"), "the former one of this name");
    }

    #[tokio::test]
    async fn work_that_panics_is_a_failure_that_is_tried_again() {
        let key = (ManagedKind::Service, "web".to_owned());
        let outcome = contained(Some(key.clone()), async { panic!("index {}", 7) }).await;
        assert_eq!(outcome.failures.len(), 1);
        assert_eq!(outcome.failures[0].key, key);
        let text = outcome.failures[0].to_string();
        assert!(text.contains("Service web") && text.contains("index 7"), "{text}");
    }

    #[test]
    fn a_clash_says_what_to_do() {
        let failure = Failure {
            key: (ManagedKind::Service, "web-gwapi".to_owned()),
            cause: Cause::Clash(None),
        };
        assert_eq!(
            failure.to_string(),
            "Service web-gwapi is there already and does not belong to this Gateway; delete or rename \
             it, or rename the Gateway"
        );
        let account = (ManagedKind::ServiceAccount, "web-gwapi".to_owned());
        assert_eq!(
            clash(&[&account, &failure.key], Some("we")),
            "ServiceAccount web-gwapi, Service web-gwapi are there already and belong to Gateway we, for \
             which the same name is used; rename this Gateway or its class"
        );
    }
}
