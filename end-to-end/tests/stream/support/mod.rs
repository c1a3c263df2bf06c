//! A cluster's parts in one process, each on ports of its own.

mod controller;
mod http;
mod manifests;
mod mean;
mod proxy;
mod service;

pub(crate) use controller::{Authority, Controller, Tokens};
pub(crate) use http::{certificate_of, get};
pub(crate) use manifests::{
    CLASS, certificate, free_port, gateway, https_gateway, redirect, secret,
};
pub(crate) use mean::MeanProxy;
pub(crate) use proxy::Home;
pub(crate) use service::Service;

use std::time::Duration;

/// Longer than anything takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
