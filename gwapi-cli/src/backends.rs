//! `--backend NS/SERVICE[:PORT]=HOST:PORT[,HOST:PORT]`: the addresses of a Service, by hand.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::str::FromStr;

use gwapi_model::{
    AddressFamily, Endpoint, EndpointPort, EndpointSlice, NamespacedName, ObjectMeta, Port,
    Resource, SERVICE_NAME_LABEL, Service, ServicePort,
};

const EXAMPLE: &str = "write it as NAMESPACE/SERVICE[:PORT]=HOST:PORT[,HOST:PORT], such as \
                       default/web:80=127.0.0.1:3000";

/// One `--backend`, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BackendArg {
    pub(crate) service: NamespacedName,
    /// The Service's port; none means all of them.
    pub(crate) port: Option<u16>,
    hosts: Vec<(String, u16)>,
}

impl FromStr for BackendArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (service, hosts) =
            text.split_once('=').ok_or_else(|| format!("there is no `=`: {EXAMPLE}"))?;
        let (namespace, rest) = service
            .split_once('/')
            .ok_or_else(|| format!("`{service}` names no namespace: {EXAMPLE}"))?;
        let (name, port) = match rest.split_once(':') {
            Some((name, port)) => (name, Some(parse_port(port)?)),
            None => (rest, None),
        };
        if namespace.is_empty() || name.is_empty() || name.contains('/') {
            return Err(format!("`{service}` names no Service: {EXAMPLE}"));
        }
        let hosts = hosts.split(',').map(parse_host).collect::<Result<_, _>>()?;
        Ok(Self { service: NamespacedName::new(namespace, name), port, hosts })
    }
}

fn parse_port(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(port @ 1..) => Ok(port),
        _ => Err(format!("`{text}` is no port from 1 to 65535: {EXAMPLE}")),
    }
}

fn parse_host(text: &str) -> Result<(String, u16), String> {
    let (host, port) =
        text.rsplit_once(':').ok_or_else(|| format!("`{text}` has no port: {EXAMPLE}"))?;
    let port = parse_port(port)?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if bare.is_none() && host.contains(':') {
        return Err(format!("`{text}`: an IPv6 address stands in brackets, such as [::1]:3000"));
    }
    let host = bare.unwrap_or(host);
    if host.is_empty() {
        return Err(format!("`{text}` has no host: {EXAMPLE}"));
    }
    if let Ok(ip) = host.parse::<IpAddr>()
        && let Some(why) = refusal(SocketAddr::new(ip, port), None)
    {
        return Err(format!("{text} is refused as an endpoint: {why}"));
    }
    Ok((host.to_owned(), port))
}

/// Why requests must not be sent to an address, whoever asks for it: through such an endpoint a
/// client would reach what is meant for this machine alone.
pub(crate) fn refusal(endpoint: SocketAddr, admin: Option<SocketAddr>) -> Option<&'static str> {
    let ip = endpoint.ip().to_canonical();
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    if link_local {
        return Some("link-local addresses lead to the machine's own metadata and neighbours");
    }
    if ip.is_multicast() || ip == IpAddr::from([255, 255, 255, 255]) {
        return Some("it is no address of one machine");
    }
    let is_admin_port = admin.is_some_and(|admin| admin.port() == endpoint.port());
    (is_admin_port && is_of_this_machine(ip))
        .then_some("on this machine, that port is the admin port of this gateway")
}

/// Whether an address leads to this machine: a socket can be bound to these, and to no other.
fn is_of_this_machine(ip: IpAddr) -> bool {
    ip.is_loopback() || ip.is_unspecified() || UdpSocket::bind((ip, 0)).is_ok()
}

/// All `--backend` options, resolved.
#[derive(Debug, Default)]
pub(crate) struct Backends {
    targets: BTreeMap<NamespacedName, Vec<(Option<u16>, SocketAddr)>>,
}

impl Backends {
    /// Resolves host names, and refuses what no request may be sent to.
    pub(crate) fn resolve(
        arguments: &[BackendArg],
        admin: Option<SocketAddr>,
    ) -> anyhow::Result<Self> {
        let mut targets: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for argument in arguments {
            let of_service = targets.entry(argument.service.clone()).or_default();
            for (host, port) in &argument.hosts {
                let addresses = (host.as_str(), *port).to_socket_addrs().map_err(|error| {
                    anyhow::anyhow!(
                        "--backend {}: cannot resolve `{host}`: {error}",
                        argument.service
                    )
                })?;
                for address in addresses {
                    if let Some(why) = refusal(address, admin) {
                        anyhow::bail!(
                            "--backend {}: {address} is refused as an endpoint: {why}",
                            argument.service
                        );
                    }
                    of_service.push((argument.port, address));
                }
            }
        }
        Ok(Self { targets })
    }

    /// Whether the Service has its addresses from the command line.
    pub(crate) fn names(&self, service: &NamespacedName) -> bool {
        self.targets.contains_key(service)
    }

    /// The Services, in order.
    pub(crate) fn services(&self) -> impl Iterator<Item = &NamespacedName> {
        self.targets.keys()
    }

    /// Ports that options name for a Service.
    pub(crate) fn ports(&self, service: &NamespacedName) -> impl Iterator<Item = u16> + '_ {
        self.targets.get(service).into_iter().flatten().filter_map(|(port, _)| *port)
    }

    /// The EndpointSlices of a Service; none where no option names it.
    pub(crate) fn slices(&self, service: &Service) -> Vec<Resource> {
        let name = NamespacedName::new(&*service.metadata.namespace, &*service.metadata.name);
        let Some(targets) = self.targets.get(&name) else { return Vec::new() };
        let mut slices = Vec::new();
        for port in &service.spec.ports {
            let meant = targets
                .iter()
                .filter(|(wanted, _)| wanted.is_none_or(|wanted| wanted == port.port.get()))
                .map(|(_, address)| *address);
            slices.extend(slices_of_port(service, port, "backend", meant, None));
        }
        slices
    }
}

/// EndpointSlices that lead a port of a Service to these addresses: one for each family and port,
/// because the endpoints of a slice share both. Their names hold an underscore, so that no
/// manifest can hold objects of the same name.
pub(crate) fn slices_of_port(
    service: &Service,
    port: &ServicePort,
    origin: &str,
    addresses: impl IntoIterator<Item = SocketAddr>,
    pod: Option<&str>,
) -> Vec<Resource> {
    let mut groups: BTreeMap<(bool, u16), Vec<IpAddr>> = BTreeMap::new();
    for address in addresses {
        groups.entry((address.is_ipv6(), address.port())).or_default().push(address.ip());
    }
    groups
        .into_iter()
        .filter_map(|((ipv6, target), ips)| {
            let family = if ipv6 { "v6" } else { "v4" };
            // A number may be that of a port of TCP and of one of UDP.
            let transport = port.protocol.as_deref().unwrap_or("TCP").to_ascii_lowercase();
            let service_name = &service.metadata.name;
            let mut metadata = ObjectMeta::namespaced(
                &service.metadata.namespace,
                &format!("{service_name}_{origin}_{transport}_{}_{family}_{target}", port.port),
            );
            metadata
                .labels
                .insert(SERVICE_NAME_LABEL.to_owned(), service.metadata.name.to_string());
            let endpoint = |ip: IpAddr| Endpoint {
                addresses: vec![ip.to_string()],
                conditions: None,
                target_ref: pod
                    .map(|pod| gwapi_model::EndpointTarget { name: Some(pod.to_owned()) }),
            };
            let slice = EndpointSlice {
                metadata,
                address_type: if ipv6 { AddressFamily::Ipv6 } else { AddressFamily::Ipv4 },
                endpoints: ips.into_iter().map(endpoint).collect(),
                ports: vec![EndpointPort {
                    name: port.name.clone(),
                    port: Some(Port::new(target)?),
                    protocol: port.protocol.clone(),
                }],
            };
            Some(Resource::from(slice))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<BackendArg, String> {
        text.parse()
    }

    #[test]
    fn a_backend_names_service_port_and_hosts() {
        let backend = parse("shop/web:80=127.0.0.1:3000,[::1]:3001,db.local:3002").expect("valid");
        assert_eq!(backend.service, NamespacedName::new("shop", "web"));
        assert_eq!(backend.port, Some(80));
        let hosts: Vec<_> = backend.hosts.iter().map(|(host, port)| (&**host, *port)).collect();
        assert_eq!(hosts, [("127.0.0.1", 3000), ("::1", 3001), ("db.local", 3002)]);
        assert_eq!(parse("shop/web=127.0.0.1:3000").map(|backend| backend.port), Ok(None));
    }

    #[test]
    fn wrong_syntax_is_answered_with_what_is_missing_and_an_example() {
        for (text, expected) in [
            ("shop/web", "there is no `=`"),
            ("web=127.0.0.1:3000", "names no namespace"),
            ("/web=127.0.0.1:3000", "names no Service"),
            ("shop/web:http=127.0.0.1:3000", "`http` is no port"),
            ("shop/web=127.0.0.1", "`127.0.0.1` has no port"),
            ("shop/web=127.0.0.1:0", "`0` is no port"),
            ("shop/web=:3000", "has no host"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
            assert!(error.contains("default/web:80=127.0.0.1:3000"), "{text}: {error}");
        }
        let error = parse("shop/web=::1:3000").expect_err("no brackets");
        assert!(error.contains("[::1]:3000"), "{error}");
    }

    #[test]
    fn what_only_this_machine_may_reach_is_refused() {
        let admin = "127.0.0.1:15000".parse().ok();
        for (endpoint, refused) in [
            ("169.254.169.254:80", true),
            ("[::ffff:169.254.169.254]:80", true),
            ("[fe80::1]:80", true),
            ("224.0.0.1:80", true),
            ("127.0.0.1:15000", true),
            ("[::ffff:127.0.0.1]:15000", true),
            ("0.0.0.0:15000", true),
            ("127.0.0.1:15001", false),
            ("[::1]:15000", true),
            ("127.9.9.9:15000", true),
            ("192.0.2.1:15000", false),
        ] {
            let endpoint: SocketAddr = endpoint.parse().expect("an address");
            assert_eq!(refusal(endpoint, admin).is_some(), refused, "{endpoint}");
        }
        assert!(parse("shop/web=169.254.169.254:80").is_err_and(|error| error.contains("refused")));
    }

    #[test]
    fn the_admin_port_is_refused_on_every_address_of_this_machine() {
        // Connecting a datagram socket sends nothing: it only chooses an address of this machine.
        let probe = UdpSocket::bind("0.0.0.0:0").expect("a port is free");
        if probe.connect("192.0.2.1:9").is_err() {
            eprintln!("this machine has no network");
            return;
        }
        let own = probe.local_addr().expect("bound").ip();
        let everywhere = "0.0.0.0:15000".parse().ok();
        assert!(refusal(SocketAddr::new(own, 15_000), everywhere).is_some(), "{own}");
        assert!(refusal(SocketAddr::new(own, 15_001), everywhere).is_none(), "{own}");
    }

    #[test]
    fn a_service_gets_a_slice_for_each_port_and_family() {
        let service: Service = serde_json::from_value(serde_json::json!({
            "metadata": {"namespace": "shop", "name": "web"},
            "spec": {"ports": [{"name": "http", "port": 80}, {"name": "admin", "port": 81}]},
        }))
        .expect("a Service");
        let arguments = [
            parse("shop/web:80=127.0.0.1:3000,127.0.0.2:3000,[::1]:3000").expect("valid"),
            parse("shop/web=127.0.0.1:4000").expect("valid"),
        ];
        let backends = Backends::resolve(&arguments, None).expect("addresses");
        let mut ports: Vec<_> = backends
            .slices(&service)
            .iter()
            .map(|resource| match resource {
                Resource::EndpointSlice(slice) => (
                    slice.ports[0].name.clone().unwrap_or_default(),
                    slice.ports[0].port.map(Port::get).unwrap_or_default(),
                    slice.endpoints.len(),
                ),
                other => panic!("an EndpointSlice, not {other:?}"),
            })
            .collect();
        ports.sort();
        let expected =
            [("admin", 4000, 1), ("http", 3000, 1), ("http", 3000, 2), ("http", 4000, 1)];
        assert_eq!(ports, expected.map(|(name, port, count)| (name.to_owned(), port, count)));
    }
}
