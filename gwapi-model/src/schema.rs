//! The CustomResourceDefinitions of gwapi's own kinds, made from their types.
//!
//! ```
//! let crds = gwapi_model::schema::crds();
//! assert_eq!(crds[0].metadata.name, "gatewayparameters.gwapi.dev");
//! ```
//!
//! Schemas are structural: everything stands where it is used, a field that may be absent is not
//! nullable, and what is kept as it was written is marked so.

use std::borrow::Cow;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{
    GatewayDuration, GatewayParameters, GatewayParametersSpec, IntOrString, Kind, Port, Quantity,
};

/// A CustomResourceDefinition.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Crd {
    /// `apiextensions.k8s.io/v1`.
    pub api_version: &'static str,
    /// `CustomResourceDefinition`.
    pub kind: &'static str,
    /// Name.
    pub metadata: CrdMetadata,
    /// Names, scope and schema.
    pub spec: Value,
}

/// Metadata of a [`Crd`].
#[derive(Clone, Debug, Serialize)]
pub struct CrdMetadata {
    /// Plural of the kind and its group.
    pub name: String,
}

/// The CRDs of every kind of gwapi's own.
pub fn crds() -> Vec<Crd> {
    let kind = Kind::GatewayParameters;
    let plural = kind.as_str().to_lowercase();
    let columns = [
        ("Service", ".spec.service.type", "Type of the Services"),
        ("Workload", ".spec.workload.kind", "What runs the pods"),
        ("Replicas", ".spec.workload.replicas", "Number of pods"),
    ];
    let column = |(name, path, description): (&str, &str, &str)| {
        let column_type = if name == "Replicas" { "integer" } else { "string" };
        json!({ "name": name, "type": column_type, "jsonPath": path, "description": description })
    };
    let age = json!({ "name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp" });
    let columns: Vec<Value> = columns.into_iter().map(column).chain([age]).collect();
    let schema = json!({
        "description": description::<GatewayParameters>(),
        "type": "object",
        "properties": {
            "apiVersion": { "type": "string" },
            "kind": { "type": "string" },
            "metadata": { "type": "object" },
            "spec": structural_schema::<GatewayParametersSpec>(),
        },
    });
    let spec = json!({
        "group": kind.group(),
        "scope": "Namespaced",
        "names": {
            "kind": kind.as_str(),
            "listKind": format!("{kind}List"),
            "plural": plural,
            "singular": plural,
            "categories": ["gateway-api"],
        },
        "versions": [{
            "name": kind.version(),
            "served": true,
            "storage": true,
            "additionalPrinterColumns": columns,
            "schema": { "openAPIV3Schema": schema },
        }],
    });
    vec![Crd {
        api_version: "apiextensions.k8s.io/v1",
        kind: "CustomResourceDefinition",
        metadata: CrdMetadata { name: format!("{plural}.{}", kind.group()) },
        spec,
    }]
}

/// The schema of a type as a CRD takes it.
fn structural_schema<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::openapi3().with(|settings| {
        settings.meta_schema = None;
        settings.inline_subschemas = true;
        settings.transforms.clear();
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    structure(&mut schema);
    schema
}

/// What the documentation of a type says.
fn description<T: JsonSchema>() -> Value {
    structural_schema::<T>()["description"].take()
}

/// Makes a schema structural.
fn structure(schema: &mut Value) {
    let Some(members) = schema.as_object_mut() else { return };
    for member in ["title", "default", "$schema"] {
        members.remove(member);
    }
    not_nullable(members);
    if members.get("format").and_then(Value::as_str).is_some_and(|it| it.starts_with("uint")) {
        members.insert("format".to_owned(), json!("int32"));
    }
    if let Some(Value::String(description)) = members.get_mut("description") {
        *description = paragraphs(description);
    }
    if members.get("additionalProperties") == Some(&Value::Bool(true)) {
        members.remove("additionalProperties");
        members.insert("x-kubernetes-preserve-unknown-fields".to_owned(), Value::Bool(true));
    }
    for nested in ["items", "additionalProperties"] {
        members.get_mut(nested).into_iter().for_each(structure);
    }
    let properties = members.get_mut("properties").and_then(Value::as_object_mut);
    properties.into_iter().flat_map(Map::values_mut).for_each(structure);
}

/// A field that may be absent is not one that may be null.
fn not_nullable(members: &mut Map<String, Value>) {
    let is_null = |schema: &Value| schema.get("type").is_some_and(|it| it == "null");
    if let Some(Value::Array(choices)) = members.get("anyOf")
        && choices.iter().any(is_null)
    {
        let chosen = choices.iter().find(|choice| !is_null(choice)).cloned();
        members.remove("anyOf");
        for (key, value) in chosen.iter().filter_map(Value::as_object).flatten() {
            members.entry(key.clone()).or_insert(value.clone());
        }
    }
    if let Some(Value::Array(types)) = members.get_mut("type") {
        types.retain(|it| it != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            members.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(values)) = members.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
}

/// Documentation without its line breaks, paragraphs apart.
fn paragraphs(documentation: &str) -> String {
    let paragraphs = documentation.split("\n\n").map(|it| it.trim().replace('\n', " "));
    paragraphs.collect::<Vec<_>>().join("\n\n")
}

/// Types of Service that lead clients to a Gateway.
pub(crate) fn service_type(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": ["LoadBalancer", "NodePort", "ClusterIP"] })
}

macro_rules! schemas {
    ($($type:ident, $schema:tt;)+) => {$(
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )+};
}

schemas! {
    Port, { "type": "integer", "format": "int32", "minimum": 1, "maximum": 65535 };
    GatewayDuration, { "type": "string", "pattern": "^([0-9]{1,5}(h|m|s|ms)){1,4}$" };
    IntOrString, { "x-kubernetes-int-or-string": true };
    Quantity, {
        "x-kubernetes-int-or-string": true,
        "pattern": "^\\+?([0-9]+|[0-9]+\\.[0-9]*|\\.[0-9]+)(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|[eE][+-]?[0-9]+)?$",
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every schema of a CRD with the path to it.
    fn schemas() -> Vec<(String, Value)> {
        fn visit(path: String, schema: &Value, all: &mut Vec<(String, Value)>) {
            all.push((path.clone(), schema.clone()));
            for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                visit(format!("{path}.{name}"), property, all);
            }
            for nested in ["items", "additionalProperties"] {
                if let Some(nested) = schema.get(nested) {
                    visit(format!("{path}[]"), nested, all);
                }
            }
        }
        let mut all = Vec::new();
        for crd in crds() {
            visit(String::new(), &crd.spec["versions"][0]["schema"]["openAPIV3Schema"], &mut all);
        }
        all
    }

    #[test]
    fn schemas_are_structural_and_fields_are_described() {
        for (path, schema) in schemas() {
            let known = schema["type"].is_string() || schema["x-kubernetes-int-or-string"] == true;
            assert!(known, "{path} has no type: {schema}");
            for member in ["$ref", "$schema", "anyOf", "default", "nullable", "title"] {
                assert!(schema.get(member).is_none(), "{path} has {member}: {schema}");
            }
            if path.starts_with(".spec") && !path.ends_with("[]") {
                let description = schema["description"].as_str().unwrap_or_default();
                assert!(description.ends_with('.'), "{path} is described as {description:?}");
            }
        }
    }

    #[test]
    fn what_the_types_demand_stands_in_the_schema() {
        let schemas: std::collections::BTreeMap<String, Value> = schemas().into_iter().collect();
        let workers = &schemas[".spec.proxy.workers"];
        assert_eq!((&workers["minimum"], &workers["maximum"]), (&json!(1), &json!(1024)));
        let ports = &schemas[".spec.service.nodePorts[]"];
        assert_eq!(ports["required"], json!(["port", "nodePort"]));
        let levels = json!(["error", "warn", "info", "debug", "trace"]);
        assert_eq!(schemas[".spec.proxy.logLevel"]["enum"], levels);
        let affinity = &schemas[".spec.workload.affinity"];
        assert_eq!(affinity["x-kubernetes-preserve-unknown-fields"], json!(true));
        assert_eq!(schemas[".spec.workload.hostPorts"]["maxItems"], json!(64));
    }
}
