//! Names whose servers answer when the test says so.

use std::collections::BTreeSet;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use super::names::Found;
use super::places::{MAX_AT_ONCE, MAX_OF_A_DOMAIN, MAX_OF_HUNG_NAMES};
use super::*;

/// Longer than any test.
const HOUR: Duration = Duration::from_secs(3600);

/// A lookup that is under way.
struct Lookup {
    name: String,
    answer: mpsc::Sender<Found>,
}

impl Lookup {
    fn end(self, found: Found) {
        self.answer.send(found).expect("it waits for it");
    }
}

/// Where lookups end up.
struct Servers {
    names: &'static Names,
    lookups: mpsc::Receiver<Lookup>,
}

impl Servers {
    fn new() -> Self {
        Self::with_patience(HOUR)
    }

    /// Who has an older answer waits so long for a new one.
    fn with_patience(patience: Duration) -> Self {
        let (told, lookups) = mpsc::channel();
        let told = Mutex::new(told);
        let look_up = move |name: &str| -> Found {
            let (answer, answered) = mpsc::channel();
            let lookup = Lookup { name: name.into(), answer };
            // Both fail where the test is over.
            let gone = |_| Unfound::failed(&"the servers are gone");
            told.lock()
                .expect("nobody panicked")
                .send(lookup)
                .map_err(|_| gone(mpsc::RecvError))?;
            answered.recv().map_err(gone)?
        };
        let names = Box::leak(Box::new(Names::new(Box::leak(Box::new(look_up)), patience)));
        Self { names, lookups }
    }

    /// The next lookup that begins.
    fn next(&self) -> Lookup {
        self.lookups.recv_timeout(Duration::from_secs(60)).expect("a lookup begins")
    }

    /// Those that begin, as many as there are meant to be.
    fn many(&self, count: usize) -> Vec<Lookup> {
        let begun = (0..count).map(|_| self.next()).collect();
        self.are_silent();
        begun
    }

    /// No lookup has begun.
    fn are_silent(&self) {
        assert!(self.lookups.try_recv().is_err(), "one more lookup than there is to be");
    }

    /// Asks for a name, with all the time that there is.
    async fn ask(&self, name: &str, limits: &Limits) -> Result<Vec<SocketAddr>, LookupError> {
        lookup_in(self.names, name, limits, Instant::now() + HOUR).await
    }

    /// Asks for a name, and lets the next lookup end so. What is found.
    async fn ask_and_end(&self, name: &str, limits: &Limits, found: Found) -> Option<SocketAddr> {
        let mut asking = pin!(self.ask(name, limits));
        assert!(is_pending(&mut asking).await);
        let lookup = self.next();
        assert_eq!(lookup.name, name);
        lookup.end(found);
        asking.await.ok().map(|it| it[0])
    }

    /// Asks for a name whose lookup may take no time.
    async fn give_up(&self, name: &str) {
        let limits = Limits { lookup_timeout: Duration::ZERO, ..limits() };
        self.ask(name, &limits).await.expect_err("there is no time for it");
    }
}

fn limits() -> Limits {
    Limits { lookup_timeout: HOUR, max_stale_lookup_age: HOUR, ..Limits::default() }
}

fn address(last: u8) -> SocketAddr {
    ([192, 0, 2, last], 0).into()
}

fn found(last: u8) -> Found {
    Ok(Arc::new([address(last)]))
}

fn failed() -> Found {
    Err(Unfound::failed(&"the server failed"))
}

async fn is_pending<F: Future + Unpin>(future: &mut F) -> bool {
    poll_fn(|cx| Poll::Ready(pin!(&mut *future).poll(cx).is_pending())).await
}

#[tokio::test]
async fn who_asks_at_the_same_time_shares_a_lookup_on_whatever_core() {
    let servers = Servers::new();
    let (names, (tell, told)) = (servers.names, mpsc::channel());
    let cores = (0..4).map(|_| {
        let tell = tell.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
            runtime.expect("a runtime").block_on(async {
                let limits = limits();
                let mut asking =
                    pin!(lookup_in(names, "a.example.", &limits, Instant::now() + HOUR));
                assert!(is_pending(&mut asking).await);
                tell.send(()).expect("it listens");
                asking.await.expect("it is found")
            })
        })
    });
    let cores = cores.collect::<Vec<_>>();
    cores.iter().for_each(|_| told.recv().expect("each asks"));
    servers.next().end(found(1));
    for core in cores {
        assert_eq!(core.join().expect("it is found"), [address(1)]);
    }
    servers.are_silent();
}

#[tokio::test]
async fn a_lookup_goes_on_whoever_stays_and_the_next_one_is_another() {
    let servers = Servers::new();
    let limits = limits();
    for _ in 0..10 {
        let mut gone = pin!(servers.ask("a.example", &limits));
        assert!(is_pending(&mut gone).await);
    }
    let lookup = servers.next();
    let mut asking = pin!(servers.ask("a.example", &limits));
    assert!(is_pending(&mut asking).await);
    lookup.end(found(1));
    assert_eq!(asking.await.expect("it is found"), [address(1)]);
    let again = servers.ask_and_end("a.example", &limits, found(2)).await;
    assert_eq!(again, Some(address(2)));
}

#[tokio::test]
async fn a_name_whose_lookup_hangs_has_no_second_one_and_who_asks_learns_at_once() {
    let servers = Servers::new();
    servers.give_up("a.example").await;
    let hanging = servers.next();
    let limits = Limits { lookup_timeout: Duration::ZERO, ..limits() };
    let error = servers.ask("a.example", &limits).await.expect_err("it hangs").to_string();
    assert!(error.contains("\"a.example\" has no answer yet"), "{error}");
    servers.are_silent();
    let patient = self::limits();
    let mut asking = pin!(servers.ask("a.example", &patient));
    assert!(is_pending(&mut asking).await);
    hanging.end(found(1));
    assert_eq!(asking.await.expect("a late answer is one"), [address(1)]);
    let again = servers.ask_and_end("a.example", &patient, failed()).await;
    assert_eq!(again, Some(address(1)), "it is kept");
}

#[tokio::test]
async fn nobody_waits_longer_than_for_a_connection() {
    let servers = Servers::new();
    let (limits, until) = (limits(), Instant::now());
    let error = lookup_in(servers.names, "a.example", &limits, until).await;
    assert!(matches!(error, Err(LookupError::Late { .. })), "{error:?}");
}

#[tokio::test]
async fn names_of_a_domain_whose_servers_are_silent_leave_places_to_others() {
    let servers = Servers::new();
    for host in 0..2 * MAX_AT_ONCE {
        servers.give_up(&format!("h{host}.broken.example")).await;
    }
    let hanging = servers.many(MAX_OF_A_DOMAIN);
    let other = servers.ask_and_end("a.works.example.", &limits(), found(1)).await;
    assert_eq!(other, Some(address(1)));
    let at_once = Limits { lookup_timeout: Duration::ZERO, ..limits() };
    let error = servers.ask("h99.broken.example", &at_once).await;
    let error = error.expect_err("it waits").to_string();
    assert!(error.contains("waits for others"), "{error}");
    hanging.into_iter().for_each(|it| it.end(failed()));
    let next = servers.many(MAX_OF_A_DOMAIN);
    let next = next.iter().map(|it| it.name.clone()).collect::<BTreeSet<_>>();
    let in_turn = MAX_OF_A_DOMAIN..2 * MAX_OF_A_DOMAIN;
    assert_eq!(next, in_turn.map(|host| format!("h{host}.broken.example")).collect());
}

#[tokio::test]
async fn names_that_hung_leave_places_to_those_that_did_not() {
    let limited = |lookup_timeout| Limits { lookup_timeout, ..limits() };
    // One that is too long for whoever has an older answer hung if it fails, too.
    for (patience, limits) in [(HOUR, limited(Duration::ZERO)), (Duration::ZERO, limited(HOUR))] {
        let servers = Servers::with_patience(patience);
        let name = |host: usize| format!("h{host}.broken{host}.example{host}");
        for host in 0..MAX_AT_ONCE {
            let given_up = lookup_in(servers.names, &name(host), &limits, Instant::now()).await;
            given_up.expect_err("there is no time for it");
        }
        let hanging = servers.many(MAX_AT_ONCE);
        let (names, patient) = ((0..MAX_AT_ONCE).map(name).collect::<Vec<_>>(), limited(HOUR));
        let mut asking =
            names.iter().map(|it| Box::pin(servers.ask(it, &patient))).collect::<Vec<_>>();
        for one in &mut asking {
            assert!(is_pending(one).await);
        }
        hanging.into_iter().for_each(|it| it.end(failed()));
        for one in asking {
            one.await.expect_err("it failed");
        }
        for name in &names {
            servers.give_up(name).await;
        }
        let _hanging = servers.many(MAX_OF_HUNG_NAMES);
        let other = servers.ask_and_end("a.works", &patient, found(1)).await;
        assert_eq!(other, Some(address(1)));
    }
}

#[tokio::test]
async fn the_last_addresses_are_used_until_there_is_another_answer() {
    let servers = Servers::new();
    let (limits, name) = (limits(), "a.example");
    assert_eq!(servers.ask_and_end(name, &limits, failed()).await, None);
    assert_eq!(servers.ask_and_end(name, &limits, found(1)).await, Some(address(1)));
    assert_eq!(servers.ask_and_end(name, &limits, failed()).await, Some(address(1)), "stale");
    // From now on nobody waits where there is something to tell.
    for _ in 0..3 {
        let asked = servers.ask(name, &limits).await.expect("the last ones");
        assert_eq!(asked, [address(1)], "it hangs");
    }
    let young = Limits { max_stale_lookup_age: Duration::ZERO, ..limits.clone() };
    let mut asking = pin!(servers.ask(name, &young));
    assert!(is_pending(&mut asking).await, "the last ones are too old");
    servers.next().end(found(2));
    assert_eq!(asking.await.expect("a new one"), [address(2)]);
    assert_eq!(servers.ask_and_end(name, &limits, found(3)).await, Some(address(3)), "healthy");
    let none = Err(Unfound::NoAddress);
    assert_eq!(servers.ask_and_end(name, &limits, none).await, None, "that is an answer");
    assert_eq!(servers.ask_and_end(name, &limits, failed()).await, None, "there is no last one");
}

#[tokio::test]
async fn time_is_left_to_connect_to_the_last_addresses_where_a_lookup_hangs() {
    let servers = Servers::new();
    let (limits, name) = (limits(), "a.example");
    servers.ask_and_end(name, &limits, found(1)).await;
    tokio::time::pause();
    let until = Instant::now() + HOUR;
    let asked = lookup_in(servers.names, name, &limits, until).await.expect("the last ones");
    assert_eq!(asked, [address(1)]);
    let left = until.saturating_duration_since(Instant::now());
    assert!(left > HOUR / 3, "no time is left to connect: {left:?}");
}

#[tokio::test]
async fn lookups_that_wait_for_a_place_begin_when_there_is_one() {
    let servers = Servers::new();
    let held_up = servers.names.hold_up();
    let limits = limits();
    let mut asking = pin!(servers.ask("a.example", &limits));
    assert!(is_pending(&mut asking).await);
    servers.are_silent();
    drop(held_up);
    servers.next().end(found(1));
    assert_eq!(asking.await.expect("it is found"), [address(1)]);
}
