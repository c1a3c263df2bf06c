//! Envoy: concurrency 1, routes by file (RDS), so that an edit is a renamed file here as well.

mod stream;

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::{Edit, write};
use crate::bench::site::{Backend, Protocol, Route, Routes, Site};

/// The file of the routes.
const ROUTES: &str = "routes.json";

/// Writes the configuration and returns the command.
pub(super) fn configure(site: &Site, folder: &Path, program: &Path) -> anyhow::Result<Command> {
    let file = folder.join("envoy.json");
    write(&folder.join(ROUTES), route_configuration(site).to_string())?;
    write(&file, format!("{:#}", bootstrap(site, folder)))?;
    let mut command = Command::new(program);
    command.args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"]);
    command.arg("-c").arg(file);
    Ok(command)
}

/// All routes are written anew and the file renamed into place, as Envoy asks for it.
pub(super) fn prepare_edit(site: &Site, folder: &Path) -> anyhow::Result<Edit> {
    let from = folder.join("routes.new");
    write(&from, route_configuration(site).to_string())?;
    Ok(Edit::Rename { from, to: folder.join(ROUTES) })
}

fn bootstrap(site: &Site, folder: &Path) -> Value {
    let mut listener =
        if site.protocol.is_stream() { stream::listener(site) } else { listener(site, folder) };
    listener["name"] = json!("bench");
    listener["address"] = socket_address("127.0.0.1", site.port);
    json!({
        "node": { "id": "bench", "cluster": "bench" },
        "static_resources": {
            "listeners": [listener],
            "clusters": site.backends.each_ref().map(|backend| cluster(backend, site.protocol)),
        },
        // Without it Envoy warns of a missing limit on downstream connections.
        "overload_manager": { "resource_monitors": [{
            "name": "envoy.resource_monitors.global_downstream_max_connections",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.resource_monitors.\
                          downstream_connections.v3.DownstreamConnectionsConfig",
                "max_active_downstream_connections": 8192,
            },
        }]},
    })
}

/// What a listener does with requests.
fn listener(site: &Site, folder: &Path) -> Value {
    let mut chain = json!({ "filters": [{
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": connection_manager(folder),
    }]});
    if site.protocol.ends_tls() {
        chain["transport_socket"] = transport_socket(site);
    }
    json!({ "filter_chains": [chain] })
}

fn connection_manager(folder: &Path) -> Value {
    json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.\
                  http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "codec_type": "AUTO",
        "use_remote_address": true,
        "generate_request_id": false,
        "rds": {
            "route_config_name": "bench",
            "config_source": {
                "resource_api_version": "V3",
                "path_config_source": { "path": folder.join(ROUTES) },
            },
        },
        "http_filters": [{
            "name": "envoy.filters.http.router",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
            },
        }],
    })
}

fn transport_socket(site: &Site) -> Value {
    let alpn = if site.protocol == Protocol::Http2Tls {
        json!(["h2", "http/1.1"])
    } else {
        json!(["http/1.1"])
    };
    json!({
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.\
                      DownstreamTlsContext",
            "common_tls_context": {
                "alpn_protocols": alpn,
                "tls_params": { "tls_maximum_protocol_version": "TLSv1_3" },
                "tls_certificates": [{
                    "certificate_chain": { "filename": site.certificate.chain },
                    "private_key": { "filename": site.certificate.key },
                }],
            },
        },
    })
}

fn cluster(backend: &Backend, protocol: Protocol) -> Value {
    let Backend { name, address } = backend;
    let mut cluster = json!({
        "name": name,
        "type": "STATIC",
        // The defaults are lower than what the load generators have in flight.
        "circuit_breakers": { "thresholds": [{
            "max_connections": 8192,
            "max_pending_requests": 65536,
            "max_requests": 65536,
        }]},
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{ "lb_endpoints": [{ "endpoint": {
                "address": socket_address(&address.ip().to_string(), address.port()),
            }}]}],
        },
    });
    if protocol == Protocol::Grpc {
        const HTTP: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
        cluster["typed_extension_protocol_options"] = json!({ HTTP: {
            "@type": format!("type.googleapis.com/{HTTP}"),
            "explicit_http_config": { "http2_protocol_options": {} },
        }});
    }
    cluster
}

fn socket_address(address: &str, port: u16) -> Value {
    json!({ "socket_address": { "address": address, "port_value": port } })
}

/// The discovery response that the file of routes holds.
fn route_configuration(site: &Site) -> Value {
    let virtual_hosts: Vec<Value> = match site.routes {
        Routes::Hosts(_) => {
            let host = |(route, backend): (Route, &str)| {
                virtual_host(&route.host, vec![leads_to(&route, backend)])
            };
            site.routes().map(host).collect()
        }
        Routes::One | Routes::Prefixes(_) => {
            let routes = site.routes().map(|(route, backend)| leads_to(&route, backend)).collect();
            vec![virtual_host(&site.host(), routes)]
        }
    };
    json!({
        "version_info": site.backend().name,
        "resources": [{
            "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
            "name": "bench",
            // As the others tell the backend of the client.
            "request_headers_to_add": [
                added("x-forwarded-host", "%REQ(:AUTHORITY)%"),
                added("x-real-ip", "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"),
            ],
            "virtual_hosts": virtual_hosts,
        }],
    })
}

fn added(name: &str, value: &str) -> Value {
    json!({
        "header": { "key": name, "value": value },
        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
    })
}

fn virtual_host(host: &str, routes: Vec<Value>) -> Value {
    json!({ "name": host, "domains": [host], "routes": routes })
}

fn leads_to(route: &Route, backend: &str) -> Value {
    json!({
        "match": { "path_separated_prefix": route.prefix },
        "route": { "cluster": backend },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::site::tests::site;

    #[test]
    fn prefixes_of_one_host_are_routes_of_one_virtual_host() {
        let mut site = site(Protocol::Http1, Routes::Prefixes(2));
        site.edited = true;
        let response = route_configuration(&site);
        let expected = json!([{
            "name": "bench.example",
            "domains": ["bench.example"],
            "routes": [
                { "match": { "path_separated_prefix": "/p0" }, "route": { "cluster": "alpha" } },
                { "match": { "path_separated_prefix": "/p1" }, "route": { "cluster": "beta" } },
            ],
        }]);
        assert_eq!(response["resources"][0]["virtual_hosts"], expected);
        assert_eq!(response["version_info"], "beta");
    }

    #[test]
    fn only_tls_has_a_transport_socket() {
        let chain = |protocol| {
            let bootstrap = bootstrap(&site(protocol, Routes::One), Path::new("/folder"));
            bootstrap["static_resources"]["listeners"][0]["filter_chains"][0].clone()
        };
        assert!(chain(Protocol::Http2)["transport_socket"].is_null());
        let context = &chain(Protocol::Http2Tls)["transport_socket"]["typed_config"];
        let alpn = &context["common_tls_context"]["alpn_protocols"];
        assert_eq!(*alpn, json!(["h2", "http/1.1"]));
    }

    #[test]
    fn only_calls_of_a_service_go_to_backends_over_http_2() {
        let options = |protocol| {
            let bootstrap = bootstrap(&site(protocol, Routes::One), Path::new("/folder"));
            let cluster = &bootstrap["static_resources"]["clusters"][0];
            cluster["typed_extension_protocol_options"].clone()
        };
        assert!(options(Protocol::Http2).is_null());
        assert!(options(Protocol::Grpc).is_object());
    }
}
