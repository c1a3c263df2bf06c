//! Certificates of clients: what a Gateway asks of them by port, and the authorities that vouch for them
//! (TL-4 to TL-6).

use std::sync::Arc;

use gwapi_model::status::ConditionReason;
use gwapi_model::{
    FrontendTls, FrontendTlsValidation, Gateway, Kind, NamespacedName, ObjectId, ObjectReference,
    Resources,
};

use super::conditions::Problem;
use super::grants::Reference;
use super::holder::Holder;
use super::{Options, ca_certificates, syntax};
use crate::ir::{ClientValidation, ClientValidationMode};

/// The mode that asks for a certificate and lets everybody in.
const INSECURE: &str = "AllowInsecureFallback";

/// What the Gateway asks of clients of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClientValidationDraft {
    /// Where the references are, as a path into the spec.
    place: String,
    references: Vec<ObjectReference>,
    pub(super) mode: ClientValidationMode,
    /// Whether there are ClusterTrustBundles.
    has_trust_bundles: bool,
}

/// What comes of it.
pub(super) struct Resolved {
    pub(super) validation: ClientValidation,
    /// References that lead to no authority: a matter of ResolvedRefs (TL-5).
    pub(super) unresolved: Vec<Problem>,
    /// No reference is left: the listener is not accepted (TL-5).
    pub(super) refused: Option<Problem>,
}

/// What a Gateway asks of clients on a port: an entry of `perPort` replaces the default entirely (TL-4). It
/// is asked on the listeners of ListenerSets as well (LS-11).
pub(super) fn draft(
    gateway: &Gateway,
    port: u16,
    options: &Options,
) -> Option<Result<ClientValidationDraft, Problem>> {
    let frontend = gateway.spec.tls.as_ref()?.frontend.as_ref()?;
    let (place, validation) = for_port(frontend, port)?;
    let mode = match validation.mode.as_deref() {
        None | Some("AllowValidOnly") => ClientValidationMode::AllowValidOnly,
        Some(INSECURE) => ClientValidationMode::AllowInsecureFallback,
        Some(other) => {
            return Some(Err(Problem::unsupported(format!(
                "{place}.mode `{other}` is not supported; use AllowValidOnly or \
                 AllowInsecureFallback"
            ))));
        }
    };
    let references = validation.ca_certificate_refs.clone();
    let has_trust_bundles = options.cluster_trust_bundles;
    Some(Ok(ClientValidationDraft { place, references, mode, has_trust_bundles }))
}

/// TL-6: where a Gateway asks for a mode that lets clients in without a valid certificate, as paths into its
/// spec, whether a listener stands there or not.
pub(super) fn insecure(gateway: &Gateway) -> Vec<String> {
    let frontend = gateway.spec.tls.as_ref().and_then(|tls| tls.frontend.as_ref());
    let default = frontend.map(|it| (PLACE_OF_DEFAULT.to_owned(), &it.default));
    let per_port = frontend.into_iter().flat_map(|it| it.per_port.iter().enumerate());
    let per_port = per_port.map(|(index, entry)| (place_of_port(index), &entry.tls));
    let all = default.into_iter().chain(per_port);
    let insecure = all.filter(|(_, config)| {
        let mode = config.validation.as_ref().and_then(|it| it.mode.as_deref());
        mode == Some(INSECURE)
    });
    insecure.map(|(place, _)| place).collect()
}

const PLACE_OF_DEFAULT: &str = "spec.tls.frontend.default.validation";

fn place_of_port(index: usize) -> String {
    format!("spec.tls.frontend.perPort[{index}].tls.validation")
}

/// Where a port is named twice, which an API server refuses, the entry that asks for more counts.
fn for_port(frontend: &FrontendTls, port: u16) -> Option<(String, &FrontendTlsValidation)> {
    let entries = frontend.per_port.iter().enumerate();
    let mut entries = entries.filter(|(_, entry)| entry.port.get() == port).peekable();
    if entries.peek().is_none() {
        let place = PLACE_OF_DEFAULT.to_owned();
        return frontend.default.validation.as_ref().map(|validation| (place, validation));
    }
    entries.find_map(|(index, entry)| {
        let place = place_of_port(index);
        entry.tls.validation.as_ref().map(|validation| (place, validation))
    })
}

/// The ConfigMaps and ClusterTrustBundles that a Gateway names for any port, permitted or not, there or not.
pub(super) fn targets(gateway: &Gateway) -> impl Iterator<Item = ObjectId> {
    let frontend = gateway.spec.tls.as_ref().and_then(|tls| tls.frontend.as_ref());
    let configs = frontend.into_iter().flat_map(|frontend| {
        let per_port = frontend.per_port.iter().map(|entry| &entry.tls);
        std::iter::once(&frontend.default).chain(per_port)
    });
    let validations = configs.filter_map(|config| config.validation.as_ref());
    let references = validations.flat_map(|validation| &validation.ca_certificate_refs);
    references.filter_map(|reference| target(&gateway.metadata.namespace, reference))
}

impl ClientValidationDraft {
    /// The ConfigMaps that are read, there or not.
    pub(super) fn permitted_targets(
        &self,
        gateway: &Holder,
        resources: &Resources,
    ) -> impl Iterator<Item = NamespacedName> {
        let own_namespace = &gateway.name().namespace;
        let targets = self.references.iter().filter_map(|it| target(own_namespace, it));
        let config_maps = targets.filter(|it| it.kind == Kind::ConfigMap);
        config_maps
            .map(|it| it.namespaced_name())
            .filter(|to| Reference::of_holder(gateway, Kind::ConfigMap, to).is_permitted(resources))
    }

    /// Follows the references: those that are good count (TL-5).
    pub(super) fn resolve(&self, gateway: &Holder, resources: &Resources) -> Resolved {
        let mut unresolved = Vec::new();
        let mut found: Vec<Arc<str>> = Vec::new();
        for (index, reference) in self.references.iter().enumerate() {
            match self.authorities(gateway, reference, resources) {
                Ok(pem) if found.contains(&pem) => {}
                Ok(pem) => found.push(pem),
                Err(problem) => unresolved
                    .push(problem.at(format_args!("{}.caCertificateRefs[{index}]", self.place))),
            }
        }
        let refused = found.is_empty().then(|| {
            let what = match self.references.is_empty() {
                true => "names no CA certificate: add a ConfigMap or a ClusterTrustBundle to caCertificateRefs",
                false => "leads to no CA certificate, see ResolvedRefs",
            };
            Problem::new(
                ConditionReason::NoValidCACertificate,
                format!("{} {what}; until then every connection is refused", self.place),
            )
        });
        let validation = ClientValidation {
            // A file may end without the end of its last line.
            ca_certificates: found.join("\n").into(),
            mode: self.mode,
        };
        Resolved { validation, unresolved, refused }
    }

    /// Follows one reference. Whether it is granted comes first, so that the answer does not tell whether an
    /// ungranted ConfigMap exists (RG-4, RG-5); what lives in no namespace needs no grant (TL-9).
    fn authorities(
        &self,
        gateway: &Holder,
        reference: &ObjectReference,
        resources: &Resources,
    ) -> Result<Arc<str>, Problem> {
        let object = target(&gateway.name().namespace, reference);
        let object =
            ca_certificates::served(object, self.has_trust_bundles).map_err(|instead| {
                let ObjectReference { group, kind, name, .. } = reference;
                let what = syntax::kind_of_group(kind, name, group);
                Problem::new(
                    ConditionReason::InvalidCACertificateKind,
                    format!(
                        "{what} is not supported as a source of CA certificates; refer to {instead}"
                    ),
                )
            })?;
        if object.kind.is_namespaced() {
            let name = object.namespaced_name();
            Reference::of_holder(gateway, object.kind, &name).check(resources)?;
        }
        ca_certificates::read(&object, resources)
            .map_err(|message| Problem::new(ConditionReason::InvalidCACertificateRef, message))
    }
}

/// The ConfigMap or ClusterTrustBundle that a reference names; `None` where it names something else.
fn target(gateway_namespace: &str, reference: &ObjectReference) -> Option<ObjectId> {
    let ObjectReference { group, kind, name, namespace } = reference;
    let namespace = namespace.as_deref().unwrap_or(gateway_namespace);
    ca_certificates::target(namespace, group, kind, name)
}
