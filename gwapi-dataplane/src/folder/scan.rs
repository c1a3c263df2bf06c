//! Which files there are.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::links;

/// Endings of files that a folder is searched for. A file that is given itself may have any name.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// A path as given, and as found from anywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Root {
    pub(super) given: PathBuf,
    pub(super) path: PathBuf,
}

impl Root {
    pub(super) fn new(given: PathBuf) -> Self {
        // Without a current directory a relative path is as good as it gets.
        let path = std::path::absolute(&given).unwrap_or_else(|_| given.clone());
        Self { given, path }
    }

    /// A path below this root as a user would write it.
    pub(super) fn shown(&self, path: &Path) -> PathBuf {
        match path.strip_prefix(&self.path) {
            Ok(below) if below.as_os_str().is_empty() => self.given.clone(),
            Ok(below) => self.given.join(below),
            Err(_) => path.to_owned(),
        }
    }
}

/// Names a file. The order is the one in which files win over each other: as the paths were
/// given, then by path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileKey {
    pub(super) root: usize,
    pub(super) path: PathBuf,
}

/// A file or folder on its disk, whatever its name.
pub(super) type Identity = (u64, u64);

pub(super) fn identity(metadata: &Metadata) -> Identity {
    (metadata.dev(), metadata.ino())
}

/// What tells that a file was not touched, short of reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) identity: Identity,
    pub(super) length: u64,
    pub(super) modified: SystemTime,
}

impl Stamp {
    pub(super) fn new(metadata: &Metadata) -> Self {
        Self {
            identity: identity(metadata),
            length: metadata.len(),
            modified: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
        }
    }
}

/// How a root was found.
#[derive(Debug)]
pub(super) enum RootFound {
    /// Not at all.
    Missing,
    /// As a file.
    File,
    /// As a folder.
    Folder(Identity),
}

/// What a look at all roots found.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// In the order of the roots.
    pub(super) roots: Vec<RootFound>,
    /// Every manifest, once.
    pub(super) files: BTreeMap<FileKey, Stamp>,
    /// Files and folders that could not be looked at: what was known of them stays.
    pub(super) unknown: BTreeMap<FileKey, String>,
    /// Folders that were searched.
    pub(super) folders: BTreeSet<PathBuf>,
    /// Names that matter in folders that were not searched, or that a search skips: links on the
    /// way to manifests, and the roots themselves.
    pub(super) names: BTreeMap<PathBuf, BTreeSet<OsString>>,
}

/// Looks for manifests.
pub(super) fn scan(roots: &[Root]) -> Scan {
    let mut scanner = Scanner { scan: Scan::default(), seen: HashSet::new(), root: 0 };
    for (index, root) in roots.iter().enumerate() {
        scanner.root = index;
        let found = scanner.root(&root.path);
        scanner.scan.roots.push(found);
    }
    scanner.scan
}

struct Scanner {
    scan: Scan,
    /// Files and folders that were found: by a second way they are not found again, so that links
    /// cannot lead in a circle.
    seen: HashSet<Identity>,
    root: usize,
}

impl Scanner {
    fn root(&mut self, path: &Path) -> RootFound {
        links::names_on_the_way(path, &mut self.scan.names);
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => {
                self.folder(path, &metadata);
                RootFound::Folder(identity(&metadata))
            }
            Ok(metadata) => {
                self.file(path, &metadata);
                RootFound::File
            }
            Err(error) if is_absent(&error) => RootFound::Missing,
            Err(error) => {
                self.unknown(path, &error);
                RootFound::File
            }
        }
    }

    fn folder(&mut self, path: &Path, metadata: &Metadata) {
        if !self.seen.insert(identity(metadata)) {
            return;
        }
        self.scan.folders.insert(path.to_owned());
        let mut names = match fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
            Ok(entries) => entries.iter().map(fs::DirEntry::file_name).collect::<Vec<_>>(),
            Err(error) if is_absent(&error) => return,
            Err(error) => return self.unknown(path, &error),
        };
        names.sort();
        for name in names.iter().filter(|name| !is_hidden(name)) {
            self.entry(&path.join(name), is_manifest(name));
        }
    }

    fn entry(&mut self, path: &Path, is_manifest: bool) {
        let is_link = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink());
        if is_link {
            links::names_on_the_way(path, &mut self.scan.names);
        }
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => self.folder(path, &metadata),
            Ok(metadata) if is_manifest => self.file(path, &metadata),
            // A file that is gone since the folder was read is a deletion; a link is not.
            Err(error) if is_manifest && (is_link || !is_absent(&error)) => {
                self.unknown(path, &error);
            }
            _ => {}
        }
    }

    fn file(&mut self, path: &Path, metadata: &Metadata) {
        if !self.seen.insert(identity(metadata)) {
            return;
        }
        let key = self.key(path);
        if metadata.is_file() {
            self.scan.files.insert(key, Stamp::new(metadata));
        } else {
            // Reading a pipe or a device could wait for ever.
            self.scan.unknown.insert(key, "it is neither a file nor a folder".to_owned());
        }
    }

    fn unknown(&mut self, path: &Path, error: &io::Error) {
        let key = self.key(path);
        self.scan.unknown.insert(key, cannot_read(error));
    }

    fn key(&self, path: &Path) -> FileKey {
        FileKey { root: self.root, path: path.to_owned() }
    }
}

/// Says why a file or folder could not be read.
pub(super) fn cannot_read(error: &io::Error) -> String {
    format!("cannot be read: {error}")
}

/// Whether a path leads nowhere.
pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

pub(super) fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().first() == Some(&b'.')
}

/// Whether a file of this name in a folder is a manifest.
pub(super) fn is_manifest(name: &OsStr) -> bool {
    let extension = Path::new(name).extension().and_then(OsStr::to_str);
    !is_hidden(name)
        && extension.is_some_and(|found| {
            EXTENSIONS.iter().any(|extension| found.eq_ignore_ascii_case(extension))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn found(root: &Path) -> Vec<String> {
        let scan = scan(&[Root::new(root.to_owned())]);
        let shown = |key: &FileKey| key.path.strip_prefix(root).unwrap().display().to_string();
        scan.files.keys().map(shown).collect()
    }

    #[test]
    fn manifests_of_all_folders_are_found_in_order_and_hidden_ones_are_not() {
        let folder = tempfile::tempdir().unwrap();
        for folder_name in ["b/c", ".git", "a.yaml.d"] {
            fs::create_dir_all(folder.path().join(folder_name)).unwrap();
        }
        for file in [
            "z.yml",
            "b/c/x.json",
            "b/y.YAML",
            "a.yaml",
            ".a.yaml.swp",
            ".b.yaml",
            ".git/x.yaml",
            "notes.txt",
            "a.yaml~",
            "a.yaml.d/z.yaml",
        ] {
            fs::write(folder.path().join(file), "").unwrap();
        }
        assert_eq!(
            found(folder.path()),
            ["a.yaml", "a.yaml.d/z.yaml", "b/c/x.json", "b/y.YAML", "z.yml"]
        );
    }

    #[test]
    fn links_are_followed_and_lead_neither_in_circles_nor_to_a_file_twice() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        fs::create_dir(path.join("real")).unwrap();
        fs::write(path.join("real/a.yaml"), "").unwrap();
        symlink("..", path.join("real/up")).unwrap();
        symlink("real", path.join("also")).unwrap();
        symlink("real/a.yaml", path.join("b.yaml")).unwrap();
        assert_eq!(found(path), ["also/a.yaml"]);
    }

    #[test]
    fn a_dangling_link_and_a_pipe_are_unknown_rather_than_absent() {
        let folder = tempfile::tempdir().unwrap();
        symlink("nowhere", folder.path().join("a.yaml")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("b.yaml")).unwrap();
        let scan = scan(&[Root::new(folder.path().to_owned())]);
        assert!(scan.files.is_empty());
        assert_eq!(scan.unknown.len(), 2, "{:?}", scan.unknown);
    }

    #[test]
    fn the_files_of_a_folder_that_is_given_twice_are_found_once() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.yaml"), "").unwrap();
        let roots = [
            Root::new(folder.path().join("a.yaml")),
            Root::new(folder.path().to_owned()),
            Root::new(folder.path().join("missing")),
        ];
        let scan = scan(&roots);
        assert_eq!(scan.files.keys().map(|key| key.root).collect::<Vec<_>>(), [0]);
        assert!(matches!(scan.roots[2], RootFound::Missing));
    }
}
