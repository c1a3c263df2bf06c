//! What every proxy is told to serve, in no proxy's words.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;

use anyhow::Context;

use super::grpc;
use super::responder::{Speech, body};

/// The domain of all hosts.
pub(crate) const DOMAIN: &str = "bench.example";

/// The host of connections that are led by their server name: wrk has to find its address.
const SERVER_NAME: &str = "localhost";

/// What clients speak, and what of it the proxy reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http1Tls,
    /// HTTP/2 without TLS, by prior knowledge
    Http2,
    Http2Tls,
    /// gRPC over HTTP/2 without TLS, from clients and to backends
    Grpc,
    /// HTTP/1.1 over TLS, of which the proxy reads the server name and no more
    Passthrough,
    /// HTTP/1.1, of which the proxy reads nothing
    Tcp,
}

impl Protocol {
    /// Whether the proxy decrypts.
    pub(crate) fn ends_tls(self) -> bool {
        matches!(self, Self::Http1Tls | Self::Http2Tls)
    }

    /// Whether the proxy leads connections, and knows nothing of requests.
    pub(crate) fn is_stream(self) -> bool {
        matches!(self, Self::Passthrough | Self::Tcp)
    }

    pub(crate) fn scheme(self) -> &'static str {
        match self {
            Self::Http1Tls | Self::Http2Tls | Self::Passthrough => "https",
            Self::Http1 | Self::Http2 | Self::Grpc | Self::Tcp => "http",
        }
    }

    /// The version as curl writes it.
    pub(crate) fn version(self) -> &'static str {
        match self {
            Self::Http1 | Self::Http1Tls | Self::Passthrough | Self::Tcp => "1.1",
            Self::Http2 | Self::Http2Tls | Self::Grpc => "2",
        }
    }

    /// What backends speak.
    pub(crate) fn of_backends(self) -> Speech {
        match self {
            Self::Http1 | Self::Http1Tls | Self::Http2 | Self::Http2Tls | Self::Tcp => {
                Speech::Http1
            }
            Self::Grpc => Speech::Grpc,
            Self::Passthrough => Speech::Http1Tls,
        }
    }

    /// The body of an answer in which the backend says so many bytes.
    pub(crate) fn answer(self, length: usize) -> Vec<u8> {
        match self {
            Self::Grpc => grpc::framed(&body(length)),
            _ => body(length),
        }
    }
}

/// The routes of a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Routes {
    /// One host and one prefix
    One,
    /// So many hosts, with one prefix each
    Hosts(usize),
    /// So many prefixes of one host
    Prefixes(usize),
}

impl Routes {
    pub(crate) fn count(self) -> usize {
        match self {
            Self::One => 1,
            Self::Hosts(count) | Self::Prefixes(count) => count,
        }
    }

    fn route(self, index: usize) -> Route {
        match self {
            Self::One => Route { host: DOMAIN.to_owned(), prefix: "/api".to_owned() },
            Self::Hosts(_) => {
                Route { host: format!("h{index}.{DOMAIN}"), prefix: "/api".to_owned() }
            }
            Self::Prefixes(_) => Route { host: DOMAIN.to_owned(), prefix: format!("/p{index}") },
        }
    }
}

/// Requests for a host below a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) host: String,
    pub(crate) prefix: String,
}

/// A backend by the name that it gives itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Backend {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
}

/// A listener with routes that lead to a backend.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    pub(crate) protocol: Protocol,
    /// Where the proxy listens on 127.0.0.1.
    pub(crate) port: u16,
    pub(crate) routes: Routes,
    /// There are two, so that a route can be led from one to the other.
    pub(crate) backends: [Backend; 2],
    /// Whether the last route leads to the second backend; all others lead to the first.
    pub(crate) edited: bool,
    pub(crate) certificate: Certificate,
    /// The file of what each call of gRPC sends.
    pub(crate) message: PathBuf,
}

impl Site {
    /// The host of the last route, which is the one that is asked.
    pub(crate) fn host(&self) -> String {
        self.last().host
    }

    /// The last route.
    pub(crate) fn last(&self) -> Route {
        self.route(self.routes.count() - 1)
    }

    /// Where the last route leads to.
    pub(crate) fn backend(&self) -> &Backend {
        &self.backends[usize::from(self.edited)]
    }

    /// All routes, with the names of the backends that they lead to.
    pub(crate) fn routes(&self) -> impl Iterator<Item = (Route, &'static str)> {
        let count = self.routes.count();
        (0..count).map(move |index| {
            let backend = if index == count - 1 { self.backend() } else { &self.backends[0] };
            (self.route(index), backend.name)
        })
    }

    /// A path of the last route that is answered with so many bytes.
    pub(crate) fn path(&self, length: usize) -> String {
        let last = match self.protocol {
            Protocol::Grpc => grpc::method(length),
            _ => length.to_string(),
        };
        format!("{}/{last}", self.last().prefix)
    }

    fn route(&self, index: usize) -> Route {
        let route = self.routes.route(index);
        match self.protocol {
            // A service is what a prefix is for others: the first element of paths.
            Protocol::Grpc => Route { prefix: format!("/{}", grpc::SERVICE), ..route },
            Protocol::Passthrough => Route { host: SERVER_NAME.to_owned(), ..route },
            _ => route,
        }
    }
}

/// Files in PEM.
#[derive(Clone, Debug)]
pub(crate) struct Certificate {
    pub(crate) chain: PathBuf,
    pub(crate) key: PathBuf,
    /// Both in one file, as haproxy wants it.
    pub(crate) both: PathBuf,
}

/// A port that nobody uses now.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("there is no free port")?;
    Ok(listener.local_addr().context("cannot tell the port")?.port())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A site as the configurations of the peers are tested with.
    pub(crate) fn site(protocol: Protocol, routes: Routes) -> Site {
        let file = |name: &str| PathBuf::from("/folder").join(name);
        let backend = |name, port| Backend { name, address: (Ipv4Addr::LOCALHOST, port).into() };
        Site {
            protocol,
            port: 8080,
            routes,
            backends: [backend("alpha", 9001), backend("beta", 9002)],
            edited: false,
            certificate: Certificate {
                chain: file("cert.pem"),
                key: file("key.pem"),
                both: file("both.pem"),
            },
            message: file("message"),
        }
    }

    #[test]
    fn an_edit_leads_the_last_route_elsewhere_and_no_other() {
        let mut site = site(Protocol::Http1, Routes::Prefixes(3));
        site.edited = true;
        let routes: Vec<String> =
            site.routes().map(|(route, name)| format!("{} {name}", route.prefix)).collect();
        assert_eq!(routes, ["/p0 alpha", "/p1 alpha", "/p2 beta"]);
        assert_eq!(site.path(7), "/p2/7");
    }

    #[test]
    fn a_call_goes_to_a_service_and_a_server_name_is_one_that_has_an_address() {
        let calls = site(Protocol::Grpc, Routes::One);
        assert_eq!(
            (calls.host().as_str(), calls.path(7).as_str()),
            (DOMAIN, "/bench.Bench/Bytes7")
        );
        assert_eq!(site(Protocol::Passthrough, Routes::One).host(), "localhost");
    }
}
