//! What only one process at a time may do: it holds a lock on a file, which the kernel takes away with
//! the process.

use std::fs::{self, File, TryLockError};
use std::path::Path;

use anyhow::{Context, bail};

/// Takes the lock of this file until the value is dropped. Fails at once where another process has it,
/// which `busy` says.
pub(crate) fn lock(path: &Path, busy: &str) -> anyhow::Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!("{busy}: wait for it, or end it"),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}
