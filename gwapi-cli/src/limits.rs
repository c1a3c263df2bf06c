//! `--limit` and `--list-limits`: the limits of the proxy, as the command line sets and shows them.

use comfy_table::ContentArrangement;
use gwapi_dataplane::Limits;
use gwapi_dataplane::limits::LimitError;

use crate::args::ServingArgs;
use crate::paint::Paint;
use crate::queue::print;
use crate::report::table::plain;

/// A limit and its value, which fit each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LimitArg {
    name: String,
    value: String,
}

impl LimitArg {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').ok_or(
            "NAME=VALUE is expected, such as max-connections=5000; \
             `gwapi run --list-limits` shows the names",
        )?;
        let (name, value) = (name.to_owned(), value.to_owned());
        match Limits::default().set(&name, &value) {
            Ok(()) => Ok(Self { name, value }),
            Err(error @ LimitError::Unknown { nearest: None, .. }) => {
                Err(format!("{error}; `gwapi run --list-limits` shows the names"))
            }
            Err(error) => Err(error.to_string()),
        }
    }
}

/// The limits that the command line asks for.
pub(crate) fn limits(arguments: &ServingArgs) -> Result<Limits, String> {
    let mut limits = Limits::default();
    let short = [
        ("drain-timeout", arguments.drain_timeout.is_some()),
        ("drain-quiet", arguments.drain_quiet.is_some()),
    ];
    let twice = |name: &str| arguments.limit.iter().any(|limit| limit.name == name);
    if let Some((name, _)) = short.into_iter().find(|(name, said)| *said && twice(name)) {
        return Err(format!(
            "`--{name}` and `--limit {name}=...` set the same limit: give one of them"
        ));
    }
    for LimitArg { name, value } in &arguments.limit {
        limits.set(name, value).map_err(|error| error.to_string())?;
    }
    if let Some(timeout) = arguments.drain_timeout {
        limits.drain_timeout = timeout;
    }
    if let Some(quiet) = arguments.drain_quiet {
        limits.drain_quiet = quiet;
    }
    limits.check().map_err(|error| error.to_string())?;
    Ok(limits)
}

/// Prints every limit with its default.
pub(crate) fn list() {
    let mut table = plain(["LIMIT", "DEFAULT", "BOUNDS", "BEYOND"], Paint::of_stdout());
    table.set_content_arrangement(ContentArrangement::Disabled);
    for limit in Limits::describe() {
        table.add_row([&*limit.name, &*limit.default, limit.about, limit.beyond]);
    }
    print(&table.trim_fmt());
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    fn limits_of(more: &[&str]) -> Result<Limits, String> {
        let arguments = ["gwapi", "run", "."].iter().chain(more);
        let Command::Run(run) = Cli::parse_from(arguments).command else { panic!("run expected") };
        limits(&run.serving)
    }

    #[test]
    fn the_command_line_sets_any_limit() {
        for limit in Limits::describe().iter().filter(|limit| limit.name != "max-memory-bytes") {
            let argument = format!("{}={}", limit.name, limit.default);
            assert_eq!(limits_of(&["--limit", &argument]), Ok(Limits::default()), "{argument}");
        }
        let more = ["--limit", "max-headers=7", "--limit", "max-headers=8", "--drain-quiet", "5s"];
        let limits = limits_of(&more).expect("they fit");
        assert_eq!((limits.max_headers, limits.drain_quiet.as_secs()), (8, 5));
    }

    #[test]
    fn a_limit_with_an_option_of_its_own_is_set_once() {
        for name in ["drain-timeout", "drain-quiet"] {
            let (option, limit) = (format!("--{name}"), format!("{name}=9s"));
            let error = limits_of(&[&option, "5s", "--limit", &limit]).expect_err("refused");
            assert!(error.contains(&option) && error.contains("give one of them"), "{error}");
            assert!(limits_of(&[&option, "5s", "--limit", "max-headers=7"]).is_ok());
        }
    }

    #[test]
    fn limits_that_contradict_each_other_are_refused() {
        let error = limits_of(&["--limit", "max-head-bytes=1KiB"]).expect_err("refused");
        assert!(error.contains("`max-uri-bytes`"), "{error}");
    }
}
