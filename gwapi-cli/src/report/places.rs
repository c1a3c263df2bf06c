//! From the words in front of a condition's message to lines of a file:
//! `rules[0]: backendRefs[1]: ...` is about `spec.rules[0].backendRefs[1]` of the route.

use std::collections::BTreeMap;
use std::rc::Rc;

use gwapi_dataplane::TranslatedFolder;
use gwapi_model::manifest::Places;
use gwapi_model::validate::{FieldPath, PathSegment};
use gwapi_model::{Kind, Resources};

use crate::overlay::CommandLine;
use crate::report::conditions::parent_name;
use crate::report::issue::{Issue, Level, Place};

/// Fields that messages begin with, as translation writes them.
const FIELDS: [&str; 8] =
    ["spec", "rules", "matches", "filters", "backendRefs", "path", "tls", "allowedRoutes"];

/// What stands in front of the rules that a route lost (RT-11).
const DROPPED: &str = "Dropped Rule ";

/// Gives issues about objects of files, found in translation, their place and field.
pub(crate) fn locate(source: &TranslatedFolder<CommandLine>, issues: &mut [Issue]) {
    locate_all(source, issues.iter_mut().filter(|issue| is_locatable(issue)));
}

/// The same for every issue about an object of a file that has no place yet: where nothing says more, its
/// name is the place.
pub(crate) fn locate_all<'i>(
    source: &TranslatedFolder<CommandLine>,
    issues: impl IntoIterator<Item = &'i mut Issue>,
) {
    let mut by_file: BTreeMap<&str, Vec<&mut Issue>> = BTreeMap::new();
    for issue in issues.into_iter().filter(|issue| issue.place.is_none()) {
        let file = issue.object.as_ref().and_then(|object| source.source_of(object));
        if let Some(file) = file {
            by_file.entry(file).or_default().push(issue);
        }
    }
    for (file, issues) in by_file {
        let text = issues.iter().find_map(|issue| source.text_of(issue.object.as_ref()?));
        let Some(text) = text.map(Rc::<str>::from) else { continue };
        let places = Places::new(&text);
        for issue in issues {
            let Some(object) = &issue.object else { continue };
            let path = path(issue, source.resources());
            let Some((position, span)) = places.locate(object, &path) else { continue };
            if issue.condition.is_some() {
                issue.field = Some(path.to_string());
            }
            let (file, position) = (file.to_owned(), Some(position));
            issue.place = Some(Place { file, position, span, text: Some(Rc::clone(&text)) });
        }
    }
}

fn is_locatable(issue: &Issue) -> bool {
    let has_subject = issue.condition.is_some() || issue.field.is_some();
    issue.place.is_none() && issue.level != Level::Note && has_subject
}

/// The messages that one condition's message consists of: each begins with its place.
pub(crate) fn parts(message: &str) -> Vec<String> {
    let dropped = message.strip_prefix(DROPPED);
    let prefix = if dropped.is_some() { DROPPED } else { "" };
    let mut parts: Vec<String> = Vec::new();
    for part in dropped.unwrap_or(message).split("; ") {
        match parts.last_mut() {
            Some(last) if split_place(part).0.0.is_empty() => {
                last.push_str("; ");
                last.push_str(part);
            }
            _ => parts.push(format!("{prefix}{part}")),
        }
    }
    parts
}

/// The field that an issue is about.
fn path(issue: &Issue, resources: &Resources) -> FieldPath {
    if let Some(field) = issue.field.as_deref().and_then(parse) {
        return field;
    }
    let spec = FieldPath::default().field("spec");
    let (inner, rest) = split_place(&issue.message);
    if matches!(inner.0.first(), Some(PathSegment::Field(name)) if name == "spec") {
        return inner;
    }
    if let Some(listener) = listener(issue, resources) {
        let base = spec.field("listeners").index(listener);
        let inner = if inner.0.is_empty() { first_word(rest) } else { inner };
        return if inner.0.is_empty() { base.field("name") } else { joined(base, inner) };
    }
    if !inner.0.is_empty() {
        let names_value = inner.to_string().ends_with("].path") && rest.starts_with('`');
        let inner = if names_value { inner.field("value") } else { inner };
        return joined(spec, inner);
    }
    match parent(issue, resources) {
        Some(index) => spec.field("parentRefs").index(index),
        None if issue.object.as_ref().is_some_and(|id| id.kind == Kind::ListenerSet) => {
            spec.field("parentRef")
        }
        None => FieldPath::default().field("metadata").field("name"),
    }
}

fn listener(issue: &Issue, resources: &Resources) -> Option<usize> {
    let (id, listener) = (issue.object.as_ref()?, issue.listener.as_ref()?);
    let name = id.namespaced_name();
    let listeners = match id.kind {
        Kind::ListenerSet => &resources.listener_sets.get(&name)?.spec.listeners,
        _ => &resources.gateways.get(&name)?.spec.listeners,
    };
    listeners.iter().position(|spec| spec.name == *listener)
}

fn parent(issue: &Issue, resources: &Resources) -> Option<usize> {
    let (id, parent) = (issue.object.as_ref()?, issue.parent.as_ref()?);
    let mut parents = resources.route_of(id)?.parent_refs().iter();
    parents.position(|reference| parent_name(reference, &id.namespace) == *parent)
}

/// Splits a message into the place in front of it and the rest.
fn split_place(message: &str) -> (FieldPath, &str) {
    let mut path = FieldPath::default();
    let mut rest = message.strip_prefix(DROPPED).unwrap_or(message);
    while let Some((head, tail)) = rest.split_once(": ") {
        // A rule that has a name is called by it too: rules[0] `name`.
        let head = head.split_once(" `").map_or(head, |(head, _)| head);
        let known = parse(head).filter(|path| {
            matches!(path.0.first(), Some(PathSegment::Field(name)) if FIELDS.contains(&&**name))
        });
        let Some(inner) = known else { break };
        path = joined(path, inner);
        rest = tail;
    }
    (path, rest)
}

/// The field of a listener that a message begins with: `port 80 is taken ...`.
fn first_word(message: &str) -> FieldPath {
    let word = message.split(' ').next().unwrap_or_default().trim_matches(['`', ':']);
    let of_listener = ["tls", "allowedRoutes", "hostname", "port", "protocol"];
    let is_field = word.split('.').next().is_some_and(|first| of_listener.contains(&first));
    parse(word).filter(|_| is_field).unwrap_or_default()
}

fn joined(mut path: FieldPath, inner: FieldPath) -> FieldPath {
    path.0.extend(inner.0);
    path
}

/// Reads `spec.rules[0]`.
fn parse(text: &str) -> Option<FieldPath> {
    let mut path = FieldPath::default();
    for part in text.split('.') {
        let mut words = part.split('[');
        let name = words.next().filter(|name| !name.is_empty())?;
        if !name.chars().all(|c| c.is_ascii_alphanumeric()) {
            return None;
        }
        path = path.field(name);
        for index in words {
            path = path.index(index.strip_suffix(']')?.parse().ok()?);
        }
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_front_of_a_message_is_a_field() {
        for (message, path, rest) in [
            ("rules[0]: matches[1]: path: no regex", "rules[0].matches[1].path", "no regex"),
            ("rules[2] `api`: backendRefs[0]: gone", "rules[2].backendRefs[0]", "gone"),
            ("Dropped Rule rules[1]: filters[0]: x: y", "rules[1].filters[0]", "x: y"),
            ("tls.certificateRefs[1]: no", "tls.certificateRefs[1]", "no"),
            ("rules[0]: matches[0]: header `a`: no", "rules[0].matches[0]", "header `a`: no"),
            ("no listener: sorry", "", "no listener: sorry"),
            ("rules[x]: no", "", "rules[x]: no"),
        ] {
            let (found, left) = split_place(message);
            assert_eq!((found.to_string().as_str(), left), (path, rest), "{message}");
        }
    }

    #[test]
    fn a_message_is_taken_apart_where_a_place_begins() {
        assert_eq!(
            parts("rules[0]: bad; the rule is left out; rules[1] `b`: worse; see there"),
            ["rules[0]: bad; the rule is left out", "rules[1] `b`: worse; see there"]
        );
        assert_eq!(
            parts("Dropped Rule rules[0]: bad; rules[1]: worse"),
            ["Dropped Rule rules[0]: bad", "Dropped Rule rules[1]: worse"]
        );
        assert_eq!(parts("one; two"), ["one; two"]);
    }

    #[test]
    fn messages_of_listeners_name_their_field_first() {
        for (message, path) in [
            ("port 80 is taken", "port"),
            ("`tls` is set on HTTP", "tls"),
            ("tls.mode `x` is not supported", "tls.mode"),
            ("hostname `x` is no DNS name", "hostname"),
            ("the Gateway has no address", ""),
        ] {
            assert_eq!(first_word(message).to_string(), path, "{message}");
        }
    }
}
