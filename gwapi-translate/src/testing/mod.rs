//! The laws behind this crate as property tests that run against any implementation.
//!
//! * [`matching`]: a matcher of routes answers as a naive reading of the rules does, also after
//!   any sequence of changes. [`matching::Matcher`] is what to implement, [`matching::laws`] what
//!   to call from a test.
//! * [`streams`]: the same of what chooses among TLSRoutes, TCPRoutes and UDPRoutes,
//!   [`streams::StreamMatcher`].
//! * [`weighted`]: a weighted choice spreads evenly, and is fair on average from the first pick.
//! * [`translation`]: for any sequence of events, the deltas of a translator add up to the
//!   translation of the final resources.
//! * [`oracle`]: the naive reading of the rules itself.
//!
//! A law that is broken returns a [`CounterExample`], shrunk and printed for people: the
//! configuration with a line a rule, the request as a call of curl, the expected answer and the
//! one that came. An implementation that panics breaks a law, too.
//!
//! The crates whose types appear here are exported with it ([`http`], [`proptest`], [`rand`]), so
//! that an implementation of the traits is sure to mean the same versions.

pub mod matching;
pub mod oracle;
pub mod streams;
pub mod translation;
pub mod weighted;

pub use http;
pub use proptest;
pub use rand;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};

/// A case that breaks a law, as small as it could be made.
#[derive(Clone, PartialEq, Eq)]
pub struct CounterExample {
    /// The law, as a sentence.
    pub law: &'static str,
    /// The case, then what was expected and what came.
    pub case: String,
}

impl fmt::Display for CounterExample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "broken law: {}\n", self.law)?;
        f.write_str(&self.case)
    }
}

/// As [`Display`](fmt::Display), so that `unwrap` prints what a person can read.
impl fmt::Debug for CounterExample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl std::error::Error for CounterExample {}

/// Checks a law on generated cases.
///
/// `check` says what went wrong with a case, `show` prints a case.
///
/// # Errors
///
/// The smallest case found for which `check` fails or panics.
pub fn check_law<S: Strategy>(
    law: &'static str,
    cases: u32,
    strategy: &S,
    show: impl Fn(&S::Value) -> String,
    check: impl Fn(&S::Value) -> Result<(), String>,
) -> Result<(), CounterExample> {
    let config =
        Config { cases, max_shrink_iters: 20_000, failure_persistence: None, ..Config::default() };
    let result =
        TestRunner::new(config).run(strategy, |case| check(&case).map_err(TestCaseError::fail));
    result.map_err(|error| CounterExample {
        law,
        case: match error {
            TestError::Fail(why, case) => format!("{}\n{why}\n", show(&case)),
            TestError::Abort(why) => format!("no case could be generated: {why}\n"),
        },
    })
}

/// Calls what is tried; where it panics, the error says so, so that a law can tell what it asked.
fn catching<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    // What panicked is asked no more.
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        format!("a panic: {}", text.unwrap_or("without a text"))
    })
}
