//! Guesses what a misspelt word was meant to be.

/// The known word that `word` most likely stands for, if any is near enough: the same but for
/// case, one that contains it, or one that few edits lead to. A word without letters is not
/// misspelt.
pub fn closest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let word = word.to_lowercase();
    if word.chars().count() > 64 || !word.chars().any(char::is_alphabetic) {
        return None;
    }
    let lower = |candidate: &str| candidate.to_lowercase();
    if let Some(same) = known.iter().find(|candidate| lower(candidate) == word) {
        return Some(same);
    }
    let (distance, nearest) = known
        .iter()
        .map(|candidate| (edit_distance(&word, &lower(candidate)), *candidate))
        .min_by_key(|(distance, _)| *distance)?;
    if distance <= (word.chars().count() / 3).max(1) {
        return Some(nearest);
    }
    let mut containing = known.iter().filter(|candidate| lower(candidate).contains(&word));
    match (containing.next(), containing.next()) {
        (Some(only), None) if word.len() >= 3 => Some(only),
        _ => None,
    }
}

/// Number of characters to insert, remove, replace or swap with a neighbour.
fn edit_distance(from: &str, to: &str) -> usize {
    let from: Vec<char> = from.chars().collect();
    let to: Vec<char> = to.chars().collect();
    let mut before_last = vec![0; to.len() + 1];
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (row, a) in from.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, b) in to.iter().enumerate() {
            let replaced = last[column] + usize::from(a != b);
            let mut best = replaced.min(last[column + 1] + 1).min(current[column] + 1);
            if row > 0 && column > 0 && *a == to[column - 1] && from[row - 1] == *b {
                best = best.min(before_last[column - 1] + 1);
            }
            current.push(best);
        }
        before_last = std::mem::replace(&mut last, current);
    }
    last[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_word_is_found_by_case_by_edits_and_by_containment() {
        let types = ["Exact", "PathPrefix", "RegularExpression"];
        assert_eq!(closest("exact", &types), Some("Exact"));
        assert_eq!(closest("PathPrefx", &types), Some("PathPrefix"));
        assert_eq!(closest("Prefix", &types), Some("PathPrefix"));
        assert_eq!(closest("Glob", &types), None);
        assert_eq!(closest("", &types), None);
        assert_eq!(closest("304", &["301", "302"]), None);
    }

    #[test]
    fn a_word_that_several_contain_suggests_none() {
        let types = ["RequestHeaderModifier", "ResponseHeaderModifier"];
        assert_eq!(closest("Header", &types), None);
    }

    #[test]
    fn edits_are_counted() {
        assert_eq!(edit_distance("kitten", "sitting"), 3);
        assert_eq!(edit_distance("ruels", "rules"), 1);
        assert_eq!(edit_distance("", "abc"), 3);
        assert_eq!(edit_distance("abc", "abc"), 0);
    }
}
