//! What a document says: a tree of values that knows where each of them stands in the text.

use std::borrow::Cow;
use std::rc::Rc;

/// A range of bytes of the text. Texts are shorter than 4 GiB by far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Span {
    /// From byte offsets.
    pub(super) fn new(start: usize, end: usize) -> Self {
        let clamp = |offset| u32::try_from(offset).unwrap_or(u32::MAX);
        Self { start: clamp(start), end: clamp(end.max(start)) }
    }

    /// Whether `other` begins inside.
    pub(super) fn holds(self, other: Span) -> bool {
        (self.start..self.end.max(self.start + 1)).contains(&other.start)
    }
}

/// A value and its place.
///
/// Cloning is cheap: lists and maps are shared, so that a YAML alias costs nothing.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node<'t> {
    pub(super) span: Span,
    pub(super) value: Value<'t>,
}

/// A value of YAML 1.2's core schema.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value<'t> {
    Null,
    Bool(bool),
    /// An integer in the range of `i64` or `u64`.
    Int(i128),
    Float(f64),
    String(Cow<'t, str>),
    Seq(Rc<Vec<Node<'t>>>),
    Map(Rc<Vec<Entry<'t>>>),
}

/// One entry of a map. Keys are unique in their map.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry<'t> {
    pub(super) key: Cow<'t, str>,
    pub(super) key_span: Span,
    pub(super) value: Node<'t>,
}

impl<'t> Node<'t> {
    /// The entries, where this is a map.
    pub(super) fn entries(&self) -> Option<&[Entry<'t>]> {
        match &self.value {
            Value::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// The items, where this is a list.
    pub(super) fn items(&self) -> Option<&[Node<'t>]> {
        match &self.value {
            Value::Seq(items) => Some(items),
            _ => None,
        }
    }

    /// The text, where this is one.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The entry of a key, where this is a map that has it.
    pub(super) fn entry(&self, key: &str) -> Option<&Entry<'t>> {
        self.entries()?.iter().find(|entry| entry.key == key)
    }

    /// The value of a key; a null counts as absent, as it does for an API server.
    pub(super) fn get(&self, key: &str) -> Option<&Node<'t>> {
        self.entry(key).map(|entry| &entry.value).filter(|value| !value.is_null())
    }

    /// The value at a path of keys.
    pub(super) fn find(&self, keys: &[&str]) -> Option<&Node<'t>> {
        keys.iter().try_fold(self, |node, key| node.get(key))
    }

    /// Whether this is null.
    pub(super) fn is_null(&self) -> bool {
        self.value == Value::Null
    }
}
