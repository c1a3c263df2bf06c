//! The last good configuration in a file, for a start without a controller.
//!
//! The file holds private keys: nobody but its owner may read it (0600), and its folder belongs in
//! memory. It is replaced as a whole, so that what is read is never half written.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gwapi_translate::ir::GatewayId;
use gwapi_translate::wire::Client;
use tempfile::Builder;

use super::Shared;

const NAME: &str = "gateway.snapshot";

/// What drafts begin with; one that is left is that of a process which was killed.
const DRAFT: &str = ".gateway.snapshot-";

/// Part of the time that may go into writing, as a divisor: with many resources and many edits, not
/// every state is written.
const SHARE: u32 = 20;

/// The file of one proxy.
#[derive(Debug)]
pub(super) struct SavedFile {
    path: PathBuf,
}

impl SavedFile {
    pub(super) fn new(folder: &Path) -> Self {
        Self { path: folder.join(NAME) }
    }

    /// What was saved for this Gateway, if that can be used.
    pub(super) fn read(&self, gateway: &GatewayId) -> Option<Client> {
        self.remove_drafts();
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                let file = self.path.display();
                tracing::warn!(%file, %error, "the saved configuration cannot be read");
                return None;
            }
        };
        Client::restore(gateway, &bytes)
            .inspect_err(|error| {
                let file = self.path.display();
                tracing::warn!(%file, %error, "the saved configuration is of no use");
            })
            .ok()
    }

    /// What was saved shall not be read again.
    pub(super) fn discard(&self) {
        if let Err(error) = fs::remove_file(&self.path) {
            let file = self.path.display();
            tracing::warn!(%file, %error, "the saved configuration cannot be removed");
        }
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        // Files of this kind are made with 0600.
        let mut draft = Builder::new().prefix(DRAFT).tempfile_in(folder)?;
        draft.write_all(bytes)?;
        draft.as_file().sync_all()?;
        draft.persist(&self.path).map_err(|error| error.error)?;
        File::open(folder)?.sync_all()
    }

    fn remove_drafts(&self) {
        let Some(Ok(entries)) = self.path.parent().map(fs::read_dir) else { return };
        for entry in entries.flatten() {
            if entry.file_name().as_encoded_bytes().starts_with(DRAFT.as_bytes()) {
                // One that stays costs memory, and nothing else.
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// A thread that writes the file. Dropping it writes what is not written yet.
pub(super) struct Saver {
    wanted: Arc<Wanted>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Wanted {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Whether there is a state that is not written yet.
    dirty: bool,
    stopped: bool,
}

impl Saver {
    pub(super) fn start(file: SavedFile, gateway: GatewayId, client: Shared) -> io::Result<Self> {
        let wanted = Arc::new(Wanted::default());
        let theirs = Arc::clone(&wanted);
        let thread = std::thread::Builder::new().name("save".to_owned()).spawn(move || {
            while theirs.wait() {
                let began = Instant::now();
                let client = client.lock().clone();
                if let Some(bytes) = client.save(&gateway)
                    && let Err(error) = file.write(&bytes)
                {
                    let file = file.path.display();
                    tracing::warn!(%file, %error, "the configuration cannot be saved");
                }
                theirs.pause(began.elapsed() * (SHARE - 1));
            }
        })?;
        Ok(Self { wanted, thread: Some(thread) })
    }

    /// There is a new state.
    pub(super) fn changed(&self) {
        self.wanted.lock().dirty = true;
        self.wanted.changed.notify_all();
    }
}

impl Drop for Saver {
    fn drop(&mut self) {
        self.wanted.lock().stopped = true;
        self.wanted.changed.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that saves the configuration panicked");
        }
    }
}

impl Wanted {
    /// Waits until there is something to write; `false` if there never will be.
    fn wait(&self) -> bool {
        let idle = |state: &mut State| !state.dirty && !state.stopped;
        let state = self.changed.wait_while(self.lock(), idle);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut state.dirty)
    }

    /// Waits for some time, or for the end.
    fn pause(&self, time: Duration) {
        let waited = self.changed.wait_timeout_while(self.lock(), time, |state| !state.stopped);
        drop(waited);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
