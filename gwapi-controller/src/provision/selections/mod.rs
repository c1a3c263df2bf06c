//! Services for the pods that XBackends select (X-2).
//!
//! EndpointSlices, which tell what pods are ready, exist for Services alone. Where no Service of the namespace
//! has the selector of an XBackend, the leader makes one: headless, owned by the XBackend, under a name that
//! the API server generates. It goes when no Gateway sends to the XBackend any more, and when one of the
//! user's leads to the same pods.
//!
//! ```text
//!  EndpointSelection ─► service ─► plan ─► carry_out ─► API server
//!                                   ▲                       │
//!                                  live ◄──── watch ◄───────┘
//! ```
//!
//! [`service`] and [`plan`] are pure. The task behind [`SelectionServices::start`] carries plans out, repairs what
//! is changed behind our back, and says why a Service could not be made, as status has it.

mod carry_out;
mod engine;
mod live;
mod plan;
mod service;

use std::sync::Arc;

use gwapi_model::NamespacedName;
use gwapi_translate::selection::EndpointSelection;
use kube::Client;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::settings::ProvisionSettings;
use engine::{Command, Engine};
pub use service::X_BACKEND_LABEL;

/// Reports that wait to be taken. Of what waits longer, the last one of each XBackend is kept.
const REPORTS: usize = 64;

/// What came of what an XBackend selects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectionReport {
    /// The XBackend.
    pub backend: NamespacedName,
    /// Which of all XBackends of its name it is.
    pub uid: String,
    /// Why no Service could be made for its pods; `None` where nothing is wrong.
    pub problem: Option<String>,
}

/// Starts the task that has Services made for what XBackends select.
pub struct SelectionServices;

impl SelectionServices {
    /// Starts the task, in the current runtime.
    ///
    /// Among replicas of a controller only the one that holds the Lease may have such a task. It ends when the
    /// handle or the receiver is dropped; what it has made stays, and whoever starts next goes on from there.
    pub fn start(
        client: Client,
        settings: &ProvisionSettings,
    ) -> (SelectionHandle, mpsc::Receiver<SelectionReport>) {
        let (commands, orders) = mpsc::unbounded_channel();
        let (sender, reports) = mpsc::channel(REPORTS);
        let task = tokio::spawn(Engine::run(client, settings.clone(), orders, sender));
        (SelectionHandle { commands, task }, reports)
    }
}

/// Tells what has to be selected. Dropped, it ends the task.
pub struct SelectionHandle {
    commands: mpsc::UnboundedSender<Command>,
    task: JoinHandle<()>,
}

impl SelectionHandle {
    /// These pods have to be found from now on; with `None`, none. A report follows, unless there are none.
    pub fn set(&self, backend: NamespacedName, selection: Option<Arc<EndpointSelection>>) {
        // It ends before its handle only when nobody takes the reports any more.
        let _ = self.commands.send(Command::Set(backend, selection));
    }

    /// All that has to be selected has been told: what is not needed may go, and not before.
    pub fn synced(&self) {
        let _ = self.commands.send(Command::Synced);
    }
}

impl Drop for SelectionHandle {
    fn drop(&mut self) {
        // Whoever holds the Lease next must not find us at work.
        self.task.abort();
    }
}
