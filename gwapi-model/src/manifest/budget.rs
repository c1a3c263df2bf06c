//! What a document may cost.

use super::node::Span;
use super::tree::Fault;

/// Maps and lists may be nested this deep. An HTTPRoute needs some ten levels.
pub(super) const MAX_DEPTH: usize = 64;
/// Values that a document may hold: some hundred thousand small objects in one list.
const MAX_WRITTEN: u64 = 4_000_000;
/// Values that aliases may add to a document.
const MAX_ALIASED: u64 = 1_000_000;
/// Values that aliases may add for each value that is written out.
const MAX_ALIASED_PER_WRITTEN: u64 = 10;
/// A document this small may use aliases as it likes.
const ALIASED_ALWAYS: u64 = 1_000;

/// Counts the values of a document, those that aliases stand for included.
#[derive(Default)]
pub(super) struct Budget {
    written: u64,
    aliased: u64,
}

impl Budget {
    /// Counts a value that stands in the text.
    pub(super) fn write(&mut self, place: Span) -> Result<(), Fault> {
        self.written += 1;
        if self.written <= MAX_WRITTEN {
            return Ok(());
        }
        let message = format!("this document holds more than {MAX_WRITTEN} values");
        Err(Fault::new(place, message, "split it into several documents"))
    }

    /// Counts the values that an alias stands for.
    pub(super) fn alias(&mut self, size: u64, place: Span) -> Result<(), Fault> {
        self.write(place)?;
        self.aliased = self.aliased.saturating_add(size);
        let allowed = (self.written * MAX_ALIASED_PER_WRITTEN).clamp(ALIASED_ALWAYS, MAX_ALIASED);
        if self.aliased <= allowed {
            return Ok(());
        }
        let message = format!("aliases stand for more than {allowed} values");
        Err(Fault::new(place, message, "write the values out instead of aliases of aliases"))
    }
}

/// The fault of nesting more than [`MAX_DEPTH`] levels deep.
pub(super) fn too_deep(place: Span) -> Fault {
    let message = format!("maps and lists are nested more than {MAX_DEPTH} levels deep");
    Fault::new(place, message, "nest less deeply")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_holds_so_many_values_and_no_more() {
        let mut budget = Budget::default();
        for _ in 0..MAX_WRITTEN {
            assert_eq!(budget.write(Span::default()), Ok(()));
        }
        assert!(budget.write(Span::default()).is_err());
    }

    #[test]
    fn aliases_stand_for_ten_times_what_is_written_and_no_more() {
        let mut budget = Budget::default();
        assert_eq!(budget.alias(ALIASED_ALWAYS, Span::default()), Ok(()));
        assert!(budget.alias(1, Span::default()).is_err());

        let mut budget = Budget { written: 999, aliased: 0 };
        assert_eq!(budget.alias(10_000, Span::default()), Ok(()));
        assert!(budget.alias(11, Span::default()).is_err());

        let mut budget = Budget { written: 1_000_000, aliased: 0 };
        assert_eq!(budget.alias(MAX_ALIASED, Span::default()), Ok(()));
        assert!(budget.alias(u64::MAX, Span::default()).is_err());
    }
}
