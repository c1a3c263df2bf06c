//! Whether what was printed is what a README shows.
//!
//! `...` inside a line stands for any text; a line that is `...` alone stands for any number of
//! lines, up to the first one that matches what follows. Blanks at the end of a line do not count,
//! and neither does which time of day (`10:42:22`) or how many milliseconds (`3 ms`) a line shows.

/// Progress through expected lines, fed with printed lines one by one.
#[derive(Clone, Debug)]
pub(crate) struct Expectation {
    expected: Vec<String>,
    next: usize,
}

/// A line that should not be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mismatch {
    /// The line that should have come; `None` where nothing should.
    pub(crate) expected: Option<String>,
    /// The line that came.
    pub(crate) printed: String,
}

impl Expectation {
    pub(crate) fn new(expected: &[String]) -> Self {
        Self { expected: expected.to_vec(), next: 0 }
    }

    /// Takes a printed line in.
    pub(crate) fn feed(&mut self, printed: &str) -> Result<(), Mismatch> {
        let skipping = self.is_skipping();
        let target = self.next + usize::from(skipping);
        match self.expected.get(target) {
            Some(pattern) if line_matches(pattern, printed) => self.next = target + 1,
            _ if skipping => {}
            pattern => {
                return Err(Mismatch { expected: pattern.cloned(), printed: printed.to_owned() });
            }
        }
        Ok(())
    }

    /// The first line that is still to come.
    pub(crate) fn missing(&self) -> Option<&str> {
        let target = self.next + usize::from(self.is_skipping());
        self.expected.get(target).map(String::as_str)
    }

    fn is_skipping(&self) -> bool {
        self.expected.get(self.next).is_some_and(|line| line.trim() == "...")
    }
}

/// Whether a printed line is what a line of a README shows.
fn line_matches(pattern: &str, printed: &str) -> bool {
    let (pattern, printed) = (without_times(pattern.trim_end()), without_times(printed.trim_end()));
    let mut parts = pattern.split("...");
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = printed.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(position) => rest = &rest[position + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// The line with every time of day and every number of milliseconds made the same.
fn without_times(line: &str) -> String {
    let words = line.split(' ').collect::<Vec<_>>();
    let is_number = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    let is_time = |word: &str| {
        let mut parts = word.split(':');
        parts.clone().count() == 3 && parts.all(|part| part.len() == 2 && is_number(part))
    };
    let mut shown = Vec::with_capacity(words.len());
    for (position, word) in words.iter().enumerate() {
        let before_unit = words.get(position + 1) == Some(&"ms");
        shown.push(match *word {
            word if is_time(word) => "00:00:00",
            word if before_unit && is_number(word) => "0",
            word => word,
        });
    }
    shown.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(expected: &str, printed: &str) -> Result<bool, Mismatch> {
        let lines: Vec<String> = expected.lines().map(str::to_owned).collect();
        let mut expectation = Expectation::new(&lines);
        for line in printed.lines() {
            expectation.feed(line)?;
        }
        Ok(expectation.missing().is_none())
    }

    #[test]
    fn equal_lines_meet_the_expectation() {
        assert_eq!(check("a\nb", "a\nb  "), Ok(true));
        assert_eq!(check("", ""), Ok(true));
    }

    #[test]
    fn a_line_that_is_missing_leaves_the_expectation_unmet() {
        assert_eq!(check("a\nb", "a"), Ok(false));
    }

    #[test]
    fn a_line_that_differs_is_a_mismatch() {
        let mismatch = Mismatch { expected: Some("b".to_owned()), printed: "c".to_owned() };
        assert_eq!(check("a\nb", "a\nc"), Err(mismatch));
    }

    #[test]
    fn a_line_too_many_is_a_mismatch() {
        let mismatch = Mismatch { expected: None, printed: "b".to_owned() };
        assert_eq!(check("a", "a\nb"), Err(mismatch));
    }

    #[test]
    fn dots_inside_a_line_stand_for_any_text() {
        assert_eq!(check("pod-... at ... ms", "pod-7c at 1.5 ms"), Ok(true));
        assert_eq!(check("pod-...", "pod-"), Ok(true));
        assert!(check("pod-... at ... ms", "pod-7c at 1.5 s").is_err());
        assert!(check("aa...aa", "aaa").is_err());
    }

    #[test]
    fn times_are_shown_but_not_compared() {
        assert_eq!(
            check("10:42:22 a.yaml: live in 2 ms", "23:59:01 a.yaml: live in 1234 ms"),
            Ok(true)
        );
        assert!(check("10:42:22 a.yaml: live in 2 ms", "23:59:01 a.yaml: live in 2 s").is_err());
        assert!(check("10:42 a.yaml", "10:43 a.yaml").is_err());
        assert!(check("[::1]:8080 in 2 ms", "[::1]:8081 in 2 ms").is_err());
    }

    #[test]
    fn a_line_of_dots_stands_for_any_number_of_lines() {
        assert_eq!(check("a\n...\nd", "a\nb\nc\nd"), Ok(true));
        assert_eq!(check("a\n...\nd", "a\nd"), Ok(true));
        assert_eq!(check("a\n...\nd", "a\nb"), Ok(false));
        assert_eq!(check("a\n...", "a"), Ok(true));
        assert_eq!(check("a\n...", "a\nb\nc"), Ok(true));
    }
}
