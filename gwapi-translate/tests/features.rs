//! The documentation's table of features is that of the code.

use std::fs;
use std::path::Path;

use gwapi_translate::features::FEATURES;

#[test]
fn the_documentation_lists_every_feature_with_the_version_that_brought_it() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/features.md");
    let text = fs::read_to_string(path).expect("the documentation is there");
    let documented: Vec<(&str, &str)> = text
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split('|');
            Some((cells.next()?.trim().trim_end_matches('`'), cells.next()?.trim()))
        })
        .collect();
    let listed: Vec<(&str, String)> = FEATURES
        .iter()
        .map(|feature| match feature.since {
            (1, 6, 0) => (feature.name, String::new()),
            (major, minor, patch) => (feature.name, format!("v{major}.{minor}.{patch}")),
        })
        .collect();
    let listed: Vec<(&str, &str)> = listed.iter().map(|(name, at)| (*name, at.as_str())).collect();
    assert_eq!(documented, listed);
}
