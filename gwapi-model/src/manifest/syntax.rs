//! Syntax errors in words that tell what to do.

use granit_parser::{ErrorKind, ScanError};

use super::node::Span;
use super::tree::Fault;

/// The fault that a scanner's error stands for.
pub(super) fn fault(text: &str, error: &ScanError) -> Fault {
    let start = error.marker().byte_offset().unwrap_or(text.len()).min(text.len());
    let width = text
        .get(start..)
        .and_then(|rest| rest.chars().next())
        .filter(|c| *c != '\n')
        .map_or(0, char::len_utf8);
    let (message, help) = describe(error.kind());
    let help = if is_template(text, start) {
        Some("this looks like a template: render it first, for example with `helm template`")
    } else {
        help
    };
    Fault { span: Span::new(start, start + width), message, help: help.map(str::to_owned) }
}

/// What is wrong, and what usually helps.
fn describe(kind: &ErrorKind) -> (String, Option<&'static str>) {
    use ErrorKind as Kind;
    let (message, help) = match kind {
        Kind::TabInIndentation
        | Kind::TabInBlockIndentation
        | Kind::TabNotAllowed
        | Kind::TabAtBlockScalarStart
        | Kind::TabInPlainScalar => {
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
        Kind::UnclosedQuotedScalar | Kind::DocumentIndicatorInQuotedScalar => {
            ("a quote that is never closed", "close the quote")
        }
        Kind::InvalidQuotedScalarIndent => {
            ("a quoted text whose next line is not indented", "close the quote, or indent the line")
        }
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
        Kind::RecursionLimitExceeded => ("nested too deeply", "nest less deeply"),
        Kind::UnclosedFlowCollection { open } => {
            return (format!("`{open}` is never closed"), Some("add the closing bracket"));
        }
        Kind::UnexpectedCharacter { character } => {
            return (
                format!("`{}` cannot begin a value", character.escape_debug()),
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
