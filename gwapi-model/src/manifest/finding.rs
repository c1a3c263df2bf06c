//! Something wrong with an object, before it is known how the object is called.

use super::Severity;
use super::node::Span;
use super::tree::Fault;
use crate::validate::{FieldPath, PathSegment};

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
