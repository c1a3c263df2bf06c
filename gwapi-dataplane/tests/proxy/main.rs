//! The proxy as a whole, through real sockets: what clients send, what endpoints see, what clients
//! get.

mod backend_tls;
mod backend_tls_client;
mod client_certificates;
mod clients;
mod connections;
mod cors;
mod drain;
mod edits;
mod failures;
mod filters;
mod grpc;
mod hardening;
mod http2;
mod limits;
mod mirrors;
mod retries;
mod routing;
mod sockets;
mod support;
mod tcp_routes;
mod timeouts;
mod tls;
mod tls_routes;
mod udp_routes;
mod upgrades;
