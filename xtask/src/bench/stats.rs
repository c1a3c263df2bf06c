//! What is said of a handful of rounds: median and quartiles.

use std::fmt;

/// The middle of some measurements, and between what half of them lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) lower: f64,
    pub(crate) upper: f64,
}

impl Spread {
    /// `None` where nothing was measured.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        let at = |share| quantile(values, share);
        Some(Self { median: at(0.5)?, lower: at(0.25)?, upper: at(0.75)? })
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = digits(self.median);
        write!(f, "{:.digits$} ({:.digits$}..{:.digits$})", self.median, self.lower, self.upper)
    }
}

/// Digits behind the point of which two say something, however small a figure is.
pub(crate) fn digits(figure: f64) -> usize {
    if figure < 0.095 { 4 } else { 2 }
}

/// The value below which `share` of the values lie, between neighbours in proportion.
pub(crate) fn quantile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    let place = share.clamp(0.0, 1.0) * last as f64;
    let below = place.floor() as usize;
    let above = place.ceil() as usize;
    Some(sorted[below] + (sorted[above] - sorted[below]) * (place - place.floor()))
}

/// Ours over theirs, round by round: what both suffered in a round falls out.
pub(crate) fn ratios(ours: &[f64], theirs: &[f64]) -> Vec<f64> {
    ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_whatever_the_order() {
        assert_eq!(quantile(&[9.0, 1.0, 5.0], 0.5), Some(5.0));
        assert_eq!(quantile(&[4.0, 1.0, 2.0, 3.0], 0.5), Some(2.5));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn one_round_in_nine_that_went_wrong_moves_no_quartile_far() {
        let spread = Spread::of(&[1.0, 1.1, 0.9, 1.0, 1.0, 1.1, 0.9, 1.0, 40.0]).unwrap();
        assert_eq!(spread, Spread { median: 1.0, lower: 1.0, upper: 1.1 });
        assert_eq!(spread.to_string(), "1.00 (1.00..1.10)");
    }

    #[test]
    fn a_small_ratio_is_not_rounded_to_nothing() {
        let spread = Spread { median: 0.003, lower: 0.0028, upper: 0.0041 };
        assert_eq!(spread.to_string(), "0.0030 (0.0028..0.0041)");
    }

    #[test]
    fn a_round_is_compared_with_the_same_round() {
        assert_eq!(ratios(&[10.0, 30.0], &[20.0, 20.0]), [0.5, 1.5]);
    }
}
