//! Tags, which say what type a value is of.

use std::borrow::Cow;

use granit_parser::Tag;

use super::node::Value;
use super::plain;
use super::quoting::quoted;

/// The message about a tag that nobody defines. It does not repeat the tag: a password that begins
/// with `!` is one.
pub(super) const WITHOUT_MEANING: &str = "a tag that has no meaning here";

/// The value that a tag gives to a text; where it fits not, a message and the best guess.
pub(super) fn tagged<'t>(tag: &Tag, text: Cow<'t, str>) -> Result<Value<'t>, (String, Value<'t>)> {
    // A lone `!` makes a text of what follows.
    if tag.suffix() == "!" && tag.handle().is_empty() {
        return Ok(Value::String(text));
    }
    if !tag.is_yaml_core_schema() {
        return Err((WITHOUT_MEANING.to_owned(), Value::String(text)));
    }
    let value = match (tag.suffix(), plain::resolve(Cow::Borrowed(&*text))) {
        ("str", _) => return Ok(Value::String(text)),
        ("int", Value::Int(value)) => Value::Int(value),
        ("float", Value::Float(value)) => Value::Float(value),
        #[expect(clippy::cast_precision_loss, reason = "a float is what the tag asks for")]
        ("float", Value::Int(value)) => Value::Float(value as f64),
        ("bool", Value::Bool(value)) => Value::Bool(value),
        ("null", Value::Null) => Value::Null,
        (suffix @ ("int" | "float" | "bool" | "null"), _) => {
            let message = format!("expected a value of the type {}", quoted(suffix));
            return Err((message, Value::String(text)));
        }
        _ => return Err((WITHOUT_MEANING.to_owned(), Value::String(text))),
    };
    Ok(value)
}
