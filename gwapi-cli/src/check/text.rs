//! Diagnostics for people.

use gwapi_dataplane::TranslatedFolder;

use super::diagnostics::{Diagnostics, Summary};
use crate::overlay::CommandLine;
use crate::paint::Paint;
use crate::problems::{self, Told};
use crate::queue::print;
use crate::report::count;
use crate::report::issue::Issue;

/// Prints each diagnostic with the lines that it is about, and how many there are.
pub(super) fn tell(
    source: &TranslatedFolder<CommandLine>,
    diagnostics: &Diagnostics,
    paint: Paint,
) {
    for diagnostic in &diagnostics.all {
        let text = |issue: &Issue| issue.place.as_ref().and_then(|place| source.text(&place.file));
        let told = Told {
            issue: &diagnostic.issue,
            code: Some(&diagnostic.code),
            text: text(&diagnostic.issue),
            related: diagnostic.related.iter().map(|issue| (issue, text(issue))).collect(),
        };
        print(&problems::render_all(&told, paint.on));
        print("");
    }
    if !diagnostics.not_read.is_empty() {
        let kinds = diagnostics.not_read.iter().map(|(kind, number)| format!("{kind} ({number})"));
        let kinds = kinds.collect::<Vec<_>>().join(", ");
        print(&format!("{}: not read: {kinds}", paint.doubtful("note")));
    }
    print(&verdict(&diagnostics.summary, paint));
}

/// `Checked 3 objects in 2 files: 1 error, 2 warnings`.
pub(super) fn verdict(summary: &Summary, paint: Paint) -> String {
    let Summary { objects, files, errors, warnings, notes } = *summary;
    let mut found = Vec::new();
    if errors > 0 {
        found.push(paint.bad(&count(errors, "error")));
    }
    if warnings > 0 {
        found.push(paint.doubtful(&count(warnings, "warning")));
    }
    if notes > 0 {
        found.push(count(notes, "note"));
    }
    let found = match found.is_empty() {
        true => paint.good("nothing to complain about"),
        false => found.join(", "),
    };
    format!("Checked {} in {}: {found}", count(objects, "object"), count(files, "file"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_counts_what_there_is() {
        let verdict = |errors, warnings, notes| {
            let summary = Summary { objects: 3, files: 1, errors, warnings, notes };
            verdict(&summary, Paint { on: false })
        };
        assert_eq!(verdict(1, 2, 0), "Checked 3 objects in 1 file: 1 error, 2 warnings");
        assert_eq!(verdict(0, 0, 1), "Checked 3 objects in 1 file: 1 note");
        assert_eq!(verdict(0, 0, 0), "Checked 3 objects in 1 file: nothing to complain about");
    }
}
