//! What can be measured, by name.

use super::load::Load;
use super::site::{Protocol, Routes};

/// A measurement with a name of its own on the command line.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// What is measured, in a sentence without a full stop.
    pub(crate) about: &'static str,
    pub(crate) kind: Kind,
}

/// How it is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// CPU time a request.
    Cpu { protocol: Protocol, routes: Routes, load: Load, length: usize },
}

const KB: usize = 1024;

/// All of them, in the order in which they run.
pub(crate) const SCENARIOS: &[Scenario] = &[
    cpu("h1", "HTTP/1.1, 1 KB", Protocol::Http1, Load::KeepAlive, KB),
    cpu("h1-64k", "HTTP/1.1, 64 KB", Protocol::Http1, Load::KeepAlive, 64 * KB),
    cpu("h1-tls", "HTTP/1.1 over TLS, 1 KB", Protocol::Http1Tls, Load::KeepAlive, KB),
    cpu(
        "h2-tls",
        "HTTP/2 over TLS, 8 connections with 100 streams, 1 KB",
        Protocol::Http2Tls,
        Load::Streams,
        KB,
    ),
    cpu(
        "h2c",
        "HTTP/2 without TLS, 8 connections with 100 streams, 1 KB",
        Protocol::Http2,
        Load::Streams,
        KB,
    ),
    cpu(
        "connections",
        "HTTP/1.1, a connection for each request, 1 KB",
        Protocol::Http1,
        Load::Connections,
        KB,
    ),
    cpu(
        "handshakes",
        "HTTP/1.1 over TLS 1.3, a full handshake for each request, 1 KB",
        Protocol::Http1Tls,
        Load::Handshakes,
        KB,
    ),
    routes("hosts-10", "the last of 10 hosts", Routes::Hosts(10)),
    routes("hosts-1000", "the last of 1,000 hosts", Routes::Hosts(1_000)),
    routes("hosts-40000", "the last of 40,000 hosts", Routes::Hosts(40_000)),
    routes("prefixes-10", "the last of 10 prefixes of one host", Routes::Prefixes(10)),
    routes("prefixes-1000", "the last of 1,000 prefixes of one host", Routes::Prefixes(1_000)),
    routes("prefixes-40000", "the last of 40,000 prefixes of one host", Routes::Prefixes(40_000)),
];

const fn cpu(
    name: &'static str,
    about: &'static str,
    protocol: Protocol,
    load: Load,
    length: usize,
) -> Scenario {
    Scenario { name, about, kind: Kind::Cpu { protocol, routes: Routes::One, load, length } }
}

const fn routes(name: &'static str, about: &'static str, routes: Routes) -> Scenario {
    let (protocol, load) = (Protocol::Http1, Load::KeepAlive);
    Scenario { name, about, kind: Kind::Cpu { protocol, routes, load, length: KB } }
}

/// The scenario of a name.
pub(crate) fn find(name: &str) -> Result<&'static Scenario, String> {
    SCENARIOS.iter().find(|scenario| scenario.name == name).ok_or_else(|| {
        let names: Vec<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        format!("no scenario has this name: there are {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_is_found_by_its_name() {
        for scenario in SCENARIOS {
            assert_eq!(find(scenario.name).unwrap().about, scenario.about);
        }
    }

    #[test]
    fn a_name_that_is_none_is_answered_with_all_names() {
        let error = find("h9").unwrap_err();
        assert!(error.starts_with("no scenario has this name: there are h1, h1-64k,"), "{error}");
    }
}
