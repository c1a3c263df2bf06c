//! The codes of problems: what `--allow` and `--deny` take, and what they mean.
//!
//! Lint has its own. A problem that a condition of a status tells has the condition's reason, in lower case
//! with `-` between the words. The rest stands here.

use gwapi_model::status::ConditionReason;
use gwapi_model::validate::closest;
use gwapi_translate::lint::{Lint, LintLevel};

use crate::paint::Paint;
use crate::report::issue::Level;
use crate::report::table::plain;

/// Codes of problems that neither lint nor a condition tells.
const OTHERS: &[(&str, Level, &str)] = &[
    ("no-objects", Level::Error, "nothing that is read is in the files"),
    ("refused", Level::Error, "what an API server would refuse, and files that cannot be read"),
    ("unknown-class", Level::Error, "a Gateway whose GatewayClass does not exist"),
    ("unknown-parent", Level::Error, "a route or ListenerSet whose parent does not exist"),
    ("manifest", Level::Warning, "a field that has no effect, or stands where none belongs"),
    ("old-version", Level::Warning, "an old version of the API, read as the present one"),
    ("unattached", Level::Warning, "a route that asks for no Gateway that exists"),
    ("no-endpoints", Level::Warning, "a Service that routes send to and that has no endpoints"),
    ("refused-endpoint", Level::Warning, "an endpoint at an address where no backend may be"),
    ("unused-option", Level::Warning, "a --backend for a Service or port that does not exist"),
    ("no-effect", Level::Warning, "parameters that mean nothing without a cluster"),
    ("advice", Level::Warning, "anything else"),
    ("other-controller", Level::Note, "a GatewayClass of another controller"),
    ("implied-class", Level::Note, "a GatewayClass that is only referred to"),
];

/// What a code means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Meaning {
    pub(super) code: String,
    /// How bad a problem with it mostly is.
    pub(super) level: Level,
    pub(super) title: String,
}

/// Every code: of lint, of the rest, of conditions.
pub(super) fn all() -> Vec<Meaning> {
    let lint = Lint::ALL.iter().map(|lint| Meaning {
        code: lint.code().to_owned(),
        level: level_of(*lint),
        title: lint.title().to_owned(),
    });
    let others = OTHERS.iter().map(|&(code, level, title)| Meaning {
        code: code.to_owned(),
        level,
        title: title.to_owned(),
    });
    let reasons = ConditionReason::ALL.iter().filter(|reason| is_told(**reason));
    let reasons = reasons.map(|reason| Meaning {
        code: of_reason(*reason),
        level: match reason {
            ConditionReason::OverlappingHostnames
            | ConditionReason::ConfigurationChanged
            | ConditionReason::UnsupportedVersion => Level::Warning,
            _ => Level::Error,
        },
        title: format!("a condition of a status has the reason {reason}"),
    });
    lint.chain(others).chain(reasons).collect()
}

pub(super) fn level_of(lint: Lint) -> Level {
    match lint.level() {
        LintLevel::Error => Level::Error,
        LintLevel::Warning => Level::Warning,
        LintLevel::Note => Level::Note,
    }
}

/// Whether a reason is one of something that is wrong.
fn is_told(reason: ConditionReason) -> bool {
    use ConditionReason as Reason;
    !matches!(
        reason,
        Reason::Accepted
            | Reason::Programmed
            | Reason::ResolvedRefs
            | Reason::AddressesAssigned
            | Reason::DefaultGateway
            | Reason::SupportedVersion
    )
}

/// The code of a condition's reason: `backend-not-found` of `BackendNotFound`.
pub(super) fn of_reason(reason: ConditionReason) -> String {
    let name = reason.as_str();
    let mut code = String::with_capacity(name.len() + 4);
    let letters: Vec<char> = name.chars().collect();
    for (index, letter) in letters.iter().enumerate() {
        let before = index.checked_sub(1).map(|before| letters[before]);
        let after = letters.get(index + 1);
        let begins = letter.is_uppercase()
            && before.is_some_and(|before| {
                before.is_lowercase() || after.is_some_and(|after| after.is_lowercase())
            });
        if begins {
            code.push('-');
        }
        code.push(letter.to_ascii_lowercase());
    }
    code
}

/// Reads a code of the command line.
pub(super) fn parse(text: &str) -> Result<String, String> {
    let all = all();
    if all.iter().any(|meaning| meaning.code == text) {
        return Ok(text.to_owned());
    }
    let codes: Vec<&str> = all.iter().map(|meaning| meaning.code.as_str()).collect();
    Err(match closest(text, &codes) {
        Some(meant) => format!("there is no such code: did you mean {meant}?"),
        None => "there is no such code: --list-codes shows all".to_owned(),
    })
}

/// Every code with its level and meaning.
pub(super) fn table(paint: Paint) -> String {
    let mut table = plain(["CODE", "LEVEL", "MEANING"], paint);
    for Meaning { code, level, title } in all() {
        table.add_row([code.as_str(), level.as_str(), &title]);
    }
    table.trim_fmt()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_code_means_two_things() {
        let all = all();
        let codes: BTreeSet<_> = all.iter().map(|meaning| &meaning.code).collect();
        assert_eq!(codes.len(), all.len());
        let is_plain = |code: &str| code.chars().all(|c| c.is_ascii_lowercase() || c == '-');
        assert!(codes.iter().all(|code| is_plain(code)), "{codes:?}");
    }

    #[test]
    fn reasons_are_written_as_words() {
        for (reason, code) in [
            (ConditionReason::BackendNotFound, "backend-not-found"),
            (ConditionReason::InvalidCACertificateRef, "invalid-ca-certificate-ref"),
            (ConditionReason::NoValidCACertificate, "no-valid-ca-certificate"),
            (ConditionReason::Invalid, "invalid"),
        ] {
            assert_eq!(of_reason(reason), code);
        }
    }

    #[test]
    fn a_code_that_is_misspelt_is_guessed() {
        assert_eq!(parse("shadowed-match").as_deref(), Ok("shadowed-match"));
        let error = parse("shadow-match").expect_err("there is none");
        assert_eq!(error, "there is no such code: did you mean shadowed-match?");
        assert!(parse("E0308").expect_err("there is none").contains("--list-codes"));
    }
}
