//! `gwapi run` on a folder of manifests: one HTTPRoute for each route.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use serde_json::Value;

use super::{Edit, write};
use crate::bench::site::{Route, Site};

/// Objects in a file.
const ROUTES_PER_FILE: usize = 400;

/// The file of the route that is edited.
const EDITED: &str = "edited.yaml";

/// Writes the manifests and returns the command.
pub(super) fn configure(site: &Site, folder: &Path, program: &Path) -> anyhow::Result<Command> {
    let manifests = folder.join("manifests");
    fs::create_dir(&manifests).context("cannot create the folder of manifests")?;
    write(&manifests.join("gateway.yaml"), gateway(site)?)?;
    let mut routes: Vec<String> = http_routes(site).collect();
    let last = routes.pop().context("a site has a route")?;
    write(&manifests.join(EDITED), last)?;
    for (number, chunk) in routes.chunks(ROUTES_PER_FILE).enumerate() {
        write(&manifests.join(format!("routes-{number:04}.yaml")), chunk.concat())?;
    }
    let mut command = Command::new(program);
    command.arg("run").arg(&manifests);
    command.args(["--strict", "--listen", "127.0.0.1", "--admin", "off", "--workers", "1"]);
    command.args(["--output", "json", "--drain-timeout", "1s"]);
    for backend in &site.backends {
        command.arg("--backend");
        command.arg(format!("default/{}:80={}", backend.name, backend.address));
    }
    Ok(command)
}

/// The file of the last route is renamed into place, as deployments should do it.
pub(super) fn prepare_edit(site: &Site, folder: &Path) -> anyhow::Result<Edit> {
    let manifests = folder.join("manifests");
    // A name that starts with a dot is not read.
    let from = manifests.join(".edited");
    let last = http_routes(site).last().context("a site has a route")?;
    write(&from, last)?;
    Ok(Edit::Rename { from, to: manifests.join(EDITED) })
}

/// The milliseconds of each change in what `--output json` printed.
pub(super) fn compile_times(log: &str) -> Vec<f64> {
    let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let changes = events.filter(|event| event["event"] == "change");
    changes.filter_map(|change| change["milliseconds"].as_f64()).collect()
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
    for backend in &site.backends {
        write!(
            text,
            "---
apiVersion: v1
kind: Service
metadata:
  name: {}
spec:
  ports:
  - port: 80
",
            backend.name
        )
        .expect("a string takes every write");
    }
    Ok(text)
}

/// A document for each route.
fn http_routes(site: &Site) -> impl Iterator<Item = String> {
    site.routes().enumerate().map(|(index, (route, backend))| http_route(index, &route, backend))
}

fn http_route(index: usize, route: &Route, backend: &str) -> String {
    let Route { host, prefix } = route;
    format!(
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::site::tests::site;
    use crate::bench::site::{Protocol, Routes};

    #[test]
    fn each_route_is_an_object_and_the_last_one_can_lead_elsewhere() {
        let mut site = site(Protocol::Http1, Routes::Prefixes(2));
        site.edited = true;
        let routes: Vec<String> = http_routes(&site).collect();
        assert_eq!(routes.len(), 2);
        let expected = "---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: r1
spec:
  parentRefs:
  - name: bench
  hostnames:
  - bench.example
  rules:
  - matches:
    - path:
        type: PathPrefix
        value: /p1
    backendRefs:
    - name: beta
      port: 80
";
        assert_eq!(routes[1], expected);
    }

    #[test]
    fn the_times_of_changes_are_read_and_nothing_else() {
        let log = "{\"event\":\"start\",\"generation\":1}\na warning\n\
                   {\"event\":\"change\",\"milliseconds\":1.25}\n";
        assert_eq!(compile_times(log), [1.25]);
    }
}
