//! The command `gwapi`: a folder of Gateway API manifests, one command, traffic.

mod addresses;
mod args;
mod backends;
mod demo;
mod echoes;
mod overlay;
mod paint;
mod problems;
mod report;
mod run;
mod signals;
mod status;

use std::process::ExitCode;

use clap::Parser;
use mimalloc::MiMalloc;
use tracing_subscriber::EnvFilter;

use crate::args::{Cli, Command};
use crate::paint::Paint;

/// Requests take and give back many buffers. glibc would return them to the kernel and ask for them
/// again all the time. Without huge pages it needs no more memory than glibc.
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

fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr();
    let outcome = match &cli.command {
        Command::Run(arguments) => run::run(arguments),
        Command::Demo(arguments) => demo::demo(arguments),
        Command::Status(arguments) => status::status(arguments),
    };
    let exit = outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        Exit::CouldNotStart
    });
    ExitCode::from(exit as u8)
}

/// Warnings and errors by default; `RUST_LOG=info` tells more.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(Paint::of_stderr().on)
        .with_writer(std::io::stderr)
        .init();
}
