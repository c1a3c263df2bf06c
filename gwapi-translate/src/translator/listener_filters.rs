//! Filters of listeners, which run before routes are matched (LF-1 to LF-7).
//!
//! As those of rules they are honoured or refused, never passed over: a listener whose filters cannot be
//! honoured answers 500, and no other one answers for its hosts.

use gwapi_model::status::ConditionReason;
use gwapi_model::{
    BackendName, BackendObjectReference, Kind, Listener, ListenerFilter as Written,
    ListenerFilterType as Type, LocalObjectReference, NamespacedName, Port, Resources, RouteKind,
};

use super::backend::{BackendFacts, Purpose, ServicePort};
use super::conditions::Problem;
use super::filters::Asked;
use super::grants::Reference;
use super::holder::Holder;
use super::{external_auth, rule, syntax};
use crate::ir::{BackendTarget, ExternalAuth, ListenerFilter};

/// A filter as the spec alone lets us judge it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FilterDraft {
    /// Place in the list, which messages name (LF-7).
    index: usize,
    what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    /// Asks a service. Where the reference leads is not known yet.
    Ask(Box<ExternalAuth>, BackendObjectReference, Purpose),
    /// None is known (LF-7).
    Extension(Option<LocalObjectReference>),
}

/// What a listener asks for, and why some of it cannot be honoured (LF-2).
pub(super) fn draft(listener: &Listener) -> (Vec<FilterDraft>, Vec<Problem>) {
    let mut problems = Vec::new();
    let written = listener.filters.iter().flat_map(|filters| &filters.requests);
    let drafts = written.enumerate().filter_map(|(index, filter)| {
        let what = judge(filter).map_err(|problem| problems.push(problem.at(place(index))));
        Some(FilterDraft { index, what: what.ok()? })
    });
    (drafts.collect(), problems)
}

fn place(index: usize) -> String {
    format!("filters.requests[{index}]")
}

fn judge(filter: &Written) -> Result<What, Problem> {
    match &filter.filter_type {
        Type::ExternalAuth => {
            let written = filter.external_auth.as_deref();
            let written = written.ok_or_else(|| Problem::unsupported("externalAuth is not set"))?;
            let mut purpose = Purpose::Traffic;
            let compiled = external_auth::compile(written, |asked| {
                purpose = purpose_of(asked);
                BackendTarget::Invalid(String::new())
            })?;
            Ok(What::Ask(Box::new(compiled), written.backend_ref.clone(), purpose))
        }
        Type::ExtensionRef => Ok(What::Extension(filter.extension_ref.clone())),
        Type::Other(other) => {
            Err(Problem::unsupported(format!("type `{other}` is not supported on a listener")))
        }
    }
}

fn purpose_of(asked: Asked) -> Purpose {
    match asked {
        Asked::AsTheRoute | Asked::ByHttp => Purpose::Traffic,
        Asked::ByGrpc => Purpose::Authorization,
    }
}

/// Filters whose references were followed.
#[derive(Default)]
pub(super) struct Resolved {
    pub(super) filters: Vec<ListenerFilter>,
    /// A matter of ResolvedRefs (LF-7).
    pub(super) unresolved: Vec<Problem>,
    /// What is worth knowing of references that do resolve.
    pub(super) notes: Vec<String>,
    /// Service ports that they need.
    pub(super) backends: Vec<ServicePort>,
}

/// Follows the references of a listener's filters. What leads nowhere denies (EA-1).
pub(super) fn resolve(
    holder: &Holder,
    drafts: &[FilterDraft],
    resources: &Resources,
    facts: &dyn Fn(&ServicePort) -> BackendFacts,
) -> Resolved {
    let mut resolved = Resolved::default();
    for FilterDraft { index, what } in drafts {
        let filter = match what {
            What::Ask(auth, reference, purpose) => {
                let target = target(holder, reference, *purpose, resources);
                let target = target.map(|target| {
                    let facts = facts(&target);
                    let note = facts.note(&target);
                    resolved.notes.extend(note.map(|note| format!("{}: {note}", place(*index))));
                    // The backend may come: the key stays.
                    resolved.unresolved.extend(facts.problem.map(|it| told(it, *index)));
                    let key = facts.key.unwrap_or_else(|| target.key());
                    resolved.backends.push(target);
                    BackendTarget::Backend(key)
                });
                let target = target.unwrap_or_else(|problem| {
                    let problem = told(problem, *index);
                    let message = problem.message.clone();
                    resolved.unresolved.push(problem);
                    BackendTarget::Invalid(message)
                });
                ListenerFilter::ExternalAuth(ExternalAuth { target, ..ExternalAuth::clone(auth) })
            }
            What::Extension(reference) => {
                let problem = told(extension_problem(reference.as_ref()), *index);
                let message = problem.message.clone();
                resolved.unresolved.push(problem);
                ListenerFilter::Refuse(message)
            }
        };
        resolved.filters.push(filter);
    }
    resolved
}

/// LF-7: there are two reasons for whatever a reference lacks.
fn told(problem: Problem, index: usize) -> Problem {
    let reason = match problem.reason {
        ConditionReason::RefNotPermitted => ConditionReason::RefNotPermitted,
        _ => ConditionReason::InvalidListenerFilterRef,
    };
    let mut problem = Problem { reason, ..problem }.at(place(index));
    problem.message += "; requests are answered with 500";
    problem
}

fn extension_problem(reference: Option<&LocalObjectReference>) -> Problem {
    let what = match reference {
        None => "extensionRef is not set".to_owned(),
        Some(it) => format!(
            "{} is no filter that is known",
            syntax::kind_of_group(&it.kind, &it.name, &it.group)
        ),
    };
    Problem::new(ConditionReason::InvalidListenerFilterRef, what)
}

/// Where a reference leads; an error where it is wrong by itself, or must not be followed. A grant for a
/// Gateway is none for its ListenerSets, and the other way round (LS-10).
fn target(
    holder: &Holder,
    reference: &BackendObjectReference,
    purpose: Purpose,
    resources: &Resources,
) -> Result<ServicePort, Problem> {
    let written = BackendName::from(reference);
    let invalid = |message| Problem::new(ConditionReason::InvalidListenerFilterRef, message);
    let service = rule::service_in(written, &holder.name().namespace)
        .ok_or_else(|| invalid(rule::no_backend(written)))?;
    Reference::of_holder(holder, Kind::Service, &service).check(resources)?;
    let port = written
        .port
        .ok_or_else(|| invalid(format!("port is not set; name a port of Service `{service}`")))?;
    Ok(ServicePort {
        service,
        port: port.get(),
        routes: RouteKind::Http,
        purpose,
        x_backend: false,
    })
}

/// The Services that listeners in a namespace refer to, permitted or not, with the ports that they name.
pub(super) fn services<'l>(
    listeners: &'l [Listener],
    namespace: &'l str,
) -> impl Iterator<Item = (NamespacedName, Option<Port>, Purpose)> + 'l {
    let filters = listeners.iter().filter_map(|listener| listener.filters.as_ref());
    let asked = filters.flat_map(|filters| &filters.requests);
    asked.filter_map(|filter| filter.external_auth.as_deref()).filter_map(move |auth| {
        let written = BackendName::from(&auth.backend_ref);
        let purpose = purpose_of(external_auth::asked(auth));
        Some((rule::service_in(written, namespace)?, written.port, purpose))
    })
}

/// The Service ports among them.
pub(super) fn backends<'l>(
    listeners: &'l [Listener],
    namespace: &'l str,
) -> impl Iterator<Item = ServicePort> + 'l {
    services(listeners, namespace).filter_map(|(service, port, purpose)| {
        Some(ServicePort {
            service,
            port: port?.get(),
            routes: RouteKind::Http,
            purpose,
            x_backend: false,
        })
    })
}
