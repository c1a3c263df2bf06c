//! From documents to objects: what each one is, whether it is valid, and where what is wrong.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::de::{self, Context};
use super::finding::Finding;
use super::first_shape;
use super::kinds::{self, Meaning};
use super::node::{Node, Span, Value};
use super::position::Positions;
use super::quoting::quoted;
use super::tree::{Document, Documents, Fault};
use super::{ForeignObject, Located, Manifest, Problem, Severity};
use crate::validate::validate;
use crate::{
    BackendTlsPolicy, EXPERIMENTAL_GROUP, GATEWAY_GROUP, GWAPI_GROUP, Kind, NamespacedName,
    ObjectId, ObjectMeta, ParentReference, PolicyTargetReference, Resource,
};

/// Reads all documents of a text.
pub(super) fn read(source: &str, text: &str) -> Manifest {
    let mut reader = TextReader {
        text,
        source: source.into(),
        positions: Positions::new(text),
        manifest: Manifest::default(),
        seen: HashMap::new(),
        namespace: DEFAULT_NAMESPACE.into(),
        parents: Arc::default(),
        gateways: Vec::new(),
        first_shapes: Vec::new(),
    };
    for document in Documents::new(text) {
        match document {
            Ok(document) => reader.document(&document),
            Err(fault) => {
                reader.manifest.broken = true;
                reader.report(None, fault.into());
            }
        }
    }
    reader.finish()
}

struct TextReader<'t> {
    text: &'t str,
    source: Arc<str>,
    positions: Positions<'t>,
    manifest: Manifest,
    /// Where each object stood first.
    seen: HashMap<ObjectId, u32>,
    /// The namespace of the last object: the next one mostly has the same, and shares it.
    namespace: Arc<str>,
    /// What the last route attaches to: the next one mostly attaches to the same, and shares it.
    parents: Arc<[ParentReference]>,
    /// Every Gateway of the text, in any shape.
    gateways: Vec<NamespacedName>,
    /// Objects in the API's first shape, with the place of their problem. How they are written
    /// today depends on the Gateways of the whole text.
    first_shapes: Vec<(usize, Kind, Node<'t>)>,
}

/// What a list says about its items.
type Inherited<'a> = Option<(&'a str, &'a str)>;

impl<'t> TextReader<'t> {
    fn document(&mut self, document: &Document<'t>) {
        let mut faults = document.faults.clone();
        if !document.root.is_null() {
            self.any(&document.root, None, &mut faults);
        }
        // What is left is wrong outside of every object.
        for fault in faults {
            self.manifest.broken = true;
            self.report(None, fault.into());
        }
    }

    /// Reads an object or a list of objects.
    fn any(&mut self, node: &Node<'t>, inherited: Inherited<'_>, faults: &mut Vec<Fault>) {
        let (api_version, kind) = match type_of(node, inherited) {
            Ok(type_of) => type_of,
            Err(finding) => {
                self.manifest.broken = true;
                return self.report(None, finding);
            }
        };
        match kind.strip_suffix("List") {
            Some("") => self.list(node, None, faults),
            Some(item) if node.entry("items").is_some() => {
                self.list(node, Some((api_version, item)), faults);
            }
            _ => {
                let faults = faults.extract_if(.., |fault| node.span.holds(fault.span)).collect();
                self.object(node, api_version, kind, faults);
            }
        }
    }

    fn list(&mut self, node: &Node<'t>, inherited: Inherited<'_>, faults: &mut Vec<Fault>) {
        match node.get("items").map(|items| (items, items.items())) {
            None => {}
            Some((_, Some(items))) => {
                for item in items {
                    self.any(item, inherited, faults);
                }
            }
            Some((items, None)) => {
                self.manifest.broken = true;
                let finding = Finding::error(items.span, "expected a list of objects");
                self.report(None, finding.field("items"));
            }
        }
    }

    fn object(&mut self, node: &Node<'t>, api_version: &str, kind: &str, faults: Vec<Fault>) {
        match kinds::meaning(api_version, kind) {
            Meaning::Served { kind, is_old } => {
                self.served(node, kind, is_old, api_version, faults)
            }
            Meaning::FirstShape(shown) => self.first_shape(node, shown, api_version),
            Meaning::Mistake { field, message, help } => {
                self.manifest.broken = true;
                let span = node.get(field).unwrap_or(node).span;
                self.report(None, Finding::error(span, message).field(field).help(help));
                if kind.eq_ignore_ascii_case(Kind::BackendTlsPolicy.as_str())
                    && let Some(id) = self.identity(node, Kind::BackendTlsPolicy)
                {
                    self.stand_in(node, &id);
                }
            }
            Meaning::Foreign => {
                for fault in faults {
                    let finding = Finding { severity: Severity::Warning, ..fault.into() };
                    self.report(None, finding);
                }
                let name = node.find(&["metadata", "name"]).and_then(Node::text);
                self.manifest.foreign.push(ForeignObject {
                    api_version: api_version.to_owned(),
                    kind: kind.to_owned(),
                    name: name.unwrap_or_default().to_owned(),
                    position: self.positions.at(node.span.start),
                });
            }
        }
    }

    /// Reads an object of a kind that gwapi serves.
    fn served(
        &mut self,
        node: &Node<'t>,
        kind: Kind,
        is_old: bool,
        api_version: &str,
        faults: Vec<Fault>,
    ) {
        let id = self.identity(node, kind);
        if let Some(id) = &id
            && self.is_duplicate(node, id)
        {
            return;
        }
        if let (Kind::Gateway, Some(id)) = (kind, &id) {
            self.gateways.push(id.namespaced_name());
        }
        let mut findings: Vec<Finding> = faults.into_iter().map(Finding::from).collect();
        if is_old {
            findings.push(old_version(node, kind, api_version));
        }
        findings.extend(needless_namespace(node, kind));
        let resource = self.typed(node, kind, id.as_ref(), &mut findings);
        let is_refused = findings.iter().any(|finding| finding.severity == Severity::Error);
        for finding in findings {
            self.report(id.as_ref(), finding);
        }
        match (resource, id) {
            (Some(resource), Some(_)) if !is_refused => {
                let position = self.positions.at(node.span.start);
                self.manifest.objects.push(Located { resource, position });
            }
            (_, Some(id)) => {
                self.stand_in(node, &id);
                self.manifest.refused.push(id);
            }
            (_, None) => self.manifest.broken = true,
        }
    }

    /// Lets something stand in for an object that must not be passed over, if it is one.
    fn stand_in(&mut self, node: &Node<'t>, id: &ObjectId) {
        if id.kind != Kind::BackendTlsPolicy {
            return;
        }
        let Some(targets) = node.find(&["spec", "targetRefs"]).and_then(Node::items) else {
            return;
        };
        let text = |node: &Node<'_>| node.text().map(str::to_owned);
        let targets = targets.iter().filter_map(|target| {
            PolicyTargetReference::legible(|field| target.get(field).and_then(text))
        });
        let created = node.find(&["metadata", "creationTimestamp"]).and_then(Node::text);
        let NamespacedName { namespace, name } = id.namespaced_name();
        let metadata = ObjectMeta {
            name,
            namespace,
            creation_timestamp: created.and_then(|created| created.parse().ok()),
            generation: 1,
            ..ObjectMeta::default()
        };
        if let Some(policy) = BackendTlsPolicy::unsatisfiable(metadata, targets) {
            let position = self.positions.at(node.span.start);
            self.manifest.stand_ins.push(Located { resource: policy.into(), position });
        }
    }

    /// Which object this is, where its name is plain.
    fn identity(&mut self, node: &Node<'_>, kind: Kind) -> Option<ObjectId> {
        let metadata = node.get("metadata")?;
        let name = metadata.get("name")?.text()?;
        let namespace = match metadata.get("namespace") {
            _ if !kind.is_namespaced() => "",
            None => DEFAULT_NAMESPACE,
            Some(namespace) => match namespace.text()? {
                "" => DEFAULT_NAMESPACE,
                namespace => namespace,
            },
        };
        if *self.namespace != *namespace {
            self.namespace = namespace.into();
        }
        Some(ObjectId::new(kind, self.namespace.clone(), name))
    }

    /// Reports an object that the text had before; that one stays.
    fn is_duplicate(&mut self, node: &Node<'t>, id: &ObjectId) -> bool {
        let Some(first) = self.seen.get(id) else {
            self.seen.insert(id.clone(), node.span.start);
            return false;
        };
        let first = self.positions.at(*first);
        let span = node.find(&["metadata", "name"]).unwrap_or(node).span;
        let help = format!(
            "remove one of the two: the first one starts at line {}, column {}, and counts",
            first.line, first.column
        );
        let finding = Finding::error(span, "this object stands twice in the text").help(help);
        self.report(Some(id), finding);
        true
    }

    /// The typed object with its defaults, as far as it can be read; adds what is wrong with it.
    fn typed(
        &mut self,
        node: &Node<'t>,
        kind: Kind,
        id: Option<&ObjectId>,
        findings: &mut Vec<Finding>,
    ) -> Option<Resource> {
        let context = Context {
            text: self.text,
            strict: matches!(kind.group(), GATEWAY_GROUP | EXPERIMENTAL_GROUP | GWAPI_GROUP),
            redact: kind == Kind::Secret,
        };
        let mut resource = resource(kind, node, &context, findings)?;
        let metadata = resource.metadata_mut();
        // Namespace `default` where none is written, and none where none belongs.
        if let Some(id) = id {
            metadata.namespace = id.namespace.clone();
            metadata.name = id.name.clone();
        }
        if metadata.generation == 0 {
            metadata.generation = 1;
        }
        if let Some(parents) = resource.parent_refs_mut() {
            if **parents == *self.parents {
                parents.clone_from(&self.parents);
            } else {
                self.parents.clone_from(parents);
            }
        }
        let violations = validate(&resource).into_iter();
        findings.extend(violations.map(|violation| Finding::located(violation, node)));
        Some(resource)
    }

    fn first_shape(&mut self, node: &Node<'t>, shown: Option<Kind>, api_version: &str) {
        let id = shown.and_then(|kind| self.identity(node, kind));
        let span = node.get("apiVersion").unwrap_or(node).span;
        let message = format!(
            "{} is the first shape of the Gateway API, which is no longer read",
            quoted(api_version)
        );
        let help = "write it as `gateway.networking.k8s.io/v1`: routes name their Gateways in \
                    `parentRefs` and their backends in `backendRefs`";
        self.report(id.as_ref(), Finding::error(span, message).field("apiVersion").help(help));
        let Some(kind) = shown else { return };
        self.first_shapes.push((self.manifest.problems.len() - 1, kind, node.clone()));
        match id {
            Some(id) => {
                if kind == Kind::Gateway {
                    self.gateways.push(id.namespaced_name());
                }
                self.manifest.refused.push(id);
            }
            None => self.manifest.broken = true,
        }
    }

    fn report(&mut self, object: Option<&ObjectId>, finding: Finding) {
        let span = first_line(self.text, finding.span);
        let field = (!finding.field.0.is_empty()).then(|| finding.field.to_string());
        self.manifest.problems.push(Problem {
            severity: finding.severity,
            source: Arc::clone(&self.source),
            position: Some(self.positions.at(finding.span.start)),
            span,
            object: object.cloned(),
            field,
            message: finding.message,
            help: finding.help,
        });
    }

    fn finish(mut self) -> Manifest {
        for (problem, kind, node) in &self.first_shapes {
            if let Some(text) = first_shape::today(node, *kind, &self.gateways) {
                self.manifest.problems[*problem].help = Some(text);
            }
        }
        if !self.first_shapes.is_empty() {
            // An object that is there in both shapes is there.
            let taken: HashSet<ObjectId> =
                self.manifest.objects.iter().map(|object| object.resource.id()).collect();
            self.manifest.refused.retain(|id| !taken.contains(id));
        }
        self.manifest.problems.sort_by_key(|problem| problem.span.start);
        self.manifest
    }
}

/// Namespace of objects that name none.
pub(super) const DEFAULT_NAMESPACE: &str = "default";

/// `apiVersion` and `kind`, the object's own before those of its list.
fn type_of<'a>(
    node: &'a Node<'_>,
    inherited: Inherited<'a>,
) -> Result<(&'a str, &'a str), Finding> {
    let what_to_do = "an object begins with `apiVersion`, `kind` and `metadata`";
    if node.entries().is_none() {
        let found = match &node.value {
            Value::Seq(_) => "a list",
            _ => "a single value",
        };
        let help = match &node.value {
            Value::Seq(_) => {
                "write objects as documents with `---` between them, or as `items` of `kind: List`"
            }
            _ => what_to_do,
        };
        let message = format!("expected a Kubernetes object, found {found}");
        return Err(Finding::error(node.span, message).help(help));
    }
    let field = |name: &str, inherited: Option<&'a str>| match node.get(name) {
        Some(value) => value.text().filter(|text| !text.is_empty()).ok_or_else(|| {
            Finding::error(value.span, "expected a string").field(name).help(what_to_do)
        }),
        None => inherited.ok_or_else(|| {
            let message = format!("missing field `{name}`: this is no Kubernetes object");
            Finding::error(node.span, message).help(what_to_do)
        }),
    };
    let kind = field("kind", inherited.map(|(_, kind)| kind))?;
    let api_version = field("apiVersion", inherited.map(|(api_version, _)| api_version))?;
    Ok((api_version, kind))
}

/// A warning for a namespace where none belongs.
fn needless_namespace(node: &Node<'_>, kind: Kind) -> Option<Finding> {
    let namespace = node.find(&["metadata", "namespace"])?;
    if kind.is_namespaced() || namespace.text() == Some("") {
        return None;
    }
    let finding = Finding::warning(namespace.span, format!("a {kind} lives in no namespace"));
    Some(finding.field("metadata.namespace").help("remove `namespace`"))
}

fn old_version(node: &Node<'_>, kind: Kind, api_version: &str) -> Finding {
    let span = node.get("apiVersion").unwrap_or(node).span;
    let is_gone = kinds::is_gone(kind, api_version);
    let gone = if is_gone { " that clusters no longer serve" } else { "" };
    let message = format!(
        "{} is an old version{gone}, read as `{}`",
        quoted(api_version),
        kind.api_version()
    );
    Finding::warning(span, message)
        .field("apiVersion")
        .help(format!("write `apiVersion: {}`", kind.api_version()))
}

/// Reads an object of the given kind.
fn resource(
    kind: Kind,
    node: &Node<'_>,
    context: &Context<'_>,
    findings: &mut Vec<Finding>,
) -> Option<Resource> {
    fn read<T: DeserializeOwned + Into<Resource>>(
        node: &Node<'_>,
        context: &Context<'_>,
        findings: &mut Vec<Finding>,
    ) -> Option<Resource> {
        de::read::<T>(node, context, findings).map(Into::into)
    }
    let read = match kind {
        Kind::GatewayClass => read::<crate::GatewayClass>,
        Kind::Gateway => read::<crate::Gateway>,
        Kind::ListenerSet => read::<crate::ListenerSet>,
        Kind::HttpRoute => read::<crate::HttpRoute>,
        Kind::GrpcRoute => read::<crate::GrpcRoute>,
        Kind::TlsRoute => read::<crate::TlsRoute>,
        Kind::TcpRoute => read::<crate::TcpRoute>,
        Kind::UdpRoute => read::<crate::UdpRoute>,
        Kind::BackendTlsPolicy => read::<crate::BackendTlsPolicy>,
        Kind::XBackend => read::<crate::XBackend>,
        Kind::BackendTrafficPolicy => read::<crate::BackendTrafficPolicy>,
        Kind::TelemetryPolicy => read::<crate::TelemetryPolicy>,
        Kind::ReferenceGrant => read::<crate::ReferenceGrant>,
        Kind::GatewayParameters => read::<crate::GatewayParameters>,
        Kind::Namespace => read::<crate::Namespace>,
        Kind::Service => read::<crate::Service>,
        Kind::EndpointSlice => read::<crate::EndpointSlice>,
        Kind::Endpoints => read::<crate::Endpoints>,
        Kind::Secret => read::<crate::Secret>,
        Kind::ConfigMap => read::<crate::ConfigMap>,
        Kind::ClusterTrustBundle => read::<crate::ClusterTrustBundle>,
    };
    read(node, context, findings)
}

/// The part of a span that stands on its first line.
fn first_line(text: &str, span: Span) -> std::ops::Range<usize> {
    let start = text.floor_char_boundary(span.start as usize);
    let end = text.floor_char_boundary(span.end as usize).max(start);
    let line = text[start..end].lines().next().unwrap_or_default().trim_end();
    start..start + line.len()
}
