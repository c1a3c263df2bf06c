//! Errors of deserialization: what was expected, what was found, what to do.

use std::fmt;

use serde::de::{self, Expected, Unexpected};

use super::Severity;
use super::de::{Address, Context, address};
use super::finding::Finding;
use super::node::{Node, Span, Value};
use super::plain;
use super::quoting::{excerpt, quoted};
use super::trail::Trail;

/// An error on its way up: it gets its place at the innermost value that it passes.
#[derive(Debug)]
pub(super) enum Error {
    /// Without a place yet.
    Loose(Trouble),
    /// With its place.
    Placed(Box<Place>),
}

/// Where an error is.
#[derive(Debug)]
pub(super) struct Place {
    /// The innermost value around it.
    pub(super) node: Address,
    /// What to tell; nothing where the error only follows from another one.
    pub(super) finding: Option<Finding>,
}

/// What can be wrong with a value.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It is no such thing.
    Expected(String),
    /// It lacks a field.
    Missing(&'static str),
    /// It does not parse; the parser says why.
    Other(String),
}

impl Error {
    /// The value is not what it should be.
    pub(super) fn expected(what: &str) -> Self {
        Self::Loose(Trouble::Expected(what.to_owned()))
    }

    /// The same error, placed at `node` if it has no place yet.
    pub(super) fn at(self, node: &Node<'_>, trail: &Trail<'_>, context: &Context<'_>) -> Self {
        match self {
            Self::Loose(trouble) => {
                let finding = finding(trouble, node, trail, context);
                Self::Placed(Box::new(Place { node: address(node), finding }))
            }
            placed @ Self::Placed(_) => placed,
        }
    }
}

fn finding(
    trouble: Trouble,
    node: &Node<'_>,
    trail: &Trail<'_>,
    context: &Context<'_>,
) -> Option<Finding> {
    let mut span = node.span;
    let (message, help) = match trouble {
        Trouble::Expected(what) => expected(&what, node, context),
        Trouble::Missing(name) => {
            let entry = node.entry(name);
            if entry.is_some_and(|entry| !entry.value.is_null()) {
                // It is there, and was left out because it is wrong: that has been told.
                return None;
            }
            span = entry.map_or(span, |entry| entry.key_span);
            let help = match entry {
                Some(_) => "give it a value".to_owned(),
                None if name == "name" && node.get("generateName").is_some() => {
                    "names are not generated here: write `name`".to_owned()
                }
                None => format!("add `{name}: ...` here"),
            };
            (format!("missing field `{name}`"), Some(help))
        }
        Trouble::Other(_) if trail.last_field() == Some("creationTimestamp") => {
            expected("a time such as 2024-01-31T12:00:00Z", node, context)
        }
        Trouble::Other(text) if text.starts_with("data did not match any variant") => {
            expected("an integer or a string", node, context)
        }
        Trouble::Other(text) => (text, None),
    };
    Some(Finding { severity: Severity::Error, span, field: trail.path(), message, help })
}

/// "expected ..., found ...", and what usually helps.
fn expected(what: &str, node: &Node<'_>, context: &Context<'_>) -> (String, Option<String>) {
    let what = in_words(what, node);
    let message = format!("expected {what}, found {}", found(node, context));
    let help = match &node.value {
        _ if context.redact => None,
        Value::Int(_) | Value::Float(_) | Value::Bool(_) if what == "a string" => {
            Some(format!("put it in quotes: \"{}\"", excerpt(source(node.span, context))))
        }
        Value::String(text) if wants_number(&what) && plain::number(text).is_some() => {
            Some(format!("remove the quotes: {}", excerpt(text)))
        }
        Value::String(text) if what == "true or false" => match text.to_lowercase().as_str() {
            "true" | "yes" | "on" | "y" => Some("write true, without quotes".to_owned()),
            "false" | "no" | "off" | "n" => Some("write false, without quotes".to_owned()),
            _ => None,
        },
        _ if what.starts_with("a port ") => {
            Some("write the number of the port, such as 8080".to_owned())
        }
        Value::Map(_) if what == "a list" => Some("begin each item with `- `".to_owned()),
        _ => None,
    };
    (message, help)
}

fn wants_number(what: &str) -> bool {
    what.contains("integer") || what.contains("port")
}

/// Serde's names for types, in words of YAML.
fn in_words(what: &str, node: &Node<'_>) -> String {
    let range = match what {
        "i32" => Some((i64::from(i32::MIN), i64::from(i32::MAX))),
        "i64" => Some((i64::MIN, i64::MAX)),
        _ => None,
    };
    match (range, &node.value) {
        (Some((from, to)), Value::Int(_)) => format!("an integer from {from} to {to}"),
        (Some(_), _) => "an integer".to_owned(),
        (None, _) => match what {
            "a boolean" => "true or false".to_owned(),
            "a sequence" => "a list".to_owned(),
            other if other.starts_with("struct ") => "a map".to_owned(),
            other => other.to_owned(),
        },
    }
}

/// What a value is. Values of Secrets are never repeated.
fn found(node: &Node<'_>, context: &Context<'_>) -> String {
    let shown = |noun: &str, text: String| {
        if context.redact { noun.to_owned() } else { format!("{noun} {text}") }
    };
    match &node.value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(value) => shown("boolean", value.to_string()),
        Value::Int(_) => shown("integer", excerpt(source(node.span, context))),
        Value::Float(_) => shown("number", excerpt(source(node.span, context))),
        Value::String(text) => shown("string", format!("\"{}\"", excerpt(text))),
        Value::Seq(_) => "a list".to_owned(),
        Value::Map(_) => "a map".to_owned(),
    }
}

fn source<'a>(span: Span, context: &Context<'a>) -> &'a str {
    context.text.get(span.start as usize..span.end as usize).unwrap_or_default()
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loose(Trouble::Expected(what)) => write!(f, "expected {what}"),
            Self::Loose(Trouble::Missing(name)) => write!(f, "missing field `{name}`"),
            Self::Loose(Trouble::Other(text)) => f.write_str(text),
            Self::Placed(place) => {
                f.write_str(place.finding.as_ref().map_or("wrong", |finding| &finding.message))
            }
        }
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Loose(Trouble::Other(message.to_string()))
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::Loose(Trouble::Expected(expected.to_string()))
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(unexpected, expected)
    }

    fn missing_field(field: &'static str) -> Self {
        Self::Loose(Trouble::Missing(field))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::custom(format_args!(
            "expected one of {}, found {}",
            expected.join(", "),
            quoted(variant)
        ))
    }
}
