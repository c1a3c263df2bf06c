//! `gwapi run` on a folder of manifests: one object for each route.

mod gateway;
mod routes;

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use serde_json::Value;

use super::{Edit, write};
use crate::bench::site::Site;

/// Objects in a file.
const ROUTES_PER_FILE: usize = 400;

/// The file of the route that is edited.
const EDITED: &str = "edited.yaml";

/// Writes the manifests and returns the command.
pub(super) fn configure(site: &Site, folder: &Path, program: &Path) -> anyhow::Result<Command> {
    let manifests = folder.join("manifests");
    fs::create_dir(&manifests).context("cannot create the folder of manifests")?;
    write(&manifests.join("gateway.yaml"), gateway::manifest(site)?)?;
    let mut routes: Vec<String> = routes::manifests(site).collect();
    let last = routes.pop().context("a site has a route")?;
    write(&manifests.join(EDITED), last)?;
    for (number, chunk) in routes.chunks(ROUTES_PER_FILE).enumerate() {
        write(&manifests.join(format!("routes-{number:04}.yaml")), chunk.concat())?;
    }
    let mut command = Command::new(program);
    command.arg("run").arg(&manifests);
    command.args(["--strict", "--listen", "127.0.0.1", "--admin", "off", "--workers", "1"]);
    command.args(["--output", "json", "--drain-timeout", "1s"]);
    for backend in &site.backends {
        command.arg("--backend");
        command.arg(format!("default/{}:80={}", backend.name, backend.address));
    }
    Ok(command)
}

/// The file of the last route is renamed into place, as deployments should do it.
pub(super) fn prepare_edit(site: &Site, folder: &Path) -> anyhow::Result<Edit> {
    let manifests = folder.join("manifests");
    // A name that starts with a dot is not read.
    let from = manifests.join(".edited");
    let last = routes::manifests(site).last().context("a site has a route")?;
    write(&from, last)?;
    Ok(Edit::Rename { from, to: manifests.join(EDITED) })
}

/// The milliseconds of each change in what `--output json` printed.
pub(super) fn compile_times(log: &str) -> Vec<f64> {
    let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let changes = events.filter(|event| event["event"] == "change");
    changes.filter_map(|change| change["milliseconds"].as_f64()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_of_changes_are_read_and_nothing_else() {
        let log = "{\"event\":\"start\",\"generation\":1}\na warning\n\
                   {\"event\":\"change\",\"milliseconds\":1.25}\n";
        assert_eq!(compile_times(log), [1.25]);
    }
}
