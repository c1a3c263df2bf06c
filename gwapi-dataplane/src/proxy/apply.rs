//! Applying configuration: everything is made on the calling thread, then swapped in at once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::time::Instant;

use gwapi_translate::Feedback;
use gwapi_translate::ir::{
    ConfigDelta, GatewayId, Listener, ListenerKey, ListenerProtocol, TransportProtocol,
};

use super::core_state::Forgotten;
use super::gateway::Gateway;
use super::shared::Shared;
use super::snapshot::{Carried, Port, Snapshot};
use super::sockets::{Failure, SocketChanges, SocketKey, Sockets};
use super::traces::Exporter;
use super::upstream::UpstreamTlsClients;
use super::worker::{Command, WorkerHandle, wait_done};
use super::{ApplyReport, BoundListener, ConfigUpdate};
use crate::observe::{ConfigApplied, Served};

/// What is served, and how it came to be.
#[derive(Default)]
pub(super) struct Applier {
    generation: u64,
    gateways: BTreeMap<GatewayId, Gateway>,
    sockets: Sockets,
    feedback: BTreeMap<GatewayId, Feedback>,
    upstream_tls: UpstreamTlsClients,
    exporter: Exporter,
}

/// Who has a socket.
struct Owner {
    gateway: GatewayId,
    /// The first listener of those that share it.
    listener: Arc<Listener>,
    carried: Carried,
}

/// The sockets that the Gateways want, and who gets each.
#[derive(Default)]
struct Wanted {
    owners: BTreeMap<SocketKey, Owner>,
    /// Listeners that want a socket of another Gateway, or of another protocol.
    conflicts: BTreeMap<(GatewayId, ListenerKey), String>,
}

impl Applier {
    pub(super) fn apply(
        &mut self,
        update: ConfigUpdate,
        shared: &Shared,
        workers: &[WorkerHandle],
    ) -> ApplyReport {
        let began = Instant::now();
        let named: BTreeSet<GatewayId> = update.gateways.keys().cloned().collect();
        let changes_nothing = self.changes_nothing(&update);
        let forgotten = self.take_in(update, shared);
        let wanted = self.wanted();
        let keys = wanted.owners.keys().copied().collect();
        let changes = self.sockets.follow(&keys, workers.len());
        let max_udp_sessions = shared.limits.max_udp_sessions;
        shared.set_room(self.sockets.room_beside(workers.len(), max_udp_sessions));
        if changes_nothing && changes.is_empty() {
            // A look at ports that are still in use: no new generation, nothing to measure.
            let feedback = self.feedback(&wanted, &named);
            return ApplyReport { generation: self.generation, feedback };
        }
        self.generation += 1;
        shared.snapshot.store(Arc::new(self.snapshot(&wanted)));
        tell(workers, changes, forgotten);

        let feedback = self.feedback(&wanted, &named);
        let rejected = feedback
            .values()
            .map(|f| f.unbound.len() + f.unusable_addresses.len() + f.rejected_certificates.len());
        let applied = self.applied(began, rejected.sum());
        shared.telemetry.config_applied(&applied);
        tracing::debug!(generation = self.generation, took = ?applied.duration, "configuration applied");
        ApplyReport { generation: self.generation, feedback }
    }

    /// Brings away the last spans: no request is under way any more.
    pub(super) fn finish_traces(&mut self) {
        self.exporter.finish();
    }

    /// Whether an update only asks to try unbound ports again.
    fn changes_nothing(&self, update: &ConfigUpdate) -> bool {
        let known = |(id, delta): (&GatewayId, &ConfigDelta)| {
            delta.is_empty() && self.gateways.contains_key(id)
        };
        self.generation > 0
            && update.removed_gateways.is_empty()
            && update.gateways.iter().all(known)
    }

    fn take_in(&mut self, update: ConfigUpdate, shared: &Shared) -> Forgotten {
        let mut forgotten = Forgotten::default();
        for id in &update.removed_gateways {
            if let Some(gateway) = self.gateways.remove(id) {
                gateway.forget_all(&mut forgotten);
            }
            self.feedback.remove(id);
        }
        for (id, delta) in &update.gateways {
            let gateway =
                self.gateways.entry(id.clone()).or_insert_with(|| Gateway::new(id.clone()));
            let (clients, exporter) = (&mut self.upstream_tls, &mut self.exporter);
            gateway.apply(delta, clients, exporter, shared, &mut forgotten);
        }
        forgotten
    }

    /// Who gets which socket. A translator hands out no address twice; where one does, the first
    /// in order has it.
    fn wanted(&self) -> Wanted {
        let mut wanted = Wanted::default();
        for (id, gateway) in &self.gateways {
            for listener in gateway.listeners() {
                for key @ (_, address) in sockets(listener) {
                    let carried = carried(listener);
                    let owner = wanted.owners.entry(key).or_insert_with(|| Owner {
                        gateway: id.clone(),
                        listener: Arc::clone(listener),
                        carried,
                    });
                    let conflict = if owner.gateway != *id {
                        format!("{address} is in use by Gateway {}", owner.gateway)
                    } else if owner.listener.key == listener.key {
                        continue;
                    } else if let Some(both) = owner.carried.with(carried) {
                        owner.carried = both;
                        continue;
                    } else {
                        format!(
                            "{address} is in use by listener {} for another protocol",
                            owner.listener.key
                        )
                    };
                    wanted.conflicts.insert((id.clone(), listener.key.clone()), conflict);
                }
            }
        }
        wanted
    }

    fn snapshot(&self, wanted: &Wanted) -> Snapshot {
        let ports = |wanted_transport: TransportProtocol| {
            let of_transport =
                wanted.owners.iter().filter_map(move |((transport, address), owner)| {
                    (*transport == wanted_transport).then_some((*address, owner))
                });
            let port = |(address, owner): (SocketAddr, &Owner)| {
                let gateway = Arc::clone(self.gateways.get(&owner.gateway)?.state());
                let first_listener = Arc::clone(&owner.listener);
                Some((address, Port { gateway, carried: owner.carried, first_listener }))
            };
            of_transport.filter_map(port).collect()
        };
        Snapshot {
            generation: self.generation,
            ports: ports(TransportProtocol::Tcp),
            udp_ports: ports(TransportProtocol::Udp),
        }
    }

    /// What could not be done: for the Gateways of the update, and for those where that changed.
    fn feedback(
        &mut self,
        wanted: &Wanted,
        named: &BTreeSet<GatewayId>,
    ) -> BTreeMap<GatewayId, Feedback> {
        let mut report = BTreeMap::new();
        for (id, gateway) in &self.gateways {
            let feedback = Feedback {
                unbound: gateway
                    .listeners()
                    .filter_map(|l| Some((l.key.clone(), self.unbound(wanted, id, l)?)))
                    .collect(),
                unusable_addresses: gateway
                    .listeners()
                    .flat_map(|listener| sockets(listener))
                    .filter_map(|key| match self.sockets.failure(&key)? {
                        Failure::AddressMissing(why) => Some((key.1.ip(), (*why).to_owned())),
                        Failure::Unbound(_) => None,
                    })
                    .collect(),
                rejected_certificates: gateway.certificates().rejected().clone(),
                ..Feedback::default()
            };
            if named.contains(id) || self.feedback.get(id) != Some(&feedback) {
                report.insert(id.clone(), feedback.clone());
            }
            self.feedback.insert(id.clone(), feedback);
        }
        report
    }

    fn unbound(&self, wanted: &Wanted, id: &GatewayId, listener: &Listener) -> Option<String> {
        if let Some(conflict) = wanted.conflicts.get(&(id.clone(), listener.key.clone())) {
            return Some(conflict.clone());
        }
        let failures = sockets(listener).filter_map(|key| match self.sockets.failure(&key)? {
            Failure::Unbound(why) => Some(why.clone()),
            Failure::AddressMissing(_) => None,
        });
        let mut failures: Vec<String> = failures.collect();
        failures.dedup();
        (!failures.is_empty()).then(|| failures.join("; "))
    }

    pub(super) fn bound(&self) -> Vec<BoundListener> {
        let wanted = self.wanted();
        let mut bound: Vec<BoundListener> = Vec::new();
        for (id, gateway) in &self.gateways {
            for listener in gateway.listeners() {
                let key = (id.clone(), listener.key.clone());
                let ours = sockets(listener).filter(|socket| {
                    self.sockets.is_bound(socket) && !wanted.conflicts.contains_key(&key)
                });
                bound.extend(ours.map(|(_, address)| BoundListener {
                    gateway: id.clone(),
                    listener: listener.key.clone(),
                    address,
                }));
            }
        }
        bound.sort();
        bound
    }

    /// What is served now, to show it.
    pub(super) fn served(&self) -> Served {
        let configs = self.gateways.iter();
        Served {
            generation: self.generation,
            gateways: configs.map(|(id, gateway)| (id.clone(), gateway.config())).collect(),
            bound: self.bound(),
        }
    }

    fn applied(&self, began: Instant, rejected: usize) -> ConfigApplied {
        let mut applied = ConfigApplied {
            generation: self.generation,
            duration: began.elapsed(),
            gateways: self.gateways.len(),
            rejected,
            ..ConfigApplied::default()
        };
        for gateway in self.gateways.values() {
            applied.listeners += gateway.listeners().count();
            applied.http_rules += gateway.counts().http_rules;
            applied.stream_rules += gateway.counts().stream_rules;
            applied.backends += gateway.counts().backends;
            applied.certificates += gateway.certificates().len();
        }
        applied
    }
}

fn sockets(listener: &Listener) -> impl Iterator<Item = SocketKey> {
    let (transport, port) = (listener.protocol.transport(), listener.port);
    listener.addresses.iter().map(move |address| (transport, SocketAddr::new(*address, port)))
}

fn carried(listener: &Listener) -> Carried {
    match listener.protocol {
        ListenerProtocol::Http => Carried::Http,
        ListenerProtocol::Https { .. } => Carried::Tls { routed: false },
        ListenerProtocol::TlsTerminate { .. } | ListenerProtocol::TlsPassthrough => {
            Carried::Tls { routed: true }
        }
        ListenerProtocol::Tcp => Carried::Bytes,
        ListenerProtocol::Udp => Carried::Datagrams,
    }
}

impl Carried {
    /// What a port carries that carries both; none where that cannot be told apart (GW-2, GW-3).
    fn with(self, other: Self) -> Option<Self> {
        match (self, other) {
            (Self::Tls { routed: one }, Self::Tls { routed: other }) => {
                Some(Self::Tls { routed: one || other })
            }
            (Self::Http, Self::Http) => Some(Self::Http),
            // Neither has a name by which connections or datagrams find one of several listeners.
            _ => None,
        }
    }
}

/// Tells the workers what changed, and waits until each has followed.
fn tell(workers: &[WorkerHandle], changes: SocketChanges, forgotten: Forgotten) {
    let (done, finished) = mpsc::channel();
    for ((_, address), sockets) in changes.added {
        for (worker, socket) in workers.iter().zip(sockets) {
            worker.send(Command::Listen { address, socket, done: done.clone() });
        }
    }
    let forgotten = Arc::new(forgotten);
    for worker in workers {
        if !changes.removed.is_empty() {
            let sockets = changes.removed.clone();
            worker.send(Command::Unlisten { sockets, done: done.clone() });
        }
        let forgotten = Arc::clone(&forgotten);
        worker.send(Command::Forget { forgotten, done: done.clone() });
    }
    drop(done);
    wait_done(&finished, None);
}
