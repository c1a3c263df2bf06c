//! What is found never wins, and what is plain is found.

use std::cell::Cell;
use std::collections::BTreeSet;

use super::*;
use crate::RouteTable;
use crate::ir::RuleKey;
use crate::testing::check_law;
use crate::testing::matching::{Matcher, Scope, config, requests, show_config};

/// The matches of a configuration that are found, by rule and position.
fn found(config: &GatewayConfig) -> BTreeSet<(RuleKey, usize)> {
    let gateway = GatewayId::new("ns", "gateway");
    let dead = fates(&gateway, config).filter(|(_, fate)| fate.is_dead());
    let keys = dead.map(|(contender, _)| match contender {
        Contender::Match(rule, match_index) => (rule.key.clone(), match_index),
        Contender::Stream(rule) => (rule.key.clone(), 0),
    });
    keys.collect()
}

/// HR-1, HR-2, LI-2
#[test]
fn a_match_that_is_found_takes_no_request() {
    let (all, dead) = (Cell::new(0), Cell::new(0));
    check_law(
        "a match that is told to be shadowed takes no request",
        500,
        &(config(Scope::Gwapi), requests(Scope::Gwapi)),
        |(config, _)| show_config(config),
        |(config, requests)| {
            let found = found(config);
            all.set(all.get() + Contender::all(config).count());
            dead.set(dead.get() + found.len());
            let table = RouteTable::compile(config);
            for request in requests {
                let chosen = Matcher::route(&table, request.port, &request.head());
                if let Some(chosen) = chosen
                    && found.contains(&(chosen.rule.clone(), chosen.match_index))
                {
                    let (rule, index) = (chosen.rule, chosen.match_index);
                    return Err(format!("{rule}, match {index}, takes {request}"));
                }
            }
            Ok(())
        },
    )
    .expect("the law holds");
    // It would hold as well if nothing were ever found.
    assert!(dead.get() * 20 > all.get(), "{} of {} are found", dead.get(), all.get());
}
