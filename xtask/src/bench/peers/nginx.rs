//! nginx: one worker, a `map` from host or first path element to the backend.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use super::write;
use crate::bench::site::{Protocol, Routes, Site};

/// What a route does that was found in the map.
const MAPPED: &str = "if ($route = \"\") { return 404; } proxy_pass http://$route;";

/// Writes the configuration and returns the command.
pub(super) fn configure(site: &Site, folder: &Path) -> anyhow::Result<Command> {
    write(&folder.join("nginx.conf"), configuration(site, folder))?;
    write(&folder.join("routes.map"), map(site))?;
    let mut command = Command::new("nginx");
    command.arg("-p").arg(folder).arg("-c").arg(folder.join("nginx.conf"));
    command.arg("-e").arg(folder.join("error.log"));
    Ok(command)
}

fn configuration(site: &Site, folder: &Path) -> String {
    let folder = folder.display();
    let Site { port, backend, certificate, .. } = site;
    let (name, address) = (backend.name, backend.address);
    let listen = match site.protocol {
        Protocol::Http1 => "",
        Protocol::Http1Tls => " ssl",
        Protocol::Http2 => " http2",
        Protocol::Http2Tls => " ssl http2",
    };
    let tls = if site.protocol.is_tls() {
        format!(
            "ssl_certificate {};\n    ssl_certificate_key {};\n    ssl_protocols TLSv1.2 TLSv1.3;",
            certificate.chain.display(),
            certificate.key.display()
        )
    } else {
        String::new()
    };
    let maps = match site.routes {
        Routes::One => String::new(),
        Routes::Hosts(_) => "map $host $route { include routes.map; }".to_owned(),
        Routes::Prefixes(_) => "map $uri $first { ~^(?<element>/[^/]+) $element; }
  map $first $route { include routes.map; }"
            .to_owned(),
    };
    let other = format!(
        "server {{ listen 127.0.0.1:{port}{listen} default_server; {tls} return 404; }}\n  \
         server {{ listen 127.0.0.1:{port}{listen}; server_name {}; {tls}",
        site.host()
    );
    let (server, location) = match site.routes {
        Routes::One => (other, format!("location /api/ {{ proxy_pass http://{name}; }}")),
        Routes::Hosts(_) => (
            format!("server {{ listen 127.0.0.1:{port}{listen}; {tls}"),
            format!("location /api/ {{ {MAPPED} }}"),
        ),
        Routes::Prefixes(_) => (other, format!("location / {{ {MAPPED} }}")),
    };
    format!(
        "daemon off;
worker_processes 1;
worker_rlimit_nofile 8192;
pid {folder}/nginx.pid;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {folder}/client;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests 1000000000;
  map_hash_max_size 262144;
  map_hash_bucket_size 128;
  proxy_http_version 1.1;
  proxy_set_header Connection \"\";
  proxy_set_header Host $http_host;
  proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
  proxy_set_header X-Forwarded-Host $http_host;
  proxy_set_header X-Forwarded-Proto $scheme;
  proxy_set_header X-Real-IP $remote_addr;
  # A body of 64 KB fits in memory and is never written to a file.
  proxy_buffers 8 16k;
  proxy_buffer_size 16k;
  proxy_busy_buffers_size 32k;
  proxy_max_temp_file_size 0;
  upstream {name} {{
    server {address};
    keepalive 1024;
    keepalive_requests 1000000000;
  }}
  {maps}
  {server}
    {location}
  }}
}}
"
    )
}

fn map(site: &Site) -> String {
    let mut text = String::new();
    for route in site.routes.all() {
        let key = match site.routes {
            Routes::Hosts(_) => route.host,
            Routes::One | Routes::Prefixes(_) => route.prefix,
        };
        writeln!(text, "{key} {};", site.backend.name).expect("a string takes every write");
    }
    text
}
