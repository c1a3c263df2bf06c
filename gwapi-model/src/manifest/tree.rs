//! From text to trees, one for each document: events of the YAML parser in, [`Node`]s out.
//!
//! JSON takes the same way: it is YAML's flow style.
//!
//! Whatever a text says, the work and the memory that it costs are bounded by its length: nesting
//! is limited, and so is what aliases add ("alias bombs").

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use granit_parser::{Event, Parser, ScalarStyle, StrInput, StructureStyle, Tag};

use super::budget::{Budget, MAX_DEPTH, too_deep};
use super::node::{Entry, Node, Span, Value};
use super::plain;
use super::quoting::quoted;
use super::syntax;
use super::tags::{WITHOUT_MEANING, tagged};

/// Faults that are kept for one document: whoever made more does not read them all.
const MAX_FAULTS: usize = 100;
/// Maps up to this length are searched for duplicate keys without a table.
const SMALL_MAP: usize = 12;

/// Something wrong with the text itself, whatever it was meant to say.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fault {
    pub(super) span: Span,
    pub(super) message: String,
    pub(super) help: Option<String>,
}

impl Fault {
    pub(super) fn new(span: Span, message: impl Into<String>, help: &str) -> Self {
        Self { span, message: message.into(), help: Some(help.to_owned()) }
    }
}

/// A document that could be read.
#[derive(Debug)]
pub(super) struct Document<'t> {
    pub(super) root: Node<'t>,
    /// What is wrong with it although its values are plain: duplicate keys, unknown tags.
    pub(super) faults: Vec<Fault>,
}

/// The documents of a text. A document that cannot be read is an error; the next one follows.
pub(super) struct Documents<'t> {
    text: &'t str,
    parser: Parser<'t, StrInput<'t>>,
    ended: bool,
}

impl<'t> Documents<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        let options = granit_parser::options! {
            emit_comments: false,
            block_nesting_limit: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
        };
        let parser = Parser::new_from_str_with_options(text, options);
        Self { text, parser, ended: false }
    }

    /// Gives the current document up and looks for the next one.
    fn recover(&mut self) {
        self.ended = self.parser.proceed_next_document().is_err();
    }
}

impl<'t> Iterator for Documents<'t> {
    type Item = Result<Document<'t>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut builder = Builder::default();
        while !self.ended {
            let fault = match self.parser.next_event()? {
                Ok((Event::DocumentEnd, _)) => match builder.finish() {
                    Some(document) => return Some(Ok(document)),
                    None => continue,
                },
                Ok((event, span)) => match builder.event(event, &span) {
                    Ok(()) => continue,
                    Err(fault) => syntax::explained(self.text, fault),
                },
                Err(error) => syntax::fault(self.text, &error),
            };
            self.recover();
            return Some(Err(fault));
        }
        None
    }
}

/// Builds one document.
#[derive(Default)]
struct Builder<'t> {
    /// The maps and lists that are open.
    stack: Vec<Frame<'t>>,
    anchors: HashMap<usize, Part<'t>>,
    root: Option<Node<'t>>,
    faults: Vec<Fault>,
    budget: Budget,
}

/// A finished value with what it costs to walk it.
#[derive(Clone)]
struct Part<'t> {
    node: Node<'t>,
    /// Number of values in it, itself included, aliases followed.
    size: u64,
    /// Levels of maps and lists in it.
    height: usize,
}

/// A map or list that is not finished.
struct Frame<'t> {
    content: Content<'t>,
    start: u32,
    end: u32,
    /// Whether it is written with brackets, and so ends where they close.
    flow: bool,
    anchor: usize,
    size: u64,
    height: usize,
}

enum Content<'t> {
    Seq(Vec<Node<'t>>),
    Map {
        entries: Vec<Entry<'t>>,
        key: Option<Key<'t>>,
        /// Values of merge keys, `<<`.
        merged: Vec<Node<'t>>,
    },
}

struct Key<'t> {
    text: Cow<'t, str>,
    span: Span,
    /// Whether this is a merge key: an unquoted `<<`.
    merge: bool,
}

impl<'t> Builder<'t> {
    /// Takes an event in. A fault means that the document cannot be told.
    fn event(&mut self, event: Event<'t>, span: &granit_parser::Span) -> Result<(), Fault> {
        let place = place(span);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.scalar(text, style, anchor, tag.as_deref(), span)
            }
            Event::SequenceStart(style, anchor, tag) => {
                self.check_collection_tag(tag.as_deref(), "seq", span);
                self.open(Content::Seq(Vec::new()), style, anchor, place)
            }
            Event::MappingStart(style, anchor, tag) => {
                self.check_collection_tag(tag.as_deref(), "map", span);
                let content = Content::Map { entries: Vec::new(), key: None, merged: Vec::new() };
                self.open(content, style, anchor, place)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                self.close(place);
                Ok(())
            }
            Event::Alias(anchor) => self.alias(anchor, place),
            _ => Ok(()),
        }
    }

    /// The document, once its root is there.
    fn finish(&mut self) -> Option<Document<'t>> {
        let root = self.root.take()?;
        Some(Document { root, faults: std::mem::take(&mut self.faults) })
    }

    fn scalar(
        &mut self,
        text: Cow<'t, str>,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
        span: &granit_parser::Span,
    ) -> Result<(), Fault> {
        let place = place(span);
        self.budget.write(place)?;
        let is_key = self.expects_key();
        let merge = is_key && style == ScalarStyle::Plain && text == "<<";
        let key_text = is_key.then(|| text.clone());
        let value = match tag {
            None if style == ScalarStyle::Plain => plain::resolve(text),
            None => Value::String(text),
            Some(tag) => tagged(tag, text).unwrap_or_else(|(message, value)| {
                self.fault(
                    tag_place(span),
                    message,
                    "remove the tag, or write a value that fits it",
                );
                value
            }),
        };
        let part = Part { node: Node { span: place, value }, size: 1, height: 0 };
        self.define(anchor, &part);
        match key_text {
            Some(text) => self.set_key(Key { text, span: place, merge }),
            None => self.push(part),
        }
        Ok(())
    }

    fn alias(&mut self, anchor: usize, place: Span) -> Result<(), Fault> {
        let Some(part) = self.anchors.get(&anchor).cloned() else {
            return Err(Fault::new(
                place,
                "an alias to the value that it stands in",
                "write the value out",
            ));
        };
        self.budget.alias(part.size, place)?;
        if self.stack.len() + part.height > MAX_DEPTH {
            return Err(too_deep(place));
        }
        if !self.expects_key() {
            self.push(part);
            return Ok(());
        }
        match part.node.value {
            Value::String(text) => {
                self.set_key(Key { text, span: place, merge: false });
                Ok(())
            }
            _ => Err(key_is_no_text(place)),
        }
    }

    fn open(
        &mut self,
        content: Content<'t>,
        style: StructureStyle,
        anchor: usize,
        place: Span,
    ) -> Result<(), Fault> {
        if self.expects_key() {
            return Err(key_is_no_text(place));
        }
        if self.stack.len() >= MAX_DEPTH {
            return Err(too_deep(place));
        }
        self.budget.write(place)?;
        self.stack.push(Frame {
            content,
            start: place.start,
            end: place.end,
            flow: style == StructureStyle::Flow,
            anchor,
            size: 1,
            height: 0,
        });
        Ok(())
    }

    fn close(&mut self, place: Span) {
        let Some(frame) = self.stack.pop() else { return };
        let value = match frame.content {
            Content::Seq(items) => Value::Seq(Rc::new(items)),
            Content::Map { entries, merged, .. } => {
                let entries = self.unique(entries);
                Value::Map(Rc::new(self.merge(entries, &merged)))
            }
        };
        let end = if frame.flow { place.end } else { frame.end };
        let span = Span { start: frame.start, end: end.max(frame.start) };
        let part = Part { node: Node { span, value }, size: frame.size, height: frame.height + 1 };
        self.define(frame.anchor, &part);
        self.push(part);
    }

    /// Whether the next value is the key of a map.
    fn expects_key(&self) -> bool {
        let top = self.stack.last().map(|frame| &frame.content);
        matches!(top, Some(Content::Map { key: None, .. }))
    }

    fn set_key(&mut self, new: Key<'t>) {
        if let Some(Frame { content: Content::Map { key, .. }, end, .. }) = self.stack.last_mut() {
            *end = (*end).max(new.span.end);
            *key = Some(new);
        }
    }

    /// Puts a finished value where it belongs.
    fn push(&mut self, part: Part<'t>) {
        let Some(frame) = self.stack.last_mut() else {
            self.root = Some(part.node);
            return;
        };
        // An alias stands elsewhere: what it stands for does not lengthen this map or list.
        if part.node.span.start >= frame.start {
            frame.end = frame.end.max(part.node.span.end);
        }
        frame.size += part.size;
        frame.height = frame.height.max(part.height);
        match &mut frame.content {
            Content::Seq(items) => items.push(part.node),
            Content::Map { entries, key, merged } => match key.take() {
                Some(key) if key.merge => merged.push(part.node),
                Some(key) => {
                    let Key { text, span, .. } = key;
                    entries.push(Entry { key: text, key_span: span, value: part.node });
                }
                None => {}
            },
        }
    }

    fn define(&mut self, anchor: usize, part: &Part<'t>) {
        if anchor != 0 {
            self.anchors.insert(anchor, part.clone());
        }
    }

    fn fault(&mut self, span: Span, message: impl Into<String>, help: &str) {
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(Fault::new(span, message, help));
        }
    }

    fn check_collection_tag(
        &mut self,
        tag: Option<&Tag>,
        suffix: &str,
        span: &granit_parser::Span,
    ) {
        if let Some(tag) = tag
            && !(tag.is_yaml_core_schema() && tag.suffix() == suffix)
        {
            self.fault(tag_place(span), WITHOUT_MEANING, "remove the tag");
        }
    }

    /// Reports keys that a map has twice; the first one stays.
    fn unique(&mut self, mut entries: Vec<Entry<'t>>) -> Vec<Entry<'t>> {
        let is_new: Vec<bool> = if entries.len() <= SMALL_MAP {
            let before = |at: usize| entries[..at].iter().map(|entry| &entry.key);
            (0..entries.len()).map(|at| before(at).all(|key| *key != entries[at].key)).collect()
        } else {
            let mut seen = HashSet::with_capacity(entries.len());
            entries.iter().map(|entry| seen.insert(&*entry.key)).collect()
        };
        if is_new.contains(&false) {
            let mut is_new = is_new.into_iter();
            entries.retain(|entry| {
                let keep = is_new.next().unwrap_or(true);
                if !keep {
                    let message =
                        format!("the key {} stands twice in this map", quoted(&entry.key));
                    self.fault(entry.key_span, message, "keep one of the two");
                }
                keep
            });
        }
        entries
    }

    /// Adds what merge keys bring in: keys that are not there yet, from the first map that has
    /// them.
    fn merge(&mut self, mut entries: Vec<Entry<'t>>, merged: &[Node<'t>]) -> Vec<Entry<'t>> {
        if merged.is_empty() {
            return entries;
        }
        let mut present: HashSet<Cow<'t, str>> =
            entries.iter().map(|entry| entry.key.clone()).collect();
        for node in merged {
            let maps = node.items().unwrap_or(std::slice::from_ref(node));
            for map in maps {
                let Some(more) = map.entries() else {
                    self.fault(
                        map.span,
                        "a merge key `<<` takes a map or a list of maps",
                        "write an alias to a map, such as `<<: *defaults`",
                    );
                    continue;
                };
                for entry in more {
                    if present.insert(entry.key.clone()) {
                        entries.push(entry.clone());
                    }
                }
            }
        }
        entries
    }
}

fn place(span: &granit_parser::Span) -> Span {
    let range = span.byte_range().unwrap_or_default();
    Span::new(range.start, range.end)
}

fn tag_place(span: &granit_parser::Span) -> Span {
    place(&span.tag_span().unwrap_or(*span))
}

fn key_is_no_text(place: Span) -> Fault {
    Fault::new(place, "expected a text as key of a map", "write `key: value`")
}
