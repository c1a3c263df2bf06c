//! Everything that is to be said about manifests, in the order of the files.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use gwapi_dataplane::TranslatedFolder;
use gwapi_model::ObjectId;
use gwapi_translate::lint::{Finding, Related, lint};

use super::codes;
use super::levels::Levels;
use crate::overlay::CommandLine;
use crate::report::issue::{Issue, Level, Place, grouped, issues};
use crate::report::places;

/// Something to be said.
#[derive(Clone, Debug)]
pub(super) struct Diagnostic {
    pub(super) code: Cow<'static, str>,
    pub(super) issue: Issue,
    /// What else it has to do with.
    pub(super) related: Vec<Issue>,
    /// The end of the place on its line.
    pub(super) end_column: Option<usize>,
    /// The same of each related place.
    pub(super) related_ends: Vec<Option<usize>>,
}

/// All that is to be said, and how much that is.
#[derive(Debug)]
pub(super) struct Diagnostics {
    pub(super) all: Vec<Diagnostic>,
    /// Kinds that are not read, with the number of objects.
    pub(super) not_read: Vec<(String, usize)>,
    pub(super) summary: Summary,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub(super) struct Summary {
    pub(super) objects: usize,
    pub(super) files: usize,
    pub(super) errors: usize,
    pub(super) warnings: usize,
    pub(super) notes: usize,
}

impl Diagnostics {
    pub(super) fn of(source: &TranslatedFolder<CommandLine>, levels: &Levels) -> Self {
        let mut drafts: Vec<Draft> = Vec::new();
        let issues = issues(source);
        let (objects, files) = read(source);
        if objects.is_empty() && issues.iter().all(|issue| issue.level != Level::Error) {
            drafts.push(Draft::no_objects());
        }
        let findings = lint(source.files(), source.translation(), source.options());
        let mut better: BTreeMap<&ObjectId, Vec<&Finding>> = BTreeMap::new();
        for finding in findings.iter().filter(|finding| finding.condition.is_some()) {
            better.entry(&finding.object).or_default().push(finding);
        }
        let told_better = |issue: &Issue| {
            let of_object = issue.object.as_ref().and_then(|object| better.get(object));
            of_object.into_iter().flatten().any(|finding| tells(finding, issue))
        };
        let told = grouped(&issues).into_iter().filter(|issue| !told_better(issue));
        drafts.extend(told.map(|issue| Draft::of(in_a_cluster(issue, source))));
        drafts.extend(findings.into_iter().map(Draft::from));

        let mut drafts: Vec<Draft> =
            drafts.into_iter().filter_map(|draft| draft.at_level(levels)).collect();
        places::locate_all(source, drafts.iter_mut().flat_map(Draft::issues));
        let mut all: Vec<_> = drafts.into_iter().map(|draft| draft.finish(source)).collect();
        all.sort_by(|a, b| order(&a.issue).cmp(&order(&b.issue)));

        let of = |level| all.iter().filter(|it| it.issue.level == level).count();
        let summary = Summary {
            objects: objects.len(),
            files: files.len(),
            errors: of(Level::Error),
            warnings: of(Level::Warning),
            notes: of(Level::Note),
        };
        Self { all, not_read: source.foreign().to_vec(), summary }
    }
}

/// The objects that are read, refused ones among them, and their files.
fn read(source: &TranslatedFolder<CommandLine>) -> (BTreeSet<ObjectId>, BTreeSet<&str>) {
    let mut objects: BTreeSet<_> = source.files().iter().map(|object| object.id()).collect();
    let mut files: BTreeSet<_> =
        objects.iter().filter_map(|object| source.source_of(object)).collect();
    for problem in source.problems().iter().filter(|problem| problem.position.is_some()) {
        objects.extend(problem.object.clone());
        files.insert(&*problem.source);
    }
    (objects, files)
}

/// The issue as it is where a cluster has pods: they give Services with a selector their endpoints, and
/// files that are meant for a cluster hold none.
fn in_a_cluster(mut issue: Issue, source: &TranslatedFolder<CommandLine>) -> Issue {
    let service = issue.object.as_ref().filter(|_| issue.sort == "no-endpoints");
    let service = service.and_then(|id| source.files().services.get(&id.namespaced_name()));
    if service.is_some_and(|service| !service.spec.selector.is_empty()) {
        issue.level = Level::Note;
    }
    issue
}

/// By file and place; what has no place comes first.
fn order(issue: &Issue) -> impl Ord + '_ {
    let place = issue.place.as_ref();
    (place.map(|it| &it.file), place.map(|it| it.position), issue.level, &issue.message)
}

/// Whether a finding tells what an issue tells of a condition of the same object, and more.
fn tells(finding: &Finding, issue: &Issue) -> bool {
    let (Some(reason), Some(bad)) = (finding.condition, &issue.condition) else { return false };
    let Some(field) = issue.field.as_deref() else { return false };
    reason == bad.reason
        && finding
            .field
            .to_string()
            .strip_prefix(field)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// A diagnostic without its places.
struct Draft {
    code: Cow<'static, str>,
    issue: Issue,
    related: Vec<Issue>,
}

impl Draft {
    fn no_objects() -> Self {
        let issue = Issue {
            level: Level::Error,
            sort: "no-objects",
            place: None,
            object: None,
            listener: None,
            parent: None,
            field: None,
            condition: None,
            message: "no objects found".to_owned(),
            help: Some("name files or folders of YAML or JSON with Gateway API objects".to_owned()),
        };
        Self::of(issue)
    }

    fn of(issue: Issue) -> Self {
        let code = match &issue.condition {
            Some(bad) => codes::of_reason(bad.reason).into(),
            None => issue.sort.into(),
        };
        Self { code, issue, related: Vec::new() }
    }

    fn at_level(mut self, levels: &Levels) -> Option<Self> {
        self.issue.level = levels.of(&self.code, self.issue.level)?;
        Some(self)
    }

    fn issues(&mut self) -> impl Iterator<Item = &mut Issue> {
        [&mut self.issue].into_iter().chain(&mut self.related)
    }

    fn finish(self, source: &TranslatedFolder<CommandLine>) -> Diagnostic {
        let Self { code, issue, related } = self;
        let end = |issue: &Issue| issue.place.as_ref().and_then(|place| end_column(place, source));
        Diagnostic {
            code,
            end_column: end(&issue),
            related_ends: related.iter().map(end).collect(),
            issue,
            related,
        }
    }
}

impl From<Finding> for Draft {
    fn from(finding: Finding) -> Self {
        let mut issue =
            Issue::about(codes::level_of(finding.lint), finding.object, finding.message);
        issue.field = Some(finding.field.to_string());
        issue.help = finding.help;
        let related = finding.related.into_iter().map(|related| {
            let Related { object, field, message } = related;
            let field = Some(field.to_string());
            Issue { field, ..Issue::about(Level::Note, object, message) }
        });
        Self { code: finding.lint.code().into(), issue, related: related.collect() }
    }
}

/// The column behind the last character of a place; a span never leaves its line.
fn end_column(place: &Place, source: &TranslatedFolder<CommandLine>) -> Option<usize> {
    let text = place.text.as_deref().or_else(|| source.text(&place.file))?;
    let characters = text.get(place.span.clone())?.chars().count();
    Some(place.position?.column + characters)
}
