//! What runs: a table of components with their memory.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{ErrorKind, Write as _};

use anyhow::Context;

use super::golang::KUBERNETES;
use super::state::{Cluster, DEFAULT_NAME, Init, Running, read};
use super::tools::{Tools, quiet};

/// A process of the cluster, as the kernel shows it outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    pid: u32,
    /// Bytes in memory.
    resident: u64,
}

/// Prints the components, the node, and how to use the cluster.
pub(crate) fn print(tools: &Tools) -> anyhow::Result<()> {
    let components: Vec<Running> = read(&tools.cluster.components_file())?.unwrap_or_default();
    let processes = processes(&tools.init)?;
    let nodes = quiet(tools.kubectl()?.args(["get", "nodes", "--output=wide"]))
        .unwrap_or_else(|error| format!("the API server does not answer: {error:#}\n"));
    let text = format!("{}\n{nodes}\n{}\n", table(&components, &processes), usage(&tools.cluster));
    match std::io::stdout().write_all(text.as_bytes()) {
        // Who reads only the first lines has read what he wanted.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot print"),
    }
}

/// How to use it.
pub(crate) fn usage(cluster: &Cluster) -> String {
    let name = &cluster.name;
    let option = if name == DEFAULT_NAME { String::new() } else { format!(" --name {name}") };
    format!(
        "Kubernetes {KUBERNETES}, in a network namespace of its own\n\
         kubeconfig   {}\n\
         logs         {}\n\
         kubectl      cargo xtask cluster kubectl{option} -- get pods -A\n\
         helm         cargo xtask cluster helm{option} -- list -A\n\
         any program  cargo xtask cluster exec{option} -- curl http://10.245.0.1/\n\
         end it       cargo xtask cluster down{option}",
        cluster.kubeconfig().display(),
        cluster.logs().display(),
    )
}

fn table(components: &[Running], processes: &BTreeMap<i32, Process>) -> String {
    let mut text =
        format!("{:<24} {:>8} {:>9} {:>9}  {}\n", "component", "pid", "MiB", "restarts", "state");
    for component in components {
        let process = component.pid.and_then(|pid| processes.get(&pid));
        let state = match (process, &component.ended) {
            (Some(_), None) => "running".to_owned(),
            (Some(_), Some(ended)) => format!("running, ended before with {ended}"),
            (None, Some(ended)) => format!("ended with {ended}"),
            (None, None) => "waiting for others".to_owned(),
        };
        let shown = process.map_or_else(
            || ("-".to_owned(), "-".to_owned()),
            |process| (process.pid.to_string(), mebibytes(process.resident)),
        );
        let Running { name, restarts, .. } = component;
        writeln!(text, "{name:<24} {:>8} {:>9} {restarts:>9}  {state}", shown.0, shown.1)
            .expect("a string takes every write");
    }
    let all = mebibytes(processes.values().map(|process| process.resident).sum());
    let count = processes.len();
    writeln!(text, "{:<24} {:>8} {all:>9} {:>9}  {count} processes", "all, with pods", "", "")
        .expect("a string takes every write");
    text
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / f64::from(1 << 20))
}

/// The processes of a cluster, by their numbers inside.
fn processes(init: &Init) -> anyhow::Result<BTreeMap<i32, Process>> {
    let namespace = fs::read_link(init.namespace("pid"))
        .context("the first process of the cluster has ended")?;
    let mut found = BTreeMap::new();
    for entry in fs::read_dir("/proc").context("cannot read /proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // A process may end between the reads.
        let is_inside =
            fs::read_link(entry.path().join("ns/pid")).is_ok_and(|other| other == namespace);
        let Ok(status) = fs::read_to_string(entry.path().join("status")) else { continue };
        if let (true, Some((inside, resident))) = (is_inside, numbers(&status)) {
            found.insert(inside, Process { pid, resident });
        }
    }
    Ok(found)
}

/// The innermost number of a process, and its bytes in memory, of `/proc/PID/status`.
fn numbers(status: &str) -> Option<(i32, u64)> {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    let pid = field("NSpid:")?.split_whitespace().last()?.parse().ok()?;
    let resident = field("VmRSS:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?;
    Some((pid, resident * 1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_a_process_are_those_inside() {
        let status = "Name:\tetcd\nNSpid:\t4711\t12\nVmRSS:\t    2048 kB\n";
        assert_eq!(numbers(status), Some((12, 2 * 1024 * 1024)));
        assert_eq!(numbers("Name:\tkthreadd\nNSpid:\t2\n"), None);
    }

    #[test]
    fn the_table_tells_what_runs_from_what_ended() {
        let running = |name: &str, pid, restarts, ended: Option<&str>| Running {
            name: name.to_owned(),
            pid,
            restarts,
            ended: ended.map(str::to_owned),
        };
        let components =
            [running("etcd", Some(12), 0, None), running("kubelet", None, 1, Some("signal 9"))];
        let processes = BTreeMap::from([(12, Process { pid: 4711, resident: 3 << 19 })]);
        let expected = "\
component                     pid       MiB  restarts  state
etcd                         4711       1.5         0  running
kubelet                         -         -         1  ended with signal 9
all, with pods                          1.5            1 processes
";
        assert_eq!(table(&components, &processes), expected);
    }
}
