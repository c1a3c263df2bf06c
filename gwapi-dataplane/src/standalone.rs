//! A gateway without a cluster: folder, translation and proxy in one loop.
//!
//! ```text
//!  files ─► Folder ─► Overlay ─► Translator ─► ProxyHandle
//!                                    ▲              │
//!                                    └── Feedback ──┘   (ports in use, broken certificates)
//! ```
//!
//! [`TranslatedFolder`] is the left half and serves nothing: it is what tools look at.
//! [`Standalone`] adds the proxy. Both do nothing on their own: whoever owns one calls
//! [`Standalone::wait`] in a loop, on a thread that may block.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use gwapi_dataplane::{ProxyBuilder, Standalone, TranslatedFolder};
//! use gwapi_translate::Options;
//!
//! let options = Options { any_controller: true, ..Options::default() };
//! let source = TranslatedFolder::open(vec!["manifests".into()], options, ());
//! let proxy = ProxyBuilder::new().start()?;
//! let mut standalone = Standalone::start(source, proxy);
//! standalone.watch()?;
//! loop {
//!     if let Some(change) = standalone.wait(Duration::from_secs(1)) {
//!         println!("{:?} served after {:?}", change.objects, change.took);
//!     }
//! }
//! # #[allow(unreachable_code)]
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use gwapi_model::{ObjectId, Resource, Resources};
use gwapi_translate::ir::{ConfigDelta, GatewayConfig, GatewayId};
use gwapi_translate::{Feedback, Options};

use crate::{ConfigUpdate, Drained, ProxyHandle};

mod translated_folder;

pub use translated_folder::{SourceChange, TranslatedFolder};

/// Time between two attempts at ports that could not be bound.
const RETRY_UNBOUND: Duration = Duration::from_secs(1);

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It was there and is different now.
    Changed,
    /// It is gone.
    Removed,
}

/// A change of one object in the files.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectChange {
    /// The object.
    pub id: ObjectId,
    /// What happened to it.
    pub kind: ChangeKind,
}

/// Adds to what files hold, and has a say in what of it is taken in: addresses given on a command
/// line, backends for a demo, endpoints that are refused.
pub trait Overlay {
    /// What becomes of an object of a file: itself, another version of it, or nothing.
    fn admit(&mut self, resource: Resource) -> Option<Resource> {
        Some(resource)
    }

    /// Follows a change of the files: everything that is to be added to them from now on, or
    /// `None` where that stays what it was. `options` may be changed as well.
    ///
    /// `files` is the state after the change, as [`Overlay::admit`] left it. The first call comes
    /// after the first reading, whatever it found. Where a file holds an object of the same name
    /// as an added one, the file's counts.
    fn follow(
        &mut self,
        files: &Resources,
        changes: &[ObjectChange],
        options: &mut Options,
    ) -> Option<Vec<Resource>> {
        let _ = (files, changes, options);
        None
    }

    /// Every worker serves what [`Overlay::follow`] gave last, and nothing from before. A
    /// [`Standalone`] says so again and again, as often as it is waited for.
    fn served(&mut self) {}
}

/// No overlay: what files hold is what is served.
impl Overlay for () {}

/// What a [`Standalone`] noticed and did.
#[derive(Clone, Debug, Default)]
pub struct StandaloneChange {
    /// Files that were added, edited or removed; empty where a port became free or unusable.
    pub files: Vec<PathBuf>,
    /// Objects of files that changed, by kind and name.
    pub objects: Vec<ObjectChange>,
    /// Objects whose status changed, whether or not they did.
    pub statuses: BTreeSet<ObjectId>,
    /// Time from having read the files to every worker serving them.
    pub took: Duration,
}

/// A folder that is served.
///
/// Dropping it stops the proxy at once; [`Standalone::drain`] stops it gently.
#[derive(Debug)]
pub struct Standalone<O = ()> {
    source: TranslatedFolder<O>,
    proxy: ProxyHandle,
    generation: u64,
    feedback: BTreeMap<GatewayId, Feedback>,
    /// Objects whose status changed and that nobody was told of yet.
    statuses: BTreeSet<ObjectId>,
    next_retry: Instant,
}

impl<O: Overlay> Standalone<O> {
    /// Serves what the folder holds; returns when every worker serves it.
    pub fn start(source: TranslatedFolder<O>, proxy: ProxyHandle) -> Self {
        let everything = source
            .translation()
            .config
            .iter()
            .map(|(gateway, config)| (gateway.clone(), GatewayConfig::default().delta_to(config)))
            .collect();
        let mut standalone = Self {
            source,
            proxy,
            generation: 0,
            feedback: BTreeMap::new(),
            statuses: BTreeSet::new(),
            next_retry: Instant::now() + RETRY_UNBOUND,
        };
        standalone.serve(ConfigUpdate { gateways: everything, removed_gateways: Vec::new() });
        standalone
    }

    /// Starts to watch the files. Call it before the first [`Standalone::wait`].
    pub fn watch(&mut self) -> std::io::Result<()> {
        self.source.watch()
    }

    /// Waits until something changed, serves it, and says what it was; `None` after `timeout`.
    /// Ports that could not be bound are tried again every second meanwhile.
    pub fn wait(&mut self, timeout: Duration) -> Option<StandaloneChange> {
        let deadline = Instant::now() + timeout;
        loop {
            self.source.overlay_mut().served();
            let now = Instant::now();
            let unbound = self.feedback.values().any(wants_sockets);
            let until = if unbound { deadline.min(self.next_retry) } else { deadline };
            if let Some(change) = self.source.wait(until.saturating_duration_since(now)) {
                return Some(self.take(change));
            }
            if unbound && Instant::now() >= self.next_retry {
                let began = Instant::now();
                if self.retry_unbound() {
                    let statuses = std::mem::take(&mut self.statuses);
                    let took = began.elapsed();
                    return Some(StandaloneChange { statuses, took, ..Default::default() });
                }
            }
            if Instant::now() >= deadline {
                return None;
            }
        }
    }

    /// The folder and what it was translated to.
    pub fn source(&self) -> &TranslatedFolder<O> {
        &self.source
    }

    /// The proxy.
    pub fn proxy(&self) -> &ProxyHandle {
        &self.proxy
    }

    /// Objects whose status changed by what the proxy said, until the next change tells of them.
    pub fn statuses(&self) -> &BTreeSet<ObjectId> {
        &self.statuses
    }

    /// Number of the configuration that is served, counted from 1.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Drains the proxy and stops, see [`ProxyHandle::drain`]. Blocks.
    pub fn drain(self) -> Drained {
        self.proxy.drain()
    }

    fn take(&mut self, change: SourceChange) -> StandaloneChange {
        let began = Instant::now();
        self.statuses.extend(change.delta.status.keys().cloned());
        if !change.delta.config.is_empty() || !change.delta.removed_gateways.is_empty() {
            self.serve(ConfigUpdate::from(&change.delta));
        }
        StandaloneChange {
            files: change.files,
            objects: change.objects,
            statuses: std::mem::take(&mut self.statuses),
            took: change.took + began.elapsed(),
        }
    }

    /// Applies an update and takes in what the proxy says about it. That changes status alone:
    /// what is broken stays in the configuration, so that the proxy can try it again.
    fn serve(&mut self, update: ConfigUpdate) {
        for gateway in &update.removed_gateways {
            self.feedback.remove(gateway);
        }
        let report = self.proxy.apply(update);
        self.generation = report.generation;
        for (gateway, feedback) in report.feedback {
            let delta = self.source.set_feedback(&gateway, feedback.clone());
            self.statuses.extend(delta.status.into_keys());
            if feedback == Feedback::default() {
                self.feedback.remove(&gateway);
            } else {
                self.feedback.insert(gateway, feedback);
            }
        }
    }

    /// Lets the proxy try unbound ports once more; whether anything came of it.
    fn retry_unbound(&mut self) -> bool {
        self.next_retry = Instant::now() + RETRY_UNBOUND;
        let before = self.feedback.clone();
        let unbound = before.iter().filter(|(_, feedback)| wants_sockets(feedback));
        // A Gateway that is named is looked at anew, even where nothing about it changes.
        let gateways = unbound.map(|(id, _)| (id.clone(), ConfigDelta::default())).collect();
        self.serve(ConfigUpdate { gateways, removed_gateways: Vec::new() });
        self.feedback != before
    }
}

/// Whether some socket of a Gateway could not be had, which may be otherwise a moment later.
fn wants_sockets(feedback: &Feedback) -> bool {
    !feedback.unbound.is_empty() || !feedback.unusable_addresses.is_empty()
}
