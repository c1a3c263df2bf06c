//! How busy and how full the machine is: what a stage that failed may have lacked.

use std::fs;
use std::path::Path;

use rustix::fs::statvfs;

/// Bytes of a GiB.
const GIB: f64 = (1_u64 << 30) as f64;

/// One line: the load, how much of the last minute something waited for each resource, and what is
/// free of memory and of the disk of `folder`. What cannot be read is left out.
pub(crate) fn state(folder: &Path) -> String {
    let load = read("/proc/loadavg").and_then(|text| Some(text.split(' ').next()?.to_owned()));
    let waits = ["cpu", "io", "memory"].map(|resource| {
        let percent = read(&format!("/proc/pressure/{resource}")).and_then(|text| waited(&text))?;
        Some(format!("waited for {resource} {percent:.0} %"))
    });
    let memory = read("/proc/meminfo").and_then(|text| available(&text));
    let disk = statvfs(folder).ok().map(|disk| (disk.f_bavail * disk.f_frsize) as f64 / GIB);
    let parts = [load.map(|load| format!("load {load}"))].into_iter().chain(waits).chain([
        memory.map(|gib| format!("{gib:.1} GiB of memory free")),
        disk.map(|gib| format!("{gib:.1} GiB of disk free")),
    ]);
    format!("machine: {}", parts.flatten().collect::<Vec<_>>().join(", "))
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// The share of the last minute in which some task waited, of a file of `/proc/pressure`.
fn waited(text: &str) -> Option<f64> {
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    some.split(' ').find_map(|part| part.strip_prefix("avg60="))?.parse().ok()
}

/// The GiB that programs can still get, of `/proc/meminfo`.
fn available(text: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024.0 / GIB)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_is_read() {
        let pressure =
            "some avg10=1.00 avg60=12.50 avg300=3.00 total=9\nfull avg10=0.00 avg60=7.00";
        assert_eq!(waited(pressure), Some(12.5));
        let memory = "MemTotal:       25000000 kB\nMemAvailable:    3145728 kB\n";
        assert_eq!(available(memory), Some(3.0));
        assert_eq!((waited(""), available("MemAvailable: much")), (None, None));
    }

    #[test]
    fn the_line_names_memory_and_disk() {
        let line = state(Path::new("."));
        assert!(line.contains("GiB of memory free") && line.contains("GiB of disk free"), "{line}");
    }
}
