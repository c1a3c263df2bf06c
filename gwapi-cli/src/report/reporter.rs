//! Tells what is served, and every change of it, on standard output.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use gwapi_dataplane::{Drained, Standalone, StandaloneChange, TranslatedFolder};
use gwapi_model::manifest::Severity;
use jiff::{Timestamp, Zoned};

use crate::args::Output;
use crate::overlay::CommandLine;
use crate::paint::Paint;
use crate::problems;
use crate::queue::LineQueue;
use crate::report::issue::{Issue, IssueKey, Level, RouteIssues, grouped};
use crate::report::json::{Event, Line, ListenerChanges, ListenerLine, NotRead};
use crate::report::view::View;
use crate::report::{count, curl, lines, some_of, table};

/// Problems shown in full at once; what is more is counted.
const MAX_PROBLEMS: usize = 20;

/// Prints the lines of a report. What is printed never waits for whoever reads.
#[derive(Clone, Debug)]
pub(crate) struct Printer {
    output: Output,
    paint: Paint,
    queue: LineQueue,
}

impl Printer {
    /// Prints on standard output.
    pub(crate) fn start(output: Output) -> std::io::Result<Self> {
        let queue = LineQueue::start("report", std::io::stdout(), move |lines| match output {
            Output::Json => json(Event::Lost { lines }),
            Output::Text => {
                format!("... {} lost here, because nobody read them", count(lines, "line"))
            }
        })?;
        Ok(Self { output, paint: Paint::of_stdout(), queue })
    }

    /// Waits until everything is printed, at most `timeout`.
    pub(crate) fn flush(&self, timeout: Duration) {
        self.queue.flush(timeout);
    }

    /// Tells that a second signal ends it at once.
    pub(crate) fn stopped(&self, signal: &str) {
        match self.output {
            Output::Json => self.json(Event::Stopped { signal }),
            Output::Text => self.timed(&format!("{signal}: stopped at once")),
        }
    }

    /// Tells that a signal changes nothing.
    pub(crate) fn ignored(&self, signal: &str) {
        match self.output {
            Output::Json => self.json(Event::Ignored { signal }),
            Output::Text => self.timed(&format!(
                "{signal}: ignored, edits are live without a signal; SIGTERM stops"
            )),
        }
    }

    /// Prints a line of text.
    pub(crate) fn line(&self, text: &str) {
        self.queue.line(text);
    }

    fn timed(&self, text: &str) {
        let now = Zoned::now().strftime("%H:%M:%S").to_string();
        self.line(&format!("{} {text}", self.paint.dim(&now)));
    }

    fn json(&self, event: Event<'_>) {
        self.line(&json(event));
    }
}

/// The running report of a gateway.
pub(crate) struct Reporter {
    printer: Printer,
    /// Paths as given, by which files are shown shorter.
    roots: Vec<PathBuf>,
    /// Commands to try that the start shows.
    commands: usize,
    listeners: BTreeSet<ListenerLine>,
    issues: Vec<(IssueKey, Issue)>,
    of_routes: RouteIssues,
    foreign: Vec<(String, usize)>,
}

impl Reporter {
    pub(crate) fn new(printer: Printer, roots: Vec<PathBuf>, commands: usize) -> Self {
        Self {
            printer,
            roots,
            commands,
            listeners: BTreeSet::new(),
            issues: Vec::new(),
            of_routes: RouteIssues::default(),
            foreign: Vec::new(),
        }
    }

    /// Looks at every route, of which there may be many: before anything is served, so that no
    /// edit has to wait for it.
    pub(crate) fn prepare(&mut self, source: &TranslatedFolder<CommandLine>) {
        self.of_routes = RouteIssues::of(source);
    }

    /// Takes in what the proxy said of what it was given to serve.
    pub(crate) fn follow_start(&mut self, standalone: &Standalone<CommandLine>) {
        self.of_routes.follow(standalone.source(), &[], standalone.statuses());
    }

    /// Whether something that was asked for is not served.
    pub(crate) fn has_errors(&self, source: &TranslatedFolder<CommandLine>) -> bool {
        let issues = self.of_routes.with_all_others(source);
        issues.iter().any(|issue| issue.level == Level::Error)
    }

    /// Tells what is served at first.
    pub(crate) fn start(&mut self, standalone: &Standalone<CommandLine>) {
        let source = standalone.source();
        let view = View::of(source, Some(&standalone.proxy().bound()));
        let issues = self.of_routes.with_all_others(source);
        match self.printer.output {
            Output::Json => self.printer.json(Event::Start {
                version: env!("CARGO_PKG_VERSION"),
                generation: standalone.generation(),
                admin: standalone.proxy().admin_address().map(|address| address.to_string()),
                gateways: &view.gateways,
                not_read: source
                    .foreign()
                    .iter()
                    .map(|(kind, objects)| NotRead { kind, objects: *objects })
                    .collect(),
                problems: issues.iter().map(Into::into).collect(),
            }),
            Output::Text => self.start_text(standalone, &view, &issues),
        }
        self.listeners = listener_lines(&view);
        self.issues = keyed(issues);
        self.foreign = source.foreign().to_vec();
    }

    /// Tells what is wrong, and nothing else: for a start that is given up.
    pub(crate) fn refuse(&self, source: &TranslatedFolder<CommandLine>) {
        let issues = self.of_routes.with_all_others(source);
        match self.printer.output {
            Output::Json => {
                issues.iter().for_each(|issue| self.printer.json(Event::Problem(issue.into())));
            }
            Output::Text => self.problems(source, &issues.iter().collect::<Vec<_>>()),
        }
    }

    /// Tells what changed.
    pub(crate) fn change(
        &mut self,
        standalone: &Standalone<CommandLine>,
        change: &StandaloneChange,
    ) {
        let source = standalone.source();
        let view = View::without_routes(source, Some(&standalone.proxy().bound()));
        let listeners = listener_lines(&view);
        let changed = ListenerChanges {
            added: listeners.difference(&self.listeners).cloned().collect(),
            removed: self.listeners.difference(&listeners).cloned().collect(),
        };
        self.of_routes.follow(source, &change.objects, &change.statuses);
        let issues = keyed(self.of_routes.with_all_others(source));
        let keys: BTreeSet<_> = issues.iter().map(|(key, _)| key).collect();
        let known: BTreeSet<_> = self.issues.iter().map(|(key, _)| key).collect();
        let new: Vec<_> =
            issues.iter().filter(|(key, _)| !known.contains(key)).map(|(_, i)| i).collect();
        let solved: Vec<_> =
            self.issues.iter().filter(|(key, _)| !keys.contains(key)).map(|(_, i)| i).collect();
        match self.printer.output {
            Output::Json => {
                self.printer.json(Event::Change {
                    files: change.files.iter().map(|file| file.display().to_string()).collect(),
                    objects: change.objects.iter().map(Into::into).collect(),
                    listeners: changed,
                    last_good: change
                        .files
                        .iter()
                        .map(|file| file.display().to_string())
                        .filter(|file| source.keeps_last_good(file))
                        .collect(),
                    generation: standalone.generation(),
                    milliseconds: change.took.as_micros() as f64 / 1000.0,
                });
                new.iter().for_each(|issue| self.printer.json(Event::Problem((*issue).into())));
                solved.iter().for_each(|issue| self.printer.json(Event::Solved((*issue).into())));
            }
            Output::Text => {
                let is_refused =
                    change.files.iter().all(|file| is_refused(source, &file.display().to_string()));
                if !change.objects.is_empty() || !is_refused {
                    self.printer.timed(&lines::change(change, source.files(), &self.roots));
                }
                self.refused(source, change);
                for text in lines::listeners(&changed, &listeners) {
                    self.printer.timed(&text);
                }
                self.problems(source, &new);
                self.solved(&solved);
                if self.foreign != source.foreign() {
                    self.not_read(source.foreign());
                }
            }
        }
        self.listeners = listeners;
        self.issues = issues;
        self.foreign = source.foreign().to_vec();
    }

    /// Tells that the end began.
    pub(crate) fn draining(&self, signal: &str) {
        match self.printer.output {
            Output::Json => self.printer.json(Event::Draining { signal }),
            Output::Text => self.printer.timed(&format!(
                "{signal}: finishing what is in flight (a second signal stops at once)"
            )),
        }
    }

    /// Tells how it ended.
    pub(crate) fn drained(&self, drained: Drained) {
        match self.printer.output {
            Output::Json => {
                self.printer.json(Event::Drained { cut_connections: drained.cut_connections })
            }
            Output::Text if drained.cut_connections == 0 => {
                self.printer.timed("drained: every request was answered");
            }
            Output::Text => self.printer.timed(&format!(
                "drained: {} cut, because --drain-timeout passed",
                count(drained.cut_connections, "connection")
            )),
        }
    }

    fn start_text(&self, standalone: &Standalone<CommandLine>, view: &View, issues: &[Issue]) {
        let source = standalone.source();
        if view.gateways.is_empty() {
            let paths: Vec<_> = self.roots.iter().map(|root| root.display().to_string()).collect();
            self.printer.line(&format!("gwapi {} serves nothing yet", env!("CARGO_PKG_VERSION")));
            self.printer.line(&format!("It waits for a Gateway in {}", some_of(&paths, 5)));
        } else {
            self.printer.line(&self.printer.paint.bold(&format!(
                "gwapi {} serves {}, {}, {}",
                env!("CARGO_PKG_VERSION"),
                count(view.gateways.len(), "Gateway"),
                count(view.listeners().filter(|(_, listener)| listener.served).count(), "listener"),
                count(view.routes, "route"),
            )));
            self.printer.line("");
            self.printer.line(&table::gateways(view, self.printer.paint));
        }
        if let Some(admin) = standalone.proxy().admin_address() {
            self.printer.line("");
            self.printer.line(
                &self
                    .printer
                    .paint
                    .dim(&format!("Admin: http://{admin} (/healthz /readyz /metrics /config)")),
            );
        }
        let commands = curl::commands(source, view, self.commands);
        if !commands.is_empty() {
            self.printer.line("");
            self.printer.line("Try:");
            commands.iter().for_each(|command| self.printer.line(&format!("  {command}")));
        }
        if !issues.is_empty() || !source.foreign().is_empty() {
            self.printer.line("");
        }
        self.problems(source, &issues.iter().collect::<Vec<_>>());
        self.not_read(source.foreign());
    }

    fn problems(&self, source: &TranslatedFolder<CommandLine>, issues: &[&Issue]) {
        let issues = grouped(issues.iter().copied());
        for issue in issues.iter().take(MAX_PROBLEMS) {
            let text = issue.place.as_ref().and_then(|place| source.text(&place.file));
            self.printer.line(&problems::render(issue, text, self.printer.paint.on));
        }
        let hidden = issues.len().saturating_sub(MAX_PROBLEMS);
        if hidden > 0 {
            let hidden = count(hidden, "problem");
            self.printer
                .line(&format!("... and {hidden} more; with --output json all are printed"));
        }
    }

    fn solved(&self, issues: &[&Issue]) {
        let issues = grouped(issues.iter().copied());
        for issue in issues.iter().take(MAX_PROBLEMS).filter(|issue| issue.level != Level::Note) {
            self.printer.timed(&self.printer.paint.good(&format!("solved: {}", issue.line())));
        }
        let hidden = issues.len().saturating_sub(MAX_PROBLEMS);
        if hidden > 0 {
            self.printer.timed(
                &self.printer.paint.good(&format!("solved: {} more", count(hidden, "problem"))),
            );
        }
    }

    /// Tells of edited files with errors; what else changed is told already.
    fn refused(&self, source: &TranslatedFolder<CommandLine>, change: &StandaloneChange) {
        for file in &change.files {
            let name = file.display().to_string();
            if is_refused(source, &name) {
                let shown = lines::shortened(file, &self.roots);
                let keeps = source.keeps_last_good(&name);
                let text = lines::refused(&shown, keeps, !change.objects.is_empty());
                text.iter().for_each(|text| self.printer.timed(&self.printer.paint.doubtful(text)));
            }
        }
    }

    fn not_read(&self, foreign: &[(String, usize)]) {
        if foreign.is_empty() {
            return;
        }
        let kinds: Vec<_> = foreign.iter().map(|(kind, n)| format!("{kind} ({n})")).collect();
        self.printer.line(&format!(
            "{}: not read: {}",
            self.printer.paint.doubtful("warning"),
            kinds.join(", ")
        ));
    }
}

/// Whether something of a file is not taken.
fn is_refused(source: &TranslatedFolder<CommandLine>, file: &str) -> bool {
    source.problems().iter().any(|it| it.severity == Severity::Error && *it.source == *file)
}

fn keyed(issues: Vec<Issue>) -> Vec<(IssueKey, Issue)> {
    issues.into_iter().map(|issue| (issue.key(), issue)).collect()
}

fn listener_lines(view: &View) -> BTreeSet<ListenerLine> {
    view.listeners()
        .flat_map(|(gateway, listener)| {
            listener.urls.iter().map(move |url| ListenerLine {
                gateway: format!("{}/{}", gateway.namespace, gateway.name),
                listener: listener.label(),
                url: url.clone(),
            })
        })
        .collect()
}

fn json(event: Event<'_>) -> String {
    let now = Timestamp::from_millisecond(Timestamp::now().as_millisecond())
        .expect("the present is in range");
    serde_json::to_string(&Line { time: now, event })
        .expect("keys are text, and no value of a report can fail to serialise")
}
