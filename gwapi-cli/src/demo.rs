//! `gwapi demo`: the examples that come with gwapi, served from any folder.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};

use anyhow::Context;
use gwapi_model::Resource;
use gwapi_model::manifest::parse;

use crate::Exit;
use crate::args::DemoArgs;
use crate::limits;
use crate::paint::Paint;
use crate::queue::{LineQueue, print};
use crate::report::table::plain;
use crate::run::{Service, serve};

/// Added to ports that need privileges, where there are none.
const UNPRIVILEGED_OFFSET: u16 = 8_000;

/// Commands to try that are shown.
const COMMANDS: usize = 6;

/// An example: manifests by file name.
struct Demo {
    name: &'static str,
    about: &'static str,
    files: &'static [(&'static str, &'static str)],
}

macro_rules! files {
    ($folder:literal: $($file:literal),+ $(,)?) => {
        // `demos` is a link to the examples of the repository, so that a package has them too.
        &[$(($file, include_str!(concat!("../demos/", $folder, "/", $file)))),+]
    };
}

const DEMOS: &[Demo] = &[
    Demo {
        name: "paths",
        about: "which backend answers: by path, by header, by query",
        files: files!("paths": "gateway.yaml", "routes.yaml", "conditions.yaml", "services.yaml"),
    },
    Demo {
        name: "hostnames",
        about: "one port, many hosts: exact ones, wildcards, listeners of their own",
        files: files!("hostnames": "gateway.yaml", "routes.yaml", "services.yaml"),
    },
    Demo {
        name: "teams",
        about: "a shared Gateway: each team adds listeners of its own, and who comes first wins",
        files: files!("teams": "gateway.yaml", "shop.yaml", "blog.yaml", "stranger.yaml"),
    },
    Demo {
        name: "from-zero",
        about: "three roles in three namespaces: HTTP, then HTTPS with a certificate",
        files: files!("from-zero": "infrastructure.yaml", "shop.yaml", "certificate.yaml"),
    },
    Demo {
        name: "canary",
        about: "HTTPS, a new version with a share of the traffic, two teams on one host",
        files: files!(
            "canary": "class.yaml", "gateway.yaml", "certificate.yaml", "routes.yaml",
            "services.yaml", "teams.yaml",
        ),
    },
];

pub(crate) fn demo(arguments: &DemoArgs, log: &LineQueue) -> anyhow::Result<Exit> {
    if arguments.serving.list_limits {
        limits::list();
        return Ok(Exit::Fine);
    }
    let Some(name) = &arguments.name else {
        list();
        return Ok(Exit::Fine);
    };
    let Some(demo) = DEMOS.iter().find(|demo| demo.name == name) else {
        let names: Vec<_> = DEMOS.iter().map(|demo| demo.name).collect();
        log.line(&format!("error: there is no demo `{name}`; there are: {}", names.join(", ")));
        return Ok(Exit::WrongUsage);
    };
    let folder = tempfile::Builder::new()
        .prefix(&format!("gwapi-{name}-"))
        .tempdir()
        .context("cannot make a temporary folder")?;
    for (file, text) in demo.files {
        std::fs::write(folder.path().join(file), text)
            .with_context(|| format!("cannot write {file} to {}", folder.path().display()))?;
    }
    let place = folder.path().display();
    let service = Service {
        paths: vec![folder.path().to_owned()],
        demo: true,
        strict: false,
        port_offset: arguments.translation.port_offset.unwrap_or_else(|| demo.port_offset()),
        translation: &arguments.translation,
        serving: &arguments.serving,
        commands: COMMANDS,
        preface: Some(format!("The manifests are in {place}: edit them and see.\n")),
    };
    serve(&service, log)
}

fn list() {
    let mut table = plain(["DEMO", "SHOWS"], Paint::of_stdout());
    for demo in DEMOS {
        table.add_row(vec![demo.name, demo.about]);
    }
    print(&table.trim_fmt());
    print("");
    print("gwapi demo NAME serves one, with an echo backend behind each Service.");
}

impl Demo {
    /// Ports of the example's listeners.
    fn ports(&self) -> Vec<u16> {
        let mut ports = Vec::new();
        for (file, text) in self.files {
            for object in parse(file, text).objects {
                let listeners = match &object.resource {
                    Resource::Gateway(gateway) => &*gateway.spec.listeners,
                    Resource::ListenerSet(set) => &*set.spec.listeners,
                    _ => &[],
                };
                ports.extend(listeners.iter().map(|listener| listener.port.get()));
            }
        }
        ports
    }

    /// 0, unless a port needs privileges that this process does not have.
    fn port_offset(&self) -> u16 {
        let denied = |port: u16| {
            TcpListener::bind((Ipv4Addr::LOCALHOST, port))
                .is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
        };
        if self.ports().into_iter().any(denied) { UNPRIVILEGED_OFFSET } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_demo_is_free_of_problems_and_has_a_gateway() {
        for demo in DEMOS {
            assert!(!demo.ports().is_empty(), "{} has no listener", demo.name);
            for (file, text) in demo.files {
                let problems = parse(file, text).problems;
                assert_eq!(problems, [], "{}", demo.name);
            }
        }
    }

    #[test]
    fn moved_ports_stay_in_range() {
        for demo in DEMOS {
            let highest = demo.ports().into_iter().max().unwrap_or_default();
            assert!(highest.checked_add(UNPRIVILEGED_OFFSET).is_some(), "{}", demo.name);
        }
    }
}
