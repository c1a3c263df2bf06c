//! Choice by weight: deterministic and even, from a random phase.
//!
//! Every core holds a [`WeightedChoice`] of its own. It spreads its picks as evenly as the weights
//! allow, and starts at a random phase, so that many cores with few requests each still send a
//! small share its due on average.
//!
//! # Two backends
//!
//! A share is a line that rises by `share` a pick, started at a random height below one; each time
//! it passes a whole number, that backend is picked (systematic sampling). After any `n` picks the
//! backend has had `floor(n * share + phase)` of them: less than one pick away from `n * share`.
//! And as the phase is uniform, each single pick, the first one included, goes to the backend with
//! exactly the probability `share`. In integers the height is a remainder modulo the sum of the
//! weights: nothing is rounded, ever.
//!
//! # More backends
//!
//! A sequence that is as even as that for three or more shares at once does not exist in general
//! if it is also to be stationary, so this is a binary tree of such choices, each with a phase of
//! its own. The phases are independent, hence every pick is still exactly fair. What is lost is
//! evenness: a fork can be off by one, and the share of what its parent was off by comes on top.
//! The tree is the one (over the weights in order) that keeps the sum smallest; then every backend
//! stays within [`max_deviation`] of its share.
//!
//! A pick can be given back: each line on its way falls by what it rose. It may be below 0 or above one for
//! a while where others were picked in between, and the next picks bring it back.
//!
//! Over `k` cores deviations add up: at most `k` picks for two backends, whatever the number of
//! requests and however they fall on the cores.

use rand::{Rng, RngExt};

/// How far a backend's count can be from its share of the picks of one [`WeightedChoice`], in
/// picks: none for one backend, one for two, 2.5 for up to 16, which is as many as the API lets a rule
/// have. The last is a bound on the tree, which the tests compute for weights of all kinds.
pub fn max_deviation(backends: usize) -> f64 {
    match backends {
        0 | 1 => 0.0,
        2 => 1.0,
        _ => MAX_DEVIATION,
    }
}

const MAX_DEVIATION: f64 = 2.5;

/// The state of one weighted choice; it belongs to one core.
#[derive(Clone, Debug)]
pub struct WeightedChoice {
    root: Option<Branch>,
    forks: Box<[Fork]>,
}

/// What a choice leads to.
#[derive(Clone, Copy, Debug)]
enum Branch {
    /// The backend at this position.
    Backend(usize),
    /// Another choice.
    Fork(usize),
}

/// A choice between two branches.
#[derive(Clone, Debug)]
struct Fork {
    first: Branch,
    second: Branch,
    /// Weight of the first branch.
    first_weight: i64,
    /// Weight of both.
    weight: i64,
    /// Height of the first branch's line above the last whole number, in parts of `weight`.
    phase: i64,
}

impl WeightedChoice {
    /// Starts at a random phase. A backend of weight 0 is never picked (HB-2).
    ///
    /// Takes microseconds: the cube of the number of backends, whatever their weights.
    pub fn new(weights: &[u32], rng: &mut impl Rng) -> Self {
        Self::with_phases(weights, |weight| rng.random_range(0..weight))
    }

    /// Starts at chosen phases; `phase` is given the weight below which a phase has to be.
    fn with_phases(weights: &[u32], mut phase: impl FnMut(u64) -> u64) -> Self {
        let mut backends: Vec<_> = (0..).zip(weights).filter(|(_, weight)| **weight > 0).collect();
        backends.sort_by_key(|(_, weight)| **weight);
        let (positions, weights): (Vec<usize>, Vec<u64>) =
            backends.into_iter().map(|(position, weight)| (position, u64::from(*weight))).unzip();
        if positions.is_empty() {
            return Self { root: None, forks: Box::default() };
        }
        let plan = Plan::of(&weights);
        let mut forks = Vec::with_capacity(positions.len() - 1);
        let root = plan.grow(0, positions.len(), &positions, &mut forks, &mut phase);
        Self { root: Some(root), forks: forks.into() }
    }

    /// The position of the next pick; `None` where all weights are 0 or there are none (HB-2).
    pub fn pick(&mut self) -> Option<usize> {
        let mut branch = self.root?;
        loop {
            match branch {
                Branch::Backend(position) => return Some(position),
                Branch::Fork(fork) => branch = self.forks[fork].next(),
            }
        }
    }

    /// Takes a pick back, as if it had never been made: those that stand are spread as if they were the
    /// only ones, whatever was picked and given back in between.
    pub fn give_back(&mut self, position: usize) {
        if let Some(root) = self.root {
            self.undo(root, position);
        }
    }

    /// Takes a pick of the branch back; whether the position is one of the branch.
    fn undo(&mut self, branch: Branch, position: usize) -> bool {
        let fork = match branch {
            Branch::Backend(at) => return at == position,
            Branch::Fork(fork) => fork,
        };
        let Fork { first, second, .. } = self.forks[fork];
        let is_first = self.undo(first, position);
        if !is_first && !self.undo(second, position) {
            return false;
        }
        self.forks[fork].undo(is_first);
        true
    }
}

impl Fork {
    fn next(&mut self) -> Branch {
        self.phase += self.first_weight;
        if self.phase < self.weight {
            return self.second;
        }
        self.phase -= self.weight;
        self.first
    }

    fn undo(&mut self, is_first: bool) {
        self.phase -= self.first_weight;
        if is_first {
            self.phase += self.weight;
        }
    }
}

/// Where to fork: for every range of the weights in ascending order the best place to cut it.
///
/// If what arrives at a fork is off by `d` picks, a branch with share `q` of it is off by less than
/// `1 + q * d`. So a range can bear `d = (b - 1) / q`, where `b` is what the branch can bear, and a
/// single backend can bear [`MAX_DEVIATION`]. The best cut of a range is the one that lets it bear
/// most.
struct Plan {
    /// Sums of the weights before each position.
    sums: Vec<u64>,
    /// By start and end of a range.
    cuts: Vec<Vec<usize>>,
}

impl Plan {
    fn of(weights: &[u64]) -> Self {
        let count = weights.len();
        let mut sums = vec![0; count + 1];
        for (position, weight) in weights.iter().enumerate() {
            sums[position + 1] = sums[position] + weight;
        }
        let mut cuts = vec![vec![0; count + 1]; count];
        let mut bears = vec![vec![MAX_DEVIATION; count + 1]; count];
        for length in 2..=count {
            for start in 0..=count - length {
                let end = start + length;
                let whole = (sums[end] - sums[start]) as f64;
                let branch = |bears: f64, weight: u64| (bears - 1.0) * whole / weight as f64;
                let with_cut = |cut: usize| {
                    let first = branch(bears[start][cut], sums[cut] - sums[start]);
                    first.min(branch(bears[cut][end], sums[end] - sums[cut]))
                };
                let cuts_by_worth = (start + 1..end).map(|cut| (with_cut(cut), cut));
                let best = cuts_by_worth.max_by(|(a, _), (b, _)| a.total_cmp(b));
                (bears[start][end], cuts[start][end]) = best.expect("a range of two can be cut");
            }
        }
        Self { sums, cuts }
    }

    /// Makes the forks of a range.
    fn grow(
        &self,
        start: usize,
        end: usize,
        positions: &[usize],
        forks: &mut Vec<Fork>,
        phase: &mut impl FnMut(u64) -> u64,
    ) -> Branch {
        if end - start == 1 {
            return Branch::Backend(positions[start]);
        }
        let cut = self.cuts[start][end];
        let first = self.grow(start, cut, positions, forks, phase);
        let second = self.grow(cut, end, positions, forks, phase);
        let weight = self.sums[end] - self.sums[start];
        let first_weight = self.sums[cut] - self.sums[start];
        let phase = parts(phase(weight));
        let (first_weight, weight) = (parts(first_weight), parts(weight));
        forks.push(Fork { first, second, first_weight, weight, phase });
        Branch::Fork(forks.len() - 1)
    }
}

fn parts(weight: u64) -> i64 {
    i64::try_from(weight).expect("there are fewer than 2^31 weights of 32 bits")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn where_nothing_has_weight_nothing_is_picked() {
        for weights in [&[][..], &[0], &[0, 0, 0]] {
            assert_eq!(WeightedChoice::new(weights, &mut rand::rng()).pick(), None);
        }
    }

    #[test]
    fn weight_zero_is_never_picked() {
        let mut choice = WeightedChoice::new(&[0, 3, 0, 1, 0], &mut rand::rng());
        let picks: Vec<_> = (0..8).filter_map(|_| choice.pick()).collect();
        let count = |position| picks.iter().filter(|pick| **pick == position).count();
        assert_eq!((count(1), count(3)), (6, 2), "{picks:?}");
    }

    #[test]
    fn every_single_pick_of_a_tiny_share_is_fair() {
        let weights = [999_999, 1];
        let mut picked = [0; 3];
        for phase in 0..1_000_000 {
            let mut choice = WeightedChoice::with_phases(&weights, |_| phase);
            for count in &mut picked {
                *count += usize::from(choice.pick() == Some(1));
            }
        }
        assert_eq!(picked, [1, 1, 1], "of a million phases exactly one picks it, at each pick");
    }

    /// HB-9
    #[test]
    fn a_canary_gets_its_share_give_or_take_one_a_worker() {
        for workers in 1..=64 {
            let mut choices: Vec<_> =
                (0..workers).map(|_| WeightedChoice::new(&[99, 1], &mut rand::rng())).collect();
            let picks = (0..1200).filter_map(|request: usize| choices[request % workers].pick());
            let canary = picks.filter(|pick| *pick == 1).count();
            assert!(canary.abs_diff(12) <= workers, "{canary} of 1,200 over {workers} workers");
        }
    }

    /// What the backends of a branch can be off by where what arrives is off by `off`.
    fn worst(choice: &WeightedChoice, branch: Branch, off: f64) -> f64 {
        let Branch::Fork(fork) = branch else { return off };
        let Fork { first, second, first_weight, weight, .. } = choice.forks[fork];
        let share = first_weight as f64 / weight as f64;
        let first = worst(choice, first, 1.0 + share * off);
        first.max(worst(choice, second, 1.0 + (1.0 - share) * off))
    }

    #[test]
    fn weights_that_make_it_hard_stay_within_the_bound() {
        // Found by searching for the worst: chains of scales, with a few equal weights among them.
        for weights in [
            &[587_637, 76_616, 660, 50, 82, 2, 2, 132_650, 3082][..],
            &[1, 34_839, 60_325, 200_281, 1_000_000],
            &[4684, 1073, 268_418, 521_537, 2, 5, 466],
            &[1; 16],
        ] {
            let choice = WeightedChoice::with_phases(weights, |_| 0);
            let worst = choice.root.map_or(0.0, |root| worst(&choice, root, 0.0));
            assert!(worst <= MAX_DEVIATION, "{weights:?} can be off by {worst}");
        }
    }

    /// The choices of all combinations of phases.
    fn all_phases(weights: &[u32]) -> Vec<WeightedChoice> {
        let mut limits = Vec::new();
        WeightedChoice::with_phases(weights, |weight| {
            limits.push(weight);
            0
        });
        let combinations: u64 = limits.iter().product();
        let choice = |mut combination: u64| {
            WeightedChoice::with_phases(weights, |weight| {
                let phase = combination % weight;
                combination /= weight;
                phase
            })
        };
        (0..combinations).map(choice).collect()
    }

    proptest! {
        #[test]
        fn no_weights_exceed_the_bound(weights in crate::testing::weighted::weights()) {
            let choice = WeightedChoice::with_phases(&weights, |_| 0);
            let worst = choice.root.map_or(0.0, |root| worst(&choice, root, 0.0));
            prop_assert!(worst <= max_deviation(weights.iter().filter(|weight| **weight > 0).count()));
        }
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        /// A pick that stands.
        Stand,
        /// One that does not stand yet.
        Wait,
        /// The one that waits at this place, counted round, is given back.
        GiveBack(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![Just(Step::Stand), Just(Step::Wait), any::<usize>().prop_map(Step::GiveBack)]
    }

    proptest! {
        #[test]
        fn picks_that_are_given_back_at_once_change_nothing(
            weights in prop::collection::vec(0u32..50, 1..8),
            given_back in prop::collection::vec(0..4, 30),
        ) {
            let mut choice = WeightedChoice::new(&weights, &mut rand::rng());
            let mut undisturbed = choice.clone();
            for count in given_back {
                for _ in 0..count {
                    if let Some(position) = choice.pick() {
                        choice.give_back(position);
                    }
                }
                prop_assert_eq!(choice.pick(), undisturbed.pick());
            }
        }

        #[test]
        fn picks_that_stand_are_spread_evenly_whatever_is_given_back(
            weights in prop::collection::vec(1u32..20, 2..5),
            steps in prop::collection::vec(step(), 0..100),
        ) {
            let mut choice = WeightedChoice::new(&weights, &mut rand::rng());
            let (mut standing, mut waiting) = (vec![0_u32; weights.len()], Vec::new());
            for step in steps {
                match step {
                    Step::Stand => standing[choice.pick().expect("there is weight")] += 1,
                    Step::Wait => waiting.extend(choice.pick()),
                    Step::GiveBack(_) if waiting.is_empty() => {}
                    Step::GiveBack(at) => choice.give_back(waiting.swap_remove(at % waiting.len())),
                }
            }
            waiting.into_iter().for_each(|position| choice.give_back(position));
            // Lines that are above one or below 0 come back.
            for _ in 0..10_000 {
                standing[choice.pick().expect("there is weight")] += 1;
            }
            let (picks, sum) = (standing.iter().sum::<u32>(), weights.iter().sum::<u32>());
            for (count, weight) in standing.iter().zip(&weights) {
                let share = f64::from(picks) * f64::from(*weight) / f64::from(sum);
                let deviation = (f64::from(*count) - share).abs();
                prop_assert!(deviation <= max_deviation(weights.len()), "{standing:?} of {weights:?}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn every_single_pick_is_exactly_fair_over_all_phases(weights in prop::collection::vec(1u32..6, 1..5)) {
            let mut choices = all_phases(&weights);
            let sum: u32 = weights.iter().sum();
            for pick in 1..=12 {
                let mut counts = vec![0; weights.len()];
                choices.iter_mut().filter_map(WeightedChoice::pick).for_each(|at| counts[at] += 1);
                for (count, weight) in counts.iter().zip(&weights) {
                    prop_assert_eq!(
                        count * sum as usize,
                        choices.len() * *weight as usize,
                        "pick {} of weights {:?}: picked {:?} times of {}", pick, weights, counts, choices.len()
                    );
                }
            }
        }
    }
}
