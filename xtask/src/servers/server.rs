//! A program that is started, watched, and ended with its value.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// Longer than a start takes on a machine with much to do.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often it is looked at.
const ROUND: Duration = Duration::from_millis(50);

/// A running program, whose output goes to files.
pub(super) struct Server {
    child: Child,
    name: String,
    printed: PathBuf,
    log: PathBuf,
}

impl Server {
    pub(super) fn start(program: &Path, arguments: &[&str], folder: &Path) -> anyhow::Result<Self> {
        let name = program.file_name().context("a program has a name")?.display().to_string();
        let create = |path: &Path| {
            File::create(path).with_context(|| format!("cannot create {}", path.display()))
        };
        let printed = folder.join(format!("{name}.out"));
        let log = folder.join(format!("{name}.log"));
        let child = Command::new(program)
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(create(&printed)?)
            .stderr(create(&log)?)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self { child, name, printed, log })
    }

    /// Waits until `look` finds something, be it in what was printed or elsewhere.
    pub(super) fn wait<T>(&mut self, look: impl Fn(&str) -> Option<T>) -> anyhow::Result<T> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let printed = fs::read_to_string(&self.printed).unwrap_or_default();
            if let Some(found) = look(&printed) {
                return Ok(found);
            }
            let ended = self.child.try_wait().context("cannot wait for a server")?;
            if ended.is_some() || Instant::now() > deadline {
                let said = fs::read_to_string(&self.log).unwrap_or_default();
                bail!("{} does not do what is waited for. It says:\n{said}\n{printed}", self.name);
            }
            std::thread::sleep(ROUND);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address that nobody listens on at this moment, neither for connections nor for datagrams.
pub(super) fn free_address() -> anyhow::Result<SocketAddr> {
    for _ in 0..100 {
        let listener = TcpListener::bind("127.0.0.1:0").context("no port is free")?;
        let address = listener.local_addr().context("the port is not bound")?;
        if UdpSocket::bind(address).is_ok() {
            return Ok(address);
        }
    }
    bail!("no port is free for TCP and UDP")
}
