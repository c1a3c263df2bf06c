//! The proxy of one Gateway in a cluster: its controller says what to serve.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, ValueEnum};
use gwapi_dataplane::stream::{Stream, StreamSettings};
use gwapi_dataplane::{
    ConfigPage, Limits, ProxyBuilder, TrustedProxies, Upgrades, raise_open_files_limit,
};
use gwapi_model::{GatewayDuration, NamespacedName};
use mimalloc::MiMalloc;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// As in the command `gwapi`, for the same reasons.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// More workers than this serve a pod no better, unless somebody says otherwise.
const MOST_WORKERS: usize = 4;

/// Exit codes beside 0: drained after a signal.
const COULD_NOT_START: u8 = 3;
const FAILED: u8 = 4;
const STOPPED_AT_ONCE: i32 = 130;

const ABOUT: &str = "\
Exit codes:
  0    drained after SIGTERM or SIGINT
  2    wrong usage
  3    could not start, say because the admin address is in use
  4    drained because it could take in no configuration any more, which is a bug
  130  stopped at once by a second SIGTERM or SIGINT";

/// Serves one Gateway of a cluster, as its controller says
#[derive(Debug, Parser)]
#[command(name = "gwapi-proxy", version, after_help = ABOUT, max_term_width = 100)]
struct Arguments {
    /// The Gateway to serve
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = gateway)]
    gateway: NamespacedName,
    /// The controller's address, such as https://10.96.0.7:18000
    #[arg(long, value_name = "URL", value_parser = https)]
    config_server: String,
    /// DNS name that the controller's certificate has to be for
    #[arg(long, value_name = "NAME")]
    config_server_name: String,
    /// File with the certificates that the controller's has to come from; read anew for each
    /// connection
    #[arg(long, value_name = "FILE")]
    config_ca: PathBuf,
    /// File with the token that says who this proxy is; read anew for each connection
    #[arg(long, value_name = "FILE")]
    token: PathBuf,
    /// Folder for the last good configuration, for a start without the controller
    ///
    /// It holds private keys: use a folder in memory that nobody else reads.
    #[arg(long, value_name = "FOLDER")]
    snapshot_dir: Option<PathBuf>,
    /// Name of this proxy in the controller's reports [default: that of the host]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Serve /readyz, /livez and /metrics here; /config is for loopback alone
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:19000")]
    admin: SocketAddr,
    /// Number of workers, each with a thread [default: the CPUs that the process may use, at most 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,
    /// What to log; RUST_LOG says it in more detail
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log_level: LogLevel,
    /// Believe N proxies in front of this one about clients: the client is the Nth entry from the
    /// right of X-Forwarded-For
    #[arg(long, value_name = "N", default_value_t = 0,
          value_parser = clap::value_parser!(u16).range(0..=100))]
    trusted_hops: u16,
    /// Protocols that clients may switch to by `Upgrade`, with commas between them; none where it is empty
    #[arg(long, value_name = "PROTOCOL[,PROTOCOL]", default_value = "websocket",
          value_parser = upgrades)]
    upgrades: Upgrades,
    /// After SIGTERM: go on accepting until no connection came for this time, at most for half of
    /// --drain-timeout
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration)]
    drain_quiet: Duration,
    /// After SIGTERM: cut what is still in flight after this time
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    drain_timeout: Duration,
    /// Set a limit, such as max-connections=5000 or head-timeout=5s; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = limit)]
    limit: Vec<(String, String)>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    start_log(arguments.log_level);
    match run(arguments) {
        Ok(code) => code,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::from(COULD_NOT_START)
        }
    }
}

/// Our own lines from this level on, and the errors of others: clients can cause warnings in HTTP/2
/// code as often as they like.
fn start_log(level: LogLevel) {
    let level = level.to_possible_value().map(|value| value.get_name().to_owned());
    let ours = format!("error,gwapi={}", level.unwrap_or_default());
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(ours));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .init();
}

fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    if let Err(error) = raise_open_files_limit() {
        tracing::info!(%error, "the limit on open files stays as it is");
    }
    let signals = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (mut terminate, mut interrupt) = {
        let _context = signals.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
    };
    let proxy = builder(&arguments)?.start()?;
    if let Some(address) = proxy.admin_address() {
        tracing::info!(%address, "health and metrics are served here");
    }
    let stream = Stream::start(settings(arguments), proxy).context("cannot start a thread")?;

    let failed = stream.failed();
    let told = signals.block_on(async {
        tokio::select! {
            told = next(&mut terminate, &mut interrupt) => Some(told),
            () = failed => None,
        }
    });
    match told {
        Some(told) => tracing::info!(signal = told, "draining"),
        None => {
            tracing::error!("no configuration can be applied any more, which is a bug; draining")
        }
    }
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let told = signals.block_on(next(&mut terminate, &mut interrupt));
        tracing::warn!(signal = told, "stopped at once");
        std::process::exit(STOPPED_AT_ONCE);
    })?;
    let drained = stream.drain();
    tracing::info!(cut_connections = drained.cut_connections, "drained");
    Ok(if told.is_some() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

fn builder(arguments: &Arguments) -> anyhow::Result<ProxyBuilder> {
    let mut limits = Limits::default();
    for (name, value) in &arguments.limit {
        limits.set(name, value)?;
    }
    limits.drain_quiet = arguments.drain_quiet;
    limits.drain_timeout = arguments.drain_timeout;
    let trusted = match arguments.trusted_hops {
        0 => TrustedProxies::None,
        hops => TrustedProxies::Hops(hops.into()),
    };
    Ok(ProxyBuilder::new()
        .limits(limits)
        .workers(workers(arguments.workers, thread::available_parallelism().ok()))
        .trusted_proxies(trusted)
        .upgrades(arguments.upgrades.clone())
        .config_page(ConfigPage::Loopback)
        .admin(arguments.admin))
}

/// How many workers there are: as many as are asked for, or one for each CPU that the process may use, within
/// limits. `cpus` counts those of its affinity and of its control group's quota; none where that is unknown.
fn workers(asked: Option<u16>, cpus: Option<NonZeroUsize>) -> usize {
    let cpus = cpus.map_or(1, usize::from).min(MOST_WORKERS);
    asked.map_or(cpus, usize::from)
}

fn settings(arguments: Arguments) -> StreamSettings {
    StreamSettings {
        server: arguments.config_server,
        server_name: arguments.config_server_name,
        ca: arguments.config_ca,
        token: arguments.token,
        gateway: arguments.gateway,
        proxy_name: arguments.name.or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_default(),
        snapshot_dir: arguments.snapshot_dir,
    }
}

fn gateway(text: &str) -> Result<NamespacedName, String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => {
            Ok(NamespacedName::new(namespace, name))
        }
        _ => Err("a namespace and a name are expected, such as shop/web".to_owned()),
    }
}

fn https(text: &str) -> Result<String, String> {
    match text.parse::<http::Uri>() {
        Ok(uri) if uri.scheme_str() == Some("https") && uri.host().is_some() => Ok(text.to_owned()),
        _ => Err("a URL with https is expected, such as https://10.96.0.7:18000".to_owned()),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    GatewayDuration::parse(text).map(|duration| duration.get()).map_err(|error| error.to_string())
}

fn upgrades(text: &str) -> Result<Upgrades, String> {
    Upgrades::parse(text).map_err(|error| error.to_string())
}

fn limit(text: &str) -> Result<(String, String), String> {
    let (name, value) =
        text.split_once('=').ok_or("NAME=VALUE is expected, such as max-connections=5000")?;
    Limits::default().set(name, value).map_err(|error| error.to_string())?;
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    const NEEDED: [&str; 6] = [
        "gwapi-proxy",
        "--gateway=shop/web",
        "--config-server=https://[fd00::7]:18000",
        "--config-server-name=gwapi-controller.gwapi-system.svc",
        "--config-ca=/ca.crt",
        "--token=/token",
    ];

    /// What is needed, and this, or this instead.
    fn parse(more: &[&str]) -> Result<Arguments, clap::Error> {
        let flag = |argument: &str| argument.split('=').next().map(str::to_owned);
        let other = |needed: &&&str| more.iter().all(|it| flag(it) != flag(needed));
        Arguments::try_parse_from(NEEDED.iter().filter(other).chain(more))
    }

    #[test]
    fn the_definition_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        let arguments = parse(&[]).expect("complete");
        assert_eq!(arguments.gateway, NamespacedName::new("shop", "web"));
        assert_eq!(arguments.admin, SocketAddr::from(([127, 0, 0, 1], 19000)));
        assert_eq!(arguments.drain_quiet, Duration::from_secs(1));
        assert_eq!(arguments.drain_timeout, Duration::from_secs(60));
        assert_eq!(arguments.upgrades, Upgrades::default());
        assert!(builder(&arguments).is_ok());
    }

    #[test]
    fn without_a_number_there_is_a_worker_for_each_cpu_up_to_four() {
        let by_default = |cpus| workers(None, NonZeroUsize::new(cpus));
        assert_eq!([1, 2, 4, 5, 64].map(by_default), [1, 2, 4, 4, 4]);
        assert_eq!(by_default(0), 1, "it is not known how many there are");
        assert_eq!(workers(Some(16), NonZeroUsize::new(2)), 16, "it is said");
    }

    #[test]
    fn wrong_values_are_answered_with_right_ones() {
        for (argument, hint) in [
            ("--gateway=web", "shop/web"),
            ("--config-server=http://10.96.0.7", "https://10.96.0.7:18000"),
            ("--config-server=10.96.0.7:18000", "https://10.96.0.7:18000"),
            ("--drain-timeout=1.5s", "1h30m"),
            ("--limit=max-header=1", "did you mean `max-headers`?"),
            ("--workers=0", "1..=1024"),
            ("--upgrades=websocket,h2c", "`h2c` is HTTP itself"),
        ] {
            let error = parse(&[argument]).expect_err("refused").to_string();
            assert!(error.contains(hint), "{error}");
        }
    }
}
