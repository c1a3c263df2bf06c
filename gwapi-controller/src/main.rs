//! The command `gwapi-controller`: the Gateway API in a cluster.

mod args;

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use gwapi_controller::run;
use kube::Config;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::args::{Cli, LogFormat};

/// Exit code of a controller that could not start.
const COULD_NOT_START: u8 = 3;

/// Exit code after a second signal.
const STOPPED_AT_ONCE: i32 = 130;

/// Threads: the engine may be busy for a moment while proxies are served and the Lease is renewed.
const THREADS: usize = 4;

fn main() -> ExitCode {
    let cli = Cli::parse();
    start_log(&cli);
    let threads = std::thread::available_parallelism().map_or(2, usize::from).clamp(2, THREADS);
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .context("cannot start the runtime")
        .and_then(|runtime| runtime.block_on(controller(cli)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(COULD_NOT_START)
        }
    }
}

async fn controller(cli: Cli) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
    let config = Config::infer().await.context(
        "no way to an API server: run this in a pod with a ServiceAccount, or set KUBECONFIG",
    )?;
    let settings = cli.into_settings(&config.default_namespace);
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        controller_name = settings.controller_name,
        namespace = settings.namespace,
        identity = settings.identity,
        server = %config.cluster_url,
        "starting"
    );
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            std::process::exit(STOPPED_AT_ONCE);
        });
    };
    Ok(run(settings, config, shutdown).await?)
}

/// Logs to standard error: our own events from the level that is asked for, the errors of others. Not
/// those of the client: whoever asks it something tells what came of it, with the object in question.
fn start_log(cli: &Cli) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| {
        EnvFilter::new(format!("error,kube_client=off,gwapi_controller={}", cli.log_level.as_str()))
    });
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match cli.log_format {
        LogFormat::Text => log.with_ansi(false).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}
