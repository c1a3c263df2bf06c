//! Syntax errors in words that tell what to do.

use granit_parser::{ErrorKind, ScanError};

use super::budget::too_deep;
use super::node::Span;
use super::tree::Fault;

/// The fault that a scanner's error stands for.
pub(super) fn fault(text: &str, error: &ScanError) -> Fault {
    let mut start = error.marker().byte_offset().unwrap_or(text.len()).min(text.len());
    let rest = text.get(start..).unwrap_or_default();
    if is_about_tab(error.kind()) {
        // The scanner names the value that the tab stands in, which may begin on a line before.
        start += rest.find('\t').unwrap_or(0);
    } else if is_about_quote(error.kind()) {
        // The scanner names the line where it noticed; the quote was opened before.
        start = text[..start].rfind(['\'', '"']).unwrap_or(start);
    }
    let rest = text.get(start..).unwrap_or_default();
    let width = rest.chars().next().filter(|c| *c != '\n').map_or(0, char::len_utf8);
    let span = Span::new(start, start + width);
    if *error.kind() == ErrorKind::RecursionLimitExceeded {
        return too_deep(span);
    }
    let (message, help) = describe(error.kind());
    let help = help.map(str::to_owned);
    explained(text, Fault { span, message, help })
}

/// The fault, with better help where the text is a template.
pub(super) fn explained(text: &str, fault: Fault) -> Fault {
    if !is_template(text, fault.span.start as usize) {
        return fault;
    }
    let help = "this looks like a template: render it first, for example with `helm template`";
    Fault { help: Some(help.to_owned()), ..fault }
}

fn is_about_tab(kind: &ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::TabInIndentation
            | ErrorKind::TabInBlockIndentation
            | ErrorKind::TabNotAllowed
            | ErrorKind::TabAtBlockScalarStart
            | ErrorKind::TabInPlainScalar
    )
}

fn is_about_quote(kind: &ErrorKind) -> bool {
    use ErrorKind as Kind;
    matches!(kind, Kind::InvalidQuotedScalarIndent | Kind::DocumentIndicatorInQuotedScalar)
}

/// What is wrong, and what usually helps.
fn describe(kind: &ErrorKind) -> (String, Option<&'static str>) {
    use ErrorKind as Kind;
    let (message, help) = match kind {
        tab if is_about_tab(tab) => {
            ("a tab where YAML wants spaces", "indent with spaces; only JSON may use tabs")
        }
        Kind::MappingValueNotAllowed | Kind::InvalidColonPlacement => (
            "a `:` that cannot stand here",
            "put a value that contains `: ` in quotes, or check the indentation of this line",
        ),
        Kind::ExpectedBlockMappingKey | Kind::InvalidIndentation => (
            "this line's indentation fits no map or list above it",
            "give the keys of a map the same indentation, and its values more",
        ),
        Kind::ExpectedBlockSequenceEntry | Kind::BlockSequenceEntryNotAllowed => (
            "this line does not fit the list that it stands in",
            "begin each item of a list with `- ` at the same indentation",
        ),
        Kind::SimpleKeyExpected | Kind::InvalidSimpleKey => (
            "expected `key: value`",
            "put a `:` and a space after the key, or check the indentation",
        ),
        Kind::InvalidTrailingSingleQuotedScalar | Kind::InvalidTrailingDoubleQuotedScalar => (
            "more text after the quote that ends a value",
            "put a `,` before the next entry, or the whole value in one pair of quotes",
        ),
        Kind::UnclosedQuotedScalar => ("a quote that is never closed", "close the quote"),
        quote if is_about_quote(quote) => (
            "a quote that is never closed",
            "close the quote, or indent the lines that belong to the text",
        ),
        Kind::ExpectedFlowMappingSeparator => {
            ("expected `,` or `}`", "separate entries with `,` and close `{` with `}`")
        }
        Kind::ExpectedFlowSequenceSeparator => {
            ("expected `,` or `]`", "separate items with `,` and close `[` with `]`")
        }
        Kind::UnknownAnchor => {
            ("an alias to an anchor that does not exist", "write `&name` at a value before `*name`")
        }
        Kind::UnknownQuotedScalarEscape => {
            ("an escape that YAML does not know", "double the `\\`, or use single quotes")
        }
        Kind::ExpectedDocumentStart | Kind::InvalidDocumentEnd => {
            ("more text after the end of the document", "put `---` on a line between documents")
        }
        Kind::UnclosedFlowCollection { open } => {
            return (format!("`{open}` is never closed"), Some("add the closing bracket"));
        }
        Kind::UnexpectedCharacter { character } => {
            return (
                format!("a value cannot begin with {character:?}"),
                Some("put the value in quotes"),
            );
        }
        other => return (other.to_string(), None),
    };
    (message.to_owned(), Some(help))
}

/// Whether the line at `offset`, or the one before it, has a template's braces. Scanners see what
/// is wrong with a template one line late at times.
fn is_template(text: &str, offset: usize) -> bool {
    let before = text.get(..offset).unwrap_or_default();
    let start = before.rmatch_indices('\n').nth(1).map_or(0, |(at, _)| at + 1);
    let rest = text.get(offset..).unwrap_or_default();
    let end = offset + rest.find('\n').unwrap_or(rest.len());
    text.get(start..end).is_some_and(|lines| lines.contains("{{"))
}
