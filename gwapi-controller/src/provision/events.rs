//! Events on Gateways: what `kubectl describe gateway` shows of what could not be had.

use std::collections::{BTreeMap, BTreeSet};

use gwapi_model::GATEWAY_GROUP;
use gwapi_model::status::ConditionReason;
use gwapi_translate::ir::GatewayId;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::task::JoinSet;
use tracing::debug;

use super::objects::{controller_label, is_label};
use super::report::Findings;

/// An event's text ends here.
const LONGEST_NOTE: usize = 1024;

/// Characters of the name of whoever tells of an event.
const LONGEST_CONTROLLER: usize = 128;

/// Reason of an event about a field that somebody else keeps changing.
const CONTENDED: &str = "Contended";

/// Reason of an event about pods that do not come to take the place of others, or to stand beside them.
const STALLED: &str = "Stalled";

/// Tells each obstacle once, until it was gone.
pub(super) struct Announcer {
    recorder: Recorder,
    told: BTreeMap<GatewayId, BTreeSet<(String, String)>>,
    /// Events under way; they end with the announcer.
    sending: JoinSet<()>,
}

impl Announcer {
    /// One that speaks as the controller of this name.
    pub(super) fn new(client: Client, controller_name: &str) -> Self {
        let controller = reporting_controller(controller_name);
        let reporter = Reporter { controller, instance: hostname() };
        Self {
            recorder: Recorder::new(client, reporter),
            told: BTreeMap::new(),
            sending: JoinSet::new(),
        }
    }

    /// Forgets what a Gateway was told.
    pub(super) fn forget(&mut self, gateway: &GatewayId) {
        self.told.remove(gateway);
    }

    /// Tells what is new in what was found out. Waiting is no news.
    pub(super) fn announce(&mut self, gateway: &GatewayId, uid: &str, findings: &Findings) {
        while self.sending.try_join_next().is_some() {}
        let now = news(findings);
        let before = self.told.insert(gateway.clone(), now.clone()).unwrap_or_default();
        for (reason, message) in now.difference(&before) {
            self.warn(gateway, uid, reason.clone(), message);
        }
    }

    /// Tells that somebody else undoes what is done for a Gateway.
    pub(super) fn complain(&mut self, gateway: &GatewayId, uid: &str, message: &str) {
        while self.sending.try_join_next().is_some() {}
        self.warn(gateway, uid, CONTENDED.to_owned(), message);
    }

    fn warn(&mut self, gateway: &GatewayId, uid: &str, reason: String, message: &str) {
        let event = Event {
            type_: EventType::Warning,
            reason,
            note: Some(cut(message)),
            action: "Provision".to_owned(),
            secondary: None,
        };
        let regarding = regarding(gateway, uid);
        let recorder = self.recorder.clone();
        self.sending.spawn(async move {
            // The same is in the status, or in the log.
            if let Err(error) = recorder.publish(&event, &regarding).await {
                debug!(%error, "cannot publish an event");
            }
        });
    }
}

/// What there is to tell, each with the reason of its event.
fn news(findings: &Findings) -> BTreeSet<(String, String)> {
    let report = &findings.report;
    let lasting = report.unmet.iter().filter(|it| it.0 != ConditionReason::Pending);
    let lasting = lasting.map(|(reason, message)| (reason.to_string(), message));
    let unassigned = report.assignment.unmet_routability.iter();
    let unassigned = unassigned.map(|it| (ConditionReason::AddressNotUsable.to_string(), it));
    let stalled = findings.stalled.iter().map(|it| (STALLED.to_owned(), it));
    let all = lasting.chain(unassigned).chain(stalled);
    all.map(|(reason, message)| (reason, message.clone())).collect()
}

fn regarding(gateway: &GatewayId, uid: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some(format!("{GATEWAY_GROUP}/v1")),
        kind: Some("Gateway".to_owned()),
        namespace: Some(gateway.namespace.to_string()),
        name: Some(gateway.name.to_string()),
        uid: Some(uid.to_owned()),
        ..ObjectReference::default()
    }
}

/// The name of a controller, or what stands for it in labels, where events cannot have it: they want a
/// qualified name, which has one slash and no more than a label after it.
fn reporting_controller(controller_name: &str) -> String {
    let is_qualified = controller_name.split_once('/').is_some_and(|(_, name)| is_label(name));
    if is_qualified && controller_name.len() <= LONGEST_CONTROLLER {
        return controller_name.to_owned();
    }
    controller_label(controller_name)
}

/// In a pod this is its name.
fn hostname() -> Option<String> {
    std::env::var("HOSTNAME").ok().filter(|name| !name.is_empty())
}

fn cut(message: &str) -> String {
    let end = message.char_indices().map(|(at, c)| at + c.len_utf8());
    let end = end.take_while(|end| *end <= LONGEST_NOTE).last().unwrap_or_default();
    message[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use gwapi_translate::infrastructure::InfrastructureReport;

    use super::*;

    #[test]
    fn an_event_has_the_name_of_its_controller_or_what_stands_for_it() {
        for name in ["gwapi.dev/gateway-controller", "example.com/A.b_c"] {
            assert_eq!(reporting_controller(name), name);
        }
        let long = format!("{}.com/gwapi", "a.".repeat(60));
        for name in ["example.com/team/a", "example.com/(a)", "example.com/a-", &long] {
            let told = reporting_controller(name);
            assert!(is_label(&told), "{told}");
            assert_ne!(told, reporting_controller(&format!("{name}b")));
        }
    }

    #[test]
    fn what_lasts_is_told_and_so_is_what_stalls_while_others_serve() {
        let unmet = vec![
            (ConditionReason::Pending, "a moment".to_owned()),
            (ConditionReason::Invalid, "no".to_owned()),
        ];
        let report = InfrastructureReport { unmet, ..InfrastructureReport::default() };
        let news = news(&Findings { report, stalled: Some("pod a: Unschedulable".to_owned()) });
        let told = [("Invalid", "no"), ("Stalled", "pod a: Unschedulable")];
        let told = told.map(|(reason, message)| (reason.to_owned(), message.to_owned()));
        assert_eq!(news, told.into());
    }

    #[test]
    fn a_long_message_is_cut_between_letters() {
        assert_eq!(cut("short"), "short");
        let cut = cut(&"é".repeat(600));
        assert_eq!(cut, "é".repeat(512));
    }
}
