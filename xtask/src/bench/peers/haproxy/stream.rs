//! haproxy in mode tcp: all connections of a port, or those with a server name.

use super::servers;
use crate::bench::site::{Protocol, Site};

pub(super) fn configuration(site: &Site) -> String {
    let Site { port, backends, .. } = site;
    let name = site.backend().name;
    let servers: String = backends.iter().map(|backend| servers(backend, "")).collect();
    let choice = if site.protocol == Protocol::Passthrough {
        format!(
            "tcp-request inspect-delay 5s
  tcp-request content accept if {{ req.ssl_hello_type 1 }}
  use_backend {name} if {{ req.ssl_sni -i {} }}",
            site.host()
        )
    } else {
        format!("default_backend {name}")
    };
    format!(
        "global
  nbthread 1
  maxconn 4000
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend bench
  bind 127.0.0.1:{port}
  {choice}
{servers}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::site::Routes;
    use crate::bench::site::tests::site;

    #[test]
    fn a_server_name_is_read_where_connections_differ_by_it() {
        let text = configuration(&site(Protocol::Passthrough, Routes::One));
        assert!(text.contains("use_backend alpha if { req.ssl_sni -i localhost }"), "{text}");
        let text = configuration(&site(Protocol::Tcp, Routes::One));
        assert!(text.contains("bind 127.0.0.1:8080\n  default_backend alpha\n"), "{text}");
        assert!(!text.contains("inspect-delay"), "{text}");
    }
}
