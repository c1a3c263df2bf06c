//! What is known of names, and the lookups that are under way: one for a name at most, in the whole process.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::places::Places;

/// What a lookup ends with. Ports are 0.
pub(super) type Found = Result<Arc<[SocketAddr]>, Unfound>;

/// Why there is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfound {
    /// An answer: there is no such name, or it has none.
    #[error("it does not exist, or has no address")]
    NoAddress,
    /// No answer. It may have addresses all the same.
    #[error("{0}")]
    Failed(Arc<str>),
}

impl Unfound {
    pub(super) fn failed(why: &dyn std::fmt::Display) -> Self {
        Self::Failed(why.to_string().into())
    }
}

/// Names that nobody asked for in this time are forgotten.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// Names below which it is not looked for those to forget.
const FEW: usize = 256;

/// The names that the process has asked for.
pub(super) struct Names {
    table: Mutex<Table>,
    /// Time that who has an older answer waits for a new one.
    pub(super) patience: Duration,
    look_up: &'static (dyn Fn(&str) -> Found + Sync),
}

struct Table {
    names: BTreeMap<Arc<str>, Name>,
    /// Those whose lookups wait for a place, in the order in which they came.
    queue: VecDeque<Arc<str>>,
    places: Places,
    /// As many names as there are when it is next looked for those to forget.
    many: usize,
}

/// What is known of a name.
struct Name {
    /// Its last addresses, until there is an answer that it has none.
    last: Option<Last>,
    /// Whether the last lookup took longer than it may, or took its time to fail.
    is_hung: bool,
    /// Whether who asks is told the last addresses while there is no new answer.
    ails: bool,
    lookup: Option<Lookup>,
    asked: Instant,
}

/// Addresses, and when they were found.
#[derive(Clone)]
pub(super) struct Last {
    pub(super) addresses: Arc<[SocketAddr]>,
    pub(super) found: Instant,
}

/// A lookup that waits for a place or is under way.
struct Lookup {
    /// None while it waits.
    began: Option<Instant>,
    /// Longer than this, and it hangs.
    may_take: Duration,
    answer: watch::Sender<Option<Found>>,
}

/// What who asks is told.
pub(super) struct Asked {
    pub(super) last: Option<Last>,
    /// Whether it is not worth the while to wait where there are last addresses.
    pub(super) ails: bool,
    /// When the lookup began; none where it waits for a place.
    pub(super) began: Option<Instant>,
    pub(super) answer: watch::Receiver<Option<Found>>,
}

impl Names {
    pub(super) const fn new(
        look_up: &'static (dyn Fn(&str) -> Found + Sync),
        patience: Duration,
    ) -> Self {
        let table = Table {
            names: BTreeMap::new(),
            queue: VecDeque::new(),
            places: Places::new(),
            many: FEW,
        };
        Self { table: Mutex::new(table), patience, look_up }
    }

    /// Asks for a name. A lookup that is under way is joined, however long it has been.
    pub(super) fn ask(&'static self, name: &str, may_take: Duration) -> Asked {
        let mut table = self.table();
        let key = table.look_at(name);
        let answer = table.subscribe(&key, may_take);
        let begun = table.begin();
        let known = &table.names[&key];
        let began = known.lookup.as_ref().and_then(|it| it.began);
        let asked = Asked { last: known.last.clone(), ails: known.ails, began, answer };
        drop(table);
        self.run(begun);
        asked
    }

    /// The last addresses of a name are used for want of an answer, as they will be until one comes in time.
    /// Whether this is new.
    pub(super) fn note_ailing(&self, name: &str) -> bool {
        let mut table = self.table();
        table.names.get_mut(name).is_some_and(|known| !std::mem::replace(&mut known.ails, true))
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks names up, each on a thread of its own: one that hangs holds up neither a worker nor its end.
    fn run(&'static self, mut begun: Vec<Arc<str>>) {
        while let Some(name) = begun.pop() {
            let asked = Arc::clone(&name);
            let thread = std::thread::Builder::new().name("gwapi-lookup".into()).spawn(move || {
                let found = (self.look_up)(&asked);
                self.run(self.end(&asked, found));
            });
            if let Err(error) = thread {
                begun.extend(self.end(&name, Err(Unfound::failed(&error))));
            }
        }
    }

    /// A lookup has ended: its place is free for others.
    fn end(&self, name: &str, found: Found) -> Vec<Arc<str>> {
        let mut table = self.table();
        let answer = table.end(name, &found, self.patience);
        let begun = table.begin();
        drop(table);
        if let Some(answer) = answer {
            answer.send_replace(Some(found));
        }
        begun
    }

    /// Keeps lookups from beginning, as servers do that are silent, until it is dropped.
    #[cfg(test)]
    pub(super) fn hold_up(&'static self) -> impl Drop {
        struct HeldUp(&'static Names);

        impl Drop for HeldUp {
            fn drop(&mut self) {
                let mut table = self.0.table();
                table.places.let_go();
                let begun = table.begin();
                drop(table);
                self.0.run(begun);
            }
        }

        self.table().places.hold();
        HeldUp(self)
    }
}

impl Table {
    /// The name as it is kept.
    fn look_at(&mut self, name: &str) -> Arc<str> {
        let now = Instant::now();
        if let Some((key, _)) = self.names.get_key_value(name) {
            let key = Arc::clone(key);
            self.names.get_mut(&key).expect("it was there just now").asked = now;
            return key;
        }
        self.forget(now);
        let key: Arc<str> = name.into();
        let new = Name { last: None, is_hung: false, ails: false, lookup: None, asked: now };
        self.names.insert(Arc::clone(&key), new);
        key
    }

    /// Forgets names that nobody asks for, now and then.
    fn forget(&mut self, now: Instant) {
        if self.names.len() >= self.many {
            self.names.retain(|_, it| it.lookup.is_some() || now - it.asked < KEPT);
            self.many = FEW.max(2 * self.names.len());
        }
    }

    /// The answer of a name's lookup, which is there already or waits for a place from now on.
    fn subscribe(&mut self, key: &Arc<str>, may_take: Duration) -> watch::Receiver<Option<Found>> {
        let known = self.names.get_mut(key).expect("it was looked at just now");
        if let Some(lookup) = &known.lookup {
            return lookup.answer.subscribe();
        }
        let (answer, answered) = watch::channel(None);
        known.lookup = Some(Lookup { began: None, may_take, answer });
        self.queue.push_back(Arc::clone(key));
        answered
    }

    /// The lookups that begin now. Who waits because of its domain, or because it hung, holds up no one behind.
    fn begin(&mut self) -> Vec<Arc<str>> {
        if self.queue.is_empty() || self.places.are_all_taken() {
            return Vec::new();
        }
        let (names, places) = (&mut self.names, &mut self.places);
        let mut begun = Vec::new();
        self.queue.retain(|key| {
            let Some(known) = names.get_mut(key) else { return false };
            let begins = places.take(key, known.is_hung);
            if let Some(lookup) = known.lookup.as_mut().filter(|_| begins) {
                lookup.began = Some(Instant::now());
                begun.push(Arc::clone(key));
            }
            !begins
        });
        begun
    }

    /// Notes what a lookup has ended with. Who waits for it is to be told.
    fn end(
        &mut self,
        name: &str,
        found: &Found,
        patience: Duration,
    ) -> Option<watch::Sender<Option<Found>>> {
        let known = self.names.get_mut(name)?;
        let lookup = known.lookup.take()?;
        self.places.give_back(name, known.is_hung);
        let took = lookup.began.map_or(Duration::ZERO, |began| began.elapsed());
        let has_answer = !matches!(found, Err(Unfound::Failed(_)));
        known.is_hung = took >= lookup.may_take || (took >= patience && !has_answer);
        match found {
            Ok(addresses) => {
                let addresses = Arc::clone(addresses);
                known.last = Some(Last { addresses, found: Instant::now() });
            }
            Err(Unfound::NoAddress) => known.last = None,
            Err(Unfound::Failed(_)) => return Some(lookup.answer),
        }
        // Where answers always take their time, who asks has the one before, and not the time.
        known.ails &= took >= patience;
        Some(lookup.answer)
    }
}
