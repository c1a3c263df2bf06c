//! The limit on open files: sockets that listen and connections share it.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that this process may have at once: sockets, files, and what a runtime needs.
/// `usize::MAX` where nothing limits them.
pub fn open_files_limit() -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX)
}

/// Raises that limit as far as the process may on its own: the soft limit to the hard one. The soft
/// one is often 1,024, for the sake of programs that a higher one would break.
///
/// # Errors
///
/// Where the system refuses; the limit stays what it was.
pub fn raise_open_files_limit() -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
    }
    Ok(())
}
