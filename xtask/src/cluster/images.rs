//! Images of containers, made of static programs by buildah, without any registry.

use std::collections::BTreeSet;
use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use serde_json::Value;

use super::caller::hand_over;
use super::components::Programs;
use super::golang::{self, SuiteVersion};
use super::progress;
use super::tools::{Tools, quiet, quiet_from};

/// The image of the process that holds the namespaces of a pod.
pub(crate) const PAUSE_IMAGE: &str = "gwapi/pause:1";

/// An image as an archive, with all names that it gets.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) archive: PathBuf,
    pub(crate) names: Vec<String>,
}

/// What to build.
pub(crate) struct Recipe<'a> {
    pub(crate) containerfile: &'a Path,
    /// The folder with what is copied into the image.
    pub(crate) context: &'a Path,
    /// One of several images in the file.
    pub(crate) target: Option<&'a str>,
    pub(crate) arguments: &'a [(&'a str, &'a str)],
    pub(crate) name: &'a str,
}

/// The images that tests need: the program of every pod's sandbox, the name server of the cluster,
/// and the backend of the conformance suite, under the names that the suites' manifests use.
pub(crate) fn of_tests(root: &Path, programs: &Programs) -> anyhow::Result<Vec<Image>> {
    let mut wanted = BTreeSet::new();
    for version in SuiteVersion::ALL {
        let module = golang::suite(version);
        let path = "sigs.k8s.io/gateway-api/conformance";
        wanted.extend(images_named_in(&golang::sources_of(root, &module, path)?)?);
    }
    let named = |program: &str| {
        let is_of_program = |image: &&String| {
            let (name, _) = image.rsplit_once(':').unwrap_or((image.as_str(), ""));
            name.rsplit('/').next() == Some(program)
        };
        wanted.iter().filter(is_of_program).cloned().collect::<Vec<_>>()
    };
    let image = |program: &'static str, own: &str, user: &str| {
        let archive = of_program(root, programs, program, own, user)?;
        let names = std::iter::once(own.to_owned()).chain(named(program)).collect();
        anyhow::Ok(Image { archive, names })
    };
    Ok(vec![
        image("pause", PAUSE_IMAGE, "65535:65535")?,
        // As root, because it listens on port 53; its Deployment takes away what it does not need.
        image("coredns", "gwapi/coredns:1", "0:0")?,
        image("echo-basic", "gwapi/echo-basic:1", "65532:65532")?,
    ])
}

/// The archive of one program's image, beside the program in the cache.
fn of_program(
    root: &Path,
    programs: &Programs,
    program: &str,
    name: &str,
    user: &str,
) -> anyhow::Result<PathBuf> {
    let context = programs.0.get(program).with_context(|| format!("{program} was not built"))?;
    let containerfile = root.join("xtask/cluster/images/Containerfile");
    let arguments = [("PROGRAM", program), ("USER", user)];
    let archive =
        context.join(archive_name(&fs::read_to_string(&containerfile)?, &arguments, name));
    let _lock = golang::lock(context, program)?;
    if !archive.exists() {
        let recipe = Recipe {
            containerfile: &containerfile,
            context,
            target: None,
            arguments: &arguments,
            name,
        };
        progress::step(&format!("image {name}"), || build(&recipe, &archive))?;
    }
    Ok(archive)
}

/// Of what an image is made beside its program, of which the folder is the key: that a file is newer than
/// another says little where both were copied, or another branch was checked out.
fn archive_name(containerfile: &str, arguments: &[(&str, &str)], name: &str) -> String {
    let mut hasher = DefaultHasher::new();
    (containerfile, arguments, name).hash(&mut hasher);
    format!("image-{:016x}.tar", hasher.finish())
}

/// Builds an image into an archive. What buildah keeps is thrown away.
pub(crate) fn build(recipe: &Recipe, archive: &Path) -> anyhow::Result<()> {
    let unfinished = archive.with_extension("unfinished");
    let storage = archive.with_extension("storage");
    let result = build_in(&storage, recipe, &unfinished)
        .and_then(|()| hand_over(&unfinished))
        .and_then(|()| fs::rename(&unfinished, archive).context("cannot move the archive"));
    // Both are gone after a success; after a failure they are of no use.
    let _ = fs::remove_file(&unfinished);
    let _ = fs::remove_dir_all(&storage);
    result.with_context(|| format!("cannot build the image {}", recipe.name))
}

fn build_in(storage: &Path, recipe: &Recipe, archive: &Path) -> anyhow::Result<()> {
    let buildah = || {
        let mut buildah = Command::new("buildah");
        // Copies instead of layers work on every file system.
        buildah.args(["--storage-driver", "vfs"]);
        buildah.arg("--root").arg(storage.join("root"));
        buildah.arg("--runroot").arg(storage.join("run"));
        buildah
    };
    let mut command = buildah();
    command.args(["build", "--isolation", "chroot", "--pull-never", "--tag", recipe.name]);
    command.arg("--file").arg(recipe.containerfile);
    if let Some(target) = recipe.target {
        command.args(["--target", target]);
    }
    for (name, value) in recipe.arguments {
        command.args(["--build-arg", &format!("{name}={value}")]);
    }
    quiet(command.arg(recipe.context))?;
    let to = format!("docker-archive:{}:{}", archive.display(), recipe.name);
    quiet(buildah().args(["push", "--quiet", recipe.name, &to])).map(|_| ())
}

/// The user as whom an image's program runs where nobody says otherwise, as its archive has it.
pub(crate) fn user(archive: &Path) -> anyhow::Result<String> {
    let file = |name: &str| {
        let mut tar = Command::new("tar");
        tar.args(["--extract", "--to-stdout", "--file"]).arg(archive).arg(name);
        let text = quiet(&mut tar)?;
        serde_json::from_str::<Value>(&text).with_context(|| format!("{name} is no JSON"))
    };
    let manifest = file("manifest.json")?;
    let config = manifest[0]["Config"].as_str().context("the archive names no config")?;
    Ok(file(config)?["config"]["User"].as_str().unwrap_or_default().to_owned())
}

/// Whether kubelet sees that a user of an image is not root: by a number, as it does not know names.
pub(crate) fn is_no_root(user: &str) -> bool {
    let (user, _) = user.split_once(':').unwrap_or((user, ""));
    user.parse::<u32>().is_ok_and(|number| number != 0)
}

/// Puts images into the store of a cluster's containerd.
pub(crate) fn load(tools: &Tools, images: &[Image]) -> anyhow::Result<()> {
    for image in images {
        let mut import = tools.ctr()?;
        // From outside: an archive may be in a folder that is another one in there.
        let said = quiet_from(import.args(["images", "import", "--local", "-"]), &image.archive)?;
        let Some((first, others)) = image.names.split_first() else { continue };
        if others.is_empty() {
            continue;
        }
        let stored = stored_name(&said, first)?;
        // Names that are given short stand beside the first.
        let registry = stored.strip_suffix(first.as_str()).unwrap_or_default();
        let is_full = |name: &&String| name.split('/').next().is_some_and(|it| it.contains('.'));
        let others = others.iter().map(|name| match is_full(&name) {
            true => name.clone(),
            false => format!("{registry}{name}"),
        });
        let mut tag = tools.ctr()?;
        tag.args(["images", "tag", "--force", &stored]).args(others);
        quiet(&mut tag)?;
    }
    Ok(())
}

/// The full name under which an image was imported.
fn stored_name(said: &str, name: &str) -> anyhow::Result<String> {
    let words = said.split_whitespace().find(|word| word.ends_with(name));
    match words {
        Some(stored) => Ok(stored.to_owned()),
        None => bail!("containerd did not import {name}, it said: {}", said.trim()),
    }
}

/// The images that manifests below a folder ask for.
fn images_named_in(folder: &Path) -> anyhow::Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(images_named_in(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            let text = fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            found.extend(text.lines().filter_map(image_in_line));
        }
    }
    Ok(found)
}

fn image_in_line(line: &str) -> Option<String> {
    let value = line.trim_start().trim_start_matches("- ").strip_prefix("image:")?;
    Some(value.trim().trim_matches(['"', '\'']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_that_of_its_recipe() {
        let recipe = archive_name("FROM scratch", &[("USER", "0:0")], "gwapi/pause:1");
        let others = [
            archive_name("FROM scratch\n", &[("USER", "0:0")], "gwapi/pause:1"),
            archive_name("FROM scratch", &[("USER", "1:1")], "gwapi/pause:1"),
            archive_name("FROM scratch", &[("USER", "0:0")], "gwapi/pause:2"),
        ];
        assert_eq!(recipe, archive_name("FROM scratch", &[("USER", "0:0")], "gwapi/pause:1"));
        assert!(others.iter().all(|other| *other != recipe), "{recipe} {others:?}");
    }

    #[test]
    fn the_user_of_an_image_is_read_and_has_to_be_a_number_that_is_not_roots() {
        let folder = std::env::temp_dir().join(format!("gwapi-image-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("manifest.json"), r#"[{"Config": "0a.json"}]"#).unwrap();
        fs::write(folder.join("0a.json"), r#"{"config": {"User": "65532:65532"}}"#).unwrap();
        let archive = folder.join("image.tar");
        let mut tar = Command::new("tar");
        tar.arg("--create").arg("--file").arg(&archive).arg("--directory").arg(&folder);
        quiet(tar.args(["manifest.json", "0a.json"])).unwrap();
        assert_eq!(user(&archive).unwrap(), "65532:65532");
        fs::remove_dir_all(&folder).unwrap();
        assert!(["65532:65532", "65532", "1:0"].into_iter().all(is_no_root));
        assert!(!["", "0", "0:65532", "root", "nobody"].into_iter().any(is_no_root));
    }

    #[test]
    fn images_are_found_in_manifests() {
        assert_eq!(image_in_line("        image: a.b/c:v1"), Some("a.b/c:v1".to_owned()));
        assert_eq!(image_in_line("      - image: \"c:v1\""), Some("c:v1".to_owned()));
        assert_eq!(image_in_line("      imagePullPolicy: Always"), None);
    }

    #[test]
    fn the_name_in_the_store_is_the_one_that_ends_with_ours() {
        let said = "registry.example/gwapi/pause:1  saved\napplication/vnd sha256:12";
        assert_eq!(stored_name(said, "gwapi/pause:1").unwrap(), "registry.example/gwapi/pause:1");
        assert!(stored_name("nothing", "gwapi/pause:1").is_err());
    }
}
