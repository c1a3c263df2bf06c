//! Issues for people: what is wrong, the lines that it is about, what to do.

use std::ops::Range;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level as Title, Origin, Renderer, Snippet};

use crate::report::issue::{Issue, Level, Place};

/// Lines shown before and after those that the problem is about.
const CONTEXT_LINES: usize = 1;

/// Longer excerpts help nobody: a minified JSON file has lines of megabytes.
const MAX_EXCERPT_BYTES: usize = 2_000;

/// Renders an issue, with an excerpt of the file where `text` is that file's text.
pub(crate) fn render(issue: &Issue, text: Option<&str>, colour: bool) -> String {
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
    let mut group = Group::with_title(level.primary_title(title));
    let excerpt = issue.place.as_ref().and_then(|place| Excerpt::of(place, text?));
    if let Some(place) = &issue.place {
        group = match &excerpt {
            Some(excerpt) => group.element(
                Snippet::source(excerpt.text)
                    .line_start(excerpt.first_line)
                    .path(place.file.as_str())
                    .fold(false)
                    .annotation(AnnotationKind::Primary.span(excerpt.span.clone())),
            ),
            None => group.element(origin(place)),
        };
    }
    if let Some(help) = &issue.help {
        group = group.element(Title::HELP.message(help.as_str()));
    }
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    renderer.decor_style(DecorStyle::Ascii).render(&[group])
}

fn origin(place: &Place) -> Origin<'_> {
    let origin = Origin::path(place.file.as_str());
    match place.position {
        Some(at) => origin.line(at.line).char_column(at.column),
        None => origin,
    }
}

/// The lines around a span.
struct Excerpt<'t> {
    text: &'t str,
    first_line: usize,
    span: Range<usize>,
}

impl<'t> Excerpt<'t> {
    fn of(place: &Place, text: &'t str) -> Option<Self> {
        let at = place.position?;
        let start = place.span.start;
        text.get(..start)?;
        // What spans several lines is marked on its first one.
        let line_end = end_of_line(text, start);
        let end = place.span.end.clamp(start, line_end);
        text.get(start..end)?;

        let mut from = start_of_line(text, start);
        let mut first_line = at.line;
        for _ in 0..CONTEXT_LINES {
            if from > 0 && first_line > 1 {
                from = start_of_line(text, from - 1);
                first_line -= 1;
            }
        }
        let mut to = line_end;
        for _ in 0..CONTEXT_LINES {
            if to < text.len() {
                to = end_of_line(text, to + 1);
            }
        }
        (to - from <= MAX_EXCERPT_BYTES).then(|| Self {
            text: &text[from..to],
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
            place: Some(Place {
                file: "routes.yaml".to_owned(),
                position: Some(Position { line, column }),
                span,
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
