//! What each object should have as status, what it has, and what to do next: without a runtime.
//!
//! An object has at most one request under way, so that the newest status wins, whatever the order of
//! answers. A request begins with the status that the watch brought; only after a conflict is the
//! object read. Whoever writes the same over and over because somebody else undoes it waits longer
//! each time, and so, up to half a second, does whoever has news of an object all the time that is not of
//! its own edits.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use gwapi_model::jiff::Timestamp;
use gwapi_model::status::Status;
use gwapi_model::{Kind, ObjectId};
use serde_json::Value;

use super::merge::{Stored, merge, patch};
use super::withdraw::withdraw;
use crate::watch::Observed;

/// First pause after a failure, and before the same is written once more; it doubles each time.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);

/// Longest pause after conflicts: a storm of them is over for us less than a second after it is.
const LONGEST_CONFLICT_PAUSE: Duration = Duration::from_millis(500);

/// Longest pause after failures, and between writes of the same.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// After so much time without a repair, the next one counts as the first.
const QUIET: Duration = Duration::from_secs(300);

/// Writes of one generation of an object that need not wait for each other: those of what others' edits
/// mean for it.
const AT_ONCE: u32 = 8;

/// After these, one write in this time: a Gateway has news with each of a thousand routes.
const SPACING: Duration = Duration::from_millis(500);

/// The time, as clocks and as calendars tell it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) instant: Instant,
    pub(super) time: Timestamp,
}

/// A request to the API server.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Request {
    /// Apply this merge patch to the status.
    Write(ObjectId, Value),
    /// Read the object.
    Read(ObjectId),
}

/// What is heard of the status of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// A list has it so. It counts, whatever was known before: an API server whose storage was restored
    /// goes on with lower versions.
    Listed(Observed),
    /// It was made or changed, and was so at that time.
    Changed(Observed),
    /// It is gone.
    Gone,
}

/// What came of a request.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// It was written; the object is now this.
    Written(Observed),
    /// It was read.
    Read(Observed),
    /// Somebody else wrote in between.
    Conflict,
    /// The API server finds no such object. Whether it is gone the watch alone tells.
    Gone,
    /// The API server does not take it, and would not take it the next time.
    Refused(String),
    /// It did not work; it may work after this time, or later.
    Failed(String, Duration),
}

/// All objects with a status of ours.
#[derive(Debug)]
pub(super) struct Ledger {
    controller_name: String,
    entries: HashMap<ObjectId, Entry>,
    /// Objects to look at, each once; kinds in their order, which is classes before Gateways before
    /// routes: one new Gateway does not wait behind all the routes.
    ready: BTreeMap<Kind, VecDeque<ObjectId>>,
    /// Objects to look at later.
    timers: BTreeSet<(Instant, ObjectId)>,
    /// Whether it is on us to write.
    is_leading: bool,
    /// Everything has been announced: what was not is no longer ours.
    is_complete: bool,
    /// The last batch that was announced.
    batches: u64,
    revisions: u64,
    /// Objects whose status was looked at and is as it should be.
    pub(super) unchanged: u64,
}

#[derive(Debug, Default)]
struct Entry {
    observed: Option<Observed>,
    /// The uid of the object that was heard of last.
    uid: Option<u64>,
    verdict: Verdict,
    /// The last batch before it was heard of. That one and those before it are about a former object of the name,
    /// if about any.
    former: u64,
    /// Number of the last batch that had something to say about it; 0 for none.
    announced: u64,
    wanted: Option<Wanted>,
    is_ready: bool,
    under_way: UnderWay,
    /// The observed version is known to be out of date.
    is_stale: bool,
    /// What was written last, by revision.
    written: u64,
    /// What the API server would not take.
    refused: Option<Attempt>,
    failures: u32,
    /// The last request found no such object.
    is_missing: bool,
    /// Conflicts in a row.
    conflicts: u32,
    repairs: u32,
    repaired_at: Option<Instant>,
    /// When all writes would be over if each took [`SPACING`].
    paid_until: Option<Instant>,
    /// The generation that was written of last: an edit of the object itself waits for nothing.
    told: Option<i64>,
    not_before: Option<Instant>,
}

/// Whether it is known what is to be said of an object.
#[derive(Debug, Default, PartialEq)]
enum Verdict {
    #[default]
    Known,
    /// It is new, and may have a status of ours all the same: a backup was played back, or its namespace is watched
    /// from now on.
    Awaited,
    /// It is another one than before, and what was said of that one may hold for it or not.
    AwaitedAnew,
}

/// The request of an object that has no answer yet.
#[derive(Debug, Default, PartialEq)]
enum UnderWay {
    #[default]
    Nothing,
    Read,
    Write(Attempt),
}

/// What is written, and onto what.
#[derive(Clone, Debug, PartialEq)]
struct Attempt {
    /// Revision of what was wanted; 0 where nothing was ever said.
    revision: u64,
    /// Version of the object.
    version: String,
    /// Generation of the object.
    generation: i64,
}

#[derive(Debug)]
struct Wanted {
    batch: u64,
    revision: u64,
    /// None: it is no longer ours to say anything.
    status: Option<Status>,
}

impl Ledger {
    /// An empty ledger.
    pub(super) fn new(controller_name: &str) -> Self {
        Self {
            controller_name: controller_name.to_owned(),
            entries: HashMap::new(),
            ready: BTreeMap::new(),
            timers: BTreeSet::new(),
            is_leading: false,
            is_complete: false,
            batches: 0,
            revisions: 0,
            unchanged: 0,
        }
    }

    /// Takes in what an object has. Changes of an older version than the known one change nothing: what was
    /// written is known before the watch tells of it.
    pub(super) fn observe(&mut self, id: ObjectId, heard: Heard) {
        let (observed, may_be_late) = match heard {
            Heard::Listed(observed) => (observed, false),
            Heard::Changed(observed) => (observed, true),
            Heard::Gone => {
                if let Some(entry) = self.entries.get_mut(&id) {
                    entry.observed = None;
                    entry.is_stale = false;
                }
                return self.forget_if_gone(&id);
            }
        };
        let former = self.batches;
        let new = || Entry { former, verdict: Verdict::Awaited, ..Entry::default() };
        let entry = self.entries.entry(id.clone()).or_insert_with(new);
        let known = entry.observed.as_ref().filter(|_| may_be_late);
        if known.is_none_or(|known| !is_older(&observed, known)) {
            if entry.uid.replace(observed.uid).is_some_and(|former| former != observed.uid) {
                entry.begin_anew();
            }
            entry.observed = Some(observed);
            entry.is_stale = false;
            if std::mem::take(&mut entry.is_missing) {
                entry.failures = 0;
                entry.not_before = None;
            }
            self.look_at(id);
        }
    }

    /// What is to be said of these objects, as they were heard of last, was announced by now, if it is anything new.
    pub(super) fn judged(&mut self, ids: Vec<ObjectId>) {
        for id in ids {
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            match std::mem::take(&mut entry.verdict) {
                Verdict::Known => continue,
                Verdict::Awaited => {}
                // The last word is about this object, be it that it was about its predecessor as well.
                Verdict::AwaitedAnew => {
                    entry.former = entry.former.max(entry.announced.saturating_sub(1));
                    if entry.wanted.as_ref().is_some_and(|wanted| wanted.batch < entry.announced) {
                        entry.wanted = None;
                    }
                }
            }
            self.look_at(id);
        }
    }

    /// Forgets an object that is gone, as soon as everything has been taken back that was said or is to be said
    /// of it, and no request is under way. Until then it may have come back, with nothing new to say of it.
    fn forget_if_gone(&mut self, id: &ObjectId) {
        let is_over = |entry: &Entry| {
            let (last, status) = match &entry.wanted {
                Some(wanted) => (wanted.batch, wanted.status.as_ref()),
                None => (0, None),
            };
            let has_last_word = status.is_none() && entry.announced <= last;
            entry.observed.is_none() && has_last_word && entry.under_way == UnderWay::Nothing
        };
        if self.entries.get(id).is_some_and(is_over) {
            self.entries.remove(id);
        }
    }

    /// Something will be wanted of an object: until then, what was wanted before counts. Of one that was never
    /// heard of nothing is noted.
    pub(super) fn announce(&mut self, id: &ObjectId, batch: u64) {
        self.batches = self.batches.max(batch);
        if let Some(entry) = self.entries.get_mut(id) {
            entry.announced = batch;
        }
    }

    /// Takes in what an object should have, unless a later batch has already spoken, or the object came after this
    /// one.
    pub(super) fn want(&mut self, id: ObjectId, batch: u64, status: Option<Status>) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let last = entry.wanted.as_ref().map_or(0, |wanted| wanted.batch);
        if batch < last || batch <= entry.former {
            return;
        }
        self.revisions += 1;
        entry.wanted = Some(Wanted { batch, revision: self.revisions, status });
        self.forget_if_gone(&id);
        self.look_at(id);
    }

    /// The last batch that spoke about an object.
    pub(super) fn batch_of(&self, id: &ObjectId) -> u64 {
        self.entries.get(id).map_or(0, |entry| entry.announced)
    }

    /// Everything has been announced.
    pub(super) fn complete(&mut self) {
        self.is_complete = true;
        self.look_at_all();
    }

    /// Whether it is on us to write from now on. What was wanted before then is forgotten: whoever
    /// leads now says it anew.
    pub(super) fn lead(&mut self, is_leading: bool) {
        self.is_leading = is_leading;
        self.is_complete = false;
        for entry in self.entries.values_mut() {
            entry.wanted = None;
            entry.announced = 0;
        }
        let ids: Vec<ObjectId> = self.entries.keys().cloned().collect();
        ids.iter().for_each(|id| self.forget_if_gone(id));
    }

    /// When there is something to do even if nothing happens.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.timers.first().map(|(instant, _)| *instant)
    }

    /// Looks at objects until one needs a request. Answer it with [`Ledger::done`].
    pub(super) fn next(&mut self, now: Now) -> Option<Request> {
        while let Some((instant, _)) = self.timers.first()
            && *instant <= now.instant
        {
            let (_, id) = self.timers.pop_first().expect("it was there just now");
            self.look_at(id);
        }
        if !self.is_leading {
            return None;
        }
        loop {
            let id = self.ready.values_mut().find_map(VecDeque::pop_front)?;
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            entry.is_ready = false;
            if entry.under_way != UnderWay::Nothing {
                continue;
            }
            if let Some(later) = entry.not_before.filter(|later| *later > now.instant) {
                self.timers.insert((later, id));
                continue;
            }
            entry.not_before = None;
            if entry.is_stale {
                entry.under_way = UnderWay::Read;
                return Some(Request::Read(id));
            }
            match entry.decide(&id, self.is_complete, &self.controller_name, now) {
                Decision::Leave => self.unchanged += 1,
                Decision::Wait(later) => {
                    self.timers.insert((later, id));
                }
                Decision::Write(attempt, patch) => {
                    entry.under_way = UnderWay::Write(attempt);
                    return Some(Request::Write(id, patch));
                }
            }
        }
    }

    /// Takes in the answer to a request.
    pub(super) fn done(&mut self, id: ObjectId, outcome: Outcome, now: Now) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let attempt = match std::mem::take(&mut entry.under_way) {
            UnderWay::Write(attempt) => Some(attempt),
            UnderWay::Read | UnderWay::Nothing => None,
        };
        if !matches!(outcome, Outcome::Failed(..) | Outcome::Gone) {
            entry.failures = 0;
        }
        entry.is_missing = matches!(outcome, Outcome::Gone);
        if !matches!(outcome, Outcome::Conflict | Outcome::Read(_)) {
            entry.conflicts = 0;
        }
        match outcome {
            Outcome::Written(observed) => {
                if let Some(attempt) = attempt {
                    entry.note_written(&attempt, now.instant);
                }
                // An object that is gone meanwhile stays gone.
                if entry.observed.is_some() {
                    self.observe(id.clone(), Heard::Changed(observed));
                }
            }
            Outcome::Read(observed) => {
                // What was heard since it was asked for may be newer.
                let heard = match std::mem::take(&mut entry.is_stale) {
                    true => Heard::Listed(observed),
                    false => Heard::Changed(observed),
                };
                // An object that is gone meanwhile stays gone.
                if entry.observed.is_some() {
                    self.observe(id.clone(), heard);
                }
            }
            Outcome::Conflict => {
                // What is gone is not read.
                entry.is_stale = entry.observed.is_some();
                entry.conflicts += 1;
                if entry.conflicts > 1 {
                    let pause = pause(entry.conflicts - 1).min(LONGEST_CONFLICT_PAUSE);
                    entry.not_before = Some(now.instant + pause);
                }
            }
            Outcome::Refused(_) => entry.refused = attempt,
            // The kind may not be served for a moment, or a former object of the name was meant.
            Outcome::Gone => entry.fail(now.instant, Duration::ZERO),
            Outcome::Failed(_, at_least) => entry.fail(now.instant, at_least),
        }
        self.forget_if_gone(&id);
        self.look_at(id);
    }

    fn look_at(&mut self, id: ObjectId) {
        if let Some(entry) = self.entries.get_mut(&id)
            && !std::mem::replace(&mut entry.is_ready, true)
        {
            self.ready.entry(id.kind).or_default().push_back(id);
        }
    }

    fn look_at_all(&mut self) {
        let mut ids: Vec<ObjectId> = self.entries.keys().cloned().collect();
        ids.sort();
        ids.into_iter().for_each(|id| self.look_at(id));
    }
}

enum Decision {
    Leave,
    Wait(Instant),
    Write(Attempt, Value),
}

impl Entry {
    /// Another object has the name. What was written is gone with the former one, and what is to be written may be
    /// about that one.
    fn begin_anew(&mut self) {
        self.verdict = Verdict::AwaitedAnew;
        self.written = 0;
        self.repairs = 0;
        self.repaired_at = None;
        self.paid_until = None;
        self.told = None;
    }

    /// A request did not work; the next one comes after a pause.
    fn fail(&mut self, now: Instant, at_least: Duration) {
        self.failures += 1;
        self.not_before = Some(now + pause(self.failures).max(at_least));
    }

    fn decide(
        &mut self,
        id: &ObjectId,
        is_complete: bool,
        controller_name: &str,
        now: Now,
    ) -> Decision {
        let Some(observed) = &self.observed else { return Decision::Leave };
        if self.verdict != Verdict::Known {
            return Decision::Leave;
        }
        let stored = observed.status();
        let (version, generation) = (observed.resource_version.clone(), observed.generation);
        let (revision, merged) = match &self.wanted {
            Some(Wanted { revision, status: Some(status), .. }) => {
                let generation = observed.generation;
                let stored = Stored { kind: id.kind, status: &stored, generation };
                let merged = merge(stored, status, controller_name, now.time);
                if merged.omitted > 0 {
                    tracing::warn!(
                        object = %id,
                        omitted = merged.omitted,
                        "the status has no room for all that is to be said: others have filled it"
                    );
                }
                (*revision, merged.status)
            }
            // Nothing has been said yet, and something may be.
            None if !is_complete || self.announced > 0 => return Decision::Leave,
            // GC-1: what we have nothing to say about is another controller's class.
            _ if id.kind == Kind::GatewayClass => return Decision::Leave,
            wanted => {
                let revision = wanted.as_ref().map_or(0, |wanted| wanted.revision);
                (revision, withdraw(&stored, id.kind, &observed.owned, controller_name))
            }
        };
        let Some(merged) = merged else { return Decision::Leave };
        let attempt = Attempt { revision, version, generation };
        if self.refused.as_ref() == Some(&attempt) {
            return Decision::Leave;
        }
        if let Some(later) = self.repair(revision, now.instant) {
            return Decision::Wait(later);
        }
        if self.told == Some(generation)
            && let Some(later) = self.next_place(now.instant)
        {
            return Decision::Wait(later);
        }
        let patch = patch(&stored, &merged, &attempt.version);
        Decision::Write(attempt, patch)
    }

    /// When what was already written once may be written again; `None` for at once.
    fn repair(&mut self, revision: u64, now: Instant) -> Option<Instant> {
        if revision == 0 || self.written != revision {
            return None;
        }
        let repaired_at = self.repaired_at?;
        if now.duration_since(repaired_at) > QUIET {
            self.repairs = 0;
            return None;
        }
        let later = repaired_at + pause(self.repairs);
        (later > now).then_some(later)
    }

    /// When there is room for one more write; `None` for now.
    fn next_place(&self, now: Instant) -> Option<Instant> {
        let later = self.paid_until?.checked_sub(SPACING * (AT_ONCE - 1))?;
        (later > now).then_some(later)
    }

    fn note_written(&mut self, attempt: &Attempt, now: Instant) {
        self.told = Some(attempt.generation);
        let paid_until = self.paid_until.filter(|until| *until > now).unwrap_or(now);
        self.paid_until = Some(paid_until + SPACING);
        let revision = attempt.revision;
        if revision != 0 && self.written == revision {
            self.repairs += 1;
            self.repaired_at = Some(now);
        } else {
            self.written = revision;
        }
    }
}

/// Whether one version of an object is older than another; versions are numbers that grow.
fn is_older(one: &Observed, other: &Observed) -> bool {
    let number = |observed: &Observed| observed.resource_version.parse::<u64>().ok();
    number(one).zip(number(other)).is_some_and(|(one, other)| one < other)
}

fn pause(times: u32) -> Duration {
    SHORTEST_PAUSE.saturating_mul(1 << times.min(16)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests;
