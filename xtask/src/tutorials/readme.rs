//! What a README says is typed and printed.
//!
//! Only blocks of the language `console` count. Lines that start with `$ ` are typed, lines that
//! start with `> ` right after them continue the command, all others are what is printed:
//!
//! ````text
//! ```console
//! $ curl -s http://127.0.0.1/left
//! Hostname: left-...
//! ```
//! ````
//!
//! A block that is marked `gateway` (` ```console gateway `) is another terminal, in which a
//! program keeps running. Its first block starts the program; later ones, without a command, show
//! what it prints next; the line `^C` stops it.
//!
//! A block that is marked `cluster` is for a cluster, and no other one is.

use anyhow::bail;

/// A block of a README, or a command with its output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// The line of the README, counted from 1.
    pub(crate) line: usize,
    /// What to do.
    pub(crate) action: Action,
    /// What is printed then.
    pub(crate) expected: Vec<String>,
}

/// What a reader does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Types a command and waits for its end.
    Run(String),
    /// Starts a program in the other terminal and leaves it running.
    Start(String),
    /// Looks at the other terminal.
    Look,
    /// Stops the program in the other terminal by Ctrl-C.
    Interrupt,
}

/// Where a README is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// On a machine by itself.
    Machine,
    /// In a cluster that gwapi is installed in.
    Cluster,
}

/// Reads the steps of a README for a place.
pub(crate) fn steps(text: &str, place: Place) -> anyhow::Result<Vec<Step>> {
    let mut steps = Vec::new();
    let mut block: Option<(bool, usize, Vec<&str>)> = None;
    for (number, line) in text.lines().enumerate() {
        match (&mut block, line.strip_prefix("```")) {
            (None, Some(info)) => {
                let mut words = info.split_whitespace();
                let is_console = words.next() == Some("console");
                let (is_gateway, block_place) = match words.next().filter(|_| is_console) {
                    None => (false, Place::Machine),
                    Some("gateway") => (true, Place::Machine),
                    Some("cluster") => (false, Place::Cluster),
                    Some(word) => bail!("line {}: unknown mark {word}", number + 1),
                };
                // Lines of other blocks are collected too, so that their end is found, and dropped.
                let is_meant = is_console && block_place == place;
                block = Some((is_gateway, if is_meant { number + 2 } else { 0 }, Vec::new()));
            }
            (Some((is_gateway, first_line, lines)), Some("")) => {
                if *first_line > 0 {
                    steps.extend(steps_of_block(lines, *first_line, *is_gateway)?);
                }
                block = None;
            }
            (Some((_, _, lines)), _) => lines.push(line),
            (None, None) => {}
        }
    }
    if block.is_some() {
        bail!("the last block has no end");
    }
    Ok(steps)
}

fn steps_of_block(
    lines: &[&str],
    first_line: usize,
    is_gateway: bool,
) -> anyhow::Result<Vec<Step>> {
    let mut steps: Vec<Step> = Vec::new();
    for (offset, line) in lines.iter().enumerate() {
        let number = first_line + offset;
        if let Some(command) = line.strip_prefix("$ ") {
            if is_gateway && !steps.is_empty() {
                bail!("line {number}: the other terminal is busy with the program before");
            }
            let command = command.to_owned();
            let action = if is_gateway { Action::Start(command) } else { Action::Run(command) };
            steps.push(Step { line: number, action, expected: Vec::new() });
        } else if is_gateway && *line == "^C" {
            steps.push(Step { line: number, action: Action::Interrupt, expected: Vec::new() });
        } else if let (Some(more), Some(Step { action, expected, .. })) =
            (line.strip_prefix("> "), steps.last_mut())
            && let Action::Run(command) | Action::Start(command) = action
            && expected.is_empty()
        {
            command.push('\n');
            command.push_str(more);
        } else if let Some(step) = steps.last_mut() {
            step.expected.push((*line).to_owned());
        } else if is_gateway {
            let expected = vec![(*line).to_owned()];
            steps.push(Step { line: number, action: Action::Look, expected });
        } else {
            bail!("line {number}: output without a command");
        }
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(line: usize, action: Action, expected: &[&str]) -> Step {
        Step { line, action, expected: expected.iter().map(|line| (*line).to_owned()).collect() }
    }

    #[test]
    fn commands_come_with_the_output_that_follows_them() {
        let text = "Text.\n\n```console\n$ one\na\nb\n$ two\n```\nMore.\n";
        let expected = [
            step(4, Action::Run("one".to_owned()), &["a", "b"]),
            step(7, Action::Run("two".to_owned()), &[]),
        ];
        assert_eq!(steps(text, Place::Machine).unwrap(), expected);
    }

    #[test]
    fn a_command_goes_on_in_lines_that_start_with_the_second_prompt() {
        let text = "```console\n$ cat <<'END'\n> text\n>   indented\n> END\ntext\n> shown\n```\n";
        let command = "cat <<'END'\ntext\n  indented\nEND".to_owned();
        assert_eq!(
            steps(text, Place::Machine).unwrap(),
            [step(2, Action::Run(command), &["text", "> shown"])]
        );
    }

    #[test]
    fn what_is_for_a_cluster_is_run_there_alone() {
        let text = "```console\n$ here\n```\n```console cluster\n$ there\n```\n";
        let run = |line, command: &str| step(line, Action::Run(command.to_owned()), &[]);
        assert_eq!(steps(text, Place::Machine).unwrap(), [run(2, "here")]);
        assert_eq!(steps(text, Place::Cluster).unwrap(), [run(5, "there")]);
    }

    #[test]
    fn blocks_of_other_languages_are_not_run() {
        let text = "```sh\n$ rm -r everything\n```\n```yaml\na: b\n```\n```\nplain\n```\n";
        assert_eq!(steps(text, Place::Machine).unwrap(), []);
    }

    #[test]
    fn the_other_terminal_is_started_looked_at_and_stopped() {
        let text =
            "```console gateway\n$ serve\nready\n```\n```console gateway\nchanged\n^C\nbye\n```\n";
        let expected = [
            step(2, Action::Start("serve".to_owned()), &["ready"]),
            step(6, Action::Look, &["changed"]),
            step(7, Action::Interrupt, &["bye"]),
        ];
        assert_eq!(steps(text, Place::Machine).unwrap(), expected);
    }

    #[test]
    fn mistakes_are_named_by_line() {
        let message = |text| steps(text, Place::Machine).unwrap_err().to_string();
        assert_eq!(message("```console\nout\n```\n"), "line 2: output without a command");
        assert_eq!(message("\n```console gatway\n```\n"), "line 2: unknown mark gatway");
        assert_eq!(message("```console\n$ x\n"), "the last block has no end");
    }
}
