//! The flows of a worker: found by their addresses, and by how long they have been silent.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use tokio::time::Instant;

use super::session::{End, Session};
use crate::observe::OpenConnection;
use crate::proxy::shared::{Shared, UdpPlace};

/// What datagrams of one flow have in common (L4-6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Flow {
    /// Our socket, as bound.
    pub(super) socket: SocketAddr,
    /// The address that the client sends to.
    pub(super) local: IpAddr,
    pub(super) client: SocketAddr,
}

/// All flows of a worker. Clients choose the addresses, so the map's hash is one that they cannot guess.
#[derive(Default)]
pub(in crate::proxy) struct Sessions {
    by_flow: RefCell<HashMap<Flow, Open>>,
    /// Since when flows had been silent when it was last looked: it may only be later by now.
    silent: RefCell<BinaryHeap<Reverse<(Instant, u64, Flow)>>>,
    begun: Cell<u64>,
}

/// A flow that can be found.
struct Open {
    session: Rc<Session>,
    id: u64,
    _place: UdpPlace,
    _counted: OpenConnection,
}

impl Sessions {
    pub(super) fn find(&self, flow: &Flow) -> Option<Rc<Session>> {
        self.by_flow.borrow().get(flow).map(|open| Rc::clone(&open.session))
    }

    /// A place for one more flow; where all are taken, the flow of this worker that has been silent
    /// longest makes room. A worker without any has one all the same: others do not lock it out.
    pub(super) fn make_room(&self, shared: &Shared) -> UdpPlace {
        loop {
            if let Some(place) = shared.try_udp_place() {
                return place;
            }
            if !self.end_longest_silent() {
                return shared.udp_place();
            }
        }
    }

    pub(super) fn add(
        &self,
        session: Session,
        place: UdpPlace,
        counted: OpenConnection,
    ) -> Rc<Session> {
        let (session, id) = (Rc::new(session), self.begun.get());
        self.begun.set(id + 1);
        let mut by_flow = self.by_flow.borrow_mut();
        let mut silent = self.silent.borrow_mut();
        // Flows that have ended are still in there.
        if silent.len() > 2 * by_flow.len() + 64 {
            silent.retain(|Reverse((_, id, flow))| by_flow.get(flow).is_some_and(|o| o.id == *id));
        }
        silent.push(Reverse((session.last(), id, session.flow)));
        let open = Open { session: Rc::clone(&session), id, _place: place, _counted: counted };
        by_flow.insert(session.flow, open);
        session
    }

    /// Ends a flow, unless another one has its place already.
    pub(super) fn end(&self, session: &Rc<Session>, why: End) {
        let mut by_flow = self.by_flow.borrow_mut();
        if by_flow.get(&session.flow).is_some_and(|open| Rc::ptr_eq(&open.session, session)) {
            by_flow.remove(&session.flow);
        }
        session.end(why);
    }

    /// Ends all flows of a socket.
    pub(super) fn end_all_of(&self, socket: SocketAddr) {
        self.by_flow.borrow_mut().retain(|flow, open| {
            let stays = flow.socket != socket;
            if !stays {
                open.session.end(End::Cut);
            }
            stays
        });
    }

    /// Ends the flow that has been silent longest; false where there is none.
    fn end_longest_silent(&self) -> bool {
        let mut by_flow = self.by_flow.borrow_mut();
        let mut silent = self.silent.borrow_mut();
        while let Some(Reverse((since, id, flow))) = silent.pop() {
            let Some(open) = by_flow.get(&flow).filter(|open| open.id == id) else { continue };
            let last = open.session.last();
            if last > since {
                silent.push(Reverse((last, id, flow)));
                continue;
            }
            open.session.end(End::Displaced);
            by_flow.remove(&flow);
            return true;
        }
        false
    }
}
