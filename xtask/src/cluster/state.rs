//! A cluster on disk: one folder, which is mounted at the same short path inside of it.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::command::target_directory;

/// Where the folder of the cluster is mounted inside of it. Short, because the path of a socket may
/// have 108 bytes only.
pub(crate) const INSIDE: &str = "/run/gwapi";

/// The name that a cluster has where none is given.
pub(crate) const DEFAULT_NAME: &str = "default";

/// A cluster, whether it runs or not.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    pub(crate) name: String,
    /// Everything of it that is on disk.
    pub(crate) folder: PathBuf,
}

/// The first process of a cluster, which all others end with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Init {
    /// Its number outside of the cluster.
    pub(crate) pid: u32,
    /// When it started, in ticks since the system did: tells it from a later one of that number.
    pub(crate) start: u64,
    /// The run of the system in which it started.
    pub(crate) boot: String,
}

/// A program of the cluster, as the first process knows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Running {
    pub(crate) name: String,
    /// Its number inside of the cluster; none while it does not run.
    pub(crate) pid: Option<i32>,
    /// How often it was started again.
    pub(crate) restarts: u32,
    /// How it ended the last time.
    pub(crate) ended: Option<String>,
}

impl Cluster {
    /// The cluster of a name in this workspace.
    pub(crate) fn named(root: &Path, name: &str) -> anyhow::Result<Self> {
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.len() > 30 || !name.chars().all(is_plain) {
            bail!("`{name}` is no name of a cluster: up to 30 of a-z, 0-9 and -");
        }
        let folder = target_directory(root)?.join("cluster/state").join(name);
        Ok(Self { name: name.to_owned(), folder })
    }

    /// The cluster whose folder this is.
    pub(crate) fn of_folder(folder: &Path) -> Self {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self { name, folder: folder.to_owned() }
    }

    /// The same cluster, for who is inside of it.
    pub(crate) fn inside(&self) -> Self {
        Self { name: self.name.clone(), folder: PathBuf::from(INSIDE) }
    }

    /// The name of its control groups, which clusters of other workspaces do not have.
    pub(crate) fn group(&self) -> String {
        let mut hasher = DefaultHasher::new();
        self.folder.hash(&mut hasher);
        format!("gwapi-{}-{:08x}", self.name, hasher.finish() as u32)
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    /// Where programs keep what they learn of it.
    pub(crate) fn cache(&self) -> PathBuf {
        self.folder.join("cache")
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.folder.join("logs")
    }

    /// Where logs go when the cluster could not be started.
    pub(crate) fn kept_logs(&self) -> PathBuf {
        let base = self.folder.ancestors().nth(2).unwrap_or(&self.folder);
        base.join("failed").join(&self.name)
    }

    pub(crate) fn log_of(&self, component: &str) -> PathBuf {
        self.logs().join(format!("{component}.log"))
    }

    pub(crate) fn init_file(&self) -> PathBuf {
        self.folder.join("init.json")
    }

    pub(crate) fn components_file(&self) -> PathBuf {
        self.folder.join("components.json")
    }

    /// The folders of control groups that it made.
    pub(crate) fn cgroups_file(&self) -> PathBuf {
        self.folder.join("cgroups.json")
    }

    /// Written when everything answers.
    pub(crate) fn ready_file(&self) -> PathBuf {
        self.folder.join("ready.json")
    }

    /// The first process, if it is alive.
    pub(crate) fn init(&self) -> anyhow::Result<Option<Init>> {
        let recorded: Option<Init> = read(&self.init_file())?;
        Ok(recorded.filter(Init::is_alive))
    }

    /// The first process of a cluster that answered at the end of its start.
    pub(crate) fn ready_init(&self) -> anyhow::Result<Init> {
        let name = &self.name;
        let up = if name == DEFAULT_NAME { String::new() } else { format!(" --name {name}") };
        match self.init()? {
            Some(init) if self.ready_file().exists() => Ok(init),
            Some(_) => bail!("cluster {name} is still being started"),
            None => bail!("no cluster {name} runs: start it by `cargo xtask cluster up{up}`"),
        }
    }
}

impl Init {
    /// This process. `/proc` has to be the one from outside of the cluster.
    pub(crate) fn this() -> anyhow::Result<Self> {
        let stat = fs::read_to_string("/proc/self/stat").context("cannot read /proc/self/stat")?;
        let pid = stat.split(' ').next().and_then(|number| number.parse().ok());
        let pid = pid.context("/proc/self/stat is not as expected")?;
        let start = start_time(&stat).context("/proc/self/stat is not as expected")?;
        Ok(Self { pid, start, boot: boot_id()? })
    }

    fn is_alive(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid));
        let same_start = stat.is_ok_and(|stat| start_time(&stat) == Some(self.start));
        same_start && boot_id().is_ok_and(|boot| boot == self.boot)
    }

    /// One of its namespaces, as a path.
    pub(crate) fn namespace(&self, kind: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/{kind}", self.pid))
    }
}

/// Field 22 of `/proc/PID/stat`. A process that is dead and waited for has none that matters.
fn start_time(stat: &str) -> Option<u64> {
    // The name of the program stands in parentheses and may have spaces.
    let (_, fields) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split(' ').collect();
    if matches!(fields.first(), Some(&"Z" | &"X")) {
        return None;
    }
    fields.get(19)?.parse().ok()
}

fn boot_id() -> anyhow::Result<String> {
    let path = "/proc/sys/kernel/random/boot_id";
    Ok(fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?.trim().to_owned())
}

/// What is in a file, if it exists.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> anyhow::Result<Option<T>> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        result => result.with_context(|| format!("cannot read {}", path.display()))?,
    };
    serde_json::from_str(&text).map(Some).with_context(|| format!("cannot read {}", path.display()))
}

/// Writes so that a reader sees all of it or what was there before.
pub(crate) fn write<T: Serialize>(path: &Path, value: &T) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(value).context("cannot write JSON")?;
    let new = path.with_extension("new");
    fs::write(&new, text)
        .and_then(|()| fs::rename(&new, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_alive_only_while_number_and_start_are_its_own() {
        let this = Init::this().unwrap();
        assert_eq!(this.pid, std::process::id());
        assert!(this.is_alive());
        assert!(!Init { start: this.start + 1, ..this.clone() }.is_alive());
        assert!(!Init { boot: "another".to_owned(), ..this }.is_alive());
    }

    #[test]
    fn the_start_is_read_behind_a_name_with_spaces() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 4711 0 0";
        assert_eq!(start_time(stat), Some(4711));
        assert_eq!(start_time(&stat.replace(" S ", " Z ")), None);
    }

    #[test]
    fn clusters_of_one_name_in_two_workspaces_have_groups_of_their_own() {
        let one = Cluster::of_folder(Path::new("/a/target/cluster/state/default"));
        let other = Cluster::of_folder(Path::new("/b/target/cluster/state/default"));
        assert_ne!(one.group(), other.group());
        assert!(one.group().starts_with("gwapi-default-"));
    }

    #[test]
    fn a_name_that_is_no_folder_is_refused() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        assert!(Cluster::named(root, "a-1").is_ok());
        for name in ["", "..", "a/b", "A", "a name"] {
            assert!(Cluster::named(root, name).is_err(), "{name}");
        }
    }
}
