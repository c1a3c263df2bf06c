//! One line per edit: what changed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use gwapi_dataplane::{ChangeKind, ObjectChange, StandaloneChange};
use gwapi_model::{Kind, Resources};

use crate::report::json::{ListenerChanges, ListenerLine};
use crate::report::{count, some_of};

/// Objects named in a line.
const MAX_OBJECTS: usize = 3;

/// Listener changes shown per edit and kind.
const MAX_LISTENERS: usize = 5;

/// `routes.yaml: HTTPRoute default/echo changed, 1 rule; live in 3 ms`.
pub(crate) fn change(change: &StandaloneChange, files: &Resources, roots: &[PathBuf]) -> String {
    let names: Vec<_> = change.files.iter().map(|file| shortened(file, roots)).collect();
    let names = some_of(&names, MAX_OBJECTS);
    if change.objects.is_empty() {
        return format!("{names}: read again, no object changed");
    }
    let objects: Vec<_> = change.objects.iter().map(|object| describe(object, files)).collect();
    let millis = change.took.as_millis().max(1);
    format!("{names}: {}; live in {millis} ms", some_of(&objects, MAX_OBJECTS))
}

/// What becomes of an edited file with errors; `keeps` says whether something of it is served as it
/// was when it was last good.
pub(crate) fn refused(file: &str, keeps: bool, changes_something: bool) -> Option<String> {
    match (keeps, changes_something) {
        (true, false) => Some(format!("{file}: not taken; still serves its last good version")),
        (true, true) => Some(format!(
            "{file}: what is wrong in it is not taken, and still served as it was when it was \
             last good"
        )),
        (false, false) => Some(format!("{file}: not taken")),
        (false, true) => None,
    }
}

/// What changed about listeners; `current` are all of them now. A listener that takes another name,
/// or leaves an address to others, is no outage, and must not look like one.
pub(crate) fn listeners(
    changes: &ListenerChanges,
    current: &BTreeSet<ListenerLine>,
) -> Vec<String> {
    let mut added: Vec<&ListenerLine> = changes.added.iter().collect();
    let (mut renamed, mut left, mut gone) = (Vec::new(), Vec::new(), Vec::new());
    for old in &changes.removed {
        let ListenerLine { gateway, listener, url } = old;
        let heir = added.iter().position(|new| new.gateway == *gateway && new.url == *url);
        if let Some(heir) = heir {
            let new = &added.remove(heir).listener;
            renamed.push(format!("Gateway {gateway}, listener {listener} is now {new}: {url}"));
        } else if current.iter().any(|other| other.url == *url) {
            left.push(format!("Gateway {gateway}, listener {listener}; others serve {url}"));
        } else {
            gone.push(format!("Gateway {gateway}, listener {listener}: {url}"));
        }
    }
    let added = added.iter().map(|new| {
        let ListenerLine { gateway, listener, url } = new;
        format!("Gateway {gateway}, listener {listener}: {url}")
    });
    let kinds = [
        ("renamed", renamed),
        ("listening", added.collect()),
        ("removed", left),
        ("not listening any more", gone),
    ];
    let mut lines = Vec::new();
    for (what, changed) in kinds {
        lines.extend(changed.iter().take(MAX_LISTENERS).map(|text| format!("{what}: {text}")));
        let hidden = changed.len().saturating_sub(MAX_LISTENERS);
        if hidden > 0 {
            lines.push(format!("{what}: {hidden} more"));
        }
    }
    lines
}

fn describe(change: &ObjectChange, files: &Resources) -> String {
    let verb = match change.kind {
        ChangeKind::Added => "added",
        ChangeKind::Changed => "changed",
        ChangeKind::Removed => return format!("{} removed", change.id),
    };
    let name = change.id.namespaced_name();
    let size = match change.id.kind {
        kind if kind.route_kind().is_some() => files.route_of(&change.id).map(|route| {
            // No rules at all stand for one that matches everything (HR-5).
            count(route.rules().count().max(1), "rule")
        }),
        Kind::Gateway => {
            files.gateways.get(&name).map(|gateway| count(gateway.spec.listeners.len(), "listener"))
        }
        Kind::ListenerSet => {
            files.listener_sets.get(&name).map(|set| count(set.spec.listeners.len(), "listener"))
        }
        Kind::EndpointSlice => {
            files.endpoint_slices.get(&name).map(|slice| count(slice.endpoints.len(), "endpoint"))
        }
        _ => None,
    };
    match size {
        Some(size) => format!("{} {verb}, {size}", change.id),
        None => format!("{} {verb}", change.id),
    }
}

/// A file as seen from the argument through which it is read.
pub(crate) fn shortened(file: &Path, roots: &[PathBuf]) -> String {
    let inside = roots.iter().find_map(|root| file.strip_prefix(root).ok());
    let short = match inside {
        Some(inside) if !inside.as_os_str().is_empty() => inside,
        _ => file.file_name().map(Path::new).unwrap_or(file),
    };
    short.display().to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use gwapi_model::{HttpRoute, ObjectId, Resource};

    use super::*;

    #[test]
    fn an_edit_is_one_line() {
        let route: HttpRoute = serde_json::from_value(serde_json::json!({
            "metadata": {"namespace": "default", "name": "echo"},
            "spec": {"rules": [{}]},
        }))
        .expect("an HTTPRoute");
        let files: Resources = [Resource::from(route)].into_iter().collect();
        let object = |kind, name: &str, what| ObjectChange {
            id: ObjectId::new(kind, "default", name),
            kind: what,
        };
        let edit = StandaloneChange {
            files: vec!["/etc/gw/team/routes.yaml".into()],
            objects: vec![
                object(Kind::HttpRoute, "echo", ChangeKind::Changed),
                object(Kind::Service, "old", ChangeKind::Removed),
            ],
            took: Duration::from_micros(3_400),
            ..StandaloneChange::default()
        };
        assert_eq!(
            change(&edit, &files, &["/etc/gw".into()]),
            "team/routes.yaml: HTTPRoute default/echo changed, 1 rule, \
             Service default/old removed; live in 3 ms"
        );
    }

    fn at(listener: &str, port: u16) -> ListenerLine {
        let (gateway, listener) = ("default/web".to_owned(), listener.to_owned());
        ListenerLine { gateway, listener, url: format!("http://127.0.0.1:{port}") }
    }

    #[test]
    fn a_listener_with_a_new_name_is_renamed() {
        let changes = ListenerChanges { added: vec![at("b", 80)], removed: vec![at("a", 80)] };
        assert_eq!(
            listeners(&changes, &[at("b", 80)].into()),
            ["renamed: Gateway default/web, listener a is now b: http://127.0.0.1:80"]
        );
    }

    #[test]
    fn only_an_address_that_nobody_listens_on_is_lost() {
        let changes =
            ListenerChanges { added: vec![at("new", 82)], removed: vec![at("a", 80), at("b", 81)] };
        assert_eq!(
            listeners(&changes, &[at("other", 80), at("new", 82)].into()),
            [
                "listening: Gateway default/web, listener new: http://127.0.0.1:82",
                "removed: Gateway default/web, listener a; others serve http://127.0.0.1:80",
                "not listening any more: Gateway default/web, listener b: http://127.0.0.1:81",
            ]
        );
    }

    #[test]
    fn a_thousand_listeners_are_counted() {
        let added = (0..1000).map(|port| at("x", port)).collect();
        let lines = listeners(&ListenerChanges { added, removed: vec![] }, &BTreeSet::new());
        assert_eq!(lines.len(), MAX_LISTENERS + 1);
        assert_eq!(lines[MAX_LISTENERS], "listening: 995 more");
    }

    #[test]
    fn an_edit_of_a_comment_changes_no_object() {
        let edit =
            StandaloneChange { files: vec!["routes.yaml".into()], ..StandaloneChange::default() };
        assert_eq!(
            change(&edit, &Resources::default(), &["routes.yaml".into()]),
            "routes.yaml: read again, no object changed"
        );
    }
}
