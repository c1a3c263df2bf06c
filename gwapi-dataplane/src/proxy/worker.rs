//! A worker: a thread with a runtime, sockets, tasks, pools and counters of its own.

use std::cell::{Cell, Ref, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc as sync_mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gwapi_translate::ir::TransportProtocol;
use tokio::runtime::{LocalOptions, LocalRuntime};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::accept;
use super::core_state::{CoreState, Forgotten};
use super::datagrams::{self, Listening};
use super::in_flight::CoreInFlight;
use super::shared::{Place, Shared};
use super::snapshot::Snapshot;
use super::sockets::{BoundSocket, SocketKey};
use super::timers::Timers;
use super::upstream::Pool;
use crate::Limits;
use crate::observe::WorkerTelemetry;

/// Says that something was done: by being dropped. A worker that died has dropped it, too.
pub(super) type Done = sync_mpsc::Sender<()>;

/// How far a drain has come, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Serving,
    /// Answers close their connections; new connections are still welcome.
    Draining,
    /// No new connections; those without a request are closed.
    Closing,
}

/// What a worker is told.
pub(super) enum Command {
    /// Take what comes to a socket.
    Listen { address: SocketAddr, socket: BoundSocket, done: Done },
    /// Take what waits in these sockets, then close them.
    Unlisten { sockets: Vec<SocketKey>, done: Done },
    /// The configuration has changed, and these parts of it are gone.
    Forget { forgotten: Arc<Forgotten>, done: Done },
    /// Go to the next phase of a drain.
    Enter { phase: Phase, done: Done },
    /// Say when no connection is left.
    WaitIdle { done: Done },
}

/// A worker as the thread that owns the proxy sees it. Dropping it stops the worker and waits for
/// its thread.
pub(super) struct WorkerHandle {
    commands: Option<mpsc::UnboundedSender<Command>>,
    connections: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl WorkerHandle {
    pub(super) fn start(index: usize, shared: Arc<Shared>) -> io::Result<Self> {
        let (commands, receiver) = mpsc::unbounded_channel();
        let connections = Arc::new(AtomicUsize::new(0));
        let telemetry = shared.telemetry.worker();
        let count = Arc::clone(&connections);
        // The runtime is one with its thread, so whether there is one is known only there.
        let (started, start) = sync_mpsc::channel();
        let thread =
            std::thread::Builder::new().name(format!("gwapi-worker-{index}")).spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build_local(LocalOptions::default());
                let runtime = match runtime {
                    Ok(runtime) => runtime,
                    Err(error) => {
                        let _ = started.send(error);
                        return;
                    }
                };
                drop(started);
                run(runtime, shared, telemetry, count, receiver);
            })?;
        match start.recv() {
            Ok(error) => Err(error),
            Err(_) => Ok(Self { commands: Some(commands), connections, thread: Some(thread) }),
        }
    }

    pub(super) fn send(&self, command: Command) {
        if let Some(commands) = &self.commands {
            // A worker that died does nothing any more, and its `Done` is dropped right here.
            let _ = commands.send(command);
        }
    }

    /// Connections that are open now.
    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Drop for WorkerHandle {
    fn drop(&mut self) {
        self.commands = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a worker panicked");
        }
    }
}

/// Waits until every receiver of `done` has dropped it; `false` if that takes past `deadline`.
pub(super) fn wait_done(done: &sync_mpsc::Receiver<()>, deadline: Option<Instant>) -> bool {
    match deadline {
        None => done.recv().is_err(),
        Some(deadline) => {
            let rest = deadline.saturating_duration_since(Instant::now());
            done.recv_timeout(rest) == Err(sync_mpsc::RecvTimeoutError::Disconnected)
        }
    }
}

fn run(
    runtime: LocalRuntime,
    shared: Arc<Shared>,
    telemetry: WorkerTelemetry,
    count: Arc<AtomicUsize>,
    commands: mpsc::UnboundedReceiver<Command>,
) {
    let worker = Rc::new(Worker::new(shared, telemetry, count));
    runtime.block_on(worker.serve(commands));
    // Tasks that are left end here, on the thread that they belong to.
    drop(runtime);
}

/// The state of a worker; everything that runs on its thread can reach it.
pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    pub(super) limits: Rc<Limits>,
    pub(super) telemetry: WorkerTelemetry,
    pub(super) core: CoreState,
    pub(super) pool: Pool,
    pub(super) timers: Timers,
    pub(super) udp_sessions: datagrams::Sessions,
    pub(super) in_flight: Arc<CoreInFlight>,
    snapshot: RefCell<Arc<Snapshot>>,
    phase: watch::Sender<Phase>,
    stopped: Cell<bool>,
    connections: Cell<usize>,
    connection_count: Arc<AtomicUsize>,
    connection_ended: Notify,
    accepting: RefCell<HashMap<SocketKey, oneshot::Sender<Done>>>,
}

impl Worker {
    fn new(shared: Arc<Shared>, telemetry: WorkerTelemetry, count: Arc<AtomicUsize>) -> Self {
        let limits = Rc::new(shared.limits.clone());
        Self {
            pool: Pool::new(Arc::clone(&shared.upstream_slots), Rc::clone(&limits)),
            timers: Timers::default(),
            udp_sessions: datagrams::Sessions::default(),
            in_flight: shared.in_flight.core(),
            limits,
            telemetry,
            core: CoreState::default(),
            snapshot: RefCell::new(shared.snapshot.load_full()),
            phase: watch::Sender::new(Phase::Serving),
            stopped: Cell::new(false),
            connections: Cell::new(0),
            connection_count: count,
            connection_ended: Notify::new(),
            accepting: RefCell::default(),
            shared,
        }
    }

    /// What is served now, to be read without a wait. The count that several cores share moves
    /// once per configuration and core, not with each request.
    pub(super) fn snapshot(&self) -> Ref<'_, Arc<Snapshot>> {
        let current = self.shared.snapshot.load();
        if !Arc::ptr_eq(&self.snapshot.borrow(), &current) {
            self.snapshot.replace(Arc::clone(&current));
        }
        self.snapshot.borrow()
    }

    /// The phase, to wait for the next.
    pub(super) fn phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Whether what is still in flight is being cut.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.get()
    }

    pub(super) fn is_draining(&self) -> bool {
        *self.phase.borrow() >= Phase::Draining
    }

    async fn serve(self: &Rc<Self>, mut commands: mpsc::UnboundedReceiver<Command>) {
        let idle_timeout = self.limits.upstream_idle_timeout;
        let period = (idle_timeout / 4).clamp(Duration::from_millis(50), Duration::from_secs(1));
        let mut sweep = tokio::time::interval(period);
        loop {
            tokio::select! {
                biased;
                command = commands.recv() => match command {
                    Some(command) => self.follow(command),
                    None => {
                        self.stopped.set(true);
                        return;
                    }
                },
                _ = sweep.tick() => self.pool.sweep(Instant::now()),
            }
        }
    }

    fn follow(self: &Rc<Self>, command: Command) {
        match command {
            Command::Listen { address, socket, done } => {
                self.listen(address, socket);
                drop(done);
            }
            Command::Unlisten { sockets, done } => {
                for socket in sockets {
                    self.unlisten(&socket, &done);
                }
            }
            Command::Forget { forgotten, done } => {
                // Whatever the worker still had of the configuration before is dropped here.
                drop(self.snapshot());
                self.core.forget(&forgotten);
                drop(done);
            }
            Command::Enter { phase, done } => {
                self.phase.send_replace(phase);
                if phase == Phase::Closing {
                    let sockets: Vec<_> = self.accepting.borrow().keys().copied().collect();
                    for socket in sockets {
                        self.unlisten(&socket, &done);
                    }
                }
            }
            Command::WaitIdle { done } => {
                let worker = Rc::clone(self);
                tokio::task::spawn_local(async move {
                    worker.below(1).await;
                    drop(done);
                });
            }
        }
    }

    fn listen(self: &Rc<Self>, address: SocketAddr, socket: BoundSocket) {
        if *self.phase.borrow() >= Phase::Closing {
            return;
        }
        let (stop, stopped) = oneshot::channel();
        let worker = Rc::clone(self);
        let taking = match socket {
            BoundSocket::Tcp(socket) => tokio::net::TcpListener::from_std(socket).map(|listener| {
                tokio::task::spawn_local(accept::accept(worker, listener, address, stopped));
                TransportProtocol::Tcp
            }),
            BoundSocket::Udp(socket) => Listening::new(worker, socket, address).map(|listening| {
                tokio::task::spawn_local(datagrams::receive(listening, stopped));
                TransportProtocol::Udp
            }),
        };
        match taking {
            Ok(transport) => {
                self.accepting.borrow_mut().insert((transport, address), stop);
            }
            Err(error) => tracing::error!(%address, %error, "a worker cannot use its socket"),
        }
    }

    fn unlisten(&self, socket: &SocketKey, done: &Done) {
        if let Some(stop) = self.accepting.borrow_mut().remove(socket) {
            // An accept loop that has ended already has nothing left to do.
            let _ = stop.send(done.clone());
        }
    }

    /// Waits until fewer than `limit` connections are open.
    pub(super) async fn below(&self, limit: usize) {
        // The count changes on this thread alone: nothing ends between the look and the wait.
        while self.connections.get() >= limit {
            self.connection_ended.notified().await;
        }
    }

    /// Waits until the worker may hold one more connection, by what holds then.
    pub(super) async fn has_room(&self) {
        loop {
            // Made before there is a look: other threads set the limit.
            let set = self.shared.room_set.notified();
            let limit = self.shared.max_connections();
            if self.connections.get() < limit {
                return;
            }
            tokio::select! {
                () = self.below(limit) => {}
                () = set => {}
            }
        }
    }

    /// Counts a datagram of a socket that went nowhere.
    pub(super) fn drop_datagram(&self, socket: &SocketAddr, reason: &'static str) {
        // Without a listener there is nobody to count it for.
        if let Some(port) = self.snapshot().udp_ports.get(socket) {
            let (gateway, listener) = (&port.gateway.id, &port.first_listener.key);
            self.telemetry.datagram_dropped(gateway, listener, reason);
        }
    }

    fn set_connections(&self, connections: usize) {
        self.connections.set(connections);
        self.connection_count.store(connections, Ordering::Relaxed);
    }
}

/// One open connection of a worker, counted until dropped.
pub(super) struct Slot {
    worker: Rc<Worker>,
    _place: Place,
}

impl Slot {
    pub(super) fn new(worker: &Rc<Worker>, place: Place) -> Self {
        worker.set_connections(worker.connections.get() + 1);
        Self { worker: Rc::clone(worker), _place: place }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.worker.set_connections(self.worker.connections.get() - 1);
        self.worker.connection_ended.notify_waiters();
    }
}
