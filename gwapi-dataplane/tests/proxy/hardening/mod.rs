//! What must never reach an endpoint, and what must not harm anybody else: a file for each kind of
//! attack, a row for each attack.

mod cancellation;
mod connections;
mod http2_abuse;
mod http2_endpoints;
mod http2_translation;
mod pool;
mod requests;
mod responses;
mod slow_clients;
mod tls;
mod upgrades;
