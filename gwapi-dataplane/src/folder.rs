//! Configuration from files and folders of manifests, watched for edits.

use std::path::PathBuf;
use std::time::Duration;

use gwapi_model::ResourceEvent;
use gwapi_model::manifest::Problem;

/// What came out of reading files.
#[derive(Clone, Debug, Default)]
pub struct FolderChange {
    /// How the ground state changes.
    pub events: Vec<ResourceEvent>,
    /// Files that were added, edited or removed.
    pub files: Vec<PathBuf>,
    /// Everything that is wrong now, over all files: errors first read and those that stayed.
    pub problems: Vec<Problem>,
    /// Kinds that gwapi does not read, `apiVersion/kind` with the number of objects.
    pub foreign: Vec<(String, usize)>,
}

/// A set of files and folders.
#[derive(Debug)]
pub struct Folder {
    _private: (),
}

impl Folder {
    /// Reads all paths, without a watch. Missing paths are problems, not errors: a folder may come
    /// later.
    pub fn open(paths: Vec<PathBuf>) -> (Self, FolderChange) {
        let _ = paths;
        (Self { _private: () }, FolderChange::default())
    }

    /// Starts to watch. Call it before the first [`Folder::wait`].
    pub fn watch(&mut self) -> std::io::Result<()> {
        Ok(())
    }

    /// Waits until something changed, reads it, and says what changed; `None` after `timeout`.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Option<FolderChange> {
        let _ = timeout;
        None
    }

    /// The text of a file as it was last read: for snippets.
    pub fn text(&self, source: &str) -> Option<&str> {
        let _ = source;
        None
    }
}
