//! How proxies find the controller: by the address of its Service.

use std::net::IpAddr;

use futures_util::{StreamExt, pin_mut};
use k8s_openapi::api::core::v1::Service;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use tokio::sync::watch;
use tracing::{info, warn};

use super::settings::Bootstrap;
use crate::trouble::Trouble;

/// Where the controller's Service is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigService {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Port of the config server.
    pub port: u16,
}

/// Keeps `bootstrap` as the Service and the CA certificates are, until nobody looks at it.
///
/// It is `None` until both are known. A Service without an address of its own, and one that did not exist
/// so far, are reached by name, if at all. One that is deleted changes nothing until it is made again:
/// whoever uninstalls the controller deletes its Service before the rest of it, and no pod shall be
/// replaced for that by one that finds nobody to ask.
pub async fn keep_bootstrap(
    client: Client,
    service: ConfigService,
    mut ca_bundle: watch::Receiver<String>,
    bootstrap: watch::Sender<Option<Bootstrap>>,
) {
    let api: Api<Service> = Api::namespaced(client, &service.namespace);
    let events = watcher::watch_object(api, &service.name).default_backoff();
    pin_mut!(events);
    let mut host: Option<String> = None;
    let mut trouble = Trouble::default();
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(Ok(found)) => {
                    trouble.is_over();
                    if found.is_some() || host.is_none() {
                        host = Some(host_of(&service, found.as_ref()));
                    }
                }
                Some(Err(error)) => {
                    // Once is enough for the log, however often it is tried.
                    if trouble.is_news(&error) {
                        warn!(%error, "cannot watch Service {}/{}", service.namespace, service.name);
                    }
                }
                None => return,
            },
            changed = ca_bundle.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            () = bootstrap.closed() => return,
        }
        let bundle = ca_bundle.borrow_and_update().clone();
        let next = host.as_ref().filter(|_| !bundle.is_empty()).map(|host| Bootstrap {
            url: format!("https://{host}:{}", service.port),
            server_name: server_name(&service),
            ca_bundle: bundle,
        });
        bootstrap.send_if_modified(|current| {
            let is_new = *current != next;
            if let Some(next) = next.as_ref().filter(|_| is_new) {
                info!(url = next.url, "proxies find the controller there");
            }
            *current = next;
            is_new
        });
    }
}

/// The name that the config server's certificate bears.
fn server_name(service: &ConfigService) -> String {
    format!("{}.{}.svc", service.name, service.namespace)
}

fn host_of(service: &ConfigService, found: Option<&Service>) -> String {
    let spec = found.and_then(|service| service.spec.as_ref());
    let address = spec.and_then(|spec| spec.cluster_ip.as_ref()).and_then(|it| it.parse().ok());
    match address {
        Some(IpAddr::V4(ip)) => ip.to_string(),
        Some(IpAddr::V6(ip)) => format!("[{ip}]"),
        None => server_name(service),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_controller_is_reached_by_address_where_it_has_one() {
        let service = ConfigService {
            namespace: "gwapi-system".to_owned(),
            name: "gwapi-controller".to_owned(),
            port: 18000,
        };
        let host = |cluster_ip: &str| {
            let found = json!({"spec": {"clusterIP": cluster_ip}});
            host_of(&service, Some(&serde_json::from_value(found).expect("a Service")))
        };
        assert_eq!(host("10.96.0.7"), "10.96.0.7");
        assert_eq!(host("fd00::7"), "[fd00::7]");
        assert_eq!(host("None"), "gwapi-controller.gwapi-system.svc");
        assert_eq!(host_of(&service, None), "gwapi-controller.gwapi-system.svc");
    }
}
