//! Issues for people: what is wrong, the lines that it is about, what to do.

mod secrets;

use std::ops::Range;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level as Title, Origin, Renderer, Snippet};

use crate::report::issue::{Issue, Level, Place};

/// Lines shown before and after those that the problem is about.
const CONTEXT_LINES: usize = 1;

/// Longer excerpts help nobody: a minified JSON file has lines of megabytes.
const MAX_EXCERPT_BYTES: usize = 2_000;

/// Stands in place of lines that may show a key or a password to whoever reads the output.
const HIDDEN: &str =
    "source lines are not shown, because this document holds a Secret or may hold one";

/// What is rendered.
pub(crate) struct Told<'t> {
    pub(crate) issue: &'t Issue,
    /// What sort of problem it is: `error[code]: ...`.
    pub(crate) code: Option<&'t str>,
    /// The text of the issue's file, where it does not bring it along.
    pub(crate) text: Option<&'t str>,
    /// What else it has to do with, each with the text of its file.
    pub(crate) related: Vec<(&'t Issue, Option<&'t str>)>,
}

/// Renders an issue, with an excerpt of the file where `text` is that file's text.
///
/// No line of a document that may hold a Secret is shown.
pub(crate) fn render(issue: &Issue, text: Option<&str>, colour: bool) -> String {
    render_all(&Told { issue, code: None, text, related: Vec::new() }, colour)
}

/// The same with its code, and what else it has to do with.
pub(crate) fn render_all(told: &Told<'_>, colour: bool) -> String {
    let mut group = group(told.issue, told.code, told.text);
    if let Some(help) = &told.issue.help {
        group = group.element(Title::HELP.message(help.as_str()));
    }
    let related = told.related.iter().map(|(issue, text)| self::group(issue, None, *text));
    let groups: Vec<_> = [group].into_iter().chain(related).collect();
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    renderer.decor_style(DecorStyle::Ascii).render(&groups)
}

/// The title of an issue and the lines that it is about.
fn group<'t>(issue: &'t Issue, code: Option<&'t str>, text: Option<&'t str>) -> Group<'t> {
    let level = match issue.level {
        Level::Error => Title::ERROR,
        Level::Warning => Title::WARNING,
        Level::Note => Title::NOTE,
    };
    let title = match &issue.place {
        // The place stands below the title, and so does the excerpt: both would only repeat it.
        Some(_) => Issue { place: None, ..issue.clone() }.line(),
        None => issue.line(),
    };
    let title = level.primary_title(title);
    let group = Group::with_title(match code {
        Some(code) => title.id(code),
        None => title,
    });
    let Some(place) = &issue.place else { return group };
    let excerpt = match place.text.as_deref().or(text) {
        Some(text) => Excerpt::of(place, text),
        None => Lines::None,
    };
    match excerpt {
        Lines::Shown(excerpt) => group.element(
            Snippet::source(excerpt.text)
                .line_start(excerpt.first_line)
                .path(place.file.as_str())
                .fold(false)
                .annotation(AnnotationKind::Primary.span(excerpt.span)),
        ),
        Lines::Hidden => group.element(origin(place)).element(Title::NOTE.message(HIDDEN)),
        Lines::None => group.element(origin(place)),
    }
}

fn origin(place: &Place) -> Origin<'_> {
    let origin = Origin::path(place.file.as_str());
    match place.position {
        Some(at) => origin.line(at.line).char_column(at.column),
        None => origin,
    }
}

/// What can be shown of a file.
enum Lines<'t> {
    Shown(Excerpt<'t>),
    /// There are lines, and they may hold a Secret.
    Hidden,
    None,
}

/// The lines around a span.
struct Excerpt<'t> {
    text: &'t str,
    first_line: usize,
    span: Range<usize>,
}

impl<'t> Excerpt<'t> {
    fn of(place: &Place, text: &'t str) -> Lines<'t> {
        let start = place.span.start;
        match place.position {
            Some(at) if text.is_char_boundary(start) => match secrets::showable(text, start) {
                Some(document) => {
                    Self::within(&text[document.clone()], at.line, start - document.start, place)
                        .map_or(Lines::None, Lines::Shown)
                }
                None => Lines::Hidden,
            },
            _ => Lines::None,
        }
    }

    /// The lines around the byte `start` of a document, which stands on the line `line`.
    fn within(document: &'t str, line: usize, start: usize, place: &Place) -> Option<Self> {
        // What spans several lines is marked on its first one.
        let line_end = end_of_line(document, start);
        let end = (start + place.span.len()).clamp(start, line_end);
        document.get(start..end)?;

        let mut from = start_of_line(document, start);
        let mut first_line = line;
        for _ in 0..CONTEXT_LINES {
            if from > 0 && first_line > 1 {
                from = start_of_line(document, from - 1);
                first_line -= 1;
            }
        }
        let mut to = line_end;
        for _ in 0..CONTEXT_LINES {
            if to < document.len() {
                to = end_of_line(document, to + 1);
            }
        }
        (to - from <= MAX_EXCERPT_BYTES).then(|| Self {
            text: &document[from..to],
            first_line,
            span: start - from..end - from,
        })
    }
}

fn start_of_line(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |newline| newline + 1)
}

fn end_of_line(text: &str, at: usize) -> usize {
    text[at..].find('\n').map_or(text.len(), |length| at + length)
}

#[cfg(test)]
mod tests {
    use gwapi_model::manifest::Position;
    use gwapi_model::{Kind, ObjectId};

    use super::*;

    const TEXT: &str = "kind: HTTPRoute\nspec:\n  rules:\n  - matches: 7\n  - name: b\n";

    fn issue(line: usize, column: usize, span: Range<usize>) -> Issue {
        Issue {
            level: Level::Error,
            sort: "invalid",
            place: Some(Place {
                file: "routes.yaml".to_owned(),
                position: Some(Position { line, column }),
                span,
                text: None,
            }),
            object: Some(ObjectId::new(Kind::HttpRoute, "default", "echo")),
            listener: None,
            parent: None,
            field: Some("spec.rules[0].matches".to_owned()),
            condition: None,
            message: "a list is expected".to_owned(),
            help: Some("write `- path: ...`".to_owned()),
        }
    }

    #[test]
    fn a_problem_shows_its_place_its_lines_and_what_to_do() {
        let seven = TEXT.find('7').expect("there");
        let shown = render(&issue(4, 14, seven..seven + 1), Some(TEXT), false);
        let expected = "\
error: HTTPRoute default/echo, spec.rules[0].matches: a list is expected
 --> routes.yaml:4:14
  |
3 |   rules:
4 |   - matches: 7
  |              ^
5 |   - name: b
  |
  = help: write `- path: ...`";
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_problem_without_text_still_names_its_place() {
        let shown = render(&issue(4, 14, 0..1), None, false);
        assert!(shown.contains("routes.yaml:4:14"), "{shown}");
    }

    #[test]
    fn a_line_of_megabytes_is_not_shown() {
        let text = "x".repeat(1 << 20);
        let shown = render(&issue(1, 1000, 999..1000), Some(&text), false);
        assert!(shown.contains("routes.yaml:1:1000"), "{shown}");
        assert!(shown.len() < 500, "{} bytes", shown.len());
    }

    #[test]
    fn a_span_that_does_not_fit_the_text_is_survived() {
        let shown = render(&issue(9, 1, 5_000..5_001), Some("short"), false);
        assert!(shown.contains("routes.yaml:9:1"), "{shown}");
        let shown = render(&issue(1, 2, 1..2), Some("é"), false);
        assert!(shown.contains("routes.yaml:1:2"), "{shown}");
    }
}
