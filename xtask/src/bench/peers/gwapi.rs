//! `gwapi run` on a folder of manifests: one HTTPRoute for each route.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Context;

use super::write;
use crate::bench::site::{Route, Site};

/// Objects in a file.
const ROUTES_PER_FILE: usize = 400;

/// Writes the manifests and returns the command.
pub(super) fn configure(site: &Site, folder: &Path, program: &Path) -> anyhow::Result<Command> {
    let manifests = folder.join("manifests");
    fs::create_dir(&manifests).context("cannot create the folder of manifests")?;
    write(&manifests.join("gateway.yaml"), gateway(site)?)?;
    let routes: Vec<(usize, Route)> = site.routes.all().enumerate().collect();
    for (number, chunk) in routes.chunks(ROUTES_PER_FILE).enumerate() {
        let mut text = String::new();
        for (index, route) in chunk {
            http_route(&mut text, *index, route, site.backend.name);
        }
        write(&manifests.join(format!("routes-{number:04}.yaml")), text)?;
    }
    let mut command = Command::new(program);
    command.arg("run").arg(&manifests);
    command.args(["--strict", "--listen", "127.0.0.1", "--admin", "off", "--workers", "1"]);
    command.args(["--output", "json", "--drain-timeout", "1s"]);
    command.arg("--backend");
    command.arg(format!("default/{}:80={}", site.backend.name, site.backend.address));
    Ok(command)
}

fn gateway(site: &Site) -> anyhow::Result<String> {
    let port = site.port;
    let mut text = format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata:
  name: bench
spec:
  gatewayClassName: bench
  listeners:
  - name: bench
    port: {port}
"
    );
    if site.protocol.is_tls() {
        text.push_str(
            "    protocol: HTTPS
    tls:
      certificateRefs:
      - name: bench
---
apiVersion: v1
kind: Secret
metadata:
  name: bench
type: kubernetes.io/tls
stringData:
",
        );
        for (field, path) in
            [("tls.crt", &site.certificate.chain), ("tls.key", &site.certificate.key)]
        {
            let pem = fs::read_to_string(path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            writeln!(text, "  {field}: |").expect("a string takes every write");
            for line in pem.lines() {
                writeln!(text, "    {line}").expect("a string takes every write");
            }
        }
    } else {
        text.push_str("    protocol: HTTP\n");
    }
    let backend = site.backend.name;
    write!(
        text,
        "---
apiVersion: v1
kind: Service
metadata:
  name: {backend}
spec:
  ports:
  - port: 80
"
    )
    .expect("a string takes every write");
    Ok(text)
}

fn http_route(text: &mut String, index: usize, route: &Route, backend: &str) {
    let Route { host, prefix } = route;
    write!(
        text,
        "---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: r{index}
spec:
  parentRefs:
  - name: bench
  hostnames:
  - {host}
  rules:
  - matches:
    - path:
        type: PathPrefix
        value: {prefix}
    backendRefs:
    - name: {backend}
      port: 80
"
    )
    .expect("a string takes every write");
}
