//! haproxy: one thread, a map file from host or prefix to the backend.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use super::write;
use crate::bench::site::{Protocol, Routes, Site};

/// Writes the configuration and returns the command.
pub(super) fn configure(site: &Site, folder: &Path) -> anyhow::Result<Command> {
    let file = folder.join("haproxy.cfg");
    write(&file, configuration(site, folder))?;
    write(&folder.join("routes.map"), map(site))?;
    let mut command = Command::new("haproxy");
    // In the foreground, one process.
    command.arg("-db").arg("-f").arg(file);
    Ok(command)
}

fn configuration(site: &Site, folder: &Path) -> String {
    let Site { port, backend, certificate, .. } = site;
    let (name, address) = (backend.name, backend.address);
    let folder = folder.display();
    let tls = format!("ssl crt {} alpn ", certificate.both.display());
    let bind = match site.protocol {
        Protocol::Http1 => String::new(),
        Protocol::Http1Tls => tls + "http/1.1",
        Protocol::Http2 => "proto h2".to_owned(),
        Protocol::Http2Tls => tls + "h2,http/1.1",
    };
    let choice = match site.routes {
        Routes::One => format!(
            "acl host req.hdr(host),host_only -i {}\n  \
             use_backend {name} if host {{ path_beg /api/ }}",
            site.host()
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
backend {name}
  server one {address}
"
    )
}

fn map(site: &Site) -> String {
    let mut text = String::new();
    for route in site.routes.all() {
        let key = match site.routes {
            Routes::Hosts(_) => route.host,
            Routes::One | Routes::Prefixes(_) => route.prefix + "/",
        };
        writeln!(text, "{key} {}", site.backend.name).expect("a string takes every write");
    }
    text
}
