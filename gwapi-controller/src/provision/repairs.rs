//! Repairs of what somebody else changes again and again: each one waits longer than the last.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::drift::seal;
use super::live::Key;
use super::objects::Manifest;
use super::plan::{Plan, Step};

/// The pause after the first repair; each one after that doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// Longest pause between repairs.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// After so much time without a repair, the next one counts as the first.
const QUIET: Duration = Duration::from_secs(300);

/// It is told who is repaired against when so many repairs have come right after each other.
const TOLD_AFTER: u32 = 3;

/// How often each object was repaired of late.
#[derive(Debug, Default)]
pub(super) struct Repairs(BTreeMap<Key, Repair>);

#[derive(Debug)]
struct Repair {
    /// Which manifest was applied.
    seal: Value,
    times: u32,
    at: Instant,
}

impl Repairs {
    /// Notes that a manifest with this seal was applied and changed the object. The same one again is a
    /// repair.
    pub(super) fn note(&mut self, key: Key, seal: Value, now: Instant) {
        let known = self.0.get(&key).filter(|it| it.seal == seal);
        let times = match known {
            None => 0,
            Some(it) if now.duration_since(it.at) > QUIET => 1,
            Some(it) => it.times.saturating_add(1),
        };
        self.0.insert(key, Repair { seal, times, at: now });
    }

    /// Takes repairs out of a plan whose time has not come. Tells when that of the next one has.
    pub(super) fn hold_back(&self, plan: &mut Plan, now: Instant) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        plan.apply.retain(|step| {
            let later = self.not_before(&step.manifest, now);
            next = next.into_iter().chain(later).min();
            later.is_none()
        });
        next
    }

    /// What to tell of a step that is one of many repairs of the same.
    pub(super) fn complaint(&self, step: &Step) -> Option<String> {
        self.complaint_of(step, &step.manifest.name)
    }

    /// The same of an object that has another name than its manifest.
    pub(super) fn complaint_of(&self, step: &Step, name: &str) -> Option<String> {
        let repair = self.of(&step.manifest).filter(|it| it.times == TOLD_AFTER)?;
        let kind = step.manifest.kind;
        let times = repair.times;
        let what = match &step.differs {
            Some(field) => format!("changes {field} of {kind} {name}"),
            None => format!("deletes {kind} {name}"),
        };
        Some(format!(
            "somebody else {what} again and again, and it was repaired {times} times in a row; repairs \
             come at growing intervals until one of both stops"
        ))
    }

    fn not_before(&self, manifest: &Manifest, now: Instant) -> Option<Instant> {
        let repair = self.of(manifest).filter(|it| it.times > 0)?;
        let later = repair.at + pause(repair.times - 1);
        (later > now).then_some(later)
    }

    fn of(&self, manifest: &Manifest) -> Option<&Repair> {
        let repair = self.0.get(&(manifest.kind, manifest.name.clone()))?;
        (repair.seal == *seal(manifest)).then_some(repair)
    }
}

fn pause(times: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << times.min(16)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::drift::sealed;
    use super::super::kind::ManagedKind;
    use super::*;

    fn step(port: u16) -> Step {
        let object = json!({"metadata": {}, "spec": {"ports": [{"port": port}]}});
        let manifest = Manifest { kind: ManagedKind::Service, name: "web".to_owned(), object };
        Step {
            manifest: sealed(manifest),
            known: Some("uid".to_owned()),
            version: None,
            hand_over: None,
            differs: Some("spec.ports[0].port".to_owned()),
        }
    }

    fn apply(repairs: &mut Repairs, port: u16, now: Instant) {
        let manifest = step(port).manifest;
        let seal = seal(&manifest).clone();
        repairs.note((manifest.kind, manifest.name), seal, now);
    }

    fn wait(repairs: &Repairs, port: u16, now: Instant) -> Duration {
        let mut plan = Plan { apply: vec![step(port)], ..Plan::default() };
        let later = repairs.hold_back(&mut plan, now);
        assert_eq!(plan.apply.is_empty(), later.is_some());
        later.map(|later| later.duration_since(now)).unwrap_or_default()
    }

    #[test]
    fn repairs_that_follow_each_other_come_later_each_time() {
        let (mut repairs, mut now) = (Repairs::default(), Instant::now());
        assert_eq!(wait(&repairs, 80, now), Duration::ZERO, "it is made");
        apply(&mut repairs, 80, now);
        for expected in [0, 200, 400, 800] {
            let wait = wait(&repairs, 80, now);
            assert_eq!(wait, Duration::from_millis(expected));
            now += wait;
            apply(&mut repairs, 80, now);
        }
        assert_eq!(wait(&repairs, 81, now), Duration::ZERO, "what is new is no repair");
        for _ in 0..20 {
            apply(&mut repairs, 80, now);
        }
        assert_eq!(wait(&repairs, 80, now), LONGEST_PAUSE);
        now += QUIET + Duration::from_secs(1);
        assert_eq!(wait(&repairs, 80, now), Duration::ZERO);
        apply(&mut repairs, 80, now);
        assert_eq!(wait(&repairs, 80, now), FIRST_PAUSE, "it begins anew");
    }

    #[test]
    fn what_somebody_keeps_changing_is_named_once() {
        let (mut repairs, now) = (Repairs::default(), Instant::now());
        let mut told = Vec::new();
        for _ in 0..10 {
            told.extend(repairs.complaint(&step(80)));
            apply(&mut repairs, 80, now);
        }
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("changes spec.ports[0].port of Service web"), "{told:?}");
    }
}
