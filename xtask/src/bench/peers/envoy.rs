//! Envoy: concurrency 1, routes by file (RDS), so that an edit is a renamed file here as well.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::write;
use crate::bench::site::{Protocol, Route, Routes, Site};

/// Writes the configuration and returns the command.
pub(super) fn configure(site: &Site, folder: &Path, program: &Path) -> anyhow::Result<Command> {
    let file = folder.join("envoy.json");
    write(&folder.join("routes.json"), route_configuration(site, 1).to_string())?;
    write(&file, format!("{:#}", bootstrap(site, folder)))?;
    let mut command = Command::new(program);
    command.args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"]);
    command.arg("-c").arg(file);
    Ok(command)
}

fn bootstrap(site: &Site, folder: &Path) -> Value {
    let mut chain = json!({ "filters": [{
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": connection_manager(folder),
    }]});
    if site.protocol.is_tls() {
        chain["transport_socket"] = transport_socket(site);
    }
    json!({
        "node": { "id": "bench", "cluster": "bench" },
        "static_resources": {
            "listeners": [{
                "name": "bench",
                "address": socket_address("127.0.0.1", site.port),
                "filter_chains": [chain],
            }],
            "clusters": [cluster(site)],
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
                "path_config_source": { "path": folder.join("routes.json") },
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
    let alpn = match site.protocol {
        Protocol::Http1 | Protocol::Http1Tls => json!(["http/1.1"]),
        Protocol::Http2 | Protocol::Http2Tls => json!(["h2", "http/1.1"]),
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

fn cluster(site: &Site) -> Value {
    let address = site.backend.address;
    json!({
        "name": site.backend.name,
        "type": "STATIC",
        // The defaults are lower than what the load generators have in flight.
        "circuit_breakers": { "thresholds": [{
            "max_connections": 8192,
            "max_pending_requests": 65536,
            "max_requests": 65536,
        }]},
        "load_assignment": {
            "cluster_name": site.backend.name,
            "endpoints": [{ "lb_endpoints": [{ "endpoint": {
                "address": socket_address(&address.ip().to_string(), address.port()),
            }}]}],
        },
    })
}

fn socket_address(address: &str, port: u16) -> Value {
    json!({ "socket_address": { "address": address, "port_value": port } })
}

/// The discovery response that the file of routes holds.
fn route_configuration(site: &Site, version: u64) -> Value {
    let name = site.backend.name;
    let virtual_hosts: Vec<Value> = match site.routes {
        Routes::Hosts(_) => {
            let host = |(index, route): (usize, Route)| {
                virtual_host(&format!("h{index}"), &route.host, vec![leads_to(&route, name)])
            };
            site.routes.all().enumerate().map(host).collect()
        }
        Routes::One | Routes::Prefixes(_) => {
            let routes = site.routes.all().map(|route| leads_to(&route, name)).collect();
            vec![virtual_host("bench", &site.host(), routes)]
        }
    };
    json!({
        "version_info": version.to_string(),
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

fn virtual_host(name: &str, host: &str, routes: Vec<Value>) -> Value {
    json!({ "name": name, "domains": [host], "routes": routes })
}

fn leads_to(route: &Route, backend: &str) -> Value {
    json!({
        "match": { "path_separated_prefix": route.prefix },
        "route": { "cluster": backend },
    })
}
