//! Diagnostics as SARIF 2.1.0, with what GitHub's code scanning reads of it.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::codes::{self, Meaning};
use super::diagnostics::{Diagnostic, Diagnostics};
use crate::queue::print;
use crate::report::issue::Issue;

const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

#[derive(Serialize)]
struct Log<'a> {
    #[serde(rename = "$schema")]
    schema: &'a str,
    version: &'a str,
    runs: [Run<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Run<'a> {
    tool: Tool<'a>,
    column_kind: &'a str,
    results: Vec<SarifResult<'a>>,
}

#[derive(Serialize)]
struct Tool<'a> {
    driver: Driver<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Driver<'a> {
    name: &'a str,
    semantic_version: &'a str,
    information_uri: &'a str,
    rules: Vec<Rule<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Rule<'a> {
    id: &'a str,
    short_description: Message<'a>,
    default_configuration: Configuration,
}

#[derive(Serialize)]
struct Configuration {
    level: &'static str,
}

#[derive(Serialize)]
struct Message<'a> {
    text: std::borrow::Cow<'a, str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SarifResult<'a> {
    rule_id: &'a str,
    rule_index: usize,
    level: &'static str,
    message: Message<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    locations: Vec<Location<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    related_locations: Vec<Location<'a>>,
    /// Lines may move: the problem stays the same one.
    partial_fingerprints: BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Location<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    physical_location: Option<PhysicalLocation>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    logical_locations: Vec<LogicalLocation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Message<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PhysicalLocation {
    artifact_location: ArtifactLocation,
    region: Region,
}

#[derive(Serialize)]
struct ArtifactLocation {
    uri: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Region {
    start_line: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_column: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_column: Option<usize>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LogicalLocation {
    fully_qualified_name: String,
    kind: &'static str,
}

/// Prints a log with one run.
pub(super) fn tell(diagnostics: &Diagnostics) {
    let used: Vec<Meaning> = codes::all()
        .into_iter()
        .filter(|meaning| diagnostics.all.iter().any(|it| it.code == meaning.code))
        .collect();
    let index = |code: &str| used.iter().position(|meaning| meaning.code == code).unwrap_or(0);
    let rules = used.iter().map(|meaning| Rule {
        id: &meaning.code,
        short_description: Message { text: meaning.title.as_str().into() },
        default_configuration: Configuration { level: meaning.level.as_str() },
    });
    let run = Run {
        tool: Tool {
            driver: Driver {
                name: "gwapi",
                semantic_version: env!("CARGO_PKG_VERSION"),
                information_uri: env!("CARGO_PKG_REPOSITORY"),
                rules: rules.collect(),
            },
        },
        column_kind: "unicodeCodePoints",
        results: diagnostics.all.iter().map(|it| result(it, index(&it.code))).collect(),
    };
    let log = Log { schema: SCHEMA, version: "2.1.0", runs: [run] };
    print(&serde_json::to_string_pretty(&log).expect("a log is text"));
}

fn result(diagnostic: &Diagnostic, rule_index: usize) -> SarifResult<'_> {
    let Diagnostic { code, issue, related, end_column, related_ends } = diagnostic;
    let mut text = unplaced_line(issue);
    if let Some(help) = &issue.help {
        text.push_str(&format!("\nhelp: {help}"));
    }
    let location = location(issue, *end_column);
    let has_place = location.physical_location.is_some() || !location.logical_locations.is_empty();
    let related = related.iter().zip(related_ends).enumerate().map(|(id, (issue, end))| {
        let message = Some(Message { text: issue.message.as_str().into() });
        Location { id: Some(id), message, ..self::location(issue, *end) }
    });
    let identity = [code, issue.subject().as_str(), &issue.message].join(": ");
    SarifResult {
        rule_id: code,
        rule_index,
        level: issue.level.as_str(),
        message: Message { text: text.into() },
        locations: if has_place { vec![location] } else { Vec::new() },
        related_locations: related.collect(),
        partial_fingerprints: [("gwapiProblem/v1", identity)].into(),
    }
}

/// The issue in one line, without its place.
pub(super) fn unplaced_line(issue: &Issue) -> String {
    Issue { place: None, ..issue.clone() }.line()
}

fn location(issue: &Issue, end_column: Option<usize>) -> Location<'_> {
    let physical_location = issue.place.as_ref().map(|place| PhysicalLocation {
        artifact_location: ArtifactLocation { uri: uri(&from_here(&place.file)) },
        region: Region {
            start_line: place.position.map_or(1, |at| at.line),
            start_column: place.position.map(|at| at.column),
            end_column,
        },
    });
    let logical_locations = issue
        .object
        .iter()
        .map(|object| LogicalLocation { fully_qualified_name: object.to_string(), kind: "object" });
    let logical_locations = logical_locations.collect();
    Location { id: None, physical_location, logical_locations, message: None }
}

/// A file as seen from the working folder, which in workflows is that of the repository.
pub(super) fn from_here(file: &str) -> String {
    let path = Path::new(file);
    let here = std::env::current_dir().ok();
    let path = here.and_then(|here| path.strip_prefix(here).ok()).unwrap_or(path);
    path.strip_prefix(".").unwrap_or(path).to_string_lossy().into_owned()
}

/// A path as a URI: relative where it is.
fn uri(path: &str) -> String {
    let mut uri = String::from(if path.starts_with('/') { "file://" } else { "" });
    for byte in path.bytes() {
        match byte {
            b'/' | b'-' | b'.' | b'_' | b'~' => uri.push(byte.into()),
            byte if byte.is_ascii_alphanumeric() => uri.push(byte.into()),
            byte => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_uri() {
        assert_eq!(uri("a b/ü:1.yaml"), "a%20b/%C3%BC%3A1.yaml");
        assert_eq!(uri("/etc/gwapi"), "file:///etc/gwapi");
    }

    #[test]
    fn a_file_is_named_as_seen_from_the_working_folder() {
        let here = std::env::current_dir().expect("a working folder");
        let file = here.join("a/b.yaml");
        assert_eq!(from_here(file.to_str().expect("text")), "a/b.yaml");
        assert_eq!(from_here("./a/b.yaml"), "a/b.yaml");
        assert_eq!(from_here("/nowhere/b.yaml"), "/nowhere/b.yaml");
    }
}
