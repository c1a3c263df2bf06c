//! Conversions from and to the `gateway-api` and `k8s-openapi` crates.
