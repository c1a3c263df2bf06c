//! Every check of `validate`: a valid object, one change, and what is then reported.

mod backend_tls_policies;
mod backend_traffic_policies;
mod core_kinds;
mod filters;
mod gateway_parameters;
mod gateways;
mod grpc_routes;
mod http_routes;
mod reference_grants;
mod stream_routes;
mod telemetry_policies;
mod x_backends;

use gwapi_model::{Resource, validate::validate};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// One change of a valid object and the reports it earns.
struct Case {
    /// What is wrong.
    what: &'static str,
    /// JSON pointer to what is changed; `-` in the end appends to a list.
    pointer: &'static str,
    /// The new value; `null` removes the field.
    value: Value,
    /// `path: message` of every violation, with ` [help]` where there is one.
    expected: &'static [&'static str],
}

fn case(
    what: &'static str,
    pointer: &'static str,
    value: Value,
    expected: &'static [&'static str],
) -> Case {
    Case { what, pointer, value, expected }
}

/// Checks that `valid` is valid and that every change of it is reported as expected.
fn check<T: DeserializeOwned + Into<Resource>>(valid: &Value, cases: Vec<Case>) {
    assert_eq!(violations::<T>(valid.clone()), Vec::<String>::new(), "the object to change");
    for Case { what, pointer, value, expected } in cases {
        let mut object = valid.clone();
        set(&mut object, pointer, value);
        assert_eq!(violations::<T>(object), expected, "{what}");
    }
}

fn violations<T: DeserializeOwned + Into<Resource>>(object: Value) -> Vec<String> {
    let object: T = serde_json::from_value(object).expect("an object that parses");
    validate(&object.into())
        .into_iter()
        .map(|violation| {
            let help = violation.help.map(|help| format!(" [{help}]")).unwrap_or_default();
            format!("{}: {}{help}", violation.path, violation.message)
        })
        .collect()
}

fn set(object: &mut Value, pointer: &str, value: Value) {
    let (parent, field) = pointer.rsplit_once('/').expect("a pointer with a slash");
    match object.pointer_mut(parent).unwrap_or_else(|| panic!("no {parent} to set {field} in")) {
        Value::Object(fields) if value.is_null() => {
            fields.remove(field).unwrap_or_else(|| panic!("no {pointer} to remove"));
        }
        Value::Object(fields) => {
            fields.insert(field.replace("~1", "/"), value);
        }
        Value::Array(items) if field == "-" => items.push(value),
        Value::Array(items) => items[field.parse::<usize>().expect("a list position")] = value,
        other => panic!("{parent} is {other}"),
    }
}

/// `count` copies of what `item` makes of their positions.
fn times(count: usize, item: impl Fn(usize) -> Value) -> Value {
    (0..count).map(item).collect()
}
