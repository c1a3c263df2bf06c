//! Which of the addresses that it asks for a Gateway has, and what that means for it (AD-7, AD-8).

use gwapi_model::AddressType;
use gwapi_model::status::{
    Condition, ConditionReason, ConditionStatus, ConditionType, GatewayStatusAddress,
};

use super::super::Feedback;
use super::super::addresses::UnmetAddress;
use super::super::conditions::{Problem, fails, holds};
use super::GatewayDraft;

/// Addresses that a status can hold (AD-3).
const ADDRESSES_LIMIT: usize = 16;

/// The addresses that a Gateway has, and what is in the way of others.
pub(super) struct Assignment {
    /// What the status lists.
    pub(super) addresses: Vec<GatewayStatusAddress>,
    /// Why the Gateway is not programmed, as far as addresses are concerned.
    pub(super) problems: Vec<Problem>,
    verdict: Verdict,
    /// Why requests are not met.
    unmet: Vec<String>,
    /// Those of them that one of the problems tells, as the Gateway has no address at all.
    told: Vec<String>,
}

/// What became of the requests, or of the choice where nothing is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Not known yet.
    Undecided,
    /// All are met, or the choice is made.
    Assigned,
    /// Some are met.
    Partially,
    /// None is met.
    NotAssigned,
}

/// Requests, counted.
struct Requests {
    /// How many are met.
    met: usize,
    /// Those that are not.
    unmet: Vec<UnmetAddress>,
    /// Why others are not met, of which it is known already that the Gateway is not programmed for them.
    told: Vec<String>,
    /// Whether some are waited for.
    pending: bool,
}

impl Assignment {
    /// Whether one of its problems tells this already.
    pub(super) fn tells(&self, message: &str) -> bool {
        self.told.iter().any(|told| told == message)
    }
}

impl GatewayDraft {
    /// What the Gateway has of what it asks for. `serves` tells whether any listener answers: without one, no
    /// address is in use.
    pub(super) fn assignment(&self, serves: bool, feedback: &Feedback) -> Assignment {
        let (addresses, requests) = match self.infrastructure {
            Some(_) => self.provisioned(feedback),
            None => self.local(serves, feedback),
        };
        let verdict = self.verdict(&requests);
        let messages = requests.unmet.iter().map(|unmet| unmet.problem.message.clone());
        let unmet: Vec<String> = messages.chain(requests.told).collect();
        let is_lost =
            self.has_experimental_fields && verdict == Verdict::NotAssigned && addresses.is_empty();
        let told: Vec<String> = if is_lost {
            let told = unmet.iter().filter(|message| !self.has_cause(message, feedback));
            told.cloned().collect()
        } else {
            Vec::new()
        };
        let problems = if is_lost {
            let lost = || Problem::new(ConditionReason::AddressNotAssigned, told.join("; "));
            (!told.is_empty()).then(lost).into_iter().collect()
        } else {
            let counts =
                |it: &UnmetAddress| !(self.has_experimental_fields && it.demands_routability);
            requests.unmet.into_iter().filter(counts).map(|it| it.problem).collect()
        };
        Assignment { addresses, problems, verdict, unmet, told }
    }

    /// Whether an address is missing because of something else, which is told as what it is: its Service could not
    /// be made or changed, or parameters name one that cannot be used.
    fn has_cause(&self, message: &str, feedback: &Feedback) -> bool {
        let mut reported = feedback.infrastructure.unmet.iter();
        let is_cause =
            |reason| matches!(reason, ConditionReason::NoResources | ConditionReason::Invalid);
        self.infrastructure.is_some()
            && reported.any(|(reason, told)| told == message && is_cause(*reason))
    }

    /// What whoever provisions the Gateway said, and what could not even be asked for.
    fn provisioned(&self, feedback: &Feedback) -> (Vec<GatewayStatusAddress>, Requests) {
        let report = &feedback.infrastructure;
        let addresses = report.addresses.iter().take(ADDRESSES_LIMIT).cloned();
        let addresses = addresses.map(|address| GatewayStatusAddress {
            routability: address.routability.filter(|_| self.has_experimental_fields),
            ..address
        });
        let assignment = &report.assignment;
        let mut unmet = self.addresses.unmet.clone();
        unmet.extend(assignment.unmet_routability.iter().map(|message| UnmetAddress {
            problem: Problem::new(ConditionReason::AddressNotUsable, message),
            demands_routability: true,
        }));
        let told = assignment.unmet.clone();
        let requests = Requests { met: assignment.met, unmet, told, pending: assignment.pending };
        (addresses.collect(), requests)
    }

    /// What the addresses of this machine come to.
    fn local(&self, serves: bool, feedback: &Feedback) -> (Vec<GatewayStatusAddress>, Requests) {
        let assigned = self.addresses.assigned(&feedback.unusable_addresses);
        let met = assigned.addresses.len();
        let in_use = assigned.addresses.into_iter().filter(|_| serves);
        let addresses = in_use.map(|(ip, routability)| GatewayStatusAddress {
            address_type: AddressType::IpAddress,
            value: ip.to_string(),
            routability: self.has_experimental_fields.then(|| routability.as_str().to_owned()),
        });
        let pending = !serves && met > 0;
        (addresses.collect(), Requests { met, unmet: assigned.unmet, told: Vec::new(), pending })
    }

    fn verdict(&self, requests: &Requests) -> Verdict {
        let are_unmet = !(requests.unmet.is_empty() && requests.told.is_empty());
        match (requests.met, are_unmet) {
            _ if requests.pending => Verdict::Undecided,
            (0, false) => Verdict::Undecided,
            (0, true) => Verdict::NotAssigned,
            (_, false) => Verdict::Assigned,
            (_, true) if self.addresses.is_left_open => Verdict::Assigned,
            (_, true) => Verdict::Partially,
        }
    }

    /// AD-8: absent until it is decided, and where the CRD does not know it.
    pub(super) fn assigned_condition(
        &self,
        accepted: &Condition,
        assignment: &Assignment,
    ) -> Option<Condition> {
        let is_known = self.has_experimental_fields && accepted.status == ConditionStatus::True;
        let condition_type = ConditionType::AddressesAssigned;
        let refused =
            |reason| fails(condition_type, reason, assignment.unmet.join("; "), self.generation);
        Some(match assignment.verdict {
            _ if !is_known => return None,
            Verdict::Undecided => return None,
            Verdict::Assigned => {
                holds(condition_type, ConditionReason::AddressesAssigned, "", self.generation)
            }
            Verdict::Partially => refused(ConditionReason::PartiallyAssigned),
            Verdict::NotAssigned => refused(ConditionReason::NotAssigned),
        })
    }
}
