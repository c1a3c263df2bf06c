//! Diagnostics as JSON.

use serde::Serialize;

use super::diagnostics::{Diagnostic, Diagnostics, Summary};
use crate::queue::print;
use crate::report::json::{NotRead, ProblemLine};

/// Fields may be added; none is renamed or removed within a major version.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    version: &'a str,
    diagnostics: Vec<Line<'a>>,
    not_read: Vec<NotRead<'a>>,
    summary: Summary,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    code: &'a str,
    #[serde(flatten)]
    problem: ProblemLine<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_column: Option<usize>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    related: Vec<RelatedLine<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RelatedLine<'a> {
    #[serde(flatten)]
    problem: ProblemLine<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_column: Option<usize>,
}

/// Prints one JSON object.
pub(super) fn tell(diagnostics: &Diagnostics) {
    let not_read = diagnostics.not_read.iter();
    let report = Report {
        version: env!("CARGO_PKG_VERSION"),
        diagnostics: diagnostics.all.iter().map(Line::from).collect(),
        not_read: not_read.map(|(kind, objects)| NotRead { kind, objects: *objects }).collect(),
        summary: diagnostics.summary,
    };
    print(&serde_json::to_string_pretty(&report).expect("a report is text"));
}

impl<'a> From<&'a Diagnostic> for Line<'a> {
    fn from(diagnostic: &'a Diagnostic) -> Self {
        let related = diagnostic.related.iter().zip(&diagnostic.related_ends);
        let related = related.map(|(issue, end)| RelatedLine {
            problem: ProblemLine::from(issue),
            end_column: *end,
        });
        Self {
            code: &diagnostic.code,
            problem: ProblemLine::from(&diagnostic.issue),
            end_column: diagnostic.end_column,
            related: related.collect(),
        }
    }
}
