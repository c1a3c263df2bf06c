//! What needs an API server, and nodes that run pods:
//!
//! ```sh
//! cargo xtask cluster up --crds v1.7.0
//! cargo xtask cluster exec -- cargo test -p gwapi-controller --test cluster
//! ```
//!
//! Each test has a namespace of its own. The pods run an image that every such cluster has, without
//! the proxy's probes: what is tested is what is made of a Gateway, not what a proxy does.

mod bench;
mod provision;
mod serve;
