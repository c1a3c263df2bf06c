//! Trees into typed objects, by serde, with errors that know their place.

use std::cell::RefCell;
use std::collections::HashSet;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, IntoDeserializer, MapAccess, SeqAccess, Visitor,
};
use serde::{Deserializer, forward_to_deserialize_any};

use super::de_error::Error;
use super::fields;
use super::finding::Finding;
use super::node::{Entry, Node, Value};
use super::trail::Trail;

/// What holds for a whole object.
pub(super) struct Context<'a> {
    /// The text that the spans refer to.
    pub(super) text: &'a str,
    /// Whether a field that does not exist is an error, or else a warning. Core kinds are read by
    /// much else besides, so there an object stays what it is without the field.
    pub(super) strict: bool,
    /// Whether values must not be repeated in messages.
    pub(super) redact: bool,
}

/// Reads an object, and adds what is wrong with it.
///
/// Serde stops at the first error. So that all of them are told at once, the object is read again
/// without what was wrong, until nothing is.
pub(super) fn read<T: DeserializeOwned>(
    root: &Node<'_>,
    context: &Context<'_>,
    findings: &mut Vec<Finding>,
) -> Option<T> {
    let mut state = State::default();
    let mut object = None;
    let mut told = 0;
    while told < MAX_ERRORS {
        let reader = Reader { node: root, trail: &Trail::Root, context, state: &state };
        match T::deserialize(reader).map_err(|error| reader.place(error)) {
            Ok(complete) => {
                // Without what was skipped, it is not the object that was written.
                object = state.skipped.is_empty().then_some(complete);
                break;
            }
            Err(Error::Placed(place)) => {
                told += place.finding.iter().len();
                findings.extend(place.finding);
                let is_new = state.skipped.insert(place.node);
                if !is_new || place.node == address(root) {
                    break;
                }
            }
            Err(Error::Loose(_)) => break,
        }
    }
    findings.append(&mut state.unknown.into_inner());
    object
}

/// Errors that are told of one object.
const MAX_ERRORS: usize = 20;

/// Fields that do not exist, as far as they are told of one object.
const MAX_UNKNOWN_FIELDS: usize = 100;

/// What is known of an object while it is read.
#[derive(Default)]
struct State {
    /// Findings about fields that do not exist.
    unknown: RefCell<Vec<Finding>>,
    /// Values that are left out because they are wrong.
    skipped: HashSet<Address>,
}

impl State {
    /// Takes findings in, each one once: structs are read again where others have errors.
    fn add_unknown(&self, findings: impl Iterator<Item = Finding>) {
        let mut unknown = self.unknown.borrow_mut();
        for finding in findings {
            if unknown.len() == MAX_UNKNOWN_FIELDS {
                return;
            }
            if unknown.iter().all(|known| known.span != finding.span) {
                unknown.push(finding);
            }
        }
    }
}

/// Which node of the tree it is. Trees do not move while they are read.
pub(super) type Address = *const ();

/// The address of a node.
pub(super) fn address(node: &Node<'_>) -> Address {
    std::ptr::from_ref(node).cast()
}

/// Deserializes one value.
#[derive(Clone, Copy)]
struct Reader<'a, 't> {
    node: &'a Node<'t>,
    trail: &'a Trail<'a>,
    context: &'a Context<'a>,
    state: &'a State,
}

impl<'a, 't> Reader<'a, 't> {
    /// The reader of a value inside this one.
    fn child<'b>(self, node: &'b Node<'t>, trail: &'b Trail<'b>) -> Reader<'b, 't>
    where
        'a: 'b,
    {
        Reader { node, trail, ..self }
    }

    fn place(self, error: Error) -> Error {
        error.at(self.node, self.trail, self.context)
    }

    fn value<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Int(value) => match (i64::try_from(*value), u64::try_from(*value)) {
                (_, Ok(value)) => visitor.visit_u64(value),
                (Ok(value), _) => visitor.visit_i64(value),
                _ => visitor.visit_i128(*value),
            },
            Value::Float(value) => visitor.visit_f64(*value),
            Value::String(text) => visitor.visit_str(text),
            Value::Seq(items) => visitor.visit_seq(Items { reader: self, items, next: 0 }),
            Value::Map(entries) => visitor.visit_map(Entries::all(self, entries)),
        }
    }
}

impl<'de> Deserializer<'de> for Reader<'_, '_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.value(visitor).map_err(|error| self.place(error))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.node.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
            .map_err(|error| self.place(error))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let Some(entries) = self.node.entries() else {
            return Err(self.place(Error::expected("a map")));
        };
        let strict = self.context.strict;
        self.state.add_unknown(fields::unknown(name, fields, entries, self.trail, strict));
        let entries = Entries { reader: self, entries, next: 0, fields: Some(fields) };
        visitor.visit_map(entries).map_err(|error| self.place(error))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self).map_err(|error| self.place(error))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.node.text() {
            Some(text) => visitor.visit_enum(text.into_deserializer()),
            None => Err(Error::expected("a string")),
        }
        .map_err(|error: Error| self.place(error))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map identifier
    }
}

/// Items of a list.
struct Items<'a, 't> {
    reader: Reader<'a, 't>,
    items: &'a [Node<'t>],
    next: usize,
}

impl<'de> SeqAccess<'de> for Items<'_, '_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        let rest = self.items.iter().enumerate().skip(self.next);
        let kept = |item: &Node<'_>| !self.reader.state.skipped.contains(&address(item));
        let Some((index, item)) = rest.into_iter().find(|(_, item)| kept(item)) else {
            return Ok(None);
        };
        self.next = index + 1;
        let trail = Trail::Index(self.reader.trail, index);
        let reader = self.reader.child(item, &trail);
        seed.deserialize(reader).map(Some).map_err(|error| reader.place(error))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len() - self.next)
    }
}

/// Entries of a map, or fields of a struct.
struct Entries<'a, 't> {
    reader: Reader<'a, 't>,
    entries: &'a [Entry<'t>],
    next: usize,
    /// The fields of a struct. A field that is null counts as absent there, as it does for an API
    /// server, and unknown fields have been dealt with.
    fields: Option<&'static [&'static str]>,
}

impl<'a, 't> Entries<'a, 't> {
    fn all(reader: Reader<'a, 't>, entries: &'a [Entry<'t>]) -> Self {
        Self { reader, entries, next: 0, fields: None }
    }
}

impl<'de> MapAccess<'de> for Entries<'_, '_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        while let Some(entry) = self.entries.get(self.next) {
            let is_wanted = self
                .fields
                .is_none_or(|fields| !entry.value.is_null() && fields.contains(&&*entry.key));
            if is_wanted && !self.reader.state.skipped.contains(&address(&entry.value)) {
                return seed.deserialize(StrDeserializer::new(&entry.key)).map(Some);
            }
            self.next += 1;
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let Some(entry) = self.entries.get(self.next) else {
            return Err(Error::expected("a value"));
        };
        self.next += 1;
        let trail = Trail::Field(self.reader.trail, &entry.key);
        let reader = self.reader.child(&entry.value, &trail);
        seed.deserialize(reader).map_err(|error| reader.place(error))
    }
}
