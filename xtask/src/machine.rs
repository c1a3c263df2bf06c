//! How busy and how full the machine is: what a stage that failed may have lacked.

use std::cmp::Reverse;
use std::collections::BTreeMap;
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

/// Programs that are named where it is told who used the processors.
const NAMED: usize = 5;

/// What the processors have done up to a moment, and for whom.
#[derive(Default)]
pub(crate) struct Processors {
    ticks: Ticks,
    /// Of each process: when it began and its number, which together are its own; its program.
    processes: BTreeMap<(u64, u32), Process>,
}

/// Time of all processors, in ticks since the machine began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ticks {
    all: u64,
    idle: u64,
    /// Taken by the machine beneath this one.
    stolen: u64,
}

struct Process {
    program: String,
    ticks: u64,
}

impl Processors {
    /// What they have done until now.
    pub(crate) fn now() -> Self {
        let ticks = read("/proc/stat").and_then(|text| ticks(&text)).unwrap_or_default();
        let of = |entry: fs::DirEntry| {
            let number: u32 = entry.file_name().to_str()?.parse().ok()?;
            let (begun, process) = process(&fs::read_to_string(entry.path().join("stat")).ok()?)?;
            Some(((begun, number), process))
        };
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        Self { ticks, processes: entries.filter_map(of).collect() }
    }

    /// A line on what they did since `self`: shares of the time of all of them, and the programs that
    /// run now and had most of it. What processes used that have ended is nobody's.
    pub(crate) fn since(&self) -> String {
        self.until(&Self::now())
    }

    fn until(&self, now: &Self) -> String {
        let all = now.ticks.all.saturating_sub(self.ticks.all).max(1) as f64;
        let percent = |ticks: u64| ticks as f64 * 100.0 / all;
        let mut programs = BTreeMap::<&str, u64>::new();
        for (key, process) in &now.processes {
            let before = self.processes.get(key).map_or(0, |process| process.ticks);
            *programs.entry(&process.program).or_default() += process.ticks.saturating_sub(before);
        }
        let mut programs: Vec<_> = programs.into_iter().collect();
        programs.sort_by_key(|(_, ticks)| Reverse(*ticks));
        let used = programs.iter().take(NAMED).map(|&(program, ticks)| (program, percent(ticks)));
        let used = used.filter(|(_, percent)| *percent >= 1.0);
        let used = used.map(|(program, percent)| format!(", {program} {percent:.0} %"));
        format!(
            "processors: {:.0} % idle, {:.0} % stolen{}",
            percent(now.ticks.idle.saturating_sub(self.ticks.idle)),
            percent(now.ticks.stolen.saturating_sub(self.ticks.stolen)),
            used.collect::<String>()
        )
    }
}

/// The first line of `/proc/stat`: user, nice, system, idle, waiting for I/O, interrupts of both
/// kinds, stolen.
fn ticks(text: &str) -> Option<Ticks> {
    let line = text.lines().next()?.strip_prefix("cpu ")?;
    let fields: Option<Vec<u64>> =
        line.split_whitespace().take(8).map(|field| field.parse().ok()).collect();
    let fields = fields.filter(|fields| fields.len() == 8)?;
    Some(Ticks { all: fields.iter().sum(), idle: fields[3] + fields[4], stolen: fields[7] })
}

/// When a process began, its program, and what it used, of `/proc/PID/stat`. A name may hold anything.
fn process(text: &str) -> Option<(u64, Process)> {
    let (before, after) = text.rsplit_once(')')?;
    let program = before.split_once('(')?.1.to_owned();
    let fields: Vec<&str> = after.split_whitespace().collect();
    // Behind the name, fields 3 and on: 14 and 15 are time in the program and in the kernel for it.
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some((field(22)?, Process { program, ticks: field(14)? + field(15)? }))
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
    fn who_used_the_processors_is_told() {
        let stat = |text: &str| ticks(text).unwrap();
        let before = stat("cpu  100 0 100 700 100 0 0 0 0 0\ncpu0 1");
        let now = stat("cpu  150 0 110 710 100 0 10 20 0 0\ncpu0 1");
        assert_eq!(now, Ticks { all: 1_100, idle: 810, stolen: 20 });
        assert_eq!((ticks("cpu0 1 2 3"), ticks("cpu  1 2 3")), (None, None));

        let line = |number: u32, name: &str, used: u64, begun: u64| {
            let text =
                format!("{number} ({name}) R 1 2 3 4 5 6 7 8 9 10 {used} 5 0 0 20 0 1 0 {begun} 9");
            let (begun, process) = process(&text).unwrap();
            ((begun, number), process)
        };
        let before = Processors {
            ticks: before,
            processes: [line(1, "etcd", 90, 10), line(2, "etcd", 20, 11), line(3, "old", 50, 12)]
                .into(),
        };
        let now = Processors {
            ticks: now,
            // 3 is another process by now.
            processes: [
                line(1, "etcd", 100, 10),
                line(2, "etcd", 25, 11),
                line(3, "a) (b", 25, 99),
            ]
            .into(),
        };
        let told = before.until(&now);
        assert_eq!(told, "processors: 10 % idle, 20 % stolen, a) (b 30 %, etcd 15 %");
    }

    #[test]
    fn the_line_names_memory_and_disk() {
        let line = state(Path::new("."));
        assert!(line.contains("GiB of memory free") && line.contains("GiB of disk free"), "{line}");
    }
}
