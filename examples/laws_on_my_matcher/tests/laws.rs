//! The laws on a matcher that keeps them and on one that does not.

use gwapi_translate::ir::GatewayConfig;
use gwapi_translate::table::RequestHead;
use gwapi_translate::testing::matching::{Chosen, Matcher, Scope, check_matcher};
use laws_on_my_matcher::{ByByte, ByElement, ListMatcher, PrefixRule};

/// All there is to do: tell the laws how to build the matcher and how to ask it.
struct Mine<P>(ListMatcher<P>);

impl<P: PrefixRule> Matcher for Mine<P> {
    fn build(config: &GatewayConfig) -> Self {
        Self(ListMatcher::new(config))
    }

    fn route(&self, port: u16, request: &RequestHead<'_>) -> Option<Chosen> {
        let (rule, match_index) = self.0.find(port, request)?;
        Some(Chosen { rule: rule.key.clone(), match_index })
    }
}

#[test]
fn my_matcher_keeps_the_laws() {
    check_matcher::<Mine<ByElement>>(Scope::Api, 500).unwrap_or_else(|found| panic!("{found}"));
}

#[test]
fn a_prefix_matched_by_bytes_is_caught() {
    let found = check_matcher::<Mine<ByByte>>(Scope::Api, 2000)
        .expect_err("a prefix that takes half an element breaks the law")
        .to_string();
    // `cargo test -- --nocapture` shows it.
    println!("{found}");
    for part in
        ["broken law: ", "listener ", "PathPrefix /", "curl -X ", "expected  ", "got       "]
    {
        assert!(found.contains(part), "the counter-example does not show {part:?}:\n{found}");
    }
    let rules = found.lines().filter(|line| line.starts_with("rule ")).count();
    assert!(rules <= 2, "it is as small as can be:\n{found}");
}
