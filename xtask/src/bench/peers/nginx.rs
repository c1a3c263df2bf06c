//! nginx: one worker, a `map` from host or first path element to the backend.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use rustix::process::Pid;

use super::{Edit, write};
use crate::bench::process::Process;
use crate::bench::site::{Backend, Protocol, Routes, Site};

/// The file of the map.
const MAP: &str = "routes.map";

/// What a route does that was found in the map.
const MAPPED: &str = "if ($route = \"\") { return 404; } proxy_pass http://$route;";

/// Writes the configuration and returns the command.
pub(super) fn configure(site: &Site, folder: &Path, program: &Path) -> anyhow::Result<Command> {
    ensure!(!site.protocol.is_stream(), "nginx is not measured with connections that it leads");
    write(&folder.join("nginx.conf"), configuration(site, folder))?;
    write(&folder.join(MAP), map(site))?;
    let mut command = Command::new(program);
    command.arg("-p").arg(folder).arg("-c").arg(folder.join("nginx.conf"));
    command.arg("-e").arg(folder.join("error.log"));
    Ok(command)
}

/// The map is written anew and the configuration reloaded.
pub(super) fn prepare_edit(site: &Site, folder: &Path, process: &Process) -> anyhow::Result<Edit> {
    let from = folder.join("routes.new");
    write(&from, map(site))?;
    let process = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
    let process = process.context("a process has a number")?;
    Ok(Edit::RenameAndSignal { from, to: folder.join(MAP), process })
}

fn configuration(site: &Site, folder: &Path) -> String {
    let folder = folder.display();
    let Site { port, backends, certificate, .. } = site;
    let name = site.backend().name;
    let upstreams: String = backends.iter().map(upstream).collect();
    let listen = match site.protocol {
        Protocol::Http1 | Protocol::Passthrough | Protocol::Tcp => "",
        Protocol::Http1Tls => " ssl",
        Protocol::Http2 | Protocol::Grpc => " http2",
        Protocol::Http2Tls => " ssl http2",
    };
    let tls = if site.protocol.ends_tls() {
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
        Routes::One => {
            let pass =
                if site.protocol == Protocol::Grpc { "grpc_pass grpc" } else { "proxy_pass http" };
            (other, format!("location {}/ {{ {pass}://{name}; }}", site.last().prefix))
        }
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
  grpc_set_header Host $http_host;
  grpc_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
  grpc_set_header X-Forwarded-Host $http_host;
  grpc_set_header X-Forwarded-Proto $scheme;
  grpc_set_header X-Real-IP $remote_addr;
  # A body of 64 KB fits in memory and is never written to a file.
  proxy_buffers 8 16k;
  proxy_buffer_size 16k;
  proxy_busy_buffers_size 32k;
  proxy_max_temp_file_size 0;
{upstreams}  {maps}
  {server}
    {location}
  }}
}}
"
    )
}

fn upstream(backend: &Backend) -> String {
    format!(
        "  upstream {} {{
    server {};
    keepalive 1024;
    keepalive_requests 1000000000;
  }}
",
        backend.name, backend.address
    )
}

/// The map: hosts where they differ, else first elements of paths.
fn map(site: &Site) -> String {
    let mut text = String::new();
    for (route, backend) in site.routes() {
        let key = match site.routes {
            Routes::Hosts(_) => route.host,
            Routes::One | Routes::Prefixes(_) => route.prefix,
        };
        writeln!(text, "{key} {backend};").expect("a string takes every write");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::site::tests::site;

    #[test]
    fn a_map_names_the_upstream_of_each_host_or_path() {
        assert_eq!(
            map(&site(Protocol::Http1, Routes::Hosts(2))),
            "h0.bench.example alpha;\nh1.bench.example alpha;\n"
        );
        assert_eq!(map(&site(Protocol::Http1, Routes::Prefixes(1))), "/p0 alpha;\n");
    }

    #[test]
    fn http_2_over_tls_is_said_on_every_listen_line() {
        let text = configuration(&site(Protocol::Http2Tls, Routes::One), Path::new("/folder"));
        assert_eq!(text.matches("listen 127.0.0.1:8080 ssl http2").count(), 2, "{text}");
        assert_eq!(text.matches("ssl_certificate /folder/cert.pem;").count(), 2, "{text}");
        assert!(text.contains("location /api/ { proxy_pass http://alpha; }"), "{text}");
    }

    #[test]
    fn calls_of_a_service_are_passed_on_as_grpc() {
        let text = configuration(&site(Protocol::Grpc, Routes::One), Path::new("/folder"));
        assert_eq!(text.matches("listen 127.0.0.1:8080 http2").count(), 2, "{text}");
        let location = "location /bench.Bench/ { grpc_pass grpc://alpha; }";
        assert!(text.contains(location), "{text}");
    }
}
