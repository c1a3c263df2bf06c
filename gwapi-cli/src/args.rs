//! The command line, as clap reads it.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use gwapi_dataplane::{AccessLogFormat, TrustedProxies, UnderscoreHeaders, Upgrades};
use gwapi_model::GatewayDuration;
use ipnet::IpNet;

use crate::backends::BackendArg;
use crate::check::{self, CheckArgs};
use crate::limits::LimitArg;

const EXIT_CODES: &str = "\
Exit codes:
  0    fine; `run` and `demo`: drained after SIGTERM or SIGINT
  1    something is wrong with the manifests (`check`, `status`, `run --strict`)
  2    wrong usage
  3    could not start, say because the admin address is in use
  130  stopped at once by a second SIGTERM or SIGINT";

const RUN_EXAMPLES: &str = "\
Examples:
  gwapi run manifests/
      Serves a folder; edits are live as soon as they are saved.
  gwapi run gateway.yaml routes.yaml --port-offset 8000
      Port 80 becomes 8080, port 443 becomes 8443: no privileges needed.
  gwapi run manifests/ --demo
      Every Service without endpoints is answered by a built-in echo backend.
  gwapi run manifests/ --backend default/web:80=127.0.0.1:3000,127.0.0.1:3001
      The Service `web` in the namespace `default` is two processes on this machine.
  gwapi run manifests/ --address-pool 127.1.0.0/16
      Each Gateway gets an address of its own, so that several may use port 80.";

const RUN_JSON: &str = "\
Output of --output json: one JSON object per line on standard output, told apart by `event`.
  start     version, generation, admin, gateways, notRead, problems
  change    files, objects, listeners, lastGood (files that are served as they were when they were
            last good), generation, milliseconds
  problem   severity, message; file, line, column, object, field, listener, parent, condition,
            reason, help where they apply
  solved    the fields of `problem`, for one that is gone
  draining  signal
  drained   cutConnections
  stopped   signal: the second one, which ends it at once
  ignored   signal: SIGHUP, which changes nothing
  lost      lines: how many are missing here, because nobody read what came before
  request   with --access-log json: the fields of the access log
Every line has `time`. Fields may be added; none is renamed or removed within a major version.";

const STATUS_EXAMPLES: &str = "\
Examples:
  gwapi status manifests/
      What a cluster would say about these manifests, problems first.
  gwapi status manifests/ -o yaml
      Every Gateway API object with its `status`, as a YAML stream.
  gwapi status manifests/ -o json | jq '.items[].status'

Exit codes:
  0    nothing is wrong; warnings are not counted
  1    something is wrong with the manifests, or there are none
  2    wrong usage
  3    could not start, say because the host of a --backend is not found";

const DEMO_EXAMPLES: &str = "\
Examples:
  gwapi demo
      Lists the demos.
  gwapi demo paths
      Writes the manifests of a demo to a temporary folder and serves them, with an echo backend
      behind each Service, and shows what to ask it.";

const DEMO_PORT_OFFSET: &str = "\
Add N to the port of every listener [default: 8000 where ports need privileges, 0 elsewhere]";

/// The Kubernetes Gateway API without a cluster: a folder of manifests, one command, traffic.
#[derive(Debug, Parser)]
#[command(name = "gwapi", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve manifests, and their edits
    #[command(after_help = RUN_EXAMPLES, after_long_help = long(RUN_EXAMPLES))]
    Run(RunArgs),
    /// Serve an example that comes with gwapi
    #[command(after_help = DEMO_EXAMPLES)]
    Demo(DemoArgs),
    /// Show the status that Gateways and routes would have in a cluster
    #[command(after_help = STATUS_EXAMPLES)]
    Status(StatusArgs),
    /// Say what is wrong with manifests, or looks like it, with lines and advice
    #[command(after_help = check::EXAMPLES, after_long_help = check::long_help())]
    Check(CheckArgs),
}

fn long(examples: &str) -> String {
    format!("{examples}\n\n{RUN_JSON}\n\n{EXIT_CODES}")
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Files and folders of YAML or JSON; they may appear later
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// Answer for each Service that nothing gives endpoints to, with a built-in echo backend
    ///
    /// Listens on 127.0.0.1 and ::1 only, unless --listen says otherwise.
    #[arg(long)]
    pub(crate) demo: bool,
    /// Exit with 1 at start when something is wrong, instead of serving the rest
    #[arg(long)]
    pub(crate) strict: bool,
    #[command(flatten)]
    pub(crate) translation: TranslationArgs,
    #[command(flatten)]
    pub(crate) serving: ServingArgs,
}

#[derive(Debug, Args)]
#[command(mut_arg("port_offset", |argument| argument.help(DEMO_PORT_OFFSET)))]
pub(crate) struct DemoArgs {
    /// Name of the demo; without one, all are listed
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) translation: TranslationArgs,
    #[command(flatten)]
    pub(crate) serving: ServingArgs,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Files and folders of YAML or JSON
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// How to print it
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub(crate) output: StatusOutput,
    #[command(flatten)]
    pub(crate) translation: TranslationArgs,
}

/// Options on which translation depends.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "What is served")]
pub(crate) struct TranslationArgs {
    /// Add N to the port of every listener [default: 0]
    #[arg(long, value_name = "N")]
    pub(crate) port_offset: Option<u16>,
    /// Address to listen on, for Gateways without `spec.addresses`; may be repeated
    /// [default: 0.0.0.0 and ::; with a demo 127.0.0.1 and ::1]
    #[arg(long, value_name = "ADDRESS", value_parser = listen_address)]
    pub(crate) listen: Vec<IpAddr>,
    /// Give each Gateway without `spec.addresses` an address of its own out of a network
    #[arg(long, value_name = "CIDR", value_parser = network, conflicts_with = "listen")]
    pub(crate) address_pool: Option<IpNet>,
    /// Addresses of a Service, in place of its EndpointSlices; may be repeated
    #[arg(long, value_name = "NS/SERVICE[:PORT]=HOST:PORT[,HOST:PORT]")]
    pub(crate) backend: Vec<BackendArg>,
    /// Serve only GatewayClasses of this controller
    ///
    /// By default every GatewayClass is served, and a class that is only referred to as well.
    #[arg(long, value_name = "NAME")]
    pub(crate) controller_name: Option<String>,
    /// Route to Services of type ExternalName, which Gateway API implementations should refuse
    #[arg(long)]
    pub(crate) allow_external_name: bool,
    /// What to do with request headers that have `_` in their names: `reject` answers 400
    ///
    /// Backends that read `_` for `-` could take them for headers that the gateway sets. Those that
    /// would be taken so are dropped even with `keep`.
    #[arg(long, value_name = "POLICY", default_value = "drop")]
    pub(crate) underscore_headers: Underscores,
}

/// Options of a running proxy.
#[derive(Debug, Args)]
#[command(next_help_heading = "How it runs")]
pub(crate) struct ServingArgs {
    /// Address of /healthz, /readyz, /metrics and /config, or `off`
    ///
    /// [default: 127.0.0.1:15000, or a free port where that one is taken]
    #[arg(long, value_name = "ADDRESS", value_parser = admin_address)]
    pub(crate) admin: Option<Admin>,
    /// Write a line per request to standard output
    #[arg(long, value_name = "FORMAT", default_value = "off")]
    pub(crate) access_log: AccessLog,
    /// Number of threads that serve traffic [default: one per core]
    #[arg(long, value_name = "N", value_parser = workers)]
    pub(crate) workers: Option<usize>,
    /// How to report what is served: for people, or a JSON object per line
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) output: Output,
    /// Believe N proxies in front of this gateway about clients: the client is the Nth entry from the
    /// right of X-Forwarded-For
    ///
    /// Only where nobody can reach the gateway past them. By default such headers are overwritten.
    #[arg(long, value_name = "N", value_parser = hops, conflicts_with = "trusted_cidr")]
    pub(crate) trusted_hops: Option<usize>,
    /// Believe proxies with an address in this network about clients; may be repeated
    ///
    /// The client is the first entry from the right of X-Forwarded-For that is in none of them.
    #[arg(long, value_name = "CIDR", value_parser = proxy_network)]
    pub(crate) trusted_cidr: Vec<IpNet>,
    /// Protocols that clients may switch to by `Upgrade`, with commas between them; none where it is empty
    #[arg(long, value_name = "PROTOCOL[,PROTOCOL]", default_value = "websocket",
          value_parser = upgrades)]
    pub(crate) upgrades: Upgrades,
    /// Keys that the tokens of sessions are sealed with: 64 hexadecimal digits per line, the first one seals
    ///
    /// Sessions go on after a restart, and at every gateway with the same file. Without one they end with
    /// the process.
    #[arg(long, value_name = "FILE")]
    pub(crate) session_key_file: Option<PathBuf>,
    /// After SIGTERM: cut what is still in flight after this time [default: 60s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) drain_timeout: Option<Duration>,
    /// After SIGTERM: go on accepting until no connection came for this time, at most for half of
    /// --drain-timeout [default: 1s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) drain_quiet: Option<Duration>,
    /// Set a limit, such as max-connections=5000 or head-timeout=5s; may be repeated
    ///
    /// --list-limits shows their names, defaults and what happens beyond them.
    #[arg(long, value_name = "NAME=VALUE", value_parser = LimitArg::parse)]
    pub(crate) limit: Vec<LimitArg>,
    /// List the limits that --limit sets, and exit
    #[arg(long, exclusive = true)]
    pub(crate) list_limits: bool,
}

/// Where the admin server listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admin {
    Off,
    At(SocketAddr),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AccessLog {
    Text,
    Json,
    Off,
}

impl AccessLog {
    pub(crate) fn format(self) -> Option<AccessLogFormat> {
        match self {
            Self::Text => Some(AccessLogFormat::Text),
            Self::Json => Some(AccessLogFormat::Json),
            Self::Off => None,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Underscores {
    #[default]
    Drop,
    Keep,
    Reject,
}

impl Underscores {
    pub(crate) fn policy(self) -> UnderscoreHeaders {
        match self {
            Self::Drop => UnderscoreHeaders::Drop,
            Self::Keep => UnderscoreHeaders::Keep,
            Self::Reject => UnderscoreHeaders::Reject,
        }
    }
}

impl ServingArgs {
    pub(crate) fn trusted_proxies(&self) -> TrustedProxies {
        match self.trusted_hops {
            Some(hops) => TrustedProxies::Hops(hops),
            None if self.trusted_cidr.is_empty() => TrustedProxies::None,
            None => TrustedProxies::Networks(self.trusted_cidr.clone()),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StatusOutput {
    Table,
    Yaml,
    Json,
}

fn listen_address(text: &str) -> Result<IpAddr, String> {
    if text.parse::<SocketAddr>().is_ok() {
        return Err("an address without port is expected: the ports are those of the listeners, \
                    moved by --port-offset"
            .to_owned());
    }
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().map_err(|_| "an IP address is expected, such as 127.0.0.1 or ::1".to_owned())
}

fn network(text: &str) -> Result<IpNet, String> {
    text.parse::<IpNet>().map(|network| network.trunc()).map_err(|_| {
        "a network in CIDR notation is expected, such as 127.1.0.0/16 or fd00:1::/112".to_owned()
    })
}

/// A network, or the one address of a proxy.
fn proxy_network(text: &str) -> Result<IpNet, String> {
    let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    network.map(|network| network.trunc()).map_err(|_| {
        "a network in CIDR notation or an address is expected, such as 10.0.0.0/8 or fd00:1::7"
            .to_owned()
    })
}

fn hops(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(hops @ 0..=100) => Ok(hops),
        _ => Err("a number from 0 to 100 is expected".to_owned()),
    }
}

fn upgrades(text: &str) -> Result<Upgrades, String> {
    Upgrades::parse(text).map_err(|error| error.to_string())
}

fn admin_address(text: &str) -> Result<Admin, String> {
    if text == "off" {
        return Ok(Admin::Off);
    }
    text.parse().map(Admin::At).map_err(|_| {
        "an IP address with a port is expected, such as 127.0.0.1:15000 or [::1]:0, or `off`"
            .to_owned()
    })
}

fn workers(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=1024) => Ok(count),
        _ => Err("a number from 1 to 1024 is expected".to_owned()),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    GatewayDuration::parse(text).map(|duration| duration.get()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    use super::*;

    fn error(arguments: &[&str]) -> clap::Error {
        Cli::try_parse_from(arguments).expect_err("refused")
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    /// The help of a subcommand, wherever its lines are broken.
    fn help(subcommand: &str) -> String {
        let text = error(&["gwapi", subcommand, "--help"]).to_string();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn only_a_demo_moves_ports_by_itself() {
        assert!(help("demo").contains("8000 where ports need privileges"), "{}", help("demo"));
        for subcommand in ["run", "status", "check"] {
            assert!(!help(subcommand).contains("need privileges,"), "{}", help(subcommand));
            assert!(help(subcommand).contains("listener [default: 0]"), "{}", help(subcommand));
        }
    }

    #[test]
    fn the_help_of_each_command_that_can_end_with_1_says_so() {
        for subcommand in ["run", "status", "check"] {
            let help = help(subcommand);
            assert!(help.contains(" 1 something is wrong with the manifests"), "{help}");
        }
    }

    #[test]
    fn a_run_needs_a_path() {
        let error = error(&["gwapi", "run"]);
        assert_eq!(error.kind(), ErrorKind::MissingRequiredArgument);
        assert!(error.to_string().contains("<PATH>"), "{error}");
    }

    #[test]
    fn a_bad_network_is_answered_with_an_example() {
        let error = error(&["gwapi", "run", ".", "--address-pool", "127.1.0.0"]);
        assert!(error.to_string().contains("127.1.0.0/16"), "{error}");
    }

    #[test]
    fn an_address_to_listen_on_has_no_port() {
        let error = error(&["gwapi", "run", ".", "--listen", "127.0.0.1:8080"]);
        assert!(error.to_string().contains("--port-offset"), "{error}");
    }

    #[test]
    fn durations_are_those_of_the_gateway_api() {
        let cli = Cli::try_parse_from(["gwapi", "run", ".", "--drain-timeout", "1m30s"])
            .expect("a duration");
        let Command::Run(run) = cli.command else { panic!("run expected") };
        assert_eq!(run.serving.drain_timeout, Some(Duration::from_secs(90)));
        let error = error(&["gwapi", "run", ".", "--drain-timeout", "1.5s"]);
        assert!(error.to_string().contains("1h30m"), "{error}");
    }

    #[test]
    fn a_pool_and_listen_exclude_each_other() {
        let error = error(&[
            "gwapi",
            "run",
            ".",
            "--address-pool",
            "127.1.0.0/16",
            "--listen",
            "127.0.0.1",
        ]);
        assert_eq!(error.kind(), ErrorKind::ArgumentConflict);
    }

    #[test]
    fn proxies_are_trusted_by_their_number_or_by_their_networks() {
        let trusted = |more: &[&str]| {
            let cli = Cli::try_parse_from(["gwapi", "run", "."].iter().chain(more));
            let Command::Run(run) = cli.expect("arguments").command else { panic!("run expected") };
            run.serving.trusted_proxies()
        };
        assert_eq!(trusted(&[]), TrustedProxies::None);
        assert_eq!(trusted(&["--trusted-hops", "2"]), TrustedProxies::Hops(2));
        let networks = ["10.0.0.0/8", "::1/128"].map(|text| text.parse().expect("CIDR")).to_vec();
        let more = ["--trusted-cidr", "10.1.2.3/8", "--trusted-cidr", "::1"];
        assert_eq!(trusted(&more), TrustedProxies::Networks(networks));
        let both = ["--trusted-cidr", "10.0.0.0/8", "--trusted-hops", "1"];
        let error = error(&["gwapi", "run", ".", both[0], both[1], both[2], both[3]]);
        assert_eq!(error.kind(), ErrorKind::ArgumentConflict);
    }

    #[test]
    fn upgrades_are_websocket_or_what_is_named_but_never_http() {
        let upgrades = |more: &[&str]| {
            let cli = Cli::try_parse_from(["gwapi", "run", "."].iter().chain(more));
            let Command::Run(run) = cli.expect("arguments").command else { panic!("run expected") };
            run.serving.upgrades
        };
        assert_eq!(upgrades(&[]), Upgrades::default());
        let named = Upgrades::parse("websocket,foo").expect("protocols");
        assert_eq!(upgrades(&["--upgrades", "websocket,foo"]), named);
        assert_eq!(upgrades(&["--upgrades="]), Upgrades::parse("").expect("none"));
        let error = error(&["gwapi", "run", ".", "--upgrades", "websocket,h2c"]).to_string();
        assert!(error.contains("`h2c` is HTTP itself"), "{error}");
    }

    #[test]
    fn a_wrong_limit_is_told_with_the_way_out() {
        let refused = |limit| error(&["gwapi", "run", ".", "--limit", limit]).to_string();
        assert!(refused("max-header=1").contains("did you mean `max-headers`?"));
        assert!(refused("head-timeout=10").contains("such as 10s or 500ms"));
        for odd in ["list", "help", "max-headers"] {
            assert!(refused(odd).contains("--list-limits"), "{}", refused(odd));
        }
    }

    #[test]
    fn listing_the_limits_needs_no_path() {
        let cli = Cli::try_parse_from(["gwapi", "run", "--list-limits"]).expect("nothing else");
        let Command::Run(run) = cli.command else { panic!("run expected") };
        assert!(run.serving.list_limits);
    }

    #[test]
    fn the_admin_address_may_be_off() {
        for (text, expected) in [
            ("off", Some(Admin::Off)),
            ("[::1]:0", Some(Admin::At(SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 0))))),
            ("15000", None),
        ] {
            assert_eq!(admin_address(text).ok(), expected, "{text}");
        }
    }
}
