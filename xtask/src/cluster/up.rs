//! Starting a cluster.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::components::{self, NODE, Plan, Programs};
use super::golang::tail;
use super::state::{Cluster, Running, read, write};
use super::supervisor::{self, Lifeline};
use super::tools::{Tools, build_programs, quiet, retry};
use super::{cgroups, configs, crds, down, host, images, inside, keys, progress};

/// How long each part of a start may take on a machine with much to do.
const PATIENCE: Duration = Duration::from_secs(180);

/// A component that ended so often does not come up.
const HOPELESS: u32 = 5;

/// Which definitions a cluster starts with.
pub(crate) type Crds = Option<(super::golang::SuiteVersion, crds::Channel)>;

/// A cluster that is up.
pub(crate) struct Up {
    pub(crate) tools: Tools,
    /// It ends with this, unless it ran already.
    lifeline: Option<Lifeline>,
}

impl Up {
    /// Lets the cluster live on when this process has ended.
    pub(crate) fn release(&mut self) -> anyhow::Result<()> {
        self.lifeline.take().map_or(Ok(()), Lifeline::release)
    }
}

/// Builds everything and starts a cluster, unless it runs already. One that was started ends with what
/// is returned, unless it is released.
pub(crate) fn up(root: &Path, cluster: &Cluster, install: bool, crds: Crds) -> anyhow::Result<Up> {
    let start = Instant::now();
    host::check(install)?;
    eprintln!("== cluster {}", cluster.name);
    if cluster.ready_init().is_ok() {
        progress::note("it runs already");
        let tools = Tools::of(cluster.clone())?;
        install_crds(root, &tools, crds)?;
        return Ok(Up { tools, lifeline: None });
    }
    let programs = build_programs(root)?;
    let images = images::of_tests(root, &programs)?;
    if down::clear(cluster)? {
        progress::note("cleared what an earlier one left behind");
    }
    let started = begin(root, cluster, programs, &images, crds);
    if started.is_err() {
        keep_logs(cluster);
        return down::clear_after(cluster, started);
    }
    let up = started?;
    progress::note(&format!("ready after {:.1} s", start.elapsed().as_secs_f64()));
    Ok(up)
}

fn begin(
    root: &Path,
    cluster: &Cluster,
    programs: Programs,
    images: &[images::Image],
    crds: Crds,
) -> anyhow::Result<Up> {
    prepare(cluster, &programs)?;
    let (mut child, lifeline) = supervisor::spawn(cluster)?;
    let init = supervisor::wait_for_init(cluster, &mut child)?;
    let tools = Tools { cluster: cluster.clone(), init, programs };
    let alive = || assert_alive(cluster);
    // containerd does not need the API server: its images are on their way meanwhile.
    std::thread::scope(|scope| {
        let loading = scope.spawn(|| {
            retry(PATIENCE, alive, || quiet(tools.ctr()?.arg("version")))?;
            images::load(&tools, images)
        });
        progress::step("API server", || {
            let ready = || quiet(tools.kubectl()?.args(["get", "--raw", "/readyz"]));
            retry(PATIENCE, alive, ready).map(|_| ())
        })?;
        progress::step("images into containerd", || loading.join().expect("it does not panic"))
    })?;
    progress::step("DNS and rights of the load balancer", || {
        // The namespace kube-system is made by the API server itself, a moment after it is ready.
        retry(PATIENCE, alive, || tools.apply(&root.join("xtask/cluster/manifests")))
    })?;
    install_crds(root, &tools, crds)?;
    progress::step("node", || {
        retry(PATIENCE, alive, || wait_for(&tools, &format!("node/{NODE}"), "Ready"))
    })?;
    progress::step("DNS answers", || {
        retry(PATIENCE, alive, || wait_for(&tools, "deployment/coredns", "Available"))
    })?;
    write(&cluster.ready_file(), &true)?;
    Ok(Up { tools, lifeline: Some(lifeline) })
}

/// Files, and the control groups that the first process enters.
fn prepare(cluster: &Cluster, programs: &Programs) -> anyhow::Result<()> {
    inside::check_is_visible(&cluster.folder)?;
    programs.folders().iter().try_for_each(|folder| inside::check_is_visible(folder))?;
    let logs = cluster.logs();
    fs::create_dir_all(&logs).with_context(|| format!("cannot create {}", logs.display()))?;
    let pki = cluster.folder.join("pki");
    progress::step("keys and certificates", || keys::make(&pki))?;
    fs::write(cluster.kubeconfig(), keys::kubeconfig(&pki, "admin"))
        .context("cannot write access")?;
    configs::write(&cluster.folder, snapshotter(&cluster.folder)?, host::cni_folder()?)?;
    let path = host::path_with(&programs.folders());
    let path = path.into_string().ok().context("PATH is not UTF-8")?;
    let plan = Plan { components: components::all(programs)?, programs: programs.clone(), path };
    write(&components::plan_file(&cluster.folder), &plan)?;
    let groups = cgroups::folders(&cluster.group())?;
    write(&cluster.cgroups_file(), &groups)?;
    cgroups::create(&groups)
}

/// Overlays cannot be stacked on an overlay, as which the disk of a container appears.
fn snapshotter(folder: &Path) -> anyhow::Result<&'static str> {
    const OVERLAY: u64 = 0x794c_7630;
    let kind = rustix::fs::statfs(folder).context("cannot tell the kind of file system")?.f_type;
    Ok(if kind.cast_unsigned() == OVERLAY { "native" } else { "overlayfs" })
}

fn install_crds(root: &Path, tools: &Tools, crds: Crds) -> anyhow::Result<()> {
    crds.map_or(Ok(()), |(version, channel)| crds::install(root, tools, version, channel))
}

fn wait_for(tools: &Tools, object: &str, condition: &str) -> anyhow::Result<()> {
    let mut kubectl = tools.kubectl()?;
    kubectl.args(["--namespace", "kube-system", "wait", object]);
    kubectl.args([&format!("--for=condition={condition}"), "--timeout=10s"]);
    quiet(&mut kubectl).map(|_| ())
}

/// Fails with its last words when a component does not come up.
fn assert_alive(cluster: &Cluster) -> anyhow::Result<()> {
    if cluster.init()?.is_none() {
        bail!("the cluster has ended: {}", tail(&cluster.log_of("supervisor")));
    }
    let components: Vec<Running> = read(&cluster.components_file())?.unwrap_or_default();
    match components.iter().find(|component| component.restarts >= HOPELESS) {
        Some(Running { name, .. }) => {
            bail!("{name} does not run:\n{}", tail(&cluster.log_of(name)))
        }
        None => Ok(()),
    }
}

/// Moves logs to where the next start does not clear them.
pub(super) fn keep_logs(cluster: &Cluster) {
    let kept = cluster.kept_logs();
    let _ = fs::remove_dir_all(&kept);
    let moved = kept.parent().map(fs::create_dir_all).is_some_and(|made| made.is_ok())
        && fs::rename(cluster.logs(), &kept).is_ok();
    if moved {
        progress::note(&format!("logs are in {}", kept.display()));
    }
}
