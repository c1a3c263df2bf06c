//! Laws of weighted choice: even, however requests fall on cores, and fair from the first pick.

use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::{CounterExample, catching, check_law};
use crate::weighted::{WeightedChoice, max_deviation};

/// Something that picks by weight; one per core.
pub trait Choice {
    /// Starts anew; `rng` is all the randomness there is.
    fn start(weights: &[u32], rng: &mut StdRng) -> Self;

    /// The position of the next pick; none if nothing has weight (HB-2).
    fn pick(&mut self) -> Option<usize>;

    /// How far the count of a backend may be from its share of one core's picks, in picks.
    fn max_deviation(backends: usize) -> f64;
}

impl Choice for WeightedChoice {
    fn start(weights: &[u32], rng: &mut StdRng) -> Self {
        Self::new(weights, rng)
    }

    fn pick(&mut self) -> Option<usize> {
        Self::pick(self)
    }

    fn max_deviation(backends: usize) -> f64 {
        max_deviation(backends)
    }
}

/// Checks both laws.
///
/// # Panics
///
/// With a counter-example that reads well, if a law is broken.
pub fn laws<C: Choice>() {
    check_choice::<C>(256).unwrap_or_else(|found| panic!("{found}"));
}

/// Checks both laws.
///
/// # Errors
///
/// The smallest counter-example found, of the first law that is broken.
pub fn check_choice<C: Choice>(cases: u32) -> Result<(), CounterExample> {
    spreads_evenly::<C>(cases)?;
    is_fair_from_the_first_pick::<C>(cases / 16)
}

/// Over k cores, each with a choice of its own, and requests that fall on them anyhow: after every
/// request each backend's count is within k times [`Choice::max_deviation`] of its share.
///
/// # Errors
///
/// The smallest counter-example found.
pub fn spreads_evenly<C: Choice>(cases: u32) -> Result<(), CounterExample> {
    let core_of_each_request = prop::collection::vec(0..8usize, 1..400);
    check_law(
        "over k cores every backend stays within k deviations of its share",
        cases,
        &(weights(), 1..=8usize, core_of_each_request, any::<u64>()),
        |(weights, cores, requests, seed)| {
            let requests = requests.iter().map(|core| (core % cores).to_string());
            let requests = requests.collect::<Vec<_>>().join(" ");
            format!(
                "weights   {weights:?}\ncores     {cores}, seed {seed}\nrequests  on cores {requests}"
            )
        },
        |(weights, cores, requests, seed)| {
            let rng = &mut StdRng::seed_from_u64(*seed);
            let mut choices = start::<C>(*cores, weights, rng)?;
            let sum: u32 = weights.iter().sum();
            let backends = weights.iter().filter(|weight| **weight > 0).count();
            let allowed = *cores as f64 * C::max_deviation(backends);
            let mut counts = vec![0u32; weights.len()];
            for (request, core) in (1u32..).zip(requests) {
                let pick = picked(&mut choices[core % cores], weights)
                    .map_err(|why| format!("{why}\nas        request {request}"))?;
                let Some(pick) = pick else { continue };
                counts[pick] += 1;
                for (position, (count, weight)) in counts.iter().zip(weights).enumerate() {
                    let share = f64::from(request) * f64::from(*weight) / f64::from(sum);
                    if (f64::from(*count) - share).abs() > allowed + 1e-9 {
                        return Err(format!(
                            "expected  {share:.2} +- {allowed} picks of backend {position} \
                             after {request} requests\ngot       {count}"
                        ));
                    }
                }
            }
            Ok(())
        },
    )
}

/// Over many starts each of the first picks goes to a backend as often as its share says: equal
/// starts on 64 cores would never send a small share anything.
///
/// # Errors
///
/// The smallest counter-example found. A fair choice fails with a probability below one in a
/// million: six standard deviations are allowed.
pub fn is_fair_from_the_first_pick<C: Choice>(cases: u32) -> Result<(), CounterExample> {
    const STARTS: u32 = 2000;
    check_law(
        "over many starts each of the first picks has the share of its backend",
        cases,
        &(weights(), any::<u64>()),
        |(weights, seed)| format!("weights   {weights:?}\nstarts    {STARTS}, seed {seed}"),
        |(weights, seed)| {
            let rng = &mut StdRng::seed_from_u64(*seed);
            let mut choices = start::<C>(STARTS as usize, weights, rng)?;
            let sum: u32 = weights.iter().sum();
            for pick in 1..=6 {
                let mut counts = vec![0u32; weights.len()];
                for choice in &mut choices {
                    let position = picked(choice, weights)
                        .map_err(|why| format!("{why}\nas        pick {pick} of a start"))?;
                    position.into_iter().for_each(|position| counts[position] += 1);
                }
                for (position, (count, weight)) in counts.iter().zip(weights).enumerate() {
                    let share = f64::from(*weight) / f64::from(sum.max(1));
                    let mean = share * f64::from(STARTS);
                    // The one more is for shares so small that a single pick is far off already.
                    let allowed = 6.0 * (mean * (1.0 - share)).sqrt() + 1.0;
                    if (f64::from(*count) - mean).abs() > allowed {
                        return Err(format!(
                            "expected  {mean:.1} +- {allowed:.1} starts to give pick {pick} \
                             to backend {position}\ngot       {count}"
                        ));
                    }
                }
            }
            Ok(())
        },
    )
}

fn start<C: Choice>(count: usize, weights: &[u32], rng: &mut StdRng) -> Result<Vec<C>, String> {
    let choices = (0..count).map(|_| catching(|| C::start(weights, rng))).collect();
    let choices: Result<_, String> = choices;
    choices.map_err(|panic| format!("expected  a choice\ngot       {panic}"))
}

/// The next pick: a backend with weight, or none where no backend has any (HB-2).
fn picked<C: Choice>(choice: &mut C, weights: &[u32]) -> Result<Option<usize>, String> {
    let expected = match weights.iter().any(|weight| *weight > 0) {
        true => "a backend with weight",
        false => "no backend",
    };
    let wrong = |got: String| Err(format!("expected  {expected}\ngot       {got}"));
    match catching(|| choice.pick()) {
        Err(panic) => wrong(panic),
        Ok(None) if weights.iter().all(|weight| *weight == 0) => Ok(None),
        Ok(None) => wrong("no backend".to_owned()),
        Ok(Some(position)) => match weights.get(position) {
            None => wrong(format!("backend {position}, which there is not")),
            Some(0) => wrong(format!("backend {position} of weight 0")),
            Some(_) => Ok(Some(position)),
        },
    }
}

/// Weights of all sizes: a few equal ones, a canary beside a giant, a mix of scales, zeros among
/// them and nothing but zeros.
pub fn weights() -> impl Strategy<Value = Vec<u32>> {
    let any_scale =
        (0u32..=6, 1u32..10).prop_map(|(scale, digit)| (10u32.pow(scale) * digit).min(1_000_000));
    prop_oneof![
        // From the empty list on, so that whatever has no weight shrinks to that.
        prop::collection::vec(0u32..5, 0..=16),
        prop::collection::vec(prop_oneof![4 => any_scale.boxed(), 1 => Just(0).boxed()], 0..=16),
        (1u32..=1_000_000).prop_map(|giant| vec![giant, 1]),
        prop::collection::vec(1u32..=1_000_000, 2..=16),
        prop::collection::vec(Just(0u32), 0..=4),
    ]
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;

    #[test]
    fn the_weighted_choice_keeps_its_laws() {
        laws::<WeightedChoice>();
    }

    /// Each pick at random: fair, but not even.
    struct Dice(Vec<u32>, StdRng);

    impl Choice for Dice {
        fn start(weights: &[u32], rng: &mut StdRng) -> Self {
            Self(weights.to_vec(), StdRng::seed_from_u64(rng.random()))
        }

        fn pick(&mut self) -> Option<usize> {
            let sum: u32 = self.0.iter().sum();
            let mut at = (sum > 0).then(|| self.1.random_range(0..sum))?;
            self.0.iter().position(|weight| match at.checked_sub(*weight) {
                Some(rest) => {
                    at = rest;
                    false
                }
                None => true,
            })
        }

        fn max_deviation(backends: usize) -> f64 {
            max_deviation(backends)
        }
    }

    /// Round robin over as many turns as the weight says, always from the start: even in the long
    /// run, but every core begins with the first backend.
    struct InTurn(Vec<u32>, u32);

    impl Choice for InTurn {
        fn start(weights: &[u32], _rng: &mut StdRng) -> Self {
            Self(weights.to_vec(), 0)
        }

        fn pick(&mut self) -> Option<usize> {
            let sum: u32 = self.0.iter().sum();
            let mut at = self.1.checked_rem(sum)?;
            self.1 += 1;
            self.0.iter().position(|weight| {
                let is_here = at < *weight;
                at = at.saturating_sub(*weight);
                is_here
            })
        }

        fn max_deviation(_backends: usize) -> f64 {
            f64::INFINITY
        }
    }

    /// What a choice does where no backend has weight.
    trait Mistake {
        fn pick() -> Option<usize>;
    }

    /// Right, but for one mistake where all weights are 0.
    struct Flawed<M>(Option<WeightedChoice>, std::marker::PhantomData<M>);

    impl<M: Mistake> Choice for Flawed<M> {
        fn start(weights: &[u32], rng: &mut StdRng) -> Self {
            let has_weight = weights.iter().any(|weight| *weight > 0);
            Self(has_weight.then(|| WeightedChoice::new(weights, rng)), std::marker::PhantomData)
        }

        fn pick(&mut self) -> Option<usize> {
            self.0.as_mut().map_or_else(M::pick, WeightedChoice::pick)
        }

        fn max_deviation(backends: usize) -> f64 {
            max_deviation(backends)
        }
    }

    struct TheFirst;

    impl Mistake for TheFirst {
        fn pick() -> Option<usize> {
            Some(0)
        }
    }

    struct Panics;

    impl Mistake for Panics {
        fn pick() -> Option<usize> {
            panic!("nothing to divide by")
        }
    }

    #[test]
    fn hb_2_a_pick_where_nothing_has_weight_is_caught_by_each_law() {
        let uneven = spreads_evenly::<Flawed<TheFirst>>(256);
        let unfair = is_fair_from_the_first_pick::<Flawed<TheFirst>>(64);
        for found in [uneven, unfair] {
            let found = found.expect_err("nothing has weight").to_string();
            assert!(found.contains("expected  no backend\ngot       backend 0, "), "{found}");
        }
    }

    #[test]
    fn a_choice_that_panics_is_shown_with_the_weights() {
        let found = check_choice::<Flawed<Panics>>(256).expect_err("it panics").to_string();
        for part in ["weights   []", "got       a panic: nothing to divide by"] {
            assert!(found.contains(part), "{part:?} is missing: {found}");
        }
    }

    /// Picks now and then a backend that is to get nothing.
    struct Leaky(WeightedChoice, Vec<u32>, u32);

    impl Choice for Leaky {
        fn start(weights: &[u32], rng: &mut StdRng) -> Self {
            Self(WeightedChoice::new(weights, rng), weights.to_vec(), 0)
        }

        fn pick(&mut self) -> Option<usize> {
            self.2 += 1;
            let zero = self.1.iter().position(|weight| *weight == 0).filter(|_| self.2 == 3);
            let pick = self.0.pick()?;
            Some(zero.unwrap_or(pick))
        }

        fn max_deviation(backends: usize) -> f64 {
            max_deviation(backends)
        }
    }

    #[test]
    fn hb_2_a_single_pick_of_a_backend_of_weight_0_is_caught() {
        let found = spreads_evenly::<Leaky>(256).expect_err("weight 0 gets nothing").to_string();
        assert!(found.contains(" of weight 0\n"), "{found}");
    }

    #[test]
    fn dice_are_not_even() {
        is_fair_from_the_first_pick::<Dice>(8).expect("dice are fair");
        let found = spreads_evenly::<Dice>(256).expect_err("dice are not even").to_string();
        assert!(found.contains("weights   [") && found.contains("expected  "), "{found}");
    }

    #[test]
    fn equal_starts_are_not_fair() {
        let found =
            is_fair_from_the_first_pick::<InTurn>(64).expect_err("all start with the first");
        assert!(found.to_string().contains("starts    2000"), "{found}");
    }
}
