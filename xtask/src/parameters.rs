//! The table of fields in `docs/parameters.md`, written from the CRD; and what the chart's schema says
//! of the same fields, held against it.

use std::fmt::Write as _;

use anyhow::{Context, bail};
use serde_json::{Map, Value, json};

/// Encloses the table, together with [`END`].
const START: &str = "<!-- Written by `cargo xtask manifests`; do not edit. -->\n";
const END: &str = "<!-- The end of what is written. -->\n";

/// The page with the table of the fields that the CRD has now.
pub(crate) fn page(page: &str, crd: &str) -> anyhow::Result<String> {
    let (before, rest) = page.split_once(START).context("docs/parameters.md has no start mark")?;
    let (_, after) = rest.split_once(END).context("docs/parameters.md has no end mark")?;
    let spec = spec(crd)?;
    let mut table = String::new();
    for (name, group) in members(&spec) {
        let about = one_line(&group["description"]);
        write!(table, "\n### {name}\n\n{about}\n\n| field | type | |\n|---|---|---|\n")?;
        rows(&mut table, name, group)?;
        let rules = group["x-kubernetes-validations"].as_array().into_iter().flatten();
        for (index, rule) in rules.enumerate() {
            let gap = if index == 0 { "\n" } else { "" };
            writeln!(table, "{gap}* {}", rule["message"].as_str().unwrap_or_default())?;
        }
    }
    Ok(format!("{before}{START}{table}\n{END}{after}"))
}

/// Fails where the schema of the chart's values takes other parameters than the CRD.
pub(crate) fn check_values(values: &str, crd: &str) -> anyhow::Result<()> {
    let values: Value = serde_json::from_str(values).context("the schema is no JSON")?;
    let taken = &values["properties"]["gatewayClass"]["properties"]["parameters"]["properties"];
    let wanted = &plain(&spec(crd)?)["properties"];
    let Some((path, wanted)) = difference("", taken, wanted) else { return Ok(()) };
    bail!(
        "the schema of the chart's values does not have gatewayClass.parameters as the CRD has them; at \
         `{path}` it has to say {}",
        serde_json::to_string_pretty(&wanted)?
    )
}

/// The first member in which two schemas differ, and what it has to be.
fn difference(path: &str, taken: &Value, wanted: &Value) -> Option<(String, Value)> {
    if taken == wanted {
        return None;
    }
    if let (Value::Object(taken), Value::Object(wanted)) = (taken, wanted)
        && taken.keys().eq(wanted.keys())
    {
        let mut members = wanted.iter();
        return members.find_map(|(name, member)| {
            difference(&format!("{path}.{name}"), &taken[name], member)
        });
    }
    Some((path.trim_start_matches('.').to_owned(), wanted.clone()))
}

/// What of a CRD's schema JSON Schema knows. Members that a CRD would drop are refused.
fn plain(schema: &Value) -> Value {
    const KEPT: [&str; 11] = [
        "type",
        "description",
        "enum",
        "pattern",
        "minLength",
        "maxLength",
        "minimum",
        "maximum",
        "minItems",
        "maxItems",
        "required",
    ];
    let members = schema.as_object().into_iter().flatten();
    let mut kept: Map<String, Value> = members
        .filter(|(name, _)| KEPT.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let mut set = |name: &str, value: Value| kept.insert(name.to_owned(), value);
    if schema["x-kubernetes-int-or-string"] == true {
        set("type", json!(["integer", "string"]));
    }
    if schema["x-kubernetes-list-type"] == "set" {
        set("uniqueItems", Value::Bool(true));
    }
    if let Some(properties) = schema["properties"].as_object() {
        set("additionalProperties", Value::Bool(false));
        let properties = properties.iter().map(|(name, it)| (name.clone(), plain(it)));
        set("properties", properties.collect());
    } else if schema["additionalProperties"].is_object() {
        set("additionalProperties", plain(&schema["additionalProperties"]));
    }
    if schema["items"].is_object() {
        set("items", plain(&schema["items"]));
    }
    Value::Object(kept)
}

/// The schema of the spec that a CRD defines.
fn spec(crd: &str) -> anyhow::Result<Value> {
    let crd: Value = serde_saphyr::from_str(crd).context("the CRD is no YAML")?;
    Ok(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"].clone())
}

/// A row for each field below a group, groups of their own included.
fn rows(table: &mut String, path: &str, group: &Value) -> anyhow::Result<()> {
    for (name, field) in members(group) {
        let path = format!("{path}.{name}");
        let about = one_line(&field["description"]);
        writeln!(table, "| `{path}` | {} | {about} |", kind(field))?;
        rows(table, &path, field)?;
        rows(table, &format!("{path}[]"), &field["items"])?;
    }
    Ok(())
}

fn members(schema: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let members = schema["properties"].as_object();
    members.into_iter().flatten().map(|(name, schema)| (name.as_str(), schema))
}

/// What may be written there.
fn kind(schema: &Value) -> String {
    if let Some(values) = schema["enum"].as_array() {
        let values = values.iter().filter_map(Value::as_str).map(|value| format!("`{value}`"));
        return values.collect::<Vec<_>>().join(", ");
    }
    if schema["x-kubernetes-int-or-string"] == true {
        return "number or percentage".to_owned();
    }
    match schema["type"].as_str() {
        Some("array") => match kind(&schema["items"]).as_str() {
            "object" => "list".to_owned(),
            items => format!("list of {items}"),
        },
        Some("object") if schema["additionalProperties"].is_object() => "map".to_owned(),
        Some("string") if schema["pattern"].as_str().is_some_and(|it| it.contains("h|m|s|ms")) => {
            "duration".to_owned()
        }
        Some("integer") => match (schema["minimum"].as_i64(), schema["maximum"].as_i64()) {
            (Some(least), Some(most)) if most < i64::from(i32::MAX) => format!("{least} to {most}"),
            (Some(least), _) => format!("from {least}"),
            _ => "number".to_owned(),
        },
        Some(other) => other.to_owned(),
        None => "any".to_owned(),
    }
}

fn one_line(text: &Value) -> String {
    let text = text.as_str().unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    const CRD: &str = "
spec:
  versions:
  - schema:
      openAPIV3Schema:
        properties:
          spec:
            properties:
              service:
                description: The Services.
                properties:
                  nodePorts:
                    description: |-
                      Ports on
                      the nodes.
                    items:
                      properties:
                        port: {description: A port., minimum: 1, maximum: 65535, type: integer}
                      type: object
                    type: array
                  type:
                    description: Its type.
                    enum: [LoadBalancer, NodePort]
                    type: string
                type: object
                x-kubernetes-validations:
                - {message: one excludes the other, rule: '!has(self.a)'}
";

    #[test]
    fn each_field_has_a_row_between_the_marks() {
        let written = page(&format!("before\n{START}old\n{END}after\n"), CRD).unwrap();
        let expected = format!(
            "before\n{START}\n### service\n\nThe Services.\n\n| field | type | |\n|---|---|---|\n\
             | `service.nodePorts` | list | Ports on the nodes. |\n\
             | `service.nodePorts[].port` | 1 to 65535 | A port. |\n\
             | `service.type` | `LoadBalancer`, `NodePort` | Its type. |\n\
             \n* one excludes the other\n\n{END}after\n"
        );
        assert_eq!(written, expected);
        assert_eq!(page(&written, CRD).unwrap(), written);
    }

    #[test]
    fn a_page_without_marks_is_refused() {
        assert!(page("nothing", CRD).is_err());
    }
}
