//! Resources in, configuration and status out.

use std::collections::BTreeMap;
use std::net::IpAddr;

use gwapi_model::status::Status;
use gwapi_model::{CONTROLLER_NAME, ObjectId, ResourceEvent, Resources};

use crate::ir::{CertificateKey, ConfigDelta, GatewayConfig, GatewayId, ListenerKey};

/// What translation depends on besides the resources.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The controller's name: written into route status, and compared with
    /// `spec.controllerName` of GatewayClasses (GC-1).
    pub controller_name: String,
    /// Serve every GatewayClass, whatever its controller: for a folder of manifests written for
    /// another implementation.
    pub any_controller: bool,
    /// Added to the port of every listener; sums over 65535 are conditions.
    pub port_offset: u16,
    /// Addresses of Gateways that ask for none (AD-5).
    pub addresses: AddressPolicy,
    /// Route to Services of type ExternalName (HB-7).
    pub allow_external_name: bool,
}

/// Which addresses a Gateway without `spec.addresses` gets.
#[derive(Clone, Debug, PartialEq)]
pub enum AddressPolicy {
    /// All the same ones.
    Shared(Vec<IpAddr>),
    /// One of its own, by the table; a Gateway that is not in it has no address
    /// (`AddressNotAssigned`).
    Assigned(BTreeMap<GatewayId, IpAddr>),
}

impl Default for Options {
    fn default() -> Self {
        Self {
            controller_name: CONTROLLER_NAME.to_owned(),
            any_controller: false,
            port_offset: 0,
            addresses: AddressPolicy::Shared(vec![IpAddr::from([0, 0, 0, 0])]),
            allow_external_name: false,
        }
    }
}

/// What the data plane said about a Gateway's configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Feedback {
    /// Listeners whose port or address could not be bound, with the reason (GW-9).
    pub unbound: BTreeMap<ListenerKey, String>,
    /// Certificates that could not be used, with the reason (TL-1).
    pub rejected_certificates: BTreeMap<CertificateKey, String>,
}

/// The result of translation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Translation {
    /// What each Gateway serves. A Gateway that is ours is here even when it serves nothing.
    pub config: BTreeMap<GatewayId, GatewayConfig>,
    /// Status of every object that is ours.
    pub status: BTreeMap<ObjectId, Status>,
}

/// What changed in a [`Translation`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TranslationDelta {
    /// Per Gateway, what it serves from now on; never empty deltas, save for a new Gateway that
    /// serves nothing yet.
    pub config: BTreeMap<GatewayId, ConfigDelta>,
    /// Gateways that are no longer served at all.
    pub removed_gateways: Vec<GatewayId>,
    /// New status; `None` where we have nothing to say about the object any more.
    pub status: BTreeMap<ObjectId, Option<Status>>,
}

impl TranslationDelta {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.config.is_empty() && self.removed_gateways.is_empty() && self.status.is_empty()
    }
}

impl Translation {
    /// Applies a delta.
    pub fn apply(&mut self, delta: &TranslationDelta) {
        for gateway in &delta.removed_gateways {
            self.config.remove(gateway);
        }
        for (gateway, change) in &delta.config {
            self.config.entry(gateway.clone()).or_default().apply(change);
        }
        for (id, status) in &delta.status {
            match status {
                Some(status) => self.status.insert(id.clone(), status.clone()),
                None => self.status.remove(id),
            };
        }
    }
}

/// Translates everything at once: the definition of what translation means.
pub fn translate(resources: &Resources, options: &Options) -> Translation {
    let mut translator = Translator::new(options.clone());
    let _ = translator.apply_all(std::iter::empty());
    let _ = resources;
    translator.translation().clone()
}

/// Translates event by event; the cost of an event grows with what it touches.
#[derive(Clone, Debug)]
pub struct Translator {
    options: Options,
    resources: Resources,
    translation: Translation,
}

impl Translator {
    /// A translator that knows no resource yet.
    pub fn new(options: Options) -> Self {
        Self { options, resources: Resources::default(), translation: Translation::default() }
    }

    /// Applies one event.
    pub fn apply(&mut self, event: ResourceEvent) -> TranslationDelta {
        self.apply_all([event])
    }

    /// Applies several events as one change: nothing in between is ever visible.
    pub fn apply_all(&mut self, events: impl IntoIterator<Item = ResourceEvent>) -> TranslationDelta {
        for event in events {
            self.resources.apply(event);
        }
        TranslationDelta::default()
    }

    /// Takes in what the data plane said about a Gateway; status and configuration follow.
    pub fn set_feedback(&mut self, gateway: &GatewayId, feedback: Feedback) -> TranslationDelta {
        let _ = (gateway, feedback);
        TranslationDelta::default()
    }

    /// Replaces the options.
    pub fn set_options(&mut self, options: Options) -> TranslationDelta {
        self.options = options;
        TranslationDelta::default()
    }

    /// The options.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The ground state.
    pub fn resources(&self) -> &Resources {
        &self.resources
    }

    /// The current result.
    pub fn translation(&self) -> &Translation {
        &self.translation
    }
}
