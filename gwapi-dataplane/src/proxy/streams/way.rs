//! Where a connection or a flow of datagrams leads: its rule, and the backend whose turn it is.

use std::rc::Rc;

use gwapi_translate::ir::{BackendTarget, Listener};

use crate::proxy::core_state::{CoreBackend, CoreStreamRule};
use crate::proxy::snapshot::GatewayState;
use crate::proxy::upstream::Unconnected;
use crate::proxy::worker::Worker;

/// A way that was chosen once, for a connection or a flow (L4-5).
pub(in crate::proxy) struct Way {
    pub(in crate::proxy) rule: Rc<CoreStreamRule>,
    /// It has some endpoint.
    pub(in crate::proxy) backend: Rc<CoreBackend>,
}

/// Why a connection is closed, or a datagram dropped (TS-4, L4-4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::proxy) enum Rejection {
    #[error("no route of the listener takes it")]
    NoRoute,
    #[error("the route has no backend for it")]
    NoBackend,
    #[error("the backend has no endpoint")]
    NoEndpoint,
    #[error("no endpoint could be connected to")]
    Connect,
    #[error("no endpoint proved who it is")]
    Tls,
    #[error("the endpoint has as many connections as it may have")]
    Overflow,
}

impl Rejection {
    /// The word for the metrics.
    pub(in crate::proxy) fn reason(self) -> &'static str {
        match self {
            Self::NoRoute => "no_route",
            Self::NoBackend => "no_backend",
            Self::NoEndpoint => "no_endpoint",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Overflow => "overflow",
        }
    }
}

impl From<Unconnected> for Rejection {
    fn from(unconnected: Unconnected) -> Self {
        match unconnected {
            Unconnected::Connect => Self::Connect,
            Unconnected::Tls => Self::Tls,
            Unconnected::Overflow => Self::Overflow,
        }
    }
}

/// What leads nowhere.
pub(in crate::proxy) struct Lost {
    pub(in crate::proxy) rejection: Rejection,
    /// The rule that has it all the same.
    pub(in crate::proxy) rule: Option<Rc<CoreStreamRule>>,
}

impl Way {
    /// The way from a listener, by server name where there is one.
    pub(in crate::proxy) fn find(
        worker: &Worker,
        gateway: &GatewayState,
        listener: &Listener,
        name: Option<&str>,
    ) -> Result<Self, Lost> {
        let Some(rule) = gateway.table.stream(listener, name) else {
            return Err(Lost { rejection: Rejection::NoRoute, rule: None });
        };
        let rule = worker.core.stream_rule(&gateway.id, rule);
        match backend(worker, gateway, &rule) {
            Ok(backend) => Ok(Self { rule, backend }),
            Err(rejection) => Err(Lost { rejection, rule: Some(rule) }),
        }
    }
}

/// The backend whose turn it is, with some endpoint.
fn backend(
    worker: &Worker,
    gateway: &GatewayState,
    rule: &CoreStreamRule,
) -> Result<Rc<CoreBackend>, Rejection> {
    let choice = rule.pick().ok_or(Rejection::NoBackend)?;
    let BackendTarget::Backend(key) = &rule.rule.backends[choice].target else {
        return Err(Rejection::NoBackend);
    };
    let entry = gateway.backends.get(key).ok_or(Rejection::NoBackend)?;
    let backend = worker.core.backend(&worker.pool, entry);
    if backend.endpoint_count() == 0 {
        return Err(Rejection::NoEndpoint);
    }
    Ok(backend)
}
