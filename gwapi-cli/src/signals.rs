//! SIGTERM and SIGINT: the first one drains, the second one stops at once.

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
    pub(crate) fn listen() -> std::io::Result<Self> {
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
                    next().await;
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
