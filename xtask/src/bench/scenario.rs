//! What can be measured, by name, and what is to be reached.

use super::load::Load;
use super::peers::Peer;
use super::site::{Protocol, Routes};

/// A measurement with a name of its own on the command line.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// What is measured, in words without a full stop.
    pub(crate) about: &'static str,
    pub(crate) kind: Kind,
    /// At most so much of a peer's CPU time, beside [`ENVOY_AT_MOST`].
    at_most: &'static [(Peer, f64)],
}

/// How it is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// CPU time a request, with one route.
    Cpu { protocol: Protocol, load: Load, length: usize },
    /// CPU time a request on the last route, memory and time to load, as routes become more.
    Routes(Shape),
    /// The time from an edit to the first answer by it, as prefixes become more.
    Edits,
    /// Memory of connections on which nothing happens.
    Idle(Protocol),
    /// The time to translate an event, as routes become more; gwapi alone.
    Translation,
}

/// What many routes differ in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Hosts,
    Prefixes,
}

impl Shape {
    pub(crate) fn routes(self, count: usize) -> Routes {
        match self {
            Self::Hosts => Routes::Hosts(count),
            Self::Prefixes => Routes::Prefixes(count),
        }
    }
}

/// What is to be reached against Envoy, whatever is measured.
const ENVOY_AT_MOST: f64 = 0.40;

pub(crate) const KB: usize = 1024;

/// Numbers of routes that are compared.
pub(crate) const ROUTE_COUNTS: [usize; 3] = [10, 1_000, 40_000];

/// Numbers of routes among which one is edited.
pub(crate) const EDIT_COUNTS: [usize; 2] = [10, 40_000];

/// All of them, in the order in which they run.
pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "h1",
        about: "HTTP/1.1, 1 KB",
        kind: cpu(Protocol::Http1, Load::KeepAlive, KB),
        at_most: &[(Peer::Nginx, 1.0), (Peer::Haproxy, 1.0)],
    },
    Scenario {
        name: "h1-64k",
        about: "HTTP/1.1, 64 KB",
        kind: cpu(Protocol::Http1, Load::KeepAlive, 64 * KB),
        at_most: &[],
    },
    Scenario {
        name: "h1-tls",
        about: "HTTP/1.1 over TLS, 1 KB",
        kind: cpu(Protocol::Http1Tls, Load::KeepAlive, KB),
        at_most: &[(Peer::Nginx, 1.0), (Peer::Haproxy, 1.0)],
    },
    Scenario {
        name: "h2-tls",
        about: "HTTP/2 over TLS, 8 connections with 100 streams, 1 KB",
        kind: cpu(Protocol::Http2Tls, Load::Streams, KB),
        at_most: &[(Peer::Nginx, 0.9)],
    },
    Scenario {
        name: "h2c",
        about: "HTTP/2 without TLS, 8 connections with 100 streams, 1 KB",
        kind: cpu(Protocol::Http2, Load::Streams, KB),
        at_most: &[],
    },
    Scenario {
        name: "connections",
        about: "HTTP/1.1, a connection for each request, 1 KB",
        kind: cpu(Protocol::Http1, Load::Connections, KB),
        at_most: &[],
    },
    Scenario {
        name: "handshakes",
        about: "HTTP/1.1 over TLS 1.3, a full handshake for each request, 1 KB",
        kind: cpu(Protocol::Http1Tls, Load::Handshakes, KB),
        at_most: &[(Peer::Nginx, 0.65)],
    },
    Scenario {
        name: "grpc",
        about: "unary calls of gRPC, 8 connections with 100 streams, 1 KB",
        kind: cpu(Protocol::Grpc, Load::Streams, KB),
        at_most: &[],
    },
    Scenario {
        name: "passthrough",
        about: "TLS that is not decrypted, by server name, HTTP/1.1 in it, 1 KB",
        kind: cpu(Protocol::Passthrough, Load::KeepAlive, KB),
        at_most: &[(Peer::Haproxy, 1.0)],
    },
    Scenario {
        name: "passthrough-connections",
        about: "TLS that is not decrypted, by server name, a connection for each request, 1 KB",
        kind: cpu(Protocol::Passthrough, Load::Handshakes, KB),
        at_most: &[],
    },
    Scenario {
        name: "tcp",
        about: "connections of a port, HTTP/1.1 in them, 1 KB",
        kind: cpu(Protocol::Tcp, Load::KeepAlive, KB),
        at_most: &[(Peer::Haproxy, 1.0)],
    },
    Scenario {
        name: "hosts",
        about: "the last of many hosts, HTTP/1.1, 1 KB",
        kind: Kind::Routes(Shape::Hosts),
        at_most: &[],
    },
    Scenario {
        name: "prefixes",
        about: "the last of many prefixes of one host, HTTP/1.1, 1 KB",
        kind: Kind::Routes(Shape::Prefixes),
        at_most: &[],
    },
    Scenario {
        name: "edits",
        about: "an edit of one of many prefixes, until the first answer by it",
        kind: Kind::Edits,
        at_most: &[],
    },
    Scenario {
        name: "translation",
        about: "translation of one event among many prefixes, gwapi alone",
        kind: Kind::Translation,
        at_most: &[],
    },
    Scenario {
        name: "idle",
        about: "memory of idle connections, HTTP/1.1",
        kind: Kind::Idle(Protocol::Http1),
        at_most: &[],
    },
    Scenario {
        name: "idle-tls",
        about: "memory of idle connections, HTTP/1.1 over TLS",
        kind: Kind::Idle(Protocol::Http1Tls),
        at_most: &[],
    },
];

const fn cpu(protocol: Protocol, load: Load, length: usize) -> Kind {
    Kind::Cpu { protocol, load, length }
}

impl Scenario {
    /// The peers that take no part, and why.
    pub(crate) fn left_out(&self, peers: &[Peer]) -> Vec<(Peer, &'static str)> {
        let obstacle = |peer: Peer| match self.kind {
            Kind::Cpu { protocol, .. } | Kind::Idle(protocol) => peer.obstacle(protocol),
            Kind::Routes(_) | Kind::Edits | Kind::Translation => None,
        };
        peers.iter().filter_map(|&peer| Some((peer, obstacle(peer)?))).collect()
    }

    /// At most so much of the CPU time of a peer is to be spent; `None` where nothing was set.
    pub(crate) fn at_most(&self, peer: Peer) -> Option<f64> {
        let set = self.at_most.iter().find(|(against, _)| *against == peer);
        set.map(|&(_, limit)| limit).or((peer == Peer::Envoy).then_some(ENVOY_AT_MOST))
    }
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

    #[test]
    fn who_cannot_lead_connections_is_left_out_with_the_reason() {
        let peers = [Peer::Gwapi, Peer::Nginx, Peer::Haproxy];
        let left_out = find("tcp").unwrap().left_out(&peers);
        assert!(matches!(left_out[..], [(Peer::Nginx, why)] if why.contains("no stream module")));
        assert_eq!(find("grpc").unwrap().left_out(&peers), []);
    }

    #[test]
    fn envoy_has_one_limit_everywhere() {
        assert_eq!(find("h1").unwrap().at_most(Peer::Nginx), Some(1.0));
        assert_eq!(find("h2c").unwrap().at_most(Peer::Nginx), None);
        assert_eq!(find("h2c").unwrap().at_most(Peer::Envoy), Some(0.4));
    }
}
