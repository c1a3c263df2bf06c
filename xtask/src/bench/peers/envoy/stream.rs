//! Envoy's listener for connections of which it reads no requests: `tcp_proxy`.

use serde_json::{Value, json};

use crate::bench::site::{Protocol, Site};

/// All connections, or those with a server name.
pub(super) fn listener(site: &Site) -> Value {
    let mut chain = json!({ "filters": [{
        "name": "envoy.filters.network.tcp_proxy",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
            "stat_prefix": "bench",
            "cluster": site.backend().name,
        },
    }]});
    if site.protocol != Protocol::Passthrough {
        return json!({ "filter_chains": [chain] });
    }
    chain["filter_chain_match"] = json!({ "server_names": [site.host()] });
    json!({
        "listener_filters": [{
            "name": "envoy.filters.listener.tls_inspector",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.\
                          TlsInspector",
            },
        }],
        "filter_chains": [chain],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::site::Routes;
    use crate::bench::site::tests::site;

    #[test]
    fn a_server_name_is_read_where_connections_differ_by_it() {
        let through = listener(&site(Protocol::Passthrough, Routes::One));
        let chain = &through["filter_chains"][0];
        assert_eq!(chain["filter_chain_match"], json!({ "server_names": ["localhost"] }));
        assert_eq!(chain["filters"][0]["typed_config"]["cluster"], "alpha");
        assert_eq!(through["listener_filters"].as_array().map(Vec::len), Some(1));
        let all = listener(&site(Protocol::Tcp, Routes::One));
        assert!(all["listener_filters"].is_null());
        assert!(all["filter_chains"][0]["filter_chain_match"].is_null());
    }
}
