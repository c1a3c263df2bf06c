//! The command `gwapi`: a folder of Gateway API manifests, one command, traffic.

mod addresses;
mod args;
mod backends;
mod check;
mod demo;
mod echoes;
mod limits;
mod overlay;
mod paint;
mod problems;
mod queue;
mod report;
mod run;
mod session_keys;
mod signals;
mod status;

use std::process::ExitCode;

use clap::Parser;
use mimalloc::MiMalloc;
use tracing_subscriber::EnvFilter;

use crate::args::{Cli, Command};
use crate::paint::Paint;
use crate::queue::{LAST_WORD, LineQueue};
use crate::report::count;

/// Requests take and give back many buffers. glibc would return them to the kernel and ask for them
/// again all the time, and so would version 2 of mimalloc, after 10 ms: with a connection for each
/// request that is more than one page fault for each. Version 3 waits for a second. Without huge pages
/// it needs no more memory than glibc.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// How a command ended; clap itself exits with 2 as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    Fine = 0,
    Problems = 1,
    WrongUsage = 2,
    CouldNotStart = 3,
}

/// What is logged unless `RUST_LOG` says otherwise: our own warnings, as a target is a prefix, and
/// the errors of others. Clients can cause warnings in HTTP/2 code as often as they like.
const FILTER: &str = "error,gwapi=warn";

fn main() -> ExitCode {
    let cli = Cli::parse();
    let log = match start_log() {
        Ok(log) => log,
        Err(error) => {
            eprintln!("error: cannot start a thread for standard error: {error}");
            return ExitCode::from(Exit::CouldNotStart as u8);
        }
    };
    let outcome = match &cli.command {
        Command::Run(arguments) => run::run(arguments, &log),
        Command::Demo(arguments) => demo::demo(arguments, &log),
        Command::Status(arguments) => status::status(arguments),
        Command::Check(arguments) => check::check(arguments),
    };
    let exit = outcome.unwrap_or_else(|error| {
        log.line(&format!("error: {error:#}"));
        Exit::CouldNotStart
    });
    log.flush(LAST_WORD);
    ExitCode::from(exit as u8)
}

/// Logs to standard error, through a queue: threads that serve never wait for whoever reads it.
fn start_log() -> std::io::Result<LineQueue> {
    let queue = LineQueue::start("log", std::io::stderr(), |lines| {
        format!("warning: {} of the log lost here, because nobody read them", count(lines, "line"))
    })?;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(FILTER));
    let writer = queue.clone();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(Paint::of_stderr().on)
        .with_writer(move || writer.clone())
        .init();
    Ok(queue)
}
