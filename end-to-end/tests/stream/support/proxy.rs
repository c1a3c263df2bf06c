//! A proxy and the files that it lives from.

use std::fs;
use std::path::PathBuf;
use std::rc::Rc;

use gwapi_dataplane::stream::{Stream, StreamSettings};
use gwapi_dataplane::{Limits, ProxyBuilder};
use gwapi_model::NamespacedName;
use tempfile::TempDir;

use super::controller::NAME;
use super::{Authority, Service, get};

/// What a pod mounts.
pub(crate) struct Home {
    folder: Rc<TempDir>,
}

impl Home {
    pub(crate) fn new(authority: &Authority, token: &str) -> Self {
        let home = Self { folder: Rc::new(tempfile::tempdir().expect("a folder")) };
        home.trust(&[authority]);
        home.set_token(token);
        home
    }

    pub(crate) fn trust(&self, authorities: &[&Authority]) {
        let bundle = authorities.iter().map(|authority| authority.certificate.as_str());
        fs::write(self.ca(), bundle.collect::<String>()).expect("written");
    }

    pub(crate) fn set_token(&self, token: &str) {
        fs::write(self.token(), format!("{token}\n")).expect("written");
    }

    /// The one file that a proxy has written.
    pub(crate) fn snapshot(&self) -> PathBuf {
        self.folder.path().join("snapshots/gateway.snapshot")
    }

    /// Starts a proxy for the Gateway `default/web`.
    pub(crate) fn start(&self, service: &Service) -> Proxy {
        let snapshots = self.folder.path().join("snapshots");
        fs::create_dir_all(&snapshots).expect("made");
        let settings = StreamSettings {
            server: service.url(),
            server_name: NAME.to_owned(),
            ca: self.ca(),
            token: self.token(),
            gateway: NamespacedName::new("default", "web"),
            proxy_name: "web-1".to_owned(),
            snapshot_dir: Some(snapshots),
        };
        let builder = ProxyBuilder::new().workers(1).admin(([127, 0, 0, 1], 0).into());
        let limits = Limits { drain_quiet: std::time::Duration::ZERO, ..Limits::default() };
        let proxy = builder.limits(limits).start().expect("a proxy");
        let stream = Stream::start(settings, proxy).expect("a stream");
        Proxy { stream, _folder: Rc::clone(&self.folder) }
    }

    fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.crt")
    }

    fn token(&self) -> PathBuf {
        self.folder.path().join("token")
    }
}

pub(crate) struct Proxy {
    stream: Stream,
    _folder: Rc<TempDir>,
}

impl Proxy {
    pub(crate) fn is_ready(&self) -> bool {
        let admin = self.stream.proxy().admin_address().expect("an admin address");
        match get(admin.port(), "/readyz").0 {
            200 => true,
            503 => false,
            status => panic!("/readyz answered {status}"),
        }
    }

    pub(crate) fn drain(self) {
        assert_eq!(self.stream.drain().cut_connections, 0);
    }
}
