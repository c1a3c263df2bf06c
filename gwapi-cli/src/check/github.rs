//! Diagnostics as commands of GitHub workflows, which become annotations.

use super::diagnostics::{Diagnostic, Diagnostics};
use super::sarif::{from_here, unplaced_line};
use super::text::verdict;
use crate::paint::Paint;
use crate::queue::print;
use crate::report::issue::Level;

/// Prints a command for each diagnostic, and how many there are, which is a line of the log.
pub(super) fn tell(diagnostics: &Diagnostics) {
    diagnostics.all.iter().for_each(|diagnostic| print(&command(diagnostic)));
    print(&verdict(&diagnostics.summary, Paint { on: false }));
}

/// `::error file=a.yaml,line=1,col=2,endColumn=3,title=code::message`.
fn command(diagnostic: &Diagnostic) -> String {
    let Diagnostic { code, issue, related, end_column, .. } = diagnostic;
    let name = match issue.level {
        Level::Error => "error",
        Level::Warning => "warning",
        Level::Note => "notice",
    };
    let mut properties = Vec::new();
    if let Some(place) = &issue.place {
        properties.push(format!("file={}", property(&from_here(&place.file))));
        if let Some(at) = place.position {
            properties.push(format!("line={},col={}", at.line, at.column));
        }
        properties.extend(end_column.map(|end| format!("endColumn={end}")));
    }
    properties.push(format!("title={}", property(code)));
    let mut message = unplaced_line(issue);
    for related in related {
        let place = related.place.as_ref().and_then(|place| {
            let at = place.position?;
            Some(format!("{}:{}:{}: ", from_here(&place.file), at.line, at.column))
        });
        message.push_str(&format!("\n{}{}", place.unwrap_or_default(), related.message));
    }
    if let Some(help) = &issue.help {
        message.push_str(&format!("\nhelp: {help}"));
    }
    format!("::{name} {}::{}", properties.join(","), data(&message))
}

/// Text of a command.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// The value of a property.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_commands_are_made_of_is_escaped() {
        assert_eq!(data("100 %\r\nthere: a, b"), "100 %25%0D%0Athere: a, b");
        assert_eq!(property("a:b,c%"), "a%3Ab%2Cc%25");
    }
}
