//! What is to be read, and when: news in, tasks out. The clock is handed in.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::watch::News;

/// The first change is read at once, what follows within this time together.
const BATCH: Duration = Duration::from_millis(10);

/// A file that nobody has written to for this long is taken for complete.
pub(super) const QUIET: Duration = Duration::from_millis(100);

/// A file that was just completed, but lacks objects that it had, must be this old: its next
/// writer may just have emptied it.
const SHRUNK: Duration = Duration::from_millis(20);

/// A file that lacks objects that it had must be this old where its writer did not close it, or
/// closed it without a text: the writer may have emptied it and be about to go on.
const EMPTIED: Duration = Duration::from_millis(900);

/// A file that is written again and again is read after this time all the same.
const AT_LAST: Duration = Duration::from_secs(1);

/// How sure it is that a file is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trust {
    /// It may be in the middle of being written.
    Unsure,
    /// Its writer closed it.
    Closed,
    /// It took its place by a rename, of itself or of a link.
    Renamed,
    /// It is to be read whatever it looks like.
    Forced,
}

/// What a file lacks that it had when it was last read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    Nothing,
    /// Some objects.
    Objects,
    /// All objects, and it is blank.
    Text,
}

/// How long to wait before a file is taken for what it says: it changed `age` ago.
///
/// Objects that leave a complete file must go soon (RG-3).
pub(super) fn patience(trust: Trust, loss: Loss, age: Duration) -> Option<Duration> {
    let wanted = match (trust, loss) {
        (Trust::Forced, _) | (Trust::Closed | Trust::Renamed, Loss::Nothing) => Duration::ZERO,
        (Trust::Closed, Loss::Objects) | (Trust::Renamed, _) => SHRUNK,
        (Trust::Unsure, Loss::Nothing) => QUIET,
        (Trust::Unsure, _) | (Trust::Closed, Loss::Text) => EMPTIED,
    };
    wanted.checked_sub(age).filter(|wait| !wait.is_zero())
}

/// What is to be done now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Task {
    /// Look at everything.
    pub(super) look: bool,
    /// Everything that is found is complete.
    pub(super) swapped: bool,
    /// Files to be read.
    pub(super) files: BTreeMap<PathBuf, Trust>,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    since: Instant,
    due: Instant,
    trust: Trust,
}

/// What is to be done later.
#[derive(Debug)]
pub(super) struct Agenda {
    swapped: bool,
    /// Files that are being written, or were.
    pending: BTreeMap<PathBuf, Pending>,
    next_look: Instant,
    /// The next look is one that somebody asked for, and not one of those made now and then.
    is_asked_for: bool,
    not_before: Instant,
}

impl Agenda {
    /// A look at everything is due.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            swapped: false,
            pending: BTreeMap::new(),
            next_look: now,
            is_asked_for: true,
            not_before: now,
        }
    }

    /// Notes what happened.
    pub(super) fn hear(&mut self, news: News, now: Instant) {
        match news {
            News::Writing(path) => self.postpone(path, Trust::Unsure, QUIET, now),
            News::Closed(path) => self.postpone(path, Trust::Closed, Duration::ZERO, now),
            News::Renamed(path) => self.postpone(path, Trust::Renamed, Duration::ZERO, now),
            News::Swapped => {
                self.swapped = true;
                self.look_at(now);
            }
            // What took its place is read first, at once.
            News::Left => self.look_at(now + BATCH),
            News::Look => self.look_at(now),
        }
    }

    /// Asks for a look at everything, no later than `at`.
    pub(super) fn look_at(&mut self, at: Instant) {
        self.next_look = self.next_look.min(at);
        self.is_asked_for = true;
    }

    /// Asks for a file to be read after a while; not for ever. It is trusted as far as `trust`
    /// until there are other news of it.
    pub(super) fn postpone(&mut self, path: PathBuf, trust: Trust, wait: Duration, now: Instant) {
        let since = self.pending.get(&path).map_or(now, |pending| pending.since);
        let due = (now + wait).min(since + AT_LAST);
        self.pending.insert(path, Pending { since, due, trust });
    }

    /// Whether a file is not to be read before its time.
    pub(super) fn is_postponed(&self, path: &PathBuf) -> bool {
        self.pending.contains_key(path)
    }

    /// Notes that a file was read, or is not there.
    pub(super) fn forget(&mut self, path: &PathBuf) {
        self.pending.remove(path);
    }

    /// When there is something to be done next.
    pub(super) fn next(&self) -> Instant {
        let pending = self.pending.values().map(|pending| pending.due);
        let first = pending.chain([self.next_look]).min();
        first.unwrap_or(self.next_look).max(self.not_before)
    }

    /// Takes what is to be done now; the next look at everything is `interval` away.
    ///
    /// Every file of the task must be settled, by [`Agenda::postpone`] or [`Agenda::forget`].
    pub(super) fn take(&mut self, now: Instant, interval: Duration) -> Option<Task> {
        if now < self.next() {
            return None;
        }
        let mut task = Task {
            look: now >= self.next_look,
            swapped: std::mem::take(&mut self.swapped),
            files: BTreeMap::new(),
        };
        for (path, pending) in self.pending.iter().filter(|(_, pending)| now >= pending.due) {
            let is_last = now >= pending.since + AT_LAST;
            let trust = if is_last { Trust::Forced } else { pending.trust };
            task.files.insert(path.clone(), trust);
        }
        // A look that finds out of itself that nothing happened holds up no change.
        if !task.files.is_empty() || self.is_asked_for {
            self.not_before = now + BATCH;
        }
        if task.look {
            self.next_look = now + interval;
            self.is_asked_for = false;
        }
        Some(task)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn path() -> PathBuf {
        PathBuf::from("/a.yaml")
    }

    /// An agenda whose first look is done.
    fn agenda() -> (Agenda, Instant) {
        let start = Instant::now();
        let mut agenda = Agenda::new(start);
        assert!(agenda.take(start, HOUR).is_some_and(|task| task.look));
        (agenda, start + HOUR / 2)
    }

    #[test]
    fn the_first_change_is_due_at_once_and_the_next_ones_together() {
        let (mut agenda, now) = agenda();
        agenda.hear(News::Closed(path()), now);
        assert_eq!(agenda.next(), now);
        let task = agenda.take(now, HOUR).unwrap();
        assert_eq!(task.files, [(path(), Trust::Closed)].into());
        assert!(!task.look);
        agenda.forget(&path());
        agenda.hear(News::Closed(path()), now);
        agenda.hear(News::Closed("/b.yaml".into()), now);
        assert_eq!(agenda.take(now + BATCH / 2, HOUR), None);
        assert_eq!(agenda.next(), now + BATCH);
        let task = agenda.take(now + BATCH, HOUR).unwrap();
        assert_eq!(task.files.len(), 2);
        task.files.keys().for_each(|path| agenda.forget(path));
        assert_eq!(agenda.take(now + 2 * BATCH, HOUR), None);
    }

    #[test]
    fn a_file_is_read_when_its_writer_closes_it() {
        let (mut agenda, now) = agenda();
        agenda.hear(News::Writing(path()), now);
        assert_eq!(agenda.take(now, HOUR), None);
        assert!(agenda.is_postponed(&path()));
        agenda.hear(News::Closed(path()), now);
        let task = agenda.take(now, HOUR).unwrap();
        assert_eq!(task.files, [(path(), Trust::Closed)].into());
    }

    #[test]
    fn a_complete_file_that_has_to_wait_stays_complete_until_it_is_written_to() {
        for trust in [Trust::Closed, Trust::Renamed] {
            let (mut agenda, now) = agenda();
            agenda.postpone(path(), trust, SHRUNK, now);
            assert_eq!(agenda.next(), now + SHRUNK);
            let task = agenda.take(now + SHRUNK, HOUR).unwrap();
            assert_eq!(task.files, [(path(), trust)].into());
            agenda.postpone(path(), trust, SHRUNK, now + SHRUNK);
            agenda.hear(News::Writing(path()), now + SHRUNK);
            assert_eq!(agenda.next(), now + SHRUNK + QUIET);
            let task = agenda.take(now + SHRUNK + QUIET, HOUR).unwrap();
            assert_eq!(task.files, [(path(), Trust::Unsure)].into());
        }
    }

    #[test]
    fn a_file_that_stays_open_is_read_when_it_is_quiet_and_at_last_in_any_case() {
        let (mut agenda, start) = agenda();
        agenda.hear(News::Writing(path()), start);
        let task = agenda.take(start + QUIET, HOUR).unwrap();
        assert_eq!(task.files, [(path(), Trust::Unsure)].into());
        let mut now = start;
        while now < start + AT_LAST {
            agenda.postpone(path(), Trust::Unsure, QUIET, now);
            now += QUIET / 2;
        }
        assert_eq!(agenda.next(), start + AT_LAST);
        let task = agenda.take(start + AT_LAST, HOUR).unwrap();
        assert_eq!(task.files, [(path(), Trust::Forced)].into());
        agenda.forget(&path());
        assert_eq!(agenda.next(), start - HOUR / 2 + HOUR);
    }

    #[test]
    fn looks_are_made_when_asked_for_and_now_and_then() {
        let (mut agenda, now) = agenda();
        let first = agenda.next();
        assert!(first > now);
        agenda.look_at(now + QUIET);
        assert_eq!(agenda.next(), now + QUIET);
        let task = agenda.take(now + QUIET, HOUR).unwrap();
        assert!(task.look && !task.swapped);
        assert_eq!(agenda.next(), now + QUIET + HOUR);
        agenda.hear(News::Swapped, now + 2 * QUIET);
        let task = agenda.take(now + 2 * QUIET, HOUR).unwrap();
        assert!(task.look && task.swapped);
    }

    #[test]
    fn a_look_that_nobody_asked_for_holds_up_no_change() {
        let (mut agenda, start) = agenda();
        let now = start + HOUR;
        assert!(agenda.take(now, HOUR).is_some_and(|task| task.look));
        agenda.hear(News::Renamed(path()), now);
        assert_eq!(agenda.next(), now);
        agenda.take(now, HOUR).unwrap();
        agenda.forget(&path());
        agenda.hear(News::Look, now);
        assert_eq!(agenda.next(), now + BATCH);
    }

    #[test]
    fn young_files_are_waited_for_as_far_as_they_may_be_incomplete() {
        let young = Duration::from_millis(1);
        assert_eq!(patience(Trust::Unsure, Loss::Nothing, young), Some(QUIET - young));
        assert_eq!(patience(Trust::Unsure, Loss::Nothing, QUIET), None);
        assert_eq!(patience(Trust::Unsure, Loss::Objects, QUIET), Some(EMPTIED - QUIET));
        assert_eq!(patience(Trust::Closed, Loss::Nothing, Duration::ZERO), None);
        assert_eq!(patience(Trust::Closed, Loss::Objects, young), Some(SHRUNK - young));
        assert_eq!(patience(Trust::Closed, Loss::Text, young), Some(EMPTIED - young));
        assert_eq!(patience(Trust::Renamed, Loss::Nothing, Duration::ZERO), None);
        assert_eq!(patience(Trust::Renamed, Loss::Text, young), Some(SHRUNK - young));
        assert_eq!(patience(Trust::Renamed, Loss::Text, SHRUNK), None);
        assert_eq!(patience(Trust::Forced, Loss::Text, Duration::ZERO), None);
    }
}
