//! Draws by weight: of backends (HB-2), and of the requests that mirrors get a copy of (HF-7).
//!
//! A request that somebody has to consent to is drawn for before he is asked. What is denied gives its
//! draws back: those who are let through get their shares whoever else asks in between.

use std::cell::RefCell;
use std::rc::Rc;

use gwapi_translate::weighted::WeightedChoice;

/// A weighted choice of a worker.
#[derive(Debug)]
pub(super) struct Lot(RefCell<WeightedChoice>);

impl Lot {
    /// Starts anywhere in its turn: workers that all started alike would draw the same together.
    pub(super) fn new(weights: &[u32]) -> Rc<Self> {
        Rc::new(Self(RefCell::new(WeightedChoice::new(weights, &mut rand::rng()))))
    }

    /// The position that is drawn for the next request.
    pub(super) fn draw(&self) -> Option<usize> {
        self.0.borrow_mut().pick()
    }
}

/// A draw that does not stand yet: where it is dropped, it is given back.
#[derive(Debug)]
pub(super) struct Draw {
    /// Where it came from; none once it stands.
    lot: Option<Rc<Lot>>,
    position: usize,
}

impl Draw {
    pub(super) fn of(lot: &Rc<Lot>, position: usize) -> Self {
        Self { lot: Some(Rc::clone(lot)), position }
    }

    pub(super) fn stand(mut self) {
        self.lot = None;
    }
}

impl Drop for Draw {
    fn drop(&mut self) {
        if let Some(lot) = &self.lot {
            lot.0.borrow_mut().give_back(self.position);
        }
    }
}

/// What was drawn for a request that somebody has to consent to.
#[derive(Debug, Default)]
pub(super) struct Drawn {
    /// The backend that it goes to.
    pub(super) backend: Option<Draw>,
    /// Whether each of the mirrors gets a copy.
    pub(super) mirrors: Vec<Draw>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draw_that_is_dropped_is_given_back_and_one_that_stands_is_not() {
        let lot = Lot::new(&[1, 1]);
        let draw = || lot.draw().expect("there is weight");
        let first = draw();
        for _ in 0..3 {
            drop(Draw::of(&lot, first));
            assert_eq!(draw(), first);
        }
        Draw::of(&lot, first).stand();
        assert_ne!(draw(), first);
    }
}
