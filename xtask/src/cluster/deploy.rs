//! The project's own images and chart.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use super::caller::as_caller;
use super::golang;
use super::images::{self, Image, Recipe};
use super::progress;
use super::tools::{Tools, quiet, quiet_with};
use crate::command::{cargo, run, target_directory};

/// An image of the project: its stage in `deploy/Containerfile`, the package and its binary.
struct Own {
    stage: &'static str,
    package: &'static str,
    binary: &'static str,
}

impl Own {
    fn name(&self) -> String {
        format!("gwapi/{}:{}", self.stage, env!("CARGO_PKG_VERSION"))
    }
}

const OWN: [Own; 2] = [
    Own { stage: "controller", package: "gwapi-controller", binary: "gwapi-controller" },
    Own { stage: "proxy", package: "gwapi-dataplane", binary: "gwapi-proxy" },
];

/// The GatewayClass that the chart makes where nothing else is said.
pub(crate) const CLASS: &str = "gwapi";

/// Where the chart is installed, and under which name.
pub(crate) const NAMESPACE: &str = "gwapi-system";
pub(crate) const RELEASE: &str = "gwapi";

/// The authorities that Debian trusts: what a proxy trusts where a policy says `System`.
const SYSTEM_AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// What images are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Traffic: as fast as the program that benchmarks measure, and some minutes longer in the making
    Production,
    /// Clusters of tests: the same sources, built in a part of the time
    Tests,
}

impl Purpose {
    /// The profile of cargo, which is also where its programs are put.
    fn profile(self) -> &'static str {
        match self {
            Self::Production => "release",
            Self::Tests => "image",
        }
    }

    /// Where the archives are put, below the target folder.
    fn folder(self) -> &'static str {
        match self {
            Self::Production => "images",
            Self::Tests => "cluster/images",
        }
    }
}

/// Builds static binaries and an image of each, as archives.
pub(crate) fn images(root: &Path, purpose: Purpose) -> anyhow::Result<Vec<Image>> {
    let folder = target_directory(root)?.join(purpose.folder());
    let binaries = binaries(root, purpose)?;
    let context = folder.join("context");
    fs::create_dir_all(&context).with_context(|| format!("cannot create {}", context.display()))?;
    // Two at a time would pull the storage from under each other.
    let _lock = golang::lock(&folder, "images")?;
    copy(Path::new(SYSTEM_AUTHORITIES), &context.join("ca-certificates.crt"))?;
    for own in &OWN {
        copy(&binaries.join(own.binary), &context.join(own.binary))?;
    }
    let containerfile = root.join("deploy/Containerfile");
    let mut built = Vec::new();
    for own in &OWN {
        let name = own.name();
        let archive = folder.join(format!("{}.tar", own.stage));
        let recipe = Recipe {
            containerfile: &containerfile,
            context: &context,
            target: Some(own.stage),
            arguments: &[],
            name: &name,
        };
        progress::step(&format!("image {name}"), || images::build(&recipe, &archive))?;
        let user = images::user(&archive)?;
        ensure!(
            images::is_no_root(&user),
            "the image {name} runs as `{user}`, not as a user by number"
        );
        let named_by_content = format!("{name}-{}", digest(&binaries.join(own.binary))?);
        built.push(Image { archive, names: vec![name, named_by_content] });
    }
    Ok(built)
}

/// Programs without a C library beside them, so that an image needs nothing else.
fn binaries(root: &Path, purpose: Purpose) -> anyhow::Result<PathBuf> {
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut build = cargo(root);
    // The target has to be named: what runs while cargo builds must not be static.
    build.args(["build", "--locked", "--profile", purpose.profile(), "--target", &triple]);
    for own in &OWN {
        build.args(["--package", own.package, "--bin", own.binary]);
    }
    // Whoever embeds the proxy needs no controller, so the program is not built by default.
    build.args(["--features", "gwapi-dataplane/stream"]);
    build.env("RUSTFLAGS", "-C target-feature=+crt-static");
    as_caller(&mut build);
    run(&mut build)?;
    Ok(target_directory(root)?.join(triple).join(purpose.profile()))
}

/// What tells one build from the next.
fn digest(file: &Path) -> anyhow::Result<String> {
    let content = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    Ok(format!("{:016x}", hasher.finish()))
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::copy(from, to)
        .map(|_| ())
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}

/// A release of the chart.
pub(super) struct Release<'a> {
    pub(super) name: &'a str,
    pub(super) namespace: &'a str,
    /// Values beside those of tests, as `--set` takes them.
    pub(super) values: &'a [&'a str],
}

/// Puts images into the cluster and installs the chart with the values of tests and these, or upgrades it:
/// what runs already is replaced where its program is another one now.
pub(crate) fn install(
    root: &Path,
    tools: &Tools,
    images: &[Image],
    values: &[&str],
) -> anyhow::Result<()> {
    load(tools, images)?;
    progress::step("own CRDs", || tools.apply(&root.join("deploy/crds")))?;
    install_release(root, tools, images, &Release { name: RELEASE, namespace: NAMESPACE, values })
}

/// Puts the project's images into the cluster.
pub(super) fn load(tools: &Tools, images: &[Image]) -> anyhow::Result<()> {
    progress::step("own images into containerd", || images::load(tools, images))
}

/// Installs a release or upgrades it, with images that are loaded, in a namespace that admits pods of the
/// strictest level alone.
pub(super) fn install_release(
    root: &Path,
    tools: &Tools,
    images: &[Image],
    release: &Release<'_>,
) -> anyhow::Result<()> {
    let mut helm = tools.helm(root)?;
    progress::step(&format!("chart as {}", release.name), || {
        restrict(tools, release.namespace)?;
        helm.args(["upgrade", "--install", release.name]).arg(root.join("deploy/helm/gwapi"));
        helm.args(["--namespace", release.namespace, "--values"]);
        helm.arg(root.join("xtask/cluster/values.yaml"));
        for (own, image) in OWN.iter().zip(images) {
            let named_by_content = image.names.last().context("the image has a name")?;
            let (_, tag) = named_by_content.split_once(':').context("the name has a tag")?;
            helm.args(["--set", &format!("{}.image.tag={tag}", own.stage)]);
        }
        for value in release.values {
            helm.args(["--set", value]);
        }
        helm.args(["--wait", "--timeout", "3m"]);
        quiet(&mut helm).map(|_| ())
    })
}

/// Makes a namespace that refuses pods which do not keep to the strictest level of Pod Security, as users
/// may have it.
fn restrict(tools: &Tools, namespace: &str) -> anyhow::Result<()> {
    let labels = serde_json::json!({"pod-security.kubernetes.io/enforce": "restricted"});
    let object = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": namespace, "labels": labels},
    });
    let mut kubectl = tools.kubectl()?;
    kubectl.args(["apply", "--server-side", "--force-conflicts", "--filename=-"]);
    quiet_with(&mut kubectl, &object.to_string()).map(|_| ())
}
