//! `gwapi` in a process of its own, with one route: for the stages that attack it.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::certificate::{SelfSigned, self_signed};
use crate::command::{cargo, run, target_directory};

/// Longer than a start takes on a machine with much to do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A running gateway; it ends with this value.
pub(crate) struct Gateway {
    child: Child,
    pub(crate) address: SocketAddr,
    admin: SocketAddr,
}

/// Clients' connections.
pub(crate) struct Connections {
    pub(crate) open: u64,
    pub(crate) accepted: u64,
}

impl Gateway {
    /// Builds the binary and starts it in a folder of this name below the target folder. The route
    /// leads to `endpoint`, or to a built-in echo.
    pub(crate) fn start(
        root: &Path,
        name: &str,
        endpoint: Option<SocketAddr>,
        arguments: &[&str],
    ) -> anyhow::Result<Self> {
        let slice = endpoint.map(slice).unwrap_or_default();
        Self::start_beside(root, name, &slice, arguments)
    }

    /// The same with `objects` beside the route, which leads to a built-in echo unless there is a [`slice()`]
    /// among them.
    pub(crate) fn start_beside(
        root: &Path,
        name: &str,
        objects: &str,
        arguments: &[&str],
    ) -> anyhow::Result<Self> {
        let (target, folder) = build(root, name)?;
        let [address, admin] = free_addresses()?;
        let text = MANIFEST.replace("PORT", &address.port().to_string()) + objects;
        Self::serve(&target, &folder, &text, [address, admin], arguments)
    }

    /// The same with a listener for HTTPS, whose certificate signs itself.
    pub(crate) fn start_with_tls(root: &Path, name: &str) -> anyhow::Result<Self> {
        let (target, folder) = build(root, name)?;
        let SelfSigned { chain, key } = self_signed(&folder, &["a.example"])?;
        let [address, admin] = free_addresses()?;
        let listener = "protocol: HTTPS, tls: {certificateRefs: [{name: a}]}";
        let mut text = MANIFEST.replace("PORT", &address.port().to_string());
        text = text.replace("protocol: HTTP", listener);
        text.push_str(SECRET);
        for (field, file) in [("tls.crt", chain), ("tls.key", key)] {
            let pem = fs::read_to_string(&file)
                .with_context(|| format!("cannot read {}", file.display()))?;
            let lines: String = pem.lines().map(|line| format!("    {line}\n")).collect();
            text.push_str(&format!("  {field}: |\n{lines}"));
        }
        Self::serve(&target, &folder, &text, [address, admin], &[])
    }

    fn serve(
        target: &Path,
        folder: &Path,
        text: &str,
        [address, admin]: [SocketAddr; 2],
        arguments: &[&str],
    ) -> anyhow::Result<Self> {
        let manifest = folder.join("gateway.yaml");
        fs::write(&manifest, text)
            .with_context(|| format!("cannot write {}", manifest.display()))?;
        let log = folder.join("gwapi.log");
        let output =
            fs::File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
        let errors = output.try_clone().context("cannot share the log")?;
        let child = Command::new(target.join("debug/gwapi"))
            .arg("run")
            .arg(&manifest)
            .args(["--demo", "--admin", &admin.to_string()])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .context("cannot start gwapi")?;
        let mut gateway = Self { child, address, admin };
        gateway.wait_until_it_listens(&log)?;
        Ok(gateway)
    }

    fn wait_until_it_listens(&mut self, log: &Path) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(self.address).is_err() {
            let ended = self.child.try_wait().context("cannot wait for gwapi")?;
            if ended.is_some() || Instant::now() > deadline {
                bail!("gwapi does not listen: {}", fs::read_to_string(log).unwrap_or_default());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Bytes that it has in memory now.
    pub(crate) fn resident(&self) -> anyhow::Result<u64> {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(path).context("gwapi has ended")?;
        resident(&status).context("the kernel does not say how much memory gwapi has")
    }
}

/// Builds the binary: the target folder, and the folder of this name in it.
fn build(root: &Path, name: &str) -> anyhow::Result<(PathBuf, PathBuf)> {
    run(cargo(root).args(["build", "--locked", "--package", "gwapi-cli"]))?;
    let target = target_directory(root)?;
    let folder = target.join(name);
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    Ok((target, folder))
}

impl Gateway {
    /// Clients' connections, as its metrics say.
    pub(crate) fn connections(&self) -> anyhow::Result<Connections> {
        let request = "GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        let page = ask(self.admin, request, PATIENCE).context("for metrics")?;
        let sum = |name| sum(&page, name).context("the metrics say nothing of connections");
        Ok(Connections {
            open: sum("gwapi_connections_active{")?,
            accepted: sum("gwapi_connections_total{")?,
        })
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a request for which the connection is closed, and returns the answer. `patience` is the
/// longest that its peer may do nothing.
pub(crate) fn ask(
    address: SocketAddr,
    request: &str,
    patience: Duration,
) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, patience)
        .with_context(|| format!("nobody listens at {address}"))?;
    stream.set_read_timeout(Some(patience)).context("a socket has timeouts")?;
    stream.set_write_timeout(Some(patience)).context("a socket has timeouts")?;
    stream.write_all(request.as_bytes()).with_context(|| format!("{address} does not read"))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).with_context(|| format!("{address} does not answer"))?;
    Ok(answer)
}

/// The endpoint of the route.
pub(crate) fn slice(endpoint: SocketAddr) -> String {
    SLICE.replace("PORT", &endpoint.port().to_string())
}

/// Addresses that nobody listens on at this moment.
fn free_addresses() -> anyhow::Result<[SocketAddr; 2]> {
    let bind = || TcpListener::bind("127.0.0.1:0").context("no port is free");
    let held = [bind()?, bind()?];
    let [first, second] = held.each_ref().map(TcpListener::local_addr);
    Ok([first.context("the port is not bound")?, second.context("the port is not bound")?])
}

/// The sum of a metric over its labels.
fn sum(page: &str, name: &str) -> Option<u64> {
    let lines = page.lines().filter(|line| line.starts_with(name));
    let numbers: Option<Vec<u64>> =
        lines.map(|line| line.rsplit_once(' ')?.1.parse().ok()).collect();
    numbers.map(|numbers| numbers.iter().sum())
}

/// `VmRSS` of `/proc/PID/status`, in bytes.
fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

const MANIFEST: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: gwapi}
spec: {controllerName: gwapi.dev/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web}
spec:
  gatewayClassName: gwapi
  listeners:
    - {name: http, protocol: HTTP, port: PORT}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: web}]
  rules:
    - backendRefs: [{name: web, port: 80}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {ports: [{port: 80}]}
";

const SLICE: &str = "\
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: web-1
  labels: {kubernetes.io/service-name: web}
addressType: IPv4
endpoints:
  - addresses: [127.0.0.1]
ports:
  - port: PORT
";

const SECRET: &str = "\
---
apiVersion: v1
kind: Secret
metadata: {name: a}
type: kubernetes.io/tls
stringData:
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_that_does_not_answer_is_an_error() {
        // It listens, and takes nobody from its queue.
        let silent = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = silent.local_addr().expect("it is bound");
        let error = ask(address, "GET / HTTP/1.1\r\n\r\n", Duration::from_millis(10));
        let error = error.expect_err("there is no answer").to_string();
        assert_eq!(error, format!("{address} does not answer"));
    }

    #[test]
    fn a_metric_is_summed_over_its_labels() {
        let page = "gwapi_connections_active{listener=\"a\"} 3\n\
                    gwapi_connections_active{listener=\"b\"} 4\ngwapi_ready 1\n";
        assert_eq!(sum(page, "gwapi_connections_active{"), Some(7));
    }

    #[test]
    fn resident_memory_is_read_in_bytes() {
        assert_eq!(resident("Name:\tgwapi\nVmRSS:\t    1234 kB\nThreads:\t3\n"), Some(1_263_616));
        assert_eq!(resident("Name:\tgwapi\n"), None);
    }
}
