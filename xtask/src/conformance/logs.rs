//! Keeping the logs of pods: kubelet removes them with the pod, and the pods of a test are gone
//! before anybody asks.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often it looks for new pods. A pod that lives shorter than this loses its log.
const ROUND: Duration = Duration::from_millis(250);

/// A thread that gives each log a second name, under which it stays; it ends with this value.
pub(super) struct Keeper {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Keeps logs below `from` in `to`, which has to be on the same file system.
    pub(super) fn start(from: PathBuf, to: PathBuf) -> Self {
        let (end, ended) = channel::<()>();
        let thread = std::thread::spawn(move || {
            while ended.recv_timeout(ROUND) == Err(RecvTimeoutError::Timeout) {
                link_below(&from, &to);
            }
            link_below(&from, &to);
        });
        Self { end: Some(end), thread: Some(thread) }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.end = None;
        if let Some(thread) = self.thread.take() {
            // It only makes links; if that panics, logs are missing.
            let _ = thread.join();
        }
    }
}

/// A folder that vanishes while it is read is one of a pod that is gone.
fn link_below(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).into_iter().flatten().flatten() {
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            link_below(&source, &target);
        } else if !target.exists() {
            let made = fs::create_dir_all(to).and_then(|()| fs::hard_link(&source, &target));
            match made {
                Err(error) if error.kind() == ErrorKind::CrossesDevices => {
                    let _ = fs::copy(&source, &target);
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_stays_when_its_pod_is_gone() {
        let base = std::env::temp_dir().join(format!("gwapi-logs-{}", std::process::id()));
        let (from, to) = (base.join("from"), base.join("to"));
        fs::create_dir_all(from.join("pod/proxy")).unwrap();
        fs::write(from.join("pod/proxy/0.log"), "said").unwrap();
        drop(Keeper::start(from.clone(), to.clone()));
        fs::remove_dir_all(&from).unwrap();
        assert_eq!(fs::read_to_string(to.join("pod/proxy/0.log")).unwrap(), "said");
        fs::remove_dir_all(&base).unwrap();
    }
}
