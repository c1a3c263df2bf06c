//! What the kernel says of a group of processes: time on the CPU and resident memory.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;

/// The time that all threads of all processes of a group ran. A thread that ended is not counted
/// any more, so a difference is right only while none ends; the proxies keep theirs.
pub(crate) fn cpu_time(group: u32) -> anyhow::Result<Duration> {
    let mut nanoseconds = 0;
    for process in members(group)? {
        let Ok(tasks) = fs::read_dir(format!("/proc/{process}/task")) else { continue };
        for task in tasks.flatten() {
            // A thread may end between the two reads; what it did then is lost for both sides.
            let Ok(text) = fs::read_to_string(task.path().join("schedstat")) else { continue };
            nanoseconds += run_time(&text).context("schedstat is not as expected")?;
        }
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// Bytes in memory, summed over the processes of a group.
pub(crate) fn resident(group: u32) -> anyhow::Result<u64> {
    let mut kilobytes = 0;
    for process in members(group)? {
        let Ok(text) = fs::read_to_string(format!("/proc/{process}/status")) else { continue };
        kilobytes += resident_kilobytes(&text).unwrap_or_default();
    }
    Ok(kilobytes * 1024)
}

/// Whether a process has a handler for SIGINT.
pub(crate) fn catches_interrupts(process: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/status"));
    status.is_ok_and(|text| caught_signals(&text).is_some_and(|mask| mask & INTERRUPT != 0))
}

/// The bit of SIGINT, which is signal 2.
const INTERRUPT: u64 = 1 << (2 - 1);

/// Processes of a group, by number.
fn members(group: u32) -> anyhow::Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("cannot read /proc")?.flatten() {
        let Some(number) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if group_of(&entry.path()) == Some(group) {
            found.push(number);
        }
    }
    Ok(found)
}

fn group_of(process: &Path) -> Option<u32> {
    process_group(&fs::read_to_string(process.join("stat")).ok()?)
}

/// The group in `/proc/PID/stat`: the third field after the name, which may hold anything.
fn process_group(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(2)?.parse().ok()
}

/// Nanoseconds on the CPU in `/proc/PID/task/TID/schedstat`: its first field.
fn run_time(schedstat: &str) -> Option<u64> {
    schedstat.split_whitespace().next()?.parse().ok()
}

/// `VmRSS` in `/proc/PID/status`.
fn resident_kilobytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The mask `SigCgt` in `/proc/PID/status`.
fn caught_signals(status: &str) -> Option<u64> {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_hides_no_group() {
        let stat = "17 (a) b (c)) S 1 42 42 0 -1 4194304 1 0 0 0";
        assert_eq!(process_group(stat), Some(42));
    }

    #[test]
    fn run_time_is_the_first_field() {
        assert_eq!(run_time("123456789 4242 77\n"), Some(123_456_789));
        assert_eq!(run_time(""), None);
    }

    #[test]
    fn resident_memory_is_read_from_status() {
        assert_eq!(resident_kilobytes("VmHWM:\t  900 kB\nVmRSS:\t  852 kB\n"), Some(852));
        assert_eq!(resident_kilobytes("Name:\tkthread\n"), None);
    }

    #[test]
    fn signals_that_are_caught_are_a_mask() {
        let status = "SigIgn:\t0000000000001002\nSigCgt:\t0000000000004002\n";
        assert_eq!(caught_signals(status), Some(0x4002));
        assert_eq!(caught_signals("SigIgn:\t0000000000000002\n"), None);
    }

    #[test]
    fn this_process_uses_memory_and_time() {
        let group = group_of(Path::new("/proc/self")).unwrap();
        assert!(resident(group).unwrap() > 100 * 1024);
        let before = cpu_time(group).unwrap();
        let mut sum = 0_u64;
        while cpu_time(group).unwrap() == before {
            sum = std::hint::black_box(sum + 1);
        }
    }
}
