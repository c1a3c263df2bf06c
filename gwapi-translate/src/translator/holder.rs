//! The objects that hold listeners, and that routes attach to.

use std::fmt;

use gwapi_model::{Kind, NamespacedName, ObjectId, Resources};

use crate::ir::{GatewayId, ListenerKey};

/// A Gateway, or a ListenerSet that adds to one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Holder {
    /// The Gateway itself.
    Gateway(GatewayId),
    /// A ListenerSet.
    ListenerSet(NamespacedName),
}

impl Holder {
    /// The object that holds a listener of a Gateway.
    pub(super) fn of_listener(gateway: &GatewayId, key: &ListenerKey) -> Self {
        match key.listener_set() {
            Some(set) => Self::ListenerSet(set),
            None => Self::Gateway(gateway.clone()),
        }
    }

    /// Its kind.
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Gateway(_) => Kind::Gateway,
            Self::ListenerSet(_) => Kind::ListenerSet,
        }
    }

    /// Its namespace and name.
    pub(super) fn name(&self) -> &NamespacedName {
        match self {
            Self::Gateway(name) | Self::ListenerSet(name) => name,
        }
    }

    /// Its kind, namespace and name.
    pub(super) fn object_id(&self) -> ObjectId {
        self.name().object_id(self.kind())
    }

    /// The key of a listener of it.
    pub(super) fn key(&self, listener: &str) -> ListenerKey {
        match self {
            Self::Gateway(_) => ListenerKey::new(listener),
            Self::ListenerSet(set) => ListenerKey::of_listener_set(set, listener),
        }
    }

    /// The Gateway that its listeners are for, if it names one; it may not let them in.
    pub(super) fn gateway(&self, resources: &Resources) -> Option<GatewayId> {
        match self {
            Self::Gateway(gateway) => Some(gateway.clone()),
            Self::ListenerSet(set) => resources.listener_sets.get(set)?.gateway(),
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`", self.kind(), self.name())
    }
}
