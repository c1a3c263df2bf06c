//! Pods that XBackends select, and the Services by which they are found: the input of whoever makes such
//! Services in a cluster.
//!
//! EndpointSlices tell which pods are ready, and a cluster has them for Services alone. So the pods of an
//! XBackend are those of the Services of its namespace with the very same selector. With
//! [`AddressPolicy::Provisioned`](crate::AddressPolicy::Provisioned) somebody makes one where there is none: each
//! [`EndpointSelection`] is what has to be selected, and who makes it says
//! [why it could not](crate::Translator::set_selection_problem), which becomes status.

use std::collections::BTreeMap;

use gwapi_model::NamespacedName;
use serde::{Deserialize, Serialize};

/// The pods of an XBackend of type `EndpointSelector` that a Gateway sends to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointSelection {
    /// The XBackend.
    pub backend: NamespacedName,
    /// Which of all XBackends that ever had this name it is: what is made for it names it as its owner, and so does
    /// who says what came of it.
    pub uid: String,
    /// The labels of its pods, at least one.
    pub match_labels: BTreeMap<String, String>,
    /// The port at which pods are sent to.
    pub port: u16,
    /// The Services of the namespace with this selector by name, whoever made them, each with whether it leads to
    /// a pod, ready or not, as far as its EndpointSlices say.
    pub services: BTreeMap<String, bool>,
}
