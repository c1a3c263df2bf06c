//! Since when Services have been without the address that they are there for.

use std::collections::BTreeMap;
use std::time::Duration;

use gwapi_model::jiff::Timestamp;
use tokio::time::Instant;

use super::assign::ServicePlan;
use super::kind::ManagedKind;
use super::live::{Live, LiveObjects};
use super::report::has_address;

/// The Services of one Gateway, by name.
#[derive(Debug, Default)]
pub(super) struct Waiting(BTreeMap<String, State>);

#[derive(Debug)]
struct State {
    plan: ServicePlan,
    /// `None` where it has its address.
    since: Option<Instant>,
}

impl Waiting {
    /// Takes in what is there now.
    pub(super) fn update(&mut self, services: &[ServicePlan], live: &LiveObjects, now: Instant) {
        let mut states = BTreeMap::new();
        for plan in services {
            let service = live.get(&(ManagedKind::Service, plan.name.clone()));
            let is_served = service.is_some_and(|it| has_address(plan, &it.object));
            let since = match self.0.get(&plan.name) {
                _ if is_served => None,
                // Who asks for something else starts anew, and so does who lost what it had.
                Some(state) if state.plan == *plan => state.since.or(Some(now)),
                Some(_) => Some(now),
                // It may have waited since before we were started.
                None => Some(service.and_then(|it| creation(it, now)).unwrap_or(now)),
            };
            states.insert(plan.name.clone(), State { plan: plan.clone(), since });
        }
        self.0 = states;
    }

    /// When waiting becomes too long.
    pub(super) fn deadlines(&self, limit: Duration) -> impl Iterator<Item = Instant> {
        self.0.values().filter_map(move |state| state.since?.checked_add(limit))
    }

    /// For how long each Service that waits has waited.
    pub(super) fn durations(&self, now: Instant) -> BTreeMap<String, Duration> {
        let waiting = self.0.iter().filter_map(|(name, state)| Some((name, state.since?)));
        waiting.map(|(name, since)| (name.clone(), now.saturating_duration_since(since))).collect()
    }
}

fn creation(service: &Live, now: Instant) -> Option<Instant> {
    let created: Timestamp =
        service.object["metadata"]["creationTimestamp"].as_str()?.parse().ok()?;
    let age = Duration::try_from(Timestamp::now().duration_since(created)).ok()?;
    now.checked_sub(age)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use gwapi_translate::infrastructure::RequestedAddress;
    use serde_json::{Value, json};

    use super::*;

    fn plan(address: RequestedAddress) -> [ServicePlan; 1] {
        [ServicePlan { name: "web".to_owned(), address }]
    }

    fn live(ingress: &Value, created: &str) -> LiveObjects {
        let live = Live {
            uid: String::new(),
            owner_uid: String::new(),
            is_terminating: false,
            object: json!({
                "metadata": {"creationTimestamp": created},
                "spec": {"type": "LoadBalancer"},
                "status": {"loadBalancer": {"ingress": ingress}},
            }),
        };
        [((ManagedKind::Service, "web".to_owned()), Arc::new(live))].into()
    }

    fn waited(waiting: &Waiting, now: Instant) -> Option<u64> {
        waiting.durations(now).get("web").map(Duration::as_secs)
    }

    #[test]
    fn it_waits_from_the_first_look_until_the_address_comes() {
        let start = Instant::now();
        let later = start + Duration::from_secs(7);
        let any = plan(RequestedAddress::Any);
        let mut waiting = Waiting::default();
        waiting.update(&any, &LiveObjects::new(), start);
        let created = Timestamp::now().to_string();
        waiting.update(&any, &live(&json!([]), &created), later);
        assert_eq!(waited(&waiting, later), Some(7));
        let limit = Duration::from_secs(10);
        assert_eq!(waiting.deadlines(limit).collect::<Vec<_>>(), [start + limit]);
        waiting.update(&any, &live(&json!([{"ip": "10.0.0.1"}]), &created), later);
        assert_eq!(waited(&waiting, later), None);
        waiting.update(&any, &live(&json!([]), &created), later);
        assert_eq!(waited(&waiting, later), Some(0), "it lost its address just now");
    }

    #[test]
    fn a_service_that_is_older_than_the_controller_has_waited_before() {
        // The clock of a machine that was just started does not reach back.
        let now = Instant::now() + Duration::from_secs(100);
        let created = (Timestamp::now() - Duration::from_secs(60)).to_string();
        let mut waiting = Waiting::default();
        waiting.update(&plan(RequestedAddress::Any), &live(&json!([]), &created), now);
        let waited = waited(&waiting, now).expect("it waits");
        assert!((59..=61).contains(&waited), "{waited}");
    }

    #[test]
    fn asking_for_another_address_starts_anew() {
        let now = Instant::now() + Duration::from_secs(100);
        let created = (Timestamp::now() - Duration::from_secs(60)).to_string();
        let live = live(&json!([{"ip": "10.0.0.1"}]), &created);
        let mut waiting = Waiting::default();
        waiting.update(&plan(RequestedAddress::Any), &live, now);
        let other = RequestedAddress::Ip("10.0.0.2".parse().expect("an address"));
        waiting.update(&plan(other), &live, now);
        assert_eq!(waited(&waiting, now), Some(0));
    }
}
