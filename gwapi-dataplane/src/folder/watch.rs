//! News of files, from the operating system where it tells, else by looking again and again.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, CreateKind, EventKind, ModifyKind, RenameMode};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher as _};

use super::scan::{Identity, Scan, identity, is_hidden, is_manifest};

/// News that may wait; what goes beyond is made up for by a look at everything.
const QUEUE: usize = 4096;

/// Time between two looks at everything where the operating system tells what changes: for file
/// systems that do not tell everything.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Time between two looks at everything where nothing tells what changes.
const POLL: Duration = Duration::from_millis(500);

/// Something that happened to files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// A file is being written.
    Writing(PathBuf),
    /// A file was closed by its writer.
    Closed(PathBuf),
    /// A file took its place by a rename.
    Renamed(PathBuf),
    /// Something was renamed away; where it is a new file, it comes into its place next.
    Left,
    /// Files were swapped for others, all complete, by the rename of a link.
    Swapped,
    /// Anything may have happened.
    Look,
}

/// Where news come from.
#[derive(Debug)]
pub(super) struct Watcher {
    /// Absent where the operating system cannot be asked.
    inner: Option<RecommendedWatcher>,
    events: Receiver<Event>,
    overflow: Arc<AtomicBool>,
    watched: BTreeMap<PathBuf, Identity>,
    folders: BTreeSet<PathBuf>,
    names: BTreeMap<PathBuf, BTreeSet<OsString>>,
    /// Some folder is not watched for want of watches.
    incomplete: bool,
}

impl Watcher {
    /// Watches what [`Watcher::follow`] is told of, where the operating system can be asked.
    pub(super) fn new() -> Self {
        let (sender, events) = mpsc::sync_channel(QUEUE);
        let overflow = Arc::new(AtomicBool::new(false));
        let lost = overflow.clone();
        let inner = notify::recommended_watcher(move |event: notify::Result<Event>| match event {
            // Our own reading opens files.
            Ok(event) if matches!(event.kind, EventKind::Access(AccessKind::Open(_))) => {}
            Ok(event) => {
                if sender.try_send(event).is_err() {
                    lost.store(true, Ordering::Release);
                }
            }
            Err(_) => lost.store(true, Ordering::Release),
        });
        let inner = inner
            .inspect_err(
                |error| tracing::warn!(%error, "files cannot be watched, so they are polled"),
            )
            .ok();
        Self { inner, overflow, ..Self::polling(events) }
    }

    fn polling(events: Receiver<Event>) -> Self {
        Self {
            inner: None,
            events,
            overflow: Arc::default(),
            watched: BTreeMap::new(),
            folders: BTreeSet::new(),
            names: BTreeMap::new(),
            incomplete: false,
        }
    }

    /// A watcher that never hears of anything.
    #[cfg(test)]
    pub(super) fn deaf() -> Self {
        Self::polling(mpsc::sync_channel(1).1)
    }

    /// Time between two looks at everything.
    pub(super) fn interval(&self) -> Duration {
        if self.inner.is_none() || self.incomplete { POLL } else { LOOK_AGAIN }
    }

    /// Watches the folders that a scan found. Whether some were not watched before: then things
    /// may have changed in them unheard since the scan.
    pub(super) fn follow(&mut self, scan: &Scan) -> bool {
        self.folders.clone_from(&scan.folders);
        self.names.clone_from(&scan.names);
        let Some(inner) = &mut self.inner else { return false };
        let wanted: BTreeSet<&PathBuf> = scan.folders.iter().chain(scan.names.keys()).collect();
        self.watched.retain(|folder, _| {
            let keep = wanted.contains(folder);
            if !keep {
                // It fails where the folder is gone, and the watch with it.
                let _ = inner.unwatch(folder);
            }
            keep
        });
        let mut new = false;
        let was_incomplete = std::mem::take(&mut self.incomplete);
        for folder in wanted {
            let Ok(metadata) = std::fs::metadata(folder) else { continue };
            let identity = identity(&metadata);
            if self.watched.get(folder) == Some(&identity) {
                continue;
            }
            match inner.watch(folder, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.watched.insert(folder.clone(), identity);
                    new = true;
                }
                Err(error) => {
                    self.incomplete = true;
                    if !was_incomplete {
                        let folder = folder.display();
                        tracing::warn!(%error, %folder, "a folder cannot be watched: files are polled");
                    }
                }
            }
        }
        new
    }

    /// Waits for news, at most until `until`; news that matter to nobody give an empty list.
    pub(super) fn wait(&mut self, until: Instant) -> Vec<News> {
        let time = until.saturating_duration_since(Instant::now());
        match self.events.recv_timeout(time) {
            Ok(event) => self.read(&event),
            Err(RecvTimeoutError::Timeout) => Vec::new(),
            Err(RecvTimeoutError::Disconnected) => {
                // Without a sender the channel is no clock.
                std::thread::sleep(time);
                Vec::new()
            }
        }
    }

    /// News that have come already.
    pub(super) fn drain(&mut self) -> Vec<News> {
        let mut news = Vec::new();
        if self.overflow.swap(false, Ordering::AcqRel) {
            news.push(News::Look);
        }
        loop {
            match self.events.try_recv() {
                Ok(event) => news.extend(self.read(&event)),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return news,
            }
        }
    }

    fn read(&mut self, event: &Event) -> Vec<News> {
        if event.need_rescan() {
            return vec![News::Look];
        }
        // Each half of a rename was told by itself before.
        if event.kind == EventKind::Modify(ModifyKind::Name(RenameMode::Both)) {
            return Vec::new();
        }
        event.paths.iter().filter_map(|path| self.news(&event.kind, path)).collect()
    }

    fn news(&mut self, kind: &EventKind, path: &Path) -> Option<News> {
        if self.watched.contains_key(path) {
            // The watch of a folder goes away with it, whatever takes its place.
            if matches!(kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_))) {
                self.watched.remove(path);
            }
            return Some(News::Look);
        }
        let (folder, name) = (path.parent()?, path.file_name()?);
        let is_on_the_way = self.names.get(folder).is_some_and(|names| names.contains(name));
        let is_searched = self.folders.contains(folder) && !is_hidden(name);
        if !is_on_the_way && !is_searched {
            return None;
        }
        let is_file = is_manifest(name) || is_on_the_way;
        let path = path.to_owned();
        match kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) if is_file => {
                Some(News::Closed(path))
            }
            EventKind::Access(_) => None,
            EventKind::Modify(ModifyKind::Data(_)) if is_file => Some(News::Writing(path)),
            EventKind::Modify(ModifyKind::Data(_)) => None,
            EventKind::Create(CreateKind::File) if is_file => {
                let is_link = path.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink());
                Some(if is_link { News::Look } else { News::Writing(path) })
            }
            EventKind::Modify(ModifyKind::Name(RenameMode::To)) => {
                let metadata = path.symlink_metadata().ok()?;
                match (metadata.is_symlink(), metadata.is_file()) {
                    (true, _) => Some(News::Swapped),
                    (_, true) if is_file => Some(News::Renamed(path)),
                    (_, true) => None,
                    _ => Some(News::Look),
                }
            }
            EventKind::Modify(ModifyKind::Name(RenameMode::From)) => Some(News::Left),
            // What is no manifest and no folder may come and go.
            _ if is_file || !path.is_file() => Some(News::Look),
            _ => None,
        }
    }
}
