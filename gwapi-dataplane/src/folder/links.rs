//! Links on the way to a path.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Links that are followed; more make a circle.
const MAX_LINKS: usize = 40;

/// Notes the names, by folder, whose change can make `path` (absolute) lead elsewhere: every link
/// on the way, and what the way ends with. Where the way breaks off, it ends with the first name
/// that is not there.
///
/// Mounted ConfigMaps depend on it: there `gateway.yaml` is a link to `..data/gateway.yaml`, and
/// `..data` a link that is swapped.
pub(super) fn names_on_the_way(path: &Path, names: &mut BTreeMap<PathBuf, BTreeSet<OsString>>) {
    let mut note = |folder: &Path, name: OsString| {
        names.entry(folder.to_owned()).or_default().insert(name);
    };
    let mut ahead: VecDeque<OsString> = parts(path).collect();
    let mut here = PathBuf::from("/");
    let mut links = 0;
    while let Some(name) = ahead.pop_front() {
        if name == ".." {
            here.pop();
            continue;
        }
        let next = here.join(&name);
        let Ok(metadata) = fs::symlink_metadata(&next) else { return note(&here, name) };
        if metadata.is_symlink() {
            note(&here, name);
            links += 1;
            let Ok(target) = fs::read_link(&next) else { return };
            if links > MAX_LINKS {
                return;
            }
            if target.is_absolute() {
                here = PathBuf::from("/");
            }
            for part in parts(&target).collect::<Vec<_>>().into_iter().rev() {
                ahead.push_front(part);
            }
        } else {
            if ahead.is_empty() {
                note(&here, name);
            }
            here = next;
        }
    }
}

fn parts(path: &Path) -> impl Iterator<Item = OsString> + '_ {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn names(path: &Path) -> Vec<PathBuf> {
        let mut names = BTreeMap::new();
        names_on_the_way(path, &mut names);
        names
            .into_iter()
            .flat_map(|(folder, names)| names.into_iter().map(move |name| folder.join(name)))
            .collect()
    }

    #[test]
    fn every_link_of_a_mounted_config_map_is_on_the_way() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir(root.join("..2026")).unwrap();
        fs::write(root.join("..2026/a.yaml"), "").unwrap();
        symlink("..2026", root.join("..data")).unwrap();
        symlink("..data/a.yaml", root.join("a.yaml")).unwrap();
        assert_eq!(
            names(&root.join("a.yaml")),
            [root.join("..data"), root.join("a.yaml"), root.join("..2026/a.yaml")]
        );
    }

    #[test]
    fn a_way_that_breaks_off_ends_with_the_first_missing_name() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        assert_eq!(names(&root.join("a/b/c.yaml")), [root.join("a")]);
    }

    #[test]
    fn links_in_a_circle_end() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        symlink("b", root.join("a")).unwrap();
        symlink("a", root.join("b")).unwrap();
        assert_eq!(names(&root.join("a")), [root.join("a"), root.join("b")]);
    }
}
