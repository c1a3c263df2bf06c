//! Everything that is wrong, in one form: problems of files, conditions, notices.

use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use gwapi_dataplane::{ObjectChange, TranslatedFolder};
use gwapi_model::manifest::{Position, Severity};
use gwapi_model::status::{ConditionReason, ConditionStatus, ConditionType};
use gwapi_model::{Kind, ObjectId, ObjectMeta, RouteKind};

use crate::overlay::CommandLine;
use crate::report::conditions::conditions_of;
use crate::report::{hints, places, some_of};

/// How bad an issue is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// Something that was asked for is not served.
    Error,
    /// It is served, and probably not what is meant.
    Warning,
    /// Worth knowing.
    Note,
}

impl Level {
    /// The level in a word.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) file: String,
    pub(crate) position: Option<Position>,
    /// Bytes of the text.
    pub(crate) span: Range<usize>,
    /// The file's text where the problem was found in translation. Nobody named the file then, and
    /// it is the same problem wherever the object stands.
    pub(crate) text: Option<Rc<str>>,
}

/// A condition that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BadCondition {
    pub(crate) condition_type: ConditionType,
    pub(crate) status: ConditionStatus,
    pub(crate) reason: ConditionReason,
}

/// Something wrong, or worth knowing.
#[derive(Clone, Debug)]
pub(crate) struct Issue {
    pub(crate) level: Level,
    /// What sort of problem it is, as `gwapi check` names it; of one that a condition tells, its reason
    /// does.
    pub(crate) sort: &'static str,
    pub(crate) place: Option<Place>,
    pub(crate) object: Option<ObjectId>,
    /// Listener of the Gateway that it is about.
    pub(crate) listener: Option<String>,
    /// Parent of the route that it is about.
    pub(crate) parent: Option<String>,
    pub(crate) field: Option<String>,
    pub(crate) condition: Option<BadCondition>,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

/// What makes two issues the same one: its place does not, because lines move when text above
/// them is edited; and the reason of a condition does not, because that is the reason of the first
/// of several problems.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct IssueKey {
    level: Level,
    file: Option<String>,
    object: Option<ObjectId>,
    part: Option<String>,
    field: Option<String>,
    condition: Option<(ConditionType, ConditionStatus)>,
    message: String,
}

/// Parents named in one line.
const MAX_PARENTS: usize = 5;

impl Issue {
    pub(crate) fn about(level: Level, object: ObjectId, message: impl Into<String>) -> Self {
        Self {
            level,
            sort: "advice",
            place: None,
            object: Some(object),
            listener: None,
            parent: None,
            field: None,
            condition: None,
            message: message.into(),
            help: None,
        }
    }

    pub(crate) fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same as a problem of this sort.
    pub(crate) fn of_sort(self, sort: &'static str) -> Self {
        Self { sort, ..self }
    }

    pub(crate) fn key(&self) -> IssueKey {
        IssueKey {
            level: self.level,
            file: self.place_told().map(|place| place.file.clone()),
            object: self.object.clone(),
            part: self.listener.clone().or_else(|| self.parent.clone()),
            field: self.field.clone().filter(|_| self.condition.is_none()),
            condition: self.condition.as_ref().map(|bad| (bad.condition_type, bad.status)),
            message: self.message.clone(),
        }
    }

    /// The place, where the problem is one of the file rather than of what it means.
    pub(crate) fn place_told(&self) -> Option<&Place> {
        self.place.as_ref().filter(|place| place.text.is_none())
    }

    /// Object, part and field: `Gateway default/web, listener https`.
    pub(crate) fn subject(&self) -> String {
        let mut subject = self.object.as_ref().map(ToString::to_string).unwrap_or_default();
        let several = self.parent.as_ref().is_some_and(|parent| parent.contains(", "));
        let parent = if several { "parents" } else { "parent" };
        for (what, name) in [("listener", &self.listener), (parent, &self.parent)] {
            if let Some(name) = name {
                subject.push_str(&format!(", {what} {name}"));
            }
        }
        // The messages of conditions begin with their field.
        if let (Some(field), None) = (&self.field, &self.condition) {
            subject.push_str(&format!(", {field}"));
        }
        subject
    }

    /// One line: place, subject, condition and message.
    pub(crate) fn line(&self) -> String {
        let mut parts = Vec::new();
        if let Some(Place { file, position, .. }) = self.place_told() {
            parts.push(match position {
                Some(at) => format!("{file}:{}:{}", at.line, at.column),
                None => file.clone(),
            });
        }
        if self.object.is_some() {
            parts.push(self.subject());
        }
        if let Some(bad) = &self.condition {
            parts.push(format!("{}={} ({})", bad.condition_type, bad.status, bad.reason));
        }
        parts.push(self.message.clone());
        parts.retain(|part| !part.is_empty());
        parts.join(": ")
    }
}

/// Everything that is wrong now, worst first.
pub(crate) fn issues(source: &TranslatedFolder<CommandLine>) -> Vec<Issue> {
    RouteIssues::of(source).with_all_others(source)
}

/// What is wrong with routes and policies, from one change to the next: an edit costs what it touches,
/// however many there are. Of all else there is little, and it is looked at anew.
#[derive(Debug, Default)]
pub(crate) struct RouteIssues {
    /// What the status of a route or policy tells, of those where that is anything.
    conditions: BTreeMap<ObjectId, Vec<Issue>>,
    /// Parents that do not exist, likewise.
    parents: BTreeMap<ObjectId, Vec<Issue>>,
}

impl RouteIssues {
    /// What is wrong now.
    pub(crate) fn of(source: &TranslatedFolder<CommandLine>) -> Self {
        let mut issues = Self::default();
        for (id, status) in source.translation().status.range(first_route()..) {
            let mut found = Vec::new();
            conditions_of(id, status, &mut found);
            if !found.is_empty() {
                issues.conditions.insert(id.clone(), found);
            }
        }
        for route in source.resources().routes() {
            let ObjectMeta { namespace, name, .. } = route.metadata();
            let id = ObjectId::new(route.kind().kind(), namespace.clone(), name.clone());
            let mut found = Vec::new();
            hints::parents(&id, route, source, &mut found);
            if !found.is_empty() {
                issues.parents.insert(id, found);
            }
        }
        issues
    }

    /// Follows a change of objects, or of their status alone.
    pub(crate) fn follow<'a>(
        &mut self,
        source: &TranslatedFolder<CommandLine>,
        objects: &'a [ObjectChange],
        statuses: impl IntoIterator<Item = &'a ObjectId>,
    ) {
        let is_parent = |kind| matches!(kind, Kind::Gateway | Kind::ListenerSet);
        if objects.iter().any(|object| is_parent(object.id.kind)) {
            *self = Self::of(source);
            return;
        }
        let ids = objects.iter().map(|object| &object.id).chain(statuses);
        let first = first_route();
        ids.filter(|id| **id >= first).for_each(|id| self.look_at(id, source));
    }

    fn look_at(&mut self, id: &ObjectId, source: &TranslatedFolder<CommandLine>) {
        let (mut conditions, mut parents) = (Vec::new(), Vec::new());
        if let Some(status) = source.translation().status.get(id) {
            conditions_of(id, status, &mut conditions);
        }
        if let Some(route) = source.resources().route_of(id) {
            hints::parents(id, route, source, &mut parents);
        }
        for (known, now) in [(&mut self.conditions, conditions), (&mut self.parents, parents)] {
            if now.is_empty() {
                known.remove(id);
            } else {
                known.insert(id.clone(), now);
            }
        }
    }

    /// Everything that is wrong now, worst first.
    pub(crate) fn with_all_others(&self, source: &TranslatedFolder<CommandLine>) -> Vec<Issue> {
        let mut all: Vec<_> = source.problems().iter().map(of_problem).collect();
        all.extend(source.overlay().notices().iter().map(|notice| Issue {
            help: notice.help.clone(),
            sort: notice.sort,
            ..Issue::about(
                if notice.harmful { Level::Warning } else { Level::Note },
                notice.object.clone(),
                notice.message.clone(),
            )
        }));
        // Routes and policies come last, by kind.
        for (id, status) in source.translation().status.range(..first_route()) {
            conditions_of(id, status, &mut all);
        }
        all.extend(self.conditions.values().flatten().cloned());
        hints::classes(source, &mut all);
        hints::gateways(source, &mut all);
        hints::listener_sets(source, &mut all);
        hints::parameters(source, &mut all);
        all.extend(self.parents.values().flatten().cloned());
        hints::services_without_endpoints(source, &mut all);
        all.sort_by_key(|issue| issue.level);
        places::locate(source, &mut all);
        all
    }
}

/// Where the routes begin among objects that have a status; policies come after them.
fn first_route() -> ObjectId {
    ObjectId::new(RouteKind::ALL[0].kind(), "", "")
}

/// The same issues, those that differ in their parent alone as one that names all parents.
pub(crate) fn grouped<'a>(issues: impl IntoIterator<Item = &'a Issue>) -> Vec<Issue> {
    let mut groups: BTreeMap<IssueKey, usize> = BTreeMap::new();
    let mut all: Vec<(Issue, Vec<String>)> = Vec::new();
    for issue in issues {
        let Some(parent) = &issue.parent else {
            all.push((issue.clone(), Vec::new()));
            continue;
        };
        let group = Issue { parent: None, ..issue.clone() };
        let index = *groups.entry(group.key()).or_insert_with(|| {
            all.push((group, Vec::new()));
            all.len() - 1
        });
        all[index].1.push(parent.clone());
    }
    let named = |(issue, parents): (Issue, Vec<String>)| match parents.is_empty() {
        true => issue,
        false => Issue { parent: Some(some_of(&parents, MAX_PARENTS)), ..issue },
    };
    all.into_iter().map(named).collect()
}

fn of_problem(problem: &gwapi_model::manifest::Problem) -> Issue {
    Issue {
        sort: match (problem.severity, problem.field.as_deref()) {
            (Severity::Error, _) => "refused",
            (Severity::Warning, Some("apiVersion")) => "old-version",
            (Severity::Warning, _) => "manifest",
        },
        level: match problem.severity {
            Severity::Error => Level::Error,
            Severity::Warning => Level::Warning,
        },
        place: Some(Place {
            file: problem.source.to_string(),
            position: problem.position,
            span: problem.span.clone(),
            text: None,
        }),
        object: problem.object.clone(),
        listener: None,
        parent: None,
        field: problem.field.clone(),
        condition: None,
        message: problem.message.clone(),
        help: problem.help.clone(),
    }
}

#[cfg(test)]
mod tests {
    use gwapi_model::Kind;
    use gwapi_translate::Options;

    use super::*;
    use crate::backends::Backends;

    #[test]
    fn the_same_problem_of_several_parents_is_one_line() {
        let issue = |parent: &str, message: &str| Issue {
            parent: Some(parent.to_owned()),
            ..Issue::about(Level::Error, ObjectId::new(Kind::HttpRoute, "a", "b"), message)
        };
        let issues = [issue("a/x", "bad"), issue("a/x", "worse"), issue("a/y", "bad")];
        let lines: Vec<_> = grouped(&issues).iter().map(Issue::line).collect();
        assert_eq!(
            lines,
            ["HTTPRoute a/b, parents a/x, a/y: bad", "HTTPRoute a/b, parent a/x: worse"]
        );
    }

    #[test]
    fn routes_have_the_same_issues_whether_all_are_looked_at_or_one_after_the_other() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut text = String::from(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: web}\n\
             spec:\n  gatewayClassName: any\n  \
             listeners: [{name: http, port: 80, protocol: HTTP}]\n",
        );
        for (name, parent, service) in
            [("good", "web", "here"), ("lost", "nowhere", "here"), ("broken", "web", "missing")]
        {
            text.push_str(&format!(
                "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n\
                 metadata: {{name: {name}}}\nspec:\n  parentRefs: [{{name: {parent}}}]\n  \
                 rules: [{{backendRefs: [{{name: {service}, port: 80}}]}}]\n"
            ));
        }
        text.push_str(
            "---\napiVersion: v1\nkind: Service\nmetadata: {name: here}\n\
             spec: {ports: [{port: 80}]}\n",
        );
        std::fs::write(folder.path().join("all.yaml"), text).expect("a file");
        let backends = Backends::resolve(&[], None).expect("nothing to resolve");
        let overlay = CommandLine::new(backends, None, None, true);
        let options = Options { any_controller: true, ..Options::default() };
        let source = TranslatedFolder::open(vec![folder.path().to_owned()], options, overlay);

        let all = RouteIssues::of(&source);
        let mut one_by_one = RouteIssues::default();
        one_by_one.follow(&source, &[], &source.resources().ids(Kind::HttpRoute));
        let names = |of: &BTreeMap<ObjectId, Vec<Issue>>| -> Vec<String> {
            of.iter().map(|(id, issues)| format!("{} {}", id.name, issues.len())).collect()
        };
        assert_eq!(names(&all.conditions), ["broken 1"]);
        assert_eq!(names(&all.parents), ["lost 1"]);
        let keys = |of: &BTreeMap<ObjectId, Vec<Issue>>| -> Vec<IssueKey> {
            of.values().flatten().map(Issue::key).collect()
        };
        assert_eq!(keys(&all.conditions), keys(&one_by_one.conditions));
        assert_eq!(keys(&all.parents), keys(&one_by_one.parents));
    }

    #[test]
    fn a_problem_that_moved_by_a_line_is_the_same_one() {
        let at = |line| {
            let mut issue = Issue::about(
                Level::Error,
                ObjectId::new(Kind::HttpRoute, "default", "web"),
                "a list is expected",
            );
            issue.place = Some(Place {
                file: "routes.yaml".to_owned(),
                position: Some(Position { line, column: 3 }),
                span: line * 10..line * 10 + 1,
                text: None,
            });
            issue
        };
        assert_eq!(at(7).key(), at(8).key());
        assert_eq!(at(7).line(), "routes.yaml:7:3: HTTPRoute default/web: a list is expected");
    }
}
