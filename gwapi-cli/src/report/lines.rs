//! One line per edit: what changed.

use std::path::{Path, PathBuf};

use gwapi_dataplane::{ChangeKind, ObjectChange, StandaloneChange};
use gwapi_model::{Kind, Resources};

use crate::report::{count, some_of};

/// Objects named in a line.
const MAX_OBJECTS: usize = 3;

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

fn describe(change: &ObjectChange, files: &Resources) -> String {
    let verb = match change.kind {
        ChangeKind::Added => "added",
        ChangeKind::Changed => "changed",
        ChangeKind::Removed => return format!("{} removed", change.id),
    };
    let name = change.id.namespaced_name();
    let size = match change.id.kind {
        Kind::HttpRoute => files.http_routes.get(&name).map(|route| {
            // No rules at all stand for one that matches everything (HR-5).
            count(route.spec.rules.as_ref().map_or(1, Vec::len), "rule")
        }),
        Kind::Gateway => {
            files.gateways.get(&name).map(|gateway| count(gateway.spec.listeners.len(), "listener"))
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
        };
        assert_eq!(
            change(&edit, &files, &["/etc/gw".into()]),
            "team/routes.yaml: HTTPRoute default/echo changed, 1 rule, \
             Service default/old removed; live in 3 ms"
        );
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
