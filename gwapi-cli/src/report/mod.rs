//! What is told about what is served: a view, and its renderings for people and machines.

pub(crate) mod conditions;
pub(crate) mod curl;
mod hints;
pub(crate) mod issue;
pub(crate) mod json;
pub(crate) mod lines;
pub(crate) mod places;
pub(crate) mod reporter;
pub(crate) mod table;
pub(crate) mod view;

/// A number with its noun: `1 Gateway`, `2 Gateways`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// The first few of many, and how many more there are.
pub(crate) fn some_of(items: &[impl AsRef<str>], shown: usize) -> String {
    let listed = items.iter().take(shown).map(AsRef::as_ref).collect::<Vec<_>>().join(", ");
    match items.len().saturating_sub(shown) {
        0 => listed,
        more => format!("{listed} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thing_has_no_plural() {
        assert_eq!(
            [count(0, "rule"), count(1, "rule"), count(2, "rule")],
            ["0 rules", "1 rule", "2 rules"]
        );
    }

    #[test]
    fn long_lists_are_cut() {
        let items = ["a", "b", "c"].map(str::to_owned);
        assert_eq!(some_of(&items, 3), "a, b, c");
        assert_eq!(some_of(&items, 1), "a and 2 more");
    }
}
