//! What to do about a Lease: a function of what was seen, and when.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;

use super::DURATION;

/// A Lease, and since when it has been as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    version: String,
    holder: String,
    duration: Duration,
    since: Instant,
}

impl Seen {
    /// What is seen now, given what was seen before.
    pub(super) fn next(before: Option<Self>, lease: Option<&Lease>, now: Instant) -> Option<Self> {
        let lease = lease?;
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        if let Some(before) = before.filter(|before| before.version == version) {
            return Some(before);
        }
        let spec = lease.spec.as_ref();
        let seconds = spec.and_then(|spec| spec.lease_duration_seconds);
        let seconds = seconds.and_then(|seconds| u64::try_from(seconds).ok());
        Some(Self {
            version,
            holder: spec.and_then(|spec| spec.holder_identity.clone()).unwrap_or_default(),
            duration: seconds.map_or(DURATION, Duration::from_secs),
            since: now,
        })
    }
}

/// What to do about a Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// There is none: make it.
    Create,
    /// Nobody holds it, or its holder is gone: take it.
    Take,
    /// It is ours: say that we are still here.
    Renew,
    /// It is somebody else's.
    Wait,
}

/// What to do.
pub(super) fn decide(seen: Option<&Seen>, identity: &str, now: Instant) -> Action {
    let Some(seen) = seen else { return Action::Create };
    if seen.holder == identity {
        Action::Renew
    } else if seen.holder.is_empty() || now.duration_since(seen.since) > seen.duration {
        Action::Take
    } else {
        Action::Wait
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::coordination::v1::LeaseSpec;

    use super::*;

    fn lease(version: &str, holder: &str) -> Lease {
        let mut lease = Lease {
            spec: Some(LeaseSpec {
                holder_identity: Some(holder.to_owned()),
                lease_duration_seconds: Some(15),
                ..LeaseSpec::default()
            }),
            ..Lease::default()
        };
        lease.metadata.resource_version = Some(version.to_owned());
        lease
    }

    fn after(seconds: u64, start: Instant) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_lease_that_nobody_has_is_taken_at_once() {
        let now = Instant::now();
        assert_eq!(decide(None, "us", now), Action::Create);
        let free = Seen::next(None, Some(&lease("1", "")), now);
        assert_eq!(decide(free.as_ref(), "us", now), Action::Take);
    }

    #[test]
    fn a_lease_of_ours_is_renewed_whoever_we_were_when_we_took_it() {
        let now = Instant::now();
        let ours = Seen::next(None, Some(&lease("1", "us")), now);
        assert_eq!(decide(ours.as_ref(), "us", now), Action::Renew);
    }

    #[test]
    fn a_holder_that_goes_on_is_waited_for_and_one_that_is_silent_only_so_long() {
        let start = Instant::now();
        let mut seen = None;
        for (seconds, version) in [(0, "1"), (10, "2"), (20, "3"), (30, "4"), (40, "4")] {
            let now = after(seconds, start);
            seen = Seen::next(seen, Some(&lease(version, "them")), now);
            assert_eq!(decide(seen.as_ref(), "us", now), Action::Wait, "after {seconds} s");
        }
        let now = after(46, start);
        seen = Seen::next(seen, Some(&lease("4", "them")), now);
        assert_eq!(decide(seen.as_ref(), "us", now), Action::Take);
    }
}
