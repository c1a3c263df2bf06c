//! Looking at files and taking in what changed.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant, SystemTime};

use gwapi_model::manifest::{Position, Problem};

use super::agenda::{Loss, Task, Trust, patience};
use super::file::{self, FileState, ReadError, whole_file};
use super::parts::digest;
use super::roots::AWAY;
use super::scan::{FileKey, Scan, Stamp, scan};
use super::{Folder, FolderChange};

/// Rounds of watching what a scan found and scanning again; folders that keep appearing are seen
/// by the next look.
const MAX_ROUNDS: usize = 8;

/// A file whose last change is older than this, as seen when it was read, was not changed since
/// without its stamp telling so. File systems count time in steps, some of 2 seconds.
const STEP: Duration = Duration::from_secs(2);

/// Files that a thread reads before those that come first in the order are taken in.
const READ_AHEAD: usize = 2;

/// What was read of a file.
struct NewFile {
    /// When.
    at: SystemTime,
    text: Result<(String, Stamp), ReadError>,
    /// What the text says, where that was looked at.
    state: Option<FileState>,
}

impl NewFile {
    /// Reads a file and what its text says; `before` is the state of a file without a text.
    fn read(key: &FileKey, before: &FileState) -> Self {
        let at = SystemTime::now();
        let text = file::read(&key.path);
        let state = text.as_ref().ok().map(|(text, _)| before.with_text(text));
        Self { at, text, state }
    }
}

/// What a look did so far.
#[derive(Debug, Default)]
struct Progress {
    files: BTreeSet<PathBuf>,
    /// Texts that were read, by source.
    texts: BTreeMap<Arc<str>, String>,
}

impl Folder {
    /// Reads everything as it is.
    pub(super) fn first_look(&mut self) -> FolderChange {
        let now = Instant::now();
        let mut progress = Progress::default();
        let found = scan(&self.roots.list);
        self.follow_roots(&found, false, now);
        self.read_all(&found, now, &mut progress);
        self.unknown = found.unknown;
        self.finish(progress, now).unwrap_or_default()
    }

    /// Reads files of which nothing is known yet, on all cores. They are taken in one by one and in
    /// their order, whichever is read first.
    fn read_all(&mut self, found: &Scan, now: Instant, progress: &mut Progress) {
        let files: Vec<(&FileKey, FileState)> =
            found.files.keys().map(|key| (key, self.new_state(key))).collect();
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let threads = cores.min(files.len());
        std::thread::scope(|scope| {
            let start = |first: usize| {
                let (sender, read) = mpsc::sync_channel(READ_AHEAD);
                let files = &files;
                let reader = move || {
                    for (key, state) in files.iter().skip(first).step_by(threads) {
                        if sender.send(NewFile::read(key, state)).is_err() {
                            return;
                        }
                    }
                };
                // Where there is no thread to be had, nothing comes.
                drop(std::thread::Builder::new().spawn_scoped(scope, reader));
                read
            };
            let readers: Vec<_> = (0..threads).map(start).collect();
            for (at, (key, state)) in files.iter().enumerate() {
                let file = readers[at % threads].recv();
                let file = file.unwrap_or_else(|_| NewFile::read(key, state));
                self.take_in(key, file, Trust::Forced, now, progress);
            }
        });
    }

    /// Does a task; what changed, where something did.
    pub(super) fn look(&mut self, task: Task, now: Instant) -> Option<FolderChange> {
        let mut progress = Progress::default();
        let mut look = task.look;
        for (path, trust) in &task.files {
            match self.key(path) {
                Some(key) if self.roots.is_present(key.root) => {
                    look |= self.read(&key, *trust, now, &mut progress);
                }
                // It is new, or what a link leads to.
                _ => {
                    self.agenda.forget(path);
                    look = true;
                }
            }
        }
        if look {
            self.look_at_everything(&task, now, &mut progress);
        }
        self.finish(progress, now)
    }

    fn look_at_everything(&mut self, task: &Task, now: Instant, progress: &mut Progress) {
        let found = self.scan_and_watch();
        self.follow_roots(&found, task.swapped, now);
        for (key, stamp) in &found.files {
            if !self.roots.is_present(key.root) || !self.is_worth_reading(key, stamp) {
                continue;
            }
            let trust = match task.files.get(&key.path) {
                Some(trust) => *trust,
                None if self.agenda.is_postponed(&key.path) => continue,
                None if task.swapped => Trust::Renamed,
                None => Trust::Unsure,
            };
            self.read(key, trust, now, progress);
        }
        self.follow_absent(&found, task.swapped, now, progress);
        self.unknown = found.unknown;
    }

    /// Scans, and watches what was found, until nothing can have changed unheard.
    pub(super) fn scan_and_watch(&mut self) -> Scan {
        let mut found = scan(&self.roots.list);
        for _ in 0..MAX_ROUNDS {
            if !self.watcher.as_mut().is_some_and(|watcher| watcher.follow(&found)) {
                break;
            }
            found = scan(&self.roots.list);
        }
        found
    }

    fn follow_roots(&mut self, found: &Scan, swapped: bool, now: Instant) {
        for root in 0..self.roots.list.len() {
            let holds = self.objects_of(root) > 0;
            if let Some(at) = self.roots.found(root, found, holds, swapped, now) {
                self.agenda.look_at(at);
            }
            if !self.roots.is_present(root) {
                let keys: Vec<_> = self.keys_of(root).cloned().collect();
                keys.iter().for_each(|key| self.become_stale(key));
            }
        }
    }

    /// Whether a file may have changed since it was read.
    fn is_worth_reading(&self, key: &FileKey, stamp: &Stamp) -> bool {
        let Some(state) = self.files.get(key) else { return true };
        let Some((at, before)) = &state.read else { return true };
        state.trouble.is_some()
            || state.absent.is_some()
            || state.kept
            || before != stamp
            || at.duration_since(stamp.modified).is_ok_and(|age| age < STEP)
    }

    /// Reads a file and takes in what it says. Whether it is not there.
    fn read(&mut self, key: &FileKey, trust: Trust, now: Instant, progress: &mut Progress) -> bool {
        let file = NewFile { at: SystemTime::now(), text: file::read(&key.path), state: None };
        self.take_in(key, file, trust, now, progress)
    }

    /// Takes in what was read of a file. Whether it is not there.
    fn take_in(
        &mut self,
        key: &FileKey,
        file: NewFile,
        trust: Trust,
        now: Instant,
        progress: &mut Progress,
    ) -> bool {
        let NewFile { at: read_at, text, state } = file;
        match text {
            Ok((text, stamp)) => {
                let age = read_at.duration_since(stamp.modified).unwrap_or_default();
                let patience = |loss| patience(trust, loss, age);
                match self.take_text(key, text, state, patience, progress) {
                    Ok(()) => {
                        self.agenda.forget(&key.path);
                        if let Some(state) = self.files.get_mut(key) {
                            state.read = Some((read_at, stamp));
                        }
                    }
                    Err(wait) => self.agenda.postpone(key.path.clone(), trust, wait, now),
                }
                false
            }
            Err(ReadError::Absent) => {
                self.agenda.forget(&key.path);
                true
            }
            Err(ReadError::Unusable(trouble)) => {
                self.agenda.forget(&key.path);
                let before = self.files.get(key).cloned().unwrap_or_else(|| self.new_state(key));
                let mut next = FileState { trouble: Some(trouble), absent: None, ..before };
                next.become_stale();
                self.replace(key, Some(next));
                false
            }
        }
    }

    /// Takes in what a file says, unless that has to wait: `patience` is told what the file
    /// would lose by it. `state` is what the text was read to already, where it was.
    fn take_text(
        &mut self,
        key: &FileKey,
        text: String,
        state: Option<FileState>,
        patience: impl FnOnce(Loss) -> Option<Duration>,
        progress: &mut Progress,
    ) -> Result<(), Duration> {
        let before = self.files.get(key);
        let is_same = before.is_some_and(|state| state.digest == Some(digest(&text)));
        if is_same && before.is_some_and(|state| !state.kept && state.trouble.is_none()) {
            return Ok(());
        }
        let next = match (state, before) {
            (Some(state), _) => state,
            (None, Some(before)) => before.with_text(&text),
            (None, None) => self.new_state(key).with_text(&text),
        };
        if !is_same {
            let loss = match before {
                Some(state) if state.loses_objects(&next) && text.trim().is_empty() => Loss::Text,
                Some(state) if state.loses_objects(&next) => Loss::Objects,
                _ => Loss::Nothing,
            };
            if let Some(wait) = patience(loss) {
                return Err(wait);
            }
            progress.files.insert(self.shown(key));
        }
        // Where a problem of another file comes to point into it, it is read again.
        if next.problems.is_empty() {
            self.texts.remove(&next.source);
        } else {
            progress.texts.insert(next.source.clone(), text);
        }
        self.replace(key, Some(next));
        Ok(())
    }

    fn new_state(&self, key: &FileKey) -> FileState {
        FileState::new(self.shown(key).display().to_string().into())
    }

    /// Takes out files that were not found.
    fn follow_absent(
        &mut self,
        found: &Scan,
        swapped: bool,
        now: Instant,
        progress: &mut Progress,
    ) {
        let absent: Vec<Arc<FileKey>> = self
            .files
            .keys()
            .filter(|key| self.roots.is_present(key.root) && !found.files.contains_key(&***key))
            .cloned()
            .collect();
        for key in absent {
            if found.unknown.keys().any(|unknown| key.path.starts_with(&unknown.path)) {
                self.become_stale(&key);
                continue;
            }
            let Some(state) = self.files.get_mut(&key) else { continue };
            let since = *state.absent.get_or_insert(now);
            if swapped || now >= since + AWAY {
                progress.files.insert(self.shown(&key));
                self.replace(&key, None);
            } else {
                // It may be an editor's way to save, or the object may be in another file now.
                self.agenda.look_at(since + AWAY);
                self.become_stale(&key);
            }
        }
    }

    fn become_stale(&mut self, key: &FileKey) {
        if let Some(state) = self.files.get(key)
            && !state.kept
        {
            let mut next = state.clone();
            next.become_stale();
            self.replace(key, Some(next));
        }
    }

    fn replace(&mut self, key: &FileKey, next: Option<FileState>) {
        let known = self.files.get_key_value(key);
        let key = known.map_or_else(|| Arc::new(key.clone()), |(key, _)| Arc::clone(key));
        self.ground.replace(&key, self.files.get(&key), next.as_ref());
        match next {
            Some(next) => self.files.insert(key, next),
            None => self.files.remove(&key),
        };
    }

    /// What is different from the end of the last look.
    fn finish(&mut self, progress: Progress, now: Instant) -> Option<FolderChange> {
        let events = self.ground.settle(&self.files);
        let mut problems = self.current_problems(now);
        self.keep_texts(&problems, progress.texts);
        for problem in problems.iter_mut().filter(|problem| problem.span.is_empty()) {
            if let (Some(position), Some(text)) = (problem.position, self.text(&problem.source)) {
                problem.span = line_span(text, position);
            }
        }
        let foreign = self.current_foreign();
        let is_same = events.is_empty()
            && progress.files.is_empty()
            && problems == self.problems
            && foreign == self.foreign;
        if is_same {
            return None;
        }
        self.problems.clone_from(&problems);
        self.foreign.clone_from(&foreign);
        Some(FolderChange {
            events,
            files: progress.files.into_iter().collect(),
            problems,
            foreign,
        })
    }

    /// All problems, in the order of the files.
    fn current_problems(&self, now: Instant) -> Vec<Problem> {
        let mut by_file: BTreeMap<Arc<FileKey>, Vec<Problem>> = BTreeMap::new();
        for root in 0..self.roots.list.len() {
            if let Some((message, help)) = self.roots.trouble(root, self.objects_of(root), now) {
                let key = Arc::new(FileKey { root, path: PathBuf::new() });
                let source = self.roots.list[root].given.display().to_string().into();
                let problem = Problem { help: Some(help), ..whole_file(&source, message) };
                by_file.entry(key).or_default().push(problem);
            }
        }
        for (key, message) in &self.unknown {
            let source = self.shown(key).display().to_string().into();
            let problem = whole_file(&source, message.clone());
            by_file.entry(Arc::new(key.clone())).or_default().push(problem);
        }
        for (key, state) in &self.files {
            if !by_file.contains_key(key) && state.has_problems() {
                by_file.insert(Arc::clone(key), state.all_problems().collect());
            }
        }
        for (key, problem) in self.ground.duplicates(&self.files) {
            by_file.entry(key).or_default().push(problem);
        }
        by_file.into_values().flatten().collect()
    }

    fn current_foreign(&self) -> Vec<(String, usize)> {
        let mut foreign = BTreeMap::new();
        for (kind, count) in self.files.values().flat_map(|state| &state.foreign) {
            *foreign.entry(kind.clone()).or_default() += count;
        }
        foreign.into_iter().collect()
    }

    /// Keeps the texts that problems point into, and no others.
    fn keep_texts(&mut self, problems: &[Problem], read: BTreeMap<Arc<str>, String>) {
        self.texts.extend(read);
        let sources: BTreeSet<&Arc<str>> =
            problems.iter().filter(|it| it.position.is_some()).map(|it| &it.source).collect();
        self.texts.retain(|source, _| sources.contains(source));
        let missing: Vec<(PathBuf, &FileState)> = self
            .files
            .iter()
            .filter(|(_, state)| {
                sources.contains(&state.source) && !self.texts.contains_key(&state.source)
            })
            .map(|(key, state)| (key.path.clone(), state))
            .collect();
        for (path, state) in missing {
            // A duplicate may point into a file that was read long ago.
            if let Ok((text, _)) = file::read(&path)
                && state.digest == Some(digest(&text))
            {
                self.texts.insert(state.source.clone(), text);
            }
        }
    }

    /// The file of a path, where it is known.
    pub(super) fn key(&self, path: &Path) -> Option<FileKey> {
        (0..self.roots.list.len())
            .map(|root| FileKey { root, path: path.to_owned() })
            .find(|key| self.files.contains_key(key))
    }

    fn shown(&self, key: &FileKey) -> PathBuf {
        self.roots.list[key.root].shown(&key.path)
    }

    fn keys_of(&self, root: usize) -> impl Iterator<Item = &Arc<FileKey>> {
        self.files.keys().filter(move |key| key.root == root)
    }

    fn objects_of(&self, root: usize) -> usize {
        let of_root = self.files.iter().filter(|(key, _)| key.root == root);
        of_root.map(|(_, state)| state.objects.len()).sum()
    }
}

/// The bytes of the line of a position.
fn line_span(text: &str, position: Position) -> std::ops::Range<usize> {
    let mut start = 0;
    for (index, line) in text.split('\n').enumerate() {
        if index + 1 == position.line {
            return start..start + line.trim_end().len();
        }
        start += line.len() + 1;
    }
    0..0
}
