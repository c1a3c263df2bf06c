//! The way from an object's root to a value, kept on the stack: it costs nothing until something
//! is wrong there.

use crate::validate::{FieldPath, PathSegment};

/// The way to a value, last step first.
#[derive(Clone, Copy)]
pub(super) enum Trail<'a> {
    /// The object itself.
    Root,
    /// A field of what the trail leads to.
    Field(&'a Trail<'a>, &'a str),
    /// An item of what the trail leads to.
    Index(&'a Trail<'a>, usize),
}

impl Trail<'_> {
    /// Whether this is the object itself.
    pub(super) fn is_root(&self) -> bool {
        matches!(self, Trail::Root)
    }

    /// The last field on the way.
    pub(super) fn last_field(&self) -> Option<&str> {
        match self {
            Trail::Root => None,
            Trail::Field(_, name) => Some(name),
            Trail::Index(parent, _) => parent.last_field(),
        }
    }

    /// The way as a value of its own.
    pub(super) fn path(&self) -> FieldPath {
        let (parent, segment) = match self {
            Trail::Root => return FieldPath::default(),
            Trail::Field(parent, name) => (parent, PathSegment::Field((*name).to_owned())),
            Trail::Index(parent, index) => (parent, PathSegment::Index(*index)),
        };
        let mut path = parent.path();
        path.0.push(segment);
        path
    }
}
