//! `gwapi check`: everything that is wrong with manifests or looks like it, as compilers tell it.
//!
//! ```text
//!  files ─► problems of admission ─┐
//!        ─► conditions, hints ─────┼─► diagnostics ─► levels ─► text, JSON, SARIF, GitHub
//!        ─► lint ──────────────────┘
//! ```

mod codes;
mod diagnostics;
mod github;
mod json;
mod levels;
mod sarif;
mod text;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use gwapi_dataplane::TranslatedFolder;

use self::diagnostics::Diagnostics;
use self::levels::Levels;
use crate::Exit;
use crate::args::TranslationArgs;
use crate::overlay::CommandLine;
use crate::paint::Paint;
use crate::queue::print;
use crate::run::{options, overlay};

pub(crate) const EXAMPLES: &str = "\
Examples:
  gwapi check manifests/
      What admission, the status and lint have to say about a folder.
  gwapi check manifests/ --strict --allow refused-by-a-cluster
      Warnings count as errors; endpoints on this machine are meant.
  gwapi check manifests/ --output github
      In a workflow of GitHub: annotations at the lines of a pull request.
  gwapi check manifests/ --output sarif > gwapi.sarif
      For code scanning, and for editors that read SARIF.
  gwapi check --list-codes
      Every code, how bad it is, and what it means.

Exit codes:
  0    no errors; warnings and notes are not counted
  1    something is wrong with the manifests, or there are none
  2    wrong usage
  3    could not start, say because the host of a --backend is not found";

const JSON: &str = "\
Output of --output json: one JSON object on standard output.
  version      of gwapi
  diagnostics  each with severity (error, warning or note), code, message; file, line, column,
               endColumn, object (kind, namespace, name), field, listener, parent, condition,
               reason, help where they apply; related: what else it has to do with, each with
               the same fields but for code
  notRead      kinds that gwapi does not read, each with kind and objects
  summary      objects, files, errors, warnings, notes
Lines and columns count from 1, columns in characters; endColumn is the first one behind.
Fields may be added; none is renamed or removed within a major version.";

/// What `--help` says besides the options.
pub(crate) fn long_help() -> String {
    format!("{EXAMPLES}\n\n{JSON}")
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Files and folders of YAML or JSON
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// How to print it: for people, as JSON, as SARIF 2.1.0, or as commands of GitHub workflows
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: CheckOutput,
    /// Make errors of warnings
    #[arg(long)]
    strict: bool,
    /// Say nothing of problems with this code; may be repeated
    #[arg(long, value_name = "CODE", value_parser = codes::parse)]
    allow: Vec<String>,
    /// Make errors of problems with this code; may be repeated
    #[arg(long, value_name = "CODE", value_parser = codes::parse)]
    deny: Vec<String>,
    /// List the codes that --allow and --deny take, and exit
    #[arg(long, exclusive = true)]
    list_codes: bool,
    #[command(flatten)]
    translation: TranslationArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum CheckOutput {
    Text,
    Json,
    Sarif,
    Github,
}

pub(crate) fn check(arguments: &CheckArgs) -> anyhow::Result<Exit> {
    if arguments.list_codes {
        print(&codes::table(Paint::of_stdout()));
        return Ok(Exit::Fine);
    }
    let offset = arguments.translation.port_offset.unwrap_or(0);
    let options = options(&arguments.translation, offset, false);
    let overlay = overlay(&arguments.translation, None)?;
    let mut source: TranslatedFolder<CommandLine> =
        TranslatedFolder::open(arguments.paths.clone(), options, overlay);
    source.check_certificates();

    let levels = Levels {
        strict: arguments.strict,
        allowed: arguments.allow.clone(),
        denied: arguments.deny.clone(),
    };
    let diagnostics = Diagnostics::of(&source, &levels);
    match arguments.output {
        CheckOutput::Text => text::tell(&source, &diagnostics, Paint::of_stdout()),
        CheckOutput::Json => json::tell(&diagnostics),
        CheckOutput::Sarif => sarif::tell(&diagnostics),
        CheckOutput::Github => github::tell(&diagnostics),
    }
    Ok(if diagnostics.summary.errors > 0 { Exit::Problems } else { Exit::Fine })
}
