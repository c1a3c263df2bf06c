//! Configuration from files and folders of manifests, watched for edits.
//!
//! * A folder is searched with all folders below it for `*.yaml`, `*.yml` and `*.json`. Names that
//!   start with a dot are left out, links are followed, and no file is read twice.
//! * Every file keeps its last good objects: an object that is refused stays as it was, and where
//!   a text is so broken that it cannot be told which objects it means, all of the file's stay.
//!   What is good in a broken file is taken in.
//! * Deleting a file deletes its objects. Where one of the given paths itself is gone, its objects
//!   stay: a volume that is mounted again, or a folder that is written anew, is no reason to stop
//!   serving. What comes back is read once it holds still.
//! * Where several files give the same object, the first one wins: in the order in which the paths
//!   were given, then by path.
//! * A file that is being written is read when its writer closes it or renames it into place, so
//!   that half a file is never taken for a whole one.
//! * Namespaces that objects are in exist, whether or not a file gives them.

mod agenda;
mod file;
mod ground;
mod links;
mod look;
mod parts;
mod roots;
mod scan;
mod watch;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gwapi_model::manifest::Problem;
use gwapi_model::{ObjectId, ResourceEvent};

use agenda::Agenda;
use ground::{Files, Ground};
use roots::Roots;
use scan::FileKey;
use watch::{News, Watcher};

/// Time between two looks where [`Folder::watch`] was not called.
const UNWATCHED: Duration = Duration::from_millis(500);

/// What came out of reading files.
#[derive(Clone, Debug, Default)]
pub struct FolderChange {
    /// How the ground state changes. Objects that stay what they are give no event.
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
    roots: Roots,
    files: Files,
    ground: Ground,
    /// Texts that problems point into, by source.
    texts: BTreeMap<Arc<str>, String>,
    /// Problems of files and folders that could not be looked at.
    unknown: BTreeMap<FileKey, String>,
    problems: Vec<Problem>,
    foreign: Vec<(String, usize)>,
    agenda: Agenda,
    watcher: Option<Watcher>,
}

impl Folder {
    /// Reads all paths, without a watch. Missing paths are problems, not errors: a folder may come
    /// later.
    pub fn open(paths: Vec<PathBuf>) -> (Self, FolderChange) {
        let mut folder = Self {
            roots: Roots::new(paths),
            files: BTreeMap::new(),
            ground: Ground::default(),
            texts: BTreeMap::new(),
            unknown: BTreeMap::new(),
            problems: Vec::new(),
            foreign: Vec::new(),
            agenda: Agenda::new(Instant::now()),
            watcher: None,
        };
        let change = folder.first_look();
        (folder, change)
    }

    /// Starts to watch. Call it before the first [`Folder::wait`], and before anybody is told that
    /// edits are followed: of those that come later it is known whether a file is complete.
    ///
    /// Where the operating system cannot tell what changes, files are looked at twice a second.
    pub fn watch(&mut self) -> std::io::Result<()> {
        self.watcher = Some(Watcher::new());
        self.scan_and_watch();
        self.agenda.look_at(Instant::now());
        Ok(())
    }

    /// Waits until something changed, reads it, and says what changed; `None` after `timeout`.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Option<FolderChange> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let news = self.watcher.as_mut().map(Watcher::drain).unwrap_or_default();
            self.hear(news);
            let now = Instant::now();
            let interval = self.watcher.as_ref().map_or(UNWATCHED, Watcher::interval);
            if let Some(task) = self.agenda.take(now, interval) {
                if let Some(change) = self.look(task, now) {
                    return Some(change);
                }
                continue;
            }
            if deadline.is_some_and(|deadline| now >= deadline) {
                return None;
            }
            let next = self.agenda.next();
            let until = deadline.map_or(next, |deadline| deadline.min(next));
            match &mut self.watcher {
                Some(watcher) => {
                    let news = watcher.wait(until);
                    self.hear(news);
                }
                None => std::thread::sleep(until.saturating_duration_since(now)),
            }
        }
    }

    /// The text of a file as it was last read, where one of the problems is about it: for snippets.
    pub fn text(&self, source: &str) -> Option<&str> {
        self.texts.get(source).map(String::as_str)
    }

    /// The file that an object is taken from, as problems name it; `None` where no file says now
    /// what the object is.
    pub fn source_of(&self, object: &ObjectId) -> Option<&str> {
        let key = self.ground.file_of(object)?;
        self.files.get(key).map(|state| &*state.source)
    }

    /// The text of the file that an object is taken from, read again where no problem is about it;
    /// `None` where the file is another one by now.
    pub fn text_of(&self, object: &ObjectId) -> Option<String> {
        let key = self.ground.file_of(object)?;
        let state = self.files.get(key)?;
        let read = || file::read(&key.path).ok().map(|(text, _)| text);
        let text = self.text(&state.source).map(str::to_owned).or_else(read)?;
        (state.digest == Some(parts::digest(&text))).then_some(text)
    }

    /// Whether objects of a file are what it said when it was last good, and not what it says now.
    pub fn keeps_last_good(&self, source: &str) -> bool {
        let mut files = self.files.values().filter(|state| &*state.source == source);
        files.any(|state| state.objects.values().any(|held| held.stale))
    }

    fn hear(&mut self, news: Vec<News>) {
        let now = Instant::now();
        for news in news {
            if let News::Closed(path) | News::Renamed(path) = &news
                && self.key(path).is_none()
            {
                self.agenda.look_at(now);
            }
            self.agenda.hear(news, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::agenda::Task;
    use super::roots::AWAY;
    use super::*;
    use std::fs::{self, File};
    use std::time::SystemTime;

    fn manifest(port: u16) -> String {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: a}}\nspec: {{ports: [{{port: {port}}}]}}\n"
        )
    }

    /// Waits until a change has events.
    fn next_events(folder: &mut Folder) -> Vec<ResourceEvent> {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let change = folder.wait(Some(left)).expect("a change in time");
            if !change.events.is_empty() {
                return change.events;
            }
        }
    }

    #[test]
    fn edits_are_found_where_nothing_tells_of_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.yaml");
        fs::write(&path, manifest(1)).unwrap();
        for watcher in [None, Some(Watcher::deaf())] {
            let (mut folder, _) = Folder::open(vec![directory.path().to_owned()]);
            folder.watcher = watcher;
            // Lengths are equal, and times may be: the text tells.
            fs::write(&path, manifest(2)).unwrap();
            assert!(matches!(next_events(&mut folder)[..], [ResourceEvent::Apply(_)]));
            fs::remove_file(&path).unwrap();
            assert_eq!(next_events(&mut folder).len(), 2, "the Service and its Namespace");
            fs::write(&path, manifest(1)).unwrap();
            assert_eq!(next_events(&mut folder).len(), 2);
        }
    }

    #[test]
    fn an_edit_between_the_watch_and_the_first_wait_is_heard_of() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.yaml");
        fs::write(&path, manifest(1)).unwrap();
        let (mut folder, _) = Folder::open(vec![directory.path().to_owned()]);
        folder.watch().unwrap();
        let aside = directory.path().join(".a");
        fs::write(&aside, manifest(2)).unwrap();
        fs::rename(&aside, &path).unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        let mut news = Vec::new();
        while !news.contains(&News::Renamed(path.clone())) {
            assert!(Instant::now() < deadline, "{news:?}");
            news.extend(folder.watcher.as_mut().unwrap().wait(deadline));
        }
    }

    #[test]
    fn a_file_that_is_away_for_a_moment_keeps_its_objects_and_then_loses_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.yaml");
        fs::write(&path, manifest(1)).unwrap();
        let (mut folder, _) = Folder::open(vec![directory.path().to_owned()]);
        let look = || Task { look: true, ..Task::default() };
        let start = Instant::now();
        let aside = directory.path().join("a.yaml~");
        for round in 1..3 {
            fs::rename(&path, &aside).unwrap();
            assert!(folder.look(look(), start + AWAY * round).is_none(), "it is just away");
            fs::rename(&aside, &path).unwrap();
            assert!(folder.look(look(), start + AWAY * round).is_none(), "it is back");
        }
        fs::remove_file(&path).unwrap();
        let start = start + AWAY * 3;
        assert!(folder.look(look(), start).is_none());
        assert!(folder.look(look(), start + AWAY - Duration::from_nanos(1)).is_none());
        let change = folder.look(look(), start + AWAY).unwrap();
        assert_eq!(change.events.len(), 2, "the Service and its Namespace");
    }

    #[test]
    fn a_swap_of_links_deletes_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.yaml");
        fs::write(&path, manifest(1)).unwrap();
        let (mut folder, _) = Folder::open(vec![directory.path().to_owned()]);
        fs::remove_file(&path).unwrap();
        let swapped = Task { look: true, swapped: true, ..Task::default() };
        assert_eq!(folder.look(swapped, Instant::now()).unwrap().events.len(), 2);
    }

    /// How long it takes on the clock of the agenda until a file's news are taken in.
    ///
    /// The file ages with that clock.
    fn time_until_events(folder: &mut Folder, path: &PathBuf, news: Vec<News>) -> Duration {
        let hour = Duration::from_secs(3600);
        let start = Instant::now();
        let _ = folder.agenda.take(start, 2 * hour);
        let start = start + hour;
        news.into_iter().for_each(|news| folder.agenda.hear(news, start));
        for _ in 0..100 {
            let elapsed = folder.agenda.next().saturating_duration_since(start);
            let modified = SystemTime::now() - elapsed;
            File::options().write(true).open(path).unwrap().set_modified(modified).unwrap();
            let now = start + elapsed;
            let task = folder.agenda.take(now, hour).unwrap();
            if folder.look(task, now).is_some_and(|change| !change.events.is_empty()) {
                return elapsed;
            }
        }
        panic!("nothing came");
    }

    #[test]
    fn an_object_that_leaves_a_complete_file_is_gone_at_once_and_one_of_an_emptied_file_is_not() {
        // RG-3: what is revoked must not go on for long.
        let at_once = Duration::ZERO..=Duration::from_millis(50);
        let later = Duration::from_millis(200)..=Duration::from_secs(1);
        let short = "# nothing is left\n".to_owned();
        for (text, news, expected) in [
            (manifest(1), News::Renamed as fn(PathBuf) -> News, &at_once),
            (manifest(1), News::Closed, &at_once),
            (short.clone(), News::Renamed, &at_once),
            (short, News::Closed, &at_once),
            (String::new(), News::Renamed, &at_once),
            ("\n".to_owned(), News::Closed, &later),
            (manifest(1), News::Writing, &later),
        ] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("a.yaml");
            let other = manifest(1).replace("name: a", "name: b");
            fs::write(&path, format!("{}---\n{other}", manifest(1))).unwrap();
            let (mut folder, _) = Folder::open(vec![directory.path().to_owned()]);
            fs::write(&path, &text).unwrap();
            let news = vec![News::Writing(path.clone()), news(path.clone())];
            let what = format!("{text:?} after {news:?}");
            let took = time_until_events(&mut folder, &path, news);
            assert!(expected.contains(&took), "{what}: {took:?}");
        }
    }

    #[test]
    fn an_object_has_the_text_that_it_was_read_from_and_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.yaml");
        fs::write(&path, manifest(1)).unwrap();
        let (folder, _) = Folder::open(vec![directory.path().to_owned()]);
        let id = ObjectId::new(gwapi_model::Kind::Service, "default", "a");
        assert_eq!(folder.source_of(&id), path.to_str());
        assert_eq!(folder.text_of(&id), Some(manifest(1)));
        let other = ObjectId::new(gwapi_model::Kind::Service, "default", "b");
        assert_eq!((folder.source_of(&other), folder.text_of(&other)), (None, None));
        fs::write(&path, manifest(2)).unwrap();
        assert_eq!(folder.text_of(&id), None, "this was not read yet");
    }

    #[test]
    fn a_file_that_breaks_keeps_what_is_last_good_and_a_new_one_has_nothing_to_keep() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.yaml");
        fs::write(&path, manifest(1)).unwrap();
        fs::write(directory.path().join("b.yaml"), "kind: [").unwrap();
        let (mut folder, _) = Folder::open(vec![directory.path().to_owned()]);
        let keeps = |folder: &Folder| {
            ["a.yaml", "b.yaml"]
                .map(|name| folder.keeps_last_good(directory.path().join(name).to_str().unwrap()))
        };
        assert_eq!(keeps(&folder), [false, false]);
        fs::write(&path, manifest(0)).unwrap();
        while folder.wait(None).is_none() {}
        assert_eq!(keeps(&folder), [true, false]);
        let id = ObjectId::new(gwapi_model::Kind::Service, "default", "a");
        assert_eq!(folder.source_of(&id), None, "the file does not say so now");
    }

    #[test]
    fn a_folder_that_does_not_change_times_out() {
        let directory = tempfile::tempdir().unwrap();
        let (mut folder, _) = Folder::open(vec![directory.path().to_owned()]);
        folder.watch().unwrap();
        assert!(folder.wait(Some(Duration::from_millis(20))).is_none());
    }
}
