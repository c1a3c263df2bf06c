//! The definitions of Gateway API, as its release has them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::ValueEnum;

use super::golang::{self, SuiteVersion};
use super::progress;
use super::tools::{Tools, quiet};

/// Which definitions of a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Channel {
    /// What is stable
    Standard,
    /// All of that, and what is tried out
    Experimental,
}

impl Channel {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Experimental => "experimental",
        }
    }
}

/// The groups of Gateway API.
const GROUPS: [&str; 2] = ["gateway.networking.k8s.io", "gateway.networking.x-k8s.io"];

/// The release has a policy against going back to an older release or to another channel.
const POLICY: &str = "safe-upgrades.gateway.networking.k8s.io";

/// Installs exactly these definitions: others of the same groups are removed, with their objects.
pub(crate) fn install(
    root: &Path,
    tools: &Tools,
    version: SuiteVersion,
    channel: Channel,
) -> anyhow::Result<()> {
    let about = format!("CRDs of Gateway API {}, {}", version.name(), channel.name());
    progress::step(&about, || {
        let files = files(root, version, channel)?;
        let wanted: Vec<String> = files.iter().filter_map(|file| definition(file)).collect();
        remove_others(tools, &wanted)?;
        let mut kubectl = tools.kubectl()?;
        kubectl.args(["apply", "--server-side", "--force-conflicts"]);
        for file in &files {
            kubectl.arg("--filename").arg(file);
        }
        quiet(&mut kubectl)?;
        let mut kubectl = tools.kubectl()?;
        kubectl.args(["wait", "--for=condition=Established", "--timeout=60s", "crd"]).args(&wanted);
        quiet(&mut kubectl).map(|_| ())
    })
}

fn remove_others(tools: &Tools, wanted: &[String]) -> anyhow::Result<()> {
    let mut delete = tools.kubectl()?;
    delete.args(["delete", "--ignore-not-found"]);
    for kind in ["validatingadmissionpolicybinding", "validatingadmissionpolicy"] {
        delete.arg(format!("{kind}/{POLICY}"));
    }
    quiet(&mut delete)?;
    let all = quiet(tools.kubectl()?.args(["get", "crd", "--output=name"]))?;
    let names = all.lines().filter_map(|line| line.split_once('/')).map(|(_, name)| name);
    let is_other = |name: &&str| {
        let group = name.split_once('.').map_or("", |(_, group)| group);
        GROUPS.contains(&group) && !wanted.iter().any(|wanted| wanted == name)
    };
    let others: Vec<&str> = names.filter(is_other).collect();
    if others.is_empty() {
        return Ok(());
    }
    quiet(tools.kubectl()?.args(["delete", "crd"]).args(others)).map(|_| ())
}

fn files(root: &Path, version: SuiteVersion, channel: Channel) -> anyhow::Result<Vec<PathBuf>> {
    let module = golang::suite(version);
    let sources = golang::sources_of(root, &module, "sigs.k8s.io/gateway-api")?;
    let folder = sources.join("config/crd").join(channel.name());
    let entries =
        fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files: Vec<PathBuf> =
        entries.collect::<Result<Vec<_>, _>>()?.iter().map(fs::DirEntry::path).collect();
    files.retain(|path| path.file_name().is_some_and(|name| name != "kustomization.yaml"));
    // The policy last: it judges definitions.
    files.sort_by_key(|path| (definition(path).is_none(), path.clone()));
    Ok(files)
}

/// The name of the definition in a file that is named GROUP_PLURAL.yaml; none for the policy.
fn definition(file: &Path) -> Option<String> {
    let (group, plural) = file.file_stem()?.to_str()?.split_once('_')?;
    (!plural.starts_with("vap_")).then(|| format!("{plural}.{group}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_definition_is_that_of_its_file() {
        let name = |file: &str| definition(Path::new(file));
        let routes = name("/x/gateway.networking.k8s.io_httproutes.yaml");
        assert_eq!(routes.as_deref(), Some("httproutes.gateway.networking.k8s.io"));
        assert_eq!(name("/x/gateway.networking.k8s.io_vap_safeupgrades.yaml"), None);
    }
}
