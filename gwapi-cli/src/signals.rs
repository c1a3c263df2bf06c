//! SIGTERM and SIGINT: the first one drains, the second one stops at once. SIGHUP changes nothing.

use std::sync::mpsc::{Receiver, channel};

use tokio::signal::unix::{SignalKind, signal};

/// Exit code after a second signal.
const STOPPED_AT_ONCE: i32 = 130;

/// Waits for signals on a thread of its own, which lives as long as the process.
#[derive(Debug)]
pub(crate) struct Signals {
    first: Receiver<&'static str>,
}

impl Signals {
    /// Takes the signals over from their default action.
    ///
    /// `ignored` tells of a SIGHUP: a gateway outlives its terminal, and has no need to be told of
    /// edits. `stopped` tells of a second signal, and the process ends when it returns. Neither may
    /// wait long.
    pub(crate) fn listen(
        ignored: impl Fn(&'static str) + Send + 'static,
        stopped: impl FnOnce(&'static str) + Send + 'static,
    ) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let (mut terminate, mut interrupt, mut hang_up) = {
            let _context = runtime.enter();
            (
                signal(SignalKind::terminate())?,
                signal(SignalKind::interrupt())?,
                signal(SignalKind::hangup())?,
            )
        };
        let (sender, first) = channel();
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            runtime.block_on(async move {
                let mut next = async || loop {
                    tokio::select! {
                        _ = terminate.recv() => return "SIGTERM",
                        _ = interrupt.recv() => return "SIGINT",
                        _ = hang_up.recv() => ignored("SIGHUP"),
                    }
                };
                if sender.send(next().await).is_ok() {
                    stopped(next().await);
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
