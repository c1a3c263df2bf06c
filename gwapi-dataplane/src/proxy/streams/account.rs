//! What is told of a connection once it is over.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use tokio::time::Instant;

use super::way::{Lost, Rejection};
use crate::observe::{Ended, OpenConnection, StreamRecord};
use crate::proxy::core_state::{CoreBackend, CoreListener, CoreStreamRule};
use crate::proxy::relay::Passed;
use crate::proxy::worker::Worker;

/// A connection from the moment when its listener is known. Dropped, it is told of.
pub(super) struct Account {
    pub(super) worker: Rc<Worker>,
    listener: Rc<CoreListener>,
    protocol: &'static str,
    peer: SocketAddr,
    server_name: Option<String>,
    began: Instant,
    pub(super) rule: Option<Rc<CoreStreamRule>>,
    pub(super) backend: Option<Rc<CoreBackend>>,
    pub(super) endpoint: Option<SocketAddr>,
    pub(super) passed: Passed,
    /// How it ends; a drain's end drops whatever is left.
    pub(super) ended: &'static str,
    _counted: OpenConnection,
}

impl Account {
    pub(super) fn new(
        worker: &Rc<Worker>,
        listener: Rc<CoreListener>,
        protocol: &'static str,
        peer: SocketAddr,
        server_name: Option<String>,
    ) -> Self {
        Self {
            _counted: worker.telemetry.connection(&listener.gateway, &listener.key),
            worker: Rc::clone(worker),
            listener,
            protocol,
            peer,
            server_name,
            began: Instant::now(),
            rule: None,
            backend: None,
            endpoint: None,
            passed: Passed::default(),
            ended: Ended::Cut.as_str(),
        }
    }

    /// The connection leads nowhere.
    pub(super) fn lose(&mut self, lost: Lost) -> io::Error {
        self.rule = lost.rule;
        self.reject(lost.rejection)
    }

    /// The connection is closed.
    pub(super) fn reject(&mut self, rejection: Rejection) -> io::Error {
        let CoreListener { gateway, key, .. } = &*self.listener;
        self.worker.telemetry.connection_rejected(gateway, key, rejection.reason());
        self.ended = rejection.reason();
        io::Error::other(rejection)
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let rule = self.rule.as_ref().map(|rule| &rule.rule);
        self.worker.telemetry.stream(&StreamRecord {
            protocol: self.protocol,
            gateway: &self.listener.gateway,
            listener: &self.listener.key,
            route: rule.map(|rule| &rule.route),
            rule: rule.map(|rule| &rule.key),
            backend: self.backend.as_ref().map(|backend| backend.key()),
            endpoint: self.endpoint,
            peer: self.peer,
            server_name: self.server_name.as_deref(),
            duration: self.began.elapsed(),
            bytes_received: self.passed.received.get(),
            bytes_sent: self.passed.sent.get(),
            ended: self.ended,
        });
    }
}
