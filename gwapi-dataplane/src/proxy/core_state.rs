//! What a core keeps for the parts of the configuration that its requests touched.
//!
//! Names, compiled filters, weighted choices and endpoints are found by the address of the shared
//! object that they were made from: no text is hashed and no counter of another core is touched.
//! An entry holds its object, so an address means one object only; entries of objects that are no
//! longer served go with [`CoreState::forget`].

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use gwapi_translate::ir::{
    BackendKey, BackendProtocol, Endpoints, GatewayId, HttpRule, Listener, ListenerFilter,
    ListenerKey, RuleKey, StreamRule, WeightedBackend,
};

use super::authorize::Authorizer;
use super::draw::{Draw, Lot};
use super::filters::Filters;
use super::sessions::Persistence;
use super::snapshot::{BackendEntry, ConfigMap};
use super::upstream::{Endpoint, Place, Pool, RetryBudget};
use crate::observe::KnownSeries;

/// Parts of the configuration that are not served any more.
#[derive(Clone, Debug, Default)]
pub(super) struct Forgotten {
    /// Addresses of shared objects, by [`address`].
    pub(super) objects: Vec<usize>,
    /// Rules whose keys are gone, and with them their weighted choice.
    pub(super) rules: Vec<(GatewayId, RuleKey)>,
}

/// The address of a shared object: its name within a process, as long as it lives.
pub(super) fn address<T>(object: &Arc<T>) -> usize {
    Arc::as_ptr(object).addr()
}

/// The state of one core.
#[derive(Default)]
pub(super) struct CoreState {
    listeners: RefCell<ConfigMap<usize, Rc<CoreListener>>>,
    rules: RefCell<ConfigMap<usize, Rc<CoreRule>>>,
    stream_rules: RefCell<ConfigMap<usize, Rc<CoreStreamRule>>>,
    backends: RefCell<ConfigMap<usize, Rc<CoreBackend>>>,
    choices: RefCell<ConfigMap<(GatewayId, RuleKey), Rc<Choice>>>,
}

/// A listener's names.
pub(super) struct CoreListener {
    pub(super) gateway: GatewayId,
    pub(super) key: ListenerKey,
    /// What runs before routes are matched; none of a service that cannot be asked at all.
    pub(super) filters: Vec<Option<Authorizer>>,
    _object: Arc<Listener>,
}

/// A rule with its filters compiled.
pub(super) struct CoreRule {
    pub(super) rule: Arc<HttpRule>,
    pub(super) filters: Filters,
    /// Filters of each backend.
    pub(super) backend_filters: Vec<Filters>,
    /// Where its requests are counted.
    pub(super) series: KnownSeries,
    /// What binds clients to endpoints of whatever backend they get.
    pub(super) session: Option<Rc<Persistence>>,
    choice: Option<Rc<Choice>>,
}

/// A rule of a TLSRoute, TCPRoute or UDPRoute.
pub(super) struct CoreStreamRule {
    pub(super) rule: Arc<StreamRule>,
    choice: Option<Rc<Choice>>,
}

/// A weighted choice; it goes on across configurations while the list of backends is the same.
struct Choice {
    backends: Vec<(u32, gwapi_translate::ir::BackendTarget)>,
    lot: Rc<Lot>,
}

impl Choice {
    fn new(backends: &[WeightedBackend]) -> Self {
        let weights: Vec<u32> = backends.iter().map(|backend| backend.weight).collect();
        Self {
            backends: backends.iter().map(|b| (b.weight, b.target.clone())).collect(),
            lot: Lot::new(&weights),
        }
    }

    fn is_of(&self, backends: &[WeightedBackend]) -> bool {
        self.backends.len() == backends.len()
            && self.backends.iter().zip(backends).all(|(a, b)| a.0 == b.weight && a.1 == b.target)
    }
}

impl CoreRule {
    /// The position of the backend that the next request goes to; `None` where there is none that
    /// gets any (HB-2, HB-5).
    pub(super) fn pick(&self) -> Option<usize> {
        pick(self.choice.as_deref(), &self.rule.backends)
    }

    /// What was picked, where there was anything to choose.
    pub(super) fn drawn(&self, picked: usize) -> Option<Draw> {
        self.choice.as_ref().map(|choice| Draw::of(&choice.lot, picked))
    }
}

impl CoreStreamRule {
    /// The same for the next connection or flow of datagrams (L4-5).
    pub(super) fn pick(&self) -> Option<usize> {
        pick(self.choice.as_deref(), &self.rule.backends)
    }
}

fn pick(choice: Option<&Choice>, backends: &[WeightedBackend]) -> Option<usize> {
    match (choice, backends) {
        (Some(choice), _) => choice.lot.draw(),
        (None, [only]) => (only.weight > 0).then_some(0),
        (None, _) => None,
    }
}

/// A backend with the endpoints that this core has connections to.
pub(super) struct CoreBackend {
    pub(super) entry: Arc<BackendEntry>,
    /// What binds clients to its endpoints, where their rule says nothing of it.
    pub(super) session: Option<Rc<Persistence>>,
    endpoints: Vec<Rc<Endpoint>>,
    next: Cell<usize>,
}

impl CoreBackend {
    pub(super) fn key(&self) -> &BackendKey {
        &self.entry.backend.key
    }

    pub(super) fn protocol(&self) -> BackendProtocol {
        self.entry.backend.protocol
    }

    /// How many retries there may be; none where nothing bounds them.
    pub(super) fn retry_budget(&self) -> Option<&RetryBudget> {
        self.entry.retry_budget.as_deref()
    }

    pub(super) fn endpoint_count(&self) -> usize {
        self.endpoints.len()
    }

    /// The endpoint at an address.
    pub(super) fn endpoint_at(&self, address: SocketAddr) -> Option<&Rc<Endpoint>> {
        self.endpoints.iter().find(|endpoint| endpoint.address() == Some(address))
    }

    /// The endpoint with the fewest requests in flight on this core, in turn among equals; none
    /// where all are in `tried`.
    pub(super) fn endpoint(&self, tried: &[Rc<Endpoint>]) -> Option<&Rc<Endpoint>> {
        let count = self.endpoints.len();
        let first = self.next.get();
        let mut best: Option<(usize, usize)> = None;
        for step in 0..count {
            let position = (first + step) % count;
            let endpoint = &self.endpoints[position];
            if tried.iter().any(|tried| Rc::ptr_eq(tried, endpoint)) {
                continue;
            }
            let in_flight = endpoint.in_flight();
            if best.is_none_or(|(least, _)| in_flight < least) {
                best = Some((in_flight, position));
                if in_flight == 0 {
                    break;
                }
            }
        }
        let (_, position) = best?;
        self.next.set((position + 1) % count);
        self.endpoints.get(position)
    }

    /// The same for a flow of datagrams. Flows to an endpoint that refuses end at once: it would always
    /// have the fewest, and get all the others. So it gets some where every endpoint refuses.
    pub(super) fn endpoint_for_flow(&self) -> Option<&Rc<Endpoint>> {
        let refusing = self.endpoints.iter().filter(|endpoint| endpoint.refuses());
        let refusing: Vec<_> = refusing.map(Rc::clone).collect();
        self.endpoint(&refusing).or_else(|| self.endpoint(&[]))
    }
}

fn authorizer(filter: &ListenerFilter) -> Option<Authorizer> {
    match filter {
        ListenerFilter::ExternalAuth(filter) => Some(Authorizer::new(filter)),
        ListenerFilter::Refuse(_) => None,
    }
}

fn places(endpoints: &Endpoints) -> impl Iterator<Item = Place> {
    let addresses = endpoints.addresses.iter().map(|address| Place::Address(*address));
    let name = |(name, port): &(String, u16)| Place::Name(name.as_str().into(), *port);
    let external = |(name, port): &(String, u16)| Place::External(format!("{name}.").into(), *port);
    let names = endpoints.hostnames.iter().map(name);
    addresses.chain(names).chain(endpoints.external.iter().map(external))
}

impl CoreState {
    pub(super) fn listener(
        &self,
        gateway: &GatewayId,
        listener: &Arc<Listener>,
    ) -> Rc<CoreListener> {
        let mut listeners = self.listeners.borrow_mut();
        let entry = listeners.entry(address(listener)).or_insert_with(|| {
            Rc::new(CoreListener {
                gateway: gateway.clone(),
                key: listener.key.clone(),
                filters: listener.filters.iter().map(authorizer).collect(),
                _object: Arc::clone(listener),
            })
        });
        Rc::clone(entry)
    }

    pub(super) fn rule(&self, gateway: &GatewayId, rule: &Arc<HttpRule>) -> Rc<CoreRule> {
        let mut rules = self.rules.borrow_mut();
        let entry = rules.entry(address(rule)).or_insert_with(|| {
            Rc::new(CoreRule {
                filters: Filters::new(&rule.filters),
                backend_filters: rule.backends.iter().map(|b| Filters::new(&b.filters)).collect(),
                series: KnownSeries::default(),
                session: rule.session.as_deref().and_then(Persistence::new),
                choice: self.choice(gateway, &rule.key, &rule.backends),
                rule: Arc::clone(rule),
            })
        });
        Rc::clone(entry)
    }

    pub(super) fn stream_rule(
        &self,
        gateway: &GatewayId,
        rule: &Arc<StreamRule>,
    ) -> Rc<CoreStreamRule> {
        let mut rules = self.stream_rules.borrow_mut();
        let entry = rules.entry(address(rule)).or_insert_with(|| {
            let choice = self.choice(gateway, &rule.key, &rule.backends);
            Rc::new(CoreStreamRule { choice, rule: Arc::clone(rule) })
        });
        Rc::clone(entry)
    }

    /// The choice among several backends; none where there is nothing to choose.
    fn choice(
        &self,
        gateway: &GatewayId,
        rule: &RuleKey,
        backends: &[WeightedBackend],
    ) -> Option<Rc<Choice>> {
        if backends.len() < 2 {
            return None;
        }
        let mut choices = self.choices.borrow_mut();
        let key = (gateway.clone(), rule.clone());
        if let Some(choice) = choices.get(&key).filter(|choice| choice.is_of(backends)) {
            return Some(Rc::clone(choice));
        }
        let choice = Rc::new(Choice::new(backends));
        choices.insert(key, Rc::clone(&choice));
        Some(choice)
    }

    pub(super) fn backend(&self, pool: &Pool, entry: &Arc<BackendEntry>) -> Rc<CoreBackend> {
        let mut backends = self.backends.borrow_mut();
        let backend = backends.entry(address(entry)).or_insert_with(|| {
            let places = entry.endpoints.iter().flat_map(|endpoints| places(endpoints));
            let endpoints: Vec<_> = places
                .map(|place| pool.endpoint(place, entry.backend.protocol, entry.tls.as_ref()))
                .collect();
            // Cores that all start with the first endpoint would load it most.
            let next =
                if endpoints.is_empty() { 0 } else { rand::random_range(0..endpoints.len()) };
            let session = entry.backend.session.as_deref().and_then(Persistence::new);
            let next = Cell::new(next);
            Rc::new(CoreBackend { entry: Arc::clone(entry), session, endpoints, next })
        });
        Rc::clone(backend)
    }

    /// Drops what was made from parts that are not served any more.
    pub(super) fn forget(&self, forgotten: &Forgotten) {
        for object in &forgotten.objects {
            self.listeners.borrow_mut().remove(object);
            self.rules.borrow_mut().remove(object);
            self.stream_rules.borrow_mut().remove(object);
            self.backends.borrow_mut().remove(object);
        }
        for rule in &forgotten.rules {
            self.choices.borrow_mut().remove(rule);
        }
    }
}

#[cfg(test)]
mod tests {
    use gwapi_translate::ir::{Backend, BackendTarget, RuleOrder};

    use super::*;
    use crate::Limits;
    use crate::proxy::upstream::Lease;

    fn rule() -> Arc<HttpRule> {
        let backend = |name| WeightedBackend {
            weight: 1,
            target: BackendTarget::Backend(BackendKey::service("default", name, 80)),
            filters: Vec::new(),
        };
        Arc::new(HttpRule {
            key: RuleKey::new("default/app/0"),
            route: GatewayId::new("default", "app"),
            route_kind: gwapi_model::RouteKind::Http,
            name: None,
            order: RuleOrder { created: 0, route: "default/app".to_owned(), rule_index: 0 },
            listeners: Arc::default(),
            hostnames: Arc::default(),
            matches: Vec::new(),
            filters: Vec::new(),
            backends: vec![backend("a"), backend("b")],
            timeouts: None,
            retry: None,
            session: None,
        })
    }

    /// A backend with this many endpoints, of the ports 0, 1, 2 and so on.
    fn backend(endpoints: u16) -> Rc<CoreBackend> {
        let key = BackendKey::service("default", "a", 80);
        let addresses =
            (0..endpoints).map(|port| SocketAddr::from(([127, 0, 0, 1], port))).collect();
        let endpoints =
            Endpoints { key: key.clone(), addresses, hostnames: Vec::new(), external: Vec::new() };
        let entry = BackendEntry {
            backend: Arc::new(Backend {
                key,
                protocol: BackendProtocol::Http1,
                tls: None,
                session: None,
                retry_budget: None,
            }),
            endpoints: Some(Arc::new(endpoints)),
            tls: None,
            retry_budget: None,
        };
        let pool = Pool::new(Arc::default(), Rc::new(Limits::default()));
        CoreState::default().backend(&pool, &Arc::new(entry))
    }

    /// Ports of the endpoints that the next requests go to, each over before the next one comes.
    fn picks(backend: &CoreBackend, count: usize, tried: &[Rc<Endpoint>]) -> Vec<u16> {
        let port = |endpoint: &Rc<Endpoint>| endpoint.address().expect("it has one").port();
        (0..count).map(|_| port(backend.endpoint(tried).expect("one is left"))).collect()
    }

    #[test]
    fn the_endpoint_with_the_fewest_requests_in_flight_is_chosen() {
        let (backend, limits) = (backend(4), Rc::new(Limits::default()));
        let hold = |position: usize| Lease::new(&backend.endpoints[position], &limits);
        let _long = [hold(0), hold(0), hold(1), hold(1), hold(1), hold(2), hold(3), hold(3)];
        assert_eq!(picks(&backend, 5, &[]), [2; 5]);
        let more = [hold(2), hold(2)];
        let mut seen = picks(&backend, 4, &[]);
        assert_eq!((seen[0], seen[1]), (seen[2], seen[3]), "in turn: {seen:?}");
        seen.sort();
        assert_eq!(seen, [0, 0, 3, 3], "both have two in flight, the others three");
        drop(more);
        assert_eq!(picks(&backend, 5, &[]), [2; 5], "what is over does not count");
        let tried = [Rc::clone(&backend.endpoints[2]), Rc::clone(&backend.endpoints[0])];
        assert_eq!(picks(&backend, 3, &tried), [3; 3], "the next best of those not tried");
    }

    #[test]
    fn endpoints_that_are_equally_busy_are_chosen_in_turn() {
        let (backend, limits) = (backend(3), Rc::new(Limits::default()));
        for busy in [false, true] {
            let held = backend.endpoints.iter().filter(|_| busy);
            let _held: Vec<_> = held.map(|endpoint| Lease::new(endpoint, &limits)).collect();
            let mut seen = picks(&backend, 6, &[]);
            assert_eq!(seen[..3], seen[3..], "busy: {busy}");
            seen.sort();
            assert_eq!(seen, [0, 0, 1, 1, 2, 2], "busy: {busy}");
        }
        assert!(backend.endpoint(&backend.endpoints).is_none(), "all are tried");
    }

    #[test]
    fn what_is_forgotten_is_held_no_longer() {
        let (core, gateway, rule) =
            (CoreState::default(), GatewayId::new("default", "web"), rule());
        drop(core.rule(&gateway, &rule));
        assert_eq!(Arc::strong_count(&rule), 2);
        let rules = vec![(gateway.clone(), rule.key.clone())];
        core.forget(&Forgotten { objects: vec![address(&rule)], rules });
        assert_eq!(Arc::strong_count(&rule), 1);
        assert!(core.choices.borrow().is_empty());
    }

    #[test]
    fn a_choice_is_shared_by_versions_of_a_rule_with_the_same_backends() {
        let (core, gateway, first) =
            (CoreState::default(), GatewayId::new("default", "web"), rule());
        let before = core.rule(&gateway, &first);
        let same =
            core.rule(&gateway, &Arc::new(HttpRule { name: Some("n".into()), ..(*first).clone() }));
        let mut other = (*first).clone();
        other.backends[0].weight = 2;
        let other = core.rule(&gateway, &Arc::new(other));
        let choice = |rule: &CoreRule| Rc::clone(rule.choice.as_ref().expect("there are two"));
        assert!(Rc::ptr_eq(&choice(&before), &choice(&same)));
        assert!(!Rc::ptr_eq(&choice(&before), &choice(&other)));
    }
}
