//! `--output json`: the events of a run, one JSON object per line.

use gwapi_dataplane::{ChangeKind, ObjectChange};
use gwapi_model::Kind;
use jiff::Timestamp;
use serde::Serialize;

use crate::report::issue::{Issue, Level};
use crate::report::view::GatewayView;

/// A line. Fields may be added; none is renamed or removed within a major version.
#[derive(Serialize)]
pub(crate) struct Line<'a> {
    pub(crate) time: Timestamp,
    #[serde(flatten)]
    pub(crate) event: Event<'a>,
}

/// What happened.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase", rename_all_fields = "camelCase")]
pub(crate) enum Event<'a> {
    /// Serving began.
    Start {
        version: &'a str,
        generation: u64,
        admin: Option<String>,
        gateways: &'a [GatewayView],
        not_read: Vec<NotRead<'a>>,
        problems: Vec<ProblemLine<'a>>,
    },
    /// Files changed, or what listens did.
    Change {
        files: Vec<String>,
        objects: Vec<ObjectLine<'a>>,
        listeners: ListenerChanges,
        /// Files of which something is wrong and served as it was when it was last good.
        last_good: Vec<String>,
        generation: u64,
        milliseconds: f64,
    },
    /// Something is wrong that was not before.
    Problem(ProblemLine<'a>),
    /// Something is no longer wrong.
    Solved(ProblemLine<'a>),
    /// The end began.
    Draining { signal: &'a str },
    /// The end.
    Drained { cut_connections: usize },
    /// The end, before everything was drained.
    Stopped { signal: &'a str },
    /// A signal that changes nothing.
    Ignored { signal: &'a str },
    /// Lines that would stand here, had anybody read what came before.
    Lost { lines: usize },
}

/// A kind that gwapi does not read.
#[derive(Serialize)]
pub(crate) struct NotRead<'a> {
    pub(crate) kind: &'a str,
    pub(crate) objects: usize,
}

/// A changed object.
#[derive(Serialize)]
pub(crate) struct ObjectLine<'a> {
    kind: Kind,
    namespace: &'a str,
    name: &'a str,
    change: &'static str,
}

impl<'a> From<&'a ObjectChange> for ObjectLine<'a> {
    fn from(change: &'a ObjectChange) -> Self {
        Self {
            kind: change.id.kind,
            namespace: &change.id.namespace,
            name: &change.id.name,
            change: match change.kind {
                ChangeKind::Added => "added",
                ChangeKind::Changed => "changed",
                ChangeKind::Removed => "removed",
            },
        }
    }
}

/// Listeners that began or ceased to be served, as `namespace/gateway/listener` with an address.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct ListenerChanges {
    pub(crate) added: Vec<ListenerLine>,
    pub(crate) removed: Vec<ListenerLine>,
}

/// A listener at an address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct ListenerLine {
    pub(crate) gateway: String,
    pub(crate) listener: String,
    pub(crate) url: String,
}

/// Something wrong.
#[derive(Serialize)]
pub(crate) struct ProblemLine<'a> {
    severity: Level,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<ProblemObject<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    listener: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    condition: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<&'a str>,
}

#[derive(Serialize)]
struct ProblemObject<'a> {
    kind: Kind,
    namespace: &'a str,
    name: &'a str,
}

impl<'a> From<&'a Issue> for ProblemLine<'a> {
    fn from(issue: &'a Issue) -> Self {
        let place = issue.place.as_ref();
        let position = place.and_then(|place| place.position);
        Self {
            severity: issue.level,
            message: &issue.message,
            file: place.map(|place| place.file.as_str()),
            line: position.map(|position| position.line),
            column: position.map(|position| position.column),
            object: issue.object.as_ref().map(|object| ProblemObject {
                kind: object.kind,
                namespace: &object.namespace,
                name: &object.name,
            }),
            field: issue.field.as_deref(),
            listener: issue.listener.as_deref(),
            parent: issue.parent.as_deref(),
            condition: issue
                .condition
                .as_ref()
                .map(|condition| format!("{}={}", condition.condition_type, condition.status)),
            reason: issue.condition.as_ref().map(|condition| condition.reason.as_str()),
            help: issue.help.as_deref(),
        }
    }
}
