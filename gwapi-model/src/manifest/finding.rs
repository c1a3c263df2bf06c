//! Something wrong with an object, before it is known how the object is called.

use super::Severity;
use super::node::{Node, Span};
use super::tree::Fault;
use crate::validate::{FieldPath, PathSegment, Violation};

/// Something wrong at a place of the text.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    pub(super) span: Span,
    /// The field, from the object's root; empty for the whole object.
    pub(super) field: FieldPath,
    pub(super) message: String,
    pub(super) help: Option<String>,
}

impl Finding {
    /// An error about a whole object, or about something that is no field.
    pub(super) fn error(span: Span, message: impl Into<String>) -> Self {
        let (field, message) = (FieldPath::default(), message.into());
        Self { severity: Severity::Error, span, field, message, help: None }
    }

    /// A warning about a whole object.
    pub(super) fn warning(span: Span, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(span, message) }
    }

    /// A violation, at the innermost value that is there on its path.
    pub(super) fn located(violation: Violation, root: &Node<'_>) -> Self {
        let Violation { path, message, help } = violation;
        let span = innermost(&path, root);
        Self { severity: Severity::Error, span, field: path, message, help }
    }

    /// The same with the field that it is about, as dotted names.
    pub(super) fn field(mut self, path: &str) -> Self {
        self.field =
            FieldPath(path.split('.').map(|name| PathSegment::Field(name.to_owned())).collect());
        self
    }

    /// The same with what to do about it.
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl From<Fault> for Finding {
    fn from(fault: Fault) -> Self {
        Self { help: fault.help, ..Self::error(fault.span, fault.message) }
    }
}

/// The place of the innermost value that is there on a path.
pub(super) fn innermost(path: &FieldPath, root: &Node<'_>) -> Span {
    let (mut node, mut span) = (root, root.span);
    for segment in &path.0 {
        let next = match segment {
            PathSegment::Field(name) => node.entry(name).map(|entry| {
                // A map or list that begins below its key is found by its key.
                let is_inner = entry.value.entries().is_some() || entry.value.items().is_some();
                let span = if is_inner || entry.value.is_null() {
                    entry.key_span
                } else {
                    entry.value.span
                };
                (&entry.value, span)
            }),
            PathSegment::Index(index) => {
                node.items().and_then(|items| items.get(*index)).map(|item| (item, item.span))
            }
        };
        match next {
            Some(next) => (node, span) = next,
            None => break,
        }
    }
    span
}
