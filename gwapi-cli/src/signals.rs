//! SIGTERM and SIGINT: the first one drains, the second one stops at once.

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

/// Exit code after a second signal.
const STOPPED_AT_ONCE: i32 = 130;

/// Time for saying that it stops.
const LAST_WORD: Duration = Duration::from_millis(200);

/// Waits for signals on a thread of its own, which lives as long as the process.
#[derive(Debug)]
pub(crate) struct Signals {
    first: Receiver<&'static str>,
}

impl Signals {
    /// Takes the signals over from their default action.
    ///
    /// `stopped` tells of a second signal. The process ends shortly after, whether or not anybody
    /// reads what it says.
    pub(crate) fn listen(
        stopped: impl FnOnce(&'static str) + Send + 'static,
    ) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let (mut terminate, mut interrupt) = {
            let _context = runtime.enter();
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
        };
        let (sender, first) = channel();
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            runtime.block_on(async move {
                let mut next = async || {
                    tokio::select! {
                        _ = terminate.recv() => "SIGTERM",
                        _ = interrupt.recv() => "SIGINT",
                    }
                };
                if sender.send(next().await).is_ok() {
                    let signal = next().await;
                    let (told, wait) = channel();
                    std::thread::spawn(move || {
                        stopped(signal);
                        let _ = told.send(());
                    });
                    let _ = wait.recv_timeout(LAST_WORD);
                    std::process::exit(STOPPED_AT_ONCE);
                }
            });
        })?;
        Ok(Self { first })
    }

    /// The signal that came, if one did.
    pub(crate) fn received(&self) -> Option<&'static str> {
        self.first.try_recv().ok()
    }
}
