//! The given paths, and whether they are there.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::agenda::QUIET;
use super::scan::{FileKey, Identity, Root, RootFound, Scan, Stamp};

/// Time that something may be away before it counts as gone: editors that move a file aside and
/// write a new one need some.
pub(super) const AWAY: Duration = Duration::from_millis(100);

/// How it is with a given path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// It was never there.
    Never,
    /// It is there; a folder has an identity.
    Present(Option<Identity>),
    /// It is not there; what it held stays.
    Gone { since: Instant },
    /// It is there again, and read once it holds files that hold still.
    Returning { files: BTreeMap<FileKey, Stamp>, since: Instant },
}

/// The given paths.
#[derive(Debug)]
pub(super) struct Roots {
    pub(super) list: Vec<Root>,
    states: Vec<State>,
}

impl Roots {
    pub(super) fn new(paths: Vec<PathBuf>) -> Self {
        let list: Vec<Root> = paths.into_iter().map(Root::new).collect();
        Self { states: vec![State::Never; list.len()], list }
    }

    /// Takes in what was found of a path. `holds` says whether it held objects before. When to look
    /// again at the latest, where that matters.
    pub(super) fn found(
        &mut self,
        root: usize,
        scan: &Scan,
        holds: bool,
        swapped: bool,
        now: Instant,
    ) -> Option<Instant> {
        let files = || -> BTreeMap<FileKey, Stamp> {
            let of_root = scan.files.iter().filter(|(key, _)| key.root == root);
            of_root.map(|(key, stamp)| (key.clone(), *stamp)).collect()
        };
        let present = match &scan.roots[root] {
            RootFound::Missing => None,
            RootFound::File => Some(None),
            RootFound::Folder(identity) => Some(Some(*identity)),
        };
        let before = std::mem::replace(&mut self.states[root], State::Never);
        let state = match (before, present) {
            (_, None) if !holds => State::Never,
            (before @ State::Gone { .. }, None) => before,
            (_, None) => State::Gone { since: now },
            (State::Present(before), Some(present))
                if before == present || swapped || present.is_none() =>
            {
                State::Present(present)
            }
            (_, Some(present)) if !holds => State::Present(present),
            // An editor put a new file in its place.
            (State::Gone { since }, Some(None)) if now < since + AWAY => State::Present(None),
            (State::Returning { files: before, since }, Some(present)) => {
                let files = files();
                if files != before {
                    State::Returning { files, since: now }
                } else if !files.is_empty() && now >= since + QUIET {
                    State::Present(present)
                } else {
                    State::Returning { files, since }
                }
            }
            (_, Some(_)) => State::Returning { files: files(), since: now },
        };
        let again = match &state {
            State::Gone { since } if now < *since + AWAY => Some(*since + AWAY),
            State::Returning { files, since } if !files.is_empty() => Some(*since + QUIET),
            _ => None,
        };
        self.states[root] = state;
        again
    }

    /// Whether what a scan found below the path is what counts.
    pub(super) fn is_present(&self, root: usize) -> bool {
        matches!(self.states[root], State::Present(_))
    }

    /// What is wrong with the path, and what to do; `objects` of it are in use.
    pub(super) fn trouble(
        &self,
        root: usize,
        objects: usize,
        now: Instant,
    ) -> Option<(String, String)> {
        let kept = match objects {
            1 => "its object stays as it was last read".to_owned(),
            objects => format!("its {objects} objects stay as they were last read"),
        };
        match &self.states[root] {
            State::Present(_) => None,
            State::Never => Some((
                "no such file or folder".to_owned(),
                "check the path; `gwapi run` reads it as soon as it is there".to_owned(),
            )),
            State::Gone { since } if now < *since + AWAY => None,
            State::Gone { .. } => Some((
                format!("it is gone; {kept}"),
                "what comes back is read; to remove objects, delete files below it".to_owned(),
            )),
            State::Returning { files, .. } if !files.is_empty() => None,
            State::Returning { .. } => Some((
                format!("it came back without a manifest; {kept}"),
                "manifests that come are read; start again to serve nothing of it".to_owned(),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    fn scan(found: RootFound, files: &[&str]) -> Scan {
        let stamp = Stamp { identity: (1, 1), length: 1, modified: SystemTime::UNIX_EPOCH };
        Scan {
            roots: vec![found],
            files: files
                .iter()
                .map(|path| (FileKey { root: 0, path: path.into() }, stamp))
                .collect(),
            ..Scan::default()
        }
    }

    /// A folder with objects that was present at the returned moment.
    fn present() -> (Roots, Instant) {
        let mut roots = Roots::new(vec!["/x".into()]);
        let now = Instant::now();
        roots.found(0, &scan(RootFound::Folder((1, 7)), &["/x/a"]), false, false, now);
        assert!(roots.is_present(0));
        (roots, now)
    }

    #[test]
    fn a_folder_that_comes_back_counts_once_its_files_hold_still() {
        let (mut roots, now) = present();
        let gone = scan(RootFound::Missing, &[]);
        assert_eq!(roots.found(0, &gone, true, false, now), Some(now + AWAY));
        assert!(!roots.is_present(0));
        assert_eq!(roots.trouble(0, 3, now), None, "it may come back in a moment");
        let (message, _) = roots.trouble(0, 3, now + AWAY).unwrap();
        assert_eq!(message, "it is gone; its 3 objects stay as they were last read");

        let back = |files: &[&str]| scan(RootFound::Folder((1, 8)), files);
        let now = now + Duration::from_secs(10);
        assert_eq!(roots.found(0, &back(&[]), true, false, now), None);
        assert!(!roots.is_present(0) && roots.trouble(0, 3, now).is_some());
        roots.found(0, &back(&["/x/a"]), true, false, now);
        let at = roots.found(0, &back(&["/x/a", "/x/b"]), true, false, now + QUIET).unwrap();
        assert!(!roots.is_present(0), "it still changes");
        assert_eq!(at, now + 2 * QUIET);
        roots.found(0, &back(&["/x/a", "/x/b"]), true, false, at);
        assert!(roots.is_present(0));
    }

    #[test]
    fn a_folder_in_the_place_of_another_counts_at_once_only_where_it_was_swapped() {
        let other = || scan(RootFound::Folder((1, 8)), &["/x/a"]);
        let (mut roots, now) = present();
        roots.found(0, &other(), true, false, now);
        assert!(!roots.is_present(0));
        let (mut roots, now) = present();
        roots.found(0, &other(), true, true, now);
        assert!(roots.is_present(0));
    }

    #[test]
    fn an_editor_may_move_a_file_aside_for_a_moment() {
        let file = || scan(RootFound::File, &["/x"]);
        let mut roots = Roots::new(vec!["/x".into()]);
        let now = Instant::now();
        roots.found(0, &file(), false, false, now);
        roots.found(0, &scan(RootFound::Missing, &[]), true, false, now);
        roots.found(0, &file(), true, false, now + AWAY / 2);
        assert!(roots.is_present(0));
    }

    #[test]
    fn a_path_that_never_was_there_is_read_as_soon_as_it_is() {
        let mut roots = Roots::new(vec!["/x".into()]);
        let now = Instant::now();
        roots.found(0, &scan(RootFound::Missing, &[]), false, false, now);
        assert_eq!(roots.trouble(0, 0, now).unwrap().0, "no such file or folder");
        roots.found(0, &scan(RootFound::Folder((1, 1)), &[]), false, false, now);
        assert!(roots.is_present(0) && roots.trouble(0, 0, now).is_none());
    }
}
