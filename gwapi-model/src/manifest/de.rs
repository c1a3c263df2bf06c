//! Trees into typed objects, by serde, with errors that know their place.

use std::cell::RefCell;

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
    /// Whether a field that the type does not have is an error. The types of core kinds list only
    /// what routing reads, so there it is not.
    pub(super) strict: bool,
    /// Whether values must not be repeated in messages.
    pub(super) redact: bool,
}

/// Reads an object. Findings are errors and warnings that did not keep it from being read, such
/// as unknown fields; all of them come back, also next to an error.
pub(super) fn read<T: DeserializeOwned>(
    root: &Node<'_>,
    context: &Context<'_>,
    findings: &mut Vec<Finding>,
) -> Option<T> {
    let unknown = RefCell::new(std::mem::take(findings));
    let reader = Reader { node: root, trail: &Trail::Root, context, findings: &unknown };
    let result = T::deserialize(reader).map_err(|error| error.at(root, &Trail::Root, context));
    *findings = unknown.into_inner();
    match result {
        Ok(object) => Some(object),
        Err(Error::Placed(finding)) => {
            findings.push(*finding);
            None
        }
        Err(Error::Loose(trouble)) => {
            findings.push(Finding::error(root.span, Error::Loose(trouble).to_string()));
            None
        }
    }
}

/// Deserializes one value.
#[derive(Clone, Copy)]
struct Reader<'a, 't> {
    node: &'a Node<'t>,
    trail: &'a Trail<'a>,
    context: &'a Context<'a>,
    findings: &'a RefCell<Vec<Finding>>,
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
        if self.context.strict {
            let unknown = fields::unknown(name, fields, entries, self.trail);
            self.findings.borrow_mut().extend(unknown);
        }
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
        let index = self.next;
        let Some(item) = self.items.get(index) else { return Ok(None) };
        self.next += 1;
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
            let wanted = self
                .fields
                .is_none_or(|fields| !entry.value.is_null() && fields.contains(&&*entry.key));
            if wanted {
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
