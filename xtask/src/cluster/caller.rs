//! The user who called sudo. Builds run as he, and what is kept in caches is his.

use std::fs::{self, File};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::Context;

/// The number of a user, and of his group.
#[derive(Clone, Copy)]
struct Caller {
    user: u32,
    group: u32,
}

/// Who called sudo, if one did.
fn caller() -> Option<Caller> {
    let number = |name| std::env::var(name).ok()?.parse().ok();
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    Some(Caller { user: number("SUDO_UID")?, group: number("SUDO_GID")? })
}

/// Runs the command as the user who called sudo, if one did.
pub(crate) fn as_caller(command: &mut Command) {
    if let Some(Caller { user, group }) = caller() {
        command.uid(user).gid(group);
    }
}

/// Makes a file or a folder that of the user who called sudo, if one did.
pub(crate) fn hand_over(path: &Path) -> anyhow::Result<()> {
    hand_over_to(caller(), path)
}

/// A folder that belongs to the user who called sudo, as do those above it that were missing.
pub(crate) fn create_folder(folder: &Path) -> anyhow::Result<()> {
    create_folder_of(caller(), folder)
}

/// An empty file that belongs to the user who called sudo.
pub(crate) fn create_file(path: &Path) -> anyhow::Result<File> {
    create_file_of(caller(), path)
}

fn hand_over_to(caller: Option<Caller>, path: &Path) -> anyhow::Result<()> {
    let Some(Caller { user, group }) = caller else { return Ok(()) };
    chown(path, Some(user), Some(group))
        .with_context(|| format!("cannot hand over {}", path.display()))
}

fn create_folder_of(caller: Option<Caller>, folder: &Path) -> anyhow::Result<()> {
    let missing: Vec<&Path> = folder.ancestors().take_while(|path| !path.exists()).collect();
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    // One that is there may have been made by an earlier run, as root.
    hand_over_to(caller, folder)?;
    missing.into_iter().try_for_each(|path| hand_over_to(caller, path))
}

fn create_file_of(caller: Option<Caller>, path: &Path) -> anyhow::Result<File> {
    let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    hand_over_to(caller, path)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn what_is_made_for_a_caller_is_his_and_what_was_there_is_not() {
        let base = std::env::temp_dir().join(format!("gwapi-caller-{}", std::process::id()));
        fs::create_dir(&base).unwrap();
        let own = fs::metadata(&base).unwrap();
        // Root alone can give something away, and not everywhere to everybody.
        let other = Caller { user: 65534, group: 65533 };
        let probe = base.join("probe");
        let can_give = create_file_of(Some(other), &probe).is_ok();
        let caller = match can_give {
            true => other,
            false => Caller { user: own.uid(), group: own.gid() },
        };
        let folder = base.join("cache/gwapi-cluster");
        create_folder_of(Some(caller), &folder).unwrap();
        create_file_of(Some(caller), &folder.join("lock")).unwrap();
        let owner = |path: &Path| {
            let data = fs::metadata(path).unwrap();
            (data.uid(), data.gid())
        };
        assert_eq!(owner(&base), (own.uid(), own.gid()));
        let his = (caller.user, caller.group);
        for path in [base.join("cache"), folder.clone(), folder.join("lock")] {
            assert_eq!(owner(&path), his, "{}", path.display());
        }
        fs::remove_dir_all(&base).unwrap();
    }
}
