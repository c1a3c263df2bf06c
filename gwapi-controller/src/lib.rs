//! The in-cluster half of gwapi: the types it speaks in.
//!
//! Nothing here watches an API server or writes to one yet. What is here is the shape of what it
//! will hand over: from a [`TranslationDelta`] come the [`StatusWrite`]s that an API server would
//! have to be told.
//!
//! ```
//! use gwapi_controller::{ControllerSettings, status_writes};
//! use gwapi_translate::{TranslationDelta, Translator};
//!
//! let settings = ControllerSettings::default();
//! let mut translator = Translator::new(settings.options());
//! let delta: TranslationDelta = translator.apply_all([]);
//! assert!(status_writes(&delta).is_empty());
//! ```

pub mod provision;
pub mod serve;
pub mod status;

use gwapi_model::status::Status;
use gwapi_model::{CONTROLLER_NAME, ObjectId};
use gwapi_translate::{Options, TranslationDelta};

/// What a controller is told before it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControllerSettings {
    /// GatewayClasses with this `spec.controllerName` are ours, all others are left alone (GC-1).
    pub controller_name: String,
}

impl Default for ControllerSettings {
    fn default() -> Self {
        Self { controller_name: CONTROLLER_NAME.to_owned() }
    }
}

impl ControllerSettings {
    /// The options of the translator in a cluster: only classes of ours, every port as written.
    pub fn options(&self) -> Options {
        Options { controller_name: self.controller_name.clone(), ..Options::default() }
    }
}

/// One write to the status subresource of an object.
///
/// It says what our part of the status is to be. What others wrote there stays (ST-1): merging
/// belongs to whoever has read the object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatusWrite {
    /// Our part becomes this.
    Set(ObjectId, Status),
    /// Our part goes away: the object is no longer ours to judge.
    Withdraw(ObjectId),
}

impl StatusWrite {
    /// The object it is about.
    pub fn object(&self) -> &ObjectId {
        match self {
            Self::Set(object, _) | Self::Withdraw(object) => object,
        }
    }
}

/// The writes that a change of the translation asks for, in the order of the objects. An object
/// whose status did not change is not among them (ST-3).
pub fn status_writes(delta: &TranslationDelta) -> Vec<StatusWrite> {
    delta
        .status
        .iter()
        .map(|(object, status)| match status {
            Some(status) => StatusWrite::Set(object.clone(), status.clone()),
            None => StatusWrite::Withdraw(object.clone()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use gwapi_model::Kind;
    use gwapi_model::status::GatewayClassStatus;

    use super::*;

    #[test]
    fn a_new_status_is_set_and_one_that_is_gone_is_withdrawn() {
        let kept = ObjectId::new(Kind::GatewayClass, "", "kept");
        let gone = ObjectId::new(Kind::HttpRoute, "default", "gone");
        let status = Status::GatewayClass(Box::default());
        let mut delta = TranslationDelta::default();
        delta.status.insert(gone.clone(), None);
        delta.status.insert(kept.clone(), Some(status.clone()));

        let writes = status_writes(&delta);

        assert_eq!(writes, [StatusWrite::Set(kept, status), StatusWrite::Withdraw(gone.clone())]);
        assert_eq!(writes[1].object(), &gone);
    }

    #[test]
    fn in_a_cluster_only_classes_of_ours_are_served() {
        let settings = ControllerSettings { controller_name: "example.test/mine".to_owned() };
        let options = settings.options();
        assert_eq!(options.controller_name, "example.test/mine");
        assert!(!options.any_controller);
        assert_eq!(options.port_offset, 0);
    }
}
