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
mod timeouts;
mod tls;
mod upgrades;
