//! How much memory the process has, and how much it may have.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Where the system tells the memory of this process, among other things.
const STATUS: &str = "/proc/self/status";

/// Tells the memory of this process. Its file stays open: where descriptors are short, memory may
/// be as well.
#[derive(Debug)]
pub(super) struct Resident {
    status: File,
}

impl Resident {
    pub(super) fn open() -> io::Result<Self> {
        Ok(Self { status: File::open(STATUS)? })
    }

    /// Bytes of memory that the process has at this moment.
    pub(super) fn bytes(&self) -> io::Result<u64> {
        let mut text = [0; 4096];
        let length = self.status.read_at(&mut text, 0)?;
        resident(&String::from_utf8_lossy(&text[..length]))
            .ok_or_else(|| io::Error::other(format!("{STATUS} does not tell VmRSS")))
    }
}

fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Bytes that the process may have by its cgroup and those around it, the least of them; `None`
/// where there is no limit.
pub(super) fn cgroup_limit() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    limit_of(&groups, Path::new("/sys/fs/cgroup"))
}

/// The least limit along the paths of `groups`, which is a list of `NUMBER:CONTROLLERS:PATH`. In
/// the second version of cgroups the number is 0 and the controllers are not named.
fn limit_of(groups: &str, root: &Path) -> Option<u64> {
    let limits = groups.lines().filter_map(|line| {
        let (number, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let (folder, file) = match (number, controllers) {
            ("0", "") => (root.to_owned(), "memory.max"),
            _ if controllers.split(',').any(|controller| controller == "memory") => {
                (root.join("memory"), "memory.limit_in_bytes")
            }
            _ => return None,
        };
        // What a container sees of the tree may begin at its own group: what is not there does not
        // limit.
        let groups = Path::new(path.trim_start_matches('/')).ancestors();
        groups.filter_map(|group| limit_in(&folder.join(group).join(file))).min()
    });
    limits.min()
}

/// Above this nothing is limited: the first version of cgroups writes a great number for it.
const UNLIMITED: u64 = 1 << 60;

fn limit_in(file: &Path) -> Option<u64> {
    let limit = std::fs::read_to_string(file).ok()?.trim().parse().ok()?;
    (limit < UNLIMITED).then_some(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_this_process_is_known() {
        let resident = Resident::open().expect("Linux tells it");
        assert!((1 << 20..1 << 40).contains(&resident.bytes().expect("it is told")));
        assert_eq!(super::resident("Name:\tx\nVmRSS:\t   123 kB\nThreads:\t1\n"), Some(123 * 1024));
        assert_eq!(super::resident("Name:\tx\n"), None);
    }

    /// A tree of cgroups with these limits, by file.
    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a temporary folder");
        for (file, text) in files {
            let file = root.path().join(file);
            std::fs::create_dir_all(file.parent().expect("below the root")).expect("a folder");
            std::fs::write(file, text).expect("a file");
        }
        root
    }

    #[test]
    fn the_least_limit_along_the_path_counts() {
        let second = tree(&[
            ("kubepods/memory.max", "2000\n"),
            ("kubepods/pod/memory.max", "max\n"),
            ("kubepods/pod/box/memory.max", "3000\n"),
            ("other/memory.max", "1\n"),
        ]);
        let limit = |groups: &str| limit_of(groups, second.path());
        assert_eq!(limit("0::/kubepods/pod/box\n"), Some(2000));
        assert_eq!(limit("0::/elsewhere\n"), None);
        assert_eq!(limit("nonsense\n"), None);
        let own = tree(&[("memory.max", "7000\n")]);
        assert_eq!(limit_of("0::/\n", own.path()), Some(7000));
        assert_eq!(limit_of("0::/not/seen/from/here\n", own.path()), Some(7000));
    }

    #[test]
    fn the_first_version_of_cgroups_is_read_too() {
        let first = tree(&[
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory/box/memory.limit_in_bytes", "5000\n"),
        ]);
        let groups = "12:cpu,cpuacct:/box\n4:memory:/box\n0::/\n";
        assert_eq!(limit_of(groups, first.path()), Some(5000));
        assert_eq!(limit_of("4:memory:/\n0::/\n", first.path()), None);
    }
}
