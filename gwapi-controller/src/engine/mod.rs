//! The engine: one task that owns the translator. Nobody else changes it, so nothing is locked.

mod core;
mod progress;
mod references;
mod task;
mod unreadable;

pub(crate) use progress::Progress;
pub(crate) use task::{Surroundings, run};
