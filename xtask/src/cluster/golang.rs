//! Building the Go programs. What was built is kept in a cache folder of the user, keyed by what it
//! was built from, so that neither `cargo clean` nor another clone builds it again.

use std::collections::hash_map::DefaultHasher;
use std::fs::{self, File, TryLockError};
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use super::caller::{as_caller, create_file, create_folder};
use super::{host, progress};
use crate::command::{output, run};

/// The version of Kubernetes in `xtask/cluster/go/kubernetes/go.mod`, which a test compares.
pub(crate) const KUBERNETES: &str = "1.36.3";

/// A Go module below `xtask/cluster/go`, and the programs that are built from it.
#[derive(Clone, Copy)]
pub(crate) struct Module {
    /// Its folder.
    pub(crate) folder: &'static str,
    /// Another file than `go.mod`.
    pub(crate) modfile: Option<&'static str>,
    /// Packages that are built into programs of their names.
    packages: &'static [&'static str],
    /// Whether it is a test that becomes the program.
    is_test: bool,
    tags: &'static str,
    ldflags: &'static str,
}

const PLAIN: Module = Module {
    folder: "",
    modfile: None,
    packages: &["."],
    is_test: false,
    tags: "",
    ldflags: "-s -w",
};

pub(crate) const ETCD: Module = Module { folder: "etcd", ..PLAIN };
pub(crate) const PAUSE: Module = Module { folder: "pause", ..PLAIN };
pub(crate) const COREDNS: Module = Module { folder: "coredns", ..PLAIN };
pub(crate) const HELM: Module =
    Module { folder: "helm", packages: &["helm.sh/helm/v4/cmd/helm"], ..PLAIN };
pub(crate) const OTELCOL: Module = Module { folder: "otelcol", ..PLAIN };
pub(crate) const ECHO_BASIC: Module = Module {
    folder: "echo-basic",
    packages: &["sigs.k8s.io/gateway-api/conformance/echo-basic"],
    ..PLAIN
};
pub(crate) const CONTAINERD: Module = Module {
    folder: "containerd",
    packages: &[
        "github.com/containerd/containerd/v2/cmd/containerd",
        "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
        "github.com/containerd/containerd/v2/cmd/ctr",
    ],
    tags: "no_btrfs no_devmapper no_zfs",
    ldflags: "-s -w -X github.com/containerd/containerd/v2/version.Version=v2.4.2",
    ..PLAIN
};
pub(crate) const KUBERNETES_MODULE: Module = Module {
    folder: "kubernetes",
    packages: &[
        "k8s.io/kubernetes/cmd/kube-apiserver",
        "k8s.io/kubernetes/cmd/kube-controller-manager",
        "k8s.io/kubernetes/cmd/kube-proxy",
        "k8s.io/kubernetes/cmd/kube-scheduler",
        "k8s.io/kubernetes/cmd/kubectl",
        "k8s.io/kubernetes/cmd/kubelet",
        "./loadbalancer",
    ],
    // The version is stamped by the release scripts; without it, it is v0.0.0.
    ldflags: "-s -w -X k8s.io/component-base/version.gitVersion=v1.36.3 \
              -X k8s.io/component-base/version.gitMajor=1 \
              -X k8s.io/component-base/version.gitMinor=36",
    ..PLAIN
};

/// What runs beside and in every cluster.
pub(crate) const CLUSTER: [Module; 6] =
    [ETCD, CONTAINERD, KUBERNETES_MODULE, COREDNS, PAUSE, ECHO_BASIC];

/// A version of the conformance suite, and of the API whose definitions it wants.
pub(crate) const fn suite(version: SuiteVersion) -> Module {
    Module { folder: "suite", modfile: version.modfile(), is_test: true, ..PLAIN }
}

/// Versions of Gateway API that can be installed and tested for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum SuiteVersion {
    #[value(name = "v1.7.0")]
    V1_7_0,
    #[value(name = "v1.6.3")]
    V1_6_3,
}

impl SuiteVersion {
    pub(crate) const ALL: [Self; 2] = [Self::V1_7_0, Self::V1_6_3];

    /// How many tests the suite has that are about gateways: with the features that are claimed, all of them run.
    pub(crate) const fn gateway_tests(self) -> usize {
        match self {
            Self::V1_7_0 => 147,
            Self::V1_6_3 => 131,
        }
    }

    const fn modfile(self) -> Option<&'static str> {
        match self {
            Self::V1_7_0 => None,
            Self::V1_6_3 => Some("v1.6.3.mod"),
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::V1_7_0 => "v1.7.0",
            Self::V1_6_3 => "v1.6.3",
        }
    }
}

/// Builds what is not in the cache; returns the folder of the programs.
pub(crate) fn build(root: &Path, module: &Module) -> anyhow::Result<PathBuf> {
    let sources = module.folder_in(root);
    let cache = cache_folder()?;
    let name = module.name();
    let folder = cache.join(format!("{name}-{:016x}", module.key(&sources)?));
    if folder.exists() {
        return Ok(folder);
    }
    let _lock = lock(&cache, &name)?;
    if folder.exists() {
        return Ok(folder);
    }
    let building = cache.join(format!(".{name}-{}", std::process::id()));
    create_folder(&building)?;
    let built = progress::step(&format!("building {name}"), || {
        let log = building.join("build.log");
        let file = create_file(&log)?;
        let errors = file.try_clone().context("cannot share the log")?;
        let mut command = module.command(&sources, &building)?;
        let status = command.stdout(file).stderr(errors).status().context("cannot start go")?;
        if !status.success() {
            bail!("go failed with {status}:\n{}", tail(&log));
        }
        fs::rename(&building, &folder).context("cannot move what was built")
    });
    if building.exists() {
        // What is left over of a failure is no use to anybody.
        let _ = fs::remove_dir_all(&building);
    }
    built.map(|()| folder).with_context(|| format!("cannot build {name}"))
}

/// Runs the tests of a package of a module.
pub(crate) fn test(root: &Path, module: &Module, package: &str) -> anyhow::Result<()> {
    let mut go = module.go(&module.folder_in(root))?;
    // As its programs are built, so that what they depend on is not built once more.
    go.args(["test", "-trimpath", "-buildvcs=false", "-tags", module.tags, package]);
    run(&mut go)
}

/// Of several processes that miss the same programs, one builds and the others wait for it.
pub(crate) fn lock(cache: &Path, name: &str) -> anyhow::Result<File> {
    let path = cache.join(format!(".{name}.lock"));
    let file = create_file(&path)?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => {
            progress::step(&format!("another process builds {name}"), || {
                file.lock().context("cannot wait for the other process")
            })?
        }
        result => result.with_context(|| format!("cannot lock {}", path.display()))?,
    }
    Ok(file)
}

/// The program that turns what a test says into events. Go builds it when it is asked for.
pub(crate) fn test2json(root: &Path, module: &Module) -> anyhow::Result<PathBuf> {
    let mut go = module.go(&module.folder_in(root))?;
    Ok(PathBuf::from(output(go.args(["tool", "-n", "test2json"]))?.trim()))
}

/// Where the module cache has the sources of a dependency.
pub(crate) fn sources_of(root: &Path, module: &Module, path: &str) -> anyhow::Result<PathBuf> {
    let mut go = module.go(&module.folder_in(root))?;
    go.args(["mod", "download", "-json"]).args(module.modfile_flag()).arg(path);
    let output = go.stderr(Stdio::inherit()).output().context("cannot start go")?;
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("go does not know {path}"))?;
    let folder = answer["Dir"].as_str();
    folder
        .map(PathBuf::from)
        .with_context(|| format!("{path} cannot be fetched: {}", answer["Error"]))
}

impl Module {
    fn name(&self) -> String {
        match self.modfile.and_then(|name| name.strip_suffix(".mod")) {
            Some(version) => format!("{}-{version}", self.folder),
            None => self.folder.to_owned(),
        }
    }

    pub(crate) fn folder_in(&self, root: &Path) -> PathBuf {
        root.join("xtask/cluster/go").join(self.folder)
    }

    fn modfile_flag(&self) -> Vec<String> {
        self.modfile.map(|name| format!("-modfile={name}")).into_iter().collect()
    }

    /// What decides about the result: sources, pinned versions and flags.
    fn key(&self, sources: &Path) -> anyhow::Result<u64> {
        let mut hasher = DefaultHasher::new();
        (self.packages, self.tags, self.ldflags, self.modfile, std::env::consts::ARCH)
            .hash(&mut hasher);
        for path in files(sources)? {
            let text =
                fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            (path.strip_prefix(sources).unwrap_or(&path), text).hash(&mut hasher);
        }
        Ok(hasher.finish())
    }

    fn command(&self, sources: &Path, output: &Path) -> anyhow::Result<Command> {
        let mut go = self.go(sources)?;
        if self.is_test {
            go.args(["test", "-c"]);
        } else {
            go.arg("build");
        }
        go.args(["-trimpath", "-buildvcs=false", "-tags", self.tags, "-ldflags", self.ldflags]);
        // A folder as output takes a program's name from its package.
        go.args(self.modfile_flag()).arg("-o").arg(format!("{}/", output.display()));
        go.args(self.packages);
        Ok(go)
    }

    /// `go` in the folder of the module, as the user who called sudo: what it leaves in the caches
    /// of Go has to stay his.
    fn go(&self, sources: &Path) -> anyhow::Result<Command> {
        let mut go = Command::new(host::go()?);
        go.current_dir(sources).stdin(Stdio::null());
        // Static programs, for images without a C library; and the toolchain that go.mod asks for.
        go.env("CGO_ENABLED", "0").env("GOTOOLCHAIN", "auto").env("GOWORK", "off");
        as_caller(&mut go);
        Ok(go)
    }
}

/// The folder of this user for what was built.
pub(crate) fn cache_folder() -> anyhow::Result<PathBuf> {
    let given = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let base = given.filter(|path| path.is_absolute()).or_else(home);
    let folder = base.context("neither XDG_CACHE_HOME nor HOME is set")?.join("gwapi-cluster");
    create_folder(&folder)?;
    Ok(folder)
}

/// Files below a folder, in order.
fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The last lines of a log.
pub(crate) fn tail(log: &Path) -> String {
    let text = String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
    }

    #[test]
    fn versions_in_flags_are_those_of_the_modules() {
        let text =
            |module: &Module| fs::read_to_string(module.folder_in(&root()).join("go.mod")).unwrap();
        assert!(text(&KUBERNETES_MODULE).contains(&format!("k8s.io/kubernetes v{KUBERNETES}\n")));
        assert!(KUBERNETES_MODULE.ldflags.contains(&format!("gitVersion=v{KUBERNETES} ")));
        assert!(text(&CONTAINERD).contains("github.com/containerd/containerd/v2 v2.4.2\n"));
    }

    #[test]
    fn the_key_of_a_module_tells_versions_of_the_suite_apart() {
        let [new, old] = SuiteVersion::ALL.map(suite);
        let sources = new.folder_in(&root());
        assert_ne!(new.key(&sources).unwrap(), old.key(&sources).unwrap());
        assert_eq!(new.key(&sources).unwrap(), new.key(&sources).unwrap());
        assert_eq!((new.name(), old.name()), ("suite".to_owned(), "suite-v1.6.3".to_owned()));
    }
}
