//! A controller that runs in this process.

use std::net::SocketAddr;
use std::time::Duration;

use gwapi_controller::{Controller, ControllerSettings, RunError};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::api::{Api, PATIENCE};

/// How often the admin address is asked for what shall come true.
const INTERVAL: Duration = Duration::from_millis(25);

/// A running controller.
pub(crate) struct Running {
    admin: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), RunError>>,
}

/// Settings of a controller of that name, whose own namespace is this.
pub(crate) fn settings(
    controller_name: &str,
    namespace: &str,
    identity: &str,
) -> ControllerSettings {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    ControllerSettings {
        controller_name: controller_name.to_owned(),
        namespace: namespace.to_owned(),
        identity: identity.to_owned(),
        serve: any,
        admin: any,
        ..ControllerSettings::default()
    }
}

impl Running {
    /// Starts one.
    pub(crate) async fn start(api: &Api, settings: ControllerSettings) -> Self {
        let controller = Controller::bind(settings, api.config.clone()).await;
        let controller = controller.expect("a controller");
        let admin = controller.admin_address().expect("an address");
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(controller.run(async {
            let _ = stopped.await;
        }));
        Self { admin, stop, task }
    }

    /// Starts one and waits until it is ready.
    pub(crate) async fn ready(api: &Api, settings: ControllerSettings) -> Self {
        let running = Self::start(api, settings).await;
        running.until("/readyz", |status, _| status == 200).await;
        running
    }

    /// Asks the admin address.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.admin).await.expect("an admin server");
        let request = format!("GET {path} HTTP/1.1\r\nHost: admin\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("a connection");
        let mut response = String::new();
        stream.read_to_string(&mut response).await.expect("a response");
        let status = response.split(' ').nth(1).and_then(|status| status.parse().ok());
        let body = response.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
        (status.expect("a status"), body.unwrap_or_default())
    }

    /// Waits until a page is as it should be.
    pub(crate) async fn until(&self, path: &str, holds: impl Fn(u16, &str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (status, body) = self.get(path).await;
            if holds(status, &body) {
                return body;
            }
            assert!(Instant::now() < deadline, "{path} stays {status}: {body}");
            sleep(INTERVAL).await;
        }
    }

    /// The sum of a counter's series whose labels have all of these texts in them.
    pub(crate) async fn count(&self, name: &str, labels: &[&str]) -> u64 {
        sum(&self.get("/metrics").await.1, name, labels)
    }

    /// Requests about status that changed something, so far.
    pub(crate) async fn writes(&self) -> u64 {
        self.count(STATUS_REQUESTS, WRITTEN).await
    }

    /// The same, with everything that others have seen already: they see a status a moment before it is
    /// counted. A class that is made now, and is the controller's, has its status written after all that.
    pub(crate) async fn writes_so_far(&self, api: &Api, class: Value) -> u64 {
        let labels = [&["kind=\"GatewayClass\""], WRITTEN].concat();
        // An earlier run may have left it.
        let name = class["metadata"]["name"].as_str().expect("a name");
        api.delete("GatewayClass", "", name).await;
        let before = self.count(STATUS_REQUESTS, &labels).await;
        api.apply(class).await;
        self.until_count(STATUS_REQUESTS, &labels, before + 1).await;
        self.writes().await
    }

    /// Waits until it has counted a status that it wrote.
    pub(crate) async fn until_written(&self) {
        self.until_count(STATUS_REQUESTS, WRITTEN, 1).await;
    }

    /// Waits until a counter has reached a value, as long as it moves.
    pub(crate) async fn until_count(&self, name: &str, labels: &[&str], value: u64) {
        let mut last = 0;
        while last < value {
            let before = last;
            let body = self.until("/metrics", |_, body| sum(body, name, labels) > before);
            last = sum(&body.await, name, labels);
        }
    }

    /// Stops it, and waits until it has.
    pub(crate) async fn stop(self) {
        let _ = self.stop.send(());
        let outcome = self.task.await.expect("a controller that does not panic");
        outcome.expect("a controller that ends well");
    }
}

pub(crate) const STATUS_REQUESTS: &str = "gwapi_controller_status_requests_total";

/// What the series of those have in them that changed something.
pub(crate) const WRITTEN: &[&str] = &["outcome=\"written\""];

fn sum(metrics: &str, name: &str, labels: &[&str]) -> u64 {
    let series = metrics.lines().filter(|line| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
            && labels.iter().all(|label| line.contains(label))
    });
    series.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}
