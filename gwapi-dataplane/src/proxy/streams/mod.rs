//! Connections of TLSRoutes and TCPRoutes: bytes, of which nothing is read but the server name.
//!
//! ```text
//!  accept ─► serve_bytes ──────────────────────────────────────► way ─► connect ─► relay
//!         └► serve_tls ─► client_hello ─► listener by name ─┬──► way      ▲
//!                                                           ├──► way ─► handshake
//!                                                           └──► HTTPS
//! ```
//!
//! A connection that leads nowhere is closed before a byte is answered, an alert included (TS-4, L4-4):
//! what is spoken inside is not ours, and a client that was answered would take that for its server.

mod account;
mod client_hello;
mod way;

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use gwapi_translate::ir::{GatewayId, ListenerProtocol};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsAcceptor;

use super::connection::Accepted;
use super::core_state::CoreListener;
use super::io::{ClientIo, OpenEnd};
use super::relay::{Broken, relay};
use super::upstream::{EndpointTls, connect_stream};
use crate::observe::Ended;
use account::Account;
pub(super) use way::{Lost, Rejection, Way};

/// Serves a connection for a TCPRoute. Nothing is read of it before the endpoint is there: with some
/// protocols the server speaks first.
pub(super) async fn serve_bytes(
    accepted: Accepted,
    mut io: ClientIo,
    listener: Rc<CoreListener>,
) -> io::Result<()> {
    let worker = &accepted.worker;
    let account = Account::new(worker, listener, "TCP", accepted.peer, None);
    io.take_any_pace();
    let way = {
        let snapshot = worker.snapshot();
        // A listener that is gone meanwhile has no routes.
        match snapshot.ports.get(&accepted.socket) {
            Some(port) => Way::find(worker, &port.gateway, &port.first_listener, None),
            None => Err(Lost { rejection: Rejection::NoRoute, rule: None }),
        }
    };
    let reset = Some(io.open_end().clone());
    carry(account, io, reset, way, EndpointTls::AsAsked).await
}

/// Serves a connection on a port where some listener is for TLSRoutes. Its ClientHello, and the handshake
/// where TLS ends here, have to be over by `until`.
pub(super) async fn serve_tls(
    accepted: Accepted,
    mut io: ClientIo,
    gateway: &GatewayId,
    until: Instant,
) -> io::Result<()> {
    let worker = Rc::clone(&accepted.worker);
    let failed = |reason| worker.telemetry.handshake_failed(Some(gateway), reason);
    let name = match timeout_at(until, client_hello::server_name(&mut io)).await {
        Ok(Ok(name)) => name,
        Ok(Err(error)) => {
            failed("malformed");
            return Err(error);
        }
        Err(elapsed) => {
            failed("timeout");
            return Err(elapsed.into());
        }
    };
    let (listener, course) = match Course::of(&accepted, name.as_deref()) {
        Some(Course::Https) => return accepted.serve_https(io, gateway, until).await,
        Some(Course::Bytes(listener, course)) => (listener, course),
        None => {
            failed("unrecognized_name");
            return Err(io::Error::other("no listener for the server name"));
        }
    };
    let mut account = Account::new(&worker, listener, "TLS", accepted.peer, name);
    io.take_any_pace();
    match course {
        (way, Ending::There) => {
            let reset = Some(io.open_end().clone());
            carry(account, io, reset, way, EndpointTls::Never).await
        }
        // Without a way there is no handshake either.
        (Err(lost), Ending::Here(_)) => Err(account.lose(lost)),
        (Ok(way), Ending::Here(config)) => {
            account.rule = Some(Rc::clone(&way.rule));
            let mut failed = |reason| {
                account.ended = reason;
                failed(reason);
            };
            let Some(config) = config else {
                failed("no_certificate");
                return Err(io::Error::other("the listener has no certificate"));
            };
            let handshake = timeout_at(until, TlsAcceptor::from(config).accept(io)).await;
            let stream = handshake.map_err(io::Error::from).flatten().inspect_err(|error| {
                let timed_out = error.kind() == io::ErrorKind::TimedOut;
                failed(if timed_out { "timeout" } else { "failed" });
            })?;
            // Inside TLS a client sees by itself that what it got is not all: it has an end of its own.
            carry(account, stream, None, Ok(way), EndpointTls::AsAsked).await
        }
    }
}

/// What becomes of a connection that began with a ClientHello.
enum Course {
    Https,
    Bytes(Rc<CoreListener>, (Result<Way, Lost>, Ending)),
}

/// Where TLS ends.
enum Ending {
    /// Here, with this configuration; with none where no certificate can be used.
    Here(Option<Arc<ServerConfig>>),
    /// Where the connection leads to.
    There,
}

impl Course {
    /// By server name: the listener (LI-4), then its route (TS-3). None where there is no listener.
    fn of(accepted: &Accepted, name: Option<&str>) -> Option<Self> {
        let worker = &accepted.worker;
        let snapshot = worker.snapshot();
        let gateway = &snapshot.ports.get(&accepted.socket)?.gateway;
        let listener = gateway.table.listener_for_sni(accepted.socket.port(), name)?;
        let ending = match listener.protocol {
            ListenerProtocol::TlsPassthrough => Ending::There,
            ListenerProtocol::TlsTerminate { .. } => {
                Ending::Here(gateway.listeners.get(&listener.key)?.tls.clone())
            }
            _ => return Some(Self::Https),
        };
        let way = Way::find(worker, gateway, listener, name);
        let listener = worker.core.listener(&gateway.id, listener);
        Some(Self::Bytes(listener, (way, ending)))
    }
}

/// Carries the bytes of a connection to an endpoint and back, until both ends have said so.
///
/// One that breaks off is reset, towards the client by `reset`: neither side takes what it got for all
/// there is.
async fn carry(
    mut account: Account,
    io: impl AsyncRead + AsyncWrite + Unpin,
    reset: Option<OpenEnd>,
    way: Result<Way, Lost>,
    tls: EndpointTls,
) -> io::Result<()> {
    let Way { rule, backend } = way.map_err(|lost| account.lose(lost))?;
    account.rule = Some(rule);
    let backend = account.backend.insert(backend);
    // In a box: a connection has no room for it once it is made.
    let connected = Box::pin(connect_stream(backend, tls, &account.worker)).await;
    let mut endpoint = connected.map_err(|why| account.reject(why.into()))?;
    account.endpoint = endpoint.address();
    if let Some(reset) = &reset {
        reset.begin();
    }
    // Dropped before both ways have ended, by a drain's end as by an error, both connections are reset.
    let (mut client_read, mut client_write) = tokio::io::split(io);
    let idle_timeout = account.worker.limits.stream_idle_timeout;
    let (read, write) = endpoint.halves();
    let passed = &account.passed;
    let relayed = relay(&mut client_read, &mut client_write, read, write, idle_timeout, passed);
    let relayed = relayed.await;
    account.ended = relayed.as_ref().map_or_else(Broken::ended, |()| Ended::Complete).as_str();
    relayed.map_err(io::Error::other)?;
    endpoint.end();
    if let Some(reset) = reset {
        reset.close();
    }
    Ok(())
}
