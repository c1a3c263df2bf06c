//! Since when Services have been without the address that they are there for, and since when none of the
//! pods that are counted is seen.

use std::collections::BTreeMap;
use std::time::Duration;

use gwapi_model::jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;

use super::assign::ServicePlan;
use super::live::Standing;
use super::report::has_address;

/// How long pods may be counted and not seen: one watch is a moment ahead of another.
const SETTLING: Duration = Duration::from_secs(5);

/// What is waited for on behalf of one Gateway.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// Its Services by name, or that of the user's.
    services: BTreeMap<String, State>,
    /// Since when pods are counted of which none is seen.
    unseen: Option<Instant>,
}

#[derive(Debug)]
struct State {
    plan: ServicePlan,
    /// `None` where it has its address, or is still to be made when a former one of the name is gone.
    since: Option<Instant>,
}

impl Waiting {
    /// Takes in which Services are there now: those of ours, and that of the user's whose address the
    /// Gateway is to have.
    pub(super) fn update(
        &mut self,
        services: &[ServicePlan],
        live: &Standing,
        users: Option<(&str, &Value)>,
        now: Instant,
    ) {
        let ours = services.iter().map(|plan| {
            (plan.clone(), live.service(&plan.name), live.has_leaving_service(&plan.name))
        });
        let users = users.map(|(name, service)| {
            (ServicePlan { name: name.to_owned(), address: None }, Some(service), false)
        });
        let mut states = BTreeMap::new();
        for (plan, service, is_to_be_made) in ours.chain(users) {
            let is_served = service.is_some_and(|it| has_address(&plan, it));
            let since = match self.services.get(&plan.name) {
                _ if is_served || is_to_be_made => None,
                // Who asks for something else starts anew, and so does who lost what it had.
                Some(state) if state.plan == plan => state.since.or(Some(now)),
                Some(_) => Some(now),
                // It may have waited since before we were started.
                None => Some(service.and_then(|it| creation(it, now)).unwrap_or(now)),
            };
            states.insert(plan.name.clone(), State { plan, since });
        }
        self.services = states;
    }

    /// Takes in whether pods are counted now of which none is seen.
    pub(super) fn note_pods(&mut self, are_unseen: bool, now: Instant) {
        self.unseen = are_unseen.then(|| self.unseen.unwrap_or(now));
    }

    /// Whether pods have been counted and not seen for too long to be a matter of moments.
    pub(super) fn is_missing_pods(&self, now: Instant) -> bool {
        self.unseen.is_some_and(|since| now.saturating_duration_since(since) >= SETTLING)
    }

    /// When waiting becomes too long.
    pub(super) fn deadlines(&self, limit: Duration) -> impl Iterator<Item = Instant> {
        let services = self.services.values();
        let services = services.filter_map(move |state| state.since?.checked_add(limit));
        services.chain(self.unseen.and_then(|since| since.checked_add(SETTLING)))
    }

    /// For how long each Service that waits has waited.
    pub(super) fn durations(&self, now: Instant) -> BTreeMap<String, Duration> {
        let waiting = self.services.iter().filter_map(|(name, state)| Some((name, state.since?)));
        waiting.map(|(name, since)| (name.clone(), now.saturating_duration_since(since))).collect()
    }
}

fn creation(service: &Value, now: Instant) -> Option<Instant> {
    let created: Timestamp = service["metadata"]["creationTimestamp"].as_str()?.parse().ok()?;
    let age = Duration::try_from(Timestamp::now().duration_since(created)).ok()?;
    now.checked_sub(age)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use gwapi_translate::infrastructure::RequestedAddress;

    use super::super::kind::ManagedKind;
    use super::super::live::{Live, LiveObjects};
    use super::*;

    fn plan(address: Option<RequestedAddress>) -> [ServicePlan; 1] {
        [ServicePlan { name: "web".to_owned(), address }]
    }

    /// A Service that belongs to the Gateway with this uid, as another one sees it that has none.
    fn of(owner: &str, ingress: &Value, created: &str) -> Standing {
        let live = Live {
            uid: String::new(),
            owner_uid: owner.to_owned(),
            is_terminating: false,
            object: json!({
                "metadata": {"creationTimestamp": created},
                "spec": {"type": "LoadBalancer"},
                "status": {"loadBalancer": {"ingress": ingress}},
            }),
        };
        let live = [((ManagedKind::Service, "web".to_owned()), Arc::new(live))];
        Standing::of("", &LiveObjects::from(live))
    }

    fn live(ingress: &Value, created: &str) -> Standing {
        of("", ingress, created)
    }

    fn waited(waiting: &Waiting, now: Instant) -> Option<u64> {
        waiting.durations(now).get("web").map(Duration::as_secs)
    }

    #[test]
    fn it_waits_from_the_first_look_until_the_address_comes() {
        let start = Instant::now();
        let later = start + Duration::from_secs(7);
        let any = plan(None);
        let mut waiting = Waiting::default();
        waiting.update(&any, &Standing::default(), None, start);
        let created = Timestamp::now().to_string();
        waiting.update(&any, &live(&json!([]), &created), None, later);
        assert_eq!(waited(&waiting, later), Some(7));
        let limit = Duration::from_secs(10);
        assert_eq!(waiting.deadlines(limit).collect::<Vec<_>>(), [start + limit]);
        waiting.update(&any, &live(&json!([{"ip": "10.0.0.1"}]), &created), None, later);
        assert_eq!(waited(&waiting, later), None);
        waiting.update(&any, &live(&json!([]), &created), None, later);
        assert_eq!(waited(&waiting, later), Some(0), "it lost its address just now");
    }

    /// One that goes may keep its name for minutes, until its load balancer is taken down.
    #[test]
    fn a_service_is_waited_for_from_when_a_former_one_of_the_name_is_gone() {
        let start = Instant::now() + Duration::from_secs(100);
        let later = start + Duration::from_secs(60);
        let made = (Timestamp::now() - Duration::from_secs(90)).to_string();
        let former = of("former", &json!([]), &made);
        let mut waiting = Waiting::default();
        waiting.update(&plan(None), &former, None, start);
        assert_eq!(waited(&waiting, later), None);
        assert_eq!(waiting.deadlines(Duration::from_secs(10)).count(), 0);
        waiting.update(&plan(None), &Standing::default(), None, later);
        assert_eq!(waited(&waiting, later), Some(0));
    }

    #[test]
    fn a_service_that_is_older_than_the_controller_has_waited_before() {
        // The clock of a machine that was just started does not reach back.
        let now = Instant::now() + Duration::from_secs(100);
        let created = (Timestamp::now() - Duration::from_secs(60)).to_string();
        let mut waiting = Waiting::default();
        waiting.update(&plan(None), &live(&json!([]), &created), None, now);
        let waited = waited(&waiting, now).expect("it waits");
        assert!((59..=61).contains(&waited), "{waited}");
    }

    #[test]
    fn a_service_of_the_users_is_waited_for_like_those_of_ours() {
        let now = Instant::now();
        let service = |ingress: Value| {
            json!({"spec": {"type": "LoadBalancer"},
                "status": {"loadBalancer": {"ingress": ingress}}})
        };
        let (without, with) = (service(json!([])), service(json!([{"ip": "10.0.0.1"}])));
        let mut waiting = Waiting::default();
        let mut look = |service, now| {
            waiting.update(&[], &Standing::default(), Some(("web", service)), now);
            let limit = Duration::from_secs(10);
            (waited(&waiting, now), waiting.deadlines(limit).next())
        };
        let until = Some(now + Duration::from_secs(10));
        assert_eq!(look(&without, now), (Some(0), until));
        assert_eq!(look(&without, now + Duration::from_secs(7)), (Some(7), until));
        assert_eq!(look(&with, now + Duration::from_secs(7)), (None, None));
    }

    #[test]
    fn pods_are_missed_when_it_is_no_matter_of_moments() {
        let start = Instant::now();
        let mut waiting = Waiting::default();
        waiting.note_pods(true, start);
        assert!(!waiting.is_missing_pods(start));
        assert_eq!(waiting.deadlines(Duration::ZERO).collect::<Vec<_>>(), [start + SETTLING]);
        waiting.note_pods(true, start + SETTLING);
        assert!(waiting.is_missing_pods(start + SETTLING));
        waiting.note_pods(false, start + SETTLING);
        waiting.note_pods(true, start + SETTLING);
        assert!(!waiting.is_missing_pods(start + SETTLING), "one was seen meanwhile");
    }

    #[test]
    fn asking_for_another_address_starts_anew() {
        let now = Instant::now() + Duration::from_secs(100);
        let created = (Timestamp::now() - Duration::from_secs(60)).to_string();
        let live = live(&json!([{"ip": "10.0.0.1"}]), &created);
        let mut waiting = Waiting::default();
        waiting.update(&plan(None), &live, None, now);
        let other = RequestedAddress::ip("10.0.0.2".parse().expect("an address"));
        waiting.update(&plan(Some(other)), &live, None, now);
        assert_eq!(waited(&waiting, now), Some(0));
    }
}
