//! What runs for each Gateway in a cluster: made, kept as it has to be, and removed.
//!
//! ```text
//!  GatewayInfrastructure ─► assign ─► objects ─► plan ─► apply ─► API server
//!                                                 ▲                   │
//!  InfrastructureReport ◄─ report ◄───────────── live ◄─── watches ◄──┘
//! ```
//!
//! [`objects`] is a pure function of what a Gateway asks for, and so are the plan and the report. The
//! task behind [`Provisioner::start`] carries plans out: objects are made and changed by server-side
//! apply, each with the Gateway as its owner, and one that has a name we need and another owner is
//! never touched. What is changed behind our back is changed back; what nobody needs any more goes.
//! A failure is part of the Gateway's [`InfrastructureReport`], concerns no other Gateway, and is
//! tried again after a pause that grows from 0.2 to 30 seconds.
//!
//! Beside that, `selections` has Services made for the pods that XBackends select.

mod agenda;
mod apply;
mod assign;
mod bootstrap;
mod drift;
mod engine;
mod events;
mod existing;
mod first_pod;
mod kind;
mod live;
mod objects;
mod obstacles;
mod parameters;
mod patch;
mod plan;
mod pods;
mod repairs;
mod report;
mod selections;
mod settings;
mod succession;
#[cfg(test)]
pub(crate) mod testing;
mod waiting;
mod watch;

use std::net::IpAddr;
use std::sync::Arc;

use gwapi_translate::infrastructure::{GatewayInfrastructure, InfrastructureReport};
use gwapi_translate::ir::GatewayId;
use kube::Client;
use tokio::sync::{mpsc, watch as latest};
use tokio::task::JoinHandle;

pub use apply::FIELD_MANAGER;
pub use assign::{KnownService, ServicePlan, assign};
pub use bootstrap::{ConfigService, keep_bootstrap};
pub use drift::APPLIED_ANNOTATION;
pub use kind::ManagedKind;
pub(crate) use live::owner;
pub use objects::{
    ACCOUNT_ANNOTATION, ADMIN_PORT, CLASS_NAME_LABEL, CONTROLLER_LABEL, GATEWAY_NAME_LABEL,
    INSTANCE_LABEL, MANAGED_BY, MANAGED_BY_LABEL, Manifest, ROUTABILITY_ANNOTATION,
    controller_label, objects,
};
pub use selections::{SelectionHandle, SelectionReport, SelectionServices, X_BACKEND_LABEL};
pub use settings::{ADDRESS_TIMEOUT, Bootstrap, ProvisionArgs, ProvisionSettings, PullPolicy};

use engine::{Command, Engine};

/// Reports that wait to be taken. Of what waits longer, each Gateway's last one is kept.
const REPORTS: usize = 64;

/// What came of what a Gateway asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct ProvisionReport {
    /// The Gateway.
    pub gateway: GatewayId,
    /// Which of all Gateways of its name it is.
    pub uid: String,
    /// What its status is told.
    pub infrastructure: InfrastructureReport,
}

/// Starts the task that has Gateways' infrastructure made.
pub struct Provisioner;

impl Provisioner {
    /// Starts the task, in the current runtime.
    ///
    /// Among replicas of a controller only the one that holds the Lease may have such a task. It ends
    /// when the handle or the receiver is dropped; what it has made stays, and whoever starts next goes
    /// on from there. Nothing is made before `bootstrap` says how proxies find the controller.
    pub fn start(
        client: Client,
        settings: ProvisionSettings,
        bootstrap: latest::Receiver<Option<Bootstrap>>,
    ) -> (ProvisionHandle, mpsc::Receiver<ProvisionReport>) {
        let (commands, orders) = mpsc::unbounded_channel();
        let (sender, reports) = mpsc::channel(REPORTS);
        let task = tokio::spawn(Engine::run(client, settings, bootstrap, orders, sender));
        (ProvisionHandle { commands, task }, reports)
    }
}

/// Tells the provisioner what has to run. Dropped, it ends the provisioner.
pub struct ProvisionHandle {
    commands: mpsc::UnboundedSender<Command>,
    task: JoinHandle<()>,
}

impl ProvisionHandle {
    /// This has to run for a Gateway from now on; with `None`, nothing. A report follows, unless
    /// nothing has to run.
    ///
    /// `addresses` are those in the Gateway's status. It keeps them as long as they lead to it (AD-5): they count
    /// for the first report about it, and from then on what was reported last does.
    pub fn set(
        &self,
        gateway: GatewayId,
        wanted: Option<Arc<GatewayInfrastructure>>,
        addresses: Vec<IpAddr>,
    ) {
        // It ends before its handle only when nobody takes the reports any more.
        let _ = self.commands.send(Command::Set(gateway, wanted, addresses));
    }

    /// Every Gateway has been told: what this controller made for others may go.
    pub fn synced(&self) {
        let _ = self.commands.send(Command::Synced);
    }
}

impl Drop for ProvisionHandle {
    fn drop(&mut self) {
        // Whoever holds the Lease next must not find us at work.
        self.task.abort();
    }
}
