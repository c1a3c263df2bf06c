//! What a Service is to a proxy: one address, behind which controllers come and go.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use super::PATIENCE;

/// A relay on a port of its own. Its threads end with their connections, and the last one with the
/// process.
pub(crate) struct Service {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    target: Mutex<Option<SocketAddr>>,
    open: Mutex<HashMap<u64, [TcpStream; 2]>>,
    /// Bytes that controllers have sent.
    sent: AtomicU64,
    connections: Mutex<usize>,
    came: Condvar,
}

impl Service {
    /// One with nobody behind it.
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("bound");
        let shared = Arc::new(Shared::default());
        let relay = Arc::clone(&shared);
        thread::spawn(move || {
            for (id, client) in listener.incoming().enumerate() {
                let Ok(client) = client else { return };
                relay.connect(id as u64, client);
            }
        });
        Self { address, shared }
    }

    pub(crate) fn to(controller: SocketAddr) -> Self {
        let service = Self::new();
        service.point_to(Some(controller));
        service
    }

    /// Where proxies find controllers.
    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Leads to another controller from now on, or to none; connections break.
    pub(crate) fn point_to(&self, controller: Option<SocketAddr>) {
        *self.shared.target.lock().unwrap() = controller;
        for [client, server] in self.shared.open.lock().unwrap().values() {
            let _ = client.shutdown(Shutdown::Both);
            let _ = server.shutdown(Shutdown::Both);
        }
    }

    /// Breaks all connections.
    pub(crate) fn cut(&self) {
        let target = *self.shared.target.lock().unwrap();
        self.point_to(target);
    }

    /// Waits until somebody has come so many times.
    pub(crate) fn wait_for_connections(&self, count: usize) {
        let connections = self.shared.connections.lock().unwrap();
        let few = |connections: &mut usize| *connections < count;
        let waited = self.shared.came.wait_timeout_while(connections, PATIENCE, few).unwrap();
        assert!(!waited.1.timed_out(), "only {} came", waited.0);
    }

    /// Bytes that controllers have sent so far.
    pub(crate) fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn connect(self: &Arc<Self>, id: u64, client: TcpStream) {
        *self.connections.lock().unwrap() += 1;
        self.came.notify_all();
        let Some(target) = *self.target.lock().unwrap() else { return };
        let Ok(server) = TcpStream::connect(target) else { return };
        let pair = || [client.try_clone(), server.try_clone()].map(|it| it.expect("open"));
        self.open.lock().unwrap().insert(id, pair());
        let ([from_client, to_server], [to_client, from_server]) = (pair(), pair());
        let shared = Arc::clone(self);
        thread::spawn(move || shared.copy(from_client, to_server, None));
        let shared = Arc::clone(self);
        thread::spawn(move || {
            shared.copy(from_server, to_client, Some(&shared.sent));
            shared.open.lock().unwrap().remove(&id);
        });
    }

    fn copy(&self, mut from: TcpStream, mut to: TcpStream, count: Option<&AtomicU64>) {
        let mut relay = || -> io::Result<()> {
            let mut buffer = [0; 16 * 1024];
            loop {
                let length = from.read(&mut buffer)?;
                if length == 0 {
                    return Ok(());
                }
                if let Some(count) = count {
                    count.fetch_add(length as u64, Ordering::Relaxed);
                }
                to.write_all(&buffer[..length])?;
            }
        };
        let _ = relay();
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }
}
