//! Regular expressions of routes: one dialect, one constructor, for conditions and for matching.
//!
//! The dialect is that of the `regex` crate: linear time, no back-references. A pattern stands for
//! the whole path or value (HR-3), and what it may cost in memory is bounded.

use regex::{Regex, RegexBuilder};

/// Bytes that one compiled pattern may take. A UUID fits, and so does an e-mail address; a pattern
/// meant to exhaust memory does not. `\w` alone takes 50 KiB, since it means letters of every
/// script: long repeats of it do not fit, repeats of `[0-9A-Za-z_]` do.
const SIZE_LIMIT: usize = 512 * 1024;

/// Depth to which groups may nest.
const NEST_LIMIT: u32 = 64;

/// Compiles a pattern that must match from the first to the last byte.
///
/// # Errors
///
/// What is wrong with the pattern, in words for a condition's message.
pub fn compile(pattern: &str) -> Result<Regex, String> {
    // The pattern stands alone first: `a)|(b` is broken, although it would be whole once anchored.
    parse(pattern)?;
    // The line break ends a comment in which a pattern with the flag `x` may stop.
    parse(&format!("^(?:{pattern})$")).or_else(|_| parse(&format!("^(?:{pattern}\n)$")))
}

fn parse(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(pattern).size_limit(SIZE_LIMIT).nest_limit(NEST_LIMIT).build().map_err(
        |error| match error {
            regex::Error::CompiledTooBig(limit) => {
                format!(
                    "it would take more than {limit} bytes once compiled; repeat less, or write \
                     [0-9A-Za-z_] for \\w"
                )
            }
            // The last line of a syntax error is its sentence; the others draw the place.
            error => {
                let text = error.to_string();
                let line = text.lines().last().unwrap_or_default();
                line.trim().trim_start_matches("error: ").to_owned()
            }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_stands_for_the_whole_text() {
        let regex = compile("/v[0-9]+|/beta").expect("it is a valid pattern");
        assert!(regex.is_match("/v12") && regex.is_match("/beta"));
        for other in ["/v12/", "x/v12", "/betas", "/v12\n"] {
            assert!(!regex.is_match(other), "{other:?} was taken");
        }
    }

    #[test]
    fn a_broken_pattern_says_why() {
        assert_eq!(compile("(").expect_err("unclosed"), "unclosed group");
        assert!(compile("a)|(b").is_err(), "anchoring must not mend a broken pattern");
        assert!(compile(r"(\d)\1").is_err(), "there are no back-references");
        let nested = format!("{}{}", "(".repeat(100), ")".repeat(100));
        assert!(compile(&nested).is_err(), "nesting is bounded");
    }

    #[test]
    fn a_pattern_is_bounded_in_size() {
        for fine in ["[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", r"[\w.-]+@[\w-]+(\.[\w-]+)+"] {
            assert!(compile(fine).is_ok(), "{fine} is no attack");
        }
        let error = compile(r"(\w{100}){100}").expect_err("this one is");
        assert!(error.contains("bytes once compiled"), "{error}");
    }

    #[test]
    fn a_comment_at_the_end_of_a_pattern_hides_nothing() {
        let regex = compile("(?x)/a  # the letter").expect("it is a valid pattern");
        assert!(regex.is_match("/a") && !regex.is_match("/ab"));
    }
}
