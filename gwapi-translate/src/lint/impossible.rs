//! Matches on what no request has when it is matched (HM-7).

use std::collections::BTreeMap;

use super::{Finding, Input, Lint, route_id, rule_field};
use crate::why_never_taken;

pub(super) fn find(input: &Input<'_>, findings: &mut Vec<Finding>) {
    // A route of several Gateways is told of once.
    let mut found = BTreeMap::new();
    for rule in input.translation.config.values().flat_map(|config| config.http_rules()) {
        for (match_index, http_match) in rule.matches.iter().enumerate() {
            if let Some(why) = why_never_taken(http_match, input.options.underscore_headers) {
                let id = route_id(rule.route_kind, &rule.route);
                found.insert((id, rule.order.rule_index, match_index), why);
            }
        }
    }
    findings.extend(found.into_iter().map(|((id, rule_index, match_index), why)| {
        let field = rule_field(rule_index.into()).field("matches").index(match_index);
        Finding::new(Lint::ImpossibleMatch, id, field, format!("no request satisfies this: {why}"))
    }));
}
