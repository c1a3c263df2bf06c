//! haproxy: one thread, a map file from host or prefix to the backend.

mod stream;

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use super::{Edit, write};
use crate::bench::site::{Backend, Protocol, Route, Routes, Site};

/// The file of the map, which is also its name when it is edited.
const MAP: &str = "routes.map";

/// Writes the configuration and returns the command.
pub(super) fn configure(site: &Site, folder: &Path, program: &Path) -> anyhow::Result<Command> {
    let file = folder.join("haproxy.cfg");
    let text = if site.protocol.is_stream() {
        stream::configuration(site)
    } else {
        configuration(site, folder)
    };
    write(&file, text)?;
    write(&folder.join(MAP), map(site))?;
    let mut command = Command::new(program);
    // In the foreground, one process.
    command.arg("-db").arg("-f").arg(file);
    Ok(command)
}

/// The map is changed in memory: haproxy loses it when it starts anew.
pub(super) fn prepare_edit(site: &Site, folder: &Path) -> Edit {
    let key = key(site.routes, site.last());
    let map = folder.join(MAP);
    let line = format!("set map {} {key} {}\n", map.display(), site.backend().name);
    Edit::Tell { socket: folder.join("control"), line }
}

fn configuration(site: &Site, folder: &Path) -> String {
    let Site { port, backends, certificate, .. } = site;
    let name = site.backend().name;
    let spoken = if site.protocol == Protocol::Grpc { " proto h2" } else { "" };
    let servers: String = backends.iter().map(|backend| servers(backend, spoken)).collect();
    let folder = folder.display();
    let tls = format!("ssl crt {} alpn ", certificate.both.display());
    let bind = match site.protocol {
        Protocol::Http1 | Protocol::Passthrough | Protocol::Tcp => String::new(),
        Protocol::Http1Tls => tls + "http/1.1",
        Protocol::Http2 | Protocol::Grpc => "proto h2".to_owned(),
        Protocol::Http2Tls => tls + "h2,http/1.1",
    };
    let choice = match site.routes {
        Routes::One => format!(
            "acl host req.hdr(host),host_only -i {}\n  \
             use_backend {name} if host {{ path_beg {}/ }}",
            site.host(),
            site.last().prefix
        ),
        Routes::Hosts(_) => format!(
            "use_backend %[req.hdr(host),host_only,lower,map_str({folder}/routes.map)] \
             if {{ path_beg /api/ }}"
        ),
        Routes::Prefixes(_) => format!(
            "acl host req.hdr(host),host_only -i {}\n  \
             use_backend %[path,map_beg({folder}/routes.map)] if host",
            site.host()
        ),
    };
    format!(
        "global
  nbthread 1
  maxconn 4000
  stats socket {folder}/control level admin
defaults
  mode http
  option http-keep-alive
  http-reuse always
  option forwardfor
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend bench
  bind 127.0.0.1:{port} {bind}
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  http-request set-header X-Forwarded-Proto %[ssl_fc,iif(https,http)]
  http-request set-header X-Real-IP %[src]
  {choice}
{servers}"
    )
}

/// A backend of one server, with what is said of that.
fn servers(backend: &Backend, options: &str) -> String {
    format!("backend {}\n  server one {}{options}\n", backend.name, backend.address)
}

fn map(site: &Site) -> String {
    let mut text = String::new();
    for (route, backend) in site.routes() {
        writeln!(text, "{} {backend}", key(site.routes, route))
            .expect("a string takes every write");
    }
    text
}

/// What a route has in the map: its host where they differ, else its prefix, which ends with a
/// slash so that it ends where an element does.
fn key(routes: Routes, route: Route) -> String {
    match routes {
        Routes::Hosts(_) => route.host,
        Routes::One | Routes::Prefixes(_) => route.prefix + "/",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::site::tests::site;

    #[test]
    fn a_map_names_the_backend_of_each_host_or_path() {
        let hosts = site(Protocol::Http1, Routes::Hosts(2));
        assert_eq!(map(&hosts), "h0.bench.example alpha\nh1.bench.example alpha\n");
        assert_eq!(map(&site(Protocol::Http1, Routes::Prefixes(1))), "/p0/ alpha\n");
    }

    #[test]
    fn an_edit_sets_the_last_route_in_the_map() {
        let mut site = site(Protocol::Http1, Routes::Prefixes(2));
        site.edited = true;
        let Edit::Tell { line, .. } = prepare_edit(&site, Path::new("/folder")) else {
            panic!("an edit is told");
        };
        assert_eq!(line, "set map /folder/routes.map /p1/ beta\n");
    }

    #[test]
    fn the_protocol_is_said_where_it_listens() {
        let bind = |protocol| {
            let text = configuration(&site(protocol, Routes::One), Path::new("/folder"));
            text.lines().find(|line| line.contains("bind ")).unwrap().trim().to_owned()
        };
        assert_eq!(bind(Protocol::Http2), "bind 127.0.0.1:8080 proto h2");
        assert_eq!(
            bind(Protocol::Http2Tls),
            "bind 127.0.0.1:8080 ssl crt /folder/both.pem alpn h2,http/1.1"
        );
    }

    #[test]
    fn calls_of_a_service_are_passed_on_over_http_2() {
        let text = configuration(&site(Protocol::Grpc, Routes::One), Path::new("/folder"));
        assert!(text.contains("use_backend alpha if host { path_beg /bench.Bench/ }"), "{text}");
        assert!(text.contains("backend alpha\n  server one 127.0.0.1:9001 proto h2\n"), "{text}");
    }
}
