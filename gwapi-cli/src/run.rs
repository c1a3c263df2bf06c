//! `gwapi run`: serves files and folders until a signal.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use gwapi_dataplane::{
    ProxyBuilder, ProxyHandle, Standalone, StartError, TranslatedFolder, raise_open_files_limit,
};
use gwapi_translate::{AddressPolicy, Options};

use crate::Exit;
use crate::addresses::{self, AddressPool};
use crate::args::{Admin, Output, RunArgs, ServingArgs, TranslationArgs, Underscores};
use crate::backends::Backends;
use crate::limits;
use crate::overlay::CommandLine;
use crate::paint::Paint;
use crate::queue::{LAST_WORD, LineQueue};
use crate::report::reporter::{Printer, Reporter};
use crate::session_keys;
use crate::signals::Signals;

/// Port of the admin server where nobody asks for another.
const ADMIN_PORT: u16 = 15_000;

/// How long a signal may go unnoticed.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(100);

/// How long a second signal waits for what it prints.
const AT_ONCE: Duration = Duration::from_millis(200);

/// What is served, and how.
#[derive(Debug)]
pub(crate) struct Service<'a> {
    pub(crate) paths: Vec<PathBuf>,
    pub(crate) demo: bool,
    pub(crate) strict: bool,
    pub(crate) port_offset: u16,
    pub(crate) translation: &'a TranslationArgs,
    pub(crate) serving: &'a ServingArgs,
    /// Commands to try that the start shows.
    pub(crate) commands: usize,
    /// What people are told before anything else.
    pub(crate) preface: Option<String>,
}

pub(crate) fn run(arguments: &RunArgs, log: &LineQueue) -> anyhow::Result<Exit> {
    if arguments.serving.list_limits {
        limits::list();
        return Ok(Exit::Fine);
    }
    let service = Service {
        paths: arguments.paths.clone(),
        demo: arguments.demo,
        strict: arguments.strict,
        port_offset: arguments.translation.port_offset.unwrap_or(0),
        translation: &arguments.translation,
        serving: &arguments.serving,
        commands: 1,
        preface: None,
    };
    serve(&service, log)
}

/// Serves until a signal, and drains. Warnings of the start go to `log`.
pub(crate) fn serve(service: &Service<'_>, log: &LineQueue) -> anyhow::Result<Exit> {
    let printer = Printer::start(service.serving.output)
        .context("cannot start a thread for standard output")?;
    let outcome = serve_and_report(service, &printer, log);
    printer.flush(LAST_WORD);
    outcome
}

fn serve_and_report(
    service: &Service<'_>,
    printer: &Printer,
    log: &LineQueue,
) -> anyhow::Result<Exit> {
    let limits = match limits::limits(service.serving) {
        Ok(limits) => limits,
        Err(error) => {
            log.line(&format!("error: {error}"));
            return Ok(Exit::WrongUsage);
        }
    };
    if let Err(error) = raise_open_files_limit() {
        tracing::info!(%error, "the limit on open files stays as it is");
    }
    let session_keys = service.serving.session_key_file.as_deref().map(session_keys::read);
    let session_keys = session_keys.transpose()?;
    let signals = listen_for_signals(printer).context("cannot listen for signals")?;
    if let (Some(preface), Output::Text) = (&service.preface, service.serving.output) {
        printer.line(preface);
    }
    let builder = ProxyBuilder::new()
        .limits(limits)
        .trusted_proxies(service.serving.trusted_proxies())
        .upgrades(service.serving.upgrades.clone())
        .underscore_headers(service.translation.underscore_headers.policy());
    let proxy = start_proxy(service.serving, builder)?;
    if let Some(admin) = proxy.admin_address().filter(|admin| is_reachable(*admin)) {
        let warning = Paint::of_stderr().doubtful("warning");
        log.line(&format!(
            "{warning}: the admin address {admin} can be reached from other machines, and shows \
             the whole configuration to whoever asks; 127.0.0.1:{} is for this machine alone",
            admin.port()
        ));
    }
    let mut overlay = overlay(service.translation, proxy.admin_address())?;
    if service.demo {
        overlay = overlay.with_echoes();
    }
    let options = options(service.translation, service.port_offset, service.demo);
    let options = Options { session_keys, ..options };
    let mut source = TranslatedFolder::open(service.paths.clone(), options, overlay);
    let mut reporter = Reporter::new(printer.clone(), service.paths.clone(), service.commands);
    reporter.prepare(&source);
    if service.strict && reporter.has_errors(&source) {
        reporter.refuse(&source);
        return Ok(Exit::Problems);
    }

    source.watch().context("cannot watch the files for edits")?;
    let mut standalone = Standalone::start(source, proxy);
    reporter.follow_start(&standalone);
    if service.strict && reporter.has_errors(standalone.source()) {
        reporter.refuse(standalone.source());
        return Ok(Exit::Problems);
    }
    reporter.start(&standalone);
    let signal = loop {
        if let Some(signal) = signals.received() {
            break signal;
        }
        if let Some(change) = standalone.wait(SIGNAL_INTERVAL) {
            reporter.change(&standalone, &change);
        }
    };
    reporter.draining(signal);
    reporter.drained(standalone.drain());
    Ok(Exit::Fine)
}

fn listen_for_signals(printer: &Printer) -> std::io::Result<Signals> {
    let (ignored, stopped) = (printer.clone(), printer.clone());
    Signals::listen(
        move |signal| ignored.ignored(signal),
        move |signal| {
            stopped.stopped(signal);
            stopped.flush(AT_ONCE);
        },
    )
}

/// Whether other machines may reach an address that this one listens on.
fn is_reachable(address: SocketAddr) -> bool {
    !address.ip().to_canonical().is_loopback()
}

/// What the command line asks of translation.
pub(crate) fn options(arguments: &TranslationArgs, port_offset: u16, demo: bool) -> Options {
    let addresses = match arguments.address_pool {
        Some(_) => AddressPolicy::Assigned(Default::default()),
        None => AddressPolicy::Shared(addresses::shared(&arguments.listen, demo)),
    };
    let default = Options::default();
    Options {
        any_controller: arguments.controller_name.is_none(),
        controller_name: arguments.controller_name.clone().unwrap_or(default.controller_name),
        port_offset,
        reserved_ports: default.reserved_ports,
        addresses,
        allow_external_name: arguments.allow_external_name,
        underscore_headers: arguments.underscore_headers == Underscores::Keep,
        installed_bundle: None,
        session_keys: None,
        cluster_trust_bundles: true,
    }
}

/// What the command line adds to the files.
pub(crate) fn overlay(
    arguments: &TranslationArgs,
    admin: Option<SocketAddr>,
) -> anyhow::Result<CommandLine> {
    let backends = Backends::resolve(&arguments.backend, admin)?;
    let pool = arguments.address_pool.map(AddressPool::new);
    Ok(CommandLine::new(backends, admin, pool, arguments.controller_name.is_none()))
}

fn start_proxy(arguments: &ServingArgs, mut builder: ProxyBuilder) -> anyhow::Result<ProxyHandle> {
    if let Some(workers) = arguments.workers {
        builder = builder.workers(workers);
    }
    if let Some(format) = arguments.access_log.format() {
        builder = builder.access_log(format);
    }
    match arguments.admin {
        Some(Admin::Off) => Ok(builder.start()?),
        Some(Admin::At(address)) => builder.admin(address).start().context(
            "choose another address with --admin, such as 127.0.0.1:0 for a free port, \
             or none with --admin off",
        ),
        None => {
            let default = SocketAddr::from((Ipv4Addr::LOCALHOST, ADMIN_PORT));
            match builder.clone().admin(default).start() {
                // Another gateway of this machine has the port: nobody asked for this very one.
                Err(StartError::Admin { .. }) => {
                    Ok(builder.admin((Ipv4Addr::LOCALHOST, 0).into()).start()?)
                }
                other => Ok(other?),
            }
        }
    }
}
