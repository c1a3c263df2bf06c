//! A Gateway's infrastructure for tests.

use std::collections::BTreeMap;

use gwapi_model::GatewayParametersSpec;
use gwapi_translate::infrastructure::{
    GatewayInfrastructure, InfrastructurePort, TransportProtocol,
};
use gwapi_translate::ir::GatewayId;

use super::settings::Bootstrap;

/// A Gateway `shop/web` of class `gwapi` that serves TCP port 80.
pub(crate) fn wanted() -> GatewayInfrastructure {
    GatewayInfrastructure {
        gateway: GatewayId::new("shop", "web"),
        uid: "5f6f3f34-0000-4000-8000-000000000001".to_owned(),
        generation: 1,
        class: "gwapi".to_owned(),
        name: "web-gwapi".to_owned(),
        hold: false,
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        service_annotations: BTreeMap::new(),
        ports: vec![InfrastructurePort { port: 80, protocol: TransportProtocol::Tcp }],
        addresses: Vec::new(),
        parameters: GatewayParametersSpec::default(),
    }
}

/// How its proxies find the controller.
pub(super) fn bootstrap() -> Bootstrap {
    Bootstrap {
        url: "https://10.96.0.7:18000".to_owned(),
        server_name: "gwapi-controller.gwapi-system.svc".to_owned(),
        ca_bundle: "-----BEGIN CERTIFICATE-----\n".to_owned(),
    }
}
